"""The README and the guide for contributors agree with the code."""

import inspect
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from docutils import nodes
from docutils.core import publish_doctree

import channels_closetest
from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.servers import rules
from tests.tools.readme import (
    GREEN_TESTS,
    README,
    SERVERS_README,
    TABLES,
    TITLES,
    Block,
    blocks,
    content,
    example_above,
    examples,
    find_undeliverable,
    generated,
    rows,
    run,
    start_project,
    timeless,
)

CONTRIBUTING = README.with_name(".github") / "CONTRIBUTING.rst"

# The test of their output runs these. Some fail.
WITH_OUTPUT = [example_above(block) for block in blocks("code-block:: console")]
PASSING = [example for example in examples() if example not in WITH_OUTPUT]
[GREEN] = blocks(f"csv-table:: {GREEN_TESTS}")


@pytest.mark.parametrize(
    "path", [README, SERVERS_README, CONTRIBUTING], ids=lambda path: path.parent.name
)
def test_renders_without_warnings(path: Path) -> None:
    # docutils warns about links to unknown targets, too.
    publish_doctree(path.read_text(), settings_overrides={"halt_level": 2})


def test_the_readme_is_short_enough_to_be_read_to_its_end() -> None:
    assert len(README.read_text().splitlines()) <= 600


# The guide for contributors.


def test_the_guide_names_files_and_modules_that_exist() -> None:
    document = publish_doctree(CONTRIBUTING.read_text())
    text = "\n".join(
        literal.astext()
        for kind in (nodes.literal, nodes.literal_block)
        for literal in document.findall(kind)
    )
    names = re.findall(r"(?<![\w./])\.?\w[\w./]*\.(?:py|rst|md|cfg)\b|\.ci/\w+", text)
    assert {".ci/run", "README.rst", "setup.cfg"} <= set(names)
    assert [name for name in names if not (README.parent / name).is_file()] == []
    modules = re.findall(r"-m (tests[\w.]+)", text)
    assert "tests.tools.readme" in modules
    assert all(map(find_spec, modules))


# The examples, their outputs, and the tables.


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Create a Django project that has the README's examples as its tests."""
    start_project(tmp_path)
    for example in PASSING:
        (tmp_path / example.module).write_text(example.body)
    [configuration] = blocks("code-block:: ini")
    (tmp_path / "pytest.ini").write_text(configuration.body)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "tests", "summary"),
    [
        ("manage.py test", "^ +(?:async )?def test_", "Ran {} tests .*\n\nOK"),
        ("-m pytest", "^ *(?:async )?def test_", "== {} passed, 1 warning in "),
    ],
    ids=["Django", "pytest"],
)
def test_the_examples_pass(
    project: Path, command: str, tests: str, summary: str
) -> None:
    count = sum(len(re.findall(tests, example.body, re.M)) for example in PASSING)
    # The first example issues an UndeliverableWarning, which -W cannot name.
    result = run(f"python -W error -W default::UserWarning -X dev {command}", project)
    assert re.search(summary.format(count), result.stdout), result.stdout


@pytest.mark.parametrize(
    "block", generated(), ids=lambda block: f"{block.argument}, line {block.line}"
)
def test_outputs_and_tables_are_current(block: Block) -> None:
    assert timeless(block.body) == timeless(content(block))


def test_the_tables_contain_every_rule() -> None:
    tables = {block.argument for block in blocks("csv-table::", file=SERVERS_README)}
    assert tables == set(TABLES) - {GREEN_TESTS}
    # What is lost because of an earlier finding needs no table.
    assert set(rules.RULES) == {*TITLES, "lost"}


@pytest.mark.parametrize("row", rows(GREEN), ids=lambda row: row[0])
async def test_every_client_receives_what_to_write_instead(row: list[str]) -> None:
    *_, instead = row
    assert await find_undeliverable(instead) == []


# The API.


def documented() -> set[str]:
    """Return the names in the section about the API, with the parameters of calls."""
    document = publish_doctree(README.read_text())
    [section] = document.findall(
        lambda node: isinstance(node, nodes.section) and node["names"] == ["the api"]
    )
    names = [literal.astext() for literal in section.findall(nodes.literal)]
    return {name for name in names if re.fullmatch(r"\w+(\(.+\))?", name)}


def call(name: str, function: Callable[..., object]) -> str:
    """Format the call of a method, with its defaults."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    return f"{name}({', '.join(map(str, parameters))})"


async def test_the_readme_contains_the_api() -> None:
    api = set()
    for name in channels_closetest.__all__:
        fields = getattr(getattr(channels_closetest, name), "_fields", None)
        api.add(f"{name}({', '.join(fields)})" if fields else name)
    application = AsyncWebsocketConsumer.as_asgi()
    async with RecordingWebsocketCommunicator(application, "/") as communicator:
        for name in {*dir(communicator), *vars(communicator)}:
            member = inspect.getattr_static(type(communicator), name, None)
            if not name.startswith("_") and name.isidentifier():
                api.add(call(name, member) if inspect.isfunction(member) else name)
    assert documented() == api

"""The README and the guide for contributors agree with the code."""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from docutils import nodes
from docutils.core import publish_doctree

import channels_closetest
from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.audit.report import Found, Report
from channels_closetest.servers import rules
from tests.tools.readme import (
    GREEN_TEST,
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

# The test of their output runs these. Some fail, and one issues a warning.
WITH_OUTPUT = [example_above(block) for block in blocks("code-block:: console")]
PASSING = [example for example in examples() if example not in WITH_OUTPUT]
[GREEN_TESTS] = blocks(f"csv-table:: {GREEN_TEST}")


@pytest.mark.parametrize(
    "path", [README, SERVERS_README, CONTRIBUTING], ids=lambda path: path.parent.name
)
def test_renders_without_warnings(path: Path) -> None:
    # docutils warns about links to unknown targets, too.
    publish_doctree(path.read_text(), settings_overrides={"halt_level": 2})


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
        # The same line numbers as in the README, so that a traceback refers to it.
        module = "\n" * (example.line - 1) + example.body
        (tmp_path / f"test_line_{example.line}.py").write_text(module)
    [configuration] = blocks("code-block:: ini")
    (tmp_path / "pytest.ini").write_text(configuration.body)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "tests", "summary"),
    [
        ("manage.py test", "^ +(?:async )?def test_", "Ran {} tests .*\n\nOK"),
        ("-m pytest", "^ *(?:async )?def test_", "== {} passed in "),
    ],
    ids=["Django", "pytest"],
)
def test_the_examples_pass(
    project: Path, command: str, tests: str, summary: str
) -> None:
    count = sum(len(re.findall(tests, example.body, re.M)) for example in PASSING)
    result = run(f"python -W error -X dev {command}", project)
    assert re.search(summary.format(count), result.stdout), result.stdout


@pytest.mark.parametrize(("variable", "factor"), [("true", "5"), ("", "1")])
def test_the_factor_for_slow_machines_depends_on_the_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch, variable: str, factor: str
) -> None:
    monkeypatch.setenv("CI", variable)
    printing = "print(communicators.PatientWebsocketCommunicator.timeout_factor)"
    result = run(f"python -c 'import communicators; {printing}'", project)
    assert result.stdout == f"{factor}\n"


@pytest.mark.parametrize(
    "block", generated(), ids=lambda block: f"{block.argument}, line {block.line}"
)
def test_outputs_and_tables_are_current(block: Block) -> None:
    assert timeless(block.body) == timeless(content(block))


def test_the_tables_contain_every_rule() -> None:
    tables = {block.argument for block in blocks("csv-table::", file=SERVERS_README)}
    assert tables == set(TABLES) - {GREEN_TEST}
    # What is lost because of an earlier finding needs no table.
    assert set(rules.RULES) == {*TITLES, "lost"}


@pytest.mark.parametrize("row", rows(GREEN_TESTS), ids=lambda row: row[0])
async def test_every_client_receives_what_to_write_instead(row: list[str]) -> None:
    *_, instead = row
    assert await find_undeliverable(instead) == []


# The reference.


def section(title: str) -> nodes.Element:
    document = publish_doctree(README.read_text())
    [parent] = [
        node.parent
        for node in document.findall(nodes.title)
        if node.astext() == title and isinstance(node.parent, nodes.section)
    ]
    assert isinstance(parent, nodes.section)
    return parent


def documented(title: str) -> dict[str, str]:
    """Return the names that a section defines, with the types in it."""
    return {
        literal.astext(): "".join(
            classifier.astext() for classifier in item.findall(nodes.classifier)
        )
        for item in section(title).findall(nodes.definition_list_item)
        for term in item.findall(nodes.term)
        for literal in term.findall(nodes.literal)
    }


def call(name: str, function: Callable[..., object]) -> str:
    """Format the call of a method, with its defaults."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    return f"{name}({', '.join(map(str, parameters))})"


def annotations(cls: type) -> dict[str, str]:
    return {
        name: str(getattr(annotation, "__forward_arg__", annotation))
        for base in cls.__mro__
        if base.__module__.startswith("channels_closetest")
        for name, annotation in inspect.get_annotations(base).items()
        if not name.startswith("_")
    }


def members(
    communicator: RecordingWebsocketCommunicator,
) -> Iterator[tuple[str, str]]:
    """Yield public names as the reference writes them, and the types of our own."""
    cls = type(communicator)
    yield call(cls.__name__, cls.__init__), ""
    yield from annotations(cls).items()
    for name in {*dir(cls), *vars(communicator)} - {*annotations(cls)}:
        member = inspect.getattr_static(cls, name, None)
        if name.startswith("_") or not name.isidentifier():
            continue
        elif inspect.isfunction(member):
            yield call(name, member), ""
        elif isinstance(member, functools.cached_property):
            yield name, member.func.__annotations__["return"]
        else:
            yield name, ""


def test_the_contents_of_the_json_report_are_named_in_order() -> None:
    [item] = [
        item
        for item in section("See it on your suite").findall(nodes.definition_list_item)
        if "--json" in item.astext()
    ]
    _, *names = [literal.astext() for literal in item.findall(nodes.literal)]
    assert names == [*Report._fields, "section", *Found._fields]


def test_the_reference_contains_every_public_name() -> None:
    subsections = [
        title.astext()
        for title in section("Reference").findall(nodes.title)
        if isinstance(title.parent.parent, nodes.section)
    ]
    assert set(channels_closetest.__all__) <= set(subsections)


async def test_the_reference_contains_every_member_of_the_communicator() -> None:
    application = AsyncWebsocketConsumer.as_asgi()
    async with RecordingWebsocketCommunicator(application, "/") as communicator:
        title = type(communicator).__name__
        assert documented(title) == dict(members(communicator))


@pytest.mark.parametrize(
    "name", ["ClientView", "DenialResponse", "Record", "Undeliverable"]
)
def test_the_reference_contains_every_field_in_order(name: str) -> None:
    fields = annotations(getattr(channels_closetest, name))
    assert list(documented(name).items()) == list(fields.items())

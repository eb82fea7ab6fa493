"""The README: its examples run, and what it shows is so."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from docutils import nodes
from docutils.core import publish_doctree

import channels_closetest
from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.client_view import RULES
from tests.tools.readme import (
    ENDING,
    GREEN_TEST,
    PHASES,
    README,
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

FAILING = [example_above(block) for block in blocks("code-block:: console")]
PASSING = [example for example in examples() if example not in FAILING]
[GREEN_TESTS] = blocks(f"csv-table:: {GREEN_TEST}")


def test_it_renders_without_warnings_and_its_links_lead_somewhere() -> None:
    publish_doctree(README.read_text(), settings_overrides={"halt_level": 2})


# What it shows.


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Django project with the README's examples for its tests."""
    start_project(tmp_path)
    for example in PASSING:
        # On the lines that they have in the README, so that a traceback leads there.
        module = "\n" * (example.line - 1) + example.body
        (tmp_path / f"test_line_{example.line}.py").write_text(module)
    [configuration] = blocks("code-block:: ini")
    (tmp_path / "pytest.ini").write_text(configuration.body)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "tests", "summary"),
    [
        ("manage.py test", "^ +async def test_", "Ran {} tests .*\n\nOK"),
        ("-m pytest", "^ *async def test_", "== {} passed in "),
    ],
    ids=["Django", "pytest"],
)
def test_the_examples_pass(
    project: Path, command: str, tests: str, summary: str
) -> None:
    count = sum(len(re.findall(tests, example.body, re.M)) for example in PASSING)
    result = run(f"python -W error -X dev {command}", project)
    assert re.search(summary.format(count), result.stdout), result.stdout


@pytest.mark.parametrize(
    "block", generated(), ids=lambda block: f"{block.argument}, line {block.line}"
)
def test_what_it_shows_is_so(block: Block) -> None:
    if block.argument == "console" and sys.version_info < (3, 11):
        pytest.skip("exceptions have no notes before Python 3.11")
    assert timeless(block.body) == timeless(content(block))


def test_it_shows_every_rule() -> None:
    shown = {block.argument for block in blocks("csv-table::")}
    assert shown == {GREEN_TEST, ENDING, *PHASES.values()}
    # A client that has left gets nothing: that needs no table.
    assert set(RULES) - set(PHASES) == {"left"}


@pytest.mark.parametrize("row", rows(GREEN_TESTS), ids=lambda row: row[0])
async def test_what_it_says_to_write_instead_is_delivered(row: list[str]) -> None:
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
    """The names that a section defines, and of what type it says they are."""
    return {
        literal.astext(): "".join(
            classifier.astext() for classifier in item.findall(nodes.classifier)
        )
        for item in section(title).findall(nodes.definition_list_item)
        for term in item.findall(nodes.term)
        for literal in term.findall(nodes.literal)
    }


def call(name: str, function: Callable[..., object]) -> str:
    """How to call a method, with its defaults."""
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
        for name, annotation in cls.__annotations__.items()
        if not name.startswith("_")
    }


def members(
    communicator: RecordingWebsocketCommunicator,
) -> Iterator[tuple[str, str]]:
    """Public names, as the reference has to write them, and the types of our own."""
    cls = type(communicator)
    yield call(cls.__name__, cls.__init__), ""
    yield from annotations(cls).items()
    for name in {*dir(cls), *vars(communicator)} - {*annotations(cls)}:
        member = inspect.getattr_static(cls, name, None)
        if name.startswith("_") or not name.isidentifier():
            continue
        elif inspect.isfunction(member):
            yield call(name, member), ""
        elif hasattr(member, "_get"):
            yield name, member._get.__annotations__["return"]
        else:
            yield name, ""


def test_the_reference_has_every_public_name() -> None:
    subsections = [
        title.astext()
        for title in section("Reference").findall(nodes.title)
        if isinstance(title.parent.parent, nodes.section)
    ]
    assert set(channels_closetest.__all__) <= set(subsections)


async def test_the_reference_has_every_member_of_the_communicator() -> None:
    application = AsyncWebsocketConsumer.as_asgi()
    async with RecordingWebsocketCommunicator(application, "/") as communicator:
        title = type(communicator).__name__
        assert documented(title) == dict(members(communicator))


@pytest.mark.parametrize(
    "name", ["ClientView", "DenialResponse", "Record", "Undeliverable"]
)
def test_the_reference_has_every_field_in_order(name: str) -> None:
    fields = annotations(getattr(channels_closetest, name))
    assert list(documented(name).items()) == list(fields.items())

"""
Generate the parts of both READMEs that follow from the code: outputs and tables.

To update them::

    python -m tests.tools.readme
"""

import ast
import asyncio
import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.testing import WebsocketCommunicator

import channels_closetest
from channels_closetest import RecordingWebsocketCommunicator, Undeliverable
from channels_closetest.servers import rules
from channels_closetest.servers.connection import Phase
from tests.events import CONNECT

README = Path(__file__).parents[2] / "README.rst"
#: The table for people, beside the rules that it shows.
SERVERS_README = Path(rules.__file__).with_name("README.rst")

INDENTATION = " " * 4


class Block(NamedTuple):
    """A directive of the README and the indented text below it."""

    directive: str
    argument: str
    body: str
    #: The file, the number of the body's first line, and the slice of the file's text.
    file: Path
    line: int
    place: slice

    @property
    def module(self) -> str:
        """The file in the first line of Python code, such as ``# consumers.py``."""
        [name] = re.findall(r"\A# ([\w/]+\.py)\n", self.body)
        return str(name)


def blocks(*directives: str, file: Path = README) -> list[Block]:
    text = file.read_text()
    return [
        Block(
            directive=match[1],
            argument=match[2],
            body=textwrap.dedent(match[3]).rstrip(),
            file=file,
            line=text.count("\n", 0, match.start(3)) + 1,
            place=slice(*match.span(3)),
        )
        for match in re.finditer(
            rf"^\.\. ([\w-]+):: *(.*)\n+((?:{INDENTATION}.*\n|\n)*{INDENTATION}.*\n)",
            text,
            re.MULTILINE,
        )
        if f"{match[1]}:: {match[2]}".startswith(directives)
    ]


def examples() -> list[Block]:
    """Return the test modules."""
    python = blocks("code-block:: python")
    return [block for block in python if block.module.startswith("test_")]


def example_above(block: Block) -> Block:
    return [example for example in examples() if example.line < block.line][-1]


def generated() -> list[Block]:
    """Return the blocks whose content follows from the code."""
    outputs = blocks("code-block:: console", "code-block:: pytb", "csv-table::")
    return [*outputs, *blocks("csv-table::", file=SERVERS_README)]


def content(block: Block) -> str:
    """Return the current content of a generated block."""
    if block.argument == "console":
        return output(block)
    if block.argument == "pytb":
        return failure_with_parent(block)
    options, _, _ = block.body.partition("\n\n")
    cells = io.StringIO()
    writer = csv.writer(cells, lineterminator="\n")
    writer.writerows(TABLES[block.argument](block))
    return f"{options}\n\n{cells.getvalue().strip()}"


# The output of the examples.


def environment() -> dict[str, str]:
    """Return the environment of a user: the package can be imported, nothing is set."""
    # pytest and others print something else in CI, and in colors.
    printed = ("BUILD_NUMBER", "CI", "COLUMNS", "FORCE_COLOR", "PY_COLORS")
    ours = ("COVERAGE_", "DJANGO_", "PYTEST_", "PYTHON", *printed)
    users = {name: it for name, it in os.environ.items() if not name.startswith(ours)}
    return users | {
        "PYTHONPATH": str(Path(channels_closetest.__file__).parent.parent),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
    }


def run(command: str, directory: str | Path) -> subprocess.CompletedProcess[str]:
    [python, *arguments] = shlex.split(command)
    assert python == "python"
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_project(directory: str | Path) -> None:
    """Create a Django project with the modules that the examples import."""
    run("python -m django startproject example .", directory).check_returncode()
    for block in blocks("code-block:: python"):
        if not block.module.startswith("test_"):
            with Path(directory, block.module).open("a") as file:  # the settings exist
                file.write(block.body)


def run_in_project(modules: dict[str, str], command: str) -> str:
    """Return what the command prints in a new project with these modules of tests."""
    with tempfile.TemporaryDirectory() as directory:
        start_project(directory)
        for name, text in modules.items():
            Path(directory, name).write_text(text)
        printed = run(command, directory).stdout.replace(f"{directory}/", "")
    # The lines of carets below a line of code differ between versions of Python.
    return re.sub(r"^ +[~^]+\n", "", printed, flags=re.MULTILINE)


def output(block: Block) -> str:
    """Return the block's command and what it prints for the example above it."""
    prompt, command = block.body.splitlines()[0].split(" ", 1)
    example = example_above(block)
    printed = run_in_project({example.module: example.body}, command)
    return f"{prompt} {command}\n{shortened(printed)}"


def failure_with_parent(block: Block) -> str:
    """Return the end of the traceback of connect() of the parent class."""
    parent = "channels.testing.WebsocketCommunicator(consumers.NotesConsumer(), '/')"
    program = (
        f"import asyncio, consumers, channels.testing;asyncio.run({parent}.connect())"
    )
    printed = run_in_project({}, f'python manage.py shell -c "{program}"')
    [end] = re.findall(r"^ +assert .*\nAssertionError.*$", printed, re.MULTILINE)
    return str(end)


def shortened(printed: str) -> str:
    """Return what was printed, or of a failure, what its traceback ends with."""
    printed = re.sub(r"^System check .*\n", "", printed)
    printed = re.sub(r"(?s).*\nTraceback .*?\n(\w+: .*?)\n-+\n.*", r"\1", printed)
    return "\n".join(line.rstrip() for line in printed.strip().splitlines())


def timeless(text: str) -> str:
    """Replace all times by the same one."""
    return re.sub(r"(?<= in )[\d.]+(?=s)| *[\d.]+(?= ms)", "0.0", text)


# The tables.

GREEN_TESTS = "Green tests"
TITLES: dict[Phase, str] = {
    "handshake": "Before the handshake response",
    "denial": "During a denial response",
    "open": "After accept()",
    "closed": "Afterwards",
    "task_failed": "Afterwards",
}


def rows(table: Block) -> list[list[str]]:
    _, _, cells = table.body.partition("\n\n")
    return list(csv.reader(cells.splitlines(), skipinitialspace=True))


def outcomes(phase: Phase, effects: rules.PerServer[rules.Effect]) -> list[str]:
    """Return what a client of each server receives."""
    cells = []
    for server in rules.SERVERS:
        effect: rules.Effect = getattr(effects, server)
        cell = f"{effect.outcome} (error)" if effect.is_error else effect.outcome
        # Daphne ignores the start of a denial response.
        cells.append("–" if (phase, server) == ("denial", "daphne") else cell)
    return cells


def rule_row(phase: Phase, event: str, rule: rules.Rule) -> list[str]:
    remedy = rule.remedy if isinstance(rule.remedy, str) else rule.remedy({})
    return [event, rule.description, *outcomes(phase, rule.effects), remedy]


def rule_rows(table: Block) -> Iterator[list[str]]:
    for phase in [it for it, title in TITLES.items() if title == table.argument]:
        malformed: list[list[str]] = []
        for kind, of_kind in rules.RULES[phase].items():
            is_denial = kind == rules.NO_END or "response" in kind
            event = "denial" if is_denial else kind.removeprefix("websocket.")
            for rule in of_kind:
                if rule.description == rules.MALFORMED:
                    malformed = [rule_row(phase, "any", rule)]
                elif rule.remedy:
                    yield rule_row(phase, event, rule)
        yield from malformed  # the last, which is that for everything else


def ending_rows(table: Block) -> Iterator[list[str]]:
    for phase, endings in rules.ENDINGS.items():
        for what, effects in zip(("raises", "returns"), endings, strict=True):
            yield [TITLES[phase], what, *outcomes(phase, effects)]
    closes = outcomes("open", rules.CLIENT_CLOSES)
    yield [TITLES["open"], "runs, and the client closes the connection", *closes]


def client_rows(table: Block) -> Iterator[list[str]]:
    for kind, of_kind in rules.TEST_RULES.items():
        for rule in of_kind:
            row = rule_row("open", kind.removeprefix("websocket."), rule)
            if rule.verdict:
                row[2:-1] = ["impossible"] * len(rules.SERVERS)
            yield row


def disconnect_rows(table: Block) -> Iterator[list[str]]:
    causes = [
        "the client leaves before the handshake response",
        "the consumer has rejected the handshake",
        "the client closes with 1000",
        "the consumer has closed",
    ]
    for cause, codes in zip(causes, rules.DISCONNECT_CODES.values(), strict=True):
        cells = ["the code of the close" if it is None else str(it) for it in codes]
        yield [cause, *cells]


def green_rows(table: Block) -> Iterator[list[str]]:
    """Yield the rows with the current second and third cell."""
    for consumer, _, _, instead in rows(table):
        received = map("``{}``".format, asyncio.run(receive_with_parent(consumer)))
        outcome = asyncio.run(find_undeliverable(consumer))[0].outcome
        _, _, arrives = outcome.partition("the client receives ")
        yield [consumer, ", ".join(received), arrives, instead]


#: The rows of each table, by its title.
TABLES: dict[str, Callable[[Block], Iterator[list[str]]]] = {
    GREEN_TESTS: green_rows,
    "When the application ends": ending_rows,
    "What no client can send": client_rows,
    "The code that disconnect() receives": disconnect_rows,
    **{title: rule_rows for title in TITLES.values()},
}


def arguments_of(cell: str) -> tuple[Any, str, None, list[str]]:
    """Return a communicator's arguments: connect() and subprotocols as in the cell."""
    offered = re.findall("``subprotocols=(.+?)``", cell) or ["[]"]
    calls = re.findall("``(.+?)``", cell.rpartition("]``: ")[2])
    body = [f"    await self.{call}" for call in calls]
    methods: dict[str, Any] = {}
    exec("\n".join(["async def connect(self):", *body]), methods)
    consumer: Any = type("Consumer", (AsyncJsonWebsocketConsumer,), methods)
    return consumer.as_asgi(), "/", None, ast.literal_eval(*offered)


async def receive_with_parent(cell: str) -> list[str]:
    """Return what connect() of the parent class returns and a test receives then."""
    communicator = WebsocketCommunicator(*arguments_of(cell))
    try:
        received = [repr(await communicator.connect())]
        while not await communicator.receive_nothing(0.01):
            match await communicator.receive_output():
                case {"type": "websocket.send", "text": text}:
                    received.append(repr(json.loads(text)))
                case {"type": "websocket.close", "code": code, **keys}:
                    received.append(f"{code} {keys.get('reason', '')}".rstrip())
    except AssertionError:
        received = ["AssertionError"]
    await communicator.disconnect()
    return received


async def find_undeliverable(cell: str) -> list[Undeliverable]:
    async with RecordingWebsocketCommunicator(*arguments_of(cell)) as communicator:
        await communicator.send_input(CONNECT)
        while not await communicator.receive_nothing():
            await communicator.receive_output()
        return communicator.undeliverable


def main() -> None:
    for block in reversed(generated()):
        current = content(block)
        if timeless(current) != timeless(block.body):
            print(f"{block.file}:{block.line}: {block.directive} {block.argument}")
            indented = textwrap.indent(current, INDENTATION)
            text = block.file.read_text()
            before, after = text[: block.place.start], text[block.place.stop :]
            block.file.write_text(f"{before}{indented}\n{after}")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    main()

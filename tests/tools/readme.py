"""
What the README shows, and what is so: the output of its examples, its tables.

To write into the README what is so::

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
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.testing import WebsocketCommunicator

import channels_closetest
from channels_closetest import (
    RecordingWebsocketCommunicator,
    Undeliverable,
    UndeliverableWarning,
)
from channels_closetest.client_view import ENDINGS, RULES, SERVERS, Phase

README = Path(__file__).parents[2] / "README.rst"

INDENTATION = " " * 4


class Block(NamedTuple):
    """A directive of the README and what is indented below it."""

    directive: str
    argument: str
    body: str
    #: Where the body is in the README: its first line, and as a slice of the text.
    line: int
    place: slice


def blocks(*directives: str) -> list[Block]:
    text = README.read_text()
    return [
        Block(
            directive=match[1],
            argument=match[2],
            body=textwrap.dedent(match[3]).rstrip(),
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
    return blocks("code-block:: python")


def example_above(block: Block) -> Block:
    return [example for example in examples() if example.line < block.line][-1]


def generated() -> list[Block]:
    """The blocks whose content follows from the code."""
    return blocks("code-block:: console", "csv-table::")


def content(block: Block) -> str:
    """What a generated block has to say."""
    if block.directive == "code-block":
        return output(block)
    if block.argument == GREEN_TEST:
        return with_rows(block, [green_row(row) for row in rows(block)])
    if block.argument == ENDING:
        return with_rows(block, ending_rows())
    [phase] = [phase for phase, title in PHASES.items() if title == block.argument]
    return with_rows(block, list(rule_rows(phase)))


# The output of the examples.


def environment() -> dict[str, str]:
    """That of somebody who has installed the package, and nothing else in mind."""
    mine = ("DJANGO_", "PYTEST_", "PYTHON", "COVERAGE_")
    return {
        **{name: os.environ[name] for name in os.environ if not name.startswith(mine)},
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
    run("python -m django startproject example .", directory).check_returncode()


def output(block: Block) -> str:
    """The block's command and its output, with the example above it as tests.py."""
    prompt, command = block.body.splitlines()[0].split(" ", 1)
    with tempfile.TemporaryDirectory() as directory:
        start_project(directory)
        Path(directory, "tests.py").write_text(example_above(block).body)
        printed = run(command, directory).stdout
    return f"{prompt} {command}\n{shortened(printed, directory)}"


def shortened(printed: str, directory: str) -> str:
    """Without the directory, and with ... for the frames of libraries."""
    printed = printed.replace(f"{directory}/", "")
    printed = re.sub(r"^ +[~^]+\n", "", printed, flags=re.MULTILINE)
    printed = re.sub(
        r'^(  File "/.*\n(    .*\n)*)+', "  ...\n", printed, flags=re.MULTILINE
    )
    return "\n".join(line.rstrip() for line in printed.strip().splitlines())


def timeless(text: str) -> str:
    """With all times the same."""
    return re.sub(r"(?<= in )[\d.]+(?=s)| *[\d.]+(?= ms)", "0.0", text)


# The tables.

GREEN_TEST = "Green tests"
ENDING = "When the application ends"
PHASES: dict[Phase, str] = {
    "handshake": "Before the handshake is answered",
    "denial": "After the start of a denial response",
    "body": "Within the body of a denial response",
    "open": "After accept()",
    "over": "After close(), and after a failed handshake",
}
#: As the transcript calls them.
EVENTS = {
    "websocket.accept": "accept",
    "websocket.send": "send",
    "websocket.close": "close",
    "websocket.http.response.start": "denial",
    "websocket.http.response.body": "denial",
}


def rows(table: Block) -> list[list[str]]:
    _, _, cells = table.body.partition("\n\n")
    return list(csv.reader(cells.splitlines(), skipinitialspace=True))


def with_rows(table: Block, rows: Sequence[Sequence[str]]) -> str:
    options, _, _ = table.body.partition("\n\n")
    cells = io.StringIO()
    csv.writer(cells, lineterminator="\n").writerows(rows)
    return f"{options}\n\n{cells.getvalue().strip()}"


def rule_rows(phase: Phase) -> Iterator[list[str]]:
    """The rules of the phase. In a denial response Daphne never is: it ignores it."""
    for kind, rules in RULES[phase].items():
        for rule in rules:
            outcomes = [
                (
                    "–"
                    if phase in ("denial", "body") and server == "daphne"
                    # What an effect does not put into words is delivered.
                    else getattr(rule, server).outcome or "as sent"
                )
                for server in SERVERS
            ]
            remedy = rule.remedy if set(outcomes) - {"–", "as sent"} else ""
            yield [EVENTS.get(kind, "any other"), rule.says, *outcomes, remedy]


def ending_rows() -> list[list[str]]:
    return [
        [
            PHASES[phase],
            what,
            *(
                (
                    "–"
                    if phase in ("denial", "body") and server == "daphne"
                    else getattr(cells, server).outcome
                )
                for server in SERVERS
            ),
        ]
        for phase, endings in ENDINGS.items()
        for what, cells in zip(("raises", "returns"), endings, strict=True)
    ]


def green_row(row: Sequence[str]) -> list[str]:
    """With what the test used to show and what the client gets, as it is."""
    consumer, _, _, instead = row
    shown = asyncio.run(show(consumer))
    what = asyncio.run(find_undeliverable(consumer))[0].outcome
    return [
        consumer,
        ", ".join(f"``{value}``" for value in shown),
        what.partition("the client gets ")[2],
        instead,
    ]


def literals(cell: str) -> list[str]:
    return re.findall("``(.+?)``", cell)


def arguments_of(cell: str) -> tuple[Any, str, None, list[str]]:
    """
    Of a communicator, with a consumer whose connect() the cell has, and with the
    subprotocols that it offers.
    """
    offered: list[str] = []
    connect = ["async def connect(self):"]
    for literal in literals(cell):
        if literal.startswith("subprotocols="):
            offered = ast.literal_eval(literal.removeprefix("subprotocols="))
        else:
            connect.append(f"    await self.{literal}")
    methods: dict[str, Any] = {}
    exec("\n".join(connect), methods)
    consumer: type[AsyncJsonWebsocketConsumer] = type(
        "Consumer", (AsyncJsonWebsocketConsumer,), methods
    )
    return consumer.as_asgi(), "/", None, offered


async def show(cell: str) -> list[str]:
    """What connect() of the parent class gives, and what the test receives then."""
    communicator = WebsocketCommunicator(*arguments_of(cell))
    try:
        shown = [repr(await communicator.connect())]
        while not await communicator.receive_nothing(0.01):
            event = await communicator.receive_output()
            if event["type"] == "websocket.close":
                code, reason = event.get("code", 1000), event.get("reason", "")
                shown.append(f"{code} {reason}".rstrip())
            elif event["type"] == "websocket.send":
                shown.append(repr(event["text"] and json.loads(event["text"])))
            else:
                shown.append(event["type"])
    except AssertionError:
        shown = ["AssertionError"]
    await communicator.disconnect()
    return shown


async def find_undeliverable(cell: str) -> list[Undeliverable]:
    communicator = RecordingWebsocketCommunicator(*arguments_of(cell))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndeliverableWarning)
        async with communicator:
            await communicator.connect()
            await communicator.receive_nothing()
            return communicator.undeliverable


def main() -> None:
    text = README.read_text()
    for block in reversed(generated()):
        is_so = content(block)
        if timeless(is_so) != timeless(block.body):
            print(f"{README.name}:{block.line}: {block.directive} {block.argument}")
            indented = textwrap.indent(is_so, INDENTATION)
            before, after = text[: block.place.start], text[block.place.stop :]
            text = f"{before}{indented}\n{after}"
    README.write_text(text)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    main()

"""The transcript that exceptions carry as a note."""

import asyncio
import copy
import os
import pickle
import re
import subprocess
import sys
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE_WITH_REASON, JSON_FRAME, send
from tests.helpers import (
    TESTS,
    CommunicatorClass,
    both_classes,
    client,
    failure,
    having_sent,
    ignore_undeliverable,
    line_of,
    note,
    only_note,
    readable,
)
from tests.parent.test_idioms import connected, sending
from tests.scripts import Boom, Script, scripted


@ignore_undeliverable
async def test_a_crash_carries_the_transcript() -> None:
    communicator = client(JSON_FRAME, ending="raise")
    error = await failure(communicator.connect())
    assert error is communicator.future.exception()
    assert str(error) == "boom"
    line = line_of('raise Boom("boom")', str(TESTS / "scripts.py"))
    assert only_note(error) == (
        "Transcript: /ws/?token=old\n"
        "   0.0 ms  -> connect\n"
        '   0.0 ms  <- send       {"type": "jwt-expired"}'
        "  !! sent before accept(): the client receives HTTP 500\n"
        "   0.0 ms  the application raised tests.scripts.Boom: boom,"
        f" tests/scripts.py:{line}\n"
        "a client of Daphne sees: HTTP 500, then close code 1006"
    )


async def test_a_timeout_carries_the_transcript() -> None:
    communicator = client(ACCEPT)
    await communicator.connect()
    assert await note(communicator.receive_from(0.2)) == (
        "Transcript: /ws/?token=old\n"
        "   0.0 ms  -> connect\n"
        "   0.0 ms  <- accept\n"
        "   0.0 ms  the application was cancelled\n"
        "a client of Daphne sees: HTTP 101"
    )


async def test_an_error_of_channels_carries_the_transcript() -> None:
    communicator = client(ACCEPT, {**CLOSE_WITH_REASON, "reason": ""})
    await communicator.connect()
    assert await note(communicator.receive_from()) == (
        "Transcript: /ws/?token=old\n"
        "   0.0 ms  -> connect\n"
        "   0.0 ms  <- accept\n"
        "   0.0 ms  <- close      4401 ''\n"
        "a client of Daphne sees: HTTP 101, then close code 4401"
    )


class Layered(RecordingWebsocketCommunicator):
    """Overrides every method, and calls ``super()``."""

    async def connect(self, timeout: float | None = 1) -> tuple[bool, Any]:
        return await super().connect(timeout)

    async def receive_output(self, timeout: float | None = 1) -> Any:
        return await super().receive_output(timeout)

    async def receive_from(self, timeout: float = 1) -> Any:
        return await super().receive_from(timeout)


async def test_the_transcript_is_added_once_through_however_many_layers() -> None:
    application = scripted(Script((ACCEPT,), "raise"), "async")
    with pytest.raises(Boom) as raised:
        async with Layered(application, "/ws/") as communicator:
            await communicator.connect()
            await asyncio.wait([communicator.future])
            for name in ("receive_from", "receive_json_from", "receive_output"):
                with pytest.raises(Boom):
                    await getattr(communicator, name)()
            with pytest.raises(Boom):
                communicator.stop()
            await communicator.connect()
    assert len(getattr(raised.value, "__notes__")) == 1


async def test_every_block_adds_its_transcript() -> None:
    with pytest.raises(AssertionError) as raised:
        async with client(ACCEPT) as first, client(ACCEPT, CLOSE_WITH_REASON) as second:
            await asyncio.gather(first.connect(), second.connect())
            await second.receive_from()
    heading = "Transcript( [(]its call failed[)])?: /ws/[?]token=old\n"
    before, *parts = re.split(heading, only_note(raised.value))
    who_failed, of_second, nobody, of_first = parts
    assert "<- close" in of_second and "<- close" not in of_first
    assert (before, who_failed, nobody) == ("", " (its call failed)", None)


def test_an_exception_can_be_pickled() -> None:
    async def fail() -> BaseException:
        return await failure(client(ACCEPT).receive_from(0.01))

    error = asyncio.run(fail())
    copy: Any = pickle.loads(pickle.dumps(error))
    assert [str(copy), only_note(copy)] == [str(error), only_note(error)]


async def test_the_transcript_comes_after_existing_notes() -> None:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        error = Boom("boom")
        getattr(error, "add_note")("mine")
        raise error

    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    error = await failure(communicator.receive_output())
    notes = map(str, getattr(error, "__notes__"))
    assert [text.splitlines()[0] for text in notes] == [
        "mine",
        "Transcript: /ws/",
    ]


async def test_an_exception_in_the_body_of_a_block_carries_the_transcript() -> None:
    error = AssertionError("(False, 4401) != (True, None)")
    with pytest.raises(AssertionError) as raised:
        async with client(CLOSE_WITH_REASON) as communicator:
            await communicator.connect()
            raise error
    assert raised.value is error
    assert str(error) == "(False, 4401) != (True, None)"
    assert only_note(error) == (
        "Transcript: /ws/?token=old\n"
        "   0.0 ms  -> connect\n"
        "   0.0 ms  <- close      4401 expired"
        "           !! closed with a code or reason before accept():"
        " the client receives HTTP 403\n"
        "a client of Daphne sees: HTTP 403, then close code 1006"
    )


async def test_a_crash_that_the_end_of_a_block_raises_carries_the_transcript() -> None:
    with pytest.raises(Boom) as raised:
        async with client(ACCEPT, ending="raise") as communicator:
            await communicator.connect()
            await asyncio.wait([communicator.future])
    line = line_of('raise Boom("boom")', str(TESTS / "scripts.py"))
    assert only_note(raised.value) == (
        "Transcript: /ws/?token=old\n"
        "   0.0 ms  -> connect\n"
        "   0.0 ms  <- accept\n"
        "   0.0 ms  the application raised tests.scripts.Boom: boom,"
        f" tests/scripts.py:{line}\n"
        "a client of Daphne sees: HTTP 101, then close code 1011"
    )


async def test_unknown_servers_do_not_hide_the_failure() -> None:
    communicator = client()
    communicator.servers = ["nginx"]  # type: ignore[list-item]
    assert (await note(communicator.connect(0.2))).endswith(
        "a client of Daphne sees: no response yet"
    )


# The excerpt of a long transcript.


async def excerpt(events: int) -> list[str]:
    """Return the lines of the note for a transcript of so many events."""
    communicator = await having_sent(
        ACCEPT, *(send(text=str(n)) for n in range(3, events + 1))
    )
    with pytest.raises(AssertionError) as raised:
        async with communicator:
            raise AssertionError
    [note] = getattr(raised.value, "__notes__")
    return readable(note).splitlines()


async def test_a_note_shows_the_start_and_the_end_of_a_long_transcript() -> None:
    assert await excerpt(100) == [
        "Transcript: /ws/?token=old",
        "   0.0 ms  -> connect",
        "   0.0 ms  <- accept",
        *(f"   0.0 ms  <- send       {number}" for number in range(3, 11)),
        "     ...      70 more events",
        *(f"   0.0 ms  <- send       {number}" for number in range(81, 101)),
        "a client of Daphne sees: HTTP 101, 98 messages",
    ]


@pytest.mark.parametrize(
    ("events", "left_out"),
    [(30, []), (31, []), (32, ["     ...      2 more events"])],
)
async def test_a_note_never_leaves_out_just_one_event(
    events: int, left_out: list[str]
) -> None:
    lines = await excerpt(events)
    assert [line for line in lines if "more event" in line] == left_out
    assert len(lines) == 1 + min(events, 31) + 1


# What matches an exception, and what shows it.


def matches(error: BaseException | None, pattern: str = "^boom$") -> bool:
    """Return whether pytest takes an exception for one with this text."""
    assert error is not None
    try:
        with pytest.raises(type(error), match=pattern):
            raise error
    except AssertionError:
        return False
    return True


@both_classes
async def test_the_text_of_an_exception_is_matched_as_a_whole(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(communicator_class, sending(ACCEPT, ending="raise"))
    with pytest.raises(ValueError, match="^boom$"):
        await communicator.receive_output()
    with pytest.raises(ValueError, match="^boom$"):
        await communicator.disconnect()
    with pytest.raises(AssertionError, match="Regex pattern did not match"):
        with pytest.raises(ValueError, match="Transcript"):
            await communicator.disconnect()


async def test_the_text_of_an_exception_is_matched_after_two_blocks() -> None:
    with pytest.raises(ValueError, match="^boom$") as raised:
        async with client(ACCEPT) as first, client(ACCEPT) as second:
            await first.connect()
            await second.connect()
            raise Boom("boom")
    assert matches(raised.value) and not matches(raised.value, "Transcript")


async def test_the_text_is_matched_with_the_notes_of_the_test() -> None:
    with pytest.raises(ValueError, match="^boom\nmine$"):
        async with client(ACCEPT) as communicator:
            await communicator.connect()
            error = Boom("boom")
            getattr(error, "add_note")("mine")
            raise error


def crashed() -> BaseException:
    """Return what an application has raised from connect()."""

    async def fail() -> BaseException:
        return await failure(client(ending="raise").connect())

    return asyncio.run(fail())


def test_an_exception_can_be_pickled_again_and_again() -> None:
    error: Any = crashed()
    shown = only_note(error)
    assert shown.startswith("Transcript: /ws/?token=old\n")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for _ in range(2):
            error = pickle.loads(pickle.dumps(error, protocol))
            assert (type(error), str(error), only_note(error)) == (Boom, "boom", shown)
            assert matches(error) and not matches(error, "Transcript")


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy])
def test_an_exception_can_be_copied(make_copy: Callable[[object], Any]) -> None:
    error = crashed()
    for _ in range(2):
        duplicate = make_copy(error)
        assert only_note(duplicate) == only_note(error)
        assert matches(duplicate) and not matches(duplicate, "Transcript")
        error = duplicate


def test_a_note_is_rendered_when_it_is_shown_and_as_of_the_failure() -> None:
    async def fail() -> tuple[BaseException, str]:
        communicator = client(ACCEPT)
        await communicator.connect()
        error = await failure(communicator.receive_json_from(0.01))
        before = str(communicator.transcript)
        communicator.input_queue.put_nowait({"type": "later"})
        assert "later" in str(communicator.transcript)
        return error, before

    error, before = asyncio.run(fail())
    assert only_note(error) == readable(f"Transcript: {before}")


FAILING = """
import asyncio
from unittest import IsolatedAsyncioTestCase

from channels_closetest import RecordingWebsocketCommunicator


async def application(scope, receive, send):
    await receive()
    raise ValueError("boom")


async def fail():
    async with RecordingWebsocketCommunicator(application, "/ws/") as communicator:
        await communicator.connect()


class Tests(IsolatedAsyncioTestCase):
    async def test_it(self):
        await fail()


if __name__ == "__main__":
    asyncio.run(fail())
"""


def unindented(text: str) -> str:
    """Return the lines without indentation, and without the mark of pytest."""
    return re.sub("^(E? +)", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    [
        ["{file}"],
        ["-m", "unittest", "test_boom"],
        ["-m", "django", "test", "--settings=tests.settings", "test_boom"],
        ["-m", "pytest", "-p", "no:cacheprovider", "{file}"],
    ],
    ids=["interpreter", "unittest", "django", "pytest"],
)
def test_every_runner_shows_the_transcript(command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "test_boom.py"
    file.write_text(FAILING)
    environment = {
        name: value
        for name, value in os.environ.items()
        # The options of this run of pytest are not meant for another.
        if not name.startswith("PYTEST_")
    }
    path = os.pathsep.join([str(tmp_path), str(TESTS.parent)])
    process = subprocess.run(
        [sys.executable, *(part.format(file=file) for part in command)],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert process.returncode == 1, process.stdout
    line = line_of('raise ValueError("boom")', str(file))
    transcript = (
        "ValueError: boom\n"
        "Transcript: /ws/\n"
        "   0.0 ms  -> connect\n"
        f"   0.0 ms  the application raised ValueError: boom, {file.name}:{line}\n"
        "a client of Daphne sees: HTTP 500, then close code 1006\n"
    )
    shown = re.sub(r"\d+\.\d ms", "0.0 ms", unindented(process.stdout))
    assert unindented(transcript) in shown


def test_the_result_of_unittest_shows_the_transcript() -> None:
    class Tests(unittest.IsolatedAsyncioTestCase):
        async def test_it(self) -> None:
            await client(ending="raise").connect()

    result = unittest.TestResult()
    Tests("test_it").run(result)
    [(_, text)] = result.errors
    assert "Boom: boom\nTranscript: /ws/?token=old\n" in text


# An exception that several communicators raise.


def raising(error: BaseException, path: str) -> RecordingWebsocketCommunicator:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        await receive()
        raise error

    return RecordingWebsocketCommunicator(application, path)


def headings(error: BaseException) -> list[str]:
    """Return the paths of the transcripts that an exception carries."""
    return re.findall("^Transcript.*: (.*)$", only_note(error), re.MULTILINE)


async def test_a_singleton_carries_the_transcript_of_the_newest_communicator() -> None:
    boom = Boom("boom")
    for path in ("/1/", "/2/", "/3/"):
        communicator = raising(boom, path)
        for call in (communicator.connect, communicator.receive_from):
            assert await failure(call()) is boom
            assert headings(boom) == [path]


async def test_a_singleton_that_leaves_blocks_carries_the_newest_transcript() -> None:
    boom = Boom("boom")

    async def use(path: str) -> None:
        async with raising(boom, path) as communicator:
            await communicator.connect()

    for path in ("/1/", "/2/", "/3/"):
        assert await failure(use(path)) is boom
        assert headings(boom) == [path]


async def test_a_singleton_of_the_test_carries_the_transcripts_of_its_block() -> None:
    boom = Boom("boom")

    async def use(number: int) -> None:
        async with raising(Boom(), f"/outer/{number}/"):
            async with raising(Boom(), f"/inner/{number}/"):
                raise boom

    for number in range(3):
        assert await failure(use(number)) is boom
        assert headings(boom) == [f"/inner/{number}/", f"/outer/{number}/"]

"""The transcript that exceptions carry as a note."""

import asyncio
import pickle
import sys
from typing import Any

import pytest
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE_WITH_REASON, JSON_FRAME, send
from tests.helpers import (
    TESTS,
    client,
    failure,
    having_sent,
    ignore_undeliverable,
    line_of,
    note,
    only_note,
    readable,
    with_notes,
)
from tests.scripts import Boom, Script, scripted


@with_notes
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
        f"   0.0 ms  the application raised Boom('boom'), tests/scripts.py:{line}\n"
        "a client of Daphne sees: HTTP 500, then close code 1006"
    )


@with_notes
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


@with_notes
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


@with_notes
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


@with_notes
async def test_every_block_adds_its_transcript() -> None:
    with pytest.raises(AssertionError) as raised:
        async with client(ACCEPT) as first, client(ACCEPT, CLOSE_WITH_REASON) as second:
            await asyncio.gather(first.connect(), second.connect())
            await second.receive_from()
    _, of_second, of_first = only_note(raised.value).split("Transcript:")
    assert "<- close" in of_second and "<- close" not in of_first
    assert of_first.splitlines()[0] == of_second.splitlines()[0]


@with_notes
def test_an_exception_can_be_pickled() -> None:
    async def fail() -> BaseException:
        return await failure(client(ACCEPT).receive_from(0.01))

    error = asyncio.run(fail())
    copy: Any = pickle.loads(pickle.dumps(error))
    assert [str(copy), only_note(copy)] == [str(error), only_note(error)]


@with_notes
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


@with_notes
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


@with_notes
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
        f"   0.0 ms  the application raised Boom('boom'), tests/scripts.py:{line}\n"
        "a client of Daphne sees: HTTP 101, then close code 1011"
    )


@with_notes
async def test_unknown_servers_do_not_hide_the_failure() -> None:
    communicator = client()
    communicator.servers = ["nginx"]
    assert (await note(communicator.connect(0.2))).endswith(
        "a client of Daphne sees: no response yet"
    )


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="has notes")
async def test_python_3_10_has_no_notes() -> None:
    error = await failure(client(ending="raise").connect())
    assert not hasattr(error, "__notes__")


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


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no add_note()")
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


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no add_note()")
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

"""The transcript that exceptions carry as a note."""

import asyncio
import copy
import pickle
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, JSON_FRAME, send
from tests.failures.texts import BOOM, lines_of, transcript
from tests.helpers import (
    client,
    failure,
    having_sent,
    ignore_undeliverable,
    note,
    only_note,
    readable,
)
from tests.scripts import Boom

Communicator = RecordingWebsocketCommunicator
Call = Callable[[Communicator], Coroutine[Any, Any, object]]


def matches(error: BaseException, pattern: str) -> bool:
    """Return whether pytest takes an exception for one with this text."""
    try:
        with pytest.raises(type(error), match=pattern):
            raise error
    except AssertionError:
        return False
    return True


async def connect_and(communicator: Communicator, name: str) -> object:
    await communicator.connect()
    return await getattr(communicator, name)(timeout=0.2)


async def fail_in_block(communicator: Communicator, error: Exception) -> None:
    async with communicator:
        await communicator.connect()
        raise error


async def connect_in_block(communicator: Communicator) -> None:
    async with communicator:
        await communicator.connect()
        await asyncio.wait([communicator.future])


RAISED = f"the application raised {BOOM}"
#: A communicator, how its test fails, the text of the exception, and its transcript.
NOTES: dict[str, tuple[Callable[[], Communicator], Call, str | None, str]] = {
    "a crash": (
        lambda: client(JSON_FRAME, ending="raise"),
        lambda it: it.connect(),
        "boom",
        transcript(
            "-> connect",
            '<- send {"type": "jwt-expired"}',
            "!! sent before accept(): the client receives HTTP 500",
            RAISED,
            sees="HTTP 500, then close code 1006",
        ),
    ),
    "a crash that the end of a block raises": (
        lambda: client(ACCEPT, ending="raise"),
        connect_in_block,
        "boom",
        transcript(
            "-> connect", "<- accept", RAISED, sees="HTTP 101, then close code 1011"
        ),
    ),
    "a timeout": (
        lambda: client(ACCEPT),
        lambda it: connect_and(it, "receive_from"),
        None,
        transcript(
            "-> connect", "<- accept", "the application was cancelled", sees="HTTP 101"
        ),
    ),
    "an error of Channels": (
        lambda: client(ACCEPT, CLOSE),
        lambda it: connect_and(it, "receive_from"),
        f"Expected type 'websocket.send', but was '{CLOSE['type']}'",
        transcript(
            "-> connect",
            "<- accept",
            "<- close 4401",
            sees="HTTP 101, then close code 4401",
        ),
    ),
    "an error of the test in a block": (
        lambda: client(CLOSE),
        lambda it: fail_in_block(it, AssertionError("(False, 4401)")),
        "(False, 4401)",
        transcript(
            "-> connect",
            "<- close 4401",
            "!! closed with a code or reason before accept():"
            " the client receives HTTP 403",
            sees="HTTP 403, then close code 1006",
        ),
    ),
}


@ignore_undeliverable
@pytest.mark.parametrize("name", NOTES)
async def test_a_failure_carries_the_transcript_as_its_only_note(name: str) -> None:
    make, call, text, shown = NOTES[name]
    error = await failure(call(make()))
    assert only_note(error) == f"Transcript: {shown}"
    assert text is None or str(error) == text
    # Whoever looks for the text of the exception finds that alone.
    assert matches(error, f"^{re.escape(str(error))}$")
    assert not matches(error, "Transcript")


async def test_unknown_servers_do_not_hide_the_failure() -> None:
    communicator = client()
    communicator.servers = ["nginx"]  # type: ignore[list-item]
    assert (await note(communicator.connect(0.2))).endswith("sees: no response yet")


async def test_the_transcript_comes_after_the_notes_of_the_test() -> None:
    error = Boom("boom")
    error.add_note("mine")
    assert await failure(fail_in_block(client(ACCEPT), error)) is error
    first, second = map(str, error.__notes__)
    assert (first, second.splitlines()[0]) == ("mine", "Transcript: /ws/?token=old")
    assert matches(error, "^boom\nmine$")


# The excerpt of a long transcript.


@pytest.mark.parametrize("events", [30, 31, 32, 100])
async def test_a_note_shows_the_start_and_the_end_of_a_long_transcript(
    events: int,
) -> None:
    numbers = range(3, events + 1)
    communicator = await having_sent(ACCEPT, *(send(text=str(it)) for it in numbers))
    with pytest.raises(AssertionError) as raised:
        async with communicator:
            raise AssertionError
    shown = ["-> connect", "<- accept", *(f"<- send {number}" for number in numbers)]
    # Never just one.
    if events > 31:
        shown[10:-20] = [f"...      {events - 30} more events"]
    assert lines_of(only_note(raised.value)) == shown


# When it is rendered.


COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(
        lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
]


@pytest.mark.parametrize("make_copy", COPIES)
async def test_an_exception_can_be_copied_and_pickled(
    make_copy: Callable[[Any], Any],
) -> None:
    error = await failure(client(ending="raise").connect())
    shown = only_note(error)
    assert shown.startswith("Transcript: /ws/?token=old\n")
    for _ in range(2):
        error = make_copy(error)
        assert (type(error), str(error), only_note(error)) == (Boom, "boom", shown)
        assert matches(error, "^boom$") and not matches(error, "Transcript")


async def test_a_note_is_rendered_when_it_is_shown_and_as_of_the_failure() -> None:
    communicator = client(ACCEPT)
    await communicator.connect()
    error = await failure(communicator.receive_json_from(0.01))
    before = str(communicator.transcript)
    communicator.input_queue.put_nowait({"type": "later"})
    assert "later" in str(communicator.transcript)
    assert only_note(error) == readable(f"Transcript: {before}")


# An exception that several communicators raise.


def headings(error: BaseException) -> list[str]:
    """Return the first lines of the transcripts that an exception carries."""
    return re.findall("^Transcript(.*)$", only_note(error), re.MULTILINE)


@pytest.mark.parametrize("failing", [0, 1])
async def test_clients_whose_paths_differ_at_the_end_can_be_told_apart(
    failing: int,
) -> None:
    path = f"/ws/rooms/a-room-with-quite-a-long-name/?token={'0123456789' * 9}"
    clients = [raising(Boom("boom"), f"{path}{end}") for end in ("first", "second")]
    with pytest.raises(Boom) as raised:
        async with clients[0], clients[1]:
            await clients[failing].connect()
    shown = headings(raised.value)
    assert len(shown) == 2
    # Whose call has failed is said of one of them.
    assert {
        (it.count("first"), it.count("second"), "failed" in it) for it in shown
    } == {
        (1, 0, failing == 0),
        (0, 1, failing == 1),
    }


def raising(error: BaseException, path: str) -> Communicator:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        await receive()
        raise error

    return RecordingWebsocketCommunicator(application, path)


@pytest.mark.parametrize(
    "call", [RecordingWebsocketCommunicator.connect, connect_in_block]
)
async def test_a_singleton_carries_the_transcript_of_the_newest_communicator(
    call: Call,
) -> None:
    boom = Boom("boom")
    for path in ("/1/", "/2/", "/3/"):
        communicator = raising(boom, path)
        assert await failure(call(communicator)) is boom
        assert headings(boom) == [f": {path}"]
        assert await failure(communicator.receive_from()) is boom
        assert headings(boom) == [f": {path}"]


async def test_a_singleton_of_the_test_carries_the_transcripts_of_its_block() -> None:
    boom = Boom("boom")

    async def use(number: int) -> None:
        async with raising(Boom(), f"/outer/{number}/"):
            async with raising(Boom(), f"/inner/{number}/"):
                raise boom

    for number in range(3):
        assert await failure(use(number)) is boom
        assert headings(boom) == [f": /inner/{number}/", f": /outer/{number}/"]

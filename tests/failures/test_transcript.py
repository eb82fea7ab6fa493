"""The transcript: its records, and its text."""

import asyncio
import gc
import json
import re
import time
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest
from channels.routing import URLRouter

from channels_closetest import Record, RecordingWebsocketCommunicator
from channels_closetest.recording import Recording
from tests.events import ACCEPT, CLOSE, CONNECT, Event, accept, body, send, start
from tests.failures.texts import BOOM, lines_of, transcript
from tests.helpers import (
    each_kind,
    failure,
    having_sent,
    ignore_undeliverable,
    line_of,
    readable,
)
from tests.hostile import deep
from tests.scripts import Boom, Kind

pytestmark = ignore_undeliverable


# Records.


@each_kind
async def test_records_have_the_events_of_both_directions(kind: Kind) -> None:
    communicator = await having_sent(ACCEPT, send(text="1"), kind=kind)
    await communicator.send_to(bytes_data=b"2")
    await communicator.disconnect()
    assert [record[:2] for record in communicator.transcript.records] == [
        ("receive", CONNECT),
        ("send", ACCEPT),
        ("send", send(text="1")),
        ("receive", {"type": "websocket.receive", "bytes": b"2"}),
        ("receive", {"type": "websocket.disconnect", "code": 1000}),
    ]


async def test_the_times_are_seconds_since_the_first_event() -> None:
    start = time.perf_counter()
    communicator = await having_sent(ACCEPT)
    await asyncio.sleep(0.1)
    await communicator.send_to("1")
    communicator.stop()
    await asyncio.wait([communicator.future])
    elapsed = time.perf_counter() - start
    first, second, third = [it.seconds for it in communicator.transcript.records]
    assert 0 == first <= second < third < elapsed
    assert 0.05 < third
    *_, line, _ = str(communicator.transcript).splitlines()
    milliseconds, _, ended = line.partition(" ms  ")
    assert ended == "the application was cancelled"
    assert 50 < float(milliseconds) <= elapsed * 1000 + 0.1


@pytest.mark.parametrize("ending", ["return", "raise"])
async def test_an_end_before_any_event_is_at_0_ms(ending: str) -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        if ending == "raise":
            raise Boom("boom")

    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    await failure(communicator.receive_output())
    _, line, _ = str(communicator.transcript).splitlines()
    assert line.startswith("     0.0 ms  the application r")


async def test_a_record_is_comparable_and_immutable() -> None:
    communicator = await having_sent(ACCEPT)
    [_, record] = communicator.transcript.records
    assert record == Record("send", ACCEPT, record.seconds, record.place)
    assert record == communicator.transcript.records[1]
    assert record != Record("send", CLOSE, record.seconds)
    with pytest.raises(AttributeError):
        record.seconds = 0  # type: ignore[misc]
    with pytest.raises(TypeError):
        record.event["type"] = "websocket.close"


async def test_the_transcript_is_a_snapshot_and_shows_how_much_it_holds() -> None:
    communicator = await having_sent(ACCEPT)
    transcript = communicator.transcript
    shown, records = str(transcript), transcript.records
    await communicator.send_to("1")
    await communicator.disconnect()
    assert (str(transcript), transcript.records) == (shown, records)
    assert isinstance(records, tuple) and len(records) == 2
    assert communicator.transcript.records[:2] == records
    assert repr(transcript) == "<Transcript of /ws/?token=old: 2 events>"


async def test_a_transcript_shows_the_crash_when_its_communicator_is_gone() -> None:
    transcript = (await having_sent(ACCEPT, ending="raise")).transcript
    gc.collect()
    assert f"  the application raised {BOOM}\n" in readable(transcript)


# Events are recorded as sent.


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: send(text="sent"), lambda it: it.update(text="changed")),
        (lambda: send(text="sent"), lambda it: it.clear()),
        (lambda: UserDict(send(text="sent")), lambda it: it.update(text="changed")),
        (lambda: send(bytes=bytearray(b"sent")), lambda it: it["bytes"].clear()),
        (
            lambda: accept(headers=[(b"name", [b"sent"])]),
            lambda it: it["headers"][0][1].clear(),
        ),
        (
            lambda: {"type": "x", "a": {"b": ({"c": ["sent"]},)}},
            lambda it: it["a"]["b"][0]["c"].append("changed"),
        ),
    ],
)
async def test_an_event_that_is_changed_later_is_recorded_as_sent(
    make: Callable[[], Event], change: Callable[[Event], None]
) -> None:
    sent, as_sent = make(), make()
    communicator = await having_sent(sent)
    change(sent)
    received = await communicator.receive_output()
    assert received is sent
    [_, record] = communicator.transcript.records
    assert record.event == as_sent
    assert received != as_sent
    assert readable(communicator.transcript) == readable(
        (await having_sent(as_sent)).transcript
    )


def recorded(sent: Event) -> Any:
    recording = Recording()
    recording.add("send", sent)
    return recording.records[0][1]


def test_an_event_that_is_too_deep_to_be_copied_is_recorded_as_sent() -> None:
    sent = send(text="sent", extra=deep())
    event = recorded(sent)
    sent["text"] = "changed"
    assert event["text"] == "sent"
    assert event["extra"] is sent["extra"]


def test_a_part_of_an_event_may_appear_in_it_twice() -> None:
    part = {"a": [1]}
    event = recorded(send(first=part, second=[part, (part,)]))
    part["a"].append(2)
    assert event == send(first={"a": [1]}, second=[{"a": [1]}, ({"a": [1]},)])


# str().


LOST = "!! lost: the connection had ended"
MALFORMED = "!! a malformed event: raises, or is lost, depending on the server"
#: What an application has sent, other arguments, and the transcript after its connect.
SESSIONS: dict[str, tuple[tuple[object, ...], dict[str, Any], str]] = {
    "nothing": ((), {}, transcript("-> connect")),
    "accepted, then closed": (
        (ACCEPT, send(text="1"), {**CLOSE, "reason": "token expired"}),
        {"ending": "return", "servers": ["uvicorn"]},
        transcript(
            "-> connect",
            "<- accept",
            "<- send 1",
            "<- close 4401 token expired",
            "the application returned",
            sees="HTTP 101, 1 message, then close code 4401 token expired",
            server="Uvicorn",
        ),
    ),
    "a subprotocol and headers": (
        (accept(subprotocol="v2.chat", headers=[(b"a", b"b")]),),
        {"subprotocols": ["chat", "v2.chat", " "], "path": "/"},
        transcript(
            "-> connect",
            "<- accept subprotocol v2.chat, headers [(b'a', b'b')]",
            "!! accepted with headers: the client receives no headers on Daphne",
            sees="HTTP 101, subprotocol v2.chat",
            path="/, subprotocols chat, v2.chat, ' '",
        ),
    ),
    "two faults": (
        (accept(headers=[("a", "b")]),),
        {"subprotocols": ["chat"], "servers": ["daphne"]},
        transcript(
            "-> connect",
            "<- accept headers [('a', 'b')]",
            "!! accepted with headers that are not pairs of bytes: the client receives"
            " no headers",
            "!! accepted without any of the offered subprotocols: the client receives a"
            " response that Chromium rejects",
            sees="no response, then close code 1006",
            path="/ws/?token=old, subprotocols chat",
        ),
    ),
    "denied": (
        (start(status=401, headers=[]), body(body=b"Not ", more_body=True), body()),
        {"servers": ["hypercorn"]},
        transcript(
            "-> connect",
            "<- denial HTTP 401",
            "<- denial body b'Not ', more to come",
            "<- denial body b''",
            sees="HTTP 401, then close code 1006",
            server="Hypercorn",
        ),
    ),
    "not valid events": (
        ({"type": "websocket.unknown", "id": 1}, {}, None, "text", [("a",)], "a\nb"),
        {},
        transcript(
            "-> connect",
            "<- {'id': 1, 'type': 'websocket.unknown'}",
            MALFORMED,
            *("<- {}", LOST),
            *("<- None", LOST),
            *("<- text", LOST),
            *("<- [('a',)]", LOST),
            *("<- 'a\\nb'", LOST),
            sees="HTTP 500, then close code 1006",
        ),
    ),
    "frames": (
        (
            ACCEPT,
            send(text='{"n": 1}'),
            send(bytes=b"\0"),
            send(text="a", bytes=None),
            send(text="", bytes=b"b"),
            send(text=" a "),
            send(text="\x1b[31m"),
            send(text="\ud800"),
            send(),
        ),
        {"servers": ["uvicorn"]},
        transcript(
            "-> connect",
            "<- accept",
            '<- send {"n": 1}',
            "<- send b'\\x00'",
            "<- send a",
            "<- send '' and b'b'",
            "<- send ' a '",
            "<- send '\\x1b[31m'",
            "<- send '\\ud800'",
            MALFORMED,
            "<- send with neither text nor bytes",
            LOST,
            sees="HTTP 101, 6 messages, then close code 1006",
            server="Uvicorn",
        ),
    ),
}


@pytest.mark.parametrize("name", SESSIONS)
@each_kind
async def test_str_shows_the_events_and_what_the_client_sees(
    name: str, kind: Kind
) -> None:
    events, arguments, expected = SESSIONS[name]
    communicator = await having_sent(*events, kind=kind, **arguments)
    assert readable(communicator.transcript) == expected
    communicator.stop(exceptions=False)


async def test_str_shows_what_the_test_sends() -> None:
    communicator = await having_sent(ACCEPT)
    await communicator.send_to('{"n": 1}')
    await communicator.send_to(bytes_data=b"\0")
    await communicator.send_input({"type": "notes.new"})
    await communicator.disconnect(code=4000)
    await communicator.send_input({"type": "websocket.disconnect", "code": 1000})
    assert readable(communicator.transcript) == transcript(
        "-> connect",
        "<- accept",
        '-> receive {"n": 1}',
        "-> receive b'\\x00'",
        "-> {'type': 'notes.new'}",
        "-> disconnect 4000",
        "the application returned",
        # After its end, and shown there.
        "-> disconnect 1000",
        sees="HTTP 101, then close code 1000",
    )


async def test_a_crash_is_located_in_the_code_of_the_project() -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        json.loads("{")  # crashes

    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    await failure(communicator.connect())
    line = line_of('json.loads("{")  # crashes', __file__)
    ends = lines_of(communicator.transcript)[-1]
    assert "JSONDecodeError" in ends
    assert ends.endswith(f", tests/failures/test_transcript.py:{line}")


async def test_a_crash_in_a_library_is_located_in_the_library() -> None:
    communicator = RecordingWebsocketCommunicator(URLRouter([]), "/ws/")
    await failure(communicator.connect())
    _, ends, hint = lines_of(communicator.transcript)
    assert re.search(r"raised ValueError: .*channels/routing.py:\d+$", ends), ends
    assert hint == "the routes are: ''"

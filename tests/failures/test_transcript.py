"""The transcript: its records, and its text."""

import ast
import asyncio
import gc
import json
import re
import textwrap
import time
from collections import UserDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pytest
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from channels.routing import URLRouter
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_closetest import Record, RecordingWebsocketCommunicator, Transcript
from channels_closetest.recording import Recording
from channels_closetest.servers.rules import SERVERS, ServerName
from channels_closetest.text.values import (
    PAYLOAD_WIDTH,
    format_event,
    format_path,
    format_value,
)
from tests.events import (
    ACCEPT,
    CLOSE,
    CONNECT,
    DISCONNECT,
    Event,
    accept,
    body,
    close,
    send,
    start,
)
from tests.helpers import (
    each_kind,
    failure,
    having_sent,
    ignore_undeliverable,
    line_of,
    readable,
)
from tests.hostile import NESTED, Hostile, UnhashableText
from tests.scripts import Boom, Kind

pytestmark = ignore_undeliverable


#: The width of a terminal, which a line fits into without its remark after "!!".
COLUMNS = 120


def lines_of(transcript: Transcript) -> list[str]:
    """Return the lines of the events, without their times and remarks."""
    _, *lines, _ = readable(transcript).splitlines()
    return [
        line.removeprefix("   0.0 ms  ").partition("  !! ")[0].rstrip()
        for line in lines
    ]


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
        ("receive", DISCONNECT),
    ]


async def test_the_times_are_seconds_since_the_first_event() -> None:
    start = time.perf_counter()
    communicator = await having_sent(ACCEPT)
    await asyncio.sleep(0.1)
    await communicator.send_to("1")
    elapsed = time.perf_counter() - start
    first, second, third = [
        record.seconds for record in communicator.transcript.records
    ]
    assert first == 0
    assert 0 <= second < third
    assert 0.05 < third < elapsed


def test_the_times_are_those_of_a_clock_that_is_never_set() -> None:
    start = time.perf_counter()
    recording = Recording()
    assert start <= recording.made <= time.perf_counter()
    recording.add("send", ACCEPT)
    recording.add("send", CLOSE)
    [(_, _, first, _), (_, _, second, _)] = recording.records
    assert 0 == first <= second <= time.perf_counter() - start


@pytest.mark.parametrize("ending", ["return", "raise"])
async def test_an_end_before_any_event_is_at_0_ms(ending: str) -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        if ending == "raise":
            raise Boom("boom")

    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    await failure(communicator.receive_output())
    _, line, _ = str(communicator.transcript).splitlines()
    assert line.startswith("     0.0 ms  the application r")


async def test_an_end_after_an_event_has_the_time_since_the_first() -> None:
    communicator = await having_sent(ACCEPT)
    await asyncio.sleep(0.1)
    communicator.stop()
    await asyncio.wait([communicator.future])
    *_, line, _ = str(communicator.transcript).splitlines()
    milliseconds, _, ended = line.partition(" ms  ")
    assert ended == "the application was cancelled"
    assert 50 < float(milliseconds) < 60_000


async def test_a_record_is_comparable_and_immutable() -> None:
    communicator = await having_sent(ACCEPT)
    [_, record] = communicator.transcript.records
    assert record == Record("send", ACCEPT, record.seconds)
    assert record == communicator.transcript.records[1]
    assert record != Record("send", CLOSE, record.seconds)
    with pytest.raises(AttributeError):
        record.seconds = 0  # type: ignore[misc]
    with pytest.raises(TypeError):
        record.event["type"] = "websocket.close"


async def test_a_transcript_shows_how_much_it_holds() -> None:
    communicator = await having_sent(ACCEPT)
    assert repr(communicator.transcript) == "<Transcript of /ws/?token=old: 2 events>"


async def test_the_transcript_is_a_snapshot() -> None:
    communicator = await having_sent(ACCEPT)
    transcript = communicator.transcript
    shown, records = str(transcript), transcript.records
    await communicator.send_to("1")
    await communicator.disconnect()
    assert (str(transcript), transcript.records) == (shown, records)
    assert isinstance(records, tuple) and len(records) == 2
    assert communicator.transcript.records[:2] == records


async def test_a_transcript_shows_the_crash_when_its_communicator_is_gone() -> None:
    transcript = (await having_sent(ACCEPT, ending="raise")).transcript
    gc.collect()
    assert "  the application raised tests.scripts.Boom: boom, tests/" in readable(
        transcript
    )


# Events are recorded as sent.


def change_text(event: Event) -> None:
    event["text"] = "changed"


def clear(event: Event) -> None:
    event.clear()


def change_header(event: Event) -> None:
    event["headers"][0][1][0] = b"changed"


def change_bytearray(event: Event) -> None:
    event["bytes"][:] = b"changed"


def change_deep(event: Event) -> None:
    event["a"]["b"][0]["c"].append("changed")


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: send(text="sent"), change_text),
        (lambda: send(text="sent"), clear),
        (lambda: accept(headers=[(b"name", [b"sent"])]), change_header),
        (lambda: send(bytes=bytearray(b"sent")), change_bytearray),
        (lambda: {"type": "x", "a": {"b": ({"c": ["sent"]},)}}, change_deep),
        (lambda: UserDict(send(text="sent")), change_text),
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


def test_an_event_that_is_too_deep_to_be_copied_is_recorded_as_sent() -> None:
    sent = send(text="sent", extra=deep())
    recording = Recording()
    recording.add("send", sent)
    sent["text"] = "changed"
    [(_, event, _, _)] = recording.records
    assert event["text"] == "sent"
    assert event["extra"] is sent["extra"]


def test_a_part_of_an_event_may_appear_in_it_twice() -> None:
    part = {"a": [1]}
    sent = send(first=part, second=[part, (part,)])
    recording = Recording()
    recording.add("send", sent)
    part["a"].append(2)
    [(_, event, _, _)] = recording.records
    assert event == send(first={"a": [1]}, second=[{"a": [1]}, ({"a": [1]},)])


@pytest.mark.parametrize("mapping", [UserDict, MappingProxyType])
async def test_an_event_of_another_mapping_is_recorded_as_a_read_only_dict(
    mapping: Any,
) -> None:
    events = [mapping(accept(subprotocol="chat")), mapping(send(text="1"))]
    communicator = await having_sent(*events, subprotocols=["chat"])
    assert [record.event for record in communicator.transcript.records] == [
        CONNECT,
        accept(subprotocol="chat"),
        send(text="1"),
    ]
    for record in communicator.transcript.records:
        with pytest.raises(TypeError):
            record.event["type"] = "changed"
    assert lines_of(communicator.transcript) == [
        "-> connect    subprotocols chat",
        "<- accept     subprotocol chat",
        "<- send       1",
    ]
    assert await communicator.connect() == (True, "chat")
    assert await communicator.receive_output() is events[1]
    assert communicator.client_view == (101, "chat", [1], None, None)


# str().


SESSIONS: dict[str, tuple[tuple[object, ...], dict[str, Any], str]] = {
    "nothing": (
        (),
        {},
        """\
        /ws/?token=old
           0.0 ms  -> connect
        a client of Daphne sees: no response yet""",
    ),
    "accepted": (
        (ACCEPT, send(text='{"n": 1}'), send(text="plain"), send(bytes=b"\0")),
        {},
        """\
        /ws/?token=old
           0.0 ms  -> connect
           0.0 ms  <- accept
           0.0 ms  <- send       {"n": 1}
           0.0 ms  <- send       plain
           0.0 ms  <- send       b'\\x00'
        a client of Daphne sees: HTTP 101, 3 messages""",
    ),
    "accepted, then closed": (
        (ACCEPT, send(text="1"), CLOSE),
        {"ending": "return"},
        """\
        /ws/?token=old
           0.0 ms  -> connect
           0.0 ms  <- accept
           0.0 ms  <- send       1
           0.0 ms  <- close      4401
           0.0 ms  the application returned
        a client of Daphne sees: HTTP 101, 1 message, then close code 4401""",
    ),
    "subprotocol": (
        (accept(subprotocol="chat"),),
        {"subprotocols": ["chat"]},
        """\
        /ws/?token=old
           0.0 ms  -> connect    subprotocols chat
           0.0 ms  <- accept     subprotocol chat
        a client of Daphne sees: HTTP 101, subprotocol chat""",
    ),
    "several subprotocols": (
        (accept(subprotocol="v2.chat"),),
        {"subprotocols": ["chat", "v2.chat", " "]},
        """\
        /ws/?token=old
           0.0 ms  -> connect    subprotocols chat, v2.chat, ' '
           0.0 ms  <- accept     subprotocol v2.chat
        a client of Daphne sees: HTTP 101, subprotocol v2.chat""",
    ),
    "subprotocol and headers": (
        (accept(subprotocol="chat", headers=[(b"a", b"b")]),),
        {"path": "/"},
        """\
        /
           0.0 ms  -> connect
           0.0 ms  <- accept     subprotocol chat, headers [(b'a', b'b')]\
  !! accepted with a subprotocol that was not offered: the client receives no\
 response: the connection is dropped on Daphne and Hypercorn, a response that\
 Chromium rejects on Uvicorn
        a client of Daphne sees: no response, then close code 1006""",
    ),
    "a frame and a close before accept": (
        (send(text='{"type": "jwt-expired"}'), CLOSE),
        {},
        """\
        /ws/?token=old
           0.0 ms  -> connect
           0.0 ms  <- send       {"type": "jwt-expired"}  !! sent before accept(): the\
 client receives HTTP 500
           0.0 ms  <- close      4401                   !! lost: the connection had\
 ended
        a client of Daphne sees: HTTP 500, then close code 1006""",
    ),
    "denied": (
        (
            start(status=401, headers=[]),
            body(body=b"Not ", more_body=True),
            body(body=b""),
        ),
        {"servers": ["hypercorn"]},
        """\
        /ws/?token=old
           0.0 ms  -> connect
           0.0 ms  <- denial     HTTP 401
           0.0 ms  <- denial     body b'Not ', more to come
           0.0 ms  <- denial     body b''
        a client of Hypercorn sees: HTTP 401, then close code 1006""",
    ),
    "with a reason": (
        (ACCEPT, {**CLOSE, "reason": "token expired"}),
        {"servers": ["uvicorn"]},
        """\
        /ws/?token=old
           0.0 ms  -> connect
           0.0 ms  <- accept
           0.0 ms  <- close      4401 token expired
        a client of Uvicorn sees: HTTP 101, then close code 4401 token expired""",
    ),
    "not valid events": (
        (
            {"type": "websocket.unknown", "id": 1},
            {},
            None,
            "text",
            [("a", "pair")],
            "a\nb",
        ),
        {"servers": ["daphne"]},
        """\
        /ws/?token=old
           0.0 ms  -> connect
           0.0 ms  <- {'id': 1, 'type': 'websocket.unknown'}  !! a malformed event:\
 raises, or is lost, depending on the server
           0.0 ms  <- {}                                !! lost: the connection had\
 ended
           0.0 ms  <- None                              !! lost: the connection had\
 ended
           0.0 ms  <- text                              !! lost: the connection had\
 ended
           0.0 ms  <- [('a', 'pair')]                   !! lost: the connection had\
 ended
           0.0 ms  <- 'a\\nb'                            !! lost: the connection had\
 ended
        a client of Daphne sees: HTTP 500, then close code 1006""",
    ),
    "odd frames": (
        (
            ACCEPT,
            send(text="a", bytes=None),
            send(text="", bytes=b"b"),
            send(text=" a "),
            send(text="\x1b[31m"),
            send(text="\ud800"),
            send(),
        ),
        {"servers": ["uvicorn"]},
        """\
        /ws/?token=old
           0.0 ms  -> connect
           0.0 ms  <- accept
           0.0 ms  <- send       a
           0.0 ms  <- send       '' and b'b'
           0.0 ms  <- send       ' a '
           0.0 ms  <- send       '\\x1b[31m'
           0.0 ms  <- send       '\\ud800'               !! a malformed event: raises,\
 or is lost, depending on the server
           0.0 ms  <- send       with neither text nor bytes  !! lost: the connection\
 had ended
        a client of Uvicorn sees: HTTP 101, 4 messages, then close code 1006""",
    ),
}


@pytest.mark.parametrize("name", SESSIONS)
@each_kind
async def test_str_shows_the_events_and_what_the_client_sees(
    name: str, kind: Kind
) -> None:
    events, arguments, expected = SESSIONS[name]
    communicator = await having_sent(*events, kind=kind, **arguments)
    assert readable(communicator.transcript) == textwrap.dedent(expected)
    communicator.stop(exceptions=False)


@pytest.mark.parametrize(
    ("frames", "shown"),
    [
        (0, "HTTP 101"),
        (1, "HTTP 101, 1 message"),
        (2, "HTTP 101, 2 messages"),
        (3, "HTTP 101, 3 messages"),
    ],
)
async def test_the_last_line_counts_what_the_client_sees(
    frames: int, shown: str
) -> None:
    communicator = await having_sent(ACCEPT, *[send(text="1")] * frames)
    *_, line = str(communicator.transcript).splitlines()
    assert line == f"a client of Daphne sees: {shown}"


@pytest.mark.parametrize(
    ("server", "sees"),
    [
        ("daphne", "HTTP 101, then close code 4401"),
        ("uvicorn", "HTTP 101, 1 message, then close code 4401 why"),
        ("hypercorn", "HTTP 101, 1 message, then close code 4401 why"),
    ],
)
async def test_the_last_line_is_about_the_first_of_the_servers(
    server: ServerName, sees: str
) -> None:
    servers = [server, *(other for other in SERVERS if other != server)]
    communicator = await having_sent(
        ACCEPT, send(text=""), {**CLOSE, "reason": "why"}, servers=servers
    )
    *_, line = str(communicator.transcript).splitlines()
    assert line == f"a client of {server.capitalize()} sees: {sees}"
    assert communicator.client_view.messages == ([] if server == "daphne" else [""])


async def test_str_shows_what_the_test_sends() -> None:
    communicator = await having_sent(ACCEPT)
    await communicator.send_to('{"n": 1}')
    await communicator.send_to(bytes_data=b"\0")
    await communicator.send_input({"type": "notes.changed", "id": 1})
    await communicator.disconnect(code=4000)
    assert readable(communicator.transcript) == textwrap.dedent("""\
        /ws/?token=old
           0.0 ms  -> connect
           0.0 ms  <- accept
           0.0 ms  -> receive    {"n": 1}
           0.0 ms  -> receive    b'\\x00'
           0.0 ms  -> {'id': 1, 'type': 'notes.changed'}
           0.0 ms  -> disconnect 4000
           0.0 ms  the application returned
        a client of Daphne sees: HTTP 101, then close code 1000""")


async def test_str_shows_events_after_the_end_of_the_application_below_it() -> None:
    communicator = await having_sent(ACCEPT, CLOSE, ending="return")
    await communicator.disconnect()
    lines = readable(communicator.transcript).splitlines()
    assert lines[-3:] == [
        "   0.0 ms  the application returned",
        "   0.0 ms  -> disconnect 1000",
        "a client of Daphne sees: HTTP 101, then close code 4401",
    ]


async def test_a_crash_is_located_in_the_code_of_the_project() -> None:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        json.loads("{")  # crashes

    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    error = await failure(communicator.connect())
    line = line_of('json.loads("{")  # crashes', __file__)
    ends = readable(communicator.transcript).splitlines()[-2]
    assert error.__class__.__name__ in ends
    assert ends.endswith(f", tests/failures/test_transcript.py:{line}")


async def test_a_crash_in_a_library_is_located_in_the_library() -> None:
    communicator = RecordingWebsocketCommunicator(URLRouter([]), "/ws/")
    await failure(communicator.connect())
    ends = readable(communicator.transcript).splitlines()[-2]
    assert re.search(r"raised ValueError: .*channels/routing.py:\d+$", ends), ends


# Readable lines.


LONG: dict[str, object] = {
    "text": send(text="x" * 10_000),
    "text with line breaks": send(text="a\n" * 10_000),
    "text that is not printable": send(text="\x1b" * 10_000),
    "bytes": send(bytes=b"\0" * 10_000),
    "text and bytes": {**send(text="x" * 10_000), "bytes": b"\0" * 10_000},
    "code": close(code=10**1_000),
    "reason": {**CLOSE, "reason": "x" * 10_000},
    "code and reason": close(code="x" * 10_000, reason="\n" * 10_000),
    "subprotocol": accept(subprotocol="x" * 10_000),
    "headers": accept(headers=[(b"name" * 1_000, b"value" * 1_000)] * 1_000),
    "status": start(status="x" * 10_000),
    "body": body(body=b"\0" * 10_000, more_body=True),
    "unknown": {"type": "x" * 10_000, "key" * 1_000: "x" * 10_000},
    "many keys": {str(number): number for number in range(10_000)},
    "list": [list(range(10_000))] * 10_000,
    "str": "x" * 10_000,
}


@pytest.mark.parametrize("name", LONG)
async def test_a_line_fits_into_a_terminal(name: str) -> None:
    communicator = await having_sent(LONG[name])
    [_, line] = lines_of(communicator.transcript)
    assert len("   0.0 ms  " + line) <= COLUMNS


async def test_a_shortened_payload_shows_its_length() -> None:
    communicator = await having_sent(
        ACCEPT,
        send(text="x" * 50),
        send(text=f"<{'y' * 49}>"),
        send(bytes=b"<%s>" % (b"z" * 97)),
        send(text=f"{'a' * 30} {'b' * 30}"),
        send(text=f"<{' ' * 49}>"),
    )
    assert lines_of(communicator.transcript)[2:] == [
        f"<- send       {'x' * 50}",
        f"<- send       <{'y' * 24}...{'y' * 24}> (51 in all)",
        f"<- send       b'<{'z' * 17}'...b'{'z' * 17}>' (99 in all)",
        f"<- send       {'a' * 25}...{'b' * 25} (61 in all)",
        f"<- send       <{' ' * 24}...{' ' * 24}> (51 in all)",
    ]


@pytest.mark.parametrize(
    "offered", [["x" * 10_000], ["chat"] * 100, ["x" * 10_000] * 100]
)
async def test_the_line_of_connect_fits_into_a_terminal(offered: list[str]) -> None:
    communicator = await having_sent(subprotocols=offered)
    [line] = lines_of(communicator.transcript)
    assert len("   0.0 ms  " + line) <= COLUMNS


@pytest.mark.parametrize("path", ["/" + "p" * 1_000, "/?token=" + "t" * 1_000])
async def test_the_line_of_the_path_fits_into_a_terminal(path: str) -> None:
    communicator = await having_sent(path=path)
    first, _, _ = str(communicator.transcript).splitlines()
    assert len(first) <= COLUMNS
    assert len(repr(communicator)) <= 2 * COLUMNS


class Multiline:
    def __repr__(self) -> str:
        return "array([1,\n       2])"


class MultilineError(Exception):
    __repr__ = Multiline.__repr__


@pytest.mark.parametrize(
    "event", [send(text=Multiline()), {"type": "x", "y": Multiline()}, Multiline()]
)
async def test_an_event_takes_one_line_whatever_its_repr(event: object) -> None:
    communicator = await having_sent(event)
    assert len(lines_of(communicator.transcript)) == 2


async def test_a_crash_takes_one_line_whatever_its_repr() -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        raise MultilineError

    communicator = RecordingWebsocketCommunicator(application, "/")
    with pytest.raises(MultilineError):
        await communicator.receive_output()
    assert len(str(communicator.transcript).splitlines()) == 3


@pytest.mark.parametrize("scope", [None, {}, {"path": None, "query_string": "text"}])
async def test_a_scope_without_a_path_is_shown(scope: Any) -> None:
    communicator = await having_sent(ACCEPT)
    communicator.scope = scope
    path = "?" if not scope else "None"
    assert str(communicator.transcript).splitlines()[0] == path


# Objects that cannot be formatted, copied or compared.


class Lazy:
    """Like a lazy object of Django whose setup raises."""

    __class__ = property(Hostile.fail)


class HostileMapping(UserDict[str, object]):
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("hostile")


def within_itself() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


def deep() -> list[object]:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    return value


HOSTILE: dict[str, Callable[[], Any]] = {
    "that supports no operation": Hostile,
    "without a readable class": Lazy,
    "within itself": within_itself,
    "100,000 lists deep": deep,
    "of unhashable text": lambda: UnhashableText("websocket.send"),
    "of 100,000 brackets": lambda: NESTED,
    "of a lone surrogate": lambda: "\ud800",
    "NaN": lambda: float("nan"),
    "of more digits than int() takes": lambda: 10**5_000,
    "of more digits than json takes": lambda: "1" * 5_000,
}


PLACES: dict[str, Callable[[Any], tuple[object, ...]]] = {
    "the event": lambda value: (value,),
    "type": lambda value: ({"type": value},),
    "subprotocol": lambda value: (accept(subprotocol=value),),
    "headers": lambda value: (accept(headers=value),),
    "text": lambda value: (send(text=value),),
    "bytes": lambda value: (send(bytes=value),),
    "text after accept": lambda value: (ACCEPT, send(text=value)),
    "bytes after accept": lambda value: (ACCEPT, send(bytes=value)),
    "code": lambda value: (close(code=value),),
    "reason": lambda value: ({**CLOSE, "reason": value},),
    "code and reason after accept": lambda value: (
        ACCEPT,
        close(code=value, reason=value),
    ),
    "status": lambda value: (start(status=value), body()),
    "denial's headers": lambda value: (start(status=401, headers=value), body()),
    "body": lambda value: (start(status=401), body(body=value)),
    "more_body": lambda value: (start(status=401), body(more_body=value)),
    "unknown key": lambda value: ({"type": "websocket.unknown", "key": value},),
    "mapping": lambda value: (HostileMapping(send(text=value)),),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", HOSTILE)
async def test_no_object_that_is_sent_breaks_the_transcript(
    place: str, what: str
) -> None:
    value = HOSTILE[what]()
    events = PLACES[place](value)
    communicator = await having_sent(*events)
    lines = lines_of(communicator.transcript)
    assert len(lines) == 1 + len(events)
    assert max(map(len, lines)) <= COLUMNS
    str(communicator.transcript).encode()
    for name in ("client_view", "undeliverable", "denial_response"):
        getattr(communicator, name)
    if place == "code":
        assert communicator.close_code is value
    assert len(repr(communicator)) <= 2 * COLUMNS
    for event in events:
        assert await communicator.receive_output() is event
    with pytest.raises(TimeoutError) as raised:
        await communicator.receive_output(0)
    assert len(raised.value.__notes__) == 1


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("place", ["text", "bytes"])
async def test_no_frame_that_connect_reads_past_breaks_it(
    place: str, what: str
) -> None:
    value = HOSTILE[what]()
    communicator = await having_sent(*PLACES[place](value), CLOSE)
    assert await communicator.connect() == (False, 4401)
    [message] = communicator.pre_close_messages
    assert message is value or what == "NaN"


# Whatever the value.


TEXTS = st.text() | st.text("'\"\\. \n\x1b\ud800\u2028\u202eaé", max_size=200)
BYTES = st.binary(max_size=200) | st.binary(max_size=200).map(bytearray)
VALUES = st.recursive(
    TEXTS | BYTES | st.integers() | st.floats() | st.none() | st.booleans(),
    lambda values: (
        st.lists(values, max_size=20)
        | st.lists(values, max_size=20).map(tuple)
        | st.dictionaries(TEXTS, values, max_size=20)
        | st.dictionaries(TEXTS, values, max_size=20).map(UserDict)
    ),
    max_leaves=20,
)


def assert_one_short_line(shown: str, width: int) -> None:
    assert len(shown.splitlines()) == 1
    assert shown.isprintable()
    assert len(shown) <= width


def unquoted(shown: str) -> Any:
    if shown.startswith("bytearray(") and shown.endswith(")"):
        return bytearray(ast.literal_eval(shown[len("bytearray(") : -1]))
    return ast.literal_eval(shown)


def is_start_and_end(shown: str, value: Any) -> bool:
    """Whether it is the start and the end of a value, both plain or both quoted."""
    for place in re.finditer(r"(?=\.\.\.)", shown):
        start, end = shown[: place.start()], shown[place.start() + 3 :]
        parts: list[tuple[Any, Any]] = [(start, end)]
        with suppress(SyntaxError, ValueError):
            parts.append((unquoted(start), unquoted(end)))
        for head, tail in parts:
            if (
                type(head) is type(tail) is type(value)
                and value.startswith(head)
                and value.endswith(tail)
                and 0 < len(head) + len(tail) < len(value)
            ):
                return True
    return False


@settings(deadline=None, max_examples=300)
@given(TEXTS | BYTES, st.sampled_from([PAYLOAD_WIDTH, PAYLOAD_WIDTH // 2]))
def test_text_and_bytes_are_shown_whole_or_as_their_start_and_end(
    value: Any, width: int
) -> None:
    shown = format_value(value, width)
    size = f" ({len(value)} in all)"
    assert_one_short_line(shown, width + 2 * len("bytearray()") + len(f"...{size}"))
    is_plain = isinstance(value, str) and value.isprintable() and value.strip() == value
    if is_plain and 0 < len(value) <= width:
        assert shown == value
    elif shown.endswith(size):
        assert is_start_and_end(shown.removesuffix(size), value)
    else:
        assert unquoted(shown) == value


@settings(deadline=None, max_examples=300)
@given(VALUES)
def test_any_value_is_shown_on_one_short_line(value: object) -> None:
    longest = PAYLOAD_WIDTH + 2 * len("bytearray()") + len("... (200 in all)")
    assert_one_short_line(format_value(value), longest)


EVENTS = st.dictionaries(
    st.sampled_from(
        ["text", "bytes", "code", "reason", "subprotocol", "headers", "status", "body"]
    )
    | st.text(),
    VALUES,
    max_size=4,
)
TYPES = [
    *["connect", "receive", "disconnect", "accept", "send", "close", "unknown"],
    *["http.response.start", "http.response.body"],
]


@settings(deadline=None, max_examples=150)
@given(EVENTS, st.sampled_from(TYPES), st.sampled_from([dict, UserDict]))
def test_any_event_is_shown_on_one_short_line(
    keys: dict[str, object], kind: str, mapping: Any
) -> None:
    event = mapping({**keys, "type": f"websocket.{kind}"})
    assert_one_short_line(format_event(event), 2 * COLUMNS)
    assert_one_short_line(format_event(event, width=10), 2 * COLUMNS)


@settings(deadline=None, max_examples=300)
@given(VALUES, VALUES)
def test_any_path_is_shown_on_one_short_line(path: object, query: object) -> None:
    assert_one_short_line(
        format_path({"path": path, "query_string": query}), 2 * COLUMNS
    )
    assert_one_short_line(format_path({"path": path}), COLUMNS)


@pytest.mark.parametrize("scope", [None, "text", [], 1])
def test_a_scope_that_is_not_a_mapping_has_no_path(scope: object) -> None:
    assert format_path(scope) == "?"

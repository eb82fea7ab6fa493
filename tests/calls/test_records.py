"""``pre_close_messages``, ``close_code``, ``close_reason`` and ``denial_response``."""

import asyncio
from collections import UserDict
from types import MappingProxyType
from typing import Any

import pytest

from channels_closetest import DenialResponse, RecordingWebsocketCommunicator
from tests.events import (
    ACCEPT,
    CLOSE_WITH_REASON,
    CONNECT,
    DENIAL,
    JSON_FRAME,
    Event,
    accept,
    body,
    close,
    send,
)
from tests.helpers import LONG, denial, drain, each_kind, read_all_records, warning_if
from tests.hostile import HOSTILE, NESTED, NOT_RESPONSES
from tests.scripts import Kind, Script, scripted
from tests.servers.cases import Blob
from tests.steps import wait_for_end


@each_kind
async def test_close_code_is_set_as_soon_as_the_close_is_sent(kind: Kind) -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((ACCEPT, JSON_FRAME, CLOSE_WITH_REASON), "return"), kind), "/"
    )
    assert (communicator.close_code, communicator.close_reason) == (None, None)
    await communicator.connect(LONG)
    await wait_for_end(communicator)
    assert (communicator.close_code, communicator.close_reason) == (4401, "expired")
    assert drain(communicator.output_queue) == [JSON_FRAME, CLOSE_WITH_REASON]


@each_kind
async def test_close_code_is_set_when_the_test_reads_the_queue_itself(
    kind: Kind,
) -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((JSON_FRAME, CLOSE_WITH_REASON)), kind), "/"
    )
    await communicator.send_input(CONNECT)
    queue = communicator.output_queue
    assert [await queue.get() for _ in range(2)] == [JSON_FRAME, CLOSE_WITH_REASON]
    assert (communicator.close_code, communicator.close_reason) == (4401, "expired")
    assert communicator.pre_close_messages == []
    await communicator.disconnect()


@each_kind
async def test_denial_response_is_set_when_the_test_reads_the_queue_itself(
    kind: Kind,
) -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(
            Script((DENIAL, body(body=b"no", more_body=True), body(body=b"pe"))), kind
        ),
        "/",
    )
    assert communicator.denial_response is None
    await communicator.send_input(CONNECT)
    for _ in range(3):
        await communicator.output_queue.get()
    assert communicator.denial_response == denial(b"nope")
    await communicator.disconnect()


async def test_denial_response_is_the_first_and_ends_with_its_last_part() -> None:
    second = {**DENIAL, "status": 403}
    events = (
        body(body=b"before"),
        DENIAL,
        body(body=b"no", more_body=True),
        second,
        body(body=b"pe"),
        body(body=b"after"),
    )
    communicator = RecordingWebsocketCommunicator(scripted(Script(events), "asgi"), "/")
    await communicator.send_input(CONNECT)
    for _ in events:
        await communicator.receive_output()
    assert communicator.denial_response == denial(b"nope")
    await communicator.disconnect()


async def test_records_are_not_changed_by_later_changes_to_the_event() -> None:
    start = {**DENIAL, "headers": [(b"a", b"b")]}
    close = {**CLOSE_WITH_REASON}
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((start, close)), "asgi"), "/"
    )
    await communicator.send_input(CONNECT)
    for sent in (start, close):
        assert await communicator.receive_output() is sent
    start["headers"] = start["status"] = close["code"] = close["reason"] = "changed"
    assert communicator.denial_response == DenialResponse(401, [(b"a", b"b")], b"")
    assert (communicator.close_code, communicator.close_reason) == (4401, "expired")
    await communicator.disconnect()


@pytest.mark.parametrize("read_between", [False, True])
async def test_close_code_is_that_of_the_first_close(read_between: bool) -> None:
    events = (CLOSE_WITH_REASON, close(code=4000, reason="second"), close())
    communicator = RecordingWebsocketCommunicator(scripted(Script(events), "asgi"), "/")
    assert await communicator.connect() == (False, 4401)
    if read_between:
        assert communicator.close_code == 4401
    await wait_until_sent(communicator, *events)
    for _ in events:
        assert (communicator.close_code, communicator.close_reason) == (4401, "expired")
        assert await communicator.wait_closed() == 4401
    await communicator.disconnect()


async def wait_until_sent(
    communicator: RecordingWebsocketCommunicator, *events: Event
) -> None:
    while len(communicator.transcript.records) < 1 + len(events):
        assert not communicator.future.done()
        await asyncio.sleep(0)


async def test_what_the_test_sends_is_not_taken_for_what_the_application_sends() -> (
    None
):
    communicator = RecordingWebsocketCommunicator(
        scripted(Script(()), "asgi"), "/ws/", subprotocols=["chat"]
    )
    await communicator.send_input(CONNECT)
    for event in (ACCEPT, DENIAL, body(body=b"no"), CLOSE_WITH_REASON):
        await communicator.send_input(event)
    assert (communicator.close_code, communicator.close_reason) == (None, None)
    assert communicator.denial_response is None
    assert communicator.client_view == (None, None, [], None, None)
    await wait_until_received(communicator)
    assert repr(communicator) == (
        "<RecordingWebsocketCommunicator /ws/: running, pre_close_messages: 0>"
    )
    await communicator.disconnect()


async def wait_until_received(communicator: RecordingWebsocketCommunicator) -> None:
    while not communicator.input_queue.empty():
        assert not communicator.future.done()
        await asyncio.sleep(0)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, Blob])
async def test_the_body_of_a_denial_response_is_bytes(make: Any) -> None:
    parts = [make(b"no"), make(b"pe")]
    events = (DENIAL, body(body=parts[0], more_body=True), body(body=parts[1]))
    communicator = RecordingWebsocketCommunicator(scripted(Script(events), "asgi"), "/")
    assert await communicator.connect() == (False, 401)
    if make is bytearray:
        parts[0][:] = b"changed"
    assert communicator.denial_response == denial(b"nope")
    assert type(communicator.denial_response.body) is bytes
    await communicator.disconnect()


@pytest.mark.parametrize("mapping", [UserDict, MappingProxyType])
async def test_an_event_of_another_mapping_is_read_as_a_dict(mapping: Any) -> None:
    closing = [ACCEPT, JSON_FRAME, CLOSE_WITH_REASON]
    communicator = RecordingWebsocketCommunicator(
        scripted(Script(tuple(map(mapping, closing))), "asgi"), "/"
    )
    assert await communicator.connect() == (True, None)
    assert await communicator.wait_closed() == 4401
    assert communicator.pre_close_messages == [{"type": "jwt-expired"}]
    assert (communicator.close_code, communicator.close_reason) == (4401, "expired")
    await communicator.disconnect()
    denying = [DENIAL, body(body=b"no", more_body=True), body(body=b"pe")]
    communicator = RecordingWebsocketCommunicator(
        scripted(Script(tuple(map(mapping, denying))), "asgi"), "/"
    )
    assert await communicator.connect() == (False, 401)
    assert communicator.denial_response == denial(b"nope")
    await communicator.disconnect()


async def test_the_records_are_snapshots() -> None:
    async def application(scope: Any, receive: Any, send_: Any) -> None:
        await receive()
        await send_(ACCEPT)
        await send_(JSON_FRAME)
        while (await receive())["type"] != "websocket.disconnect":
            await send_(JSON_FRAME)
            await send_(send(text=""))

    communicator = RecordingWebsocketCommunicator(application, "/")
    await communicator.connect()
    await communicator.receive_output()
    view, undeliverable = communicator.client_view, communicator.undeliverable
    transcript = communicator.transcript.records
    await communicator.send_to("more")
    await communicator.receive_output()
    assert len(communicator.client_view.messages) == 2
    assert len(communicator.undeliverable) == 1
    assert view == (101, None, [{"type": "jwt-expired"}], None, None)
    assert (undeliverable, len(transcript)) == ([], 3)
    await communicator.disconnect()


# Malformed events.


#: The keys of a frame, and its payload in pre_close_messages.
BAD_FRAMES: dict[str, tuple[dict[str, object], object]] = {
    "no JSON": ({"text": "{"}, "{"),
    "empty text": ({"text": ""}, ""),
    "empty bytes": ({"bytes": b""}, b""),
    "NaN": ({"text": "NaN"}, "NaN"),
    "NaN in JSON": ({"text": '{"price": NaN}'}, '{"price": NaN}'),
    "Infinity in JSON": ({"text": "[-Infinity]"}, "[-Infinity]"),
    "100,000 nested brackets": ({"text": NESTED}, NESTED),
    "a number too long for an int": ({"text": "9" * 5000}, "9" * 5000),
    "a lone surrogate": ({"text": "\ud800"}, "\ud800"),
    "a lone surrogate in JSON": ({"text": '"\\ud800"'}, "\ud800"),
    "text, and bytes of None": ({"text": "1", "bytes": None}, 1),
    "bytes, and text of None": ({"text": None, "bytes": b"1"}, b"1"),
    "both": ({"text": "1", "bytes": b"2"}, b"2"),
    "both None": ({"text": None, "bytes": None}, None),
    "neither": ({}, None),
    "text that is a number": ({"text": 5}, 5),
    "text that is a dict": ({"text": {"a": [1]}}, {"a": [1]}),
    "bytes that is text": ({"bytes": "1"}, "1"),
    "hostile text": ({"text": HOSTILE}, HOSTILE),
    "hostile bytes": ({"bytes": HOSTILE}, HOSTILE),
    "hostile extra": ({"text": "1", "extra": [HOSTILE]}, 1),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
@pytest.mark.parametrize("accepted", [False, True], ids=["before accept", "after"])
async def test_a_malformed_frame_is_kept_in_pre_close_messages(
    name: str, accepted: bool
) -> None:
    keys, payload = BAD_FRAMES[name]
    frame = send(**keys)
    first = (ACCEPT,) if accepted else ()
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((*first, frame, CLOSE_WITH_REASON)), "asgi"), "/"
    )
    with warning_if(not accepted):
        await communicator.connect()
    assert await communicator.wait_closed() == 4401
    [kept] = communicator.pre_close_messages
    assert kept is payload or kept == payload
    read_all_records(communicator)
    await communicator.disconnect()


BAD_EVENTS: dict[str, object] = {
    **{name: event for name, (event, _) in NOT_RESPONSES.items()},
    "a hostile object": HOSTILE,
    "a hostile type": {"type": HOSTILE},
    "a hostile close code": close(code=HOSTILE),
    "a hostile reason": close(reason=HOSTILE),
    "a hostile subprotocol": accept(subprotocol=HOSTILE),
    "hostile headers": accept(headers=HOSTILE),
    "a hostile header": accept(headers=[(HOSTILE, HOSTILE)]),
    "a hostile status": {**DENIAL, "status": HOSTILE},
    "hostile headers of a denial": {**DENIAL, "headers": HOSTILE},
    "a hostile body": {**body(body=b""), "body": HOSTILE},
    "a hostile more_body": {**body(body=b""), "more_body": HOSTILE},
}


@pytest.mark.parametrize("name", BAD_EVENTS)
@pytest.mark.parametrize(
    "before", [(), (ACCEPT,), (DENIAL,), (CLOSE_WITH_REASON,)], ids=str
)
async def test_a_malformed_event_is_received_and_does_not_break_the_records(
    name: str, before: tuple[Event, ...]
) -> None:
    event = BAD_EVENTS[name]
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((*before, event)), "asgi"), "/", subprotocols=["chat"]
    )
    await communicator.send_input(CONNECT)
    for sent in before:
        assert await communicator.receive_output() is sent
    assert await communicator.receive_output() is event
    read_all_records(communicator)
    await communicator.disconnect()
    read_all_records(communicator)


@pytest.mark.parametrize(
    ("keys", "code", "reason"),
    [
        ({"code": None, "reason": None}, 1000, ""),
        ({"code": "4401", "reason": ""}, "4401", ""),
        ({"code": 4401.0, "reason": 5}, 4401.0, 5),
        ({"code": [], "reason": b"no"}, [], b"no"),
        ({"code": 0, "reason": "\ud800"}, 0, "\ud800"),
        ({"code": HOSTILE}, HOSTILE, ""),
        ({"reason": HOSTILE}, 1000, HOSTILE),
    ],
    ids=["None", "str", "float", "list", "zero", "hostile code", "hostile reason"],
)
async def test_close_code_and_close_reason_are_recorded_as_sent(
    keys: dict[str, object], code: object, reason: object
) -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((close(**keys),)), "asgi"), "/"
    )
    connected, result = await communicator.connect()
    assert not connected
    for known, sent in [
        (result, keys.get("code", 1000)),
        (communicator.close_code, code),
        (communicator.close_reason, reason),
    ]:
        assert known is sent or known == sent
    read_all_records(communicator)
    await communicator.disconnect()


@pytest.mark.parametrize(
    ("start", "part", "response"),
    [
        ({}, {}, (None, [], b"")),
        ({"status": 401}, {}, (401, [], b"")),
        (
            {"status": 401, "headers": None},
            {"body": "no"},
            (401, [], b""),
        ),
        (
            {"status": 401, "headers": ((b"a", b"b"),)},
            {"body": b"no", "more_body": 0},
            (401, [(b"a", b"b")], b"no"),
        ),
    ],
    ids=["nothing", "keys missing", "keys of wrong types", "other types that do"],
)
async def test_denial_response_has_what_can_be_read_of_a_malformed_denial(
    start: Event, part: Event, response: tuple[object, ...]
) -> None:
    events = (
        {"type": "websocket.http.response.start", **start},
        body(**part),
    )
    communicator = RecordingWebsocketCommunicator(scripted(Script(events), "asgi"), "/")
    assert await communicator.connect() == (False, response[0])
    assert communicator.denial_response == response
    read_all_records(communicator)
    await communicator.disconnect()


async def test_a_memoryview_that_has_been_released_is_kept_as_it_is() -> None:
    released = memoryview(b"payload")
    released.release()
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((ACCEPT, send(bytes=released), CLOSE_WITH_REASON)), "asgi"), "/"
    )
    await communicator.connect()
    assert await communicator.wait_closed() == 4401
    [kept] = communicator.pre_close_messages
    assert kept is released
    read_all_records(communicator)
    await communicator.disconnect()

"""``close_code``, ``close_reason`` and ``denial_response``."""

from collections import UserDict
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import pytest

from channels_closetest import DenialResponse, RecordingWebsocketCommunicator
from tests.calls.timing import turns
from tests.events import (
    ACCEPT,
    CLOSE_WITH_REASON,
    CONNECT,
    DENIAL,
    JSON_FRAME,
    body,
    close,
    start,
)
from tests.helpers import denial, drain, each_kind, having_sent, read_all_records
from tests.hostile import HOSTILE
from tests.scripts import Kind, Script, scripted
from tests.servers.cases import Blob

PARTS = (body(body=b"no", more_body=True), body(body=b"pe"))

#: What the application sends, and the close code and reason.
CLOSES: dict[str, tuple[Sequence[Any], object, object]] = {
    "none": ([ACCEPT, JSON_FRAME], None, None),
    "before accept": ([JSON_FRAME, CLOSE_WITH_REASON], 4401, "expired"),
    "after accept": ([ACCEPT, JSON_FRAME, CLOSE_WITH_REASON], 4401, "expired"),
    "the first": ([CLOSE_WITH_REASON, close(code=4000), close()], 4401, "expired"),
    "another mapping": ([UserDict(CLOSE_WITH_REASON)], 4401, "expired"),
    "a proxy": ([MappingProxyType(CLOSE_WITH_REASON)], 4401, "expired"),
    # The values are those that were sent, whatever they are.
    "None": ([close(code=None, reason=None)], 1000, ""),
    "text": ([close(code="4401", reason="")], "4401", ""),
    "a float": ([close(code=4401.0, reason=5)], 4401.0, 5),
    "a list": ([close(code=[], reason=b"no")], [], b"no"),
    "zero": ([close(code=0, reason="\ud800")], 0, "\ud800"),
    "a hostile code": ([close(code=HOSTILE)], HOSTILE, ""),
    "a hostile reason": ([close(reason=HOSTILE)], 1000, HOSTILE),
}

#: What the application sends, and the denial response.
DENIALS: dict[str, tuple[Sequence[Any], DenialResponse | None]] = {
    "none": ([body(body=b"no")], None),
    "in parts": ([DENIAL, *PARTS], denial(b"nope")),
    "not complete": ([DENIAL, PARTS[0]], denial(b"no")),
    "the first": (
        [
            *(body(body=b"before"), DENIAL, PARTS[0]),
            *(start(status=403), PARTS[1], body(body=b"after")),
        ],
        denial(b"nope"),
    ),
    "other mappings": (list(map(UserDict, [DENIAL, *PARTS])), denial(b"nope")),
    # What can be read of it, whatever it is.
    "no keys": ([start(), body()], DenialResponse(None, [], b"")),  # type: ignore
    "no headers": ([start(status=401), body()], DenialResponse(401, [], b"")),
    "wrong types": (
        [start(status=401, headers=None), body(body="no")],
        DenialResponse(401, [], b""),
    ),
    "other types": (
        [start(status=401, headers=((b"a", b"b"),)), body(body=b"no", more_body=0)],
        DenialResponse(401, [(b"a", b"b")], b"no"),
    ),
}


@each_kind
@pytest.mark.parametrize("name", CLOSES)
async def test_the_close_is_known_as_soon_as_it_is_sent(name: str, kind: Kind) -> None:
    events, code, reason = CLOSES[name]
    communicator = await having_sent(*events, kind=kind)
    # What is hostile equals nothing.
    for known, sent in [
        (communicator.close_code, code),
        (communicator.close_reason, reason),
    ]:
        assert known is sent or known == sent
    read_all_records(communicator)
    assert list(map(id, drain(communicator.output_queue))) == list(map(id, events))
    assert communicator.pre_close_messages == []
    communicator.stop()


@each_kind
@pytest.mark.parametrize("name", DENIALS)
async def test_the_denial_is_known_as_soon_as_it_is_sent(name: str, kind: Kind) -> None:
    events, response = DENIALS[name]
    communicator = await having_sent(*events, kind=kind)
    assert communicator.denial_response == response
    read_all_records(communicator)
    communicator.stop()


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, Blob])
async def test_the_body_of_a_denial_response_is_bytes(make: Any) -> None:
    part = make(b"nope")
    communicator = await having_sent(DENIAL, body(body=part))
    if make is bytearray:
        part[:] = b"changed"
    assert communicator.denial_response == denial(b"nope")
    assert type(communicator.denial_response.body) is bytes
    communicator.stop()


async def test_later_changes_of_an_event_do_not_show() -> None:
    denying = start(status=401, headers=[(b"a", b"b")])
    closing = close(code=4401, reason="expired")
    communicator = await having_sent(denying, closing)
    denying["headers"].clear()
    denying["status"] = closing["code"] = closing["reason"] = "changed"
    assert communicator.denial_response == DenialResponse(401, [(b"a", b"b")], b"")
    assert (communicator.close_code, communicator.close_reason) == (4401, "expired")
    communicator.stop()


async def test_what_the_test_sends_is_not_taken_for_an_answer() -> None:
    communicator = RecordingWebsocketCommunicator(scripted(Script(()), "asgi"), "/")
    for event in (CONNECT, ACCEPT, DENIAL, body(body=b"no"), CLOSE_WITH_REASON):
        await communicator.send_input(event)
    await turns(5)
    assert communicator.input_queue.empty()
    assert (communicator.close_code, communicator.close_reason) == (None, None)
    assert communicator.denial_response is None
    assert communicator.client_view == (None, None, [], None, None)
    assert ": running, " in repr(communicator)
    communicator.stop()

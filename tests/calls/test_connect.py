"""``connect()``: its result, and the frames that it reads past."""

from typing import NamedTuple

import pytest
from channels.exceptions import AcceptConnection, DenyConnection
from channels.testing import WebsocketCommunicator

from channels_closetest import DenialResponse, RecordingWebsocketCommunicator
from channels_closetest.recording import payload
from tests.calls.timing import in_virtual_time, timed
from tests.events import (
    ACCEPT,
    BODY,
    BYTES_FRAME,
    CLOSE_WITH_REASON,
    DENIAL,
    FRAME,
    JSON_FRAME,
    Event,
    accept,
    body,
    close,
)
from tests.helpers import KINDS, denial, drain, read_all_records, warning_if
from tests.hostile import NOT_RESPONSES
from tests.scripts import Boom, Kind, Script, scripted
from tests.steps import connect, observe


class Denies(Script):
    def end(self) -> None:
        raise DenyConnection


class Accepts(Script):
    def end(self) -> None:
        raise AcceptConnection


class Response(NamedTuple):
    """A handshake response, what ``connect()`` returns or raises, and the records."""

    script: Script
    result: object
    close: tuple[object, object] = (None, None)
    denial_response: DenialResponse | None = None
    response_headers: object = None


PART = body(body=b"no", more_body=True)
HEADERS = [(b"a", b"b")]

#: Every handshake response that a consumer can send.
RESPONSES = {
    "accept": Response(Script((ACCEPT,)), (True, None), response_headers=[]),
    "accept with all keys": Response(
        Script((accept(subprotocol="chat", headers=HEADERS),)),
        (True, "chat"),
        response_headers=HEADERS,
    ),
    "AcceptConnection": Response(Accepts(()), (True, None), response_headers=[]),
    "close": Response(Script((close(),)), (False, 1000), (1000, "")),
    "close with code": Response(Script((close(code=4401),)), (False, 4401), (4401, "")),
    "close with code and reason": Response(
        Script((CLOSE_WITH_REASON,), "return"), (False, 4401), (4401, "expired")
    ),
    "close with a code of None": Response(
        Script((close(code=None),)), (False, None), (1000, "")
    ),
    "DenyConnection": Response(Denies(()), (False, 1000), (1000, "")),
    "nothing": Response(Script(()), TimeoutError),
    "crash": Response(Script((), "raise"), Boom),
    "return": Response(Script((), "return"), TimeoutError),
}
#: The parent does not support them.
DENIALS = {
    name: Response(script, result, denial_response=denial(content))
    for name, script, result, content in [
        ("no body", Script((DENIAL,), "return"), (False, 401), b""),
        ("no body and no end", Script((DENIAL,)), TimeoutError, b""),
        ("a body", Script((DENIAL, BODY)), (False, 401), b"no"),
        (
            "a body in parts",
            Script((DENIAL, PART, PART, body(body=b"pe"))),
            (False, 401),
            b"nonope",
        ),
        ("a body without end", Script((DENIAL, PART)), TimeoutError, b"no"),
        ("a crash in the body", Script((DENIAL, PART), "raise"), Boom, b"no"),
    ]
}

FRAMES: dict[str, tuple[tuple[Event, ...], list[object]]] = {
    "no frame": ((), []),
    "one frame": ((JSON_FRAME,), [{"type": "jwt-expired"}]),
    "many frames": (
        (JSON_FRAME, FRAME, BYTES_FRAME) * 5,
        [{"type": "jwt-expired"}, "hello", b"\0"] * 5,
    ),
}


def each_script(responses: dict[str, Response]) -> pytest.MarkDecorator:
    """Parametrize ``name`` and ``kind``: only consumers handle some exceptions."""
    return pytest.mark.parametrize(
        ("name", "kind"),
        [
            (name, kind)
            for name, response in responses.items()
            for kind in KINDS
            if kind != "asgi" or type(response.script) is Script
        ],
    )


ALL = RESPONSES | DENIALS


@each_script(ALL)
@pytest.mark.parametrize("frames", FRAMES)
@in_virtual_time
async def test_connect_reads_past_frames_and_keeps_them(
    name: str, kind: Kind, frames: str
) -> None:
    (script, expected, *records), (events, payloads) = ALL[name], FRAMES[frames]
    script = script._replace(events=(*events, *script.events))
    communicator = RecordingWebsocketCommunicator(scripted(script, kind), "/ws/notes/")
    assert communicator.pre_close_messages == []
    with warning_if(payloads and isinstance(expected, tuple)):
        result, seconds = await timed(communicator.connect(5))
    assert (result if isinstance(result, tuple) else type(result)) == expected
    hangs = expected is TimeoutError and script.ending == "wait"
    assert seconds == (5 if hangs else 0)
    left = [payload(event) for event in drain(communicator.output_queue)]
    # Where the application has crashed, what it had sent is still to be received.
    if expected is not Boom:
        assert (communicator.pre_close_messages, left) == (payloads, [])
    else:
        assert [*communicator.pre_close_messages, *left][: len(payloads)] == payloads
    assert records == [
        (communicator.close_code, communicator.close_reason),
        communicator.denial_response,
        communicator.response_headers,
    ]


@pytest.mark.parametrize("name", NOT_RESPONSES)
async def test_what_is_no_response_is_named_and_not_kept(name: str) -> None:
    event, named = NOT_RESPONSES[name]
    application = scripted(Script((event,)), "asgi")
    [by_parent] = (
        await observe(WebsocketCommunicator, application, [connect])
    ).outcomes
    assert by_parent.raised
    async with RecordingWebsocketCommunicator(application, "/") as communicator:
        with pytest.raises(by_parent.raised) as raised:
            await communicator.connect()
    assert named in str(raised.value)
    assert communicator.pre_close_messages == []
    read_all_records(communicator)

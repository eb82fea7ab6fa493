"""``connect()``: its result, and the frames that it reads past."""

import asyncio
import time
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from asgiref.typing import ASGI3Application
from channels.exceptions import AcceptConnection, DenyConnection
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
)
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.urls import path

from channels_closetest import (
    DenialResponse,
    RecordingWebsocketCommunicator,
    UndeliverableWarning,
)
from channels_closetest.recording import payload
from tests.events import (
    ACCEPT,
    BODY,
    BYTES_FRAME,
    CLOSE_WITH_REASON,
    CONNECT,
    DENIAL,
    FRAME,
    JSON_FRAME,
    Event,
    accept,
    body,
    close,
)
from tests.helpers import (
    KINDS,
    LONG,
    SHORT,
    TIMEOUTS,
    denial,
    drain,
    read_all_records,
    wait_for_thread,
    warning_if,
)
from tests.hostile import NOT_RESPONSES
from tests.scripts import Boom, Kind, Script, scripted
from tests.steps import Seen, assert_equal, connect, observe

# Every handshake response that a consumer can send.


class Denies(Script):
    def end(self) -> None:
        raise DenyConnection


class Accepts(Script):
    def end(self) -> None:
        raise AcceptConnection


class Response(NamedTuple):
    """A handshake response, and the result of ``connect()``."""

    script: Script
    result: tuple[bool, object] | type[BaseException]
    close_code: int | None = None
    close_reason: str | None = None
    denial_response: DenialResponse | None = None
    response_headers: object = None

    @property
    def hangs(self) -> bool:
        return self.result is TimeoutError and self.script.ending == "wait"

    @property
    def is_for_consumers(self) -> bool:
        """Whether it is an exception that only consumers handle."""
        return isinstance(self.script, (Denies, Accepts))


RESPONSES = {
    "accept": Response(Script((ACCEPT,)), (True, None), response_headers=[]),
    "accept with all keys": Response(
        Script((accept(subprotocol="chat", headers=[(b"a", b"b")]),)),
        (True, "chat"),
        response_headers=[(b"a", b"b")],
    ),
    "AcceptConnection": Response(Accepts(()), (True, None), response_headers=[]),
    "close": Response(Script((close(),)), (False, 1000), 1000, ""),
    "close with code": Response(Script((close(code=4401),)), (False, 4401), 4401, ""),
    "close with code and reason": Response(
        Script((CLOSE_WITH_REASON,), "return"), (False, 4401), 4401, "expired"
    ),
    "DenyConnection": Response(Denies(()), (False, 1000), 1000, ""),
    "denial without body": Response(
        Script((DENIAL,), "return"), (False, 401), denial_response=denial(b"")
    ),
    "denial without body and end": Response(
        Script((DENIAL,)), TimeoutError, denial_response=denial(b"")
    ),
    "denial with body": Response(
        Script((DENIAL, BODY)), (False, 401), denial_response=denial(b"no")
    ),
    "denial with body in parts": Response(
        Script(
            (
                DENIAL,
                body(body=b"no", more_body=True),
                body(body=b"pe", more_body=True),
                body(body=b""),
            )
        ),
        (False, 401),
        denial_response=denial(b"nope"),
    ),
    "denial with a body that never ends": Response(
        Script((DENIAL, body(body=b"no", more_body=True))),
        TimeoutError,
        denial_response=denial(b"no"),
    ),
    "denial truncated by a crash": Response(
        Script((DENIAL, body(body=b"no", more_body=True)), "raise"),
        Boom,
        denial_response=denial(b"no"),
    ),
    "nothing": Response(Script(()), TimeoutError),
    "crash": Response(Script((), "raise"), Boom),
    "return": Response(Script((), "return"), TimeoutError),
}


FRAMES: dict[str, tuple[tuple[Event, ...], list[object]]] = {
    "no frame": ((), []),
    "one frame": ((JSON_FRAME,), [{"type": "jwt-expired"}]),
    "many frames": (
        (JSON_FRAME, FRAME, BYTES_FRAME) * 5,
        [{"type": "jwt-expired"}, "hello", b"\0"] * 5,
    ),
}


def each_response(names: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("response", "kind"),
        [
            pytest.param(RESPONSES[name], kind, id=f"{name}-{kind}")
            for name in names
            for kind in KINDS
            if not (RESPONSES[name].is_for_consumers and kind == "asgi")
        ],
    )


bare_or_routed = pytest.mark.parametrize("routed", [False, True], ids=["", "routed"])


def application_for(script: Script, kind: Kind, routed: bool) -> ASGI3Application:
    application = scripted(script, kind)
    if not routed:
        return application
    # Neither Django's types nor those of Channels allow an ASGI application in path().
    view: Any = application
    routes: Any = [path("ws/notes/", view)]
    return URLRouter(routes)


# The parent does not support denial responses.
@each_response(name for name in RESPONSES if not RESPONSES[name].denial_response)
@bare_or_routed
async def test_a_handshake_response_is_handled_as_by_the_parent(
    response: Response, kind: Kind, routed: bool
) -> None:
    async def observed(
        communicator_class: type[WebsocketCommunicator], timeout: float
    ) -> Seen:
        return await observe(
            communicator_class,
            application_for(response.script, kind, routed),
            [lambda it: it.connect(timeout), lambda it: it.response_headers],
        )

    has_result = isinstance(response.result, tuple)
    # Where the application crashes or returns, the parent waits until its timeout
    # expires, and cancels an application that has not ended by then.
    for timeout in [LONG] if has_result else TIMEOUTS:
        parent = await observed(WebsocketCommunicator, timeout)
        if response.hangs or not parent.cancelled:
            break
    ours = await observed(
        RecordingWebsocketCommunicator, SHORT if response.hangs else LONG
    )
    assert_equal(parent, ours)


@each_response(RESPONSES)
@bare_or_routed
@pytest.mark.parametrize("frames", FRAMES)
async def test_connect_reads_past_frames_and_keeps_them(
    response: Response, kind: Kind, routed: bool, frames: str
) -> None:
    events, payloads = FRAMES[frames]
    script = response.script._replace(events=(*events, *response.script.events))
    result: object
    for timeout in TIMEOUTS if response.hangs else [LONG]:
        communicator = RecordingWebsocketCommunicator(
            application_for(script, kind, routed), "/ws/notes/"
        )
        assert communicator.pre_close_messages == []
        if isinstance(response.result, tuple):
            with warning_if(payloads):
                result = await communicator.connect(timeout)
        else:
            with pytest.raises(response.result) as raised:
                await communicator.connect(timeout)
            result = raised.type
        if len(communicator.transcript.records) == 1 + len(script.events):
            break
        await wait_for_thread()
    assert result == response.result
    unread = drain(communicator.output_queue)
    sent = (JSON_FRAME, FRAME, BYTES_FRAME)
    left = [payload(event) for event in unread if event in sent]
    assert communicator.pre_close_messages + left == payloads
    # Where the application has crashed, what it had sent is still to be received.
    assert left == [] or response.result is Boom
    assert communicator.close_code == response.close_code
    assert communicator.close_reason == response.close_reason
    assert communicator.denial_response == response.denial_response
    assert communicator.response_headers == response.response_headers
    communicator.stop(exceptions=False)


class AsyncExpired(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.send_json({"type": "jwt-expired"}, close=4401)  # type: ignore


class SyncExpired(JsonWebsocketConsumer):
    def connect(self) -> None:
        self.send_json({"type": "jwt-expired"}, close=4401)  # type: ignore


@pytest.mark.parametrize("consumer", [AsyncExpired, SyncExpired])
async def test_a_frame_sent_by_connect_before_the_close_is_in_pre_close_messages(
    consumer: type[AsyncExpired] | type[SyncExpired],
) -> None:
    communicator = RecordingWebsocketCommunicator(
        consumer.as_asgi(), "/ws/notes/?token=old"
    )
    with pytest.warns(UndeliverableWarning):
        assert await communicator.connect() == (False, 4401)
    assert communicator.pre_close_messages == [{"type": "jwt-expired"}]
    assert communicator.close_code == 4401


async def test_a_frame_within_a_denial_response_is_kept_in_pre_close_messages() -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(
            Script(
                (
                    DENIAL,
                    JSON_FRAME,
                    body(body=b"no", more_body=True),
                    FRAME,
                    body(body=b"pe"),
                )
            ),
            "asgi",
        ),
        "/",
    )
    with pytest.warns(UndeliverableWarning):
        assert await communicator.connect() == (False, 401)
    assert communicator.pre_close_messages == [{"type": "jwt-expired"}, "hello"]
    assert communicator.denial_response == denial(b"nope")
    await communicator.disconnect()


@pytest.mark.parametrize("first", ["rejected", "accepted"])
async def test_a_second_connect_does_not_warn_of_the_frames_of_the_first(
    first: str,
) -> None:
    response = ACCEPT if first == "accepted" else close()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(FRAME)
        while True:
            await send(response)
            await receive()

    communicator = RecordingWebsocketCommunicator(application, "/")
    with pytest.warns(UndeliverableWarning):
        await communicator.connect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(2):
            assert await communicator.connect() in [(True, None), (False, 1000)]
    assert warned == []
    assert communicator.pre_close_messages == ["hello"]
    communicator.stop()


async def test_frames_after_the_handshake_response_are_left_to_receive() -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((ACCEPT, JSON_FRAME, FRAME)), "asgi"), "/"
    )
    await communicator.connect()
    assert communicator.pre_close_messages == []
    assert await communicator.receive_json_from() == {"type": "jwt-expired"}
    assert await communicator.receive_from() == "hello"
    await communicator.disconnect()


# One timeout for the whole call.


class Chatterbox(AsyncWebsocketConsumer):
    """Sends frames forever."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause

    async def connect(self) -> None:
        while True:
            await self.send("again")
            await self.send("and again")
            await asyncio.sleep(self.pause)


@pytest.mark.parametrize("name", ["connect", "wait_closed"])
@pytest.mark.parametrize("pause", [0, 0.01])
async def test_an_endless_series_of_frames_does_not_delay_the_timeout(
    name: str, pause: float
) -> None:
    communicator = RecordingWebsocketCommunicator(Chatterbox.as_asgi(pause=pause), "/")
    await communicator.send_input(CONNECT)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(getattr(communicator, name)(timeout=0.2), LONG)
    assert 0.2 <= time.monotonic() - start < LONG / 2
    assert set(communicator.pre_close_messages) == {"again", "and again"}
    assert communicator.future.cancelled()


# What is not a handshake response.


@pytest.mark.parametrize("name", NOT_RESPONSES)
async def test_connect_names_an_event_that_is_not_a_handshake_response(
    name: str,
) -> None:
    event, named = NOT_RESPONSES[name]
    application = scripted(Script((event,)), "asgi")
    [by_parent] = (
        await observe(WebsocketCommunicator, application, [connect])
    ).outcomes
    assert by_parent.raised
    communicator = RecordingWebsocketCommunicator(application, "/")
    with pytest.raises(by_parent.raised) as raised:
        await communicator.connect()
    assert named in str(raised.value)
    assert communicator.pre_close_messages == []
    read_all_records(communicator)
    await communicator.disconnect()

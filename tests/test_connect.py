"""``connect()``: its result, and the frames that it reads past."""

import asyncio
import time
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
from tests.helpers import KINDS, LONG, SHORT, denial, drain, look, warning_if
from tests.hostile import NO_ANSWERS
from tests.scripts import Boom, Kind, Script, scripted
from tests.steps import assert_same, connect, see

# Every shape in which a consumer can answer.


class Denies(Script):
    def end(self) -> None:
        raise DenyConnection


class Accepts(Script):
    def end(self) -> None:
        raise AcceptConnection


class Answer(NamedTuple):
    """How a consumer answers, and what ``connect()`` makes of it."""

    script: Script
    result: tuple[bool, object] | type[BaseException]
    close_code: int | None = None
    close_reason: str | None = None
    denial_response: DenialResponse | None = None
    response_headers: object = None

    @property
    def hangs(self) -> bool:
        return self.result is asyncio.TimeoutError and self.script.ending == "wait"

    @property
    def is_for_consumers(self) -> bool:
        """Whether it is by an exception that only consumers know."""
        return isinstance(self.script, (Denies, Accepts))


ANSWERS = {
    "accept": Answer(Script((ACCEPT,)), (True, None), response_headers=[]),
    "accept with all it can have": Answer(
        Script((accept(subprotocol="chat", headers=[(b"a", b"b")]),)),
        (True, "chat"),
        response_headers=[(b"a", b"b")],
    ),
    "AcceptConnection": Answer(Accepts(()), (True, None), response_headers=[]),
    "close": Answer(Script((close(),)), (False, 1000), 1000, ""),
    "close with code": Answer(Script((close(code=4401),)), (False, 4401), 4401, ""),
    "close with code and reason": Answer(
        Script((CLOSE_WITH_REASON,), "return"), (False, 4401), 4401, "expired"
    ),
    "DenyConnection": Answer(Denies(()), (False, 1000), 1000, ""),
    "denial without body": Answer(
        Script((DENIAL,), "return"), (False, 401), denial_response=denial(b"")
    ),
    "denial without body and end": Answer(
        Script((DENIAL,)), asyncio.TimeoutError, denial_response=denial(b"")
    ),
    "denial with body": Answer(
        Script((DENIAL, BODY)), (False, 401), denial_response=denial(b"no")
    ),
    "denial with body in parts": Answer(
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
    "denial with a body that never ends": Answer(
        Script((DENIAL, body(body=b"no", more_body=True))),
        asyncio.TimeoutError,
        denial_response=denial(b"no"),
    ),
    "denial that breaks off in a crash": Answer(
        Script((DENIAL, body(body=b"no", more_body=True)), "raise"),
        Boom,
        denial_response=denial(b"no"),
    ),
    "nothing": Answer(Script(()), asyncio.TimeoutError),
    "crash": Answer(Script((), "raise"), Boom),
    "return": Answer(Script((), "return"), asyncio.TimeoutError),
}


FRAMES: dict[str, tuple[tuple[Event, ...], list[object]]] = {
    "no frame": ((), []),
    "one frame": ((JSON_FRAME,), [{"type": "jwt-expired"}]),
    "many frames": (
        (JSON_FRAME, FRAME, BYTES_FRAME) * 5,
        [{"type": "jwt-expired"}, "hello", b"\0"] * 5,
    ),
}


def each_answer(names: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("answer", "kind"),
        [
            pytest.param(ANSWERS[name], kind, id=f"{name}-{kind}")
            for name in names
            for kind in KINDS
            if not (ANSWERS[name].is_for_consumers and kind == "asgi")
        ],
    )


bare_or_routed = pytest.mark.parametrize("routed", [False, True], ids=["", "routed"])


def answering(script: Script, kind: Kind, routed: bool) -> ASGI3Application:
    application = scripted(script, kind)
    if not routed:
        return application
    # Django's types know no ASGI application for a path, and Channels' no such path.
    view: Any = application
    routes: Any = [path("ws/notes/", view)]
    return URLRouter(routes)


def timeout_for(answer: Answer) -> float:
    """The parent waits in vain for what a crash and a return do not send."""
    return LONG if isinstance(answer.result, tuple) else SHORT


# The parent knows no denial responses.
@each_answer(name for name in ANSWERS if not ANSWERS[name].denial_response)
@bare_or_routed
async def test_an_answer_without_a_frame_before_it_is_as_with_the_parent(
    answer: Answer, kind: Kind, routed: bool
) -> None:
    await assert_same(
        answering(answer.script, kind, routed),
        lambda it: it.connect(timeout_for(answer)),
        lambda it: it.response_headers,
    )


@each_answer(ANSWERS)
@bare_or_routed
@pytest.mark.parametrize("frames", FRAMES)
async def test_connect_gives_the_answer_and_keeps_the_frames_before_it(
    answer: Answer, kind: Kind, routed: bool, frames: str
) -> None:
    events, payloads = FRAMES[frames]
    script = answer.script._replace(events=(*events, *answer.script.events))
    communicator = RecordingWebsocketCommunicator(
        answering(script, kind, routed), "/ws/notes/"
    )
    assert communicator.pre_close_messages == []
    timeout = 0.5 if answer.hangs else LONG
    result: object
    if isinstance(answer.result, tuple):
        with warning_if(payloads):
            result = await communicator.connect(timeout)
    else:
        with pytest.raises(answer.result) as raised:
            await communicator.connect(timeout)
        result = raised.type
    assert result == answer.result
    assert communicator.pre_close_messages == payloads
    assert communicator.close_code == answer.close_code
    assert communicator.close_reason == answer.close_reason
    assert communicator.denial_response == answer.denial_response
    assert communicator.response_headers == answer.response_headers
    unread = drain(communicator.output_queue)
    assert [
        event for event in unread if event in (JSON_FRAME, FRAME, BYTES_FRAME)
    ] == []
    communicator.stop(exceptions=False)


class AsyncExpired(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.send_json({"type": "jwt-expired"}, close=4401)  # type: ignore


class SyncExpired(JsonWebsocketConsumer):
    def connect(self) -> None:
        self.send_json({"type": "jwt-expired"}, close=4401)  # type: ignore


@pytest.mark.parametrize("consumer", [AsyncExpired, SyncExpired])
async def test_what_a_consumer_says_before_it_hangs_up_can_be_tested(
    consumer: type[AsyncExpired] | type[SyncExpired],
) -> None:
    communicator = RecordingWebsocketCommunicator(
        consumer.as_asgi(), "/ws/notes/?token=old"
    )
    with pytest.warns(UndeliverableWarning):
        assert await communicator.connect() == (False, 4401)
    assert communicator.pre_close_messages == [{"type": "jwt-expired"}]
    assert communicator.close_code == 4401


async def test_a_frame_within_a_denial_response_is_kept() -> None:
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


async def test_frames_after_the_answer_are_left_to_the_test() -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((ACCEPT, JSON_FRAME, FRAME)), "asgi"), "/"
    )
    await communicator.connect()
    assert communicator.pre_close_messages == []
    assert await communicator.receive_json_from() == {"type": "jwt-expired"}
    assert await communicator.receive_from() == "hello"
    await communicator.disconnect()


# One deadline for the whole call.


class Chatterbox(AsyncWebsocketConsumer):
    """Sends frames for ever."""

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
async def test_frames_without_end_do_not_put_off_the_deadline(
    name: str, pause: float
) -> None:
    communicator = RecordingWebsocketCommunicator(Chatterbox.as_asgi(pause=pause), "/")
    await communicator.send_input(CONNECT)
    start = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(getattr(communicator, name)(timeout=0.2), LONG)
    assert 0.2 <= time.monotonic() - start < 2
    assert set(communicator.pre_close_messages) == {"again", "and again"}
    assert communicator.future.cancelled()


# What is no answer.


@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_connect_names_what_is_no_answer(name: str) -> None:
    event, named = NO_ANSWERS[name]
    application = scripted(Script((event,)), "asgi")
    [of_parent] = (await see(WebsocketCommunicator, application, [connect])).outcomes
    assert of_parent.raised
    communicator = RecordingWebsocketCommunicator(application, "/")
    with pytest.raises(of_parent.raised) as raised:
        await communicator.connect()
    assert named in str(raised.value)
    assert communicator.pre_close_messages == []
    look(communicator)
    await communicator.disconnect()

"""
What a test gets from this class is what it gets from the parent.

Both do the same, and what they return, raise and leave behind is compared. Where the
parent cannot follow, because a frame comes before the answer, the contract says what
is to come.
"""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Literal, NamedTuple
from unittest.mock import AsyncMock, create_autospec

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
    HEADERS,
    JSON_FRAME,
    UNKNOWN,
    Event,
    accept,
    body,
    close,
    send,
)
from tests.hostile import HOSTILE, NESTED
from tests.scripts import Boom, Kind, Script, scripted

#: One thing a test does with a communicator. Any: tests do what types forbid, too.
Step = Callable[[Any], object]

KINDS: list[Kind] = ["asgi", "async", "sync"]
#: Seconds to wait for what comes, and for what does not come.
LONG, SHORT = 30, 0.2


APPLICATION = scripted(Script((ACCEPT,)), "asgi")

each_kind = pytest.mark.parametrize("kind", KINDS)


# Comparing.


class Outcome(NamedTuple):
    """What a test sees of a step that it takes."""

    returned: object = None
    raised: type[BaseException] | None = None
    text: str = ""


class Seen(NamedTuple):
    """What a test sees of all its steps, and what they leave behind."""

    outcomes: list[Outcome]
    unread: list[object]
    unheard: list[object]
    response_headers: object
    ended: bool
    cancelled: bool
    exception: type[BaseException] | None


async def take(step: Step, it: object) -> Outcome:
    try:
        result = step(it)
        return Outcome(await result if inspect.isawaitable(result) else result)
    except (Exception, asyncio.CancelledError) as exception:
        # In the texts that Python makes is the name of the class.
        text = str(exception).replace("RecordingWebsocket", "Websocket")
        return Outcome(raised=type(exception), text=text)


def drain(queue: "asyncio.Queue[object]") -> list[object]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


async def see(
    communicator_class: type[WebsocketCommunicator],
    application: ASGI3Application,
    steps: Iterable[Step],
) -> Seen:
    communicator = communicator_class(application, "/ws/notes/?token=old")
    outcomes = [await take(step, communicator) for step in steps]
    future = communicator.future
    ended = future.done()
    seen = Seen(
        outcomes,
        drain(communicator.output_queue),
        drain(communicator.input_queue),
        communicator.response_headers,
        ended,
        ended and future.cancelled(),
        type(future.exception()) if ended and not future.cancelled() else None,
    )
    future.cancel()
    await asyncio.wait([future])
    return seen


async def assert_same(application: ASGI3Application, *steps: Step) -> None:
    """Both see the same; of an exception without text the parent sees no text."""
    parent = await see(WebsocketCommunicator, application, steps)
    ours = await see(RecordingWebsocketCommunicator, application, steps)
    without_our_texts = [
        our._replace(text="") if its.raised and not its.text else our
        for its, our in zip(parent.outcomes, ours.outcomes)
    ]
    assert ours._replace(outcomes=without_our_texts) == parent
    assert [our for our in ours.outcomes if our.raised and not our.text] == []


def connect(it: WebsocketCommunicator) -> object:
    return it.connect(LONG)


def receive(it: WebsocketCommunicator) -> object:
    return it.receive_output(LONG)


async def ended(it: WebsocketCommunicator) -> None:
    await asyncio.wait([it.future], timeout=LONG)


async def arrived(it: WebsocketCommunicator) -> None:
    while it.output_queue.empty():
        await asyncio.sleep(0)


def drained(it: WebsocketCommunicator) -> None:
    drain(it.output_queue)


# The form.


def public(cls: type) -> dict[str, object]:
    return {name: getattr(cls, name) for name in dir(cls) if not name.startswith("_")}


def arguments(function: Callable[..., object]) -> list[tuple[str, object, object]]:
    parameters = inspect.signature(function).parameters.values()
    return [(it.name, it.kind, it.default) for it in parameters]


def test_the_class_takes_the_same_arguments() -> None:
    ours = arguments(RecordingWebsocketCommunicator)
    assert ours == arguments(WebsocketCommunicator)


@pytest.mark.parametrize("name", ["__init__", *public(WebsocketCommunicator)])
def test_every_method_takes_the_same_arguments(name: str) -> None:
    parent = getattr(WebsocketCommunicator, name)
    ours = getattr(RecordingWebsocketCommunicator, name)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(parent)
    assert isinstance(ours, property) == isinstance(parent, property)
    if not isinstance(parent, property):
        assert arguments(ours) == arguments(parent)


async def test_every_attribute_of_the_parent_is_there() -> None:
    parent = WebsocketCommunicator(APPLICATION, "/")
    ours = RecordingWebsocketCommunicator(APPLICATION, "/")
    assert set(dir(parent)) - set(dir(ours)) == set()
    for name in ("application", "scope", "response_headers"):
        assert getattr(ours, name) == getattr(parent, name)
    parent.stop()
    ours.stop()


async def test_a_mock_of_the_class_is_as_one_of_the_parent() -> None:
    parent = create_autospec(WebsocketCommunicator)(None, "/")
    ours = create_autospec(RecordingWebsocketCommunicator)(None, "/")
    for name, member in public(WebsocketCommunicator).items():
        is_awaitable = inspect.iscoroutinefunction(member)
        for mock in (parent, ours):
            assert isinstance(getattr(mock, name), AsyncMock) is is_awaitable
        if is_awaitable:
            with pytest.raises(TypeError):
                getattr(ours, name)(1, 2, 3, 4)
    await ours.connect(5)
    ours.connect.assert_awaited_once_with(timeout=5)


def construct(args: list[object], **kwargs: object) -> Step:
    def step(cls: Any) -> object:
        communicator = cls(*args, **kwargs)
        communicator.stop()
        return communicator.scope

    return step


async def assert_same_construction(step: Step) -> Outcome:
    parent, ours = [
        await take(step, cls)
        for cls in (WebsocketCommunicator, RecordingWebsocketCommunicator)
    ]
    assert ours == parent
    return parent


@pytest.mark.parametrize(
    "step",
    [
        construct([APPLICATION, "/"]),
        construct([APPLICATION, "/ws/%E2%82%AC/?a=1&b=%20#fragment"]),
        construct([APPLICATION, "ws://user:pass@example.com:8080/ws/?a=1"]),
        construct([APPLICATION, "/", [(b"origin", b"http://a")], ["chat"], 3]),
        construct([APPLICATION, "/", None, None, 0]),
        construct([], application=APPLICATION, path="/", subprotocols=["chat"]),
    ],
)
async def test_the_constructor_makes_the_same_scope(step: Step) -> None:
    outcome = await assert_same_construction(step)
    assert outcome.returned


# The parent's __del__() fails when its constructor has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "step",
    [
        construct([]),
        construct([APPLICATION]),
        construct([APPLICATION, None]),
        construct([APPLICATION, b"/"]),
        construct([APPLICATION, "/", [], [], 2, "too many"]),
        construct([APPLICATION, "/"], timeout=1),
        lambda cls: cls(5, "/").connect(),
    ],
)
async def test_the_constructor_raises_the_same(step: Step) -> None:
    outcome = await assert_same_construction(step)
    assert outcome.raised


# The same steps.


ACCEPTED: dict[str, tuple[Script, list[Step]]] = {
    "the answer": (
        Script((accept(subprotocol="chat", headers=[(b"a", b"b")]),)),
        [connect],
    ),
    "frames, and some are left": (
        Script((ACCEPT, JSON_FRAME, BYTES_FRAME, FRAME, JSON_FRAME)),
        [
            connect,
            lambda it: it.receive_json_from(LONG),
            lambda it: it.receive_from(timeout=LONG),
            lambda it: it.receive_output(LONG),
            lambda it: it.receive_nothing(LONG),
        ],
    ),
    "nothing": (Script((ACCEPT,)), [connect, lambda it: it.receive_nothing()]),
    "an interval over the timeout": (
        Script((ACCEPT,)),
        [connect, lambda it: it.receive_nothing(0.01, 0.02)],
    ),
    "a close in place of a frame": (
        Script((ACCEPT, CLOSE_WITH_REASON, JSON_FRAME)),
        [
            connect,
            lambda it: it.receive_from(LONG),
            lambda it: it.receive_json_from(LONG),
        ],
    ),
    "a close as it is": (
        Script((ACCEPT, JSON_FRAME, CLOSE_WITH_REASON)),
        [connect, lambda it: it.receive_from(LONG), lambda it: it.receive_output(LONG)],
    ),
    "disconnected twice": (
        Script((ACCEPT, JSON_FRAME)),
        [
            connect,
            lambda it: it.receive_from(LONG),
            lambda it: it.disconnect(4000, LONG),
            lambda it: it.disconnect(code=4000),
            lambda it: it.wait(),
            lambda it: it.stop(),
        ],
    ),
    "stopped": (
        Script((ACCEPT,)),
        [connect, lambda it: it.stop(), ended, lambda it: it.stop()],
    ),
    "wait in vain": (
        Script((ACCEPT,)),
        [connect, lambda it: it.wait(SHORT), lambda it: it.receive_output(SHORT)],
    ),
    "text that is not JSON": (
        Script((ACCEPT, FRAME)),
        [connect, lambda it: it.receive_json_from(LONG)],
    ),
    "bytes in place of JSON": (
        Script((ACCEPT, BYTES_FRAME)),
        [connect, lambda it: it.receive_json_from(LONG)],
    ),
    "nothing to send": (Script((ACCEPT,)), [connect, lambda it: it.send_to()]),
    "two things to send": (
        Script((ACCEPT,)),
        [connect, lambda it: it.send_to("text", b"bytes")],
    ),
    "bytes sent as text": (
        Script((ACCEPT,)),
        [connect, lambda it: it.send_to(text_data=b"bytes")],
    ),
    "text sent as bytes": (
        Script((ACCEPT,)),
        [connect, lambda it: it.send_to(bytes_data="text")],
    ),
    "what is no JSON sent as JSON": (
        Script((ACCEPT,)),
        [connect, lambda it: it.send_json_to({1, 2})],
    ),
}


@each_kind
@pytest.mark.parametrize("name", ACCEPTED)
async def test_an_accepted_connection_goes_on_as_with_the_parent(
    name: str, kind: Kind
) -> None:
    script, steps = ACCEPTED[name]
    await assert_same(scripted(script, kind), *steps)


async def test_a_second_answer_is_as_with_the_parent() -> None:
    application = scripted(Script((ACCEPT, ACCEPT, CLOSE_WITH_REASON)), "asgi")
    await assert_same(application, connect, connect, connect)


@pytest.mark.parametrize("receive", ["receive_from", "receive_json_from"])
@pytest.mark.parametrize(
    "event",
    [
        send(),
        send(text="1", bytes=b"1"),
        send(text=None),
        send(text=1),
        send(bytes="1"),
        send(bytes=bytearray(b"1")),
        send(text="NaN"),
        send(text=""),
        UNKNOWN,
        {},
        None,
        "websocket.send",
    ],
    ids=str,
)
async def test_a_malformed_frame_fails_as_with_the_parent(
    event: object, receive: str
) -> None:
    await assert_same(
        scripted(Script((ACCEPT, event, JSON_FRAME)), "asgi"),
        connect,
        lambda it: getattr(it, receive)(LONG),
    )


LATER_CALLS: dict[str, Step] = {
    "connect": lambda it: it.connect(SHORT),
    "receive_output": lambda it: it.receive_output(SHORT),
    "receive_from": lambda it: it.receive_from(SHORT),
    "receive_json_from": lambda it: it.receive_json_from(timeout=SHORT),
    "receive_nothing": lambda it: it.receive_nothing(),
    "send_input": lambda it: it.send_input({"type": "websocket.receive", "text": "1"}),
    "send_to": lambda it: it.send_to(bytes_data=b"1"),
    "send_json_to": lambda it: it.send_json_to({}),
    "disconnect": lambda it: it.disconnect(timeout=SHORT),
    "wait": lambda it: it.wait(SHORT),
    "stop": lambda it: it.stop(),
    "stop without exceptions": lambda it: it.stop(exceptions=False),
}
each_later_call = pytest.mark.parametrize("name", LATER_CALLS)


@each_later_call
@each_kind
@pytest.mark.parametrize("ending", ["raise", "return"])
async def test_an_application_that_has_ended_is_as_with_the_parent(
    name: str, kind: Kind, ending: Literal["raise", "return"]
) -> None:
    # That connect() reads past a frame is what differs.
    unread = () if name == "connect" else (JSON_FRAME,)
    await assert_same(
        scripted(Script((ACCEPT, *unread), ending), kind),
        lambda it: it.send_input(CONNECT),
        ended,
        LATER_CALLS[name],
        LATER_CALLS[name],
        LATER_CALLS[name],
    )


@each_later_call
async def test_an_application_that_a_timeout_has_cancelled_is_as_with_the_parent(
    name: str,
) -> None:
    await assert_same(
        scripted(Script((ACCEPT,)), "asgi"),
        connect,
        lambda it: it.receive_output(0.01),
        LATER_CALLS[name],
        LATER_CALLS[name],
    )


@each_later_call
async def test_an_application_not_yet_started_is_as_with_the_parent(name: str) -> None:
    await assert_same(
        scripted(Script((ACCEPT, CLOSE_WITH_REASON)), "asgi"), LATER_CALLS[name]
    )


@pytest.mark.parametrize("timeout", [0, 0.01, 1, None])
async def test_a_timeout_is_for_what_is_not_yet_there(timeout: float | None) -> None:
    await assert_same(
        scripted(Script((ACCEPT, JSON_FRAME, CLOSE_WITH_REASON), "return"), "asgi"),
        lambda it: it.send_input(CONNECT),
        ended,
        lambda it: it.receive_output(timeout),
        lambda it: it.receive_from(timeout=timeout),
        lambda it: it.receive_output(timeout),
    )


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


def denial(content: bytes) -> DenialResponse:
    return DenialResponse(401, HEADERS, content)


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


def warning_if(frames: object) -> AbstractContextManager[object]:
    return pytest.warns(UndeliverableWarning) if frames else nullcontext()


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


async def test_a_denial_response_is_the_first_and_ends_with_its_last_part() -> None:
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


# wait_closed().


class Ways(NamedTuple):
    """What the application does, what the test reads, and how wait_closed() ends."""

    script: Script
    steps: list[Step]
    result: int | type[BaseException]
    pre_close_messages: list[object]


WAYS = {
    "refused": Ways(Script((CLOSE_WITH_REASON,)), [connect], 4401, []),
    "refused, and nothing read": Ways(
        Script((CLOSE_WITH_REASON,)),
        [lambda it: it.send_input(CONNECT)],
        4401,
        [],
    ),
    "accepted and closed": Ways(
        Script((ACCEPT, CLOSE_WITH_REASON)), [connect], 4401, []
    ),
    "closed without a code": Ways(Script((ACCEPT, close())), [connect], 1000, []),
    "closed with a code of None": Ways(
        Script((ACCEPT, close(code=None))), [connect], 1000, []
    ),
    "frames before the close": Ways(
        Script((ACCEPT, JSON_FRAME, FRAME, BYTES_FRAME, CLOSE_WITH_REASON)),
        [connect],
        4401,
        [{"type": "jwt-expired"}, "hello", b"\0"],
    ),
    "frames before the close, some of them read": Ways(
        Script((ACCEPT, JSON_FRAME, FRAME, CLOSE_WITH_REASON)),
        [connect, receive],
        4401,
        ["hello"],
    ),
    "all of it read": Ways(
        Script((ACCEPT, JSON_FRAME, CLOSE_WITH_REASON)),
        [connect, receive, receive],
        4401,
        [],
    ),
    "the close read, and frames after it": Ways(
        Script((ACCEPT, CLOSE_WITH_REASON, JSON_FRAME)),
        [connect, receive, arrived],
        4401,
        [{"type": "jwt-expired"}],
    ),
    "an unknown event before the close": Ways(
        Script((ACCEPT, UNKNOWN, FRAME, CLOSE_WITH_REASON)), [connect], 4401, ["hello"]
    ),
    "closed, then crashed, all of it read": Ways(
        Script((ACCEPT, CLOSE_WITH_REASON), "raise"),
        [connect, ended, drained],
        4401,
        [],
    ),
    "crashed": Ways(
        Script((ACCEPT, JSON_FRAME), "raise"),
        [connect],
        Boom,
        [{"type": "jwt-expired"}],
    ),
    "returned": Ways(
        Script((ACCEPT, JSON_FRAME), "return"),
        [connect],
        asyncio.TimeoutError,
        [{"type": "jwt-expired"}],
    ),
    "open": Ways(Script((ACCEPT, FRAME)), [connect], asyncio.TimeoutError, ["hello"]),
    "no answer": Ways(Script(()), [], asyncio.TimeoutError, []),
    "denied": Ways(Script((DENIAL, BODY)), [connect], AssertionError, []),
    "denied, and frames after it": Ways(
        Script((DENIAL, BODY, JSON_FRAME)),
        [connect, arrived],
        AssertionError,
        [{"type": "jwt-expired"}],
    ),
    "denied and returned": Ways(
        Script((DENIAL, BODY), "return"), [connect], AssertionError, []
    ),
}


@each_kind
@pytest.mark.parametrize("name", WAYS)
async def test_wait_closed_gives_the_code_or_says_why_there_is_none(
    name: str, kind: Kind
) -> None:
    ways = WAYS[name]
    communicator = RecordingWebsocketCommunicator(scripted(ways.script, kind), "/")
    for step in ways.steps:
        await take(step, communicator)
    result: object
    if isinstance(ways.result, int):
        result = await communicator.wait_closed(LONG)
    else:
        with pytest.raises(ways.result) as raised:
            await communicator.wait_closed(SHORT)
        assert str(raised.value)
        result = raised.type
    assert result == ways.result
    assert communicator.pre_close_messages == ways.pre_close_messages
    assert communicator.output_queue.empty()
    with suppress(Boom, asyncio.CancelledError):
        communicator.stop()


async def test_wait_closed_leaves_what_comes_after_the_close_to_the_test() -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((ACCEPT, CLOSE_WITH_REASON, JSON_FRAME)), "asgi"), "/"
    )
    await communicator.connect()
    assert await communicator.wait_closed() == 4401
    assert communicator.pre_close_messages == []
    assert await communicator.receive_output() is JSON_FRAME
    await communicator.disconnect()


async def test_wait_closed_waits_for_the_close() -> None:
    async def hang_up(it: WebsocketCommunicator) -> None:
        await asyncio.sleep(0.05)
        await it.send_to("go")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        await send(FRAME)
        await send(CLOSE_WITH_REASON)

    communicator = RecordingWebsocketCommunicator(application, "/")
    await communicator.connect()
    code, _ = await asyncio.gather(
        communicator.wait_closed(LONG), hang_up(communicator)
    )
    assert code == communicator.close_code == 4401
    assert communicator.pre_close_messages == ["hello"]


# What is recorded is right however the test reads.


@each_kind
async def test_the_close_is_known_as_soon_as_it_is_sent(kind: Kind) -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((ACCEPT, JSON_FRAME, CLOSE_WITH_REASON), "return"), kind), "/"
    )
    assert (communicator.close_code, communicator.close_reason) == (None, None)
    await communicator.connect(LONG)
    await ended(communicator)
    assert (communicator.close_code, communicator.close_reason) == (4401, "expired")
    assert drain(communicator.output_queue) == [JSON_FRAME, CLOSE_WITH_REASON]


@each_kind
async def test_the_close_is_known_to_a_test_that_drains_the_queue(kind: Kind) -> None:
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
async def test_a_denial_is_known_to_a_test_that_drains_the_queue(kind: Kind) -> None:
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


async def test_what_is_sent_is_known_as_it_was_when_it_was_sent() -> None:
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


async def test_the_first_close_counts() -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((CLOSE_WITH_REASON, close())), "asgi"), "/"
    )
    assert await communicator.connect() == (False, 4401)
    assert (communicator.close_code, communicator.close_reason) == (4401, "expired")
    await communicator.disconnect()


# Bad input.


def look(communicator: RecordingWebsocketCommunicator) -> None:
    """At all that is derived from what was recorded."""
    assert str(communicator.transcript)
    assert repr(communicator)
    assert communicator.client_view
    assert isinstance(communicator.undeliverable, list)


#: What a frame holds, and what is kept of it.
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
async def test_a_frame_that_is_no_good_frame_is_kept(name: str, accepted: bool) -> None:
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
    look(communicator)
    await communicator.disconnect()


#: What is no answer to a handshake, and how connect() names it.
NO_ANSWERS: dict[str, tuple[object, str]] = {
    "unknown type": ({"type": "websocket.unknown", "a": 1}, "'websocket.unknown'"),
    "an event for HTTP": ({"type": "http.response.start"}, "'http.response.start'"),
    "the body of a denial": (BODY, "denial body b'no'"),
    "a type of None": ({"type": None}, "{'type': None}"),
    "a type that is a number": ({"type": 5}, "{'type': 5}"),
    "no type": ({"text": "1"}, "{'text': '1'}"),
    "an empty dict": ({}, "{}"),
    "None": (None, "None"),
    "a string": ("a string", "a string"),
    "a list": ([], "[]"),
}


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


BAD_EVENTS: dict[str, object] = {
    **{name: event for name, (event, _) in NO_ANSWERS.items()},
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
async def test_a_bad_event_is_received_and_breaks_no_record(
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
    look(communicator)
    await communicator.disconnect()
    look(communicator)


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
async def test_a_close_is_known_as_it_was_sent(
    keys: dict[str, object], code: object, reason: object
) -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((close(**keys),)), "asgi"), "/"
    )
    connected, answer = await communicator.connect()
    assert not connected
    for known, sent in [
        (answer, keys.get("code", 1000)),
        (communicator.close_code, code),
        (communicator.close_reason, reason),
    ]:
        assert known is sent or known == sent
    look(communicator)
    await communicator.disconnect()


@pytest.mark.parametrize(
    "keys",
    [
        {"headers": None},
        {"headers": [("a", "b")]},
        {"subprotocol": 5},
        {"subprotocol": ""},
    ],
    ids=str,
)
async def test_an_odd_accept_is_as_with_the_parent(keys: dict[str, object]) -> None:
    await assert_same(scripted(Script((accept(**keys),)), "asgi"), connect)


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
async def test_an_odd_denial_is_read_as_far_as_it_goes(
    start: Event, part: Event, response: tuple[object, ...]
) -> None:
    events = (
        {"type": "websocket.http.response.start", **start},
        body(**part),
    )
    communicator = RecordingWebsocketCommunicator(scripted(Script(events), "asgi"), "/")
    assert await communicator.connect() == (False, response[0])
    assert communicator.denial_response == response
    look(communicator)
    await communicator.disconnect()


async def test_assigned_queues_and_tasks_disturb_nothing() -> None:
    communicator: Any = RecordingWebsocketCommunicator(
        scripted(Script((ACCEPT,)), "asgi"), "/"
    )
    communicator.input_queue = communicator.output_queue = asyncio.Queue()
    communicator.future = "no task"
    assert await communicator.connect() == (True, None)
    application = communicator.future
    communicator.future = asyncio.current_task()
    assert communicator.future is application
    await communicator.disconnect()


async def test_a_task_that_is_assigned_first_is_the_application() -> None:
    """As the constructor of asgiref before 3.9 does it."""
    communicator: Any = RecordingWebsocketCommunicator(
        scripted(Script((), "return"), "asgi"), "/"
    )
    if communicator._future is None:
        communicator.future = asyncio.ensure_future(
            communicator.application(
                communicator.scope,
                communicator.input_queue.get,
                communicator.output_queue.put,
            )
        )
    await communicator.disconnect()
    with pytest.raises(asyncio.TimeoutError, match="has returned"):
        await communicator.receive_output()

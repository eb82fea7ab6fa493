"""Every data frame is received exactly once and in order, and none is lost."""

import asyncio
import gc
import json
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from random import Random
from typing import Any, Literal, NamedTuple

import pytest
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CONNECT, UNKNOWN, Event, body, close, send, start
from tests.helpers import drain, each_kind, ignore_undeliverable, wait_for_thread
from tests.scripts import Boom, Kind

pytestmark = ignore_undeliverable

Call = Callable[[RecordingWebsocketCommunicator, float], Coroutine[Any, Any, object]]


def is_json(payload: object) -> bool:
    return isinstance(payload, dict)


CALLS: dict[str, Call] = {
    "connect": lambda communicator, timeout: communicator.connect(timeout),
    "wait_closed": lambda communicator, timeout: communicator.wait_closed(timeout),
    "receive_output": lambda communicator, timeout: (
        communicator.receive_output(timeout)
    ),
    "receive_from": lambda communicator, timeout: communicator.receive_from(timeout),
    "receive_until": lambda communicator, timeout: (
        communicator.receive_until(is_json, timeout)
    ),
    "receive_nothing": lambda communicator, timeout: (
        communicator.receive_nothing(timeout, interval=0)
    ),
    "send_to": lambda communicator, timeout: communicator.send_to("go on"),
}
#: The calls that may move several data frames to ``pre_close_messages``.
READS_ON = {"connect", "wait_closed"}


def frame(kind: str, number: int) -> tuple[Event, object]:
    """Return a frame, and its payload as the test should receive it."""
    payloads: dict[str, tuple[Event, object]] = {
        "json": ({"text": json.dumps({"n": number})}, {"n": number}),
        "text": ({"text": f"number {number}"}, f"number {number}"),
        "bytes": ({"bytes": b"%d" % number}, b"%d" % number),
    }
    sent, payload = payloads[kind]
    return send(**sent), payload


FRAMES = ["json", "text", "bytes"]
OTHERS: dict[str, Event] = {
    "accept": ACCEPT,
    "close": close(code=4401),
    "denial": start(status=401),
    "part": body(more_body=True),
    "body": body(),
    "unknown": UNKNOWN,
}

Ending = Literal["return", "raise", "wait"]


class Program(NamedTuple):
    """What an application does: send events, "suspend" itself, "receive"; then end."""

    steps: list[str]
    ending: Ending
    #: How many frames it sends when it is cancelled, and how it ends then.
    frames_when_cancelled: int
    ending_when_cancelled: Ending


class Attempt(NamedTuple):
    """A call, or "take" from the queue, or "turn" of the event loop.

    The call is cancelled after so many turns; or its own timeout ends it if that is
    None, or ``wait_for()`` if it is negative.
    """

    name: str
    turns: int | None


programs = st.builds(
    Program,
    st.lists(
        st.sampled_from([*FRAMES, *FRAMES, *OTHERS, "suspend", "suspend", "receive"]),
        max_size=20,
    ),
    st.sampled_from(["return", "raise", "wait"]),
    st.integers(0, 2),
    st.sampled_from(["return", "raise", "wait"]),
)
attempts = st.lists(
    st.builds(
        Attempt,
        st.sampled_from([*CALLS, "take", "turn"]),
        st.none() | st.integers(-1, 6),
    ),
    max_size=20,
)


class Session:
    """Makes attempts on a program, and compares with a model of the unread events."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.communicator = RecordingWebsocketCommunicator(self.application, "/")
        #: The model: the events that were sent and not read yet.
        self.pending: deque[Event] = deque()
        self.payloads: list[object] = []
        self.arrived: list[object] = []

    async def application(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        try:
            for step in self.program.steps:
                if step == "receive":
                    await receive()
                elif step == "suspend":
                    await asyncio.sleep(0)
                else:
                    await self.send(step, send)
            await self.end(self.program.ending)
        except asyncio.CancelledError:
            for _ in range(self.program.frames_when_cancelled):
                await self.send("text", send)
            if self.program.ending_when_cancelled == "wait":
                raise
            await self.end(self.program.ending_when_cancelled)

    async def send(self, step: str, send: ASGISendCallable) -> None:
        if step in FRAMES:
            event, payload = frame(step, len(self.payloads))
            self.payloads.append(payload)
        else:
            event = dict(OTHERS[step])
        self.pending.append(event)
        await send(event)  # type: ignore[arg-type]

    async def end(self, ending: Ending) -> None:
        if ending == "raise":
            raise Boom("boom")
        if ending == "wait":
            await asyncio.get_running_loop().create_future()

    def is_dead(self) -> bool:
        future = self.communicator.future
        return future.done() and (future.cancelled() or future.exception() is not None)

    async def make(self, attempt: Attempt) -> None:
        """Make an attempt, and compare what has arrived with the model."""
        name, turns = attempt
        passed = len(self.communicator.pre_close_messages)
        was_dead, was_pending = self.is_dead(), list(self.pending)
        result: object = None
        error: BaseException | None = None
        try:
            result = await self.attempt(name, turns)
        except (Exception, asyncio.CancelledError) as exception:
            error = exception
        messages = self.communicator.pre_close_messages[passed:]
        taken = self.take_from_model()
        frames = frames_of(taken)
        if name in READS_ON:
            assert messages == [payload_of(event) for event in frames]
            self.arrived += messages
        else:
            assert messages == []
            self.compare(name, result, error, taken)
            self.arrived += [payload_of(event) for event in frames]
        if was_dead and name != "take":
            assert [event for event in was_pending if event not in frames] == list(
                self.pending
            )
        elif name == "receive_output" and turns is None:
            assert error is None or not was_pending

    async def attempt(self, name: str, turns: int | None) -> object:
        if name == "take":
            queue = self.communicator.output_queue
            return None if queue.empty() else queue.get_nowait()
        if name == "turn":
            return await asyncio.sleep(0, None)
        if turns is None:
            return await CALLS[name](self.communicator, 0.002)
        call = CALLS[name](self.communicator, 10)
        if turns < 0:
            return await asyncio.wait_for(call, 0.001)
        return await cancelled_after(turns, call)

    def take_from_model(self) -> list[Event]:
        """Return what the attempt has read: the first of the events."""
        left = self.communicator.output_queue.qsize()
        return [self.pending.popleft() for _ in range(len(self.pending) - left)]

    def compare(
        self,
        name: str,
        result: object,
        error: BaseException | None,
        taken: list[Event],
    ) -> None:
        if error is not None:
            # receive_from() reads an event that is not a frame, and raises.
            rejected = [name, type(error)] == ["receive_from", AssertionError]
            assert (len(taken), frames_of(taken)) == (rejected, [])
        elif name == "receive_until":
            payloads = [payload_of(event) for event in taken]
            assert result == payloads
            assert list(map(is_json, payloads)) == [False] * (len(taken) - 1) + [True]
        elif name == "receive_from":
            assert taken == [send(**keyed(result))]
        elif name == "receive_output" or (name == "take" and result is not None):
            assert len(taken) == 1
            assert taken[0] is result
        else:
            assert taken == []

    async def finish(self) -> None:
        """Read everything, then wait for a close."""
        for _ in range(len(self.program.steps) + 20):
            await self.make(Attempt("send_to", None))
            await self.make(Attempt("receive_output", None))
        await self.make(Attempt("wait_closed", None))


def frames_of(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if event["type"] == "websocket.send"]


def payload_of(event: Event) -> object:
    if "bytes" in event:
        return event["bytes"]
    text = str(event["text"])
    return json.loads(text) if text.startswith("{") else text


def keyed(payload: object) -> Event:
    return {"bytes" if isinstance(payload, bytes) else "text": payload}


async def cancelled_after(turns: int, call: Coroutine[Any, Any, object]) -> object:
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    return await task


READ = Attempt("receive_output", None)
TO_CONNECT = Attempt("connect", None)


@settings(deadline=None, max_examples=300)
@given(programs, attempts)
@example(Program([], "wait", 1, "wait"), [READ, TO_CONNECT])
@example(Program([], "wait", 1, "raise"), [READ, TO_CONNECT])
@example(Program(["denial", "text", "part"], "return", 0, "wait"), [TO_CONNECT])
def test_every_frame_is_received_exactly_once_and_in_order(
    program: Program, attempts: list[Attempt]
) -> None:
    async def session() -> None:
        session = Session(program)
        for attempt in attempts:
            await session.make(attempt)
        await session.finish()
        left = drain(session.communicator.output_queue)
        assert list(map(id, left)) == list(map(id, session.pending))
        # After a crash or a cancellation, what is left stays in the queue.
        unread = [payload_of(event) for event in frames_of(left)]
        assert session.arrived + unread == session.payloads
        assert not unread or session.is_dead()
        session.communicator.stop(exceptions=False)
        await asyncio.wait([session.communicator.future])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(session())


# Thousands of cancellations, while the application keeps sending.

CANCELLATIONS = 3_000


class Chat:
    """Sends numbers until it is stopped, sometimes without a pause."""

    def __init__(self, seed: object) -> None:
        self.random = Random(str(seed))
        self.stop = threading.Event()
        self.sent = 0

    def next(self) -> str | None:
        if self.stop.is_set():
            return None
        self.sent += 1
        return str(self.sent - 1)

    async def run(self, send: Callable[[str], Awaitable[None]]) -> None:
        while (number := self.next()) is not None:
            await send(number)
            for _ in range(self.random.randrange(8)):
                await asyncio.sleep(0)


def chatty(chat: Chat, kind: Kind) -> ASGI3Application:
    class AsyncChatty(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await chat.run(self.send)

    class SyncChatty(WebsocketConsumer):
        def connect(self) -> None:
            while (number := chat.next()) is not None:
                self.send(number)

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        await chat.run(
            lambda number: send(
                {"type": "websocket.send", "text": number}  # type: ignore
            )
        )

    applications: dict[Kind, ASGI3Application] = {
        "asgi": application,
        "async": AsyncChatty.as_asgi(),
        "sync": SyncChatty.as_asgi(),
    }
    return applications[kind]


def futures_and_timers() -> int:
    gc.collect()
    return sum(
        issubclass(type(item), (asyncio.Future, asyncio.TimerHandle))
        for item in gc.get_objects()
    )


@pytest.mark.parametrize("turns", [1, 3])
async def test_a_cancelled_call_leaves_no_future_and_no_timer(turns: int) -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        await asyncio.get_running_loop().create_future()

    communicator = RecordingWebsocketCommunicator(application, "/")
    before = futures_and_timers()
    for _ in range(CANCELLATIONS):
        with suppress(asyncio.CancelledError):
            await cancelled_after(turns, communicator.receive_output(60))
    assert futures_and_timers() < before + CANCELLATIONS / 10
    communicator.stop()


async def test_wait_leaves_no_future_and_no_timer() -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        await asyncio.sleep(0)

    before = futures_and_timers()
    for _ in range(CANCELLATIONS):
        await RecordingWebsocketCommunicator(application, "/").wait(60)
    assert futures_and_timers() < before + CANCELLATIONS / 10


@each_kind
async def test_cancelling_a_call_loses_no_frame(kind: Kind) -> None:
    chat, random = Chat(kind), Random(kind)
    communicator = RecordingWebsocketCommunicator(chatty(chat, kind), "/")
    await communicator.send_input(CONNECT)
    arrived: list[object] = []
    returned = 0
    times = [time.process_time()]
    for _ in range(3):
        cancelled = 0
        while cancelled < CANCELLATIONS / 3:
            passed = len(communicator.pre_close_messages)
            name = random.choice(
                ["receive_output", "receive_output", "receive_from", *READS_ON]
            )
            call = CALLS[name](communicator, 10)
            try:
                if random.random() < 0.2:
                    result = await asyncio.wait_for(call, random.random() / 1_000)
                else:
                    result = await cancelled_after(random.randrange(8), call)
            except (asyncio.CancelledError, TimeoutError):
                cancelled += 1
                result = None
            arrived += communicator.pre_close_messages[passed:]
            if result is not None:
                returned += 1
                text = result["text"] if isinstance(result, dict) else result
                arrived.append(json.loads(str(text)))
        times.append(time.process_time())
    chat.stop.set()
    await wait_for_thread()
    while not await communicator.receive_nothing(timeout=0.1):
        arrived.append(json.loads(await communicator.receive_from()))
    assert arrived == list(range(chat.sent))
    # Frames arrived both in calls that returned and in calls that were cancelled.
    assert returned > CANCELLATIONS / 10
    assert len(communicator.pre_close_messages) > CANCELLATIONS / 10
    # Nothing accumulates: the last cancellations cost no more than the first.
    assert times[3] - times[2] < 10 * (times[1] - times[0])
    communicator.stop(exceptions=False)
    await asyncio.wait([communicator.future])
    assert asyncio.all_tasks() == {asyncio.current_task()}

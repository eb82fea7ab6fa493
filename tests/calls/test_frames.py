"""Every data frame is received exactly once and in order, and none is lost."""

import asyncio
import gc
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from channels_closetest import RecordingWebsocketCommunicator
from tests.calls.timing import call, in_virtual_time, pausing, turns
from tests.events import ACCEPT, UNKNOWN, Event, body, close, send, start
from tests.helpers import drain, ignore_undeliverable
from tests.scripts import Boom

pytestmark = ignore_undeliverable

#: The calls that may move several data frames to ``pre_close_messages``.
READS_ON = {"connect", "wait_closed"}
READ_ONE = ["receive_output", "receive_from"]
CALLS = [
    *READS_ON,
    *READ_ONE,
    *("receive_until", "receive_all", "wait_idle", "receive_nothing", "send_to"),
]

FRAMES: dict[str, Callable[[int], Event]] = {
    "json": lambda number: send(text=json.dumps({"n": number})),
    "text": lambda number: send(text=f"number {number}"),
    "bytes": lambda number: send(bytes=b"%d" % number),
}
OTHERS: dict[str, Event] = {
    "accept": ACCEPT,
    "close": close(code=4401),
    "denial": start(status=401),
    "part": body(more_body=True),
    "body": body(),
    "unknown": UNKNOWN,
}

Ending = Literal["return", "raise", "wait"]
ENDINGS: list[Ending] = ["return", "raise", "wait"]


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
    st.sampled_from(ENDINGS),
    st.integers(0, 2),
    st.sampled_from(ENDINGS),
)
attempts = st.lists(
    st.builds(
        Attempt,
        st.sampled_from([*CALLS, "take", "turn"]),
        st.none() | st.integers(-1, 6),
    ),
    max_size=20,
)


def is_json(payload: object) -> bool:
    return isinstance(payload, dict)


def is_frame(event: Event) -> bool:
    return bool(event["type"] == "websocket.send")


def payloads_of(events: Iterable[Event]) -> list[object]:
    """Return the payloads of the frames among some events."""
    payloads = [it.get("bytes", it.get("text")) for it in events if is_frame(it)]
    return [
        json.loads(it) if isinstance(it, str) and it.startswith("{") else it
        for it in payloads
    ]


async def cancelled_after(count: int, call: Awaitable[object]) -> object:
    task = asyncio.ensure_future(call)
    await turns(count)
    task.cancel()
    return await task


class Session:
    """Makes attempts on a program, and compares with a model of the unread events."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.communicator = RecordingWebsocketCommunicator(self.application, "/")
        #: The model: the events that were sent and not read yet.
        self.pending: deque[Event] = deque()
        self.sent: list[Event] = []
        self.arrived: list[object] = []

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        program = self.program
        try:
            for step in program.steps:
                if step == "receive":
                    await receive()
                elif step == "suspend":
                    await asyncio.sleep(0)
                else:
                    await self.send(step, send)
            await self.end(program.ending)
        except asyncio.CancelledError:
            for _ in range(program.frames_when_cancelled):
                await self.send("text", send)
            if program.ending_when_cancelled == "wait":
                raise
            await self.end(program.ending_when_cancelled)

    async def send(self, step: str, send: Any) -> None:
        if step in FRAMES:
            event = FRAMES[step](len(self.sent))
        else:
            event = dict(OTHERS[step])
        self.sent.append(event)
        self.pending.append(event)
        await send(event)

    async def end(self, ending: Ending) -> None:
        if ending == "raise":
            raise Boom("boom")
        if ending == "wait":
            await asyncio.get_running_loop().create_future()

    def is_dead(self) -> bool:
        future = self.communicator.future
        return future.done() and (future.cancelled() or future.exception() is not None)

    async def make(self, name: str, turns: int | None) -> None:
        """Make an attempt, and compare what has arrived with the model."""
        passed = len(self.communicator.pre_close_messages)
        was_dead, was_pending = self.is_dead(), list(self.pending)
        result: object = None
        error: BaseException | None = None
        try:
            result = await self.attempt(name, turns)
        except (Exception, asyncio.CancelledError) as exception:
            error = exception
        messages = self.communicator.pre_close_messages[passed:]
        # What has been read: the first of the events.
        left = self.communicator.output_queue.qsize()
        taken = [self.pending.popleft() for _ in range(len(self.pending) - left)]
        self.arrived += payloads_of(taken)
        if name in READS_ON:
            assert messages == payloads_of(taken)
        else:
            assert messages == []
            self.compare(name, result, error, taken)
        if was_dead and name != "take":
            unread = [it for it in was_pending if it not in filter(is_frame, taken)]
            assert unread == list(self.pending)
        elif name == "receive_output" and turns is None:
            assert error is None or not was_pending

    async def attempt(self, name: str, turns: int | None) -> object:
        it = self.communicator
        if name == "take":
            return None if it.output_queue.empty() else it.output_queue.get_nowait()
        if name == "turn":
            return await asyncio.sleep(0, None)
        timeout = 2 if turns is None else 10
        made = {
            "receive_until": lambda: it.receive_until(is_json, timeout),
            "receive_nothing": lambda: it.receive_nothing(timeout, interval=0.01),
            "send_to": lambda: it.send_to("go on"),
        }.get(name, lambda: call(it, name, timeout))()
        if turns is None:
            return await made
        if turns < 0:
            return await asyncio.wait_for(made, 1)
        return await cancelled_after(turns, made)

    def compare(
        self, name: str, result: Any, error: BaseException | None, taken: list[Event]
    ) -> None:
        if error is not None:
            # receive_from() reads an event that is not a frame, and raises.
            rejected = [name, type(error)] == ["receive_from", AssertionError]
            assert (len(taken), payloads_of(taken)) == (rejected, [])
        elif name == "receive_until":
            assert result == payloads_of(taken)
            assert list(map(is_json, result)) == [False] * (len(taken) - 1) + [True]
        elif name == "receive_all":
            assert result == payloads_of(taken) and len(result) == len(taken)
        elif name == "receive_from":
            key = "bytes" if isinstance(result, bytes) else "text"
            assert taken == [send(**{key: result})]
        elif name == "receive_output" or (name == "take" and result is not None):
            assert [id(it) for it in taken] == [id(result)]
        else:
            assert taken == []

    async def finish(self) -> None:
        """Read everything, then wait for a close."""
        for _ in range(len(self.program.steps) + 20):
            await self.make("send_to", None)
            await self.make("receive_output", None)
        await self.make("wait_closed", None)
        left = drain(self.communicator.output_queue)
        assert list(map(id, left)) == list(map(id, self.pending))
        # After a crash or a cancellation, what is left stays in the queue.
        unread = payloads_of(left)
        assert self.arrived + unread == payloads_of(self.sent)
        assert not unread or self.is_dead()
        self.communicator.stop(exceptions=False)
        await asyncio.wait([self.communicator.future])
        assert asyncio.all_tasks() == {asyncio.current_task()}


READ = Attempt("receive_output", None)
TO_CONNECT = Attempt("connect", None)
#: Cancels connect() at each moment, while frames arrive one at a time.
ONE_BY_ONE = Program(["text", "suspend"] * 9, "wait", 0, "wait")
CANCELLED = [Attempt("connect", count) for count in range(7)]


@settings(deadline=None, max_examples=300)
@given(programs, attempts)
@example(Program([], "wait", 1, "wait"), [READ, TO_CONNECT])
@example(Program([], "wait", 1, "raise"), [READ, TO_CONNECT])
@example(
    Program(["json", "text", "close", "bytes", "json", "receive"], "wait", 0, "wait"),
    [Attempt("receive_all", None)] * 2 + [READ, Attempt("receive_all", None)],
)
@example(Program(["denial", "text", "part"], "return", 0, "wait"), [TO_CONNECT])
@example(ONE_BY_ONE, CANCELLED)
def test_every_frame_is_received_exactly_once_and_in_order(
    program: Program, attempts: list[Attempt]
) -> None:
    @in_virtual_time
    async def session() -> None:
        session = Session(program)
        for attempt in attempts:
            await session.make(*attempt)
        await session.finish()

    session()


# Nothing accumulates.

CANCELLATIONS = 3_000


def futures_and_timers() -> int:
    gc.collect()
    return sum(
        issubclass(type(item), (asyncio.Future, asyncio.TimerHandle))
        for item in gc.get_objects()
    )


@pytest.mark.parametrize("count", [1, 3, None])
async def test_no_call_leaves_a_future_or_a_timer(count: int | None) -> None:
    communicator = RecordingWebsocketCommunicator(pausing(), "/")
    before = futures_and_timers()
    for _ in range(CANCELLATIONS):
        if count is None:
            application = pausing(0, ending="return")
            await RecordingWebsocketCommunicator(application, "/").wait(60)
        else:
            with suppress(asyncio.CancelledError):
                await cancelled_after(count, communicator.receive_output(60))
    assert futures_and_timers() < before + CANCELLATIONS / 10
    communicator.stop()

"""``async with`` ends the application, masks no exception, and raises a crash."""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, BODY, CLOSE, CONNECT, DENIAL
from tests.failures.texts import HOW_TO_STOP, SUPPRESSES
from tests.helpers import (
    each_consumer,
    frame_of,
    line_of,
    only_note,
    readable,
)
from tests.scripts import Boom, Kind, Script, scripted

#: Seconds after which a test fails because its block has not ended.
LIMIT = 30


Arrive = Callable[[RecordingWebsocketCommunicator], Awaitable[object]]


each_body = pytest.mark.parametrize("body", ["passes", "raises", "is cancelled"])


@pytest.fixture
def short_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time in which the application has to end."""
    for module in ("application", "communicator"):
        name = f"channels_closetest.{module}.SHUTDOWN_TIMEOUT"
        monkeypatch.setattr(name, 0.05)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Yield what a sync consumer waits for, and set it after the test."""
    event = threading.Event()
    yield event
    event.set()


class AsyncSuppressing(AsyncWebsocketConsumer):
    """Ignores ``websocket.disconnect``, and so many cancellations."""

    def __init__(
        self, ignored: float = 0, events: Sequence[asyncio.Event] = ()
    ) -> None:
        super().__init__()
        self.ignored = ignored
        #: Set when it receives ``websocket.disconnect``, and at each cancellation.
        self.events = list(events)

    def notify(self) -> None:
        if self.events:
            self.events.pop(0).set()

    async def disconnect(self, code: int) -> None:
        while True:
            self.notify()
            try:
                await asyncio.get_running_loop().create_future()  # at the end
            except asyncio.CancelledError:
                self.ignored -= 1
                if self.ignored < 0:
                    raise


class SyncBlocking(WebsocketConsumer):
    def __init__(self, released: threading.Event) -> None:
        super().__init__()
        self.released = released

    def disconnect(self, code: int) -> None:
        self.released.wait()


class Unstoppable:
    """Applications that suppress every cancellation until ``stop()`` is called."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    async def suppressing(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        self.task = asyncio.current_task()
        while self.task is not None:
            with suppress(BaseException):
                await asyncio.get_running_loop().create_future()

    async def waiting(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        await asyncio.ensure_future(self.suppressing(scope, receive, send))

    def stop(self) -> None:
        task, self.task = self.task, None
        assert task is not None
        task.cancel()


async def nothing(communicator: RecordingWebsocketCommunicator) -> None:
    pass


async def start(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.send_input(CONNECT)
    await communicator.receive_nothing(0.01)


async def connect(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.connect()


async def connect_and_crash(communicator: RecordingWebsocketCommunicator) -> None:
    with pytest.raises(Boom):
        await communicator.connect()


async def time_out(communicator: RecordingWebsocketCommunicator) -> None:
    with pytest.raises(TimeoutError):
        await communicator.receive_output(0.01)


async def disconnect(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.connect()
    await communicator.disconnect(4000)


class Block:
    """An ``async with`` block, the first call in its body, and how the body ends."""

    communicator: RecordingWebsocketCommunicator

    def __init__(
        self, application: ASGI3Application, arrive: Arrive, body: str = "passes"
    ) -> None:
        self.application = application
        self.arrive = arrive
        self.body = body
        self.error = Exception("raised by the body")

    async def run(self) -> None:
        self.communicator = RecordingWebsocketCommunicator(self.application, "/")
        async with self.communicator as entered:
            assert entered is self.communicator
            await self.arrive(entered)
            if self.body == "raises":
                raise self.error
            if self.body == "is cancelled":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)

    def ends_as_it_should(
        self, task: asyncio.Task[None], crash: BaseException | None = None
    ) -> bool:
        """Return whether the block ended as its body did, or raised the given crash."""
        if self.body == "is cancelled":
            return task.cancelled()
        expected = self.error if self.body == "raises" else crash
        return task.exception() is expected


async def ended(main: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.ensure_future(main)
    await asyncio.wait([task], timeout=LIMIT)
    assert task.done(), "does not end"
    return task


def run(
    main: Coroutine[Any, Any, None], released: threading.Event | None = None
) -> asyncio.Task[None]:
    """Return its finished task. Fail if it does not end or leaves another task."""
    # Not asyncio.run(): it would wait for tasks that are left by mistake.
    loop = asyncio.new_event_loop()
    try:
        task = loop.run_until_complete(ended(main))
        assert asyncio.all_tasks(loop) == set()
        if released is not None:
            # The consumer's thread has yet to notify the loop that it has ended.
            released.set()
            loop.run_until_complete(sync_to_async(lambda: None)())
    finally:
        loop.close()
    return task


#: What the application does, the first call of the block, and whether the application
#: has raised an exception that no call has raised.
STATES: dict[str, tuple[Script, Arrive, bool]] = {
    "never connected": (Script((ACCEPT,)), nothing, False),
    "accepted": (Script((ACCEPT,)), connect, False),
    "rejected": (Script((CLOSE,)), connect, False),
    "denied": (Script((DENIAL, BODY)), connect, False),
    "crashed": (Script((ACCEPT,), "raise"), connect, True),
    "crashed, and a call has raised it": (
        Script((), "raise"),
        connect_and_crash,
        False,
    ),
    "returned": (Script((ACCEPT,), "return"), connect, False),
    "timed out": (Script(()), time_out, False),
    "disconnected": (Script((ACCEPT,)), disconnect, False),
}


@each_body
@pytest.mark.parametrize("state", STATES)
@each_consumer
def test_a_block_returns_or_raises_as_its_body_does(
    body: str, state: str, kind: Kind
) -> None:
    script, arrive, is_unraised = STATES[state]
    block = Block(scripted(script, kind), arrive, body)
    task = run(block.run())
    crash = block.communicator.future.exception() if is_unraised else None
    assert isinstance(crash, Boom) == is_unraised
    assert block.ends_as_it_should(task, crash)


@each_body
@each_consumer
@pytest.mark.usefixtures("short_shutdown")
def test_an_application_that_hangs_is_cancelled(
    body: str, kind: Kind, released: threading.Event
) -> None:
    application = (
        AsyncSuppressing.as_asgi()
        if kind == "async"
        else SyncBlocking.as_asgi(released=released)
    )
    block = Block(application, connect, body)
    task = run(block.run(), released)
    assert block.ends_as_it_should(task)
    assert block.communicator.future.cancelled()


@each_body
@pytest.mark.parametrize("ignored", [1, 2, math.inf])
@pytest.mark.usefixtures("short_shutdown")
def test_an_application_that_suppresses_its_cancellation_is_ended(
    body: str, ignored: float
) -> None:
    block = Block(AsyncSuppressing.as_asgi(ignored=ignored), connect, body)
    task = run(block.run())
    assert block.communicator.future.done()
    shown = str(block.communicator.transcript)
    if ignored < math.inf:
        assert block.ends_as_it_should(task)
        assert "the application was cancelled\n" in shown
        return
    # The block says so, but only if it has nothing else to raise.
    assert "the application was forced to stop\n" in shown
    if body != "passes":
        assert block.ends_as_it_should(task)
        return
    suppresses = "await asyncio.get_running_loop().create_future()  # at the end"
    assert isinstance(task.exception(), AssertionError)
    text = readable(task.exception())
    assert text.startswith(f"The application was forced to stop: {SUPPRESSES}")
    assert text.endswith(frame_of("disconnect", suppresses, __file__) + HOW_TO_STOP)


@each_body
@pytest.mark.parametrize("name", ["suppressing", "waiting"])
@pytest.mark.usefixtures("short_shutdown")
def test_a_block_ends_although_the_application_suppresses_every_cancellation(
    body: str, name: str
) -> None:
    unstoppable = Unstoppable()

    async def main() -> None:
        block = Block(getattr(unstoppable, name), start, body)
        task = await ended(block.run())
        crash = task.exception() if body == "passes" else None
        assert isinstance(crash, AssertionError) == (body == "passes")
        assert block.ends_as_it_should(task, crash)
        unstoppable.stop()
        await asyncio.wait([block.communicator.future], timeout=LIMIT)

    assert run(main()).exception() is None


# What the application raises.


@pytest.mark.parametrize(
    "name",
    ["connect", "receive_output", "receive_from", "wait_closed", "wait", "disconnect"],
)
def test_a_crash_that_a_call_has_raised_is_not_raised_again(name: str) -> None:
    async def connect_and_crash(communicator: RecordingWebsocketCommunicator) -> None:
        await communicator.send_input(CONNECT)
        with pytest.raises(Boom):
            await getattr(communicator, name)()

    block = Block(scripted(Script((), "raise"), "asgi"), connect_and_crash)
    assert run(block.run()).exception() is None


@pytest.mark.parametrize("shown", [True, False])
def test_a_crash_that_stop_has_not_raised_is_raised_by_the_block(shown: bool) -> None:
    async def stop(communicator: RecordingWebsocketCommunicator) -> None:
        await start(communicator)
        with suppress(Boom):
            communicator.stop(exceptions=shown)

    block = Block(scripted(Script((), "raise"), "asgi"), stop)
    assert isinstance(run(block.run()).exception(), Boom) != shown


async def crashing_at_the_end(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
    raise Boom("at the end")


async def crashing_when_cancelled(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        raise Boom("when cancelled")


@each_body
@pytest.mark.parametrize("application", [crashing_at_the_end, crashing_when_cancelled])
@pytest.mark.usefixtures("short_shutdown")
def test_an_exception_raised_by_the_application_as_it_ends_is_raised(
    body: str, application: ASGI3Application
) -> None:
    block = Block(application, start, body)
    task = run(block.run())
    crash = block.communicator.future.exception()
    assert isinstance(crash, Boom)
    assert block.ends_as_it_should(task, crash)


# How it disconnects.


@each_consumer
def test_the_application_receives_disconnect_and_has_time_to_end(kind: Kind) -> None:
    received: list[int] = []

    class AsyncLeisurely(AsyncWebsocketConsumer):
        async def disconnect(self, code: int) -> None:
            await asyncio.sleep(0.1)
            received.append(code)

    class SyncLeisurely(WebsocketConsumer):
        def disconnect(self, code: int) -> None:
            time.sleep(0.1)
            received.append(code)

    consumer = AsyncLeisurely if kind == "async" else SyncLeisurely
    run(Block(consumer.as_asgi(), connect).run())
    assert received == [1000]


def test_an_application_that_has_ended_is_not_sent_disconnect_again() -> None:
    block = Block(scripted(Script((ACCEPT,)), "async"), disconnect)
    run(block.run())
    assert [
        record.event
        for record in block.communicator.transcript.records
        if record.direction == "receive"
    ] == [CONNECT, {"type": "websocket.disconnect", "code": 4000}]


def test_nested_blocks_all_end() -> None:
    application = scripted(Script((ACCEPT,)), "async")

    async def main() -> None:
        async with (
            RecordingWebsocketCommunicator(application, "/1") as first,
            RecordingWebsocketCommunicator(application, "/2") as second,
        ):
            await asyncio.gather(first.connect(), second.connect())

    assert run(main()).exception() is None


# Cancelled while it ends.


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize(
    ("ignored", "moment"),
    [(0, 0), (1, 0), (1, 1), (2, 2), (math.inf, 0), (math.inf, 3)],
)
@pytest.mark.parametrize("body", ["passes", "raises"])
@pytest.mark.usefixtures("short_shutdown")
def test_a_block_that_is_cancelled_while_it_ends_leaves_no_task(
    times: int, ignored: float, moment: int, body: str
) -> None:
    async def main() -> None:
        events = [asyncio.Event() for _ in range(moment + 1)]
        application = AsyncSuppressing.as_asgi(ignored=ignored, events=events)
        block = Block(application, connect, body)
        task = asyncio.ensure_future(block.run())
        await events[moment].wait()
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0.01)
        await asyncio.wait([task], timeout=LIMIT)
        assert task.done(), "does not end"
        assert task.cancelled() == (body == "passes")
        assert task.cancelled() or block.ends_as_it_should(task)

    assert run(main()).exception() is None


@pytest.mark.usefixtures("short_shutdown")
def test_a_block_with_a_sync_consumer_can_be_cancelled_while_it_ends(
    released: threading.Event,
) -> None:
    disconnecting = threading.Event()

    class Disconnecting(SyncBlocking):
        def disconnect(self, code: int) -> None:
            disconnecting.set()
            super().disconnect(code)

    async def main() -> None:
        block = Block(Disconnecting.as_asgi(released=released), connect)
        task = asyncio.ensure_future(block.run())
        while (
            not hasattr(block, "communicator")
            or len(block.communicator.transcript.records) < 3
        ):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=LIMIT)
        assert task.done(), "does not end"
        assert task.cancelled()

    assert run(main(), released).exception() is None


# Tasks that the consumer has started.


class Starting(AsyncWebsocketConsumer):
    """Starts tasks, and forgets them."""

    async def connect(self) -> None:
        await self.accept()
        for work in (self.wait, self.wait_once, self.finish, self.wait):
            asyncio.create_task(work())

    async def wait(self) -> None:
        # A timer, by which the event loop keeps a task alive that nobody else holds.
        await asyncio.sleep(3600)

    async def wait_once(self) -> None:
        await asyncio.sleep(0)

    async def finish(self) -> None:
        pass

    async def disconnect(self, code: int) -> None:
        if code == 4000:
            raise Boom("at the end")


@pytest.mark.parametrize("body", ["passes", "raises"])
async def test_tasks_that_outlive_the_application_are_named_and_not_cancelled(
    body: str,
) -> None:
    before = asyncio.all_tasks()
    block = Block(Starting.as_asgi(), connect, body)
    with suppress(Exception):
        await block.run()
    assert block.communicator.future.done()
    left = asyncio.all_tasks() - before
    names = [getattr(task.get_coro(), "__name__", None) for task in left]
    assert names == ["wait", "wait"]
    assert not any(task.cancelling() for task in left if hasattr(task, "cancelling"))
    running = (
        f"{'':14}still running: Starting.wait(), tests/calls/test_async_with.py:"
        f"{line_of('async def wait(self) -> None:', __file__)}\n"
    )
    lines = readable(block.communicator.transcript)
    assert lines == (
        "/\n"
        "   0.0 ms  -> connect\n"
        "   0.0 ms  <- accept\n"
        "   0.0 ms  -> disconnect 1000\n"
        "   0.0 ms  the application returned\n"
        f"{running}{running}"
        "a client of Daphne sees: HTTP 101, then close code 1000"
    )
    # Once they have ended, they are no longer named.
    for task in left:
        task.cancel()
    await asyncio.wait(left)
    assert "still running" not in str(block.communicator.transcript)


async def test_tasks_are_not_named_while_the_application_runs() -> None:
    before = asyncio.all_tasks()
    async with RecordingWebsocketCommunicator(Starting.as_asgi(), "/") as communicator:
        await communicator.connect()
        assert "still running" not in str(communicator.transcript)
    for task in asyncio.all_tasks() - before:
        task.cancel()


async def test_a_crash_names_the_tasks_that_outlive_the_application() -> None:
    before = asyncio.all_tasks()
    communicator = RecordingWebsocketCommunicator(Starting.as_asgi(), "/")
    with pytest.raises(Boom) as raised:
        async with communicator:
            await communicator.connect()
            await communicator.disconnect(4000)
    assert only_note(raised.value).count("still running: Starting.wait(), ") == 2
    for task in asyncio.all_tasks() - before:
        task.cancel()


@pytest.mark.usefixtures("short_shutdown")
def test_an_application_that_raises_when_it_is_forced_is_not_to_blame_for_it() -> None:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                pass
            except GeneratorExit:
                raise Boom("while closing")

    async def main() -> None:
        communicator = RecordingWebsocketCommunicator(application, "/")
        with pytest.raises(TimeoutError, match="was forced to stop"):
            await communicator.connect(0.01)
        assert "the application was forced to stop" in str(communicator.transcript)

    assert run(main()).exception() is None

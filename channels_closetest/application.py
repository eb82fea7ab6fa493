"""``RecordingApplicationCommunicator``: the task of the application, and its queues.

Mirrors ``channels/testing/application.py`` and, below it, ``asgiref/testing.py``. All
that waits for the application, or ends it, is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import types
from collections import deque
from collections.abc import Callable, Generator, Sequence
from traceback import StackSummary
from typing import Any, TypeVar
from weakref import ref

from asgiref.testing import ApplicationCommunicator as AsgirefCommunicator
from channels.testing import ApplicationCommunicator

from .database import spare_transactions
from .failures import OTHER_LOOP, format_after, format_suppressing
from .recording import Direction, Outcome, Recording, event_type
from .stuck import StartedTasks, Stuck, find_stack, find_stuck, peek_exception

_Communicator = TypeVar("_Communicator", bound="RecordingApplicationCommunicator")

#: Seconds that an application has to stop, as in ``disconnect()``: after
#: ``websocket.disconnect``, and after each cancellation.
SHUTDOWN_TIMEOUT = 1.0
#: How often an application that suppresses its cancellation is cancelled.
MAX_CANCELLATIONS = 3


class RecordingQueue(asyncio.Queue[Any]):
    """Records every event that is put into it, and wakes whoever waits for a change.

    The application holds its queues. They hold the recording and nothing else: if they
    held the communicator, dropping it could no longer stop the application.
    """

    #: The event loop of the application, once it is started.
    loop: asyncio.AbstractEventLoop | None = None
    #: The tasks that send into this queue besides the application.
    senders: Callable[[], StartedTasks | None] = staticmethod(lambda: None)
    #: How many events have been put into it.
    put_count = 0
    _queue: deque[Any]  # which asyncio.Queue makes
    _waiters: Sequence[asyncio.Future[bool]] = ()

    def __init__(self, recording: Recording, direction: Direction) -> None:
        super().__init__()
        self._recording = recording
        self._direction = direction

    async def put(self, item: object) -> None:
        self.put_nowait(item)  # it is never full

    put.__qualname__ = asyncio.Queue.put.__qualname__  # the name of tasks that run it

    def _put(self, item: object) -> None:
        self.put_count += 1
        senders = self.senders()
        # Most applications start no task.
        task = senders.current() if senders is not None and senders.count else 0
        self._recording.add(self._direction, item, task)
        self._queue.append(item)
        if self._waiters:
            self.wake()

    @property
    def taken_count(self) -> int:
        """How many events have been taken out of it."""
        return self.put_count - self.qsize()

    def peek(self, index: int) -> Any:
        """Return an event that is in the queue, and leave it there."""
        return self._queue[index]

    def take_frames(self) -> list[Any]:
        """Take the data frames out; everything else stays, in its order."""
        frames = []
        for _ in range(self.qsize()):
            event = self._get()
            if event_type(event) == "websocket.send":
                frames.append(event)
            else:
                super()._put(event)
        return frames

    def wake(self) -> None:
        """Let every ``wait_until()`` check its condition."""
        for waiter in self._waiters:
            _set(waiter, True)

    # A generator that can be awaited, which takes a turn with a plain yield. That is
    # not asyncio.sleep(0), because tests patch it, and a coroutine would cost more.
    @types.coroutine
    def wait_until(
        self, condition: Callable[[], bool], timeout: float | None
    ) -> Generator[Any, Any, bool]:
        """Wait until ``condition()`` is true.

        It is checked after every event and every ``wake()``. Return False if
        ``timeout`` (in seconds, None for no limit) expires first. A timeout of 0 or
        less expires after one turn of the event loop, even if the condition has become
        true in it, as with the parent class. Raise ``RuntimeError`` in any event loop
        but the application's. If this call is cancelled, nothing is lost.
        """
        if condition():
            return True
        loop = asyncio.get_running_loop()
        if loop is not self.loop:
            raise RuntimeError(OTHER_LOOP)
        # The clock of the event loop, because that of the test may be frozen.
        deadline = None if timeout is None else loop.time() + timeout
        # Most applications answer within one turn of the event loop, and a turn costs
        # no timer. One more follows, because the parent's Queue.get() also returns a
        # turn after the event was put, and tests rely on what runs in that turn.
        yield
        if timeout is not None and timeout <= 0:
            return False
        if condition():
            yield
        while not condition():
            if not (yield from self._wait_for_change(loop, deadline)):
                return False
            if deadline is not None and loop.time() >= deadline:
                return condition()
        return True

    @types.coroutine
    def _wait_for_change(
        self, loop: asyncio.AbstractEventLoop, deadline: float | None
    ) -> Generator[Any, Any, bool]:
        """Return True after an event or ``wake()``, and False at the deadline."""
        waiter: asyncio.Future[bool] = loop.create_future()
        timer = None
        if deadline is not None:
            timer = loop.call_at(deadline, _set, waiter, False)
        self._waiters = [*self._waiters, waiter]
        try:
            return (yield from waiter)
        finally:
            self._waiters = [it for it in self._waiters if it is not waiter]
            if timer is not None:
                timer.cancel()


def _set(waiter: asyncio.Future[bool], changed: bool) -> None:
    if not waiter.done():
        waiter.set_result(changed)


class ApplicationRun:
    """The run of one application: its queues, its task, and what has passed.

    It does not hold the communicator, for the reason given at ``RecordingQueue``.
    """

    #: None until the application is started.
    task: asyncio.Task[Any] | None = None
    #: Where it was waiting when a call cancelled it.
    stuck: Stuck | None = None
    #: Where it was waiting after it had suppressed its cancellation.
    suppressing: StackSummary | None = None
    #: Whether stop() has closed its coroutine.
    is_forced = False
    #: Set by watch(), together with the task.
    started: StartedTasks
    #: How often wait() was called, and which call of it or of disconnect() has ended the
    #: application, in words, if one has.
    waits = 0
    cancelled_by_wait = ""
    #: Whether ``async with`` is over.
    is_left = False

    def __init__(self) -> None:
        self.recording = Recording()
        self.input_queue = RecordingQueue(self.recording, "receive")
        self.output_queue = RecordingQueue(self.recording, "send")

    def watch(self, task: asyncio.Task[Any]) -> None:
        """Record the end of the task, and restore then what it needed replaced."""
        # An eager task may be done. Then get_coro() is None, and crashes Python 3.12.1.
        is_done = task.done()
        code = None if is_done else getattr(task.get_coro(), "cr_code", None)

        def ended(task: asyncio.Task[Any]) -> None:
            started.leave()
            outcome: Outcome = "returned"
            if self.is_forced:
                outcome = "forced"
                # close() leaves a RuntimeError in the task. Retrieve it, or asyncio
                # logs it.
                with contextlib.suppress(asyncio.CancelledError):
                    task.exception()
            elif task.cancelled():
                outcome = "cancelled" if task.cancelling() else "cancelled itself"
            elif peek_exception(task) is not None:
                outcome = "raised"
            self.recording.end(outcome, code)
            self.output_queue.wake()

        self.task = task
        self.output_queue.loop = task.get_loop()
        self.started = started = StartedTasks(task, self.output_queue.wake)
        # Weakly: it holds exceptions, whose frames hold the queue.
        self.output_queue.senders = ref(started)
        if is_done:  # pragma: no cover - eager tasks exist since Python 3.12
            ended(task)
        else:
            # Before anything that awaits the application adds a callback of its own.
            task.add_done_callback(ended)

    def take_event(self) -> Any:
        return self.output_queue.get_nowait()

    def has_ended(self) -> bool:
        """Whether the task is done, and whatever watch() has changed is restored."""
        return self.recording.ending is not None

    @types.coroutine
    def wait_until_ended(self, timeout: float | None) -> Generator[Any, Any, None]:
        """Wait for the application, and for what watch() does at its end."""
        if self.task and (
            yield from self.output_queue.wait_until(self.task.done, timeout)
        ):
            while not self.has_ended():
                yield

    @types.coroutine
    def wait_for_output(
        self, ready: Callable[[], bool], timeout: float | None
    ) -> Generator[Any, Any, bool]:
        """Wait until ``ready()``, or until nothing more can come.

        Nothing can come when the application has raised, or has ended and so have the
        tasks that it has started. As with the parent class, a call that waits while the
        test disconnects or calls ``wait()`` goes on waiting; ``async with`` ends it.
        """
        events, waits = len(self.recording.records), self.waits

        def is_over() -> bool:
            if self.task is None or not self.task.done():
                return False
            if self.is_left or self.exception() is not None:
                return True
            if self.waits != waits or self.has_disconnected(events):
                return False
            return self.was_cancelled or not self.running_tasks

        return (
            yield from self.output_queue.wait_until(
                lambda: ready() or is_over(), timeout
            )
        )

    def has_disconnected(self, since: int = 0) -> bool:
        """Whether the test has sent ``websocket.disconnect``, after so many events."""
        return any(
            direction == "receive" and event_type(event) == "websocket.disconnect"
            for direction, event, *_ in self.recording.records[since:]
        )

    async def stop(self) -> None:
        """Cancel the application until it has ended.

        If it suppresses its cancellation, cancel it again ``SHUTDOWN_TIMEOUT`` seconds
        later, ``MAX_CANCELLATIONS`` times in all, then close its coroutine. Raise
        ``AssertionError`` if even that does not end it. If this call is cancelled,
        raise that when the application has ended.
        """
        __tracebackhide__ = True
        task = self.task
        if task is None or self.has_ended():
            return
        self.assert_own_loop()
        if task.done():
            # Its done callbacks run in the next turn of the event loop.
            await self.wait_until_ended(None)
            return
        self.stuck = find_stuck(task, self.started)
        cancelled: asyncio.CancelledError | None = None
        for attempt in range(MAX_CANCELLATIONS + 1):
            if attempt == 1:
                self.suppressing = find_stack(task)
            if attempt == MAX_CANCELLATIONS:
                # What suppresses every CancelledError hardly suppresses a
                # GeneratorExit.
                self.is_forced = True
                coroutine: Any = task.get_coro()
                # RuntimeError if it ignores that, and whatever else it raises instead.
                with contextlib.suppress(Exception):
                    coroutine.close()
            task.cancel()
            try:
                await self.wait_until_ended(SHUTDOWN_TIMEOUT)
            except asyncio.CancelledError as error:
                cancelled = error
            if self.has_ended():
                break
        if cancelled is not None:
            raise cancelled
        if not task.done():
            raise AssertionError(self.format_suppressing())

    def assert_stopped(self) -> None:
        """Raise ``AssertionError`` if the application suppressed its cancellation."""
        __tracebackhide__ = True
        if self.is_forced:
            raise AssertionError(self.format_suppressing())

    def format_suppressing(self) -> str:
        return format_suppressing(self.suppressing, has_stopped=not self.is_running)

    def assert_own_loop(self) -> None:
        """Raise ``RuntimeError`` in any event loop but the application's."""
        __tracebackhide__ = True
        if self.task and self.task.get_loop() is not asyncio.get_running_loop():
            raise RuntimeError(OTHER_LOOP)

    @property
    def is_running(self) -> bool:
        return self.task is not None and not self.task.done()

    @property
    def was_cancelled(self) -> bool:
        """Whether a test has ended the application, by whichever means."""
        return self.task is not None and (self.is_forced or self.task.cancelled())

    @property
    def ended_on_its_own(self) -> bool:
        done = self.task is not None and self.task.done()
        return done and not self.was_cancelled

    def exception(self) -> BaseException | None:
        """Return what the application has raised, and leave it for asyncio to log."""
        if self.task is None or not self.ended_on_its_own:
            return None
        return peek_exception(self.task)

    def raise_if_forced(self) -> None:
        """Raise what a cancelled application raises, and not what close() causes."""
        if self.is_forced:
            raise asyncio.CancelledError

    def raise_what_ended_it(self) -> None:
        """Raise what the application has raised, or that it was cancelled."""
        __tracebackhide__ = True
        if self.task is not None and self.task.done():
            self.raise_if_forced()
            self.task.result()

    def find_stuck(self) -> Stuck | None:
        """Return where the application is waiting, or was when it was cancelled."""
        if self.task is not None and not self.task.done():
            return find_stuck(self.task, self.started)
        return self.stuck

    @property
    def running_tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that the application has started and that are still running."""
        return [] if self.task is None else self.started.running()

    @property
    def crashed_tasks(self) -> tuple[BaseException, ...]:
        """What the tasks that the application started have raised."""
        return () if self.task is None else tuple(self.started.crashes)

    @property
    def loop_has_ended(self) -> bool:
        """Whether the application ran in an event loop that runs no more."""
        loop = self.output_queue.loop
        return loop is not None and not loop.is_running()


class RecordingApplicationCommunicator(ApplicationCommunicator):
    """``channels.testing.ApplicationCommunicator``, which records what passes.

    A call that waits returns as soon as the application has ended.
    """

    timeout_factor: float = 1
    """Multiplies the timeout of every call, whether the test passes it or not.

    For slow machines, set on a subclass for a whole suite. Not the timeout of
    ``receive_nothing()``, for which every passing test would wait longer. With a
    negative number, or anything that is not a finite number, the first call raises
    ``ValueError``.
    """

    _application_run: ApplicationRun

    def __new__(
        cls: type[_Communicator], *args: object, **kwargs: object
    ) -> _Communicator:
        # Not in a constructor, because subclasses skip them.
        communicator = super().__new__(cls)
        communicator._application_run = ApplicationRun()
        return communicator

    def __init__(self, application: Any, scope: Any) -> None:
        # Not super(), which is WebsocketCommunicator: a subclass that skips that
        # constructor by super(WebsocketCommunicator, self).__init__(application, scope)
        # arrives here, because with the changed import the name is our class.
        ApplicationCommunicator.__init__(self, application, scope)  # type: ignore

    @property
    def input_queue(self) -> asyncio.Queue[Any]:
        return self._application_run.input_queue

    @property
    def output_queue(self) -> asyncio.Queue[Any]:
        return self._application_run.output_queue

    @property
    def future(self) -> asyncio.Task[Any]:
        if self._future is None:
            # Before the first step of the application, which an eager task takes here.
            spare_transactions()
            self._application_run.watch(super().future)
        return self._future  # type: ignore[return-value]

    def _scaled(self, timeout: float | None) -> float | None:
        """Return the seconds to wait for a timeout of a call."""
        return None if timeout is None else timeout * self.timeout_factor

    async def send_input(self, message: dict[str, Any]) -> None:
        run = self._application_run
        run.raise_if_forced()
        if self.future.done():
            # Not super(): Channels replaces close_old_connections during its call.
            await AsgirefCommunicator.send_input(self, message)  # type: ignore
        else:
            run.input_queue.put_nowait(message)

    async def receive_output(self, timeout: float | None = 1) -> dict[str, Any]:
        __tracebackhide__ = True
        run, future = self._application_run, self.future
        queue = run.output_queue
        run.raise_what_ended_it()
        if queue.empty():
            in_time = await run.wait_for_output(
                lambda: not queue.empty(), self._scaled(timeout)
            )
            if not in_time and not future.done():
                await run.stop()
                if run.was_cancelled:
                    raise TimeoutError
            if not in_time or queue.empty():
                run.raise_what_ended_it()
                raise TimeoutError
        event: dict[str, Any] = run.take_event()
        return event

    async def receive_nothing(
        self, timeout: float = 0.1, interval: float = 0.01
    ) -> bool:
        run, future = self._application_run, self.future
        run.raise_what_ended_it()
        queue, loop = run.output_queue, asyncio.get_running_loop()
        if future.get_loop() is not loop:
            # The parent, which sleeps, may be called in any event loop.
            return bool(await super().receive_nothing(timeout, interval))
        if timeout > 0 and queue.empty():
            # The parent looks once an interval: the last time when the timeout has
            # passed, and before only after the whole of a burst.
            start, interval = loop.time(), max(interval, 0.0)
            last = math.ceil(timeout / interval) * interval if interval else timeout
            await run.wait_for_output(lambda: not queue.empty(), last)
            if interval and not queue.empty():
                rest = -(loop.time() - start) % interval
                await queue.wait_until(lambda: False, rest)
        return queue.empty()

    async def wait(self, timeout: float | None = 1) -> None:
        """Wait for the application to end, and raise what it raises.

        When ``timeout`` seconds have passed, or if this call is cancelled, it cancels
        the application and returns, as the parent does.
        """
        __tracebackhide__ = True
        run, future = self._application_run, self.future
        run.waits += 1
        if not future.done():
            try:
                await run.wait_until_ended(self._scaled(timeout))
            except asyncio.CancelledError:
                pass
        if not future.done():
            after = format_after(timeout, self.timeout_factor)
            run.cancelled_by_wait = f"wait(timeout={timeout}) has ended it{after}"
            try:
                await run.stop()
            except asyncio.CancelledError:
                pass
        run.assert_stopped()
        if not future.cancelled():
            future.result()

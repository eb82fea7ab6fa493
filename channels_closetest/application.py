"""``RecordingApplicationCommunicator``: the application under test.

Mirrors ``channels/testing/application.py`` and, below it, ``asgiref/testing.py``: the
task of the application and its queues, and all that waits for it or ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from asyncio import current_task  # at import, before a test patches it
from collections.abc import Callable, Sequence
from functools import partial
from traceback import StackSummary
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from channels.testing import ApplicationCommunicator

from .conversation import Conversation
from .database import spare_transactions
from .places import find_crash_place
from .queues import RecordingQueue
from .recording import Crash, Ending, Outcome
from .servers.rules import SERVERS, ServerName
from .stuck import StartedTasks, find_stack, find_stuck, peek_exception
from .text.failures import RawCall, Stuck, format_suppressing

#: Seconds that an application has to stop, as in ``disconnect()``: after
#: ``websocket.disconnect``, and after each cancellation.
SHUTDOWN_TIMEOUT = 1.0
#: How often an application that suppresses its cancellation is cancelled.
MAX_CANCELLATIONS = 3
#: Called with each communicator that has started its application. The audit adds one.
OBSERVERS: list[Callable[[RecordingApplicationCommunicator], None]] = []


class Application:
    """The application under test: its queues, its task, and how it ends.

    It does not hold the communicator, for the reason given at ``RecordingQueue``.
    """

    #: Its event loop and its task. None until it is started.
    loop: asyncio.AbstractEventLoop | None = None
    task: asyncio.Task[Any] | None = None
    #: What it has raised, and where.
    crash: Crash | None = None
    #: Where it was waiting when a call cancelled it.
    stuck: Stuck | None = None
    #: Where it was waiting after it had suppressed its cancellation.
    suppressing: StackSummary | None = None
    #: Whether a call that waited for its end has closed its coroutine.
    is_forced = False
    #: The task of the test that has disconnected or called wait() last.
    left_by: ref[asyncio.Task[Any]] | None = None
    #: Whether ``async with`` is over.
    is_left = False
    #: The call that has cancelled it because a timeout expired.
    cancelled_by: RawCall | None = None

    def __init__(self, communicator: RecordingApplicationCommunicator) -> None:
        #: The outermost calls in progress, by their tasks.
        self.calls: dict[asyncio.Task[Any] | None, RawCall] = {}
        self.conversation = recording = Conversation()
        self.started = started = StartedTasks(communicator)
        self.input_queue = RecordingQueue(recording, "receive", started)
        self.output_queue = RecordingQueue(recording, "send", started)

    # How it starts, and how it ends.

    def start(self, start: Callable[[], asyncio.Task[Any]]) -> asyncio.Task[Any]:
        """Start its task, and watch that and the tasks that it starts."""
        self.task = task = self.started.follow(start, self.output_queue.wake)
        self.loop = self.output_queue.loop = task.get_loop()
        # Before anything that awaits the task adds a callback of its own.
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.ending
        self.output_queue.wake()

    def leave(self) -> None:
        """The task that runs is about to disconnect, or to wait for the end."""
        task = current_task(self.loop)
        self.left_by = None if task is None else ref(task)

    @property
    def ending(self) -> Ending | None:
        """How the application has ended, or None."""
        task = self.task
        if task is None or not task.done():
            return None
        recording = self.conversation
        if recording.ending is None:
            self.started.factory.forget(ref(task))
            outcome: Outcome = "returned"
            if self.is_forced:
                outcome = "forced"
                # close() leaves a RuntimeError in the task. Retrieve it, or asyncio
                # logs it.
                with contextlib.suppress(asyncio.CancelledError):
                    task.exception()
            elif task.cancelled():
                outcome = "cancelled" if task.cancelling() else "cancelled itself"
            elif (exception := peek_exception(task)) is not None:
                outcome = "raised"
                # Now, before the traceback has frames of the test.
                self.crash = Crash(exception, find_crash_place(exception))
            recording.end(outcome)
        return recording.ending

    @property
    def is_cancelled(self) -> bool:
        """Whether the test has ended the application."""
        return self.ending is not None and self.ending.is_interrupted

    def raise_if_ended(self) -> None:
        """Raise what the application has raised, or that it was cancelled."""
        task = self.task
        if task is not None and task.done():
            self.ending
            if self.is_forced:
                raise asyncio.CancelledError  # not what close() causes
            task.result()

    def raise_unseen(self) -> None:
        """Raise what nobody has seen of what it, or a task that it started, has raised.

        No call has raised it. What a task has raised, it may still retrieve itself
        while it handles an event.
        """
        stuck, has_ended = self.find_stuck(), self.ending is not None
        if self.crash is not None and not self.conversation.crash_has_surfaced:
            self.raise_if_ended()
        if has_ended or (stuck is not None and stuck.is_idle):
            exception = self.started.unseen()
            if exception is not None:
                raise exception

    def find_stuck(self) -> Stuck | None:
        """Return where the application is waiting, or was when it was cancelled."""
        if self.task is not None and self.ending is None:
            return find_stuck(self.task, self.started)
        return self.stuck

    # Waiting for it.

    def end_of_output(self) -> Callable[[], bool]:
        """Return a condition for the call that begins: that nothing more can come.

        The application has raised, or it has ended and so have the tasks that it has
        started. As with the parent class, a call that waits while another task of the
        test disconnects or calls ``wait()`` goes on waiting; ``async with`` ends it.
        """
        task, was_running = current_task(self.loop), self.ending is None

        def is_over() -> bool:
            ending = self.ending
            if ending is None:
                return False
            goes_on = was_running and self.left_by and self.left_by() is not task
            may_send = goes_on or self.started.running()
            return self.is_left or ending.outcome == "raised" or not may_send

        return is_over


class Shutdown(contextlib.AbstractContextManager["Shutdown"]):
    """Sees that ``await task`` ends, where a call waits for the end of an application.

    When ``timeout`` (in seconds, None for no limit) has expired, it cancels the
    application; if the call that waits is cancelled, asyncio does. If the application
    suppresses that, it is cancelled again each ``SHUTDOWN_TIMEOUT`` seconds,
    ``MAX_CANCELLATIONS`` times in all, then its coroutine is closed. If even that does
    not end it, ``await task`` returns all the same, and leaving raises
    ``AssertionError``, which says where the application suppresses its cancellation.

    The call waits for the task itself, so that it returns in the parent's turn of the
    event loop, and raises what the application raises, but no ``CancelledError``.
    """

    #: Whether the application has not ended although its coroutine was closed.
    has_given_up = False
    #: How often it has cancelled the application.
    _attempts = 0
    #: Whether the timeout expired just after the application had ended. The parent then
    #: drops what that has raised.
    _is_late = False
    _timer: asyncio.Handle

    def __init__(self, application: Application, timeout: float | None) -> None:
        if application.task is not None and application.ending is None:
            application.output_queue.own_loop()
        self._application = application
        self._loop = loop = asyncio.get_running_loop()
        self._waiter = cast(Any, current_task(loop))
        self._cancelled_before = self._waiter.cancelling()
        # The clock of the event loop, because that of the test may be frozen.
        self._deadline = math.inf if timeout is None else loop.time() + timeout
        if timeout is not None and timeout <= 0:
            # If the application starts here, its first step comes after that.
            self._timer = loop.call_soon(self.expire)
        else:
            self._set_timer()

    def _set_timer(self) -> None:
        """Look again when the timeout expires, or after a while."""
        later = self._loop.time() + SHUTDOWN_TIMEOUT
        if self._deadline <= later and not self._attempts:
            self._timer = self._loop.call_at(self._deadline, self.expire)
        else:
            self._timer = self._loop.call_at(later, self._look)

    def _look(self) -> None:
        if self._attempts or self._waiter.cancelling() > self._cancelled_before:
            self.expire()
        else:
            self._set_timer()

    def expire(self) -> None:
        """Cancel the application."""
        self._timer.cancel()
        application, task = self._application, self._application.task
        if task is None or task.done():
            self._is_late = True
            return
        if self._attempts == 0:
            application.stuck = find_stuck(task, application.started)
            application.cancelled_by = application.calls.get(self._waiter)
        elif self._attempts == 1:
            application.suppressing = find_stack(task)
        elif self._attempts == MAX_CANCELLATIONS:
            # What suppresses every CancelledError hardly suppresses a GeneratorExit.
            application.is_forced = True
            coroutine: Any = task.get_coro()
            # RuntimeError if it ignores that, and whatever else it raises instead.
            with contextlib.suppress(Exception):
                coroutine.close()
        elif self._attempts > MAX_CANCELLATIONS:
            return self._give_up(task)
        task.cancel()
        self._attempts += 1
        self._set_timer()

    def _give_up(self, task: Any) -> None:
        """Wake the call that waits, although the task has not ended."""
        self.has_given_up = True
        ended = self._loop.create_future()
        ended.cancel()
        for callback, context in task._callbacks:
            if getattr(callback, "__self__", None) is self._waiter:
                task.remove_done_callback(callback)
                ended.add_done_callback(callback, context=context)

    def __exit__(self, cls: type | None, *_: object) -> bool:
        self._timer.cancel()
        is_cancellation = cls is not None and issubclass(cls, asyncio.CancelledError)
        application = self._application
        if application.is_forced:
            suppressing, has_stopped = application.suppressing, not self.has_given_up
            raise AssertionError(format_suppressing(suppressing, has_stopped)) from None
        return is_cancellation or self._is_late


class RecordingApplicationCommunicator(ApplicationCommunicator):
    """``channels.testing.ApplicationCommunicator``, which records what passes.

    A call that waits returns as soon as nothing more can come.
    """

    servers: Sequence[ServerName] = SERVERS
    """The servers that you deploy on; by default Daphne, Uvicorn and Hypercorn.

    ``client_view`` is about the first of them, ``undeliverable``, ``strict`` and the
    marks in the transcript about all. With a name that is not known, the first call
    raises ``ValueError``.
    """
    strict: bool = False
    """Whether a call that encounters anything undeliverable raises ``AssertionError``.

    Each undeliverable event fails exactly one call. Events of the test that no client
    could send count, too. A crash of the application, or of a task that it has started,
    fails the next call, unless another one has raised it.
    """
    timeout_factor: float = 1
    """Multiplies the timeout of every call, whether the test passes it or not.

    For slow machines, set on a subclass for a whole suite. Not the timeout of
    ``receive_nothing()``, for which every passing test would wait longer.
    """

    _application: Application
    #: Whether ``connect()`` warns of a frame before accept. The audit sets it.
    _warns_of_frames = True

    if not TYPE_CHECKING:  # pragma: no branch

        def __new__(cls, *args, **kwargs):
            # Not in a constructor, because subclasses skip them.
            communicator = super().__new__(cls)
            communicator._application = Application(communicator)
            return communicator

        def __init__(self, application, scope):
            # Not super(), which is WebsocketCommunicator: a subclass that skips that
            # constructor by super(WebsocketCommunicator, self).__init__(...) arrives
            # here, because with the changed import the name is our class.
            ApplicationCommunicator.__init__(self, application, scope)

    @property
    def input_queue(self) -> asyncio.Queue[Any]:
        """What the application has not received. Every event put there is recorded."""
        return self._application.input_queue

    @property
    def output_queue(self) -> asyncio.Queue[Any]:
        """What the test has not received. Every event put there is recorded."""
        return self._application.output_queue

    @property
    def future(self) -> asyncio.Task[Any]:
        """The task of the application. Reading it starts the application."""
        task = self._application.task
        if task is None:
            # Before its first step, which an eager task takes when it is created.
            spare_transactions()
            task = self._application.start(partial(getattr, super(), "future"))
            for observe in OBSERVERS:
                observe(self)
        return task

    def _scaled(self, timeout: float | None) -> float | None:
        """Return the seconds to wait for a timeout of a call."""
        return None if timeout is None else timeout * self.timeout_factor

    async def send_input(self, message: dict[str, Any]) -> None:
        """Send an event to the application, and start it if it has not started.

        Never waits. Raises what the application has raised before.
        """
        self.future
        application = self._application
        application.raise_if_ended()
        if type(message) is dict and message.get("type") == "websocket.disconnect":
            application.leave()
        # Not super(): Channels replaces close_old_connections during its call.
        call = application.calls.get(current_task(application.loop))
        # Its last field is the line of the test.
        await application.input_queue.put_from(call and call[-1], message)

    async def receive_output(self, timeout: float | None = 1) -> dict[str, Any]:
        """Return the next event that the application sends: the very object.

        ``timeout`` is in seconds; with None, it waits forever. Raises

        - what the application raises, at once, and also what it has raised before,
          even if there are events to receive;
        - ``TimeoutError`` when the timeout expires, after it has cancelled the
          application as the parent does, or at once if nothing more can come;
        - ``asyncio.CancelledError`` after an earlier call has cancelled it so.

        If it is cancelled, the application goes on running and no event is lost.
        """
        self.future
        application, queue = self._application, self._application.output_queue
        application.raise_if_ended()
        if queue.empty():
            seconds = self._scaled(timeout)
            is_over = application.end_of_output()
            in_time = await queue.wait_until(is_over, seconds, reads=True)
            if not in_time and application.ending is None:
                # The parent does not let go either if this call is cancelled meanwhile.
                with Shutdown(application, None) as shutdown:
                    shutdown.expire()
                    await self.future
                if application.is_cancelled:
                    raise TimeoutError
            if not in_time or queue.empty():
                application.raise_if_ended()
                raise TimeoutError
        return cast(dict[str, Any], queue.get_nowait())

    async def receive_nothing(
        self, timeout: float = 0.1, interval: float = 0.01
    ) -> bool:
        """Return whether the application sends nothing for ``timeout`` seconds.

        Both are in seconds, and numbers; it looks once in ``interval``. Returns at once
        if there is an event to receive, or if nothing more can come; reads and cancels
        nothing. ``timeout_factor`` does not apply. ``receive_all()`` takes less time.
        Raises what the application has raised before.
        """
        self.future
        application, queue = self._application, self._application.output_queue
        application.raise_if_ended()
        loop = asyncio.get_running_loop()
        if queue.loop is not loop:
            # The parent, which sleeps, may be called in any event loop.
            return bool(await super().receive_nothing(timeout, interval))
        is_over, has_ended = application.end_of_output(), False
        start = loop.time()
        while queue.empty() and not has_ended and loop.time() - start < timeout:
            # Not only until there is an event: the parent, which sleeps, sees the whole
            # of a burst.
            has_ended = await queue.wait_until(is_over, interval)
        return queue.empty()

    async def wait(self, timeout: float | None = 1) -> None:
        """Wait for the application to end, and raise what it raises.

        When ``timeout`` seconds have passed, or if this call is cancelled, it cancels
        the application and returns, as the parent does. Raises ``AssertionError`` if
        the application suppresses its ``CancelledError``.
        """
        application = self._application
        application.leave()
        with Shutdown(application, self._scaled(timeout)):
            await self.future

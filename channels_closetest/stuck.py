"""Where an application is waiting: its chain of awaits, and the thread behind it."""

from __future__ import annotations

import asyncio
import inspect
import sys
import traceback
from asyncio import Task, current_task
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any
from weakref import ref

from asgiref.sync import SyncToAsync
from channels.consumer import AsyncConsumer
from channels.utils import await_many_dispatch

from .places import find_crash_place
from .recording import Crash
from .text.failures import Stuck

#: The flags of code that runs in a task.
_COROUTINES = (
    inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
)


def find_stuck(application: Task[Any], started: StartedTasks) -> Stuck:
    """Return where an application, and the tasks that it has started, are waiting."""
    tasks = [find_stack(task) for task in started.running()]
    frames = list(_coroutine_frames(application.get_coro()))
    codes = [frame.f_code for frame in frames]
    if SyncToAsync.__call__.__code__ not in codes:
        is_idle = _waits_for_event(frames)
        return Stuck(is_idle, tasks if is_idle else [_stack(frames), *tasks])
    # asgiref runs a function (its local ``child``) in a thread. Show that thread's
    # frames.
    del frames[codes.index(SyncToAsync.__call__.__code__) + 1 :]
    child = frames[-1].f_locals.get("child")
    busy: list[FrameType] = []
    for functions, in_thread in _thread_frames():
        if child is not None and child in functions:
            return Stuck(False, [_stack([*frames, *in_thread]), *tasks])
        busy += in_thread
    return Stuck(False, [_stack(frames), *tasks], _stack(busy), child is not None)


def find_stack(task: Task[Any]) -> traceback.StackSummary:
    """Return the await that a task is in."""
    return _stack(_coroutine_frames(task.get_coro()))


class StartedTasks:
    """The tasks that an application has started, and what they have raised.

    asyncio does not record who created a task, so this replaces the task factory of the
    event loop while an application is running. It keeps no task alive, because asyncio
    does not, either: a task that nobody holds may be garbage-collected, and then its
    exception is logged.
    """

    #: Limits what one application makes us remember.
    LIMIT = 100

    #: How many tasks the application has started.
    count = 0
    #: What they have raised.
    crashes: Sequence[Crash] = ()
    _tasks: Sequence[ref[Task[Any]]] = ()
    _factory: _TaskFactory
    _changed: Callable[[], None]

    def follow(
        self, start: Callable[[], Task[Any]], changed: Callable[[], None]
    ) -> Task[Any]:
        """Start and watch an application. ``changed`` is called when a task ends."""
        loop, self._changed = asyncio.get_running_loop(), changed
        factory: Any = loop.get_task_factory()
        if type(factory) is not _TaskFactory:
            factory = _TaskFactory(loop, factory)
            loop.set_task_factory(factory)
        self._factory = factory
        return self._factory.begin(start, (ref(self), 0))

    def start(self, make: Callable[[], Task[Any]]) -> Task[Any]:
        self.count += 1
        task = self._factory.begin(make, (ref(self), self.count))
        self._tasks = [*self._tasks, ref(task)][-self.LIMIT :]
        task.add_done_callback(self._ended)
        return task

    def current(self) -> int:
        """Return the number of the task that is running, or 0 if it is none of these.

        The application itself is none, and neither is the task of asgiref from which
        a sync consumer sends.
        """
        started, number = self._factory.current_origin()
        return number if started is self else 0

    def running(self) -> list[Task[Any]]:
        tasks = [reference() for reference in self._tasks]
        return [task for task in tasks if task is not None and not task.done()]

    def leave(self, task: Task[Any]) -> None:
        """A task, or the application, has ended."""
        self._factory.forget(ref(task))

    def _ended(self, task: Task[Any]) -> None:
        self.leave(task)
        exception = peek_exception(task)
        if exception is not None:
            crash = Crash(exception, find_crash_place(exception, None))
            self.crashes = [*self.crashes, crash][-self.LIMIT :]
        self._changed()


#: What has started a task: the application's tasks, and the number of the task among
#: them from 1. The application itself has the number 0.
_Origin = tuple[Callable[[], StartedTasks | None], int]
_UNKNOWN: _Origin = (lambda: None, 0)


class _TaskFactory:
    """Makes each task as the factory before it, and remembers who has started it."""

    #: What an eager task does before it is known: the task that makes it, and the
    #: origin of any other unknown task that runs meanwhile.
    beginning: tuple[Task[Any] | None, _Origin] = (None, _UNKNOWN)

    def __init__(self, loop: asyncio.AbstractEventLoop, before: Any) -> None:
        self.loop = loop
        self.before = before
        #: The applications that are running.
        self.applications: set[ref[Task[Any]]] = set()
        #: Of each running application, and of each of its tasks. Not a
        #: WeakKeyDictionary, which takes longer to create than the rest of this class.
        self.origins: dict[ref[Task[Any]], _Origin] = {}

    def __getattr__(self, name: str) -> Any:
        # anyio recognises asyncio's eager task factory by its code and closure.
        return getattr(vars(self).get("before"), name)

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **kwargs: Any
    ) -> Task[Any]:
        make = partial(self.before or _make_task, loop, coroutine, **kwargs)
        started, _ = self.current_origin()
        if started is None or _is_called_by_channels():
            return make()
        return started.start(make)

    def current_origin(self) -> tuple[StartedTasks | None, int]:
        """Return the origin of the task that is running."""
        task, origin = current_task(self.loop), _UNKNOWN
        if task is not None:
            maker, beginning = self.beginning
            origin = self.origins.get(ref(task), origin if task is maker else beginning)
        return origin[0](), origin[1]

    def begin(self, make: Callable[[], Task[Any]], origin: _Origin) -> Task[Any]:
        """Make a task, and remember its origin until it has ended or is destroyed."""
        outer, self.beginning = self.beginning, (current_task(self.loop), origin)
        try:
            task = make()
            # Done callbacks do not run if the event loop is closed before.
            reference = ref(task, self.forget)
            self.origins[reference] = origin
            if origin[1] == 0:
                self.applications.add(reference)
        finally:
            self.beginning = outer
            self.restore()
        return task

    def forget(self, reference: ref[Task[Any]]) -> None:
        self.origins.pop(reference, None)
        self.applications.discard(reference)
        self.restore()

    def restore(self) -> None:
        """Restore the factory before if no application of the loop is running."""
        current: Any = self.loop.get_task_factory()
        if not self.applications and current is self:
            self.loop.set_task_factory(self.before)


def _make_task(loop: Any, coroutine: Any, **kwargs: Any) -> Task[Any]:
    return Task(coroutine, loop=loop, **kwargs)


def _is_called_by_channels() -> bool:
    """Whether this is how a consumer waits for its next event."""
    # Instrumentation may stand in between, as plain functions.
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not frame.f_code.co_flags & _COROUTINES:
        frame = frame.f_back
    return frame is not None and frame.f_code is await_many_dispatch.__code__


def peek_exception(task: Task[Any] | None) -> BaseException | None:
    """Return what a task has raised, without marking it as retrieved.

    After ``task.exception()``, asyncio does not log what nobody else retrieves.
    """
    exception: BaseException | None = getattr(task, "_exception", None)
    return exception


def format_task(task: Task[Any]) -> str:
    """Return the name of a running task's coroutine, and where it is defined."""
    coroutine: Any = task.get_coro()
    name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
    code = getattr(coroutine, "cr_code", None)
    where = "" if code is None else f", {code.co_filename}:{code.co_firstlineno}"
    return f"{name}(){where}"


def find_source(application: Any, task: Task[Any] | None) -> tuple[str, int]:
    """Return file and line of an application, as far as they can be found.

    Of a consumer behind routers and middleware only while it is running.
    """
    if task is not None and not task.done():
        for frame in _coroutine_frames(task.get_coro()):
            if isinstance(frame.f_locals.get("self"), AsyncConsumer):
                application = type(frame.f_locals["self"])
    try:
        # Channels lets the application of a consumer wrap its class.
        source = inspect.unwrap(application)
        file, (_, line) = inspect.getfile(source), inspect.getsourcelines(source)
    except (OSError, TypeError):
        return "<application>", 1
    return file, line


def _waits_for_event(frames: Sequence[FrameType]) -> bool:
    """Whether a consumer of Channels waits for its next event.

    While it handles an event, the task that has received it is done.
    """
    for frame in frames:
        if frame.f_code is await_many_dispatch.__code__:
            tasks = frame.f_locals.get("tasks", ())
            return bool(tasks) and not any(task.done() for task in tasks)
    return False


def _stack(frames: Iterable[FrameType]) -> traceback.StackSummary:
    # The lines of source are looked up if somebody formats the stack.
    return traceback.StackSummary.extract(
        ((frame, frame.f_lineno) for frame in frames), lookup_lines=False
    )


def _coroutine_frames(awaitable: Any) -> Iterator[FrameType]:
    while True:
        # Of a coroutine, or of a generator that stands for one.
        frame = getattr(awaitable, "cr_frame", getattr(awaitable, "gi_frame", None))
        if frame is None:
            return
        yield frame
        is_coroutine = hasattr(awaitable, "cr_await")
        awaitable = awaitable.cr_await if is_coroutine else awaitable.gi_yieldfrom


def _thread_frames() -> Iterator[tuple[tuple[Any, ...], list[FrameType]]]:
    """Yield what each thread of asgiref was given to call, and the frames since."""
    for innermost in sys._current_frames().values():
        above: list[FrameType] = []
        for frame, _ in traceback.walk_stack(innermost):
            if frame.f_code is SyncToAsync.thread_handler.__code__:
                yield frame.f_locals.get("args", ()), above[::-1]
            above.append(frame)

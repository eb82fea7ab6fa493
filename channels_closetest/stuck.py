"""Where an application is waiting: its chain of awaits, and the thread behind it."""

from __future__ import annotations

import asyncio
import inspect
import sys
import traceback
from asyncio import Task, current_task
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    stacks = [find_stack(task) for task in started.running()]
    frames = list(_coroutine_frames(application.get_coro()))
    codes = [frame.f_code for frame in frames]
    if SyncToAsync.__call__.__code__ not in codes:
        is_idle = _waits_for_event(frames)
        own = [] if is_idle else [_stack(frames)]
        return Stuck(is_idle, [*own, *stacks])
    # asgiref runs a function (its local ``child``) in a thread. Show that thread's
    # frames.
    call = codes.index(SyncToAsync.__call__.__code__)
    child = frames[call].f_locals.get("child")
    own_frames = frames[: call + 1]
    threads = list(_thread_frames())
    for functions, in_thread in threads:
        if child is not None and child in functions:
            own = [_stack([*own_frames, *in_thread])]
            return Stuck(False, [*own, *stacks])
    busy = [frame for _, in_thread in threads for frame in in_thread]
    return Stuck(
        False,
        [_stack(own_frames), *stacks],
        threads=_stack(busy),
        is_thread_known=child is not None,
    )


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

    #: What the tasks have raised.
    crashes: Sequence[Crash] = ()
    _tasks: Sequence[ref[Task[Any]]] = ()
    #: How many tasks the application has started.
    count = 0

    def __init__(self, application: Task[Any], changed: Callable[[], None]) -> None:
        loop = application.get_loop()
        factory: Any = loop.get_task_factory()
        if type(factory) is not _TaskFactory:
            factory = _TaskFactory(loop, factory)
            loop.set_task_factory(factory)
        self._factory: _TaskFactory = factory
        self._application = factory.watch(application, (self, 0))
        #: Called when a task has ended.
        self._changed = changed

    def add(self, task: Task[Any]) -> None:
        self.count += 1
        reference = self._factory.watch(task, (self, self.count))
        self._tasks = [*self._tasks, reference][-self.LIMIT :]
        task.add_done_callback(self._ended)

    def current(self) -> int:
        """Return the number of the task that is running, or 0 if it is none of these.

        The application itself is none, and neither is the task of asgiref from which
        a sync consumer sends.
        """
        task = current_task(self._factory.loop)
        if task is None:
            return 0
        started, number = self._factory.origins.get(ref(task), _UNKNOWN)
        return number if started is self else 0

    def running(self) -> list[Task[Any]]:
        tasks = [reference() for reference in self._tasks]
        return [task for task in tasks if task is not None and not task.done()]

    def leave(self) -> None:
        """The application has ended."""
        self._factory.forget(self._application)

    def _ended(self, task: Task[Any]) -> None:
        self._factory.forget(ref(task))
        exception = peek_exception(task)
        if exception is not None:
            crash = Crash(exception, find_crash_place(exception, None))
            self.crashes = [*self.crashes, crash][-self.LIMIT :]
        self._changed()


#: What has started a task: the application's tasks, and the number of the task among
#: them from 1. The application itself has the number 0.
_Origin = tuple[StartedTasks | None, int]
_UNKNOWN: _Origin = (None, 0)
_FORGOTTEN: _Origin = (None, -1)


class _TaskFactory:
    """Makes each task as the factory before it, and remembers who has started it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, before: Any) -> None:
        self.loop = loop
        self.before = before
        #: How many applications are running.
        self.running = 0
        #: Of each running application, and of each of its tasks. Not a
        #: WeakKeyDictionary, which takes longer to create than the rest of this class.
        self.origins: dict[ref[Task[Any]], _Origin] = {}

    def __getattr__(self, name: str) -> Any:
        # anyio recognises asyncio's eager task factory by its code and closure.
        return getattr(vars(self).get("before"), name)

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **kwargs: Any
    ) -> Task[Any]:
        task: Task[Any] = (self.before or _make_task)(loop, coroutine, **kwargs)
        parent = asyncio.current_task(loop)
        if parent is not None:
            started, _ = self.origins.get(ref(parent), _UNKNOWN)
            if started is not None and not _is_called_by_channels():
                started.add(task)
        return task

    def watch(self, task: Task[Any], origin: _Origin) -> ref[Task[Any]]:
        """Remember the origin of a task, until it has ended or is destroyed."""
        # Its done callbacks do not run if its event loop is closed before.
        reference = ref(task, self.forget)
        self.origins[reference] = origin
        self.running += origin[1] == 0
        return reference

    def forget(self, reference: ref[Task[Any]]) -> None:
        """Restore the factory before if no other application of the loop is running."""
        _, number = self.origins.pop(reference, _FORGOTTEN)
        self.running -= number == 0
        current: Any = self.loop.get_task_factory()
        if not self.running and current is self:
            self.loop.set_task_factory(self.before)


def _make_task(
    loop: asyncio.AbstractEventLoop, coroutine: Any, **kwargs: Any
) -> Task[Any]:
    return Task(coroutine, loop=loop, **kwargs)


def _is_called_by_channels() -> bool:
    """Whether this is how a consumer waits for its next event."""
    # Instrumentation may stand in between, as plain functions.
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not frame.f_code.co_flags & _COROUTINES:
        frame = frame.f_back
    return frame is not None and frame.f_code is await_many_dispatch.__code__


def peek_exception(task: Task[Any]) -> BaseException | None:
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
    while awaitable is not None:
        # Of a coroutine, or of a generator that stands for one.
        for frame, following in (
            ("cr_frame", "cr_await"),
            ("gi_frame", "gi_yieldfrom"),
        ):
            if getattr(awaitable, frame, None) is not None:
                yield getattr(awaitable, frame)
                awaitable = getattr(awaitable, following)
                break
        else:
            return


def _thread_frames() -> Iterator[tuple[tuple[Any, ...], list[FrameType]]]:
    """Yield what each thread of asgiref was given to call, and the frames since."""
    for frame in sys._current_frames().values():
        above: list[FrameType] = []
        caller: FrameType | None = frame
        while caller is not None:
            if caller.f_code is SyncToAsync.thread_handler.__code__:
                yield caller.f_locals.get("args", ()), above[::-1]
            above.append(caller)
            caller = caller.f_back

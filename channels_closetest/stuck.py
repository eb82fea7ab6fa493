"""Where an application is waiting: its chain of awaits, and the thread behind it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import traceback
from asyncio import Task, current_task
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import AsyncGeneratorType, CoroutineType, FrameType
from typing import Any, cast
from weakref import ref

from asgiref.sync import SyncToAsync
from channels.consumer import AsyncConsumer
from channels.layers import InMemoryChannelLayer
from channels.security.websocket import OriginValidator
from channels.utils import await_many_dispatch

from .places import ENDS, find_crash_place, is_plumbing
from .recording import Crash
from .text.failures import Stuck


def find_stuck(application: Task[Any], started: StartedTasks) -> Stuck:
    """Return where an application, and the tasks that it has started, are waiting."""
    chains = [list(coroutine_frames(task.get_coro())) for task in started.running()]
    # A multiplexer runs consumers in tasks.
    tasks = [_stack(chain) for chain in chains if not _waits_for_event(chain)]
    frames = list(coroutine_frames(application.get_coro()))
    if _waits_for_event(frames):
        stuck = Stuck(True, tasks)
    else:
        stuck = _find_thread(frames)
        stuck = stuck._replace(stacks=[*stuck.stacks, *tasks])
    for frame in frames:
        if frame.f_code is OriginValidator.__call__.__code__:
            stuck = stuck._replace(refusal=_find_refusal(frame.f_locals))
        if frame.f_code is AsyncConsumer.__call__.__code__:
            groups, is_full = _find_groups(frame.f_locals["self"])
            stuck = stuck._replace(groups=groups, is_channel_full=is_full)
    return stuck


def _find_thread(frames: list[FrameType]) -> Stuck:
    """Return where an application is waiting, also in the thread that it waits for."""
    codes = [frame.f_code for frame in frames]
    if SyncToAsync.__call__.__code__ not in codes:
        return Stuck(False, [_stack(frames)])
    # asgiref runs a function (its local ``child``) in a thread. Show that thread's
    # frames.
    del frames[codes.index(SyncToAsync.__call__.__code__) + 1 :]
    child = frames[-1].f_locals.get("child")
    busy: list[FrameType] = []
    for functions, in_thread in _thread_frames():
        if child is not None and child in functions:
            return Stuck(False, [_stack([*frames, *in_thread])])
        busy += in_thread
    return Stuck(False, [_stack(frames)], _stack(busy))


def _find_refusal(names: dict[str, Any]) -> tuple[str | None, Sequence[str]] | None:
    """Return the origin that OriginValidator has refused, and what it allows."""
    if "denier" not in names:
        return None
    origin = names["parsed_origin"]
    allowed = tuple(map(str, names["self"].allowed_origins))
    return None if origin is None else origin.geturl(), allowed


def _find_groups(consumer: AsyncConsumer) -> tuple[Sequence[str] | None, bool]:
    """Return the groups of a consumer, and whether its channel is full."""
    layer = consumer.channel_layer
    if type(layer) is not InMemoryChannelLayer:
        return None, False
    name = consumer.channel_name
    groups = sorted(group for group, names in layer.groups.items() if name in names)
    return groups, name in layer.channels and layer.channels[name].full()


def find_stack(task: Task[Any]) -> traceback.StackSummary:
    """Return the await that a task is in."""
    return _stack(coroutine_frames(task.get_coro()))


class StartedTasks:
    """The tasks that an application has started, and what they have raised.

    asyncio does not record who created a task, so this replaces the task factory of the
    event loop while an application is running. It keeps no running task alive, because
    asyncio does not, either.
    """

    #: Limits what one application makes us remember.
    LIMIT = 100

    #: How many tasks the application has started.
    count = 0
    #: Those that have failed. They are kept, so that asyncio logs later what nobody
    #: retrieves.
    failed: Sequence[Task[Any]] = ()
    #: What they have raised, and where.
    crashes: Sequence[Crash] = ()
    #: How many of them unseen() has looked at.
    _seen = 0
    _tasks: Sequence[ref[Task[Any]]] = ()
    #: What makes the tasks in the event loop of the application.
    factory: TaskFactory
    _changed: Callable[[], None]

    def __init__(self, communicator: object) -> None:
        #: Weakly, because the event loop holds this.
        self.communicator: ref[Any] = ref(communicator)

    def follow(
        self, start: Callable[[], Task[Any]], changed: Callable[[], None]
    ) -> Task[Any]:
        """Start and watch an application. ``changed`` is called when a task ends."""
        loop, self._changed = asyncio.get_running_loop(), changed
        factory: Any = loop.get_task_factory()
        if type(factory) is not TaskFactory:
            factory = TaskFactory(loop, factory)
            loop.set_task_factory(factory)
        self.factory = factory
        return self.factory.begin(start, (ref(self), 0))

    def start(self, make: Callable[[], Task[Any]]) -> Task[Any]:
        self.count += 1
        task = self.factory.begin(make, (ref(self), self.count))
        self._tasks = [*self._tasks, ref(task)][-self.LIMIT :]
        task.add_done_callback(self._ended)
        return task

    def current(self) -> int:
        """Return the number of the task that is running, or 0 if it is none of these.

        The application itself is none, and neither is the task of asgiref from which
        a sync consumer sends.
        """
        started, number = self.factory.current_origin()
        return number if started is self else 0

    def running(self) -> list[Task[Any]]:
        tasks = [reference() for reference in self._tasks]
        return [task for task in tasks if task is not None and not task.done()]

    def _ended(self, task: Task[Any]) -> None:
        self.factory.forget(ref(task))
        exception = peek_exception(task)
        if exception is not None and len(self.failed) < self.LIMIT:
            self.failed = [*self.failed, task]
            crash = Crash(exception, find_crash_place(exception))
            self.crashes = [*self.crashes, crash]
        self._changed()

    def unseen(self) -> BaseException | None:
        """Return the next exception that nobody has retrieved."""
        for task in self.failed[self._seen :]:
            self._seen += 1
            if getattr(task, "_log_traceback"):
                return peek_exception(task)
        return None


#: What has started a task: the application's tasks, and the number of the task among
#: them from 1. The application itself has the number 0.
_Origin = tuple[Callable[[], StartedTasks | None], int]
_UNKNOWN: _Origin = (lambda: None, 0)


class TaskFactory:
    """Makes each task as the factory before it, and remembers who has started it."""

    #: What an eager task does before it is known: the task that makes it, and the
    #: origin of any other unknown task that runs meanwhile.
    beginning: tuple[Task[Any] | None, _Origin] = (None, _UNKNOWN)
    #: How often a consumer of Channels has begun to wait for its next event.
    changes = 0

    def __init__(self, loop: asyncio.AbstractEventLoop, before: Any) -> None:
        self.loop = loop
        self.before = before
        #: Of each application, and of each of its tasks, while they run. Not a
        #: WeakKeyDictionary, which takes longer to create than the rest of this class.
        self.origins: dict[ref[Task[Any]], _Origin] = {}

    def __getattr__(self, name: str) -> Any:
        # anyio recognises asyncio's eager task factory by its code and closure.
        return getattr(vars(self).get("before"), name)

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **kwargs: Any
    ) -> Task[Any]:
        if self.before is None:
            make = partial(Task, coroutine, loop=loop, **kwargs)
        else:
            make = partial(self.before, loop, coroutine, **kwargs)
        started, _ = self.current_origin()
        if started is None:
            return make()
        if _is_called_by_channels():
            self.changes += 1
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
        except BaseException:
            self.beginning = outer
            self.restore()
            raise
        self.beginning = outer
        # Done callbacks do not run if the event loop is closed before.
        self.origins[ref(task, self.forget)] = origin
        return task

    def forget(self, reference: ref[Task[Any]]) -> None:
        self.origins.pop(reference, None)
        self.restore()

    def restore(self) -> None:
        """Restore the factory before if none of these runs or begins."""
        current: Any = self.loop.get_task_factory()
        is_beginning = self.beginning[0] is not None
        if not (self.origins or is_beginning) and current is self:
            self.loop.set_task_factory(self.before)


ENDS.add(id(TaskFactory.__call__.__code__))  # which starts eager tasks


def _is_called_by_channels() -> bool:
    """Whether this is how a consumer waits for its next event."""
    # Instrumentation may stand in between, as plain functions.
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not frame.f_code.co_flags & inspect.CO_COROUTINE:
        frame = frame.f_back
    return frame is not None and frame.f_code is await_many_dispatch.__code__


def peek_exception(task: Task[Any] | None) -> BaseException | None:
    """Return what a task has raised, without marking it as retrieved.

    After ``task.exception()``, asyncio does not log what nobody else retrieves.
    """
    return cast(BaseException | None, getattr(task, "_exception", None))


def format_task(task: Task[Any]) -> str:
    """Return the name of a running task's coroutine, and where it is defined."""
    coroutine: Any = task.get_coro()
    name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
    code = getattr(coroutine, "cr_code", None)
    where = "" if code is None else f", {code.co_filename}:{code.co_firstlineno}"
    return f"{name}(){where}"


def _waits_for_event(frames: Sequence[FrameType]) -> bool:
    """Whether a consumer of Channels waits for its next event.

    While it handles an event, the task that has received it is done.
    """
    tasks = receiving_tasks(frames)
    return bool(tasks) and not any(task.done() for task in tasks)


def receiving_tasks(frames: Sequence[FrameType]) -> Sequence[Task[Any]]:
    """Return the tasks in which a consumer receives its events, from ASGI first.

    There are none if it is not a consumer of Channels.
    """
    # The innermost: a handler may run another consumer.
    for frame in reversed(frames):
        if frame.f_code is await_many_dispatch.__code__:
            return cast(Sequence[Task[Any]], frame.f_locals.get("tasks", ()))
    return ()


def _stack(frames: Iterable[FrameType]) -> traceback.StackSummary:
    """Return the frames of the project and of libraries, if there are any."""
    every = list(frames)
    shown = [it for it in every if not is_plumbing(it.f_code.co_filename)] or every
    # The lines of source are looked up if somebody formats the stack.
    return traceback.StackSummary.extract(
        ((frame, frame.f_lineno) for frame in shown), lookup_lines=False
    )


def coroutine_frames(awaitable: Any) -> Iterator[FrameType]:
    """Yield the frames of a chain of awaits, the outermost first."""
    while awaitable is not None:
        for frame, following in _CHAIN:
            if getattr(awaitable, frame, None) is not None:
                yield getattr(awaitable, frame)
                awaitable = getattr(awaitable, following)
                break
        else:
            # What stands in between has no attribute for it: a step of an async
            # generator, or what the __await__() of a coroutine returns.
            referents = gc.get_referents(awaitable)
            behind = (it for it in referents if isinstance(it, _BEHIND))
            awaitable = next(behind, None)


#: The frame of a coroutine, of a generator that stands for one, or of an async
#: generator, and what it awaits.
_CHAIN = (
    ("cr_frame", "cr_await"),
    ("gi_frame", "gi_yieldfrom"),
    ("ag_frame", "ag_await"),
)
_BEHIND = (CoroutineType, AsyncGeneratorType)


def _thread_frames() -> Iterator[tuple[tuple[Any, ...], list[FrameType]]]:
    """Yield what each thread of asgiref was given to call, and the frames since."""
    for innermost in sys._current_frames().values():
        above: list[FrameType] = []
        for frame, _ in traceback.walk_stack(innermost):
            if frame.f_code is SyncToAsync.thread_handler.__code__:
                yield frame.f_locals.get("args", ()), above[::-1]
            above.append(frame)

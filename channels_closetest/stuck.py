"""Where an application is waiting: its chain of awaits, and the thread behind it."""

from __future__ import annotations

import asyncio
import inspect
import sys
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from asgiref.sync import SyncToAsync
from channels.consumer import AsyncConsumer
from channels.utils import await_many_dispatch


class Stuck(NamedTuple):
    """Where an application was waiting at one moment."""

    #: Whether it is a consumer of Channels that waits for its next event.
    is_idle: bool
    #: From the application itself to the await, or the call in its thread.
    stack: traceback.StackSummary
    #: What its thread does for somebody else, if it waits for its thread.
    busy_thread: traceback.StackSummary | None = None


def find_stuck(application: asyncio.Task[Any]) -> Stuck:
    """Return where an application that has not ended is waiting."""
    frames = list(_coroutine_frames(application.get_coro()))
    codes = [frame.f_code for frame in frames]
    if SyncToAsync.__call__.__code__ not in codes:
        return Stuck(_waits_for_event(codes), _stack(frames))
    # What follows is how asgiref waits. What its thread does is what counts.
    call = codes.index(SyncToAsync.__call__.__code__)
    child = frames[call].f_locals.get("child")
    threads = list(_thread_frames())
    for functions, in_thread in threads:
        if child in functions:
            return Stuck(False, _stack([*frames[: call + 1], *in_thread]))
    busy = [frame for _, in_thread in threads for frame in in_thread]
    return Stuck(False, _stack(frames[: call + 1]), _stack(busy))


def find_source(application: Any, task: asyncio.Task[Any] | None) -> tuple[str, int]:
    """Return file and line of an application, as far as they can be told.

    Of a consumer behind routers and middleware only while it is running.
    """
    if task is not None:
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


def _waits_for_event(codes: list[Any]) -> bool:
    if await_many_dispatch.__code__ not in codes[:-1]:
        return False
    following = codes[codes.index(await_many_dispatch.__code__) + 1]
    return following is asyncio.wait.__code__


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

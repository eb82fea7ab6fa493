"""Wait until no application is busy: each has handled everything that has reached it.

The rule is about every application in the event loop, because one that is busy may
still send to a group of any other:

- a consumer of Channels is idle when it waits for its next event;
- any other application is idle when it, or a task of it, waits in ``receive()``, and
  its main task waits for another task, not for a timer, the network or a thread;
- a task that they have started is busy when it is ready to run, in a thread of asgiref,
  or a consumer in a handler.
"""

from __future__ import annotations

import math
from asyncio import Future, Task, current_task, locks, queues, sleep, taskgroups
from asyncio import tasks as asyncio_tasks
from typing import Any

from asgiref.sync import SyncToAsync

from .application import Application
from .queues import RecordingQueue
from .stuck import coroutine_frames, find_stack, find_stuck, receiving_tasks
from .text.failures import Call, Stuck, format_busy
from .text.values import format_path

#: How many turns of the event loop pass before each look, for what only the event loop
#: knows: call_soon(), and tasks of the test.
TURNS = 5
#: Seconds between two looks, at first and at most, while what is busy is blocked.
MIN_PAUSE, MAX_PAUSE = 0.001, 0.005

#: The files of what waits for another task, except for sleep().
_WAITING = {module.__file__ for module in (asyncio_tasks, locks, queues, taskgroups)}


async def wait_until_idle(application: Application, timeout: float | None) -> None:
    """Wait until no application in the event loop is busy.

    If this one has ended, wait only for the tasks that it has started, and raise what
    it has raised. Raise ``TimeoutError`` if ``timeout`` (in seconds, None for no limit)
    expires first.
    """
    if application.ending is not None and _find_busy(application) is None:
        return application.raise_if_ended()
    queue, factory = application.output_queue, application.started.factory
    loop, pause = queue.own_loop(), MIN_PAUSE
    deadline = math.inf if timeout is None else loop.time() + timeout
    while True:
        changes = factory.changes
        for _ in range(TURNS):
            await sleep(0)
        busy, left = _find_busy(application), deadline - loop.time()
        if busy is None:
            if changes == factory.changes:
                return application.raise_if_ended()
        elif left <= 0:
            raise TimeoutError(_format_busy(application, busy))
        elif _is_blocked(busy[1]):  # or else it runs in the next turn
            await _wait_for(busy[1], queue, min(pause, left))
            pause = min(2 * pause, MAX_PAUSE)


async def _wait_for(task: Any, queue: RecordingQueue, seconds: float) -> None:
    """Wait until a task is no longer blocked, or until it is time for another look."""

    def wake(_: object) -> None:
        queue.wake()

    waiter = task._fut_waiter
    waiter.add_done_callback(wake)
    try:
        await queue.wait_until(waiter.done, seconds)
    finally:
        waiter.remove_done_callback(wake)


def _format_busy(application: Application, busy: tuple[Application, Task[Any]]) -> str:
    """Return which application is busy, and where it is waiting."""
    call = Call(*application.calls[current_task(application.loop)])
    (owner, task), path = busy, ""
    if owner is not application:
        path = format_path(vars(owner.started.communicator()).get("scope"))
    if task is owner.task:
        return format_busy(call, find_stuck(task, owner.started), path)
    return format_busy(call, Stuck(True, [find_stack(task)]), path)


def _find_busy(application: Application) -> tuple[Application, Task[Any]] | None:
    """Return one task that is busy, of this application if there is any, and its own.

    If that has ended, return none of another one.
    """
    ending, started = application.ending, application.started
    if ending is not None and ending.outcome != "returned":
        return None
    factory = started.factory
    # A main task comes last, because it may wait for the others. Sorting also makes a
    # copy: garbage collection may change the origins meanwhile.
    origins = sorted(
        factory.origins.items(),
        key=lambda it: (it[1][0]() is not started, it[1][1] == 0),
    )
    this = current_task(factory.loop)
    for reference, (origin, number) in origins:
        owner, task = origin(), reference()
        if ending is not None and owner is not started:
            break
        communicator = None if owner is None else owner.communicator()
        # A communicator that is dropped cancels its application.
        if communicator is None or task is None or task is this or task.done():
            continue
        other: Application = communicator._application
        busy = _what_is_busy(task, None if number else other.input_queue)
        if busy is not None:
            return other, busy
    return None


def _what_is_busy(task: Task[Any], queue: Any) -> Task[Any] | None:
    """Return a task if it is busy, or the busy one in which it receives.

    ``queue`` is where the application receives, and None for a task it has started.
    """
    if not _is_blocked(task) or (queue is not None and queue.qsize()):
        return task
    frames = list(coroutine_frames(task.get_coro()))
    receiving = receiving_tasks(frames)
    if any(it.done() for it in receiving):
        return task  # a consumer in a handler
    if receiving:
        # A middleware may do something before it passes an event on.
        busy = (it for it in receiving if not _is_blocked(it))
        return next(busy, None if _waits_for_task(receiving[0]) else receiving[0])
    is_idle = SyncToAsync.__call__.__code__ not in [it.f_code for it in frames]
    if queue is not None and is_idle:
        is_receiving = any(not getter.done() for getter in queue._getters)
        is_idle = is_receiving and _waits_for_task(task)
    return None if is_idle else task


def _is_blocked(task: Any) -> bool:
    """Whether a task waits for anything, and is not ready to run."""
    waiter = task._fut_waiter
    return not task.done() and waiter is not None and not waiter.done()


def _waits_for_task(task: Any) -> bool:
    """Whether a blocked task waits for another one, as in ``receive()``.

    Not for a timer, the network or a thread.
    """
    if type(task._fut_waiter) is not Future:  # a task, or what gather() returns
        return True
    *_, innermost = coroutine_frames(task.get_coro())
    code = innermost.f_code
    if code.co_filename in _WAITING:
        return code is not sleep.__code__
    module = innermost.f_globals.get("__name__", "")
    return code.co_name == "__aexit__" and module.startswith("anyio.")

"""Event loops whose clock stands still while anything can run.

Then it goes to the next timer. So an hour costs nothing, and what happens does not
depend on how fast the machine is.
"""

import asyncio
import contextlib
import heapq
import itertools
import math
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop
from asgiref.sync import sync_to_async

Result = TypeVar("Result")


class VirtualTime:
    """A mixin for an event loop, whose clock it replaces."""

    #: When a program has stalled that still does something, in virtual seconds.
    HORIZON = 1000
    #: How late a timer fires, as with every real clock.
    LATENESS = 1e-6

    main: asyncio.Task[None]
    now = 0.0
    #: How many turns it has taken since the clock moved.
    turn = 0
    #: How many callbacks have been scheduled since the last turn.
    scheduled = 0
    #: How many functions are in the thread, or wait for it to be free.
    in_thread = 0
    #: How many are not known to have returned: the clock stands still until they do.
    threads = 0

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.numbers = itertools.count()
        self.called_by_thread = threading.Event()
        super().call_soon(self.take_turn)  # type: ignore[misc]

    def time(self) -> float:
        return self.now

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        loop: Any = self
        timer = asyncio.TimerHandle(when, callback, args, loop, context)
        heapq.heappush(self.timers, (when, next(self.numbers), timer))
        return timer

    def call_later(self, delay: float, callback: Any, *args: Any, **kwargs: Any) -> Any:
        return self.call_at(self.now + delay, callback, *args, **kwargs)

    def _timer_handle_cancelled(self, handle: object) -> None:
        """Leave it in the heap."""

    def call_soon(self, *args: Any, **kwargs: Any) -> Any:
        self.scheduled += 1
        return super().call_soon(*args, **kwargs)  # type: ignore[misc]

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:
        self.scheduled += 1
        handle = super().call_soon_threadsafe(*args, **kwargs)  # type: ignore[misc]
        self.called_by_thread.set()
        return handle

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> Any:
        """Return when the thread has returned, or needs the event loop."""
        loop: Any = self
        future = loop.create_future()

        def call() -> None:
            try:
                result, error = function(*args), None
            except BaseException as it:
                result, error = None, it
            self.in_thread -= 1
            self.call_soon_threadsafe(end, result, error)

        def end(result: object, error: BaseException | None) -> None:
            self.threads -= 1
            if error is not None and not future.done():
                future.set_exception(error)
            elif not future.done():
                future.set_result(result)

        is_free = self.in_thread == 0
        self.threads += 1
        self.in_thread += 1
        self.called_by_thread.clear()
        executor.submit(call)
        if is_free:
            self.called_by_thread.wait(30)  # longer than any, but not forever
        return future

    def take_turn(self) -> None:
        """Fire the next timers if nothing was scheduled since the last turn."""
        if self.threads and not self.scheduled:
            self.called_by_thread.wait(0.01)
            self.called_by_thread.clear()
        elif not self.scheduled and not self.main.done():
            while self.timers and self.timers[0][2].cancelled():
                heapq.heappop(self.timers)
            if not self.timers or self.timers[0][0] > self.HORIZON:
                self.stop()  # type: ignore[attr-defined]
            else:
                self.now = max(self.now, self.timers[0][0]) + self.LATENESS
                self.turn = 0
            while self.timers and self.timers[0][0] <= self.now:
                timer = heapq.heappop(self.timers)[2]
                self.call_soon(lambda timer=timer: timer.cancelled() or timer._run())
        self.scheduled = 0
        self.turn += 1
        super().call_soon(self.take_turn)  # type: ignore[misc]

    def run(self, coroutine: Any) -> bool:
        """Return whether the coroutine has stalled."""
        loop: Any = self
        self.main = loop.create_task(coroutine)
        with contextlib.suppress(RuntimeError):  # of a loop that has been stopped
            loop.run_until_complete(self.main)
        return not self.main.done()

    def close(self) -> None:
        self.timers.clear()
        del self.main  # whose result may hold tasks
        super().close()  # type: ignore[misc]


PlainLoop: Any = type("PlainLoop", (VirtualTime, asyncio.SelectorEventLoop), {})
UvLoop: Any = type("UvLoop", (VirtualTime, uvloop.Loop), {})
#: None before Python 3.12.
EAGER: Any = getattr(asyncio, "eager_task_factory", None)
LOOPS = ("plain", *(["eager"] if EAGER else []), "uvloop", "debug")


def make_loop(kind: str) -> Any:
    loop: Any = UvLoop() if kind == "uvloop" else PlainLoop()
    loop.set_debug(kind == "debug")
    loop.slow_callback_duration = math.inf  # by a clock that a callback sets
    if kind == "eager":
        loop.set_task_factory(EAGER)
    return loop


async def and_cancel_the_rest(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Await a coroutine, and cancel what is still running then, as asyncio.run()."""
    try:
        return await coroutine
    finally:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        # If a sync consumer sends just when the event loop is closed, its thread waits
        # forever, and so does the next one that needs it.
        await sync_to_async(lambda: None)()


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine as asyncio.run() does, but its timeouts cost nothing."""
    loop = make_loop("plain")
    try:
        if loop.run(and_cancel_the_rest(coroutine)):
            raise TimeoutError("it waits for what never happens")
        result: Result = loop.main.result()
        return result
    finally:
        loop.close()

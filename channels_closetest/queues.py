"""``RecordingQueue``: what passes between a test and the application under test."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import ref

from asgiref.sync import markcoroutinefunction

from .places import find_sender
from .recording import Direction, RawPlace, Recording
from .stuck import StartedTasks
from .text.failures import OTHER_LOOP

_Waiters = dict[asyncio.Future[None], Callable[[], object]]


class RecordingQueue(asyncio.Queue[Any]):
    """Records every event that is put into it, and wakes whoever waits for a change.

    The application holds its queues. They hold the recording, and not the communicator:
    otherwise dropping that could no longer stop the application.
    """

    #: The event loop of the application, once it is started.
    loop: asyncio.AbstractEventLoop | None = None
    #: How many events have been put into it.
    put_count = 0
    #: Of the event that is being put, if it is known.
    _place: RawPlace | None = None
    # Of asyncio.Queue: the events, who waits to read one, and what wakes the first.
    _queue: deque[Any]
    _getters: deque[Any]
    _wakeup_next: Callable[[deque[Any]], None]

    def __init__(
        self, recording: Recording, direction: Direction, started: StartedTasks
    ) -> None:
        super().__init__()
        self._recording = recording
        self._direction = direction
        self._is_of_test = direction == "receive"
        # Weakly: it holds exceptions, whose frames hold the queue.
        self._started = ref(started)
        #: Who waits with a condition that an event may make true, and who reads.
        self._watchers: _Waiters = {}
        self._readers: _Waiters = {}

    # A plain function, which looks for the sender where it is called: async_to_sync()
    # calls it in the thread of a sync consumer, and runs the coroutine elsewhere.
    @markcoroutinefunction
    def put(self, item: object) -> Coroutine[Any, Any, None]:
        return self.put_from(find_sender(sys._getframe(1), self._is_of_test), item)

    async def put_from(self, place: RawPlace | None, item: object) -> None:
        """Put an event that this line has sent."""
        self._place = place
        self.put_nowait(item)  # it is never full

    def _put(self, item: object) -> None:
        self.put_count += 1
        started = self._started()
        # Most applications start no task.
        task = started.current() if started is not None and started.count else 0
        place, self._place = self._place, None
        if place is None:
            place = find_sender(sys._getframe(1), self._is_of_test)
        self._recording.add(self._direction, item, place, task)
        self._queue.append(item)
        if self._watchers:
            self._wake(self._watchers)

    @property
    def taken_count(self) -> int:
        """How many events have been taken out of it."""
        return self.put_count - self.qsize()

    def peek(self, index: int) -> Any:
        """Return an event that is in the queue, and leave it there."""
        return self._queue[index]

    def wake(self) -> None:
        """End every ``wait_until()`` whose condition is true now."""
        self._wake(self._watchers)
        self._wake(self._readers)

    def _wake(self, waiters: _Waiters) -> None:
        # Not the others: what wakes up for nothing, and then finds an event, would be
        # earlier than what the application had scheduled before it sent that.
        for waiter, condition in waiters.items():
            if not waiter.done() and condition():
                waiter.set_result(None)

    def own_loop(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop, which must be the application's."""
        loop = asyncio.get_running_loop()
        if loop is not self.loop:
            raise RuntimeError(OTHER_LOOP)
        return loop

    async def wait_until(
        self,
        condition: Callable[[], object],
        timeout: float | None,
        reads: bool = False,
    ) -> bool:
        """Wait until ``condition()`` is true; with ``reads``, or there is an event.

        It is checked after every ``wake()`` and, unless the call reads, every event.
        Events are for those that read, also by ``get()``, in the order in which they
        wait. Return False if ``timeout`` (in seconds, None for no limit) expires first.
        Raise ``RuntimeError`` in any event loop but the application's. If this call is
        cancelled, nothing is lost.
        """
        if condition():
            loop = asyncio.get_running_loop()
            if loop is not self.loop:
                return True
            loop.call_soon(self.wake)  # after what the application has scheduled
        loop = self.own_loop()
        waiters = self._readers if reads else self._watchers
        expired: list[bool] = []
        timer: asyncio.Handle | None = None

        def expire() -> None:
            expired.append(True)
            self.wake()

        # Like the parent's Queue.get() below asyncio.timeout(), which costs more: what
        # the application has scheduled before it sent has run by then.
        if timeout is not None and timeout <= 0:
            timer = loop.call_soon(expire)
        elif timeout is not None:
            # The clock of the event loop, because that of the test may be frozen.
            timer = loop.call_at(loop.time() + timeout, expire)
        try:
            # As with the parent, even if the condition has become true meanwhile.
            while not expired:
                waiter: asyncio.Future[None] = loop.create_future()
                waiters[waiter] = lambda: expired or condition()
                if reads:
                    self._getters.append(waiter)
                has_event = False
                try:
                    await waiter
                    has_event = reads and not expired and not self.empty()
                finally:
                    del waiters[waiter]
                    if waiter in self._getters:
                        self._getters.remove(waiter)
                    elif reads and not has_event and not self.empty():
                        self._wakeup_next(self._getters)  # for the event it was for
                if has_event or not expired and condition():
                    return True
            return False
        finally:
            if timer is not None:
                timer.cancel()

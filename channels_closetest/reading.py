"""What a call that receives several events has read, and keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from .application import RecordingQueue
from .failures import format_no_match, format_received, format_unmatched
from .recording import decode, encoded_payload, event_type, payload


class KeptPayloads:
    """What ``pre_close_messages`` returns, decoded when somebody reads it."""

    def __init__(self) -> None:
        self._encoded: list[tuple[Any, bool]] = []
        self._decoded: list[Any] = []

    def __len__(self) -> int:
        return len(self._encoded) + len(self._decoded)

    def keep(self, frame: Mapping[str, Any]) -> None:
        self._encoded.append(encoded_payload(frame))

    def decoded(self) -> list[Any]:
        self._decoded += [decode(*encoded) for encoded in self._encoded]
        self._encoded.clear()
        return self._decoded


class Reading:
    """What one call receives until its deadline."""

    #: How many events it has received, and how many of them were data frames.
    events = 0
    frames = 0
    _start: float | None = None

    def __init__(self, timeout: float | None, factor: float) -> None:
        self._timeout = timeout
        self._factor = factor

    def count(self, event: Any) -> str:
        """Count an event, and return its type."""
        kind = event_type(event)
        self.events += 1
        if kind == "websocket.send":
            self.frames += 1
        return kind

    def describe(self) -> str:
        return format_received(self.events, self.frames)

    def remaining(self) -> float | None:
        """Return what is left of the timeout since the first call.

        ``receive_output()`` multiplies it by the factor again.
        """
        if self._timeout is None:
            return None
        # The clock of the event loop, because that of the test may be frozen.
        now = asyncio.get_running_loop().time()
        if self._start is None:
            self._start = now
            return self._timeout
        if not self._factor:
            return 0.0
        return max(0.0, self._timeout - (now - self._start) / self._factor)


class Search:
    """Looks for a data frame among the events to receive, and takes none of them."""

    #: How many events it has looked at, all of which are data frames.
    frames = 0

    def __init__(self, queue: RecordingQueue, match: Callable[[Any], object]) -> None:
        self._queue = queue
        self._match = match
        #: The payloads, by the position of their events among all that are sent. The
        #: calls of other tasks may take some of them.
        self._payloads: dict[int, Any] = {}
        self._next = queue.taken_count

    def describe(self) -> str:
        return format_unmatched(self.frames)

    def has_more(self) -> bool:
        """Whether there is an event that it has not looked at."""
        return self._next < self._queue.put_count

    def find(self) -> list[Any] | None:
        """Return the payloads up to the match, or None. Looks at each event once."""
        __tracebackhide__ = True
        first = self._queue.taken_count
        for position in range(max(first, self._next), self._queue.put_count):
            event = self._queue.peek(position - first)
            if event_type(event) != "websocket.send":
                raise AssertionError(format_no_match(event, self.frames))
            self._payloads[position] = frame = payload(event)
            self._next = position + 1
            self.frames += 1
            if self._match(frame):
                return [self._payloads[it] for it in range(first, position + 1)]
        return None

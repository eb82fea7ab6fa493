"""Time and memory per event do not grow with the number of events."""

import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.calls.timing import pausing
from tests.events import ACCEPT, CLOSE, FRAME, Event, body, send, start
from tests.helpers import having_sent, ignore_undeliverable

pytestmark = ignore_undeliverable

#: What ten times as many events may cost more each. A quadratic cost is ten times as
#: high; a linear one is the same, but for the noise of the machine.
FACTOR = 3

#: Uses a communicator, and yields the name of each step when it is over.
Use = Callable[[Sequence[Event]], AsyncIterator[str]]


async def look(events: Sequence[Event]) -> AsyncIterator[str]:
    communicator = await having_sent(*events)
    yield "recording"
    assert isinstance(communicator.undeliverable, list)
    yield "judging"
    assert communicator.client_view
    yield "client_view"
    assert str(communicator.transcript)
    yield "showing"


async def receive_strictly(events: Sequence[Event]) -> AsyncIterator[str]:
    communicator = await having_sent(*events)
    communicator.strict = True
    yield "recording"
    for _ in events:
        await communicator.receive_output()
    yield "receive_output()"


async def receive_at_once(events: Sequence[Event]) -> AsyncIterator[str]:
    communicator = await having_sent(*events[1:])
    yield "recording"
    await communicator.receive_until(lambda it: it["number"] == len(events) - 2)
    yield "receive_until()"


async def receive_one_by_one(events: Sequence[Event]) -> AsyncIterator[str]:
    steps = [step for event in events[1:] for step in (event, 0)]
    end = send(text='"end"')
    communicator = RecordingWebsocketCommunicator(pausing(*steps, end), "/")
    yield "making"
    await communicator.receive_until(lambda it: it == "end", None)
    yield "receive_until()"
    communicator = RecordingWebsocketCommunicator(pausing(*steps, CLOSE), "/")
    yield "making another"
    await communicator.wait_closed(None)
    yield "wait_closed()"


async def seconds_per_event(use: Use, events: Sequence[Event]) -> dict[str, float]:
    """Return the CPU time of each step."""
    costs: dict[str, float] = {}
    gc.collect()
    gc.disable()
    try:
        begin = time.process_time()
        async for name in use(events):
            costs[name] = (time.process_time() - begin) / len(events)
            begin = time.process_time()
    finally:
        gc.enable()
    return costs


async def bytes_per_event(use: Use, events: Sequence[Event]) -> dict[str, float]:
    tracemalloc.start()
    try:
        async for _ in use(events):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return {"peak": peak / len(events)}


def delivered(count: int) -> Sequence[Event]:
    return [ACCEPT, *(send(text=f'{{"number": {n}}}') for n in range(count))]


def undeliverable(count: int) -> Sequence[Event]:
    return [FRAME] * count


def denial(count: int) -> Sequence[Event]:
    return [start(status=401), *[body(body=b"x", more_body=True)] * count]


@pytest.mark.parametrize(
    ("measure", "use", "flood", "few"),
    [
        (seconds_per_event, look, delivered, 1_000),
        (seconds_per_event, look, undeliverable, 1_000),
        (seconds_per_event, look, denial, 1_000),
        (seconds_per_event, receive_strictly, delivered, 200),
        (seconds_per_event, receive_at_once, delivered, 2_000),
        (seconds_per_event, receive_one_by_one, delivered, 1_000),
        (bytes_per_event, look, delivered, 200),
        (bytes_per_event, look, undeliverable, 200),
        (bytes_per_event, look, denial, 200),
    ],
)
async def test_cost_per_event_does_not_grow_with_the_number_of_events(
    measure: Callable[[Use, Sequence[Event]], Awaitable[dict[str, float]]],
    use: Use,
    flood: Callable[[int], Sequence[Event]],
    few: int,
) -> None:
    # The lowest of three, because noise only adds to a cost.
    measured = [await measure(use, flood(few)) for _ in range(3)]
    lowest = {name: min(costs[name] for costs in measured) for name in measured[0]}
    # For the same reason, one measurement without growth is enough.
    for _ in range(3):
        costs = await measure(use, flood(10 * few))
        grown = [name for name in costs if costs[name] > FACTOR * lowest[name]]
        if not grown:
            break
    assert grown == []

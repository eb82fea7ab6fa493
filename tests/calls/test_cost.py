"""Time and memory per event do not grow with the number of events."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, Event, body, send, start
from tests.helpers import having_sent, ignore_undeliverable

pytestmark = ignore_undeliverable

#: What ten times as many events may cost more each. A quadratic cost is ten times as
#: high; a linear one is the same, but for the noise of the machine.
FACTOR = 3

TASKS: dict[str, Callable[[RecordingWebsocketCommunicator], object]] = {
    "judging": lambda communicator: communicator.undeliverable,
    "client_view": lambda communicator: communicator.client_view,
    "showing": lambda communicator: str(communicator.transcript),
}

Costs = dict[str, float]


@contextmanager
def measuring(costs: Costs, name: str, calls: int) -> Iterator[None]:
    """Add the CPU time per call in seconds."""
    gc.collect()
    gc.disable()
    try:
        begin = time.process_time()
        yield
        costs[name] = (time.process_time() - begin) / calls
    finally:
        gc.enable()


async def seconds_per_event(events: tuple[Event, ...]) -> Costs:
    costs: Costs = {}
    with measuring(costs, "recording", len(events)):
        communicator = await having_sent(*events)
    for name, task in TASKS.items():
        with measuring(costs, name, len(events)):
            task(communicator)
    return costs


async def seconds_per_strict_call(events: tuple[Event, ...]) -> Costs:
    costs: Costs = {}
    communicator = await having_sent(*events)
    communicator.strict = True
    with measuring(costs, "receive_output()", len(events)):
        for _ in events:
            await communicator.receive_output()
    return costs


async def seconds_per_event_of_wait_closed(events: tuple[Event, ...]) -> Costs:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for event in events:
            await send(event)
            await asyncio.sleep(0)  # the queue is empty each time
        await send(CLOSE)

    costs: Costs = {}
    communicator = RecordingWebsocketCommunicator(application, "/")
    with measuring(costs, "wait_closed()", len(events)):
        await communicator.wait_closed(timeout=None)
    return costs


async def bytes_per_event(events: tuple[Event, ...]) -> Costs:
    tracemalloc.start()
    try:
        communicator = await having_sent(*events)
        for task in TASKS.values():
            task(communicator)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return {"peak": peak / len(events)}


async def lowest(
    measure: Callable[[tuple[Event, ...]], Awaitable[Costs]], events: tuple[Event, ...]
) -> Costs:
    """Measure three times, and return the lowest of each cost."""
    measured = [await measure(events) for _ in range(3)]
    return {name: min(costs[name] for costs in measured) for name in measured[0]}


async def assert_cost_per_event_does_not_grow(
    measure: Callable[[tuple[Event, ...]], Awaitable[Costs]],
    few: tuple[Event, ...],
    many: tuple[Event, ...],
) -> None:
    of_few = await lowest(measure, few)
    # Noise only adds to a cost, so one measurement without growth is enough.
    for _ in range(3):
        of_many = await measure(many)
        grown = {
            name: (of_few[name], of_many[name])
            for name in of_few
            if of_many[name] > FACTOR * of_few[name]
        }
        if not grown:
            break
    assert grown == {}


def delivered(events: int) -> tuple[Event, ...]:
    return (ACCEPT, *(send(text=f'{{"number": {n}}}') for n in range(events)))


def undeliverable(events: int) -> tuple[Event, ...]:
    return tuple(send(text=str(number)) for number in range(events))


def denial(events: int) -> tuple[Event, ...]:
    return (start(status=401), *[body(body=b"x", more_body=True)] * events)


each_flood = pytest.mark.parametrize("flood", [delivered, undeliverable, denial])


@each_flood
async def test_time_per_event_does_not_grow_with_the_number_of_events(
    flood: Callable[[int], tuple[Event, ...]],
) -> None:
    await assert_cost_per_event_does_not_grow(
        seconds_per_event, flood(1_000), flood(10_000)
    )


async def test_time_per_call_of_strict_does_not_grow_with_the_number_of_events() -> (
    None
):
    await assert_cost_per_event_does_not_grow(
        seconds_per_strict_call, delivered(200), delivered(2_000)
    )


async def test_time_per_event_of_wait_closed_does_not_grow() -> None:
    await assert_cost_per_event_does_not_grow(
        seconds_per_event_of_wait_closed, delivered(1_000), delivered(10_000)
    )


@each_flood
async def test_memory_per_event_does_not_grow_with_the_number_of_events(
    flood: Callable[[int], tuple[Event, ...]],
) -> None:
    await assert_cost_per_event_does_not_grow(bytes_per_event, flood(200), flood(2_000))

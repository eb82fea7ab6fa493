"""Time and memory: many events cost no more each than few."""

import time
import tracemalloc
from collections.abc import Callable, Iterator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, Event, body, send, start
from tests.helpers import ignore_undeliverable, perform

pytestmark = ignore_undeliverable


TASKS: dict[str, Callable[[RecordingWebsocketCommunicator], object]] = {
    "judging": lambda communicator: communicator.undeliverable,
    "client_view": lambda communicator: communicator.client_view,
    "showing": lambda communicator: str(communicator.transcript),
}


async def seconds_an_event(events: tuple[Event, ...]) -> dict[str, float]:
    times = {}
    start = time.process_time()
    communicator = await perform(*events)
    times["recording"] = time.process_time() - start
    for name, task in TASKS.items():
        start = time.process_time()
        task(communicator)
        times[name] = time.process_time() - start
    return {name: seconds / len(events) for name, seconds in times.items()}


async def bytes_an_event(events: tuple[Event, ...]) -> float:
    tracemalloc.start()
    communicator = await perform(*events)
    for task in TASKS.values():
        task(communicator)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / len(events)


def floods(events: int) -> Iterator[tuple[Event, ...]]:
    """Frames that are delivered, frames that are not, and what is no frame."""
    yield (ACCEPT, *(send(text=f'{{"number": {number}}}') for number in range(events)))
    yield tuple(send(text=str(number)) for number in range(events))
    yield (start(status=401), *[body(body=b"x", more_body=True)] * events)


async def test_many_events_cost_no_more_each_than_few() -> None:
    for few, many in zip(floods(2_000), floods(20_000)):
        at_few, at_many = await seconds_an_event(few), await seconds_an_event(many)
        assert {name for name in at_few if at_many[name] >= 10 * at_few[name]} == set()


async def test_strict_judges_each_event_once() -> None:
    async def seconds_a_call(events: int) -> float:
        communicator = await perform(ACCEPT, *[send(text="1")] * events)
        communicator.strict = True
        start = time.process_time()
        for _ in range(events):
            await communicator.receive_output()
        return (time.process_time() - start) / events

    assert await seconds_a_call(1_500) < 10 * await seconds_a_call(50)


async def test_many_events_take_no_more_memory_each_than_few() -> None:
    for few, many in zip(floods(200), floods(2_000)):
        assert await bytes_an_event(many) < 10 * await bytes_an_event(few)

"""``receive_nothing()``: its result, and how long it waits."""

from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.calls.timing import in_virtual_time, pausing, started, timed
from tests.events import FRAME
from tests.helpers import CommunicatorClass, both_classes
from tests.scripts import Boom

BURST = (0.01, FRAME, 0.01, FRAME, 0.01, FRAME)


@both_classes
@pytest.mark.parametrize(
    ("steps", "timeout", "interval", "nothing", "seconds", "queued"),
    [
        # It looks once an interval, which has precedence over the timeout.
        ((), 1, 0.25, True, 1, 0),
        ((), 1, 0.3, True, 1.2, 0),
        ((), 0.05, 0.2, True, 0.2, 0),
        ((), 0, 0.2, True, 0, 0),
        ((), -1, 0.2, True, 0, 0),
        (BURST, 1, 0.025, False, 0.025, 2),
        (BURST, 1, 0.25, False, 0.25, 3),
        (BURST, 0.001, 0.25, False, 0.25, 3),
        # What is sent later is left to the next call.
        ((2, FRAME), 1, 0.1, True, 1, 0),
    ],
)
@in_virtual_time
async def test_it_looks_at_the_queue_as_often_as_the_parent(
    communicator_class: CommunicatorClass,
    steps: Any,
    timeout: float,
    interval: float,
    nothing: bool,
    seconds: float,
    queued: int,
) -> None:
    communicator = await started(communicator_class, pausing(*steps))
    waiting = communicator.receive_nothing(timeout, interval)
    assert await timed(waiting) == (nothing, seconds)
    # It reads nothing, and does not cancel the application.
    assert communicator.output_queue.qsize() == queued
    assert not communicator.future.done()
    assert await communicator.receive_nothing(0) is (queued == 0)


@pytest.mark.parametrize("interval", [0.5, 100])
@pytest.mark.parametrize("ending", ["return", Boom("boom")], ids=["return", "raise"])
@in_virtual_time
async def test_it_returns_as_soon_as_the_application_ends(
    ending: Any, interval: float
) -> None:
    communicator = await started(
        RecordingWebsocketCommunicator, pausing(2, ending=ending)
    )
    waiting = communicator.receive_nothing(100, interval)
    assert await timed(waiting) == (True, 2)

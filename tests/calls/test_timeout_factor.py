"""``timeout_factor`` multiplies the timeouts of calls, given or default."""

from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.calls.timing import (
    ENDING,
    call,
    each_call,
    each_receiving_call,
    in_virtual_time,
    pausing,
    started,
    timed,
)
from tests.events import ACCEPT
from tests.helpers import failure, having_sent, ignore_undeliverable

pytestmark = ignore_undeliverable


def scaled(factor: Any) -> type[RecordingWebsocketCommunicator]:
    class Scaled(RecordingWebsocketCommunicator):
        timeout_factor = factor

    return Scaled


@each_call
@pytest.mark.parametrize(
    ("timeout", "factor", "expected"),
    [(1, 1, 1), (1, 5, 5), (2, 0.5, 1), (3, 0, 0), (0, 5, 0), (None, 0, 500)],
)
@in_virtual_time
async def test_every_timeout_is_multiplied_once(
    name: str, timeout: float | None, factor: float, expected: float
) -> None:
    communicator = await started(scaled(factor), pausing(500, ending="return"))
    _, seconds = await timed(call(communicator, name, timeout))
    assert seconds == expected


@pytest.mark.parametrize("factor", [0, 5])
@in_virtual_time
async def test_receive_nothing_waits_as_long_as_ever(factor: float) -> None:
    communicator = await started(scaled(factor), pausing())
    assert await timed(communicator.receive_nothing(1)) == (True, 1)


@pytest.mark.parametrize(("factor", "is_cancelled"), [(1, True), (5, False)])
@in_virtual_time
async def test_the_end_of_a_block_has_more_time_on_a_slow_machine(
    factor: float, is_cancelled: bool
) -> None:
    communicator = await started(scaled(factor), pausing(3))
    await communicator.__aexit__(None, None, None)
    assert communicator.future.cancelled() is is_cancelled


# What a failure says.


@each_receiving_call
@in_virtual_time
async def test_a_failure_has_the_timeout_and_the_seconds(name: str) -> None:
    communicator = await having_sent(ACCEPT)
    communicator.timeout_factor = 0.5
    assert await communicator.receive_output() is ACCEPT
    text = f"{name}(timeout=3) timed out after 1.5 s"
    error = await failure(call(communicator, name, 3))
    assert str(error).startswith(text)
    if name != "receive_until":
        error = await failure(communicator.receive_from())
        assert f"an earlier {text}" in str(error)


@pytest.mark.parametrize("name", ENDING)
@in_virtual_time
async def test_a_failure_after_a_call_that_ended_it_has_them_too(name: str) -> None:
    communicator = await started(scaled(0.5), pausing(500))
    await call(communicator, name, 3)
    error = await failure(communicator.receive_from())
    assert f"{name}(timeout=3) cancelled the application" in str(error)
    assert "which had not returned after 1.5 s.\n" in str(error)

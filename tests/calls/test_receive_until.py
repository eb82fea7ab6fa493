"""``receive_until()`` receives up to a match, and until then it takes nothing."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.calls.timing import in_virtual_time, pausing, timed
from tests.events import ACCEPT, CLOSE, DENIAL, UNKNOWN, send
from tests.helpers import LONG, drain, failure, having_sent
from tests.scripts import Boom

Ours = RecordingWebsocketCommunicator
NUMBERS = [send(text=str(number)) for number in range(5)]


def equals(value: object) -> Callable[[Any], bool]:
    return lambda payload: bool(payload == value)


async def test_it_receives_frames_that_are_queued_already() -> None:
    communicator = await having_sent(*NUMBERS)
    assert await communicator.receive_until(equals(1), 0) == [0, 1]
    assert await communicator.receive_until(equals(3), 0) == [2, 3]
    assert await communicator.receive_from() == "4"
    communicator.stop()


@in_virtual_time
async def test_match_is_called_once_with_each_payload() -> None:
    seen = []

    def match(payload: object) -> bool:
        seen.append(payload)
        return payload == 4

    communicator = Ours(pausing(*NUMBERS[:2], 1, *NUMBERS[2:4], 1, NUMBERS[4]), "/")
    assert await communicator.receive_until(match, 5) == [0, 1, 2, 3, 4] == seen


# What ends it without a match.

NO_FRAME = (
    "receive_until() expected a data frame that matches, but the application sent {}"
    ".\nEvery event is still to be received."
)
TIMED_OUT = (
    ". Waiting for: a data frame that matches."
    " Received: 2 data frames without a match, still to be received.\n"
)


@pytest.mark.parametrize("is_queued", [True, False], ids=["queued", "meanwhile"])
@pytest.mark.parametrize(
    ("event", "ending", "error", "text"),
    [
        (CLOSE, "wait", AssertionError, NO_FRAME.format("close 4401")),
        (ACCEPT, "wait", AssertionError, NO_FRAME.format("accept")),
        (DENIAL, "wait", AssertionError, NO_FRAME.format("denial HTTP 401")),
        (UNKNOWN, "wait", AssertionError, NO_FRAME.format(UNKNOWN)),
        (None, Boom("boom"), Boom, "boom"),
        (None, "return", TimeoutError, "receive_until(timeout=5) cannot receive any"),
        (None, "wait", TimeoutError, TIMED_OUT),
    ],
)
@in_virtual_time
async def test_a_failure_takes_nothing(
    event: Any, ending: Any, error: type[Exception], text: str, is_queued: bool
) -> None:
    events = [*NUMBERS[:2], *([event] if event else [])]
    steps = [*NUMBERS[:2], 2, *events[2:]]
    communicator = Ours(pausing(*steps, ending=ending), "/")
    await communicator.send_input({"type": "websocket.connect"})
    await asyncio.sleep(3 if is_queued else 0)
    # After a crash, nothing is received even if it matches.
    match = equals(0 if is_queued and error is Boom else 9)
    raised, seconds = await timed(communicator.receive_until(match, 5))
    assert type(raised) is error
    assert text in str(raised)
    times_out = not event and ending == "wait"
    assert seconds == (5 if times_out else 0 if is_queued else 2)
    assert communicator.future.done() is (ending != "wait")
    if times_out:
        # A later failure does not repeat what it has looked at.
        assert await communicator.receive_until(equals(1)) == [0, 1]
        assert "Received: nothing." in str(await failure(communicator.receive_from()))
    else:
        assert drain(communicator.output_queue) == events


async def test_a_match_that_raises_takes_nothing() -> None:
    def match(payload: object) -> bool:
        raise Boom("boom")

    communicator = await having_sent(*NUMBERS)
    assert type(await failure(communicator.receive_until(match))) is Boom
    assert drain(communicator.output_queue) == NUMBERS
    communicator.stop()


# Beside other calls.


@in_virtual_time
async def test_two_tasks_receive_every_frame_once() -> None:
    communicator = Ours(pausing(*[step for it in NUMBERS for step in (it, 1)]), "/")
    both = [communicator.receive_until(equals(number), 9) for number in (4, 2)]
    late, early = await asyncio.gather(*both)
    assert (early, late) == ([0, 1, 2], [3, 4])


@in_virtual_time
async def test_another_call_may_take_a_frame_that_it_has_looked_at() -> None:
    communicator = Ours(pausing(*NUMBERS[:2], 2, *NUMBERS[2:]), "/")
    waiting = asyncio.ensure_future(communicator.receive_until(equals(2), 9))
    await asyncio.sleep(1)
    assert await communicator.receive_from() == "0"
    assert await waiting == [1, 2]
    assert drain(communicator.output_queue) == NUMBERS[3:]


async def test_it_receives_without_a_receive_output_of_a_subclass() -> None:
    class Own(Ours):
        async def receive_output(self, timeout: float | None = 1) -> Any:
            event = await super().receive_output(timeout)
            return {**event, "text": "changed"}

    communicator = Own(pausing(*NUMBERS), "/")
    assert await communicator.receive_until(equals(1)) == [0, 1]
    assert await communicator.receive_from() == "changed"
    communicator.stop()


async def test_it_does_not_wait_in_another_event_loop() -> None:
    communicator = await having_sent(*NUMBERS)

    def in_another_loop() -> None:
        assert asyncio.run(communicator.receive_until(equals(0), LONG)) == [0]
        with pytest.raises(RuntimeError, match="another event loop"):
            asyncio.run(communicator.receive_until(equals(9), LONG))

    await asyncio.to_thread(in_another_loop)
    assert drain(communicator.output_queue) == NUMBERS[1:]
    communicator.stop()

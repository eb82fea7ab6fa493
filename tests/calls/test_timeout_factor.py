"""``timeout_factor`` multiplies the timeouts of calls, given or default."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CONNECT, DISCONNECT, FRAME
from tests.helpers import SHORT, failure, having_sent

Call = Callable[[RecordingWebsocketCommunicator, float], Awaitable[object]]

#: Calls that time out on an application that sends nothing.
CALLS: dict[str, Call] = {
    "connect": lambda it, timeout: it.connect(timeout),
    "wait_closed": lambda it, timeout: it.wait_closed(timeout),
    "receive_until": lambda it, timeout: it.receive_until(bool, timeout),
    "receive_output": lambda it, timeout: it.receive_output(timeout),
    "receive_from": lambda it, timeout: it.receive_from(timeout),
    "receive_json_from": lambda it, timeout: it.receive_json_from(timeout),
}
#: Calls that cancel it, and return.
ENDING: dict[str, Call] = {
    "wait": lambda it, timeout: it.wait(timeout),
    "disconnect": lambda it, timeout: it.disconnect(1000, timeout),
}

#: How long the loop of a test waited for timers, on a clock that never waits.
Waited = list[float]


class Clock(asyncio.SelectorEventLoop):
    """An event loop in which time passes only when it would wait for a timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled  # type: ignore[attr-defined]
        pending = [timer for timer in timers if not timer.cancelled()]
        if not ready and pending:
            self.now = max(self.now, min(timer.when() for timer in pending))
        super()._run_once()  # type: ignore[misc]


async def silent(scope: Any, receive: Any, send: Any) -> None:
    while True:
        await receive()


def seconds(
    call: Call,
    timeout: float,
    factor: float,
    application: Any = silent,
    strict: bool = False,
) -> float:
    """Return how long a call waits on the clock of the event loop."""

    async def use() -> float:
        communicator = RecordingWebsocketCommunicator(application, "/")
        communicator.timeout_factor = factor
        communicator.strict = strict
        await communicator.send_input(CONNECT)
        try:
            await call(communicator, timeout)
        except TimeoutError:
            pass
        return loop.time()

    loop = Clock()
    try:
        return loop.run_until_complete(use())
    finally:
        loop.close()


@pytest.mark.parametrize("name", [*CALLS, *ENDING])
@pytest.mark.parametrize(
    ("timeout", "factor", "expected"),
    [(1, 1, 1), (1, 5, 5), (2, 0.5, 1), (3, 0, 0), (0, 5, 0)],
)
@pytest.mark.parametrize("strict", [False, True])
def test_every_timeout_is_multiplied_once(
    name: str, timeout: float, factor: float, expected: float, strict: bool
) -> None:
    call = {**CALLS, **ENDING}[name]
    assert seconds(call, timeout, factor, strict=strict) == pytest.approx(expected)


async def chatty(scope: Any, receive: Any, send: Any) -> None:
    while True:
        await send(FRAME)
        await asyncio.sleep(0.25)


@pytest.mark.filterwarnings("ignore::channels_closetest.UndeliverableWarning")
@pytest.mark.parametrize("name", ["connect", "wait_closed"])
def test_a_call_that_reads_several_events_has_one_deadline(name: str) -> None:
    assert seconds(CALLS[name], 1, 5, chatty) == pytest.approx(5)
    assert seconds(CALLS[name], 1, 0, chatty) == 0


async def test_a_factor_of_zero_leaves_no_time_after_the_first_event() -> None:
    communicator = await having_sent(FRAME)
    communicator.timeout_factor = 0
    error = await failure(communicator.wait_closed())
    assert type(error) is TimeoutError
    assert communicator.pre_close_messages == ["hello"]


def test_receive_until_has_one_deadline() -> None:
    def call(it: RecordingWebsocketCommunicator, timeout: float) -> Awaitable[object]:
        return it.receive_until(lambda payload: False, timeout)

    assert seconds(call, 1, 5, chatty) == pytest.approx(5)


def test_receive_nothing_waits_as_long_as_ever() -> None:
    for factor in (0, 5):
        waited = seconds(lambda it, timeout: it.receive_nothing(timeout), 1, factor)
        assert waited == pytest.approx(1)


def test_the_end_of_a_block_has_more_time_on_a_slow_machine() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        await asyncio.sleep(3)

    async def use(factor: float) -> bool:
        async with RecordingWebsocketCommunicator(slow, "/") as communicator:
            communicator.timeout_factor = factor
            await communicator.send_input(CONNECT)
        return communicator.future.cancelled()

    for factor, is_cancelled in [(1, True), (5, False)]:
        loop = Clock()
        assert loop.run_until_complete(use(factor)) is is_cancelled
        loop.close()


async def test_none_waits_forever_with_any_factor() -> None:
    communicator = RecordingWebsocketCommunicator(silent, "/")
    communicator.timeout_factor = 0
    waiting = asyncio.ensure_future(communicator.receive_output(None))
    done, _ = await asyncio.wait([waiting], timeout=SHORT)
    assert not done
    waiting.cancel()
    communicator.stop()


async def test_a_failure_has_the_timeout_and_the_seconds() -> None:
    for name, call in CALLS.items():
        communicator = RecordingWebsocketCommunicator(silent, "/")
        communicator.timeout_factor = 0.5
        error = await failure(call(communicator, 0.02))
        assert str(error).startswith(f"{name}(timeout=0.02) timed out after 0.01 s. ")
        communicator.stop(exceptions=False)


async def test_a_later_failure_has_them_too() -> None:
    communicator = await having_sent(ACCEPT)
    communicator.timeout_factor = 0.5
    assert await communicator.receive_output() is ACCEPT
    await failure(communicator.receive_from(0.02))
    error = await failure(communicator.receive_from())
    assert "an earlier receive_from(timeout=0.02) timed out after 0.01 s. " in str(
        error
    )


@pytest.mark.parametrize("name", ENDING)
async def test_a_failure_after_a_call_that_ended_it_has_them_too(name: str) -> None:
    communicator = RecordingWebsocketCommunicator(silent, "/")
    communicator.timeout_factor = 0.5
    await communicator.send_input(CONNECT)
    await ENDING[name](communicator, 0.02)
    error = await failure(communicator.receive_from())
    assert f"{name}(timeout=0.02) cancelled the application" in str(error)
    assert "which had not returned after 0.01 s.\n" in str(error)


async def test_a_factor_of_one_is_not_mentioned() -> None:
    communicator = RecordingWebsocketCommunicator(silent, "/")
    error = await failure(communicator.receive_from(SHORT))
    assert str(error).startswith(f"receive_from(timeout={SHORT}) timed out. ")


@pytest.mark.parametrize("factor", [-1, -0.5, math.nan, math.inf, "5", None, 1j, [1]])
@pytest.mark.parametrize(
    "call",
    [
        *CALLS.values(),
        *ENDING.values(),
        lambda it, timeout: it.receive_nothing(timeout),
        lambda it, timeout: it.send_input(DISCONNECT),
        lambda it, timeout: it.send_to("text"),
        lambda it, timeout: it.send_json_to("text"),
    ],
    ids=range(12),
)
async def test_the_first_call_rejects_a_factor_that_is_none(
    call: Call, factor: Any
) -> None:
    class Communicator(RecordingWebsocketCommunicator):
        timeout_factor = factor

    communicator = Communicator(silent, "/")
    error = await failure(call(communicator, SHORT))
    assert type(error) is ValueError
    assert str(error) == (
        f"timeout_factor must be a number that is not negative, but is {factor!r}"
    )


async def test_a_factor_may_be_set_for_a_suite() -> None:
    class Communicator(RecordingWebsocketCommunicator):
        timeout_factor = 0.001

    start = time.monotonic()
    error = await failure(Communicator(silent, "/").connect(timeout=10))
    assert type(error) is TimeoutError
    assert time.monotonic() - start < 10

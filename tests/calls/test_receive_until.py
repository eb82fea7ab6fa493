"""``receive_until()`` receives up to a match, and until then it takes nothing."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, CONNECT, DENIAL, DISCONNECT, FRAME, send
from tests.helpers import LONG, SHORT, failure, having_sent
from tests.scripts import Boom, Script, scripted

NUMBERS = [send(text=str(number)) for number in range(5)]


def equals(value: object) -> Callable[[Any], bool]:
    return lambda payload: bool(payload == value)


async def left(communicator: RecordingWebsocketCommunicator) -> list[Any]:
    """Return what is still to be received."""
    queue = communicator.output_queue
    return [queue.get_nowait() for _ in range(queue.qsize())]


async def until_it_waits(communicator: RecordingWebsocketCommunicator) -> None:
    """Wait until a call has looked at the frame of the application, and waits."""
    queue: Any = communicator.output_queue
    while not (len(communicator.transcript.records) and queue._waiters):
        await asyncio.sleep(0)


async def failed_while_it_waits(
    script: Script,
) -> tuple[RecordingWebsocketCommunicator, BaseException]:
    """Return how a call fails that waits while an application performs a script."""
    perform: Any = scripted(script, "asgi")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(FRAME)
        await perform(scope, receive, send)

    communicator = RecordingWebsocketCommunicator(application, "/")
    waiting = asyncio.ensure_future(communicator.receive_until(equals(1), None))
    await until_it_waits(communicator)
    await communicator.send_input(CONNECT)
    return communicator, await failure(waiting)


async def after_accept(
    *events: object, **options: Any
) -> RecordingWebsocketCommunicator:
    communicator = await having_sent(ACCEPT, *events, **options)
    assert await communicator.receive_output() is ACCEPT
    return communicator


class Counting(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        for number in range(content):
            await self.send_json({"number": number})


class SyncCounting(JsonWebsocketConsumer):
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        for number in range(content):
            self.send_json({"number": number})


@pytest.mark.parametrize("consumer", [Counting, SyncCounting])
async def test_it_returns_the_payloads_up_to_the_match(consumer: Any) -> None:
    async with RecordingWebsocketCommunicator(consumer.as_asgi(), "/") as communicator:
        await communicator.connect(LONG)
        await communicator.send_json_to(4)
        assert await communicator.receive_until(equals({"number": 2}), LONG) == [
            {"number": 0},
            {"number": 1},
            {"number": 2},
        ]
        assert await communicator.receive_json_from(LONG) == {"number": 3}


async def test_it_receives_frames_that_are_queued_already() -> None:
    communicator = await after_accept(*NUMBERS)
    assert await communicator.receive_until(equals(1), 0) == [0, 1]
    assert await communicator.receive_until(equals(3), 0) == [2, 3]
    assert await communicator.receive_from() == "4"
    communicator.stop()


async def test_payloads_are_decoded_like_those_of_pre_close_messages() -> None:
    frames = [send(text="no JSON"), send(bytes=bytearray(b"\0")), send(text='{"a": 1}')]
    communicator = await after_accept(*frames)
    payloads = await communicator.receive_until(equals({"a": 1}))
    assert payloads == ["no JSON", b"\0", {"a": 1}]
    assert list(map(type, payloads)) == [str, bytes, dict]
    communicator.stop()


async def test_match_is_called_once_with_each_payload() -> None:
    async def application(scope: Any, receive: Any, send_: Any) -> None:
        for number in range(20):
            await send_(send(text=str(number)))
            if number % 3 == 0:
                await asyncio.sleep(0)

    seen = []

    def match(payload: object) -> bool:
        seen.append(payload)
        return payload == 19

    communicator = RecordingWebsocketCommunicator(application, "/")
    assert await communicator.receive_until(match, LONG) == list(range(20))
    assert seen == list(range(20))


@pytest.mark.parametrize("event", [CLOSE, ACCEPT, DENIAL, {"type": "unknown"}, 1])
async def test_an_event_that_is_not_a_data_frame_fails_it_at_once(event: Any) -> None:
    communicator = await after_accept(*NUMBERS[:2], event, NUMBERS[2])
    error = await failure(communicator.receive_until(equals(2), None))
    assert type(error) is AssertionError
    text = str(error)
    assert text.startswith("receive_until() expected a data frame that matches, but")
    assert text.endswith(
        " after 2 data frames without a match.\nEvery event is still to be received."
    )
    assert await left(communicator) == [*NUMBERS[:2], event, NUMBERS[2]]
    communicator.stop()


async def test_a_close_fails_it_while_it_waits() -> None:
    communicator, error = await failed_while_it_waits(Script((CLOSE,)))
    assert str(error) == (
        "receive_until() expected a data frame that matches, but the application sent"
        " close 4401 after 1 data frame without a match.\n"
        "Every event is still to be received."
    )
    assert await communicator.receive_from() == "hello"
    assert await communicator.wait_closed() == 4401
    communicator.stop()


async def test_a_match_that_raises_takes_nothing() -> None:
    def match(payload: object) -> bool:
        raise Boom("boom")

    communicator = await after_accept(*NUMBERS)
    error = await failure(communicator.receive_until(match))
    assert type(error) is Boom
    assert await left(communicator) == NUMBERS
    communicator.stop()


async def test_a_timeout_takes_nothing_and_does_not_cancel_the_application() -> None:
    communicator = await after_accept(*NUMBERS)
    error = await failure(communicator.receive_until(equals(9), SHORT))
    assert type(error) is TimeoutError
    assert str(error).startswith(
        f"receive_until(timeout={SHORT}) timed out. Waiting for: a data frame that"
        " matches. Received: 5 data frames without a match, still to be received.\n"
    )
    assert not communicator.future.done()
    assert await communicator.receive_until(equals(4), 0) == [0, 1, 2, 3, 4]
    error = await failure(communicator.receive_until(equals(9), SHORT))
    assert "Received: nothing." in str(error)
    communicator.stop()


async def test_a_later_failure_does_not_repeat_what_it_has_looked_at() -> None:
    communicator = await after_accept(*NUMBERS)
    await failure(communicator.receive_until(equals(9), SHORT))
    assert await communicator.receive_until(equals(4)) == [0, 1, 2, 3, 4]
    error = await failure(communicator.receive_from(SHORT))
    assert "Waiting for: a data frame. Received: nothing." in str(error)


async def test_a_timeout_of_the_whole_call_is_not_extended_by_frames() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await send(FRAME)
            await asyncio.sleep(0.001)

    communicator = RecordingWebsocketCommunicator(application, "/")
    start = time.monotonic()
    error = await failure(communicator.receive_until(equals(1), 0.05))
    assert type(error) is TimeoutError
    assert time.monotonic() - start < 0.05 * 100
    communicator.stop()


async def test_a_crash_while_it_waits_is_raised_at_once() -> None:
    communicator, error = await failed_while_it_waits(Script((), "raise"))
    assert type(error) is Boom
    assert await left(communicator) == [FRAME]


async def test_an_earlier_crash_is_raised_even_if_a_frame_matches() -> None:
    communicator = await after_accept(*NUMBERS)
    communicator.future.cancel()
    await asyncio.wait([communicator.future])
    error = await failure(communicator.receive_until(equals(0)))
    assert type(error) is asyncio.CancelledError
    assert await left(communicator) == NUMBERS


async def test_a_return_while_it_waits_fails_it_at_once() -> None:
    communicator, error = await failed_while_it_waits(Script((), "return"))
    assert type(error) is TimeoutError
    assert str(error).startswith(
        "receive_until(timeout=None) cannot receive anything more: the application has"
        " returned."
    )
    assert await communicator.receive_until(equals("hello"), None) == ["hello"]


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancellation_at_any_moment_takes_nothing(turns: int) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for event in NUMBERS:
            await send(event)
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    communicator = RecordingWebsocketCommunicator(application, "/")
    waiting = asyncio.ensure_future(communicator.receive_until(equals(9), None))
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    assert isinstance(await failure(waiting), asyncio.CancelledError)
    assert await communicator.receive_until(equals(4), LONG) == [0, 1, 2, 3, 4]
    communicator.stop()


async def test_two_tasks_receive_every_frame_once() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for event in NUMBERS:
            await send(event)
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    communicator = RecordingWebsocketCommunicator(application, "/")
    both = [communicator.receive_until(equals(number), LONG) for number in (4, 2)]
    late, early = await asyncio.gather(*both)
    assert (early, late) == ([0, 1, 2], [3, 4])
    communicator.stop()


async def test_another_call_may_take_a_frame_that_it_has_looked_at() -> None:
    communicator = await after_accept(*NUMBERS[:2])
    waiting = asyncio.ensure_future(communicator.receive_until(equals(2), LONG))
    await until_it_waits(communicator)
    assert await communicator.receive_from() == "0"
    for event in NUMBERS[2:]:
        communicator.output_queue.put_nowait(event)
    assert await waiting == [1, 2]
    assert await left(communicator) == NUMBERS[3:]
    communicator.stop()


async def test_a_subclass_may_define_the_same_name() -> None:
    class Own(RecordingWebsocketCommunicator):
        async def receive_until(self, word: str) -> str:  # type: ignore[override]
            while (text := await self.receive_from(LONG)) != word:
                pass
            return str(text)

    communicator = Own(Counting.as_asgi(), "/")
    await communicator.connect(LONG)
    await communicator.send_json_to(3)
    assert await communicator.receive_until('{"number": 2}') == '{"number": 2}'
    await communicator.disconnect()


async def test_it_receives_without_a_receive_output_of_a_subclass() -> None:
    class Own(RecordingWebsocketCommunicator):
        async def receive_output(self, timeout: float | None = 1) -> Any:
            event = await super().receive_output(timeout)
            return {**event, "text": "changed"}

    communicator = Own(Counting.as_asgi(), "/")
    await communicator.connect(LONG)
    await communicator.send_json_to(3)
    numbers = [{"number": 0}, {"number": 1}]
    assert await communicator.receive_until(equals(numbers[1]), LONG) == numbers
    assert await communicator.receive_from(LONG) == "changed"
    await communicator.disconnect()


async def test_strict_fails_it_for_what_it_encounters() -> None:
    communicator = await having_sent(FRAME)
    communicator.strict = True
    error = await failure(communicator.receive_until(equals("hello")))
    assert str(error).startswith("strict: the application sent something")
    communicator.stop()


async def test_it_does_not_wait_in_another_event_loop() -> None:
    communicator = await after_accept(*NUMBERS)

    def in_another_loop() -> None:
        assert asyncio.run(communicator.receive_until(equals(0), LONG)) == [0]
        with pytest.raises(RuntimeError, match="another event loop"):
            asyncio.run(communicator.receive_until(equals(9), LONG))

    await asyncio.to_thread(in_another_loop)
    assert await left(communicator) == NUMBERS[1:]
    communicator.stop()


async def test_20_000_frames_take_linear_time() -> None:
    async def seconds(count: int) -> float:
        communicator = await after_accept(*[FRAME] * count, send(text="end"))
        start = time.process_time()
        payloads = await communicator.receive_until(equals("end"))
        assert len(payloads) == count + 1
        communicator.stop()
        return (time.process_time() - start) / count

    # The least of three, because other processes make some runs slower.
    few = min([await seconds(2_000) for _ in range(3)])
    many = min([await seconds(20_000) for _ in range(3)])
    assert many < 3 * few


async def test_20_000_frames_one_at_a_time_take_linear_time() -> None:
    async def seconds(count: int) -> float:
        async def application(scope: Any, receive: Any, send_: Any) -> None:
            for number in range(count):
                await send_(send(text=str(number)))
                await asyncio.sleep(0)

        communicator = RecordingWebsocketCommunicator(application, "/")
        start = time.process_time()
        payloads = await communicator.receive_until(equals(count - 1), None)
        assert len(payloads) == count
        return (time.process_time() - start) / count

    few = min([await seconds(2_000) for _ in range(3)])
    many = await seconds(20_000)
    assert many < 3 * few


async def test_it_may_be_the_first_call() -> None:
    communicator = RecordingWebsocketCommunicator(Counting.as_asgi(), "/")
    error = await failure(communicator.receive_until(equals(0), SHORT))
    assert "has not received websocket.connect" in str(error)
    await communicator.send_input(DISCONNECT)
    await communicator.wait()

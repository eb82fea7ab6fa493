"""``wait_idle()`` and ``receive_all()``: what they return, raise, leave and cost."""

import asyncio
import gc
import re
import time
from contextlib import suppress
from typing import Any
from unittest.mock import AsyncMock

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests import events, helpers
from tests.calls.test_wait_idle import (
    Starting,
    Working,
    answers,
    asked,
    in_thread,
    many_turns,
    no_work,
    sleep,
    working,
)
from tests.helpers import (
    LONG,
    SHORT,
    drain,
    failure,
    frame_of,
    hanging,
    having_sent,
    ignore_undeliverable,
    message,
)
from tests.scripts import Boom

each_call = pytest.mark.parametrize("call", ["wait_idle", "receive_all"])


def started(application: Any) -> RecordingWebsocketCommunicator:
    communicator = RecordingWebsocketCommunicator(application, "/rooms/?token=secret")
    communicator.future
    return communicator


# What receive_all() returns, and what it leaves.


async def test_it_returns_payloads_like_receive_until() -> None:
    keys: list[Any] = [{"text": "text"}, {"bytes": b"\0"}, {"text": '{"a": 1}'}, {}]
    frames = [events.send(**it) for it in keys]
    communicator = await having_sent(events.ACCEPT, *frames)
    assert await communicator.receive_output() is events.ACCEPT
    assert await communicator.receive_all() == ["text", b"\0", {"a": 1}, None]
    assert await communicator.receive_all() == []
    communicator.stop()


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (events.CLOSE, "close 4401"),
        (events.ACCEPT, "accept"),
        (events.DENIAL, "denial HTTP 401"),
        (events.UNKNOWN, "{'type': 'websocket.unknown'}"),
    ],
)
async def test_it_ends_before_another_event(event: events.Event, shown: str) -> None:
    communicator = await having_sent(events.FRAME, event, events.FRAME)
    assert await communicator.receive_all() == ["hello"]
    error = await failure(communicator.receive_all())
    assert type(error) is AssertionError
    assert str(error) == (
        f"receive_all() expected data frames, but the application sent {shown}.\n"
        "Receive that with receive_output(), or a close with wait_closed()."
    )
    assert drain(communicator.output_queue) == [event, events.FRAME]
    communicator.stop()


async def test_it_starts_the_application() -> None:
    communicator = RecordingWebsocketCommunicator(working(no_work), "/")
    assert await communicator.receive_all() == []
    assert not communicator.future.done()
    communicator.stop()


class Upper(RecordingWebsocketCommunicator):
    """Replaces ``receive_output()``, as suites do."""

    async def receive_output(self, timeout: float | None = 1) -> Any:
        event = await super().receive_output(timeout)
        return {**event, "text": str(event.get("text")).upper()}


async def test_receive_output_may_be_replaced() -> None:
    async with Upper(working(sleep), "/") as communicator:
        await communicator.connect(LONG)
        await communicator.send_json_to("a")
        await communicator.send_json_to("b")
        await communicator.wait_idle(LONG)
        assert await communicator.receive_from() == '"A"'
        mock = AsyncMock(return_value=events.FRAME)
        communicator.receive_output = mock  # type: ignore[method-assign]
        assert await communicator.receive_all() == ["b"]
        assert await communicator.receive_from() == "hello"


async def test_concurrent_calls_share_the_frames() -> None:
    async with asked(working(sleep)) as it:
        calls = (it.wait_idle(LONG), it.receive_all(LONG), it.receive_all(LONG))
        assert [*await asyncio.gather(*calls)] in ([None, [0], []], [None, [], [0]])


# Applications that have ended.


@each_call
@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("return", r"None|\['hello'\]"),
        ("raise", r"Boom\('boom'\)"),
        ("wait", r"CancelledError\('The application was cancelled by stop\(\).*"),
    ],
)
async def test_an_application_that_has_ended(
    call: str, ending: str, expected: str
) -> None:
    async def outcome() -> object:
        try:
            return await getattr(communicator, call)(LONG)
        except (Boom, asyncio.CancelledError) as error:
            return error

    busy = started(hanging)
    communicator = await having_sent(events.FRAME, ending=ending)
    if ending == "wait":
        communicator.stop()
    assert re.fullmatch(expected, repr(await outcome()))
    busy.stop()


@each_call
async def test_it_raises_at_once_what_the_application_raises(call: str) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await sleep()
        raise Boom

    busy = started(hanging)
    assert type(await failure(getattr(started(application), call)(LONG))) is Boom
    busy.stop()


@pytest.mark.parametrize("raises", [False, True])
async def test_the_tasks_of_an_application_count_unless_it_has_crashed(
    raises: bool,
) -> None:
    class Leaving(Starting):
        async def disconnect(self, code: int) -> None:
            await self.receive_json("bye")
            if raises:
                raise Boom

    async with asked(working(many_turns, Leaving), 0) as communicator:
        await communicator.send_input(events.DISCONNECT)
        await asyncio.wait([communicator.future])
        if raises:
            assert type(await failure(communicator.wait_idle(0))) is Boom
            [task] = communicator.running_tasks
            await task
        else:
            assert await communicator.receive_all(LONG) == ["bye"]


async def test_a_consumer_that_has_denied_is_idle() -> None:
    class Denying(Working):
        async def connect(self) -> None:
            await self.work()
            await self.close(4401)

    communicator = started(Denying.as_asgi())
    await communicator.send_input(events.CONNECT)
    await communicator.wait_idle(LONG)
    assert await communicator.wait_closed(0) == 4401
    assert await communicator.receive_all() == []
    communicator.stop()


def test_another_event_loop_may_read_what_an_application_has_left() -> None:
    communicator = asyncio.run(having_sent(events.FRAME, ending="return"))
    assert asyncio.run(communicator.receive_all()) == ["hello"]


# Timeouts and cancellation.


@each_call
@pytest.mark.parametrize("seconds", [0, SHORT, LONG])
async def test_a_call_that_ends_early_cancels_and_loses_nothing(
    call: str, seconds: float
) -> None:
    gate = asyncio.Event()
    async with asked(working(gate.wait)) as communicator:
        communicator.timeout_factor = seconds / LONG
        task = asyncio.ensure_future(getattr(communicator, call)(LONG))
        if seconds == LONG:
            await asyncio.sleep(SHORT)
            task.cancel()
        expected = asyncio.CancelledError if seconds == LONG else TimeoutError
        assert type(await failure(task)) is expected
        communicator.timeout_factor = 1
        gate.set()
        assert await communicator.receive_all(LONG) == [0]


@pytest.mark.parametrize(
    "owner", ["", " of another communicator, /rooms/?token=secret,"]
)
async def test_the_text_says_which_application_is_busy_and_where(owner: str) -> None:
    code = "await asyncio.get_running_loop().create_future()"
    busy = started(hanging)
    communicator = await having_sent() if owner else started(hanging)
    communicator.timeout_factor = 0.001
    text = await asyncio.wait_for(message(communicator.wait_idle(100)), LONG)
    assert text == (
        f"wait_idle(timeout=100) timed out after 0.1 s: the application{owner} is busy."
        " Nothing is cancelled.\n"
        "The application is waiting here (most recent call last):\n"
        f"{frame_of('hanging', code, helpers.__file__)}"
        "Unblock it, or pass a longer timeout. To wait for one frame, use"
        " receive_until()."
    )
    communicator.stop()
    busy.stop()


async def test_the_text_names_a_task_that_is_busy() -> None:
    async with asked(working(in_thread, Starting)) as communicator:
        while not communicator.running_tasks:
            await asyncio.sleep(0)
        text = await message(communicator.wait_idle(0))
        assert "The application has a task that is waiting here" in text
        assert "in in_thread" in text
        assert await communicator.receive_all(LONG) == [0]


async def test_a_dropped_communicator_does_not_count() -> None:
    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        while not gate.is_set():
            with suppress(asyncio.CancelledError):
                await gate.wait()

    gate = asyncio.Event()
    busy = started(stubborn)
    await asyncio.sleep(0)
    future = busy.future
    del busy
    gc.collect()
    assert await answers(working(sleep)) == [0, 1, 2]
    assert not future.done()
    gate.set()
    await future


async def test_waiting_costs_hardly_any_processor_time() -> None:
    async with asked(working(lambda: asyncio.sleep(1))) as communicator:
        begin = time.process_time()
        assert await communicator.receive_all(LONG) == [0]
        assert time.process_time() - begin < 0.2


@each_call
@ignore_undeliverable
async def test_strict_fails_it(call: str) -> None:
    communicator = await having_sent(events.send(text=""))
    communicator.strict = True
    error = await failure(getattr(communicator, call)(LONG))
    assert type(error) is AssertionError
    assert str(error).startswith("strict: the application sent something that")
    communicator.stop()

"""What a test replaces for its application, nobody but the application uses."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any
from unittest.mock import patch

import pytest
from freezegun import freeze_time

import channels_closetest.application
from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, CONNECT, FRAME, JSON_FRAME
from tests.helpers import (
    LONG,
    SHORT,
    ignore_undeliverable,
)
from tests.parent.applications import connected


def replaced(name: str, callers: set[tuple[str, str]]) -> Any:
    """Replace a function of another module by one that adds which module calls it."""
    module, function = name.split(".")
    original = getattr(sys.modules[module], function)

    def spy(*args: Any, **kwargs: Any) -> Any:
        callers.add((name, sys._getframe(1).f_globals["__name__"]))
        return original(*args, **kwargs)

    return patch(name, spy)


#: What applications call, and tests replace.
REPLACED: dict[str, Callable[[], Any]] = {
    "time.time": lambda: time.time(),
    "time.monotonic": lambda: time.monotonic(),
    "time.monotonic_ns": lambda: time.monotonic_ns(),
    "time.perf_counter": lambda: time.perf_counter(),
    "time.perf_counter_ns": lambda: time.perf_counter_ns(),
    "time.sleep": lambda: time.sleep(0),
    "asyncio.sleep": lambda: asyncio.sleep(0),
    "asyncio.wait_for": lambda: asyncio.wait_for(asyncio.sleep(0), LONG),
    "asyncio.gather": lambda: asyncio.gather(asyncio.sleep(0)),
    "asyncio.shield": lambda: asyncio.shield(asyncio.sleep(0)),
    "asyncio.wait": lambda: asyncio.wait([asyncio.ensure_future(asyncio.sleep(0))]),
    "asyncio.ensure_future": lambda: asyncio.ensure_future(asyncio.sleep(0)),
    "asyncio.create_task": lambda: asyncio.create_task(asyncio.sleep(0)),
}


async def calling(scope: Any, receive: Any, send: Any) -> None:
    """Calls all of them, sends, and suppresses its first cancellation."""
    await receive()
    for use in REPLACED.values():
        result = use()
        if asyncio.isfuture(result) or asyncio.iscoroutine(result):
            await result
    for event in (JSON_FRAME, ACCEPT, FRAME, JSON_FRAME, CLOSE):
        await send(event)
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass
    except asyncio.CancelledError:
        await asyncio.Event().wait()


@ignore_undeliverable
@pytest.mark.parametrize("strict", [False, True])
async def test_the_package_calls_nothing_that_tests_replace(
    strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels_closetest.application, "SHUTDOWN_TIMEOUT", SHORT)
    monkeypatch.setattr(RecordingWebsocketCommunicator, "strict", strict)
    calls: list[Callable[[RecordingWebsocketCommunicator], Awaitable[object]]] = [
        lambda it: it.connect(LONG),
        lambda it: it.receive_nothing(SHORT),
        lambda it: it.receive_from(LONG),
        lambda it: it.wait_idle(LONG),
        lambda it: it.receive_json_from(LONG),
        lambda it: it.receive_all(SHORT),
        lambda it: it.wait_closed(LONG),
        lambda it: it.receive_nothing(SHORT),
        lambda it: it.receive_output(SHORT),
        lambda it: it.wait(SHORT),
        lambda it: it.disconnect(timeout=SHORT),
    ]
    callers: set[tuple[str, str]] = set()
    with ExitStack() as stack:
        for name in REPLACED:
            stack.enter_context(replaced(name, callers))
        async with RecordingWebsocketCommunicator(calling, "/") as communicator:
            for call in calls:
                with suppress(Exception, asyncio.CancelledError):
                    await call(communicator)
            assert communicator.future.cancelled()
            assert str(communicator.transcript) and repr(communicator)
        async with RecordingWebsocketCommunicator(calling, "/") as communicator:
            await communicator.send_input(CONNECT)
        assert not communicator.future.cancelled()
    assert {name for name, module in callers if module == __name__} == set(REPLACED)
    assert [it for it in callers if it[1].startswith("channels_closetest")] == []


async def chatty(scope: Any, receive: Any, send: Any) -> None:
    """Sends a frame every 30 milliseconds, and accepts after many of them."""
    await receive()
    for _ in range(100):
        await send(FRAME)
        await asyncio.sleep(0.03)
    await send(ACCEPT)


@freeze_time("2024-02-29", real_asyncio=True)
async def test_timeouts_expire_while_the_time_of_the_test_is_frozen() -> None:
    communicator = RecordingWebsocketCommunicator(chatty, "/")
    with pytest.raises(TimeoutError):
        await communicator.connect(0.2)
    assert len(communicator.pre_close_messages) < 100
    patient = await connected(RecordingWebsocketCommunicator)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(patient.receive_output(SHORT), LONG)
    assert patient.future.cancelled()


@freeze_time("2024-02-29", real_asyncio=True)
async def test_a_transcript_has_real_times_while_those_of_the_test_are_frozen() -> None:
    communicator = RecordingWebsocketCommunicator(chatty, "/")
    await communicator.send_input(CONNECT)
    for _ in range(3):
        await communicator.receive_output(LONG)
    connect, *_, last = communicator.transcript.records
    assert last.seconds - connect.seconds >= 0.03

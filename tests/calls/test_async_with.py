"""``async with`` ends the application, masks no exception, and raises a crash."""

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator
from tests.calls.timing import ENDING, RECEIVING, call, in_virtual_time
from tests.events import ACCEPT, BODY, CLOSE, CONNECT, DENIAL, DISCONNECT
from tests.helpers import client, each_consumer, failure, hanging
from tests.scripts import Boom, Kind, Script, scripted

Arrive = Callable[[RecordingWebsocketCommunicator], Awaitable[object]]
each_body = pytest.mark.parametrize("body", ["passes", "raises", "is cancelled"])


class Block:
    """A block, its first call, and how its body ends."""

    def __init__(self, application: Any, arrive: Arrive, body: str = "passes") -> None:
        self.communicator = RecordingWebsocketCommunicator(application, "/")
        self.body = body
        self.error = KeyError("raised by the body")
        self.task = asyncio.ensure_future(self.run(arrive))

    async def run(self, arrive: Arrive) -> None:
        async with self.communicator as entered:
            assert entered is self.communicator
            await arrive(entered)
            if self.body == "raises":
                raise self.error
            if self.body == "is cancelled":
                self.task.cancel()
                await asyncio.sleep(0)

    async def raised(self) -> BaseException | None:
        """Return what it raises besides what its body raises, which comes first."""
        await asyncio.wait([self.task])
        assert asyncio.all_tasks() == {asyncio.current_task()}
        if self.body == "is cancelled":
            assert self.task.cancelled()
            return None
        error = self.task.exception()
        if self.body == "raises":
            assert error is self.error
            return None
        return error


async def nothing(it: RecordingWebsocketCommunicator) -> None:
    pass


async def start(it: RecordingWebsocketCommunicator) -> None:
    await it.send_input(CONNECT)
    await asyncio.sleep(0.1)


async def connect(it: RecordingWebsocketCommunicator) -> None:
    await it.connect()


async def time_out(it: RecordingWebsocketCommunicator) -> None:
    with pytest.raises(TimeoutError):
        await it.receive_output(0.01)


async def disconnect(it: RecordingWebsocketCommunicator) -> None:
    await it.connect()
    await it.disconnect(4000)


async def crashing_at_the_end(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
    raise Boom("at the end")


async def crashing_when_cancelled(scope: Any, receive: Any, send: Any) -> None:
    try:
        await hanging(scope, receive, send)
    finally:
        raise Boom("when cancelled")


#: What the application does, the first call of the block, and whether the application
#: has raised an exception that no call has raised.
STATES: dict[str, tuple[Any, Arrive, bool]] = {
    "never connected": (Script((ACCEPT,)), nothing, False),
    "accepted": (Script((ACCEPT,)), connect, False),
    "rejected": (Script((CLOSE,)), connect, False),
    "denied": (Script((DENIAL, BODY)), connect, False),
    "crashed": (Script((ACCEPT,), "raise"), connect, True),
    "returned": (Script((ACCEPT,), "return"), connect, False),
    "timed out": (Script(()), time_out, False),
    "crashes at the end": (crashing_at_the_end, start, True),
    "crashes when cancelled": (crashing_when_cancelled, start, True),
    "disconnected": (Script((ACCEPT,)), disconnect, False),
}


@each_body
@pytest.mark.parametrize("state", STATES)
@each_consumer
@in_virtual_time
async def test_a_block_returns_or_raises_as_its_body_does(
    body: str, state: str, kind: Kind
) -> None:
    script, arrive, is_unraised = STATES[state]
    application = scripted(script, kind) if isinstance(script, Script) else script
    block = Block(application, arrive, body)
    raised = await block.raised()
    if is_unraised and body == "passes":
        assert type(raised) is Boom
        assert raised is block.communicator.future.exception()
    else:
        assert raised is None


# What the application raises.


@pytest.mark.parametrize("name", [*RECEIVING, *ENDING, "stop", "stop, silently"])
@in_virtual_time
async def test_a_crash_is_raised_by_the_block_unless_a_call_has_raised_it(
    name: str,
) -> None:
    async def raise_crash(it: RecordingWebsocketCommunicator) -> None:
        await start(it)
        with suppress(Boom):
            if name in ENDING + RECEIVING:
                await call(it, name, 1)
            it.stop(exceptions=name != "stop, silently")

    raised = await Block(scripted(Script((), "raise"), "asgi"), raise_crash).raised()
    assert type(raised) is (Boom if name == "stop, silently" else type(None))


# How it disconnects.


@in_virtual_time
async def test_the_application_receives_disconnect_and_has_time_to_end() -> None:
    received: list[int] = []

    class Leisurely(AsyncWebsocketConsumer):
        async def disconnect(self, code: int) -> None:
            await asyncio.sleep(0.9)
            received.append(code)

    assert await Block(Leisurely.as_asgi(), connect).raised() is None
    assert received == [1000]


@in_virtual_time
async def test_an_application_that_has_received_disconnect_does_not_again() -> None:
    async def send_disconnect(it: RecordingWebsocketCommunicator) -> None:
        await it.send_input(DISCONNECT)

    block = Block(hanging, send_disconnect)
    assert await block.raised() is None
    [only] = block.communicator.transcript.records
    assert only.event == DISCONNECT


# An application that does not end.


class Suppressing(AsyncWebsocketConsumer):
    """Ignores ``websocket.disconnect``, and so many cancellations."""

    def __init__(self, ignored: float) -> None:
        super().__init__()
        self.ignored = ignored

    async def disconnect(self, code: int) -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.ignored -= 1
                if self.ignored < 0:
                    raise


@each_body
@pytest.mark.parametrize("ignored", [0, 1, 2, math.inf])
@in_virtual_time
async def test_an_application_that_suppresses_its_cancellation_is_ended(
    body: str, ignored: float
) -> None:
    block = Block(Suppressing.as_asgi(ignored=ignored), connect, body)
    raised = await block.raised()
    is_forced = ignored == math.inf
    end = "forced to stop" if is_forced else "cancelled"
    assert f"the application was {end} at tests/" in str(block.communicator.transcript)
    # The block says so, but only if it has nothing else to raise.
    if is_forced and body == "passes":
        assert type(raised) is AssertionError
        assert str(raised).startswith("The application was forced to stop: ")
    else:
        assert raised is None


# Cancelled while it ends.


@pytest.mark.parametrize("times", [1, 5])
@pytest.mark.parametrize(
    ("ignored", "moment"),
    [(0, 0), (1, 0), (1, 1), (2, 2), (math.inf, 0), (math.inf, 3)],
)
@pytest.mark.parametrize("body", ["passes", "raises"])
@in_virtual_time
async def test_a_block_that_is_cancelled_while_it_ends_leaves_no_task(
    times: int, ignored: float, moment: int, body: str
) -> None:
    block = Block(Suppressing.as_asgi(ignored=ignored), connect, body)
    # It waits for the application, and after each second it cancels that.
    await asyncio.sleep(moment + 0.5)
    for _ in range(times):
        block.task.cancel("why")
        await asyncio.sleep(0.01)
    await asyncio.wait([block.task])
    assert ignored or asyncio.get_running_loop().time() < moment + 1  # at once
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # What the body has raised comes first.
    if body == "raises":
        assert block.task.exception() is block.error
    else:
        assert (await failure(block.task)).args == ("why",)


@in_virtual_time
async def test_the_end_of_a_block_ends_the_calls_of_other_tasks() -> None:
    async with client(ACCEPT) as it:
        await it.connect()
        reader = asyncio.create_task(it.receive_output(None))
        await asyncio.sleep(0)
    assert isinstance(await failure(reader), asyncio.TimeoutError)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_sync_consumer_that_blocks_its_thread_does_not_block_the_end(
    is_cancelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    disconnecting, released = threading.Event(), threading.Event()

    class Blocking(WebsocketConsumer):
        def disconnect(self, code: int) -> None:
            disconnecting.set()
            released.wait()

    name = "channels_closetest.communicator.SHUTDOWN_TIMEOUT"
    monkeypatch.setattr(name, 1000 if is_cancelled else 0.05)
    before = asyncio.all_tasks()
    block = Block(Blocking.as_asgi(), connect)
    if is_cancelled:
        while not disconnecting.is_set():
            await asyncio.sleep(0.001)
        block.task.cancel()
    await asyncio.wait([block.task])
    released.set()
    assert block.task.cancelled() is is_cancelled
    assert block.communicator.future.cancelled()
    assert asyncio.all_tasks() == before

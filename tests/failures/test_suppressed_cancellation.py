"""Applications that suppress ``CancelledError``: how a call ends, and what it says."""

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator
from tests.failures.texts import AWAITED, HOW_TO_STOP, SUPPRESSES, lines_of
from tests.helpers import failure, frame_of, message, only_note, readable
from tests.virtual_time import run

FORCED = f"The application was forced to stop: {SUPPRESSES}"


class Suppressing(AsyncWebsocketConsumer):
    """Suppresses its cancellation, in the handler that ``path`` names."""

    async def connect(self) -> None:
        if self.scope["path"] == "/connect":
            await self.suppress()  # in connect()
        await self.accept()

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.suppress()  # in receive()

    async def disconnect(self, code: int) -> None:
        if self.scope["path"] == "/disconnect":
            await self.suppress()  # in disconnect()

    async def suppress(self) -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()  # suppresses


#: The calls, and the handler in which they find the consumer.
CALLS = {
    "connect": "connect",
    "receive_json_from": "receive",
    "receive_output": "receive",
    "wait_closed": "receive",
    "wait": "receive",
    "cancelled wait": "receive",
    "disconnect": "disconnect",
    "async with": "disconnect",
}


SUPPRESSING = "await asyncio.get_running_loop().create_future()  # suppresses"


def frame(function: str, code: str) -> str:
    return frame_of(function, code, __file__)


async def make(it: RecordingWebsocketCommunicator, name: str) -> None:
    """Make a call when the consumer is where it suppresses its cancellation."""
    if name != "connect":
        await it.connect()
    if CALLS[name] == "receive":
        await it.send_to("anything")
        assert await it.receive_nothing(0.01)
    if name == "async with":
        async with it:
            return
    if name == "cancelled wait":
        call = asyncio.create_task(it.wait(None))
        await asyncio.sleep(0.1)
        call.cancel()
        return await call
    await getattr(it, name)(timeout=0.2)


@pytest.mark.parametrize("name", CALLS)
def test_every_call_ends_and_says_where_the_application_suppresses_its_cancellation(
    name: str,
) -> None:
    handler, logged = CALLS[name], []
    code = f"await self.suppress()  # in {handler}()"
    place = frame(handler, code) + frame("suppress", SUPPRESSING) + HOW_TO_STOP

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: logged.append(context))
        it = RecordingWebsocketCommunicator(Suppressing.as_asgi(), f"/{handler}")
        error = await failure(make(it, name))
        assert 3 < loop.time() < 10
        assert it.future.done()
        assert type(error) is AssertionError
        assert readable(error) == FORCED + place
        for shown in (only_note(error), it.transcript):
            ending = [line for line in lines_of(shown) if "the application" in line]
            [line] = ending
            assert line.startswith("the application was forced to stop at tests/")
        # The client of a server would not notice.
        assert it.client_view.close_code in (None, 1000, 1006)
        for later in (
            *(getattr(it, name)() for name in (*AWAITED, "receive_nothing")),
            it.send_to("anything"),
            it.send_json_to([]),
            it.send_input({"type": "websocket.receive", "text": "anything"}),
        ):
            error = await failure(later)
            assert isinstance(error, asyncio.CancelledError)
            assert readable(error) == FORCED + place
        error = await failure(it.wait())
        assert type(error) is AssertionError
        assert readable(error) == FORCED + place
        it.stop()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
    gc.collect()
    assert logged == []


async def cleaning_up(scope: object, receive: Any, send: object) -> None:
    try:
        while True:
            await receive()
    finally:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()  # cleans up


class Restarting(AsyncWebsocketConsumer):
    async def __call__(self, *args: Any) -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await super().__call__(*args)  # restarts


CLEANS_UP = "await asyncio.get_running_loop().create_future()  # cleans up"
RESTARTS = "await super().__call__(*args)  # restarts"


@pytest.mark.parametrize(
    ("application", "function", "code"),
    [
        (cleaning_up, "cleaning_up", CLEANS_UP),
        # Although the consumer is idle.
        (Restarting.as_asgi(), "__call__", RESTARTS),
    ],
)
def test_the_place_is_where_the_application_waits_after_its_cancellation(
    application: Any, function: str, code: str
) -> None:
    communicator = RecordingWebsocketCommunicator(application, "/")
    text = run(message(communicator.receive_output(0.2)))
    assert text == FORCED + frame(function, code) + HOW_TO_STOP


@pytest.mark.parametrize("name", ["wait", "disconnect", "receive_output"])
def test_forced_in_vain(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        while not stop.is_set():
            try:
                await stop.wait()  # stops for nothing
            except BaseException:
                pass

    stop = asyncio.Event()

    async def main() -> None:
        it = RecordingWebsocketCommunicator(application, "/")
        error = await failure(getattr(it, name)(timeout=0.05))
        assert type(error) is AssertionError
        assert readable(error) == (
            f"The application did not stop: {SUPPRESSES}"
            + frame("application", "await stop.wait()  # stops for nothing")
            + HOW_TO_STOP
        )
        stop.set()
        await asyncio.sleep(1)

    run(main())
    assert not caplog.records  # its end wakes nobody

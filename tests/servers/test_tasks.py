"""What tasks send that the application has started: their failures are their own."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.servers.rules import ServerName
from tests.events import ACCEPT, CONNECT, FRAME, send
from tests.servers.cases import CLOSE_4000

FAILING = send(text={"a": 1})
FAILED = (
    "a payload of the wrong type: the client receives nothing, and the task that sent"
    " it fails"
)
CRASHED = (
    "a payload of the wrong type: the client receives close code 1011 on Daphne and"
    " Hypercorn, close code 1006 on Uvicorn"
)
Send = Callable[[Any], Coroutine[Any, Any, None]]
Handler = Callable[[Send], Coroutine[Any, Any, None]]


class Handling(AsyncWebsocketConsumer):
    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self.handler = handler

    async def connect(self) -> None:
        await self.send_event(ACCEPT)
        await self.handler(self.send_event)

    async def send_event(self, event: Any) -> None:
        await AsyncConsumer.send(self, event)


async def outcomes_of(handler: Handler, events: int) -> list[str]:
    """Return the outcomes of what the handler has sent, after as many events."""
    application = Handling.as_asgi(handler=handler)
    async with RecordingWebsocketCommunicator(application, "/") as communicator:
        await communicator.send_input(CONNECT)
        while len(communicator.transcript.records) < 1 + events:
            await asyncio.sleep(0)
        return [found.outcome for found in communicator.undeliverable]


async def in_task(send: Send) -> None:
    tasks.append(asyncio.create_task(send(FAILING)))


async def in_task_of_task(send: Send) -> None:
    tasks.append(asyncio.create_task(in_task(send)))


async def gathered_in_task(send: Send) -> None:
    async def gather() -> None:
        await asyncio.gather(send(FAILING), asyncio.sleep(0))

    tasks.append(asyncio.create_task(gather()))


async def in_task_with_callback(send: Send) -> None:
    task = asyncio.create_task(send(FAILING))
    held = {task}
    task.add_done_callback(held.discard)


tasks: list[asyncio.Task[None]] = []


async def directly(send: Send) -> None:
    await send(FAILING)


async def awaited(send: Send) -> None:
    await asyncio.create_task(send(FAILING))


async def gathered(send: Send) -> None:
    await asyncio.gather(send(FAILING), asyncio.sleep(0))


async def shielded(send: Send) -> None:
    await asyncio.shield(send(FAILING))


@pytest.mark.parametrize(
    "handler",
    [
        *[in_task, in_task_of_task, gathered_in_task, in_task_with_callback],
        *[awaited, gathered, shielded],
    ],
)
async def test_an_event_that_fails_in_a_task_ends_the_task_alone(
    handler: Handler,
) -> None:
    """Whoever awaits the task: see the README of servers."""
    assert await outcomes_of(handler, events=2) == [FAILED]


async def test_the_connection_goes_on_after_the_failure_of_a_task() -> None:
    async def handler(send: Send) -> None:
        for event in [FAILING, FRAME, CLOSE_4000]:
            tasks.append(asyncio.create_task(send(event)))

    application = Handling.as_asgi(handler=handler)
    async with RecordingWebsocketCommunicator(application, "/") as communicator:
        communicator.strict = True
        await communicator.send_input(CONNECT)
        while communicator.close_code is None:
            await asyncio.sleep(0)
        [found] = communicator.undeliverable
        assert found.outcome == FAILED
        assert communicator.client_view == (101, None, ["hello"], 4000, "")
        communicator.strict = False


async def test_what_a_task_sends_after_its_failure_is_not_sent() -> None:
    async def handler(send: Send) -> None:
        async def send_all() -> None:
            for event in [FAILING, FRAME]:
                await send(event)

        tasks.append(asyncio.create_task(send_all()))

    assert await outcomes_of(handler, events=3) == [
        FAILED,
        "sent from a task that had already failed: the client receives nothing",
    ]


class SyncSending(WebsocketConsumer):
    def connect(self) -> None:
        for event in (ACCEPT, FAILING):
            SyncConsumer.send(self, event)


class AsyncStarting(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        tasks.append(asyncio.create_task(asyncio.sleep(0)))
        await self.accept()
        await AsyncConsumer.send(self, FAILING)


@pytest.mark.parametrize("consumer", [SyncSending, AsyncStarting])
async def test_what_a_consumer_sends_is_its_own(consumer: Any) -> None:
    async with RecordingWebsocketCommunicator(consumer.as_asgi(), "/") as communicator:
        await communicator.connect()
        await communicator.receive_output()
        assert [it.outcome for it in communicator.undeliverable] == [CRASHED]


@pytest.mark.parametrize(
    ("server", "code", "count"),
    [("daphne", None, 0), ("uvicorn", 1006, 1), ("hypercorn", 1011, 1)],
)
async def test_a_task_may_send_after_the_application_has_returned(
    server: ServerName, code: int | None, count: int
) -> None:
    async def application(scope: Any, receive: Any, send: Send) -> None:
        async def send_late() -> None:
            await ended.wait()
            await send(FRAME)

        ended = asyncio.Event()
        tasks.append(asyncio.create_task(send_late()))
        await send(ACCEPT)
        asyncio.get_running_loop().call_later(0.01, ended.set)

    communicator = RecordingWebsocketCommunicator(application, "/")
    communicator.servers = [server]
    await communicator.connect()
    await asyncio.wait([communicator.future])
    while len(communicator.transcript.records) < 3:
        await asyncio.sleep(0)
    view = communicator.client_view
    assert (view.messages, view.close_code) == ([] if count else ["hello"], code)
    assert len(communicator.undeliverable) == count


async def test_a_callback_sends_for_the_application() -> None:
    async def handler(send: Send) -> None:
        def call_back() -> None:
            with pytest.raises(StopIteration):
                send(FAILING).send(None)

        tasks.append(asyncio.create_task(asyncio.sleep(0)))
        asyncio.get_running_loop().call_soon(call_back)

    assert await outcomes_of(handler, events=2) == [CRASHED]


# The application lets a CancelledError out that nobody has asked for.


async def cancelling_itself(scope: Any, receive: Any, send: Send) -> None:
    await receive()
    await send(ACCEPT)
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("server", "code"),
    [("daphne", None), ("uvicorn", 1006), ("hypercorn", 1011)],
)
async def test_a_cancelled_error_of_the_application_is_like_returning(
    server: ServerName, code: int | None
) -> None:
    communicator = RecordingWebsocketCommunicator(cancelling_itself, "/")
    communicator.servers = [server]
    await communicator.send_input(CONNECT)
    await asyncio.wait([communicator.future])
    assert communicator.client_view.close_code == code
    assert "the application raised CancelledError, and nobody had cancelled it" in str(
        communicator.transcript
    )


async def test_the_cancellation_by_a_test_is_invisible_to_the_client() -> None:
    communicator = RecordingWebsocketCommunicator(
        Handling.as_asgi(handler=directly), "/"
    )
    communicator.servers = ["hypercorn"]
    await communicator.send_input(CONNECT)
    while len(communicator.transcript.records) < 2:
        await asyncio.sleep(0)
    communicator.future.cancel()
    await asyncio.wait([communicator.future])
    assert "the application was cancelled" in str(communicator.transcript)

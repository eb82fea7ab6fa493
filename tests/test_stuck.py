"""The part of a failure that shows where the application is waiting."""

import asyncio
import threading
import types
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from django.urls import path

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CONNECT
from tests.helpers import client, frame_of, message
from tests.scripts import Script, scripted
from tests.texts import HANDSHAKE, HOW_TO_UNBLOCK, UNANSWERED, WAITING_HERE

# Applications that wait forever.


class AsyncWaiting(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.greet()

    async def greet(self) -> None:
        await asyncio.get_running_loop().create_future()  # greets


class Gate:
    """
    What a thread waits at, and whether it has got there.

    A lock, because waiting for it adds no frame of Python to the stack.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reached = threading.Event()

    async def wait_until_reached(self) -> None:
        while not self.reached.is_set():
            await asyncio.sleep(0.01)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    with gate.lock:
        yield gate


class SyncBlocking(WebsocketConsumer):
    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def connect(self) -> None:
        self.greet()

    def greet(self) -> None:
        self.gate.reached.set()
        with self.gate.lock:  # greets
            pass


class Querying(AsyncWebsocketConsumer):
    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    async def connect(self) -> None:
        await database_sync_to_async(self.query)()

    def query(self) -> None:
        self.gate.reached.set()
        with self.gate.lock:  # queries
            pass


@types.coroutine
def generated() -> Generator[Any, None, None]:
    yield from asyncio.get_running_loop().create_future()  # generates


class Awaited:
    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.get_running_loop().create_future()  # is awaited


async def waiting_for_generator(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    await generated()


async def waiting_for_object(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    await Awaited()


#: The frames of Channels in a consumer's stack.
CHANNELS = """\
  File "channels/consumer.py", in app
    return await consumer(scope, receive, send)
  File "channels/consumer.py", in __call__
    await await_many_dispatch(
  File "channels/utils.py", in await_many_dispatch
    await dispatch(result)
"""


ASYNC_HANDLER = """\
  File "channels/consumer.py", in dispatch
    await handler(message)
  File "channels/generic/websocket.py", in websocket_connect
    await self.connect()
"""


SYNC_HANDLER = """\
  (asgiref)
  File "channels/consumer.py", in dispatch
    handler(message)
  File "channels/generic/websocket.py", in websocket_connect
    self.connect()
"""


def ours(function: str, code: str) -> str:
    """Return the frame of this line of code in this module."""
    return frame_of(function, code, __file__)


# How they are shown.


async def test_an_idle_consumer_behind_a_router() -> None:
    application: Any = scripted(Script(()), "async")
    routes: Any = [path("ws/", application)]
    communicator = RecordingWebsocketCommunicator(URLRouter(routes), "/ws/")
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Received: nothing.\n{UNANSWERED}"
    )


async def test_an_async_consumer_that_waits_in_a_chain_of_coroutines() -> None:
    communicator = RecordingWebsocketCommunicator(AsyncWaiting.as_asgi(), "/ws/")
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Received: nothing.\n"
        + WAITING_HERE
        + CHANNELS
        + ASYNC_HANDLER
        + ours("connect", "await self.greet()")
        + ours("greet", "await asyncio.get_running_loop().create_future()  # greets")
        + HOW_TO_UNBLOCK
    )


async def test_a_sync_consumer_that_blocks_its_thread(gate: Gate) -> None:
    communicator = RecordingWebsocketCommunicator(
        SyncBlocking.as_asgi(gate=gate), "/ws/"
    )
    await communicator.send_input(CONNECT)
    await gate.wait_until_reached()
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Received: nothing.\n"
        + WAITING_HERE
        + CHANNELS
        + SYNC_HANDLER
        + ours("connect", "self.greet()")
        + ours("greet", "with self.gate.lock:  # greets")
        + HOW_TO_UNBLOCK
    )


async def test_an_async_consumer_that_waits_for_its_database_thread(
    gate: Gate,
) -> None:
    communicator = RecordingWebsocketCommunicator(Querying.as_asgi(gate=gate), "/ws/")
    await communicator.send_input(CONNECT)
    await gate.wait_until_reached()
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Received: nothing.\n"
        + WAITING_HERE
        + CHANNELS
        + ASYNC_HANDLER
        + ours("connect", "await database_sync_to_async(self.query)()")
        + "  (asgiref)\n"
        + ours("query", "with self.gate.lock:  # queries")
        + HOW_TO_UNBLOCK
    )


async def test_a_sync_consumer_that_waits_for_a_thread_blocked_by_another(
    gate: Gate,
) -> None:
    other = RecordingWebsocketCommunicator(SyncBlocking.as_asgi(gate=gate), "/ws/")
    await other.send_input(CONNECT)
    await gate.wait_until_reached()
    text = await message(client(ACCEPT, kind="sync").connect(0.2))
    # Newer asgiref has functions of its own in the thread.
    assert text.replace("function:\n  (asgiref)\n", "function:\n") == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Received: nothing.\n"
        + WAITING_HERE
        + CHANNELS
        + "  (asgiref)\n"
        + "It is waiting for its thread, which is busy with another function:\n"
        + SYNC_HANDLER.removeprefix("  (asgiref)\n")
        + ours("connect", "self.greet()")
        + ours("greet", "with self.gate.lock:  # greets")
        + "Let that function return first."
    )


@pytest.mark.parametrize(
    ("application", "code", "function", "line"),
    [
        (
            waiting_for_generator,
            "await generated()",
            "generated",
            "yield from asyncio.get_running_loop().create_future()  # generates",
        ),
        (
            waiting_for_object,
            "await Awaited()",
            "__await__",
            "yield from asyncio.get_running_loop().create_future()  # is awaited",
        ),
    ],
)
async def test_an_application_that_awaits_something_other_than_a_coroutine(
    application: ASGI3Application, code: str, function: str, line: str
) -> None:
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    assert await message(communicator.receive_output(0.2)) == (
        "receive_output(timeout=0.2) timed out."
        " Waiting for: any event. Received: nothing.\n"
        + WAITING_HERE
        + ours(application.__name__, code)
        + ours(function, line)
        + HOW_TO_UNBLOCK
    )

"""Where an application is waiting: the part of a failure that shows it."""

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
from tests.texts import GO_ON, HANDSHAKE, HANGS, UNANSWERED

# What hangs, and where.


class AsyncHanging(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.greet()

    async def greet(self) -> None:
        await asyncio.get_running_loop().create_future()  # greets


@pytest.fixture
def locked() -> Iterator[threading.Lock]:
    """Not an Event: what hangs in it does so in no frame but its own."""
    lock = threading.Lock()
    with lock:
        yield lock


class SyncHanging(WebsocketConsumer):
    def __init__(self, lock: threading.Lock) -> None:
        super().__init__()
        self.lock = lock

    def connect(self) -> None:
        self.greet()

    def greet(self) -> None:
        with self.lock:  # greets
            pass


class Querying(AsyncWebsocketConsumer):
    def __init__(self, lock: threading.Lock) -> None:
        super().__init__()
        self.lock = lock

    async def connect(self) -> None:
        await database_sync_to_async(self.query)()

    def query(self) -> None:
        with self.lock:  # queries
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


#: A consumer's chain, as far as it is Channels'.
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


# What is said of it.


async def test_a_consumer_behind_a_router_is_idle_too() -> None:
    application: Any = scripted(Script(()), "async")
    routes: Any = [path("ws/", application)]
    communicator = RecordingWebsocketCommunicator(URLRouter(routes), "/ws/")
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n{UNANSWERED}"
    )


async def test_an_async_consumer_hangs_in_a_chain_of_coroutines() -> None:
    communicator = RecordingWebsocketCommunicator(AsyncHanging.as_asgi(), "/ws/")
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n"
        + HANGS
        + CHANNELS
        + ASYNC_HANDLER
        + ours("connect", "await self.greet()")
        + ours("greet", "await asyncio.get_running_loop().create_future()  # greets")
        + GO_ON
    )


async def test_a_sync_consumer_hangs_in_its_thread(locked: threading.Lock) -> None:
    communicator = RecordingWebsocketCommunicator(
        SyncHanging.as_asgi(lock=locked), "/ws/"
    )
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n"
        + HANGS
        + CHANNELS
        + SYNC_HANDLER
        + ours("connect", "self.greet()")
        + ours("greet", "with self.lock:  # greets")
        + GO_ON
    )


async def test_an_async_consumer_hangs_in_the_thread_of_its_database(
    locked: threading.Lock,
) -> None:
    communicator = RecordingWebsocketCommunicator(Querying.as_asgi(lock=locked), "/ws/")
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n"
        + HANGS
        + CHANNELS
        + ASYNC_HANDLER
        + ours("connect", "await database_sync_to_async(self.query)()")
        + "  (asgiref)\n"
        + ours("query", "with self.lock:  # queries")
        + GO_ON
    )


async def test_a_sync_consumer_waits_for_the_thread_that_another_one_blocks(
    locked: threading.Lock,
) -> None:
    other = RecordingWebsocketCommunicator(SyncHanging.as_asgi(lock=locked), "/ws/")
    await other.send_input(CONNECT)
    assert await other.receive_nothing(0.01)
    said = await message(client(ACCEPT, kind="sync").connect(0.2))
    # Newer asgiref has functions of its own in the thread, too.
    assert said.replace("function:\n  (asgiref)\n", "function:\n") == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n"
        + HANGS
        + CHANNELS
        + "  (asgiref)\n"
        + "It waits for its thread, which is busy with another function:\n"
        + SYNC_HANDLER.removeprefix("  (asgiref)\n")
        + ours("connect", "self.greet()")
        + ours("greet", "with self.lock:  # greets")
        + "Let that end first."
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
async def test_an_application_hangs_in_what_is_awaited_like_a_coroutine(
    application: ASGI3Application, code: str, function: str, line: str
) -> None:
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    assert await message(communicator.receive_output(0.2)) == (
        "receive_output(timeout=0.2) timed out. Awaited: any event. Came: nothing.\n"
        + HANGS
        + ours(application.__name__, code)
        + ours(function, line)
        + GO_ON
    )

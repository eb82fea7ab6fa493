"""
The database of the test survives, and connections outside a transaction are closed as
always.
"""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

import channels.db
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.testing import WebsocketCommunicator
from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.backends.sqlite3 import base as sqlite3
from django.test import TestCase, TransactionTestCase
from pytest_django import DjangoDbBlocker

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CONNECT
from tests.helpers import LONG, SHORT, wait_for_thread
from tests.models import Note
from tests.scripts import Boom, Kind, Script, scripted

# Set when a thread has written the note "slow", and to let that thread end.
begun, go_on = threading.Event(), threading.Event()


def setUpModule() -> None:
    # Other modules use the parent class, which leaves it replaced if two wait at once.
    setattr(channels.db, "close_old_connections", close_old_connections)


def write(text: str) -> None:
    Note.objects.create(text=text)
    if text == "slow":
        begun.set()
        assert go_on.wait(LONG)
    if text == "crash":
        raise Boom


def read() -> list[str]:
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


class AsyncNotes(AsyncWebsocketConsumer):
    """Writes a note for each event."""

    async def connect(self) -> None:
        await database_sync_to_async(write)("connect")
        await self.accept()

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await database_sync_to_async(write)(str(text_data))
        await self.send(text_data)

    async def disconnect(self, code: int) -> None:
        await database_sync_to_async(write)("disconnect")


class SyncNotes(WebsocketConsumer):
    def connect(self) -> None:
        write("connect")
        self.accept()

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        write(str(text_data))
        self.send(text_data)

    def disconnect(self, code: int) -> None:
        write("disconnect")


async def converse(it: WebsocketCommunicator) -> None:
    await it.send_to("hello")
    assert await it.receive_from() == "hello"


async def be_slow(it: WebsocketCommunicator) -> None:
    """Let the consumer be in a thread that does not end on its own."""
    begun.clear()
    go_on.clear()
    await it.send_to("slow")
    assert await asyncio.to_thread(begun.wait, LONG)


# What a test does when it has connected.


async def leave_a_block(it: RecordingWebsocketCommunicator) -> None:
    async with it:
        pass


async def crash(it: RecordingWebsocketCommunicator) -> None:
    await it.send_to("crash")
    with suppress(Boom):
        await it.receive_from()


async def cut_off_a_thread(it: RecordingWebsocketCommunicator) -> None:
    await be_slow(it)
    with suppress(TimeoutError):
        await it.receive_from(SHORT)
    assert it.future.cancelled()
    go_on.set()


Use = Callable[[RecordingWebsocketCommunicator], Awaitable[None]]
#: What a test does, and the notes of the consumer after "connect".
USES: list[tuple[Use, list[str]]] = [
    (converse, ["hello"]),
    (RecordingWebsocketCommunicator.disconnect, ["disconnect"]),
    (leave_a_block, ["disconnect"]),
    (crash, ["crash"]),
    (cut_off_a_thread, ["slow"]),
]


class AsyncConsumerTests(TestCase):
    consumer: type[AsyncConsumer] = AsyncNotes

    @classmethod
    def setUpTestData(cls) -> None:
        write("for the class")

    def setUp(self) -> None:
        # What earlier tests wrote was rolled back.
        self.assertEqual(read(), ["for the class"])
        write("for the test")

    def tearDown(self) -> None:
        # The connection itself is as Django made it.
        connection = connections["default"]
        self.assertNotIn("close_if_unusable_or_obsolete", vars(connection))

    async def connected(self) -> RecordingWebsocketCommunicator:
        application = self.consumer.as_asgi()
        communicator = RecordingWebsocketCommunicator(application, "/")
        self.assertEqual(await communicator.connect(), (True, None))
        await wait_for_thread()
        return communicator

    async def assert_survived(self, *by_the_consumer: str) -> None:
        await wait_for_thread()
        await Note.objects.acreate(text="by the test")
        self.assertEqual(
            [note.text async for note in Note.objects.order_by("pk")],
            ["for the class", "for the test", *by_the_consumer, "by the test"],
        )

    async def test_the_transaction_survives_without_a_call(self) -> None:
        communicator = RecordingWebsocketCommunicator(self.consumer.as_asgi(), "/")
        await communicator.send_input(CONNECT)
        while communicator.output_queue.empty():
            await asyncio.sleep(0)
        await self.assert_survived("connect")
        communicator.stop()

    async def test_the_transaction_survives_a_garbage_collected_communicator(
        self,
    ) -> None:
        communicator = await self.connected()
        del communicator
        gc.collect()
        await self.assert_survived("connect")

    async def test_the_transaction_survives_the_end_of_another_communicator(
        self,
    ) -> None:
        first, second = await self.connected(), await self.connected()
        await first.disconnect()
        await converse(second)
        await self.assert_survived("connect", "connect", "disconnect", "hello")
        second.stop()

    def test_the_transaction_survives_an_event_loop_for_each_call(self) -> None:
        communicator = async_to_sync(self.connected)()
        self.assertTrue(communicator.future.done())
        async_to_sync(self.assert_survived)("connect")


def add_test(use: Use, notes: list[str]) -> None:
    async def test(self: AsyncConsumerTests) -> None:
        communicator = await self.connected()
        await use(communicator)
        await self.assert_survived("connect", *notes)
        communicator.stop(exceptions=False)

    name = getattr(use, "__name__")
    setattr(AsyncConsumerTests, f"test_the_transaction_survives_{name}", test)


for use, notes in USES:
    add_test(use, notes)


class SyncConsumerTests(AsyncConsumerTests):
    consumer = SyncNotes


# Connections outside a transaction.


class PooledNotes(AsyncWebsocketConsumer):
    """Writes in any thread of the event loop's pool."""

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await database_sync_to_async(write, thread_sensitive=False)("hello")
        await self.send("hello")


class UnwrappedNotes(AsyncWebsocketConsumer):
    """Leaves its connection open: it is closed before the next event."""

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await Note.objects.acreate(text="hello")
        await self.send("hello")


CONSUMERS: list[type[AsyncConsumer]] = [
    AsyncNotes,
    SyncNotes,
    PooledNotes,
    UnwrappedNotes,
]


@contextmanager
def closed_connections() -> Iterator[None]:
    """Assert that any thread opens a connection, and that all are closed then."""
    opened = []

    def open_one(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
        opened.append(connection)

    connection_created.connect(open_one)
    try:
        yield
    finally:
        connection_created.disconnect(open_one)
    assert opened
    assert [it for it in opened if it.connection] == []


class NoTransactionTests(TransactionTestCase):
    def setUp(self) -> None:
        connections.close_all()

    async def test_a_thread_that_outlives_its_application_closes_its_connection(
        self,
    ) -> None:
        communicator = RecordingWebsocketCommunicator(AsyncNotes.as_asgi(), "/")
        await communicator.connect()
        with closed_connections():
            await be_slow(communicator)
            communicator.stop()
            await asyncio.wait([communicator.future])
            go_on.set()
            await wait_for_thread()


class WorkerThreadTests(TestCase):
    async def test_a_connection_outside_the_transaction_is_closed(self) -> None:
        class Reader(AsyncWebsocketConsumer):
            async def connect(self) -> None:
                await database_sync_to_async(read, thread_sensitive=False)()
                await self.accept()

        communicator = RecordingWebsocketCommunicator(Reader.as_asgi(), "/")
        with closed_connections():
            self.assertEqual(await communicator.connect(), (True, None))
        await Note.objects.acreate(text="by the test")
        communicator.stop()


# Under pytest.


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("consumer", CONSUMERS)
async def test_every_connection_is_closed(
    consumer: type[AsyncConsumer],
) -> None:
    with closed_connections():
        communicator = RecordingWebsocketCommunicator(consumer.as_asgi(), "/")
        assert await communicator.connect() == (True, None)
        await converse(communicator)
        await communicator.disconnect()


async def start(kind: Kind) -> RecordingWebsocketCommunicator:
    application = scripted(Script((ACCEPT,)), kind)
    communicator = RecordingWebsocketCommunicator(application, "/")
    await communicator.send_input(CONNECT)
    return communicator


@pytest.mark.django_db(transaction=True)
async def test_an_open_connection_is_allowed_where_pytest_blocks_the_database(
    django_db_blocker: DjangoDbBlocker,
) -> None:
    await sync_to_async(read)()
    with django_db_blocker.block():
        communicator = await start("sync")
        await communicator.receive_output()
        await communicator.disconnect()
    await sync_to_async(connections.close_all)()


async def test_a_replacement_of_the_suite_is_called_and_kept() -> None:
    with mock.patch("channels.db.close_old_connections") as own:
        await (await start("sync")).disconnect()
        own.assert_called()
        assert getattr(channels.db, "close_old_connections") is own


# Connections of which the class defines when to close them.


class Pooled(sqlite3.DatabaseWrapper):
    """Gives every connection back, as backends do that have a pool of them."""

    def __init__(self, in_atomic_block: bool) -> None:
        super().__init__({})
        self.in_atomic_block = in_atomic_block
        self.was_closed = False

    def close_if_unusable_or_obsolete(self) -> None:
        """Close it."""
        self.was_closed = True


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_backend_that_closes_its_connections_spares_transactions(
    in_transaction: bool,
) -> None:
    for _ in range(2):
        await (await start("asgi")).disconnect()
    connection = Pooled(in_transaction)
    connection.close_if_unusable_or_obsolete()
    assert connection.was_closed is not in_transaction
    method: Any = Pooled.close_if_unusable_or_obsolete
    assert method.__doc__ == "Close it."
    assert not hasattr(method.__wrapped__, "__wrapped__")


async def test_a_mock_of_the_suite_is_not_wrapped() -> None:
    with mock.patch.object(BaseDatabaseWrapper, "close_if_unusable_or_obsolete") as own:
        await (await start("asgi")).disconnect()
        assert BaseDatabaseWrapper.close_if_unusable_or_obsolete is own

"""
The database of the test survives, and connections outside a transaction are closed as
always.
"""

import asyncio
import gc
import threading
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from tests.events import ACCEPT, CONNECT, DISCONNECT
from tests.models import Note
from tests.scripts import Boom, Kind, Script, scripted

channels_db: Any = channels.db  # Its stubs omit what it imports.


# Set when a thread has written the note "slow", and to let that thread end.
begun, go_on = threading.Event(), threading.Event()
# The threads in a function that may run asynchronous code.
names_of_threads: list[str] = []


def setUpModule() -> None:
    # Other modules use the parent class, which leaves it replaced if two wait at once.
    channels_db.close_old_connections = close_old_connections


async def sleep_until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("The condition has not become true.")


@contextmanager
def running_in_thread(name: str) -> Iterator[None]:
    names_of_threads.append(name)
    try:
        yield
    finally:
        names_of_threads.remove(name)


async def sleep_until_threads_have_ended() -> None:
    await sleep_until(lambda: not names_of_threads)


def write(text: str) -> None:
    Note.objects.create(text=text)
    if text == "slow":
        begun.set()
        assert go_on.wait(10)
    if text == "slow within another":
        with running_in_thread(text):
            async_to_sync(database_sync_to_async(write))("slow")
    if text == "crash":
        raise Boom


def read() -> list[str]:
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


class AsyncNotes(AsyncWebsocketConsumer):
    """Writes a note for each event."""

    async def connect(self) -> None:
        await database_sync_to_async(write)("connect")
        await self.accept()

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        assert text_data is not None
        await database_sync_to_async(write)(text_data)
        if text_data == "close":
            await self.close(4000)
        else:
            await self.send(text_data)

    async def disconnect(self, code: int) -> None:
        await database_sync_to_async(write)("disconnect")


class SyncNotes(WebsocketConsumer):
    def connect(self) -> None:
        with running_in_thread("connect"):
            write("connect")
            self.accept()

    def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        assert text_data is not None
        with running_in_thread("receive"):
            write(text_data)
            if text_data == "close":
                self.close(4000)
            else:
                self.send(text_data)

    def disconnect(self, code: int) -> None:
        write("disconnect")


class AsyncConsumerTests(TestCase):
    consumer: type[AsyncConsumer] = AsyncNotes
    communicator_class = RecordingWebsocketCommunicator

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

    def start(self) -> RecordingWebsocketCommunicator:
        return self.communicator_class(self.consumer.as_asgi(), "/")

    async def connected(self) -> RecordingWebsocketCommunicator:
        communicator = self.start()
        self.assertEqual(await communicator.connect(), (True, None))
        await sleep_until_threads_have_ended()
        return communicator

    async def working(self, text: str) -> RecordingWebsocketCommunicator:
        """Return a communicator with a running thread that does not end on its own."""
        begun.clear()
        go_on.clear()
        communicator = await self.connected()
        await communicator.send_to(text)
        await sleep_until(begun.is_set)
        return communicator

    async def assert_survived(self, *by_the_consumer: str) -> None:
        await sleep_until_threads_have_ended()
        await Note.objects.acreate(text="by the test")
        self.assertEqual(
            [note.text async for note in Note.objects.order_by("pk")],
            ["for the class", "for the test", *by_the_consumer, "by the test"],
        )

    async def test_the_transaction_survives_connect(self) -> None:
        communicator = await self.connected()
        await self.assert_survived("connect")
        communicator.stop()

    async def test_the_transaction_survives_a_received_frame(self) -> None:
        communicator = await self.connected()
        await communicator.send_to("hello")
        self.assertEqual(await communicator.receive_from(), "hello")
        await self.assert_survived("connect", "hello")
        communicator.stop()

    async def test_the_transaction_survives_receive_nothing(self) -> None:
        communicator = await self.connected()
        await communicator.send_to("hello")
        while await communicator.receive_nothing():
            pass
        await self.assert_survived("connect", "hello")
        communicator.stop()

    async def test_the_transaction_survives_disconnect(self) -> None:
        communicator = await self.connected()
        await communicator.disconnect()
        await self.assert_survived("connect", "disconnect")

    async def test_the_transaction_survives_wait(self) -> None:
        communicator = await self.connected()
        await communicator.send_input(DISCONNECT)
        await communicator.wait()
        await self.assert_survived("connect", "disconnect")

    async def test_the_transaction_survives_wait_closed(self) -> None:
        communicator = await self.connected()
        await communicator.send_to("hello")
        await communicator.send_to("close")
        self.assertEqual(await communicator.wait_closed(), 4000)
        await self.assert_survived("connect", "hello", "close")
        communicator.stop()

    async def test_the_transaction_survives_the_end_of_an_async_with(self) -> None:
        async with self.start() as communicator:
            await communicator.connect()
            await sleep_until_threads_have_ended()
        await self.assert_survived("connect", "disconnect")

    async def test_the_transaction_survives_a_plain_sleep(self) -> None:
        communicator = self.start()
        await communicator.send_input(CONNECT)
        await sleep_until(
            lambda: not communicator.output_queue.empty() or communicator.future.done()
        )
        try:
            await self.assert_survived("connect")
        finally:
            communicator.stop()  # The consumer of the parent class has crashed, too.

    async def test_the_transaction_survives_a_read_from_the_queue(self) -> None:
        communicator = self.start()
        await communicator.send_input(CONNECT)
        event = await communicator.output_queue.get()
        self.assertEqual(event["type"], "websocket.accept")
        await self.assert_survived("connect")
        communicator.stop()

    async def test_the_transaction_survives_an_event_received_in_another_task(
        self,
    ) -> None:
        communicator = await self.connected()
        receiving = asyncio.create_task(communicator.receive_from())
        await communicator.send_to("hello")
        self.assertEqual(await receiving, "hello")
        await self.assert_survived("connect", "hello")
        communicator.stop()

    async def test_the_transaction_survives_a_crash(self) -> None:
        communicator = await self.connected()
        await communicator.send_to("crash")
        with self.assertRaises(Boom):
            await communicator.receive_from()
        await self.assert_survived("connect", "crash")

    async def test_the_transaction_survives_a_timeout(self) -> None:
        communicator = await self.connected()
        with self.assertRaises(TimeoutError):
            await communicator.receive_from(0.05)
        await self.assert_survived("connect")

    async def test_the_transaction_survives_a_thread_that_outlives_its_application(
        self,
    ) -> None:
        communicator = await self.working("slow")
        with self.assertRaises(TimeoutError):
            await communicator.receive_from(0.05)
        self.assertTrue(communicator.future.cancelled())
        go_on.set()
        await self.assert_survived("connect", "slow")

    async def test_the_transaction_survives_nested_threads_that_outlive_the_application(
        self,
    ) -> None:
        communicator = await self.working("slow within another")
        # They do not outlive it: a cancellation waits for them.
        asyncio.get_running_loop().call_later(0.5, go_on.set)
        with self.assertRaises(TimeoutError):
            await communicator.receive_from(0.05)
        await self.assert_survived("connect", "slow within another", "slow")

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
        await second.send_to("hello")
        self.assertEqual(await second.receive_from(), "hello")
        await self.assert_survived("connect", "connect", "disconnect", "hello")
        second.stop()

    def test_the_transaction_survives_an_event_loop_for_each_call(self) -> None:
        communicator = async_to_sync(self.connected)()
        self.assertTrue(communicator.future.done())
        async_to_sync(self.assert_survived)("connect")

    async def test_the_transaction_survives_a_patch_of_the_function_in_django(
        self,
    ) -> None:
        with mock.patch("django.db.close_old_connections"):
            communicator = await self.connected()
            await communicator.disconnect()
            await self.assert_survived("connect", "disconnect")


class SyncConsumerTests(AsyncConsumerTests):
    consumer = SyncNotes


class ParentTests(TransactionTestCase):
    """The problem with the parent class, and its solution."""

    def run_plain_sleep(self, **attributes: type) -> unittest.TestResult:
        tests = type("Tests", (AsyncConsumerTests,), attributes)
        result = unittest.TestResult()
        unittest.TestSuite([tests("test_the_transaction_survives_a_plain_sleep")]).run(
            result
        )
        self.assertEqual(result.testsRun, 1)
        return result

    def test_the_parent_class_loses_the_transaction(self) -> None:
        close: Any = BaseDatabaseWrapper.close_if_unusable_or_obsolete
        for consumer in (AsyncNotes, SyncNotes):
            # As if no communicator of ours had been used in this process.
            with mock.patch.object(
                BaseDatabaseWrapper,
                "close_if_unusable_or_obsolete",
                getattr(close, "__wrapped__", close),
            ):
                result = self.run_plain_sleep(
                    consumer=consumer, communicator_class=WebsocketCommunicator
                )
            [(_, error)] = result.errors
            self.assertRegex(error.splitlines()[-1], "^django.db.utils.*closed")

    def test_this_class_keeps_the_transaction(self) -> None:
        for consumer in (AsyncNotes, SyncNotes):
            self.assertTrue(self.run_plain_sleep(consumer=consumer).wasSuccessful())


# Connections outside a transaction.


class PooledNotes(AsyncWebsocketConsumer):
    """Writes in any thread of the event loop's pool."""

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        await database_sync_to_async(write, thread_sensitive=False)("hello")
        await self.send("hello")


class UnwrappedNotes(AsyncWebsocketConsumer):
    """Leaves its connection open: it is closed before the next event."""

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        await Note.objects.acreate(text="hello")
        await self.send("hello")


CONSUMERS: list[type[AsyncConsumer]] = [
    AsyncNotes,
    SyncNotes,
    PooledNotes,
    UnwrappedNotes,
]


@contextmanager
def opened_connections() -> Iterator[list[BaseDatabaseWrapper]]:
    """Yield the list of the connections that any thread opens."""
    opened = []

    def open_one(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
        opened.append(connection)

    connection_created.connect(open_one)
    try:
        yield opened
    finally:
        connection_created.disconnect(open_one)


async def converse(consumer: type[AsyncConsumer]) -> None:
    communicator = RecordingWebsocketCommunicator(consumer.as_asgi(), "/")
    assert await communicator.connect() == (True, None)
    await sleep_until_threads_have_ended()
    await communicator.send_to("hello")
    assert await communicator.receive_from() == "hello"
    await sleep_until_threads_have_ended()
    await communicator.disconnect()


class NoTransactionTests(TransactionTestCase):
    def setUp(self) -> None:
        connections.close_all()

    async def test_every_connection_is_closed(self) -> None:
        for consumer in CONSUMERS:
            with self.subTest(consumer), opened_connections() as opened:
                await converse(consumer)
                self.assertNotEqual(opened, [])
                self.assertEqual([it for it in opened if it.connection], [])

    async def test_a_thread_that_outlives_its_application_closes_its_connection(
        self,
    ) -> None:
        begun.clear()
        go_on.clear()
        communicator = RecordingWebsocketCommunicator(AsyncNotes.as_asgi(), "/")
        await communicator.connect()
        with opened_connections() as opened:
            await communicator.send_to("slow")
            await sleep_until(begun.is_set)
            communicator.stop()
            await asyncio.wait([communicator.future])
            go_on.set()
            await sync_to_async(lambda: None)()  # waits for the thread
        self.assertNotEqual(opened, [])
        self.assertEqual([it for it in opened if it.connection], [])


class WorkerThreadTests(TestCase):
    async def test_a_connection_outside_the_transaction_is_closed(self) -> None:
        class Reader(AsyncWebsocketConsumer):
            async def connect(self) -> None:
                await database_sync_to_async(read, thread_sensitive=False)()
                await self.accept()

        communicator = RecordingWebsocketCommunicator(Reader.as_asgi(), "/")
        with opened_connections() as opened:
            self.assertEqual(await communicator.connect(), (True, None))
        [it] = opened
        self.assertIsNone(it.connection)
        await Note.objects.acreate(text="by the test")
        communicator.stop()


# Under pytest.


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("consumer", CONSUMERS)
async def test_every_connection_is_closed_under_pytest(
    consumer: type[AsyncConsumer],
) -> None:
    with opened_connections() as opened:
        await converse(consumer)
    assert opened
    assert [it for it in opened if it.connection] == []


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


# The application's own use of channels.db.


@pytest.fixture(params=["asgi", "async", "sync"])
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


async def start(kind: Kind) -> RecordingWebsocketCommunicator:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((ACCEPT,)), kind), "/"
    )
    await communicator.send_input(CONNECT)
    return communicator


def attributes_of_channels_db() -> dict[str, object]:
    return {**vars(channels_db), **vars(channels_db.DatabaseSyncToAsync)}


async def test_nothing_of_channels_db_is_replaced(kind: Kind) -> None:
    before = attributes_of_channels_db()
    communicator = await start(kind)
    assert attributes_of_channels_db() == before
    await communicator.receive_output()
    assert attributes_of_channels_db() == before
    await communicator.disconnect()
    assert attributes_of_channels_db() == before


async def test_a_replacement_of_the_suite_is_called_and_kept() -> None:
    with mock.patch("channels.db.close_old_connections") as own:
        await (await start("sync")).disconnect()
        own.assert_called()
        assert channels_db.close_old_connections is own


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

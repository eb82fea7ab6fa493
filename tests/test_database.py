"""
The database of the test survives, connections outside a transaction are closed as
always, and ``channels.db`` is left as it was.
"""

import asyncio
import gc
import threading
import unittest
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.test import TestCase, TransactionTestCase
from pytest_django import DjangoDbBlocker

from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.database import TransactionGuard
from tests.events import ACCEPT, CONNECT, DISCONNECT
from tests.models import Note
from tests.scripts import Boom, Kind, Script, scripted
from tests.test_event_loops import eager_task_factory

channels_db: Any = channels.db  # Its stubs omit what it imports.
ORIGINAL = channels_db.close_old_connections
ORIGINALS = ORIGINAL, channels_db.DatabaseSyncToAsync.thread_handler


# Set when a thread has written the note "slow", and to let that thread end.
begun, go_on = threading.Event(), threading.Event()
# The threads in a function that may run asynchronous code.
names_of_threads: list[str] = []


def setUpModule() -> None:
    # Other modules use the parent class, which leaves it replaced if two wait at once.
    gc.collect()
    channels_db.close_old_connections = ORIGINAL


def is_replaced() -> bool:
    return ORIGINALS != (
        channels_db.close_old_connections,
        channels_db.DatabaseSyncToAsync.thread_handler,
    )


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
        self.assertFalse(is_replaced())

    async def test_the_transaction_survives_nested_threads_that_outlive_the_application(
        self,
    ) -> None:
        communicator = await self.working("slow within another")
        # They do not outlive it: a cancellation waits for them.
        asyncio.get_running_loop().call_later(0.5, go_on.set)
        with self.assertRaises(TimeoutError):
            await communicator.receive_from(0.05)
        await self.assert_survived("connect", "slow within another", "slow")
        self.assertFalse(is_replaced())

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
        for consumer in (AsyncNotes, SyncNotes):
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


# channels.db afterwards.


async def wait(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.wait()


async def wait_for_the_crash(communicator: RecordingWebsocketCommunicator) -> None:
    with pytest.raises(Boom):
        await communicator.wait()


async def disconnect(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.disconnect()


async def stop(communicator: RecordingWebsocketCommunicator) -> None:
    communicator.stop()
    await asyncio.wait([communicator.future])


async def cancel(communicator: RecordingWebsocketCommunicator) -> None:
    communicator.future.cancel()
    await asyncio.wait([communicator.future])


async def receive_too_long(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.receive_output()
    with pytest.raises(TimeoutError):
        await communicator.receive_output(0.01)


async def wait_too_long(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.wait(0.01)


async def leave_the_block(communicator: RecordingWebsocketCommunicator) -> None:
    async with communicator:
        pass


async def start(
    kind: Kind, script: Script = Script((ACCEPT,))
) -> RecordingWebsocketCommunicator:
    communicator = RecordingWebsocketCommunicator(scripted(script, kind), "/")
    await communicator.send_input(CONNECT)
    return communicator


@pytest.fixture(params=["asgi", "async", "sync"])
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.mark.parametrize(
    ("script", "end"),
    [
        (Script((ACCEPT,), "return"), wait),
        (Script((ACCEPT,), "raise"), wait_for_the_crash),
        (Script((ACCEPT,)), disconnect),
        (Script((ACCEPT,)), stop),
        (Script((ACCEPT,)), cancel),
        (Script((ACCEPT,)), receive_too_long),
        (Script((ACCEPT,)), wait_too_long),
        (Script((ACCEPT,)), leave_the_block),
    ],
)
async def test_the_original_is_restored_when_an_application_has_ended(
    kind: Kind,
    script: Script,
    end: Callable[[RecordingWebsocketCommunicator], Awaitable[None]],
) -> None:
    communicator = await start(kind, script)
    assert is_replaced()
    await end(communicator)
    await sleep_until(lambda: not is_replaced())


async def test_the_original_is_restored_when_a_communicator_is_garbage_collected(
    kind: Kind,
) -> None:
    communicator = await start(kind)
    await communicator.receive_output()
    assert is_replaced()
    del communicator
    gc.collect()
    await sleep_until(lambda: not is_replaced())


def test_the_original_is_restored_when_the_event_loop_is_closed_first() -> None:
    async def answered() -> RecordingWebsocketCommunicator:
        communicator = await start("asgi")
        await communicator.receive_output()
        return communicator

    loop = asyncio.new_event_loop()
    # It would report that a pending task is destroyed, which is intended here.
    loop.set_exception_handler(lambda loop, context: None)
    communicator = loop.run_until_complete(answered())
    loop.close()
    assert is_replaced()
    del communicator
    gc.collect()
    assert not is_replaced()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_original_is_restored_when_the_last_application_has_ended(
    kind: Kind, order: tuple[int, int]
) -> None:
    communicators = [await start(kind), await start(kind)]
    first, last = (communicators[index] for index in order)
    await first.receive_output()
    await last.receive_output()
    await first.disconnect()
    assert is_replaced()
    await last.disconnect()
    assert not is_replaced()


async def test_the_original_is_restored_after_many_applications_at_once(
    kind: Kind,
) -> None:
    communicators = [await start(kind) for _ in range(50)]
    *others, last = communicators
    await asyncio.gather(*(communicator.disconnect() for communicator in others))
    assert is_replaced()
    await last.disconnect()
    await sleep_until(lambda: not is_replaced())


def test_the_original_is_restored_after_applications_in_many_threads() -> None:
    async def run_applications() -> None:
        for _ in range(20):
            communicator = await start("asgi")
            await communicator.receive_output()
            assert is_replaced()
            await communicator.disconnect()

    with ThreadPoolExecutor() as threads:
        running = [threads.submit(asyncio.run, run_applications()) for _ in range(4)]
    for thread in running:
        thread.result()
    assert not is_replaced()


async def test_a_replacement_that_the_suite_made_before_is_used_and_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = mock.Mock()
    monkeypatch.setattr(channels_db, "close_old_connections", own)
    await (await start("sync")).disconnect()
    own.assert_called()
    assert channels_db.close_old_connections is own


async def test_a_replacement_that_the_suite_makes_later_is_used_and_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels_db, "close_old_connections", ORIGINAL)
    first = await start("sync")
    own = channels_db.close_old_connections = mock.Mock()
    second = await start("sync")
    await first.disconnect()
    await second.disconnect()
    own.assert_called()
    assert channels_db.close_old_connections is own


async def test_a_replacement_that_the_suite_has_undone_is_not_used_anymore() -> None:
    first = await start("sync")
    with mock.patch("channels.db.close_old_connections") as own:
        second = await start("sync")
    own.reset_mock()
    await first.disconnect()
    await second.disconnect()
    own.assert_not_called()
    assert not is_replaced()


async def test_the_next_communicator_restores_the_original_if_a_replacement_remained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels_db, "close_old_connections", ORIGINAL)
    communicator = await start("sync")
    with mock.patch("channels.db.close_old_connections"):
        await communicator.disconnect()
    assert is_replaced()
    await (await start("sync")).disconnect()
    assert not is_replaced()


async def test_the_next_communicator_replaces_an_original_that_the_suite_restores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels_db, "close_old_connections", ORIGINAL)
    first = await start("asgi")
    channels_db.close_old_connections = ORIGINAL
    second = await start("asgi")
    assert channels_db.close_old_connections is not ORIGINAL
    await first.disconnect()
    assert channels_db.close_old_connections is not ORIGINAL
    await second.disconnect()
    assert not is_replaced()


async def test_a_replacement_that_remained_restores_the_original_when_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A patch that ends after the application puts back what it has found."""
    original = mock.Mock()
    monkeypatch.setattr(channels_db, "close_old_connections", original)
    communicator = await start("asgi")
    with mock.patch("channels.db.close_old_connections"):
        await communicator.disconnect()
    assert channels_db.close_old_connections is not original
    original.assert_not_called()
    await database_sync_to_async(lambda: None)()
    assert channels_db.close_old_connections is original
    assert original.call_count == 2  # before and after, as always


@pytest.mark.parametrize("order", ["parent ends last", "parent ends first"])
async def test_nothing_remains_after_the_parent_class_has_waited_meanwhile(
    order: str,
) -> None:
    """It replaces the same function while it waits, and puts back what it has found."""
    communicator = await start("asgi")
    parent = WebsocketCommunicator(scripted(Script((ACCEPT,)), "asgi"), "/")
    receiving = asyncio.create_task(parent.receive_output())
    await asyncio.sleep(0)
    if order == "parent ends last":
        await communicator.disconnect()
    parent.input_queue.put_nowait(CONNECT)
    await receiving
    if order == "parent ends first":
        await communicator.disconnect()
    # It also replaces this function for a moment when it sends.
    parent.input_queue.put_nowait(DISCONNECT)
    await parent.wait()
    await database_sync_to_async(lambda: None)()
    assert not is_replaced()


@pytest.mark.parametrize("is_followed", [False, True])
async def test_a_thread_that_outlives_its_application_ends_with_what_it_began_with(
    monkeypatch: pytest.MonkeyPatch, is_followed: bool
) -> None:
    """Even if another communicator has begun with another replacement."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(10)

    class Working(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await database_sync_to_async(work, thread_sensitive=False)()

    monkeypatch.setattr(channels_db, "close_old_connections", ORIGINAL)
    first, later = mock.Mock(), mock.Mock()
    channels_db.close_old_connections = first
    communicator = RecordingWebsocketCommunicator(Working.as_asgi(), "/")
    await communicator.send_input(CONNECT)
    await sleep_until(begun.is_set)
    calls = first.call_count
    communicator.stop()
    await asyncio.wait([communicator.future])
    channels_db.close_old_connections = later
    following = await start("asgi") if is_followed else None
    go_on.set()
    await sleep_until(lambda: first.call_count + later.call_count > calls)
    assert (first.call_count, later.call_count) == (calls + 1, 0)
    if following is not None:
        await following.disconnect()
    assert channels_db.close_old_connections is later


@pytest.mark.parametrize("ending", ["wait", "return", "raise"])
async def test_an_eager_application_is_guarded_from_its_first_step_to_its_end(
    ending: str,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(eager_task_factory())
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(is_replaced())
        await send(ACCEPT)
        if ending == "raise":
            raise Boom("boom")
        if ending == "wait":
            await receive()
            seen.append(is_replaced())

    async def use() -> None:
        async with RecordingWebsocketCommunicator(application, "/") as communicator:
            assert not is_replaced()
            communicator.future
            assert seen == [True]

    for _ in range(2):
        seen.clear()
        if ending == "raise":
            with pytest.raises(Boom):
                await use()
        else:
            await use()
        assert all(seen) and not is_replaced()
    loop.set_task_factory(None)


async def test_the_original_is_restored_when_an_eager_application_has_crashed() -> None:
    asyncio.get_running_loop().set_task_factory(eager_task_factory())

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise Boom("boom")

    with pytest.raises(Boom):
        await RecordingWebsocketCommunicator(application, "/").connect()
    asyncio.get_running_loop().set_task_factory(None)
    assert not is_replaced()


@pytest.mark.parametrize("threshold", range(1, 21))
def test_a_guard_may_be_collected_while_the_next_one_is_made(threshold: int) -> None:
    """Whichever object it is that the interpreter makes when it collects garbage."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.disable()
    try:
        first: Any = TransactionGuard()
        first.itself = first
        del first
        assert is_replaced()
        gc.set_threshold(threshold)
        gc.enable()
        second = TransactionGuard()
        gc.disable()
        assert is_replaced()
        second.release()
        gc.collect()
        assert not is_replaced()
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()


async def wait_two_at_once(communicator_class: type[WebsocketCommunicator]) -> None:
    application = scripted(Script((ACCEPT,)), "asgi")
    communicators = [communicator_class(application, "/") for _ in range(2)]
    waiting = [asyncio.create_task(it.receive_output()) for it in communicators]
    await asyncio.sleep(0)
    for communicator, task in zip(communicators, waiting):
        communicator.input_queue.put_nowait(CONNECT)
        await task
    for communicator in communicators:
        await communicator.disconnect()


async def test_the_original_is_restored_when_two_have_waited_at_once() -> None:
    await wait_two_at_once(RecordingWebsocketCommunicator)
    assert not is_replaced()


async def test_the_parent_class_leaves_a_replacement_when_two_wait_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels_db, "close_old_connections", ORIGINAL)
    await wait_two_at_once(WebsocketCommunicator)
    assert is_replaced()

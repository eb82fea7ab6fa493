"""A communicator works with event loops as the parent does."""

import asyncio
import contextvars
import gc
import sys
import threading
import unittest
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CONNECT, FRAME, JSON_FRAME
from tests.helpers import (
    LONG,
    SHORT,
    CommunicatorClass,
    both_classes,
    failure,
)
from tests.parent.test_idioms import connected, echo, sending
from tests.scripts import Boom


def outcome(call: Callable[[], object]) -> object:
    """Return its result or the type of its exception, which depend on versions."""
    try:
        return call()
    except (Exception, asyncio.CancelledError) as exception:
        return type(exception)


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect garbage, so that its warnings are reported for this test."""
    yield
    gc.collect()


@both_classes
@pytest.mark.usefixtures("collected")
def test_each_call_may_have_an_event_loop_of_its_own(
    communicator_class: CommunicatorClass,
) -> None:
    def use(cls: CommunicatorClass) -> list[object]:
        communicator = cls(sending(ACCEPT, JSON_FRAME), "/")
        return [
            outcome(async_to_sync(communicator.connect)),
            outcome(async_to_sync(communicator.receive_output)),
            outcome(async_to_sync(communicator.disconnect)),
        ]

    assert outcome(lambda: use(communicator_class)) == outcome(
        lambda: use(WebsocketCommunicator)
    )


@both_classes
@pytest.mark.usefixtures("collected")
def test_a_communicator_may_be_created_before_the_event_loop(
    communicator_class: CommunicatorClass,
) -> None:
    def use(cls: CommunicatorClass) -> list[object]:
        communicator = cls(sending(ACCEPT, JSON_FRAME), "/")
        loop = asyncio.new_event_loop()
        try:
            return [
                outcome(lambda: loop.run_until_complete(call))
                for call in (
                    communicator.connect(SHORT),
                    communicator.receive_output(SHORT),
                    communicator.disconnect(),
                )
            ]
        finally:
            loop.close()

    assert outcome(lambda: use(communicator_class)) == outcome(
        lambda: use(WebsocketCommunicator)
    )


@both_classes
def test_an_event_loop_may_be_run_for_each_call(
    communicator_class: CommunicatorClass,
) -> None:
    loop = asyncio.new_event_loop()
    try:
        communicator = loop.run_until_complete(connected(communicator_class))
        loop.run_until_complete(communicator.send_to("text"))
        assert loop.run_until_complete(communicator.receive_from()) == "text"
        loop.run_until_complete(communicator.disconnect())
    finally:
        loop.close()


@both_classes
@pytest.mark.usefixtures("collected")
def test_a_communicator_may_be_created_in_set_up(
    communicator_class: CommunicatorClass,
) -> None:
    def use(cls: CommunicatorClass) -> list[str]:
        class Tests(unittest.IsolatedAsyncioTestCase):
            def setUp(self) -> None:
                self.communicator = cls(echo, "/")

            async def test(self) -> None:
                self.assertEqual(await self.communicator.connect(), (True, None))
                await self.communicator.disconnect()

        result = unittest.TestResult()
        Tests("test").run(result)
        return [text.splitlines()[-1] for _, text in result.errors + result.failures]

    assert use(communicator_class) == use(WebsocketCommunicator)


# Another event loop than that of the application.

OTHER_LOOP = (
    "The application runs in another event loop: a communicator belongs to the loop"
    " that started its application.\n"
    "Use one event loop for the whole conversation: one async_to_sync() around all"
    " of it, or the same loop for the fixture and the test."
)
LOOP_ENDED = (
    "The application was cancelled when its event loop ended: async_to_sync() and"
    " asyncio.run() run an event loop for each call.\n"
    "Use one of them for the whole conversation."
)


def new_uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


each_kind_of_loop = pytest.mark.parametrize(
    "new_event_loop", [asyncio.new_event_loop, new_uvloop], ids=["asyncio", "uvloop"]
)
NewEventLoop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture
def loops(new_event_loop: NewEventLoop) -> Iterator[list[asyncio.AbstractEventLoop]]:
    """Yield two event loops, neither of which is running."""
    loops = [new_event_loop(), new_event_loop()]
    yield loops
    for loop in loops:
        loop.run_until_complete(cancel_all_tasks())
        loop.close()


async def cancel_all_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)


async def failure_at_once(call: Awaitable[object]) -> BaseException:
    """Return what a call raises, which is not that it has waited for too long."""
    return await failure(asyncio.wait_for(call, LONG))


def assert_other_loop(error: BaseException, communicator: object) -> None:
    assert type(error) is RuntimeError
    if isinstance(communicator, RecordingWebsocketCommunicator):
        assert str(error) == OTHER_LOOP


def assert_usable(
    communicator: WebsocketCommunicator, loop: asyncio.AbstractEventLoop
) -> None:
    async def converse() -> None:
        assert not communicator.future.done()
        await communicator.send_to("text")
        assert await communicator.receive_from() == "text"
        await communicator.disconnect()
        assert communicator.future.done() and not communicator.future.cancelled()

    loop.run_until_complete(converse())


@both_classes
@each_kind_of_loop
@pytest.mark.parametrize("timeout", [1, None, 0])
@pytest.mark.parametrize(
    "name", ["receive_output", "receive_from", "receive_json_from"]
)
def test_a_call_from_another_event_loop_that_has_to_wait_raises_at_once(
    communicator_class: CommunicatorClass,
    loops: list[asyncio.AbstractEventLoop],
    name: str,
    timeout: float | None,
) -> None:
    own, other = loops
    communicator = own.run_until_complete(connected(communicator_class))
    for _ in range(2):
        call = getattr(communicator, name)(timeout)
        error = other.run_until_complete(failure_at_once(call))
        assert_other_loop(error, communicator)
    assert_usable(communicator, own)


async def recording() -> RecordingWebsocketCommunicator:
    communicator = RecordingWebsocketCommunicator(echo, "/")
    await communicator.connect()
    return communicator


Use = Callable[[RecordingWebsocketCommunicator], Coroutine[Any, Any, object]]


async def leave_block(it: RecordingWebsocketCommunicator) -> None:
    async with it:
        pass


@each_kind_of_loop
@pytest.mark.parametrize(
    "use",
    [
        lambda it: it.wait(),
        lambda it: it.wait(timeout=None),
        lambda it: it.wait_closed(),
        lambda it: it.wait_closed(timeout=None),
        leave_block,
    ],
    ids=["wait", "wait forever", "wait_closed", "wait_closed forever", "leave a block"],
)
def test_no_call_from_another_event_loop_harms_the_application(
    loops: list[asyncio.AbstractEventLoop],
    use: Use,
) -> None:
    """The parent class cancels it, or has no such method."""
    own, other = loops
    communicator = own.run_until_complete(recording())
    for _ in range(2):
        error = other.run_until_complete(failure_at_once(use(communicator)))
        assert_other_loop(error, communicator)
    assert_usable(communicator, own)


@both_classes
@each_kind_of_loop
def test_disconnect_from_another_event_loop_raises_at_once(
    communicator_class: CommunicatorClass, loops: list[asyncio.AbstractEventLoop]
) -> None:
    own, other = loops
    communicator = own.run_until_complete(connected(communicator_class))
    error = other.run_until_complete(failure_at_once(communicator.disconnect()))
    assert_other_loop(error, communicator)
    if isinstance(communicator, RecordingWebsocketCommunicator):
        # The application has received the event, and ends in its own event loop.
        assert not communicator.future.done()
        own.run_until_complete(communicator.wait())
        assert not communicator.future.cancelled()


@both_classes
@each_kind_of_loop
def test_connect_from_another_event_loop_raises_at_once(
    communicator_class: CommunicatorClass, loops: list[asyncio.AbstractEventLoop]
) -> None:
    own, other = loops
    communicator = communicator_class(sending(ACCEPT), "/")
    # The parent class takes a queue for that of the loop which has waited for it.
    communicator_future = own.run_until_complete(start(communicator))
    error = other.run_until_complete(failure_at_once(communicator.connect()))
    assert_other_loop(error, communicator)
    assert not communicator_future.done()


async def start(communicator: WebsocketCommunicator) -> "asyncio.Future[Any]":
    """Start the application, and wait until it waits for an event."""
    future: "asyncio.Future[Any]" = communicator.future
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(communicator.output_queue.get(), 0.01)
    return future


@each_kind_of_loop
def test_the_exception_of_a_block_in_another_event_loop_is_not_masked(
    loops: list[asyncio.AbstractEventLoop],
) -> None:
    own, other = loops
    communicator = own.run_until_complete(recording())
    boom = Boom("boom")

    async def use() -> None:
        async with communicator:
            raise boom

    assert other.run_until_complete(failure_at_once(use())) is boom
    assert_usable(communicator, own)


@both_classes
@each_kind_of_loop
def test_what_is_queued_can_be_received_in_any_event_loop(
    communicator_class: CommunicatorClass, loops: list[asyncio.AbstractEventLoop]
) -> None:
    own, other = loops
    application = sending(ACCEPT, FRAME, JSON_FRAME, FRAME)
    communicator = own.run_until_complete(connected(communicator_class, application))
    assert communicator.output_queue.qsize() == 3
    assert not other.run_until_complete(communicator.receive_nothing())
    assert other.run_until_complete(communicator.receive_output()) is FRAME
    assert other.run_until_complete(communicator.receive_json_from()) == {
        "type": "jwt-expired"
    }
    assert own.run_until_complete(communicator.receive_from()) == "hello"
    assert other.run_until_complete(communicator.receive_nothing(SHORT))
    own.run_until_complete(communicator.disconnect())


@both_classes
@each_kind_of_loop
def test_what_is_sent_in_another_event_loop_is_received(
    communicator_class: CommunicatorClass, loops: list[asyncio.AbstractEventLoop]
) -> None:
    own, other = loops
    communicator = own.run_until_complete(connected(communicator_class))
    other.run_until_complete(communicator.send_to("text"))
    assert own.run_until_complete(communicator.receive_from()) == "text"
    own.run_until_complete(communicator.disconnect())


@both_classes
@each_kind_of_loop
def test_a_call_in_another_thread_than_the_application_raises_at_once(
    communicator_class: CommunicatorClass, loops: list[asyncio.AbstractEventLoop]
) -> None:
    own, other = loops
    thread = threading.Thread(target=own.run_forever)
    thread.start()

    def in_own_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, own).result(LONG)

    try:
        communicator = in_own_loop(connected(communicator_class))
        call = communicator.receive_from(None)
        assert_other_loop(other.run_until_complete(failure_at_once(call)), communicator)
        in_own_loop(communicator.send_to("text"))
        assert in_own_loop(communicator.receive_from()) == "text"
        in_own_loop(communicator.disconnect())
    finally:
        own.call_soon_threadsafe(own.stop)
        thread.join()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def of_the_module() -> AsyncIterator[dict[object, WebsocketCommunicator]]:
    """Yield a connected communicator of each class, in the loop of the module."""
    communicators: dict[object, WebsocketCommunicator] = {
        cls: await connected(cls)
        for cls in (WebsocketCommunicator, RecordingWebsocketCommunicator)
    }
    yield communicators
    for communicator in communicators.values():
        await communicator.disconnect()


@both_classes
async def test_a_fixture_of_another_event_loop_is_named_as_the_cause(
    communicator_class: CommunicatorClass,
    of_the_module: dict[object, WebsocketCommunicator],
) -> None:
    communicator = of_the_module[communicator_class]
    assert_other_loop(await failure_at_once(communicator.receive_from()), communicator)


@both_classes
@pytest.mark.asyncio(loop_scope="module")
async def test_a_fixture_is_usable_in_its_event_loop_after_a_call_from_another(
    communicator_class: CommunicatorClass,
    of_the_module: dict[object, WebsocketCommunicator],
) -> None:
    communicator = of_the_module[communicator_class]
    await asyncio.to_thread(
        lambda: asyncio.run(failure_at_once(communicator.receive_from()))
    )
    await communicator.send_to("text")
    assert await communicator.receive_from() == "text"


# An event loop that has ended.

Call = Callable[[WebsocketCommunicator], Awaitable[object]]


@both_classes
@pytest.mark.parametrize(
    "run", [async_to_sync, lambda call: lambda: asyncio.run(call())]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.send_to("a"),
        lambda it: it.send_json_to([]),
        lambda it: it.receive_from(),
        lambda it: it.receive_output(None),
        lambda it: it.receive_nothing(),
        lambda it: it.connect(),
    ],
    ids=["send_to", "send_json_to", "receive", "receive_output", "nothing", "connect"],
)
def test_a_call_after_the_event_loop_of_the_application_has_ended(
    communicator_class: CommunicatorClass, run: Callable[..., Any], call: Call
) -> None:
    async def connect() -> WebsocketCommunicator:
        return await connected(communicator_class)

    async def use() -> BaseException:
        return await failure(call(communicator))

    communicator = run(connect)()
    for _ in range(2):
        error = run(use)()
        assert type(error) is asyncio.CancelledError
        if isinstance(communicator, RecordingWebsocketCommunicator):
            assert str(error) == LOOP_ENDED


@both_classes
def test_disconnecting_after_the_event_loop_of_the_application_has_ended(
    communicator_class: CommunicatorClass,
) -> None:
    async def disconnect() -> object:
        return type(await failure(communicator.disconnect()))

    communicator = async_to_sync(connected)(communicator_class)
    assert async_to_sync(disconnect)() is asyncio.CancelledError
    assert async_to_sync(communicator.wait)() is None


# Event loops of several kinds, and task factories.


class Greeting(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        await self.send("hello")

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        await self.send(text_data)


class SyncGreeting(WebsocketConsumer):
    def connect(self) -> None:
        self.accept()
        self.send("hello")

    def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        self.send(text_data)


async def converse(communicator: WebsocketCommunicator) -> None:
    assert await communicator.connect(LONG) == (True, None)
    assert await communicator.receive_from(LONG) == "hello"
    await communicator.send_to("text")
    assert await communicator.receive_from(LONG) == "text"
    assert await communicator.receive_nothing(0.01)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(communicator.receive_from(LONG), 0.01)
    await communicator.send_to("more")
    assert await communicator.receive_from(LONG) == "more"
    await communicator.disconnect(timeout=LONG)
    assert not communicator.future.cancelled()


def eager_factory(
    loop: asyncio.AbstractEventLoop,
    coroutine: Any,
    eager_start: object = None,
    **kwargs: Any,
) -> "asyncio.Task[Any]":
    """Leave out what uvloop says and the factory of Python 3.13.0 does not take."""
    make_task: Any = getattr(asyncio, "eager_task_factory")  # since Python 3.12
    task: asyncio.Task[Any] = make_task(loop, coroutine, **kwargs)
    return task


def eager_task_factory() -> Any:
    if sys.version_info < (3, 12):
        pytest.skip("Python 3.11 has no eager tasks.")
    return eager_factory


def own_task_factory() -> Any:
    def own_factory(
        loop: asyncio.AbstractEventLoop, coroutine: Any, **kwargs: Any
    ) -> "asyncio.Task[Any]":
        return asyncio.Task(coroutine, loop=loop, **kwargs)

    return own_factory


each_task_factory = pytest.mark.parametrize(
    "make_factory",
    [lambda: None, own_task_factory, eager_task_factory],
    ids=["none", "own", "eager"],
)


@both_classes
@each_kind_of_loop
@each_task_factory
@pytest.mark.parametrize("consumer", [Greeting, SyncGreeting])
def test_a_conversation_in_each_kind_of_event_loop(
    communicator_class: CommunicatorClass,
    new_event_loop: NewEventLoop,
    make_factory: Callable[[], Any],
    consumer: type[AsyncConsumer],
) -> None:
    factory = make_factory()
    loop = new_event_loop()
    try:
        loop.set_task_factory(factory)
        for _ in range(2):
            communicator = communicator_class(consumer.as_asgi(), "/")
            loop.run_until_complete(converse(communicator))
            assert loop.get_task_factory() is factory
    finally:
        loop.close()


# What an event loop is left with.

End = Callable[[WebsocketCommunicator], Awaitable[object]]


async def crash(communicator: WebsocketCommunicator) -> None:
    await communicator.send_to("crash")
    with pytest.raises(Boom):
        await communicator.receive_from(0.01)


async def time_out(communicator: WebsocketCommunicator) -> None:
    with pytest.raises(TimeoutError):
        await communicator.receive_from(0.01)


async def cancel(communicator: WebsocketCommunicator) -> None:
    communicator.stop()
    await asyncio.wait([communicator.future])


async def working(scope: Any, receive: Any, send: Any) -> None:
    """Starts a task for each event that it answers."""
    await receive()
    await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        if event["text"] == "crash":
            raise Boom("boom")
        await asyncio.create_task(send(FRAME))


@both_classes
@each_kind_of_loop
@each_task_factory
@pytest.mark.parametrize(
    "end", [lambda it: it.disconnect(), lambda it: it.wait(0), crash, time_out, cancel]
)
def test_the_task_factory_is_as_before_when_the_application_has_ended(
    communicator_class: CommunicatorClass,
    new_event_loop: NewEventLoop,
    make_factory: Callable[[], Any],
    end: End,
) -> None:
    factory = make_factory()

    async def use() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        for _ in range(2):
            communicator = await connected(communicator_class, working)
            await communicator.send_to("text")
            assert await communicator.receive_output() is FRAME
            await end(communicator)
            assert communicator.future.done()
            assert loop.get_task_factory() is factory

    loop = new_event_loop()
    try:
        loop.run_until_complete(use())
    finally:
        loop.close()


@each_task_factory
@pytest.mark.parametrize("body", ["passes", "raises"])
async def test_the_task_factory_is_as_before_after_a_block(
    make_factory: Callable[[], Any], body: str
) -> None:
    loop, factory = asyncio.get_running_loop(), make_factory()
    loop.set_task_factory(factory)

    async def use() -> None:
        async with RecordingWebsocketCommunicator(working, "/") as communicator:
            await communicator.connect()
            if body == "raises":
                raise Boom

    for _ in range(2):
        if body == "raises":
            with pytest.raises(Boom):
                await use()
        else:
            await use()
        assert loop.get_task_factory() is factory
    loop.set_task_factory(None)


@both_classes
@each_task_factory
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_task_factory_is_as_before_when_the_last_application_has_ended(
    communicator_class: CommunicatorClass,
    make_factory: Callable[[], Any],
    order: tuple[int, int],
) -> None:
    loop, factory = asyncio.get_running_loop(), make_factory()
    loop.set_task_factory(factory)
    communicators = [await connected(communicator_class) for _ in range(2)]
    for index in order:
        await communicators[index].disconnect()
    assert loop.get_task_factory() is factory
    loop.set_task_factory(None)


@both_classes
async def test_a_task_factory_that_the_test_sets_meanwhile_stays(
    communicator_class: CommunicatorClass,
) -> None:
    loop, factory = asyncio.get_running_loop(), own_task_factory()
    communicator = await connected(communicator_class, working)
    loop.set_task_factory(factory)
    await communicator.send_to("text")
    assert await communicator.receive_output() is FRAME
    await communicator.disconnect()
    assert loop.get_task_factory() is factory
    await (await connected(communicator_class, working)).disconnect()
    assert loop.get_task_factory() is factory
    loop.set_task_factory(None)


@both_classes
async def test_a_task_factory_that_the_test_sets_and_restores_leaves_none_of_ours(
    communicator_class: CommunicatorClass,
) -> None:
    """A fixture that restores what it has found ends after the application."""
    loop = asyncio.get_running_loop()
    communicator = await connected(communicator_class, working)
    found = loop.get_task_factory()
    loop.set_task_factory(own_task_factory())
    await communicator.disconnect()
    loop.set_task_factory(found)
    # At the latest, the next communicator restores the original.
    await (await connected(communicator_class, working)).disconnect()
    factory = loop.get_task_factory()
    loop.set_task_factory(None)
    assert factory is None


async def test_a_task_of_the_application_is_known_after_another_has_ended() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        while (await receive())["type"] != "websocket.receive":
            pass
        await asyncio.wait([asyncio.create_task(work())])

    first = await connected(RecordingWebsocketCommunicator)
    second = await connected(RecordingWebsocketCommunicator, application)
    await first.disconnect()
    await second.send_to("text")
    error = await failure(second.receive_from(SHORT))
    assert "in work\n    await asyncio.Event().wait()\n" in str(error)
    await cancel_all_tasks()


@both_classes
async def test_a_task_factory_of_the_test_makes_the_tasks_of_the_application(
    communicator_class: CommunicatorClass,
) -> None:
    async def use(cls: CommunicatorClass) -> list[str]:
        made = []

        def factory(loop: Any, coroutine: Any, **kwargs: Any) -> "asyncio.Task[Any]":
            made.append(coroutine.__qualname__)
            return asyncio.Task(coroutine, loop=loop, **kwargs)

        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        communicator = await connected(cls, working)
        await communicator.send_to("text")
        assert await communicator.receive_output() is FRAME
        await communicator.disconnect()
        loop.set_task_factory(None)
        return made

    made = await use(communicator_class)
    assert made == await use(WebsocketCommunicator)
    assert made


@both_classes
async def test_the_application_may_name_its_tasks_and_choose_their_context(
    communicator_class: CommunicatorClass,
) -> None:
    variable = contextvars.ContextVar("variable", default="")
    context = contextvars.Context()
    context.run(variable.set, "of the context")
    seen = []

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append((task.get_name(), variable.get()))

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.create_task(work(), name="of the application", context=context)

    communicator = communicator_class(application, "/")
    await communicator.send_input(CONNECT)
    await communicator.wait()
    assert seen == [("of the application", "of the context")]


# Eager tasks.


@pytest_asyncio.fixture
async def eager_loop() -> AsyncIterator[None]:
    """Let the event loop of the test start tasks at once."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(eager_task_factory())
    yield
    loop.set_task_factory(None)


@both_classes
@pytest.mark.usefixtures("eager_loop")
async def test_an_eager_application_may_send_in_its_first_step(
    communicator_class: CommunicatorClass,
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send(FRAME)
        await receive()
        await echo(scope, receive, send)

    communicator = await connected(communicator_class, application)
    assert await communicator.receive_output() is FRAME
    await communicator.send_to("text")
    assert await communicator.receive_output() is ACCEPT
    await communicator.disconnect()
    assert not communicator.future.cancelled()


@both_classes
@pytest.mark.usefixtures("eager_loop")
@pytest.mark.parametrize("name", ["connect", "receive_output", "wait"])
async def test_an_eager_application_may_raise_in_its_first_step(
    communicator_class: CommunicatorClass, name: str
) -> None:
    boom = Boom("boom")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise boom

    communicator = communicator_class(application, "/")
    assert await failure(getattr(communicator, name)()) is boom
    assert asyncio.get_running_loop().get_task_factory() is eager_task_factory()


@pytest.mark.usefixtures("eager_loop")
@pytest.mark.parametrize("ending", ["return", "raise"])
async def test_a_block_in_which_an_eager_application_ends_in_its_first_step(
    ending: str,
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        if ending == "raise":
            raise Boom("boom")

    async def use() -> list[object]:
        async with RecordingWebsocketCommunicator(application, "/") as communicator:
            communicator.future
        return [event for _, event, _ in communicator.transcript.records]

    if ending == "raise":
        assert type(await failure(use())) is Boom
    else:
        assert await use() == [ACCEPT]
    assert asyncio.get_running_loop().get_task_factory() is eager_task_factory()

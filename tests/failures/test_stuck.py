"""The part of a failure that shows where the application is waiting."""

import asyncio
import gc
import logging
import threading
import types
import weakref
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.urls import path

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CONNECT
from tests.failures.texts import (
    HANDSHAKE,
    HOW_TO_UNBLOCK,
    IDLE,
    UNANSWERED,
    WAITING_HERE,
)
from tests.helpers import client, frame_of, line_of, message, readable
from tests.scripts import Boom, Script, scripted

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

    def pass_through(self) -> None:
        self.reached.set()
        with self.lock:  # passes
            pass

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


# Tasks that the consumer has started.


class Delegating(AsyncWebsocketConsumer):
    """Lets a task of its own do the work."""

    keeps = True

    def __init__(self, work: str) -> None:
        super().__init__()
        self.work = work
        self.started = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        task = asyncio.create_task(getattr(self, self.work)())
        self.started += 1
        if self.keeps:
            self.tasks.append(task)

    async def hang(self) -> None:
        await self.hang_deeply()

    async def hang_deeply(self) -> None:
        # Held, as the event loop holds a timer: nobody else holds a forgotten task.
        held.append(asyncio.get_running_loop().create_future())
        await held[-1]  # works

    async def delegate(self) -> None:
        await asyncio.create_task(self.hang_deeply())  # delegates

    async def die(self) -> None:
        raise Boom("in a task")  # dies

    async def finish(self) -> None:
        pass

    async def cancel(self) -> None:
        raise asyncio.CancelledError

    async def wait_for_thread(self) -> None:
        await sync_to_async(gates[0].pass_through)()  # waits for a thread


class Forgetting(Delegating):
    """Holds no reference to its task: it lives as long as the event loop has one."""

    keeps = False


#: What the tasks of Delegating wait for.
held: list[asyncio.Future[None]] = []
#: For the threads of Delegating.
gates: list[Gate] = []


each_delegating = pytest.mark.parametrize(
    "consumer", [Delegating, Forgetting], ids=["kept", "forgotten"]
)


async def delegating(
    consumer: type[Delegating], work: str
) -> RecordingWebsocketCommunicator:
    """Return a communicator whose consumer has started a task."""
    communicator = RecordingWebsocketCommunicator(consumer.as_asgi(work=work), "/ws/")
    await communicator.connect()
    await communicator.send_to("work")
    await tasks_started(consumer_of(communicator), 1)
    gc.collect()
    return communicator


FIRST_LINE = (
    "receive_from(timeout=0.2) timed out. Waiting for: a data frame."
    " Received: nothing.\n"
)
TASK_WAITING_HERE = (
    "The consumer has a task that is waiting here (most recent call last):\n"
)
HANGS = ours("hang", "await self.hang_deeply()") + ours(
    "hang_deeply", "await held[-1]  # works"
)


@each_delegating
async def test_a_task_that_the_consumer_has_started_and_that_hangs(
    consumer: type[Delegating],
) -> None:
    communicator = await delegating(consumer, "hang")
    assert await message(communicator.receive_from(0.2)) == (
        FIRST_LINE + TASK_WAITING_HERE + HANGS + HOW_TO_UNBLOCK
    )


async def test_a_task_is_shown_by_wait_closed_too() -> None:
    communicator = await delegating(Delegating, "hang")
    assert await message(communicator.wait_closed(0.2)) == (
        "wait_closed(timeout=0.2) timed out. Waiting for: websocket.close."
        " Received: nothing.\n" + TASK_WAITING_HERE + HANGS + HOW_TO_UNBLOCK
    )


@each_delegating
async def test_a_task_that_the_consumer_has_started_and_that_has_died(
    consumer: type[Delegating],
) -> None:
    communicator = await delegating(consumer, "die")
    line = line_of('raise Boom("in a task")  # dies', __file__)
    assert await message(communicator.receive_from(0.2)) == (
        f"{FIRST_LINE}A task that the application started has raised"
        f" tests.scripts.Boom: in a task, tests/failures/test_stuck.py:{line}.\n"
        "The consumer is idle. Fix that task first."
    )


@each_delegating
async def test_the_transcript_shows_what_a_task_has_raised(
    consumer: type[Delegating],
) -> None:
    communicator = await delegating(consumer, "die")
    line = line_of('raise Boom("in a task")  # dies', __file__)
    *_, shown, _ = readable(str(communicator.transcript)).splitlines()
    assert shown.strip() == (
        "a task of the application raised tests.scripts.Boom: in a task,"
        f" tests/failures/test_stuck.py:{line}"
    )
    await communicator.disconnect()


@pytest.mark.parametrize(
    "communicator_class", [WebsocketCommunicator, RecordingWebsocketCommunicator]
)
async def test_what_a_forgotten_task_has_raised_is_logged_at_once(
    communicator_class: type[WebsocketCommunicator], caplog: pytest.LogCaptureFixture
) -> None:
    communicator = communicator_class(Forgetting.as_asgi(work="die"), "/ws/")
    await communicator.connect()
    await communicator.send_to("work")
    while "Task exception was never retrieved" not in caplog.text:
        assert await communicator.receive_nothing(0.01)
        gc.collect()
    await communicator.disconnect()


@pytest.mark.parametrize("work", ["die", "finish", "hang"])
def test_no_event_loop_is_kept_alive(
    work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def converse() -> "weakref.ref[asyncio.AbstractEventLoop]":
        async with RecordingWebsocketCommunicator(
            Delegating.as_asgi(work=work), "/ws/"
        ) as communicator:
            await communicator.connect()
            await communicator.send_to("work")
            await communicator.receive_nothing(0.01)
        return weakref.ref(asyncio.get_running_loop())

    # What is logged holds the frames of what was raised.
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
    references = [asyncio.run(converse()) for _ in range(10)]
    held.clear()
    gc.collect()
    # Threads of asgiref keep the last ones that they have served.
    assert len([it for it in references if it() is not None]) < 5


@each_delegating
@pytest.mark.parametrize("work", ["finish", "cancel"])
async def test_a_task_that_has_ended_is_not_shown(
    consumer: type[Delegating], work: str
) -> None:
    communicator = await delegating(consumer, work)
    assert await message(communicator.receive_from(0.2)) == FIRST_LINE + IDLE


@each_delegating
async def test_a_task_that_a_task_has_started(consumer: type[Delegating]) -> None:
    communicator = await delegating(consumer, "delegate")
    assert await message(communicator.receive_from(0.2)) == (
        FIRST_LINE
        + TASK_WAITING_HERE
        + ours("delegate", "await asyncio.create_task(self.hang_deeply())  # delegates")
        + "It has a task that is waiting here (most recent call last):\n"
        + ours("hang_deeply", "await held[-1]  # works")
        + HOW_TO_UNBLOCK
    )


async def test_several_tasks_of_which_one_has_died() -> None:
    communicator = await delegating(Delegating, "hang")
    consumer = consumer_of(communicator)
    for number, consumer.work in enumerate(("die", "finish", "hang"), 2):
        await communicator.send_to("more")
        await tasks_started(consumer, number)
    line = line_of('raise Boom("in a task")  # dies', __file__)
    assert await message(communicator.receive_from(0.2)) == (
        f"{FIRST_LINE}A task that the application started has raised"
        f" tests.scripts.Boom: in a task, tests/failures/test_stuck.py:{line}.\n"
        + TASK_WAITING_HERE
        + HANGS
        + "It has a task that is waiting here (most recent call last):\n"
        + HANGS
        + HOW_TO_UNBLOCK
    )


async def tasks_started(consumer: Delegating, number: int) -> None:
    """Wait until so many tasks are started, and have taken their first steps."""
    while consumer.started < number:
        await asyncio.sleep(0.001)
    for _ in range(5):
        await asyncio.sleep(0)


def consumer_of(communicator: RecordingWebsocketCommunicator) -> Any:
    coroutine: Any = communicator.future.get_coro()
    return coroutine.cr_await.cr_frame.f_locals["self"]


async def test_a_handler_that_waits_beside_a_task() -> None:
    class Both(Delegating):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await super().receive(text_data, bytes_data)
            await asyncio.get_running_loop().create_future()  # waits beside it

    communicator = await delegating(Both, "hang")
    assert await message(communicator.receive_from(0.2)) == (
        FIRST_LINE
        + WAITING_HERE
        + CHANNELS
        + RECEIVE_HANDLER
        + ours(
            "receive",
            "await asyncio.get_running_loop().create_future()  # waits beside it",
        )
        + "It has a task that is waiting here (most recent call last):\n"
        + HANGS
        + HOW_TO_UNBLOCK
    )


#: The frames of Channels that call receive().
RECEIVE_HANDLER = """\
  File "channels/consumer.py", in dispatch
    await handler(message)
  File "channels/generic/websocket.py", in websocket_receive
    await self.receive(text_data=message["text"])
"""


async def test_the_tasks_of_another_application_are_not_shown() -> None:
    await delegating(Delegating, "hang")
    other = client(ACCEPT)
    await other.connect()
    theirs = asyncio.ensure_future(Delegating("hang").hang())
    assert await message(other.receive_from(0.2)) == FIRST_LINE + IDLE
    theirs.cancel()


async def test_an_application_that_is_no_consumer_and_has_a_task() -> None:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        task = asyncio.ensure_future(Delegating("hang").hang())
        await task  # in an application

    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    assert await message(communicator.receive_from(0.2)) == (
        FIRST_LINE
        + WAITING_HERE
        + ours("application", "await task  # in an application")
        + "It has a task that is waiting here (most recent call last):\n"
        + HANGS
        + HOW_TO_UNBLOCK
    )


async def test_a_task_that_waits_for_a_thread(gate: Gate) -> None:
    gates[:] = [gate]
    communicator = await delegating(Delegating, "wait_for_thread")
    await gate.wait_until_reached()
    text = await message(communicator.receive_from(0.2))
    assert "idle" not in text
    assert text.startswith(
        FIRST_LINE
        + TASK_WAITING_HERE
        + ours(
            "wait_for_thread",
            "await sync_to_async(gates[0].pass_through)()  # waits for a thread",
        )
    )


async def test_the_task_factory_of_the_test_is_used_and_left_in_place() -> None:
    made: list[object] = []

    def factory(loop: Any, coroutine: Any, **kwargs: Any) -> Any:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **kwargs)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        communicator = await delegating(Delegating, "hang")
        names = [getattr(coroutine, "__name__", "") for coroutine in made]
        assert names.count("hang") == 1
        text = await message(communicator.receive_from(0.2))
        assert text == FIRST_LINE + TASK_WAITING_HERE + HANGS + HOW_TO_UNBLOCK
        assert loop.get_task_factory() is factory
    finally:
        loop.set_task_factory(None)


# A version of asgiref whose local variables have other names.


async def test_threads_that_cannot_be_told_apart_are_shown_without_a_claim(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    call: Any = SyncToAsync.__call__
    names = ["work" if it == "child" else it for it in call.__code__.co_varnames]
    assert names != list(call.__code__.co_varnames)
    code = call.__code__.replace(co_varnames=tuple(names))
    renamed = types.FunctionType(code, call.__globals__, closure=call.__closure__)
    monkeypatch.setattr(SyncToAsync, "__call__", renamed)

    application = SyncBlocking.as_asgi(gate=gate)
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    await communicator.send_input(CONNECT)
    await gate.wait_until_reached()
    text = await message(communicator.connect(0.2))
    # Newer asgiref has functions of its own in the thread.
    assert text.replace("here:\n  (asgiref)\n", "here:\n") == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Received: nothing.\n"
        + WAITING_HERE
        + CHANNELS
        + "  (asgiref)\n"
        + "It is waiting for a thread. The threads of asgiref are here:\n"
        + SYNC_HANDLER.removeprefix("  (asgiref)\n")
        + ours("connect", "self.greet()")
        + ours("greet", "with self.gate.lock:  # greets")
        + "Unblock them, or pass a longer timeout."
    )

"""``wait_idle()`` returns when no application has anything left to do.

``receive_all()`` shows it: what an application sends until it is idle is there.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any
from unittest.mock import AsyncMock

import anyio
import pytest
import strawberry
import uvloop
from asgiref.sync import async_to_sync, sync_to_async
from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path
from freezegun import freeze_time
from strawberry.channels import GraphQLWSConsumer

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT
from tests.helpers import LONG
from tests.models import Note
from tests.virtual_time import EAGER

Work = Callable[[], Awaitable[object]]


@asynccontextmanager
async def asked(
    application: Any, frames: int = 1
) -> AsyncIterator[RecordingWebsocketCommunicator]:
    """Send so many frames to an application."""
    async with RecordingWebsocketCommunicator(application, "/ws/") as communicator:
        assert await communicator.connect(LONG) == (True, None)
        for number in range(frames):
            await communicator.send_json_to(number)
        yield communicator


async def answers(application: Any, frames: int = 3) -> list[Any]:
    """Return what an application answers to so many frames, when it is idle."""
    async with asked(application, frames) as communicator:
        return sorted(await communicator.receive_all(LONG))


# What applications do.


async def no_work() -> None:
    pass


async def many_turns() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def sleep() -> None:
    await asyncio.sleep(0.01)


async def sleep_in_task() -> None:
    await asyncio.ensure_future(sleep())


async def in_thread(seconds: float = 0.01) -> None:
    await sync_to_async(time.sleep)(seconds)


async def in_any_thread() -> None:
    await sync_to_async(time.sleep, thread_sensitive=False)(0.01)


class Awaited:
    def __await__(self) -> Any:
        return in_thread().__await__()


async def behind_await() -> None:
    await Awaited()


async def query() -> None:
    async for _ in Note.objects.all():
        pass
    await Note.objects.acount()


async def with_another_communicator() -> None:
    await answers(working(sleep))


# Consumers that send each frame back.


class Working(AsyncJsonWebsocketConsumer):
    work: Work = staticmethod(sleep)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.work()
        await self.send_json(content)


class SyncWorking(JsonWebsocketConsumer):
    work: Work

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        async_to_sync(self.work)()
        self.send_json(content)


class Starting(Working):
    """Works in a task for each frame."""

    async def connect(self) -> None:
        self.tasks: set[asyncio.Future[None]] = set()
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.start(super().receive_json(content))

    def start(self, work: Any) -> None:
        self.tasks.add(asyncio.ensure_future(work))


class Nesting(Starting):
    """Works in a task that a task starts."""

    def start(self, work: Any) -> None:
        async def start() -> None:
            super(Nesting, self).start(work)

        super().start(start())


class Scheduling(Starting):
    """Does the work some turns of the event loop later."""

    async def dispatch(self, message: Any) -> None:
        # As that of Channels, which also waits for a thread.
        await getattr(self, get_handler_name(message))(message)

    def start(self, work: Any, turns: int = 4) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self.start, work, turns - 1)
        else:
            super().start(work)


class Multiplexer(AsyncJsonWebsocketConsumer):
    """Runs a consumer in a task of its own, like that of channelsmultiplexer."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        outer = asyncio.ensure_future(super().__call__(scope, receive, send))
        consumer = working(in_thread)(scope, self.queue.get, send)
        inner = asyncio.ensure_future(consumer)
        await asyncio.wait([outer, inner], return_when=asyncio.FIRST_COMPLETED)
        inner.cancel()

    async def forward(self, message: Any) -> None:
        await self.queue.put(message)

    websocket_connect = websocket_receive = forward


def working(work: Work, base: type[AsyncConsumer] = Working, **names: Any) -> Any:
    names["work"] = staticmethod(work)
    consumer: Any = type(f"{base.__name__} {work.__name__}", (base,), names)
    return consumer.as_asgi()


# Middleware.


def delaying(application: Any, work: Work) -> Any:
    async def behind(scope: Any, receive: Any, send: Any) -> None:
        async def slow_receive() -> Any:
            await work()
            event = await receive()
            await work()
            return event

        async def slow_send(event: Any) -> None:
            await work()
            await send(event)

        await application(scope, slow_receive, slow_send)

    return behind


async def consumer_in_task(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.ensure_future(working(sleep)(scope, receive, send))


async def consumer_in_handler(scope: Any, receive: Any, send: Any) -> None:
    class Outer(AsyncJsonWebsocketConsumer):
        async def chat_message(self, event: Any) -> None:
            await working(sleep)(scope, receive, send)
            raise StopConsumer

    events: asyncio.Queue[Any] = asyncio.Queue()
    events.put_nowait({"type": "chat.message"})
    await Outer.as_asgi()(scope, events.get, send)


# ASGI applications that are not of Channels.


async def reading(scope: Any, receive: Any, send: Any) -> None:
    while (event := await receive())["type"] != "websocket.disconnect":
        if event["type"] == "websocket.connect":
            await send(ACCEPT)
        else:
            await many_turns()
            await in_thread()
            await send({**event, "type": "websocket.send"})


async def with_timeout(scope: Any, receive: Any, send: Any) -> None:
    await reading(scope, lambda: asyncio.wait_for(receive(), LONG), send)


async def in_generator(scope: Any, receive: Any, send: Any) -> None:
    async def generate() -> AsyncIterator[None]:
        await reading(scope, receive, send)
        yield

    async for _ in generate():
        pass


async def in_task(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.ensure_future(reading(scope, receive, send))


async def gathering(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.gather(reading(scope, receive, send), many_turns())


async def in_group(scope: Any, receive: Any, send: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(reading(scope, receive, send))


async def in_group_of_anyio(scope: Any, receive: Any, send: Any) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(reading, scope, receive, send)


def receiving_in_task(application: Any, work: Work) -> Any:
    async def behind(scope: Any, receive: Any, send: Any) -> None:
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def hand_over() -> None:
            while True:
                await queue.put(await receive())
                await work()

        task = asyncio.ensure_future(hand_over())
        await application(scope, queue.get, send)
        task.cancel()

    return behind


WORK = (many_turns, in_thread, in_any_thread, behind_await, query)
#: Those that need no clock.
TIMELESS = [
    *(working(in_thread, base) for base in (Working, SyncWorking, Starting, Nesting)),
    *(working(many_turns), Multiplexer.as_asgi(), reading, in_task),
    receiving_in_task(reading, no_work),
]
APPLICATIONS = [
    *(working(it, base) for it in WORK for base in (Working, SyncWorking, Starting)),
    *(working(sleep), working(sleep, SyncWorking), working(no_work, Scheduling)),
    *(working(with_another_communicator), consumer_in_task, consumer_in_handler),
    *(delaying(working(no_work), it) for it in (many_turns, sleep, in_thread)),
    *(delaying(reading, it) for it in (sleep, sleep_in_task)),
    ProtocolTypeRouter({"websocket": URLRouter([path("ws/", working(sleep))])}),
    receiving_in_task(working(many_turns), sleep),
    receiving_in_task(delaying(reading, sleep), no_work),
    *(with_timeout, in_generator, gathering, in_group, in_group_of_anyio),
]
#: Event loops, and the applications that run in each.
LOOPS = {
    "plain": TIMELESS + APPLICATIONS,
    **dict.fromkeys(("eager", "uvloop", "debug", "stopped clock"), TIMELESS),
}


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    module: Any = uvloop if kind == "uvloop" else asyncio
    loop: asyncio.AbstractEventLoop = module.new_event_loop()
    loop.set_task_factory(EAGER if kind == "eager" else None)
    loop.set_debug(kind == "debug")
    return loop


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("loop", "application"), [(kind, it) for kind in LOOPS for it in LOOPS[kind]]
)
def test_an_application_that_works(
    loop: str, application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loop == "stopped clock":
        monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic(): now)
    with asyncio.Runner(loop_factory=partial(new_loop, loop)) as runner:
        assert runner.run(answers(application)) == [0, 1, 2]


async def test_what_the_test_replaces_is_for_the_application_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mock = AsyncMock(side_effect=in_thread)
    monkeypatch.setattr(asyncio, "sleep", mock)
    with freeze_time("2024-02-29", real_asyncio=True):
        assert await answers(working(sleep)) == [0, 1, 2]
    assert mock.await_count == 3


async def test_more_tasks_than_running_tasks_shows() -> None:
    assert await answers(working(many_turns, Starting), 200) == [*range(200)]


@pytest.mark.parametrize("sleeps", [True, False])
async def test_a_task_that_waits_elsewhere_does_not_count(sleeps: bool) -> None:
    released = threading.Event()

    async def work() -> None:
        while sleeps and not released.is_set():
            await asyncio.sleep(0.01)
        await asyncio.to_thread(released.wait, LONG)

    async with asked(working(work, Starting)) as communicator:
        assert await communicator.receive_all(LONG) == []
        assert len(communicator.running_tasks) == 1
        released.set()
        assert await communicator.receive_until(lambda it: it == 0, LONG) == [0]


# Groups.


class Member(Working):
    """Continues a countdown."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await super().receive_json(content)
        if content:
            await send_to_group(content - 1)

    async def chat_message(self, event: Any) -> None:
        await self.receive_json(event["number"])


def member(number: int) -> AbstractAsyncContextManager[RecordingWebsocketCommunicator]:
    return asked(working(sleep, Member, groups=[f"room{number}"]), 0)


async def send_to_group(number: int) -> None:
    """Send a number to the group of its half: the next number goes there, or on."""
    layer: Any = get_channel_layer()
    message = {"type": "chat.message", "number": number}
    await layer.group_send(f"room{number // 2}", message)


async def send_in_task(number: int) -> None:
    asyncio.get_running_loop().call_soon(asyncio.ensure_future, send_to_group(number))


@pytest.mark.parametrize(
    "source",
    [send_to_group, sync_to_async(async_to_sync(send_to_group)), send_in_task, None],
    ids=["test", "sync view", "task", "client"],
)
async def test_a_chain_of_group_messages_between_consumers_that_work(
    source: Any,
) -> None:
    async with member(0) as first, member(1) as second, member(2) as third:
        await (source or third.send_json_to)(5)
        received = [await it.receive_all(LONG) for it in (first, second, third)]
        assert received == [[1, 0], [3, 2], [5, 4]]


# Strawberry.


@strawberry.type
class Query:
    @strawberry.field
    async def work(self) -> int:
        await in_thread()
        return 1


async def test_the_consumer_of_strawberry() -> None:
    schema = strawberry.Schema(query=Query)
    application = GraphQLWSConsumer.as_asgi(schema=schema)
    communicator = RecordingWebsocketCommunicator(
        application, "/", subprotocols=["graphql-transport-ws"]
    )
    async with communicator:
        await communicator.connect(LONG)
        await communicator.send_json_to({"type": "connection_init"})
        query = {"id": "1", "type": "subscribe", "payload": {"query": "{ work }"}}
        await communicator.send_json_to(query)
        answers = await communicator.receive_all(LONG)
        assert [it["type"] for it in answers] == ["connection_ack", "next", "complete"]

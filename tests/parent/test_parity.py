"""
What the parent does, and a random driver or the suite of a project has once missed.

The tests with ``both_classes`` are what the parent does.
"""

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import AsyncMock, patch

import anyio
import asgiref.testing
import channels.db
import pytest
import strawberry
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.testing import WebsocketCommunicator
from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
from strawberry.channels import GraphQLWSConsumer
from strawberry.channels.testing import GraphQLWebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, CONNECT, DISCONNECT, FRAME, send
from tests.helpers import (
    LONG,
    SHORT,
    CommunicatorClass,
    both_classes,
    drain,
    failure,
    read_all_records,
)
from tests.parent.test_idioms import echo, sending
from tests.scripts import Boom
from tests.virtual_time import EAGER, make_loop


def set_eager(is_eager: bool) -> None:
    if is_eager and EAGER is None:
        pytest.skip("Python 3.11 has no eager tasks.")
    asyncio.get_running_loop().set_task_factory(EAGER if is_eager else None)


# A reader that waits while the test disconnects, or waits for the application.


async def disconnect(communicator: WebsocketCommunicator) -> None:
    await communicator.disconnect()


async def send_disconnect(communicator: WebsocketCommunicator) -> None:
    await communicator.send_input(DISCONNECT)
    await asyncio.wait([communicator.future])


async def wait_for_end(communicator: WebsocketCommunicator) -> None:
    await communicator.send_to("return")
    await communicator.wait()


async def returning(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    await receive()


@both_classes
@pytest.mark.parametrize("is_waiting", [True, False], ids=["waiting", "starting"])
@pytest.mark.parametrize("end", [disconnect, send_disconnect, wait_for_end])
async def test_a_reader_goes_on_waiting_when_the_test_has_ended_the_application(
    communicator_class: CommunicatorClass,
    end: Callable[[WebsocketCommunicator], Awaitable[None]],
    is_waiting: bool,
) -> None:
    communicator = communicator_class(returning, "/")
    assert await communicator.connect() == (True, None)
    reader = asyncio.create_task(communicator.receive_json_from(timeout=LONG))
    if is_waiting:
        await asyncio.sleep(0)
    await end(communicator)
    await asyncio.wait([reader], timeout=SHORT)
    reader.cancel()
    with suppress(asyncio.CancelledError):
        await reader
    assert reader.cancelled()


async def test_a_reader_ends_when_the_application_raises_at_the_disconnect() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await returning(scope, receive, send)
        raise Boom

    communicator = RecordingWebsocketCommunicator(application, "/")
    await communicator.connect()
    reader = asyncio.create_task(communicator.receive_output(timeout=LONG))
    await asyncio.sleep(0)
    with suppress(Boom):
        await communicator.disconnect()
    assert isinstance(await failure(asyncio.wait_for(reader, LONG / 2)), Boom)


# An application that returns while a task of its own still sends.


async def leaving_a_task(scope: Any, receive: Any, send: Any) -> None:
    async def send_later() -> None:
        await asyncio.sleep(SHORT)
        await send(FRAME)

    await receive()
    scope["task"] = asyncio.create_task(send_later())
    await send(ACCEPT)


@both_classes
@pytest.mark.parametrize("name", ["receive_output", "receive_from"])
async def test_a_frame_is_received_from_a_task_that_outlives_the_application(
    communicator_class: CommunicatorClass, name: str
) -> None:
    communicator = communicator_class(leaving_a_task, "/")
    assert await communicator.connect() == (True, None)
    await asyncio.wait([communicator.future])
    received = await getattr(communicator, name)(LONG)
    assert received == (FRAME if name == "receive_output" else FRAME["text"])


@both_classes
async def test_there_is_something_from_a_task_that_outlives_the_application(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(leaving_a_task, "/")
    assert await communicator.connect() == (True, None)
    await asyncio.wait([communicator.future])
    assert await communicator.receive_nothing(LONG) is False


async def test_a_call_ends_with_the_last_task_of_an_application_that_has_returned() -> (
    None
):
    communicator = RecordingWebsocketCommunicator(leaving_a_task, "/")
    await communicator.connect()
    assert await communicator.receive_from(LONG) == FRAME["text"]
    call = asyncio.wait_for(communicator.receive_output(2 * LONG), LONG)
    assert "the application has returned" in str(await failure(call))


async def sending_soon(scope: Any, receive: Any, send: Any) -> None:
    def start() -> None:
        scope["task"] = asyncio.create_task(send(FRAME))

    await receive()
    await send(ACCEPT)
    asyncio.get_running_loop().call_soon(start)


@both_classes
@pytest.mark.parametrize("is_eager", [False, True])
async def test_a_frame_is_received_that_the_application_had_scheduled(
    communicator_class: CommunicatorClass, is_eager: bool
) -> None:
    set_eager(is_eager)
    communicator = communicator_class(sending_soon, "/")
    assert await communicator.connect() == (True, None)
    assert await communicator.receive_output(LONG) == FRAME


async def starting_a_task_at_once(scope: Any, receive: Any, send: Any) -> None:
    async def start() -> None:
        scope["inner"] = asyncio.create_task(send_later())

    async def send_later() -> None:
        await asyncio.sleep(SHORT)
        await send(FRAME)

    scope["outer"] = asyncio.create_task(start())


@both_classes
async def test_a_frame_is_received_from_a_task_of_the_first_step_of_an_eager_one(
    communicator_class: CommunicatorClass,
) -> None:
    set_eager(True)
    communicator = communicator_class(starting_a_task_at_once, "/")
    assert await communicator.receive_output(LONG) == FRAME


@both_classes
async def test_the_task_factory_is_restored_if_an_application_cannot_start(
    communicator_class: CommunicatorClass,
) -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    communicator = communicator_class(echo, "/")
    communicator.application = lambda scope, receive, send: None
    assert isinstance(await failure(communicator.send_input(CONNECT)), TypeError)
    assert loop.get_task_factory() is before


# Several tasks of the test read: who waits first is served first.


@both_classes
@pytest.mark.parametrize("first", ["get", "receive_output"])
async def test_readers_are_served_in_the_order_in_which_they_wait(
    communicator_class: CommunicatorClass, first: str
) -> None:
    communicator = communicator_class(echo, "/")
    assert await communicator.connect() == (True, None)
    calls = [communicator.output_queue.get(), communicator.receive_output(LONG)]
    if first == "receive_output":
        calls.reverse()
    readers = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    for text in "12":
        await communicator.send_to(text)
    events: list[Any] = await asyncio.gather(*readers)
    assert [event["text"] for event in events] == ["1", "2"]
    await communicator.disconnect()


@both_classes
@pytest.mark.parametrize("first", ["get", "receive_output"])
async def test_the_event_of_a_cancelled_reader_is_for_the_next(
    communicator_class: CommunicatorClass, first: str
) -> None:
    communicator = communicator_class(echo, "/")
    assert await communicator.connect() == (True, None)
    calls = [communicator.output_queue.get(), communicator.receive_output(LONG)]
    if first == "receive_output":
        calls.reverse()
    cancelled, reader = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    communicator.output_queue.put_nowait(FRAME)
    cancelled.cancel()
    assert await asyncio.wait_for(reader, LONG) == FRAME
    assert cancelled.cancelled()
    await communicator.disconnect()


# wait() on an application that has just raised.


@both_classes
@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "timed out"])
async def test_wait_returns_if_the_application_raises_just_before(
    communicator_class: CommunicatorClass, is_cancelled: bool
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await returning(scope, receive, send)
        if is_cancelled:
            asyncio.get_running_loop().call_soon(call.cancel)
        raise Boom

    communicator = communicator_class(application, "/")
    assert await communicator.connect() == (True, None)
    if is_cancelled:
        call = asyncio.create_task(communicator.wait(LONG))
        await asyncio.sleep(0)
        await communicator.send_to("raise")
        await call
    else:
        await communicator.send_to("raise")
        await communicator.wait(0)
    assert isinstance(communicator.future.exception(), Boom)


class WithoutSending(RecordingWebsocketCommunicator):
    async def send_input(self, message: Any) -> None:
        """Send nothing."""

    async def receive_output(self, timeout: float | None = 1) -> Any:
        return ACCEPT


async def test_connect_starts_no_application_that_a_subclass_does_not_start() -> None:
    communicator = WithoutSending(echo, "/")
    assert await communicator.connect() == (True, None)
    assert communicator._future is None


# What asyncio logs, and what is as it was before.


@contextmanager
def logging_loop() -> Iterator[tuple[asyncio.AbstractEventLoop, list[str]]]:
    """An event loop, and what it logs until it is closed and garbage is collected."""
    gc.collect()
    logged: list[str] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: logged.append(context["message"]))
    try:
        yield loop, logged
    finally:
        loop.close()
        gc.collect()


def spied(communicator: Any) -> None:
    communicator.send_input = AsyncMock(wraps=communicator.send_input)


def in_its_scope(communicator: Any) -> None:
    communicator.scope["communicator"] = communicator


def log_of_dropped(
    cls: CommunicatorClass, make_cycle: Callable[[Any], None], is_running: bool
) -> list[str]:
    """Drop a communicator in a reference cycle while its application runs."""

    async def use() -> None:
        communicator = cls(echo, "/")
        make_cycle(communicator)
        assert await communicator.connect() == (True, None)

    async def collect() -> None:
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)

    with logging_loop() as (loop, logged):
        loop.run_until_complete(use())
        if is_running:
            loop.run_until_complete(collect())
    assert loop.get_task_factory() is None
    return logged


def channels_db() -> dict[str, object]:
    return {**vars(channels.db), **vars(channels.db.DatabaseSyncToAsync)}


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "closed"])
@pytest.mark.parametrize("make_cycle", [spied, in_its_scope])
def test_a_communicator_in_a_cycle_may_be_dropped(
    make_cycle: Callable[[Any], None], is_running: bool
) -> None:
    before = channels_db()
    parent = log_of_dropped(WebsocketCommunicator, make_cycle, is_running)
    ours = log_of_dropped(RecordingWebsocketCommunicator, make_cycle, is_running)
    assert ours == parent
    assert channels_db() == before


async def ignore_everything(communicator: WebsocketCommunicator) -> None:
    await communicator.send_input(CONNECT)


async def expect_the_close(communicator: WebsocketCommunicator) -> None:
    assert await communicator.connect() == (False, 4401)


async def receive_the_close(communicator: WebsocketCommunicator) -> None:
    await communicator.send_input(CONNECT)
    assert await communicator.receive_output() == CLOSE


async def miss_a_frame(communicator: WebsocketCommunicator) -> None:
    await communicator.send_input(CONNECT)
    with suppress(AssertionError):
        await communicator.receive_from()


@both_classes
@pytest.mark.parametrize(
    "use", [ignore_everything, expect_the_close, receive_the_close, miss_a_frame]
)
def test_asyncio_logs_an_exception_that_no_call_has_raised(
    communicator_class: CommunicatorClass,
    use: Callable[[WebsocketCommunicator], Awaitable[None]],
) -> None:
    async def main() -> None:
        communicator = communicator_class(sending(CLOSE, ending="raise"), "/")
        await use(communicator)
        await asyncio.wait([communicator.future])

    with logging_loop() as (loop, logged):
        loop.run_until_complete(main())
    assert logged == ["Task exception was never retrieved"]


def test_asyncio_logs_an_exception_that_the_records_have_shown() -> None:
    async def main() -> None:
        application = sending(ACCEPT, ending="raise")
        communicator = RecordingWebsocketCommunicator(application, "/")
        await communicator.connect()
        await asyncio.wait([communicator.future])
        read_all_records(communicator)

    with logging_loop() as (loop, logged):
        loop.run_until_complete(main())
    assert logged == ["Task exception was never retrieved"]


# Libraries that look at tasks.


class WithAnyio(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        with anyio.fail_after(LONG):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 0)
        await self.accept()

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self.send, text_data)


@both_classes
@pytest.mark.parametrize("is_eager", [False, True])
async def test_a_consumer_may_use_anyio(
    communicator_class: CommunicatorClass, is_eager: bool
) -> None:
    set_eager(is_eager)
    communicator = communicator_class(WithAnyio.as_asgi(), "/")
    assert await communicator.connect() == (True, None)
    await communicator.send_to("hello")
    assert await communicator.receive_from() == "hello"
    await communicator.disconnect()


@contextmanager
def opentelemetry() -> Iterator[None]:
    instrumentor = AsyncioInstrumentor()
    instrumentor.instrument()
    try:
        yield
    finally:
        instrumentor.uninstrument()


@contextmanager
def ddtrace() -> Iterator[None]:
    """Wrap what ddtrace 4 wraps, in the same way."""
    original = asyncio.BaseEventLoop.create_task

    def create_task(self: Any, coro: Any, **kwargs: Any) -> Any:
        async def traced_coro() -> Any:
            return await coro

        traced: Any = traced_coro()
        traced.__name__, traced.__qualname__ = coro.__name__, coro.__qualname__
        return original(self, traced, **kwargs)

    with patch.object(asyncio.BaseEventLoop, "create_task", create_task):
        yield


@pytest.mark.parametrize("instrument", [opentelemetry, ddtrace])
async def test_a_consumer_in_an_instrumented_loop_is_idle(
    instrument: Callable[[], Any],
) -> None:
    with instrument():
        communicator = RecordingWebsocketCommunicator(
            AsyncWebsocketConsumer.as_asgi(), "/"
        )
        assert await communicator.connect() == (True, None)
        error = await failure(communicator.receive_from(SHORT))
    assert isinstance(error, asyncio.TimeoutError)
    assert "The consumer is idle" in str(error)
    assert "waiting here" not in str(error)


# receive_nothing() looks at the queue once an interval.


async def sending_a_burst(scope: Any, receive: Any, put: Any) -> None:
    await receive()
    for text in "123":
        await asyncio.sleep(0.01)
        await put(send(text=text))
    await receive()


def run_in_virtual_time(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run it in a loop whose clock the parent uses, too."""
    loop = make_loop("plain")
    results: list[Any] = []

    async def run() -> None:
        results.append(await main())

    with patch.object(asgiref.testing, "time") as clock:
        clock.monotonic = loop.time
        assert not loop.run(run())
    loop.close()
    return results[0]


@both_classes
@pytest.mark.parametrize(
    ("timeout", "interval", "seconds", "texts"),
    [
        (1, 0.25, 0.25, "123"),  # all of the burst
        (1, 0.025, 0.025, "12"),
        (0.001, 0.25, 0.25, "123"),  # the interval has precedence over the timeout
        (0.024, 0.009, 0.018, "1"),
        (0, 1, 0, ""),
        (-1, 1, 0, ""),
    ],
)
def test_receive_nothing_returns_after_an_interval(
    communicator_class: CommunicatorClass,
    timeout: float,
    interval: float,
    seconds: float,
    texts: str,
) -> None:
    async def main() -> Any:
        communicator = communicator_class(sending_a_burst, "/")
        await communicator.send_input(CONNECT)
        nothing = await communicator.receive_nothing(timeout, interval)
        seconds = round(asyncio.get_running_loop().time(), 4)
        received = [event["text"] for event in drain(communicator.output_queue)]
        await communicator.disconnect()
        return nothing, seconds, "".join(received)

    assert run_in_virtual_time(main) == (not texts, seconds, texts)


@both_classes
@pytest.mark.parametrize(
    ("timeout", "interval", "seconds"), [(1, 0.3, 1.2), (0.1, 0.01, 0.1), (0.5, 3, 3)]
)
def test_receive_nothing_waits_for_whole_intervals(
    communicator_class: CommunicatorClass,
    timeout: float,
    interval: float,
    seconds: float,
) -> None:
    async def main() -> Any:
        communicator = communicator_class(returning, "/")
        await communicator.connect()
        nothing = await communicator.receive_nothing(timeout, interval)
        now = round(asyncio.get_running_loop().time(), 4)
        await communicator.disconnect()
        return nothing, now

    assert run_in_virtual_time(main) == (True, seconds)


# Classes that inherit from ours and from another library's.


@strawberry.type
class Query:
    hello: str = "hello"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number


class ChanxMixin:
    """What chanx's ``WebsocketCommunicatorMixin`` does, without its messages."""

    def __init__(
        self,
        application: Any,
        path: str,
        headers: Any = None,
        subprotocols: Any = None,
        spec_version: Any = None,
        *,
        consumer: Any,
    ) -> None:
        base: Any = super()
        base.__init__(application, path, headers, subprotocols, spec_version)
        self._connected = False
        self.consumer = consumer

    async def connect(self, timeout: float = 1) -> Any:
        result = await super().connect(timeout)  # type: ignore[misc]
        self._connected = True
        return result

    async def disconnect(self, code: int = 1000, timeout: float = 1) -> None:
        with suppress(asyncio.CancelledError):
            await super().disconnect(code, timeout)  # type: ignore[misc]

    async def receive_output(self, timeout: float = 1) -> Any:
        return await super().receive_output(timeout)  # type: ignore[misc]

    async def receive_json_from(self, timeout: float = 1) -> Any:
        return await super().receive_json_from(timeout)  # type: ignore[misc]

    async def send_json_to(self, data: Any) -> None:
        await super().send_json_to(data)  # type: ignore[misc]

    async def receive_all_json(self, timeout: float = 1) -> list[Any]:
        messages = []
        with suppress(asyncio.CancelledError, asyncio.TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    messages.append(await self.receive_json_from(timeout))
        return messages


class ChanxCommunicator(ChanxMixin, WebsocketCommunicator):
    pass


@pytest.mark.parametrize(
    "bases",
    [
        (GraphQLWebsocketCommunicator,),
        (GraphQLWebsocketCommunicator, RecordingWebsocketCommunicator),
        (RecordingWebsocketCommunicator, GraphQLWebsocketCommunicator),
    ],
    ids=["its own", "library first", "ours first"],
)
async def test_a_class_may_inherit_from_that_of_strawberry(bases: Any) -> None:
    schema = strawberry.Schema(query=Query, subscription=Subscription)
    application = GraphQLWSConsumer.as_asgi(schema=schema)
    communicator: Any = type("Both", bases, {})(
        application, "/graphql", [(b"a", b"b")], connection_params={"token": "new"}
    )
    assert communicator.scope["headers"] == [(b"a", b"b")]
    assert communicator.scope["subprotocols"] == ["graphql-transport-ws"]
    await communicator.gql_init()
    results = communicator.subscribe(query="subscription { count(to: 3) }")
    assert [it.data["count"] async for it in results] == [0, 1, 2]
    await communicator.disconnect()


@pytest.mark.parametrize(
    "bases",
    [
        (ChanxCommunicator,),
        (ChanxMixin, RecordingWebsocketCommunicator),
        (ChanxCommunicator, RecordingWebsocketCommunicator),
        (RecordingWebsocketCommunicator, ChanxCommunicator),
    ],
    ids=["its own", "mixin", "library first", "ours first"],
)
async def test_a_class_may_inherit_from_that_of_chanx(bases: Any) -> None:
    communicator: Any = type("Both", bases, {})(
        echo, "/", subprotocols=["chat"], consumer=AsyncWebsocketConsumer
    )
    assert communicator.scope["subprotocols"] == ["chat"]
    assert communicator.consumer is AsyncWebsocketConsumer
    assert await communicator.connect() == (True, None)
    # With ours first, the connect() of the mixin is behind ours.
    assert communicator._connected or bases[0] is RecordingWebsocketCommunicator
    await communicator.send_json_to({"a": 1})
    await communicator.send_json_to({"a": 2})
    assert await communicator.receive_all_json(SHORT) == [{"a": 1}, {"a": 2}]
    await communicator.disconnect()

"""
What the parent does, and a random driver or the suite of a project has once missed.

The tests with ``both_classes`` are what the parent does.
"""

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import AsyncMock

import anyio
import pytest
import strawberry
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.testing import WebsocketCommunicator
from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
from strawberry.channels import GraphQLWSConsumer
from strawberry.channels.testing import GraphQLWebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, CONNECT, DISCONNECT, FRAME
from tests.helpers import (
    LONG,
    SHORT,
    CommunicatorClass,
    both_classes,
    failure,
    read_all_records,
)
from tests.parent.applications import connected, echo, sending
from tests.scripts import Boom
from tests.tools.driver import channels_db
from tests.virtual_time import EAGER, run


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


async def send_later(send: Any) -> None:
    await asyncio.sleep(SHORT)
    await send(FRAME)


async def leaving_a_task(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    scope["task"] = asyncio.create_task(send_later(send))
    await send(ACCEPT)


async def sending_soon(scope: Any, receive: Any, send: Any) -> None:
    def start() -> None:
        scope["task"] = asyncio.create_task(send(FRAME))

    await receive()
    await send(ACCEPT)
    asyncio.get_running_loop().call_soon(start)


def starting_a_task(*pauses: float) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def start() -> None:
            for pause in pauses:
                await asyncio.sleep(pause)
            scope["inner"] = asyncio.create_task(send_later(send))

        await receive()
        scope["outer"] = asyncio.create_task(start())
        await send(ACCEPT)

    return application


@both_classes
@pytest.mark.parametrize("is_eager", [False, True])
@pytest.mark.parametrize(
    "application",
    [leaving_a_task, sending_soon, starting_a_task(), starting_a_task(SHORT)],
)
@pytest.mark.parametrize(
    ("name", "expected"), [("receive_output", FRAME), ("receive_nothing", False)]
)
async def test_there_is_a_frame_from_a_task_that_outlives_the_application(
    communicator_class: CommunicatorClass,
    is_eager: bool,
    application: Any,
    name: str,
    expected: object,
) -> None:
    set_eager(is_eager)
    communicator = await connected(communicator_class, application)
    assert communicator.future.done()
    assert await getattr(communicator, name)(LONG) == expected


@both_classes
async def test_there_is_a_frame_from_a_task_that_outlives_a_stopped_application(
    communicator_class: CommunicatorClass,
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await leaving_a_task(scope, receive, send)
        await receive()

    communicator = await connected(communicator_class, application)
    communicator.stop()
    assert await communicator.receive_output(LONG) == FRAME


@both_classes
async def test_many_cancellations(communicator_class: CommunicatorClass) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for number in range(5):
            error = await failure(asyncio.sleep(LONG))
            assert error.args == (number,)

    communicator = communicator_class(application, "/")
    communicator.future
    call = asyncio.create_task(communicator.wait(LONG))
    for number in range(5):  # as anyio does
        await asyncio.sleep(0)
        call.cancel(number)
    await asyncio.wait([call])
    assert communicator.future.result() is None


@pytest.mark.parametrize("name", ["connect", "wait", "receive_output"])
@both_classes
async def test_an_application_that_cannot_be_called(
    communicator_class: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def application(scope: object) -> None: ...

    with pytest.raises(TypeError, match="positional argument"):
        await getattr(communicator_class(application, "/"), name)(timeout=0)
    await asyncio.sleep(0)
    assert not caplog.records


async def cleaning_up(scope: Any, receive: Any, send: Any) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await scope.get("clean", asyncio.sleep)(LONG)


@both_classes
@pytest.mark.parametrize("name", ["wait", "disconnect"])
async def test_a_crash_is_raised_through_a_cancel_scope_of_anyio(
    communicator_class: CommunicatorClass, name: str
) -> None:
    communicator: Any = communicator_class(cleaning_up, "/")
    communicator.scope["clean"] = None  # which cannot be called
    with pytest.raises(TypeError), anyio.move_on_after(SHORT):
        await getattr(communicator, name)(timeout=LONG)


@both_classes
def test_a_cancelled_call_still_expires(communicator_class: CommunicatorClass) -> None:
    async def main() -> float:
        call = asyncio.create_task(communicator_class(cleaning_up, "/").wait(0.2))
        await asyncio.sleep(0.1)
        call.cancel()
        await call
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(0.2, abs=0.01)


@both_classes
async def test_waiting_for_itself(communicator_class: CommunicatorClass) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await communicator.wait()

    communicator = communicator_class(application, "/")
    with pytest.raises(RuntimeError):
        await communicator.wait(LONG)


@both_classes
async def test_receive_nothing_goes_on(communicator_class: CommunicatorClass) -> None:
    communicator = await connected(communicator_class, echo)
    await communicator.send_to("a")
    reader = asyncio.create_task(communicator.receive_from(LONG))
    nothing = asyncio.create_task(communicator.receive_nothing(LONG, 0.01))
    assert await reader == "a"
    await asyncio.wait([nothing], timeout=5 * 0.01)
    await communicator.send_to("b")
    assert await nothing is False


async def test_a_call_ends_with_the_last_task_if_the_application_has_returned() -> None:
    communicator = RecordingWebsocketCommunicator(leaving_a_task, "/")
    await communicator.connect()
    assert await communicator.receive_from(LONG) == FRAME["text"]
    call = asyncio.wait_for(communicator.receive_output(2 * LONG), LONG)
    assert "the application has returned" in str(await failure(call))


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
@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_an_event_is_for_the_reader_that_waits_first_and_is_not_cancelled(
    communicator_class: CommunicatorClass, first: str, is_cancelled: bool
) -> None:
    communicator = await connected(communicator_class)
    calls = [communicator.output_queue.get(), communicator.receive_output(LONG)]
    if first == "receive_output":
        calls.reverse()
    readers = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    communicator.output_queue.put_nowait("1")
    if is_cancelled:
        readers.pop(0).cancel()
    else:
        communicator.output_queue.put_nowait("2")
    events: list[Any] = await asyncio.wait_for(asyncio.gather(*readers), LONG)
    assert events == (["1"] if is_cancelled else ["1", "2"])
    await communicator.disconnect()


# wait() on an application that has just raised.


@both_classes
@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "timed out"])
async def test_wait_returns_if_the_application_raises_just_before(
    communicator_class: CommunicatorClass,
    is_cancelled: bool,
    caplog: pytest.LogCaptureFixture,
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
    assert isinstance(communicator.future._exception, Boom)
    del communicator
    gc.collect()
    assert not caplog.records  # although nobody has retrieved it


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


async def ignore_the_close(communicator: WebsocketCommunicator) -> None:
    await communicator.send_input(CONNECT)
    assert await communicator.receive_output() == CLOSE


async def miss_a_frame(communicator: WebsocketCommunicator) -> None:
    await communicator.send_input(CONNECT)
    with suppress(AssertionError):
        await communicator.receive_from()


async def show_it(communicator: WebsocketCommunicator) -> None:
    assert await communicator.connect() == (False, 4401)
    await asyncio.wait([communicator.future])
    if isinstance(communicator, RecordingWebsocketCommunicator):
        read_all_records(communicator)


@both_classes
@pytest.mark.parametrize("use", [ignore_the_close, miss_a_frame, show_it])
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


# Libraries that look at tasks.


class WithAnyio(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        with anyio.fail_after(LONG):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 0)
        await self.accept()


@both_classes
@pytest.mark.parametrize("is_eager", [False, True])
async def test_a_consumer_may_use_anyio(
    communicator_class: CommunicatorClass, is_eager: bool
) -> None:
    set_eager(is_eager)
    await (await connected(communicator_class, WithAnyio.as_asgi())).disconnect()


async def test_a_consumer_in_an_instrumented_loop_is_idle() -> None:
    instrumentor = AsyncioInstrumentor()
    instrumentor.instrument()
    try:
        application = AsyncWebsocketConsumer.as_asgi()
        communicator = await connected(RecordingWebsocketCommunicator, application)
        error = await failure(communicator.receive_from(SHORT))
    finally:
        instrumentor.uninstrument()
    assert isinstance(error, asyncio.TimeoutError)
    assert "the application is idle" in str(error)
    assert "waiting here" not in str(error)


# A class that inherits from ours and from a library's, with arguments of its own.


@strawberry.type
class Query:
    hello: str = "hello"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number


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

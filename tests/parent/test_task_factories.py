"""
Every event loop and task factory may be used, and has its factory again afterwards.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import uvloop
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CONNECT, FRAME
from tests.helpers import LONG, CommunicatorClass, both_classes, failure
from tests.parent.applications import connected, echo
from tests.scripts import Boom
from tests.virtual_time import EAGER

Factory = Callable[..., "asyncio.Task[Any]"]


def own_factory(loop: Any, coroutine: Any, **kwargs: Any) -> "asyncio.Task[Any]":
    return asyncio.Task(coroutine, loop=loop, **kwargs)


def eager_factory(
    loop: Any, coroutine: Any, eager_start: object = None, **kwargs: Any
) -> "asyncio.Task[Any]":
    """Leave out what uvloop says and the factory of Python 3.13.0 does not take."""
    task: "asyncio.Task[Any]" = EAGER(loop, coroutine, **kwargs)
    return task


needs_eager_tasks = pytest.mark.skipif(
    EAGER is None, reason="Python 3.11 has no eager tasks."
)
each_factory = pytest.mark.parametrize(
    "factory",
    [None, own_factory, pytest.param(eager_factory, marks=needs_eager_tasks)],
    ids=["none", "own", "eager"],
)


def set_factory(factory: Any) -> None:
    asyncio.get_running_loop().set_task_factory(factory)


async def working(scope: Any, receive: Any, send: Any) -> None:
    """Starts a task for each event that it answers."""
    await receive()
    await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        if event["text"] == "crash":
            raise Boom("boom")
        await asyncio.create_task(send(FRAME))


async def assert_works(communicator: WebsocketCommunicator) -> None:
    await communicator.send_to("text")
    assert await communicator.receive_output() is FRAME


async def crash(communicator: WebsocketCommunicator) -> None:
    await communicator.send_to("crash")
    await asyncio.wait([communicator.future])
    with pytest.raises(Boom):
        await communicator.receive_from()


async def time_out(communicator: WebsocketCommunicator) -> None:
    with pytest.raises(TimeoutError):
        await communicator.receive_from(0.01)


async def leave_block_that_raises(it: Any) -> None:
    with suppress(Boom):
        async with it:
            raise Boom


ENDS: list[Callable[[Any], Awaitable[object]]] = [
    lambda it: it.disconnect(),
    lambda it: it.wait(0),
    crash,
    time_out,
]
OUR_ENDS = [*ENDS, leave_block_that_raises]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@each_factory
@pytest.mark.parametrize(
    ("communicator_class", "end"),
    [
        *[(WebsocketCommunicator, it) for it in ENDS],
        *[(RecordingWebsocketCommunicator, it) for it in OUR_ENDS],
    ],
)
def test_the_task_factory_is_as_before_when_the_application_has_ended(
    loop: Callable[[], asyncio.AbstractEventLoop],
    factory: Factory | None,
    communicator_class: CommunicatorClass,
    end: Callable[[WebsocketCommunicator], Awaitable[object]],
) -> None:
    async def use() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        for _ in range(2):
            communicator = await connected(communicator_class, working)
            await assert_works(communicator)
            await end(communicator)
            assert communicator.future.done()
            assert loop.get_task_factory() is factory

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(use())


async def holding(scope: Any, receive: Any, send: Any) -> None:
    """Starts a task that goes on until the application has ended."""
    await receive()
    await send(ACCEPT)
    await receive()
    task = asyncio.create_task(asyncio.sleep(LONG))
    await receive()
    task.cancel()
    await asyncio.wait([task])


@both_classes
@each_factory
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_task_factory_is_as_before_when_the_last_application_has_ended(
    communicator_class: CommunicatorClass,
    factory: Factory | None,
    order: tuple[int, int],
) -> None:
    set_factory(factory)
    communicators = [await connected(communicator_class, holding) for _ in range(2)]
    first, last = [communicators[index] for index in order]
    for communicator in (first, last):
        await communicator.send_to("text")
        await asyncio.sleep(0)
        if isinstance(communicator, RecordingWebsocketCommunicator):
            # Also after another application has ended.
            assert len(communicator.running_tasks) == 1
        await communicator.disconnect()
    assert asyncio.get_running_loop().get_task_factory() is factory


@both_classes
async def test_a_task_factory_that_the_test_sets_meanwhile_stays(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(communicator_class, working)
    set_factory(own_factory)
    for _ in range(2):
        await assert_works(communicator)
        await communicator.disconnect()
        assert asyncio.get_running_loop().get_task_factory() is own_factory
        communicator = await connected(communicator_class, working)
    await communicator.disconnect()


@both_classes
async def test_a_task_factory_that_the_test_sets_and_restores_leaves_none_of_ours(
    communicator_class: CommunicatorClass,
) -> None:
    """A fixture that restores what it has found ends after the application."""
    communicator = await connected(communicator_class)
    found = asyncio.get_running_loop().get_task_factory()
    set_factory(own_factory)
    await communicator.disconnect()
    set_factory(found)
    # At the latest, the next communicator restores the original.
    await (await connected(communicator_class)).disconnect()
    assert asyncio.get_running_loop().get_task_factory() is None


@both_classes
@pytest.mark.parametrize("is_recorded", [False, True])
async def test_the_tasks_of_the_application_are_made_by_the_factory_of_the_test(
    communicator_class: CommunicatorClass, is_recorded: bool
) -> None:
    variable = contextvars.ContextVar("variable", default="")
    context = contextvars.Context()
    context.run(variable.set, "of the context")
    seen: list[object] = []

    def recording_factory(*args: Any, **kwargs: Any) -> "asyncio.Task[Any]":
        seen.append(args[1].__name__)
        return own_factory(*args, **kwargs)

    async def work() -> None:
        task: Any = asyncio.current_task()
        seen.extend([task.get_name(), variable.get()])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.create_task(work(), name="named", context=context)

    set_factory(recording_factory if is_recorded else None)
    communicator = communicator_class(application, "/")
    await communicator.send_input(CONNECT)
    await asyncio.wait([communicator.future])
    made = ["application", "work"] if is_recorded else []
    assert seen == [*made, "named", "of the context"]


async def test_an_application_that_cannot_be_called_leaves_no_task_factory() -> None:
    async def application() -> None:
        pass

    communicator: Any = RecordingWebsocketCommunicator(application, "/")  # type: ignore
    assert type(await failure(communicator.connect())) is TypeError
    assert asyncio.get_running_loop().get_task_factory() is None


# An eager task takes its first step when it is created.


@both_classes
@needs_eager_tasks
async def test_an_eager_application_may_send_in_its_first_step(
    communicator_class: CommunicatorClass,
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send(FRAME)
        await receive()
        await echo(scope, receive, send)

    set_factory(eager_factory)
    communicator = await connected(communicator_class, application)
    assert await communicator.receive_output() is FRAME
    await communicator.send_to("text")
    assert await communicator.receive_output() is ACCEPT
    await communicator.disconnect()
    assert not communicator.future.cancelled()


@needs_eager_tasks
@pytest.mark.parametrize(
    ("communicator_class", "use"),
    [
        *[(WebsocketCommunicator, it) for it in ("connect", "receive_output", "wait")],
        *[(RecordingWebsocketCommunicator, it) for it in ("connect", "wait", "block")],
    ],
)
async def test_an_eager_application_may_raise_in_its_first_step(
    communicator_class: CommunicatorClass, use: str
) -> None:
    boom = Boom("boom")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise boom

    async def block() -> None:
        async with communicator:  # type: ignore[attr-defined]
            communicator.future

    set_factory(eager_factory)
    communicator = communicator_class(application, "/")
    call = block if use == "block" else getattr(communicator, use)
    assert await failure(call()) is boom
    assert asyncio.get_running_loop().get_task_factory() is eager_factory


@needs_eager_tasks
async def test_an_eager_application_may_return_in_its_first_step() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)

    set_factory(eager_factory)
    async with RecordingWebsocketCommunicator(application, "/") as communicator:
        communicator.future
    assert [event for _, event, *_ in communicator.transcript.records] == [ACCEPT]
    assert asyncio.get_running_loop().get_task_factory() is eager_factory

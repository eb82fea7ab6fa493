"""Crashes that no call of the test has come upon."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning
from tests.helpers import LONG, failure, line_of, only_note
from tests.scripts import Boom
from tests.virtual_time import run


class Working(AsyncWebsocketConsumer):
    """Does in a task what a subclass says, and answers a frame when that is done."""

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.work()
        await self.send("done")

    async def work(self) -> None:
        self.start()

    def start(self) -> "asyncio.Task[None]":
        return asyncio.create_task(self.fail())

    async def fail(self) -> None:
        raise Boom("in a task")  # in a task


class NotHeld(Working):
    async def work(self) -> None:
        self.start()
        await asyncio.sleep(0)
        gc.collect()


async def by_try(task: "asyncio.Task[None]") -> None:
    try:
        await task
    except Boom:
        pass


async def by_gather(task: "asyncio.Task[None]") -> None:
    await asyncio.gather(task, return_exceptions=True)


async def by_looking(task: "asyncio.Task[None]") -> None:
    await asyncio.wait([task])
    assert isinstance(task.exception(), Boom)


async def by_callback(task: "asyncio.Task[None]") -> None:
    task.add_done_callback(lambda task: task.exception())


async def by_group(task: "asyncio.Task[None]") -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(by_gathering(task))
    except* Boom:
        pass


async def by_gathering(task: "asyncio.Task[None]") -> None:
    await asyncio.gather(task)


def retrieving(how: Callable[..., Awaitable[object]]) -> type[Working]:
    class Retrieving(Working):
        async def work(self) -> None:
            await how(self.start())

    return Retrieving


Converse = Callable[[RecordingWebsocketCommunicator], Awaitable[object]]


async def converse(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.connect()
    await communicator.send_to("work")
    assert await communicator.receive_from(LONG) == "done"


async def leave(
    consumer: type[AsyncWebsocketConsumer], inside: Converse = converse
) -> RecordingWebsocketCommunicator:
    async with RecordingWebsocketCommunicator(consumer.as_asgi(), "/ws/") as it:
        await inside(it)
    return it


# The end of ``async with``.


@pytest.mark.parametrize("consumer", [Working, NotHeld])
async def test_a_task_of_the_consumer_has_failed(
    consumer: type[Working], caplog: pytest.LogCaptureFixture
) -> None:
    error = await failure(leave(consumer))
    assert type(error) is Boom
    line = line_of('raise Boom("in a task")  # in a task', __file__)
    assert (
        f"              a task of the application raised tests.scripts.Boom: in a task,"
        f" tests/failures/test_unseen_crashes.py:{line}\n" in only_note(error)
    )
    # asyncio logs it when the communicator is gone.
    assert not caplog.records
    error.__traceback__ = None
    gc.collect()
    [record] = caplog.records
    assert record.message.startswith("Task exception was never retrieved")


@pytest.mark.parametrize("how", [by_try, by_gather, by_looking, by_callback, by_group])
async def test_what_the_consumer_has_retrieved_is_not_raised(
    how: Callable[..., Awaitable[object]], caplog: pytest.LogCaptureFixture
) -> None:
    await leave(retrieving(how))
    gc.collect()
    assert not caplog.records


async def test_what_the_consumer_passes_on_is_raised_by_the_application() -> None:
    assert type(await failure(leave(retrieving(by_gathering)))) is Boom


class Crashing(Working):
    async def disconnect(self, code: int) -> None:
        raise KeyError("application")


class Twice(Working):
    """Starts a task that fails after it has started another one that fails."""

    async def fail(self) -> None:
        asyncio.create_task(super().fail())
        raise KeyError("first")

    async def work(self) -> None:
        self.start()
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.mark.parametrize("consumer", [Crashing, Twice])
async def test_the_application_or_the_first_task_is_raised_and_the_others_are_shown(
    consumer: type[Working],
) -> None:
    error = await failure(leave(consumer))
    assert type(error) is KeyError
    assert "a task of the application raised tests.scripts.Boom" in only_note(error)


async def send_too_early(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.send_to("a")  # too early


@pytest.mark.parametrize("inside", [converse, send_too_early])
async def test_nothing_takes_the_place_of_what_the_block_raises(
    inside: Converse,
) -> None:
    async def fail(communicator: RecordingWebsocketCommunicator) -> None:
        await inside(communicator)
        raise ZeroDivisionError

    assert type(await failure(leave(Working, fail))) is ZeroDivisionError


async def test_frames_without_connect_issue_a_warning() -> None:
    with pytest.warns(UndeliverableWarning) as warnings:
        await leave(AsyncWebsocketConsumer, send_too_early)
    [warning] = warnings
    line = line_of('await communicator.send_to("a")  # too early', __file__)
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert str(warning.message) == (
        f"tests/failures/test_unseen_crashes.py:{line}: receive a\n"
        "  a frame before the handshake is accepted: no client can send that.\n"
        "  Send it after connect() has returned (True, subprotocol)."
    )


# ``strict``.


class Strict(RecordingWebsocketCommunicator):
    strict = True


async def test_strict_raises_it_once_the_application_is_idle() -> None:
    communicator = Strict(NotHeld.as_asgi(), "/ws/")
    with pytest.raises(Boom):
        await converse(communicator)
        await communicator.receive_nothing()
    assert await communicator.receive_nothing()  # each once
    await communicator.disconnect()


async def test_strict_waits_until_the_consumer_may_have_retrieved_it() -> None:
    class Later(Working):
        async def work(self) -> None:
            task = self.start()
            await asyncio.wait([task])
            await self.send("failed")
            await gate.wait()
            await by_try(task)

    gate = asyncio.Event()
    communicator = Strict(Later.as_asgi(), "/ws/")
    await communicator.connect()
    await communicator.send_to("work")
    assert await communicator.receive_from(LONG) == "failed"
    gate.set()
    assert await communicator.receive_from(LONG) == "done"
    await communicator.disconnect()


@pytest.mark.parametrize("strict", [False, True])
async def test_receive_nothing_of_an_application_that_crashes(strict: bool) -> None:
    class Crashing(Working):
        work = Working.fail

    communicator = RecordingWebsocketCommunicator(Crashing.as_asgi(), "/ws/")
    communicator.strict = strict
    await communicator.connect()
    await communicator.send_to("a")
    if strict:
        assert type(await failure(communicator.receive_nothing(LONG))) is Boom
    else:
        assert await communicator.receive_nothing(LONG)
    assert type(await failure(communicator.wait())) is Boom


# A handler that takes too long.


def test_a_disconnect_that_is_cut_off_is_shown_with_its_line() -> None:
    code = "await asyncio.get_running_loop().create_future()  # never ends"

    class Slow(AsyncWebsocketConsumer):
        async def disconnect(self, code: int) -> None:
            await asyncio.get_running_loop().create_future()  # never ends

    async def cut_off() -> str:
        communicator = RecordingWebsocketCommunicator(Slow.as_asgi(), "/ws/")
        await communicator.connect()
        await communicator.disconnect()
        return str(communicator.transcript)

    place = f"tests/failures/test_unseen_crashes.py:{line_of(code, __file__)}"
    assert f"the application was cancelled at {place}\n" in run(cut_off())


def test_an_application_that_was_idle_is_not_shown_as_cut_off() -> None:
    async def time_out() -> str:
        application = AsyncWebsocketConsumer.as_asgi()
        communicator = RecordingWebsocketCommunicator(application, "/ws/")
        await communicator.connect()
        with pytest.raises(TimeoutError):
            await communicator.receive_output()
        return str(communicator.transcript)

    assert "the application was cancelled\n" in run(time_out())

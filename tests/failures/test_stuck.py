"""Where a failure says that the application, its thread and its tasks are waiting."""

import asyncio
import gc
import logging
import sys
import threading
import time
import types
import weakref
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.urls import path

from channels_closetest import RecordingWebsocketCommunicator
from tests.calls.timing import turns
from tests.events import ACCEPT, CONNECT
from tests.failures.texts import (
    HOW_TO_UNBLOCK,
    IDLE,
    UNANSWERED,
    WAITING_HERE,
    lines_of,
    timed_out,
)
from tests.helpers import client, frame_of, line_of, message
from tests.scripts import Boom, Script, scripted
from tests.virtual_time import run


def ours(function: str, code: str) -> str:
    """Return the frame of this line of code in this module."""
    return frame_of(function, code, __file__)


#: The stack of a consumer in which no frame is of the project.
CHANNELS = """\
  File "channels/consumer.py", in app
    return await consumer(scope, receive, send)
  File "channels/consumer.py", in __call__
    await await_many_dispatch(
  File "channels/utils.py", in await_many_dispatch
    await dispatch(result)
  (asgiref)
"""


def waits(*frames: str) -> str:
    """Return where the application is waiting."""
    return "".join([WAITING_HERE, *frames, HOW_TO_UNBLOCK])


# Applications that wait forever.


class AsyncWaiting(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.greet()

    async def greet(self) -> None:
        await asyncio.get_running_loop().create_future()  # greets


class Awaited:
    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.get_running_loop().create_future()  # is awaited


async def awaiting_an_object(scope: object, receive: object, send: object) -> None:
    await Awaited()


async def awaiting_a_task(scope: object, receive: object, send: object) -> None:
    task = asyncio.ensure_future(Delegating(()).hang())
    await task  # in an application


GREETS = "await asyncio.get_running_loop().create_future()  # greets"
IS_AWAITED = "yield from asyncio.get_running_loop().create_future()  # is awaited"
HANGS = ours("hang", "await self.hang_deeply()") + ours(
    "hang_deeply", "await held[-1]  # works"
)
ITS_TASK = "It has a task that is waiting here (most recent call last):\n"
SILENT: Any = scripted(Script(()), "async")
#: An application, and what is said of it.
APPLICATIONS: dict[str, tuple[Any, str]] = {
    "an idle consumer behind a router": (URLRouter([path("ws/", SILENT)]), UNANSWERED),
    "a chain of coroutines": (
        AsyncWaiting.as_asgi(),
        waits(ours("connect", "await self.greet()"), ours("greet", GREETS)),
    ),
    "an object": (
        awaiting_an_object,
        waits(
            ours("awaiting_an_object", "await Awaited()"), ours("__await__", IS_AWAITED)
        ),
    ),
    "a task, in no consumer": (
        awaiting_a_task,
        waits(
            ours("awaiting_a_task", "await task  # in an application"), ITS_TASK, HANGS
        ),
    ),
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_await_of_an_application_is_shown(name: str) -> None:
    application, where = APPLICATIONS[name]
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    assert run(message(communicator.connect(0.2))) == timed_out("connect", where)


# Threads.


class Gate:
    """
    What a thread waits at.

    A lock, because waiting for it adds no frame of Python to the stack.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def pass_through(self) -> None:
        with self.lock:  # passes
            pass

    def is_reached(self) -> bool:
        """Whether a thread is at the line that waits."""
        code = Gate.pass_through.__code__
        return any(
            frame.f_code is code and frame.f_lineno > code.co_firstlineno
            for frame in sys._current_frames().values()
        )

    async def wait_until_reached(self) -> None:
        while not self.is_reached():
            await asyncio.sleep(0.01)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    with gate.lock:
        gates[:] = [gate]
        yield gate
    while gate.is_reached():
        time.sleep(0.01)


class SyncBlocking(WebsocketConsumer):
    def connect(self) -> None:
        gates[0].pass_through()


class Querying(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await database_sync_to_async(gates[0].pass_through)()


QUERIES = "await database_sync_to_async(gates[0].pass_through)()"
BLOCKS = ours("connect", "gates[0].pass_through()")
PASSES = ours("pass_through", "with self.lock:  # passes")
IN_THREAD = BLOCKS + PASSES


async def blocked(consumer: Any, gate: Gate) -> RecordingWebsocketCommunicator:
    """Return a communicator whose consumer waits in its thread."""
    communicator = RecordingWebsocketCommunicator(consumer.as_asgi(), "/ws/")
    await communicator.send_input(CONNECT)
    await gate.wait_until_reached()
    return communicator


async def assert_waits(communicator: RecordingWebsocketCommunicator, text: str) -> None:
    shown = await message(communicator.connect(0.2))
    assert shown == timed_out("connect", f"{WAITING_HERE}{text}")


@pytest.mark.parametrize(
    ("consumer", "text"),
    [(SyncBlocking, IN_THREAD), (Querying, ours("connect", QUERIES) + PASSES)],
)
async def test_a_consumer_that_waits_for_its_thread(
    consumer: Any, text: str, gate: Gate
) -> None:
    communicator = await blocked(consumer, gate)
    await assert_waits(communicator, text + HOW_TO_UNBLOCK)


async def test_a_consumer_that_waits_for_a_thread_blocked_by_another(
    gate: Gate,
) -> None:
    other = await blocked(SyncBlocking, gate)
    waiting = client(ACCEPT, kind="sync")
    await waiting.send_input(CONNECT)
    await turns(20)  # until it waits, too
    await assert_waits(
        waiting,
        f"{CHANNELS}"
        "It is waiting for a thread. The threads of asgiref are here:\n"
        f"{IN_THREAD}Unblock them, or pass a longer timeout.",
    )
    other.stop()


async def test_threads_that_cannot_be_told_apart_are_shown_without_a_claim(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a version of asgiref whose local variables have other names."""
    call: Any = SyncToAsync.__call__
    names = ["work" if it == "child" else it for it in call.__code__.co_varnames]
    assert names != list(call.__code__.co_varnames)
    code = call.__code__.replace(co_varnames=tuple(names))
    renamed = types.FunctionType(code, call.__globals__, closure=call.__closure__)
    monkeypatch.setattr(SyncToAsync, "__call__", renamed)
    await assert_waits(
        await blocked(SyncBlocking, gate),
        f"{CHANNELS}"
        "It is waiting for a thread. The threads of asgiref are here:\n"
        f"{IN_THREAD}Unblock them, or pass a longer timeout.",
    )


# Tasks that the consumer has started.


class Delegating(AsyncWebsocketConsumer):
    """Lets tasks of its own do the works, one for each event."""

    keeps = True

    def __init__(self, works: Iterable[str]) -> None:
        super().__init__()
        self.works = iter(works)
        self.tasks: list[asyncio.Task[None]] = []

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        task = asyncio.create_task(getattr(self, next(self.works))())
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


class Waiting(Delegating):
    """Waits beside its task."""

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await super().receive(text_data, bytes_data)
        await asyncio.get_running_loop().create_future()  # waits beside it


#: What the tasks of Delegating wait for.
held: list[Any] = []
#: For the threads.
gates: list[Gate] = []


def communicator_for(
    consumer: type[Delegating], *works: str
) -> RecordingWebsocketCommunicator:
    return RecordingWebsocketCommunicator(consumer.as_asgi(works=works), "/ws/")


async def delegate(communicator: WebsocketCommunicator, works: Iterable[str]) -> None:
    """Let the consumer start its tasks."""
    await communicator.connect()
    for work in works:
        await communicator.send_to(work)


RAISED = "raised tests.scripts.Boom: in a task, tests/failures/test_stuck.py:" + str(
    line_of('raise Boom("in a task")  # dies', __file__)
)
HAS_RAISED = f"a task that the application started has {RAISED}"
TASK = "The application has a task that is waiting here (most recent call last):\n"
DELEGATES = "await asyncio.create_task(self.hang_deeply())  # delegates"
WORKS = ours("hang_deeply", "await held[-1]  # works")
WAITS = "await asyncio.get_running_loop().create_future()  # waits beside it"
#: What is said of an idle consumer whose tasks do these works.
TASKS: dict[tuple[str, ...], str] = {
    ("hang",): f"{TASK}{HANGS}{HOW_TO_UNBLOCK}",
    ("delegate",): (
        TASK + ours("delegate", DELEGATES) + ITS_TASK + WORKS + HOW_TO_UNBLOCK
    ),
    ("die",): f"{HAS_RAISED}\nThe application is idle. Fix that task first.",
    ("die", "die"): (
        f"{HAS_RAISED}\nA{HAS_RAISED[1:]}.\n"
        "The application is idle. Fix that task first."
    ),
    ("finish",): IDLE,
    ("cancel",): IDLE,
    ("hang", "die", "finish", "hang"): (
        f"{HAS_RAISED}\n{TASK}{HANGS}{ITS_TASK}{HANGS}{HOW_TO_UNBLOCK}"
    ),
}


def failure_of(consumer: type[Delegating], *works: str) -> str:
    communicator = communicator_for(consumer, *works)

    async def fail() -> str:
        await delegate(communicator, works)
        # Nothing can run any more when the clock of the test moves.
        await asyncio.sleep(1)
        gc.collect()
        text = await message(communicator.receive_from(0.2))
        tasks = [it for it in lines_of(communicator.transcript) if "a task of" in it]
        assert tasks == [f"a task of the application {RAISED}"] * works.count("die")
        return text

    return run(fail())


@pytest.mark.parametrize("works", TASKS, ids=" ".join)
@pytest.mark.parametrize("consumer", [Delegating, Forgetting])
def test_the_tasks_that_a_consumer_has_started_are_shown(
    consumer: type[Delegating], works: tuple[str, ...]
) -> None:
    text = failure_of(consumer, *works)
    assert text == timed_out("receive_from", TASKS[works])


def test_a_handler_that_waits_beside_a_task_is_shown_with_it() -> None:
    where = waits(ours("receive", WAITS), ITS_TASK, HANGS)
    assert failure_of(Waiting, "hang") == timed_out("receive_from", where)


def test_the_tasks_of_another_application_are_not_shown() -> None:
    async def fail() -> str:
        await delegate(communicator_for(Delegating, "hang"), ["hang"])
        other = client(ACCEPT)
        await other.connect()
        theirs = asyncio.ensure_future(Delegating(()).hang())
        text = await message(other.receive_from(0.2))
        theirs.cancel()
        return text

    assert run(fail()) == timed_out("receive_from", IDLE)


async def test_a_task_that_waits_for_a_thread(gate: Gate) -> None:
    communicator = communicator_for(Delegating, "wait_for_thread")
    await delegate(communicator, ["wait_for_thread"])
    await gate.wait_until_reached()
    text = await message(communicator.receive_from(0.2))
    code = "await sync_to_async(gates[0].pass_through)()  # waits for a thread"
    assert "idle" not in text
    assert text.startswith(
        timed_out("receive_from", TASK + ours("wait_for_thread", code))
    )


@pytest.mark.parametrize("work", ["die", "finish", "hang"])
def test_no_event_loop_is_kept_alive(
    work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def converse() -> "weakref.ref[asyncio.AbstractEventLoop]":
        with suppress(Boom):
            async with communicator_for(Delegating, work) as communicator:
                await delegate(communicator, [work])
                await communicator.receive_nothing(0.01)
        return weakref.ref(asyncio.get_running_loop())

    # What is logged holds the frames of what was raised.
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
    references = [asyncio.run(converse()) for _ in range(10)]
    held.clear()
    gc.collect()
    # Threads of asgiref keep the last ones that they have served.
    assert len([it for it in references if it() is not None]) < 5

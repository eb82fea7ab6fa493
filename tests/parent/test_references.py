"""
No reference keeps a communicator or its application, where the parent leaves none.
"""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, CONNECT, FRAME
from tests.helpers import (
    LONG,
    SHORT,
    CommunicatorClass,
    both_classes,
    ignore_undeliverable,
)
from tests.scripts import Boom, Kind, Script, scripted

pytestmark = ignore_undeliverable


@contextmanager
def garbage() -> Iterator[list[object]]:
    """Yield a list that then has all garbage which only a collection frees."""
    found: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def is_ours(thing: object) -> bool:
    cls = thing if isinstance(thing, type) else type(thing)
    owner = getattr(thing, "__self__", None)  # of a bound method
    return any(
        it.__module__.startswith("channels_closetest.") for it in (cls, type(owner))
    )


async def respond(it: Any) -> None:
    await it.connect()
    await it.send_to("text")
    await it.disconnect()


async def read_records(it: Any) -> None:
    await respond(it)
    if isinstance(it, RecordingWebsocketCommunicator):
        assert it.client_view and str(it.transcript) and repr(it)
        assert [it.undeliverable, it.running_tasks]


async def wait_idle(it: Any) -> None:
    await it.connect()
    if isinstance(it, RecordingWebsocketCommunicator):
        await it.send_to("text")
        assert await it.receive_all() == []
    await it.disconnect()


async def crash(it: Any) -> None:
    with suppress(Boom):
        await it.connect()
        await it.wait()


async def time_out(it: Any) -> None:
    await it.connect()
    with suppress(TimeoutError):
        await it.receive_output(0)


async def fail_strictly(it: Any) -> None:
    it.strict = True
    with suppress(AssertionError):
        await it.connect()
    await it.disconnect()


async def starting_tasks(scope: Any, receive: Any, send: Any) -> None:
    async def fail() -> None:
        await send(FRAME)
        raise Boom

    await receive()
    with suppress(Boom):
        await asyncio.create_task(fail())
    await send(ACCEPT)
    while (await receive())["type"] != "websocket.disconnect":
        pass


ACCEPTS, REJECTS = Script((ACCEPT,)), Script((FRAME, CLOSE))
CRASHES = Script((ACCEPT,), "raise")


@pytest.mark.parametrize("kind", ["asgi", "async"])
@pytest.mark.parametrize(
    ("script", "converse"),
    [
        (ACCEPTS, respond),
        (ACCEPTS, read_records),
        (ACCEPTS, wait_idle),
        (REJECTS, respond),
        (REJECTS, fail_strictly),
        (CRASHES, crash),
        (ACCEPTS, time_out),
        (None, respond),
    ],
)
def test_a_conversation_adds_no_reference_cycle(
    kind: Kind, script: Script | None, converse: Callable[[Any], Awaitable[None]]
) -> None:
    async def use(communicator_class: CommunicatorClass) -> None:
        application = starting_tasks if script is None else scripted(script, kind)
        with suppress(AssertionError):  # of the parent's connect()
            await converse(communicator_class(application, "/"))

    # The first run fills caches.
    runner = asyncio.new_event_loop()
    runner.run_until_complete(use(RecordingWebsocketCommunicator))
    with garbage() as of_parent:
        runner.run_until_complete(use(WebsocketCommunicator))
    with garbage() as ours:
        runner.run_until_complete(use(RecordingWebsocketCommunicator))
    runner.close()
    # Where the consumer or an exception makes a cycle, it may hold our queues.
    if not of_parent:
        assert [thing for thing in ours if is_ours(thing)] == []


async def interrupted(it: WebsocketCommunicator) -> None:
    await it.connect()
    with suppress(TimeoutError):
        await asyncio.wait_for(it.receive_output(LONG), SHORT)


@both_classes
@pytest.mark.parametrize(
    "use",
    [
        lambda it: it.send_input(CONNECT),
        lambda it: it.connect(),
        lambda it: it.receive_output(LONG),
        lambda it: it.receive_nothing(SHORT),
        lambda it: it.receive_from(LONG),
        interrupted,
    ],
    ids=["sent", "connected", "received", "nothing", "failed", "interrupted"],
)
async def test_an_application_is_cancelled_when_its_communicator_is_dropped(
    communicator_class: CommunicatorClass,
    use: Callable[[WebsocketCommunicator], Awaitable[object]],
) -> None:
    held: list[object] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        held.extend([scope, receive, send])
        await send(CLOSE)
        await receive()
        await asyncio.sleep(LONG)

    gc.disable()
    try:
        communicator = communicator_class(application, "/")
        with suppress(AssertionError):
            await use(communicator)
        await asyncio.sleep(0)
        future, reference = communicator.future, weakref.ref(communicator)
        assert len(held) == 3 and not future.done()
        del communicator
        assert reference() is None
    finally:
        gc.enable()
    with pytest.raises(asyncio.CancelledError):
        await future

"""What the application has scheduled before it sends has run when a call returns."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.typing import ASGI3Application
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.calls.timing import in_virtual_time
from tests.events import ACCEPT, CLOSE, CONNECT, FRAME, JSON_FRAME
from tests.helpers import LONG, SHORT, CommunicatorClass, both_classes, hanging

Call = Callable[[Any], Awaitable[object]]


def scheduling(*events: object, how: str, done: list[str]) -> ASGI3Application:
    """Return an application that schedules work for each event, and then sends it."""

    async def work() -> None:
        done.append("work")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        tasks = set()
        for event in events:
            await receive()
            if how == "create_task()":
                tasks.add(loop.create_task(work()))
            else:
                loop.call_soon(done.append, "work")
            if event is not None:
                await send(event)
        if events[-1] is not None:
            await asyncio.Event().wait()

    return application


#: Calls, and the event that each waits for. None is the end of the application.
CALLS: dict[str, tuple[Call, object]] = {
    "connect": (lambda it: it.connect(LONG), ACCEPT),
    "receive_output": (lambda it: it.receive_output(LONG), FRAME),
    "later": (lambda it: it.receive_output(LONG), FRAME),
    "receive_from": (lambda it: it.receive_from(LONG), FRAME),
    "receive_json_from": (lambda it: it.receive_json_from(LONG), JSON_FRAME),
    "receive_nothing": (lambda it: it.receive_nothing(LONG), FRAME),
    "wait": (lambda it: it.wait(LONG), None),
    "disconnect": (lambda it: it.disconnect(timeout=LONG), None),
    "wait_closed": (lambda it: it.wait_closed(LONG), CLOSE),
}


@both_classes
@pytest.mark.parametrize("how", ["create_task()", "call_soon()"])
@pytest.mark.parametrize("name", CALLS)
@in_virtual_time
async def test_what_is_scheduled_before_an_event_has_run_when_a_call_returns(
    communicator_class: CommunicatorClass, how: str, name: str
) -> None:
    if name == "wait_closed":
        communicator_class = RecordingWebsocketCommunicator
    call, event = CALLS[name]
    done: list[str] = []
    application = scheduling(ACCEPT, event, how=how, done=done)
    communicator = communicator_class(application, "/")
    if name != "connect":
        await communicator.connect(LONG)
        done.clear()
    if name not in ("connect", "disconnect"):  # which send an event themselves
        loop, queue = asyncio.get_running_loop(), communicator.input_queue
        loop.call_later(SHORT if name == "later" else 0, queue.put_nowait, CONNECT)
    await call(communicator)
    assert done == ["work"]
    communicator.stop()


async def receiving(scope: Any, receive: Any, send: Any) -> None:
    await receive()


async def turns(communicator_class: CommunicatorClass, name: str, how: str) -> int:
    """Return how many turns of the event loop pass until a call has returned."""
    communicator = communicator_class(receiving if how == "ends" else hanging, "/")
    communicator.future
    await asyncio.sleep(0)
    if how == "ends":
        communicator.input_queue.put_nowait(CONNECT)
    timeout = 0 if how == "timeout" else LONG
    call = asyncio.create_task(getattr(communicator, name)(timeout=timeout))
    turn = 0
    while not call.done():
        await asyncio.sleep(0)
        turn += 1
        if how == "cancelled" and turn == 2:
            call.cancel()
    return turn


@pytest.mark.parametrize("name", ["disconnect", "wait"])
@pytest.mark.parametrize("how", ["ends", "timeout", "cancelled"])
async def test_a_call_ends_an_application_in_as_many_turns_as_the_parent(
    name: str, how: str
) -> None:
    parent = await turns(WebsocketCommunicator, name, how)
    assert await turns(RecordingWebsocketCommunicator, name, how) == parent

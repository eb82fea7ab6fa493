"""A communicator belongs to the event loop that has started its application."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CONNECT, FRAME, JSON_FRAME
from tests.helpers import LONG, SHORT, CommunicatorClass, both_classes, failure, message
from tests.parent.applications import connected, echo, sending
from tests.virtual_time import and_cancel_the_rest

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

Loop = asyncio.AbstractEventLoop
Call = Callable[[Any], Coroutine[Any, Any, object]]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def loops(request: pytest.FixtureRequest) -> Iterator[list[Loop]]:
    """Yield two event loops, neither of which is running."""
    loops = [request.param(), request.param()]
    yield loops
    for loop in loops:
        loop.run_until_complete(and_cancel_the_rest(asyncio.sleep(0)))
        loop.close()


async def failure_at_once(call: Awaitable[object]) -> BaseException:
    """Return what a call raises, which is not that it has waited for too long."""
    return await failure(asyncio.wait_for(call, LONG))


def assert_other_loop(error: BaseException, communicator: object) -> None:
    assert type(error) is RuntimeError
    if isinstance(communicator, RecordingWebsocketCommunicator):
        assert str(error) == OTHER_LOOP


def assert_usable(communicator: WebsocketCommunicator, loop: Loop) -> None:
    async def converse() -> None:
        assert not communicator.future.done()
        await communicator.send_to("text")
        assert await communicator.receive_from() == "text"
        await communicator.disconnect()
        assert communicator.future.done() and not communicator.future.cancelled()

    loop.run_until_complete(converse())


@both_classes
def test_a_communicator_may_be_created_before_its_event_loop_runs_for_each_call(
    communicator_class: CommunicatorClass, loops: list[Loop]
) -> None:
    communicator = communicator_class(echo, "/")
    for call, result in [
        (communicator.connect(), (True, None)),
        (communicator.send_to("text"), None),
        (communicator.receive_from(), "text"),
        (communicator.disconnect(), None),
    ]:
        assert loops[0].run_until_complete(call) == result


# Another event loop than that of the application.


async def leave_block(it: RecordingWebsocketCommunicator) -> None:
    async with it:
        pass


CALLS: dict[str, Call] = {
    "receive_output": lambda it: it.receive_output(1),
    "receive_output forever": lambda it: it.receive_output(None),
    "receive_output at once": lambda it: it.receive_output(0),
    "receive_from": lambda it: it.receive_from(),
    "receive_json_from": lambda it: it.receive_json_from(),
}
#: The parent cancels the application, or has no such method.
OUR_CALLS: dict[str, Call] = {
    "wait": lambda it: it.wait(),
    "wait forever": lambda it: it.wait(timeout=None),
    "wait_closed": lambda it: it.wait_closed(),
    "wait_closed forever": lambda it: it.wait_closed(timeout=None),
    "wait_idle": lambda it: it.wait_idle(),
    "leave a block": leave_block,
}


@pytest.mark.parametrize(
    ("communicator_class", "call"),
    [
        *[(WebsocketCommunicator, it) for it in CALLS],
        *[(RecordingWebsocketCommunicator, it) for it in CALLS | OUR_CALLS],
    ],
)
def test_a_call_from_another_event_loop_that_has_to_wait_raises_at_once(
    loops: list[Loop], communicator_class: CommunicatorClass, call: str
) -> None:
    own, other = loops
    communicator = own.run_until_complete(connected(communicator_class))
    for _ in range(2):
        waiting = (CALLS | OUR_CALLS)[call](communicator)
        error = other.run_until_complete(failure_at_once(waiting))
        assert_other_loop(error, communicator)
    assert_usable(communicator, own)


@both_classes
def test_disconnect_from_another_event_loop_raises_at_once(
    communicator_class: CommunicatorClass, loops: list[Loop]
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
def test_connect_from_another_event_loop_raises_at_once(
    communicator_class: CommunicatorClass, loops: list[Loop]
) -> None:
    own, other = loops
    communicator = communicator_class(sending(ACCEPT), "/")

    async def start() -> "asyncio.Future[Any]":
        future: "asyncio.Future[Any]" = communicator.future
        # The parent class takes a queue for that of the loop which has waited for it.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(communicator.output_queue.get(), 0.01)
        return future

    future = own.run_until_complete(start())
    error = other.run_until_complete(failure_at_once(communicator.connect()))
    assert_other_loop(error, communicator)
    assert not future.done()


@both_classes
def test_what_is_queued_can_be_sent_and_received_in_any_event_loop(
    communicator_class: CommunicatorClass, loops: list[Loop]
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
    communicator = own.run_until_complete(connected(communicator_class))
    other.run_until_complete(communicator.send_to("text"))
    assert own.run_until_complete(communicator.receive_from()) == "text"
    own.run_until_complete(communicator.disconnect())


# An event loop that has ended.


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
        lambda it: it.disconnect(),
    ],
    ids="send_to send_json_to receive_from receive_output nothing connect end".split(),
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
    assert run(communicator.wait)() is None


def test_what_has_ended_says_so_in_any_event_loop() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def end() -> RecordingWebsocketCommunicator:
        communicator = RecordingWebsocketCommunicator(application, "/ws/")
        await communicator.send_input(CONNECT)
        await communicator.wait()
        return communicator

    communicator = asyncio.run(end())
    text = asyncio.run(message(communicator.receive_output()))
    assert "cannot receive anything more: the application has returned." in text

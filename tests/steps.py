"""Perform the same steps with both classes, and compare the outcomes."""

import asyncio
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from asgiref.typing import ASGI3Application
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.helpers import LONG, drain

#: One call on a communicator. Any, because tests also pass arguments of wrong types.
Step = Callable[[Any], object]


class Outcome(NamedTuple):
    """What a step returned or raised."""

    returned: object = None
    raised: type[BaseException] | None = None
    text: str = ""


class Seen(NamedTuple):
    """The outcomes of all steps, and the state that they leave."""

    outcomes: list[Outcome]
    unread: list[object]
    unreceived: list[object]
    response_headers: object
    ended: bool
    cancelled: bool
    exception: type[BaseException] | None


async def perform_step(step: Step, it: object) -> Outcome:
    try:
        result = step(it)
        return Outcome(await result if inspect.isawaitable(result) else result)
    except (Exception, asyncio.CancelledError) as exception:
        # Python puts the name of the class into the text of a TypeError.
        text = str(exception).replace("RecordingWebsocket", "Websocket")
        return Outcome(raised=type(exception), text=text)


async def observe(
    communicator_class: type[WebsocketCommunicator],
    application: ASGI3Application,
    steps: Iterable[Step],
) -> Seen:
    communicator = communicator_class(application, "/ws/notes/?token=old")
    outcomes = [await perform_step(step, communicator) for step in steps]
    future = communicator.future
    ended = future.done()
    seen = Seen(
        outcomes,
        drain(communicator.output_queue),
        drain(communicator.input_queue),
        communicator.response_headers,
        ended,
        ended and future.cancelled(),
        type(future.exception()) if ended and not future.cancelled() else None,
    )
    future.cancel()
    await asyncio.wait([future])
    return seen


async def assert_same(application: ASGI3Application, *steps: Step) -> None:
    """Perform the steps with both classes, and assert that their outcomes are equal."""
    assert_equal(
        await observe(WebsocketCommunicator, application, steps),
        await observe(RecordingWebsocketCommunicator, application, steps),
    )


def assert_equal(parent: Seen, ours: Seen) -> None:
    """Assert equal outcomes, but for texts where the parent's exception has none."""
    without_our_texts = [
        our._replace(text="") if its.raised and not its.text else our
        for its, our in zip(parent.outcomes, ours.outcomes)
    ]
    assert ours._replace(outcomes=without_our_texts) == parent
    assert [our for our in ours.outcomes if our.raised and not our.text] == []


def connect(it: WebsocketCommunicator) -> object:
    return it.connect(LONG)


def receive(it: WebsocketCommunicator) -> object:
    return it.receive_output(LONG)


async def wait_for_end(it: WebsocketCommunicator) -> None:
    await asyncio.wait([it.future], timeout=LONG)


async def wait_for_output(it: WebsocketCommunicator) -> None:
    while it.output_queue.empty():
        await asyncio.sleep(0)


def drain_output(it: WebsocketCommunicator) -> None:
    drain(it.output_queue)

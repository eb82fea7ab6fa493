"""What tests do step by step, to compare what either class makes of it."""

import asyncio
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from asgiref.typing import ASGI3Application
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.helpers import LONG, drain

#: One thing a test does with a communicator. Any: tests do what types forbid, too.
Step = Callable[[Any], object]


class Outcome(NamedTuple):
    """What a test sees of a step that it takes."""

    returned: object = None
    raised: type[BaseException] | None = None
    text: str = ""


class Seen(NamedTuple):
    """What a test sees of all its steps, and what they leave behind."""

    outcomes: list[Outcome]
    unread: list[object]
    unheard: list[object]
    response_headers: object
    ended: bool
    cancelled: bool
    exception: type[BaseException] | None


async def take(step: Step, it: object) -> Outcome:
    try:
        result = step(it)
        return Outcome(await result if inspect.isawaitable(result) else result)
    except (Exception, asyncio.CancelledError) as exception:
        # In the texts that Python makes is the name of the class.
        text = str(exception).replace("RecordingWebsocket", "Websocket")
        return Outcome(raised=type(exception), text=text)


async def see(
    communicator_class: type[WebsocketCommunicator],
    application: ASGI3Application,
    steps: Iterable[Step],
) -> Seen:
    communicator = communicator_class(application, "/ws/notes/?token=old")
    outcomes = [await take(step, communicator) for step in steps]
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
    """Both see the same; of an exception without text the parent sees no text."""
    parent = await see(WebsocketCommunicator, application, steps)
    ours = await see(RecordingWebsocketCommunicator, application, steps)
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


async def ended(it: WebsocketCommunicator) -> None:
    await asyncio.wait([it.future], timeout=LONG)


async def arrived(it: WebsocketCommunicator) -> None:
    while it.output_queue.empty():
        await asyncio.sleep(0)


def drained(it: WebsocketCommunicator) -> None:
    drain(it.output_queue)

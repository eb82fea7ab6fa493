"""The calls by their names, and a clock on which waiting takes no real time."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from unittest.mock import patch

import asgiref.testing
import pytest
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.helpers import CommunicatorClass
from tests.virtual_time import and_cancel_the_rest, make_loop

#: Calls that wait for an event, and calls that wait for the application to end.
OF_THE_PARENT = ["connect", "receive_output", "receive_from", "receive_json_from"]
RECEIVING = [*OF_THE_PARENT, "receive_until", "wait_closed"]
ENDING = ["wait", "disconnect"]

each_receiving_call = pytest.mark.parametrize("name", RECEIVING)
each_call = pytest.mark.parametrize("name", [*RECEIVING, *ENDING])
#: Each call with each class that has it.
each_call_of_both_classes = pytest.mark.parametrize(
    ("communicator_class", "name"),
    [
        *((WebsocketCommunicator, name) for name in [*OF_THE_PARENT, *ENDING]),
        *((RecordingWebsocketCommunicator, name) for name in [*RECEIVING, *ENDING]),
    ],
    ids=lambda it: it if type(it) is str else it.__name__,
)


def call(
    it: Any, name: str, timeout: float | None, match: bool = True
) -> Awaitable[Any]:
    """Call a method. ``match`` is whether a frame ends ``receive_until()``."""
    arguments = [lambda _: match] if name == "receive_until" else []
    made: Awaitable[Any] = getattr(it, name)(*arguments, timeout=timeout)
    return made


def in_virtual_time(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    """Run a test in an event loop that goes to the next timer when nothing can run.

    A test that would wait forever fails. The parent uses the same clock.
    """

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        loop = make_loop("plain")

        with patch.object(asgiref.testing, "time") as clock, contextlib.closing(loop):
            clock.monotonic = loop.time
            main = and_cancel_the_rest(test(*args, **kwargs))
            assert not loop.run(main), "waits forever"
            loop.main.result()

    return run


async def timed(awaitable: Awaitable[object]) -> tuple[Any, float]:
    """Return what it returns or raises, and after how many seconds."""
    clock = asyncio.get_running_loop().time
    start = clock()
    try:
        result = await awaitable
    except (Exception, asyncio.CancelledError) as error:
        result = error
    return result, round(clock() - start, 3)


def block(seconds: float) -> None:
    """Block the event loop, as a long computation does."""
    loop: Any = asyncio.get_running_loop()
    loop.now += seconds


async def turns(count: int) -> None:
    """Let the event loop run what is ready, so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def started(
    communicator_class: CommunicatorClass,
    application: Any,
    has_ended: bool = False,
    path: str = "/",
) -> Any:
    """Return a communicator whose application is about to run, or has ended."""
    communicator = communicator_class(application, path)
    await communicator.send_input({"type": "websocket.connect"})
    if has_ended:
        await asyncio.wait([communicator.future])
    return communicator


def pausing(*steps: Any, ending: Any = "wait") -> Any:
    """Return an application that sends events and, where a number stands, pauses.

    Then it receives events until the client has disconnected, or raises ``ending``, or
    returns.
    """

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for step in steps:
            await (send(step) if isinstance(step, dict) else asyncio.sleep(step))
        if isinstance(ending, BaseException):
            raise ending
        while ending == "wait" and (await receive())["type"] != "websocket.disconnect":
            pass

    return application

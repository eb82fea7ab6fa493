"""What tasks send that the application has started: their failures are their own.

``test_servers.py`` compares with the servers what tasks send, also after the end of the
application.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CONNECT, FRAME, send
from tests.helpers import having_sent
from tests.scripts import Kind

FAILING = send(text={"a": 1})
FAILED = (
    "a payload of the wrong type: the client receives nothing, and the task that sent"
    " it fails"
)
CRASHED = (
    "a payload of the wrong type: the client receives close code 1011 on Daphne and"
    " Hypercorn, close code 1006 on Uvicorn"
)
AFTERWARDS = "sent from a task that had already failed: the client receives nothing"


@pytest.mark.parametrize(
    ("kind", "outcomes"),
    [
        ("asgi", [CRASHED, "lost: the connection had ended"]),
        ("async", [CRASHED, "lost: the connection had ended"]),
        ("sync", [CRASHED, "lost: the connection had ended"]),
        ("task", [FAILED, AFTERWARDS]),
        ("tasks", [FAILED]),
    ],
)
async def test_an_event_that_fails_ends_the_task_that_sends_it(
    kind: Kind, outcomes: list[str]
) -> None:
    communicator = await having_sent(ACCEPT, FAILING, FRAME, kind=kind)
    assert [found.outcome for found in communicator.undeliverable] == outcomes
    await communicator.disconnect()


Send = Callable[[Any], Coroutine[Any, Any, None]]
tasks: list[asyncio.Task[None]] = []


async def awaited(send: Send) -> None:
    await asyncio.create_task(send(FAILING))


async def in_task_of_task(send: Send) -> None:
    tasks.append(asyncio.create_task(awaited(send)))


async def beside_a_task(send: Send) -> None:
    tasks.append(asyncio.create_task(asyncio.sleep(0)))
    await send(FAILING)


async def in_callback(send: Send) -> None:
    def call_back() -> None:
        with pytest.raises(StopIteration):
            send(FAILING).send(None)

    tasks.append(asyncio.create_task(asyncio.sleep(0)))
    asyncio.get_running_loop().call_soon(call_back)


@pytest.mark.parametrize(
    ("send_failing", "outcome"),
    [
        *[(awaited, FAILED), (in_task_of_task, FAILED)],
        *[(beside_a_task, CRASHED), (in_callback, CRASHED)],
    ],
)
async def test_who_awaits_a_task_makes_no_difference(
    send_failing: Callable[[Send], Coroutine[Any, Any, None]], outcome: str
) -> None:
    async def application(scope: Any, receive: Any, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await send_failing(send)
        await receive()

    async with RecordingWebsocketCommunicator(application, "/") as communicator:
        await communicator.send_input(CONNECT)
        while len(communicator.transcript.records) < 3:
            await asyncio.sleep(0)
        assert [found.outcome for found in communicator.undeliverable] == [outcome]


async def test_the_transcript_names_a_cancelled_error_of_the_application() -> None:
    communicator = await having_sent(ACCEPT, ending="cancel", kind="async")
    assert "the application raised CancelledError, and nobody had cancelled it" in str(
        communicator.transcript
    )

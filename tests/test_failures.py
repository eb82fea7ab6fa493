"""The whole text of every failure that a user can encounter."""

import asyncio
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope

import channels_closetest.application
from channels_closetest import RecordingWebsocketCommunicator
from tests.events import (
    ACCEPT,
    CLOSE_WITH_REASON,
    CONNECT,
    DENIAL,
    JSON_FRAME,
    PART,
    Event,
)
from tests.helpers import (
    TESTS,
    client,
    each_consumer,
    failure,
    frame_of,
    hanging,
    ignore_undeliverable,
    message,
    readable,
    wait_for_thread,
)
from tests.scripts import Kind, Script, scripted
from tests.texts import (
    HANDSHAKE,
    HOW_TO_UNBLOCK,
    IDLE,
    RETURNED,
    UNANSWERED,
    WAITING_HERE,
)

# TimeoutError: what the call waited for, for how long, and what it received.


each_call_that_receives = pytest.mark.parametrize(
    ("name", "awaited"),
    [
        ("receive_output", "any event"),
        ("receive_from", "a data frame"),
        ("receive_json_from", "a data frame"),
        ("wait_closed", "websocket.close"),
    ],
)


@each_call_that_receives
@each_consumer
async def test_a_timeout_names_what_the_call_waited_for(
    name: str, awaited: str, kind: Kind
) -> None:
    communicator = client(ACCEPT, kind=kind)
    await communicator.connect()
    await wait_for_thread()
    assert await message(getattr(communicator, name)(timeout=0.2)) == (
        f"{name}(timeout=0.2) timed out."
        f" Waiting for: {awaited}. Received: nothing.\n{IDLE}"
    )


@each_call_that_receives
@each_consumer
async def test_a_failure_says_that_the_application_has_returned(
    name: str, awaited: str, kind: Kind
) -> None:
    communicator = client(ACCEPT, ending="return", kind=kind)
    await communicator.connect()
    assert await message(getattr(communicator, name)()) == (
        f"{name}(timeout=1) cannot receive anything more: the application has returned."
        f" Waiting for: {awaited}. Received: nothing.\n{RETURNED}"
    )


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (lambda communicator: communicator.connect(), "connect(timeout=1)"),
        (lambda communicator: communicator.connect(2), "connect(timeout=2)"),
        (lambda communicator: communicator.connect(timeout=3), "connect(timeout=3)"),
        (lambda communicator: communicator.connect(None), "connect(timeout=None)"),
    ],
)
async def test_connect_says_that_the_application_has_returned(
    call: Callable[[RecordingWebsocketCommunicator], Awaitable[object]], shown: str
) -> None:
    assert await message(call(client(ending="return"))) == (
        f"{shown} cannot receive anything more: the application has returned."
        f" {HANDSHAKE} Received: nothing.\n{RETURNED}"
    )


@pytest.mark.parametrize(
    ("frames", "came"),
    [
        ([], "nothing"),
        ([JSON_FRAME], "1 data frame, now in pre_close_messages"),
        ([JSON_FRAME, JSON_FRAME], "2 data frames, now in pre_close_messages"),
    ],
)
async def test_connect_says_that_the_consumer_is_idle_and_what_it_has_sent(
    frames: list[Event], came: str
) -> None:
    assert await message(client(*frames).connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Received: {came}.\n{UNANSWERED}"
    )


@ignore_undeliverable
async def test_wait_closed_counts_only_the_frames_that_it_has_read_past_itself() -> (
    None
):
    communicator = client(JSON_FRAME, ACCEPT, JSON_FRAME)
    await communicator.connect()
    assert await message(communicator.wait_closed(0.2)) == (
        "wait_closed(timeout=0.2) timed out. Waiting for: websocket.close."
        f" Received: 1 data frame, now in pre_close_messages.\n{IDLE}"
    )


async def test_connect_says_that_a_denial_response_is_incomplete() -> None:
    assert await message(client(DENIAL, PART).connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE}"
        " Received: the start of a denial response, HTTP 401, but not its end.\n"
        "The consumer is idle: it has started a denial response and not completed it.\n"
        "Send a websocket.http.response.body without more_body."
    )


@pytest.mark.parametrize(
    ("events", "connects", "idle"),
    [
        (
            (ACCEPT,),
            False,
            "has not received websocket.connect.\nCall connect() first.",
        ),
        (
            (CLOSE_WITH_REASON,),
            True,
            "has closed with 4401.\n"
            "The frames before the close are in pre_close_messages.",
        ),
        (
            (ACCEPT, JSON_FRAME, CLOSE_WITH_REASON),
            True,
            "has closed with 4401.\n"
            "The frames before the close are in pre_close_messages.",
        ),
        (
            (DENIAL, {**PART, "more_body": False}),
            True,
            "has denied the handshake with HTTP 401.\nSee denial_response.",
        ),
    ],
)
async def test_a_timeout_explains_why_an_idle_consumer_sends_nothing(
    events: tuple[Event, ...], connects: bool, idle: str
) -> None:
    communicator = client(*events)
    if connects:
        await communicator.connect()
    if events[-1] is CLOSE_WITH_REASON:
        await communicator.wait_closed()
    assert await message(communicator.receive_json_from(0.2)) == (
        "receive_json_from(timeout=0.2) timed out. Waiting for: a data frame."
        f" Received: nothing.\nThe consumer is idle: it {idle}"
    )


async def test_a_timeout_of_a_subclass_that_reads_the_queue_itself_is_explained() -> (
    None
):
    class Reading(RecordingWebsocketCommunicator):
        async def receive_output(self, timeout: float | None = 1) -> Any:
            return await asyncio.wait_for(self.output_queue.get(), timeout)

    communicator = Reading(scripted(Script(()), "async"), "/ws/")
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Received: nothing.\n{UNANSWERED}"
    )
    assert not communicator.future.done()
    communicator.stop()


async def test_a_timeout_of_another_communicator_is_explained_by_that_one() -> None:
    class Relaying(RecordingWebsocketCommunicator):
        async def receive_output(self, timeout: float | None = 1) -> Any:
            return await other.receive_output(timeout)

    other = client(ACCEPT)
    await other.connect()
    relaying = Relaying(scripted(Script(()), "async"), "/ws/")
    assert await message(relaying.receive_from(0.2)) == (
        "receive_output(timeout=0.2) timed out."
        f" Waiting for: any event. Received: nothing.\n{IDLE}"
    )


# CancelledError: who cancelled the application.


@pytest.mark.parametrize(
    "name",
    ["connect", "receive_output", "receive_from", "receive_json_from", "wait_closed"],
)
async def test_cancelled_error_names_the_call_that_timed_out(name: str) -> None:
    communicator = client()
    await failure(getattr(communicator, name)(timeout=0.2))
    for _ in range(2):
        assert await message(communicator.receive_output()) == (
            f"The application is cancelled: an earlier {name}(timeout=0.2) timed out."
            " Like the parent class, a call that times out cancels the application.\n"
            "To check that nothing is sent, use receive_nothing(), which cancels"
            " nothing."
        )


@pytest.mark.parametrize("name", ["wait", "disconnect"])
async def test_cancelled_error_names_the_call_that_cancelled_without_raising(
    name: str,
) -> None:
    communicator = RecordingWebsocketCommunicator(hanging, "/ws/")
    await getattr(communicator, name)(timeout=0.2)
    assert await message(communicator.receive_output()) == (
        f"The application is cancelled: {name}(timeout=0.2) cancelled it."
        " Like the parent class, a call that times out cancels the application.\n"
        "To check that nothing is sent, use receive_nothing(), which cancels nothing."
    )


async def test_cancelled_error_says_that_no_call_cancelled_the_application() -> None:
    communicator = client(ACCEPT)
    await communicator.connect()
    communicator.stop()
    assert await message(communicator.receive_output()) == (
        "The application was cancelled, but not by a call that timed out."
    )


async def test_cancelled_error_of_the_test_itself_is_unchanged() -> None:
    task = asyncio.ensure_future(client().connect())
    await asyncio.sleep(0.01)
    task.cancel()
    error = await failure(task)
    assert isinstance(error, asyncio.CancelledError)
    assert error.args == ()


async def test_cancelled_error_does_not_name_wait_after_a_timeout() -> None:
    communicator = RecordingWebsocketCommunicator(hanging, "/")
    with pytest.raises(asyncio.TimeoutError):
        await communicator.receive_output(0.01)
    await communicator.wait()
    with pytest.raises(asyncio.CancelledError) as raised:
        await communicator.receive_output()
    assert "an earlier receive_output(timeout=0.01) timed out" in str(raised.value)


# What is not a handshake response.


@pytest.mark.parametrize(
    ("event", "error", "shown"),
    [
        (
            {"type": "websocket.unknown", "id": 1},
            AssertionError,
            "{'id': 1, 'type': 'websocket.unknown'}",
        ),
        (PART, AssertionError, "denial body b'Not ', more to come"),
        ({"type": None}, AssertionError, "{'type': None}"),
        (None, TypeError, "None"),
        (["accept"], TypeError, "['accept']"),
    ],
)
async def test_connect_names_an_event_that_is_not_a_handshake_response(
    event: object, error: type[Exception], shown: str
) -> None:
    raised = await failure(client(event).connect())
    assert type(raised) is error
    assert str(raised) == (
        "connect() expected websocket.accept, websocket.close or"
        " websocket.http.response.start, but the application sent"
        f" {shown}.\nRespond to the handshake first."
    )


async def test_connect_names_an_event_without_type() -> None:
    raised = await failure(client({"text": "1"}).connect())
    assert type(raised) is KeyError
    assert raised.args == (
        "connect() expected websocket.accept, websocket.close or"
        " websocket.http.response.start, but the application sent {'text': '1'}."
        "\nRespond to the handshake first.",
    )


async def test_wait_closed_says_that_the_handshake_was_denied() -> None:
    communicator = client(DENIAL, PART)
    await communicator.send_input(CONNECT)
    assert await message(communicator.wait_closed()) == (
        "wait_closed() expected websocket.close, but the application has denied the"
        " handshake with HTTP 401.\n"
        "See denial_response."
    )


# The end of a block whose application suppresses cancellation.


async def test_the_end_of_a_block_says_that_the_application_did_not_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels_closetest.application, "SHUTDOWN_TIMEOUT", 0.01)
    stop = asyncio.Event()

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        while not stop.is_set():
            try:
                await stop.wait()  # suppresses
            except BaseException:
                pass

    with pytest.raises(AssertionError) as raised:
        async with RecordingWebsocketCommunicator(application, "/") as communicator:
            await communicator.receive_nothing()
    stop.set()
    await asyncio.wait([communicator.future])
    assert readable(str(raised.value)) == (
        "The application did not stop: it suppresses CancelledError.\n"
        + WAITING_HERE
        + frame_of("application", "await stop.wait()  # suppresses", __file__)
        + '  File "asyncio/locks.py", in wait\n    await fut\n'
        + HOW_TO_UNBLOCK
    )


# The output of a test runner.


FAILING = """
import unittest

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator


class Consumer(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.send_json({"type": "jwt-expired"})


class Tests(unittest.IsolatedAsyncioTestCase):
    async def test_rejected(self):
        communicator = RecordingWebsocketCommunicator(Consumer.as_asgi(), "/ws/")
        await communicator.connect(timeout=0.2)


unittest.main()
"""


def test_the_whole_output_of_a_failing_test(tmp_path: Path) -> None:
    file = tmp_path / "failing.py"
    file.write_text(FAILING)
    output = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", str(file)],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    ).stderr
    shown = re.search(r"TimeoutError: (.*?)\n\n-----", output, re.DOTALL)
    assert shown is not None, output
    notes = textwrap.dedent("""
        Transcript: /ws/
           0.0 ms  -> connect
           0.0 ms  <- send       {"type": "jwt-expired"}  !! sent before accept(): \
the client receives HTTP 500
           0.0 ms  the application was cancelled
        a client of Daphne sees: HTTP 500, then close code 1006""")
    assert readable(shown[1]) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE}"
        f" Received: 1 data frame, now in pre_close_messages.\n{UNANSWERED}"
        + (notes if sys.version_info >= (3, 11) else "")
    )
    # The output has the test's own line, and no warning of asyncio.
    assert "await communicator.connect(timeout=0.2)" in output
    assert not re.search("never|destroyed|Warning", output)

"""The whole text of every failure that a user can encounter."""

import asyncio
import gc
import os
import re
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.test import override_settings
from django.urls import path as url

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
from tests.failures.texts import (
    CLOSED,
    HANDSHAKE,
    HOW_TO_STOP,
    IDLE,
    NOT_CLOSED,
    ONE_CONNECTION,
    RETURNED,
    SUPPRESSES,
    UNANSWERED,
)
from tests.helpers import (
    LONG,
    TESTS,
    client,
    each_consumer,
    failure,
    frame_of,
    hanging,
    ignore_undeliverable,
    line_of,
    message,
    only_note,
    readable,
    wait_for_thread,
)
from tests.hostile import HOSTILE
from tests.scripts import Boom, Kind, Script, scripted

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
async def test_a_timeout_names_what_the_call_waited_for_and_how_to_get_it(
    name: str, awaited: str, kind: Kind
) -> None:
    communicator = client(ACCEPT, kind=kind)
    await communicator.connect()
    await wait_for_thread()
    idle = NOT_CLOSED if name == "wait_closed" else IDLE
    assert await message(getattr(communicator, name)(timeout=0.2)) == (
        f"{name}(timeout=0.2) timed out."
        f" Waiting for: {awaited}. Received: nothing.\n{idle}"
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
        f" Received: 1 data frame, now in pre_close_messages.\n{NOT_CLOSED}"
    )


async def test_connect_says_that_a_denial_response_is_incomplete() -> None:
    assert await message(client(DENIAL, PART).connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE}"
        " Received: the start of a denial response, HTTP 401, but not its end.\n"
        "The consumer is idle: it has started a denial response and not completed it.\n"
        "Send a websocket.http.response.body without more_body."
    )


@pytest.mark.parametrize(
    ("events", "calls", "idle"),
    [
        (
            (ACCEPT,),
            [],
            "The consumer is idle: it has not received websocket.connect.\n"
            "Call connect() first.",
        ),
        ((CLOSE_WITH_REASON,), ["connect"], CLOSED),
        ((ACCEPT, CLOSE_WITH_REASON), ["connect", "receive_output"], CLOSED),
        ((ACCEPT, JSON_FRAME, CLOSE_WITH_REASON), ["connect", "wait_closed"], CLOSED),
        (
            (DENIAL, {**PART, "more_body": False}),
            ["connect"],
            "The consumer is idle: it has denied the handshake with HTTP 401.\n"
            "See denial_response.",
        ),
    ],
)
async def test_a_timeout_explains_why_an_idle_consumer_sends_nothing(
    events: tuple[Event, ...], calls: list[str], idle: str
) -> None:
    communicator = client(*events)
    for name in calls:
        await getattr(communicator, name)()
    assert await message(communicator.receive_json_from(0.2)) == (
        "receive_json_from(timeout=0.2) timed out. Waiting for: a data frame."
        f" Received: nothing.\n{idle}"
    )


async def test_a_close_that_connect_has_returned_is_not_looked_for_elsewhere() -> None:
    communicator = client(CLOSE_WITH_REASON)
    assert await communicator.connect() == (False, 4401)
    assert communicator.pre_close_messages == []
    assert await message(communicator.receive_output(0.2)) == (
        "receive_output(timeout=0.2) timed out. Waiting for: any event."
        f" Received: nothing.\n{CLOSED}"
    )


class Reading(RecordingWebsocketCommunicator):
    """Reads the queue itself, as subclasses in public suites do."""

    async def receive_output(self, timeout: float | None = 1) -> Any:
        return await asyncio.wait_for(self.output_queue.get(), timeout)


async def test_a_subclass_that_reads_the_queue_itself_is_told_of_the_crash() -> None:
    communicator = Reading(scripted(Script((ACCEPT,), "raise"), "async"), "/ws/")
    await communicator.connect()
    line = line_of('raise Boom("boom")', str(TESTS / "scripts.py"))
    for name, awaited in [
        ("receive_output", None),
        ("receive_from", "a data frame"),
        ("wait_closed", "websocket.close"),
    ]:
        text = await message(getattr(communicator, name)(timeout=0.05))
        # Its own receive_output() is not explained: it may call what it likes.
        assert (text == "") is (awaited is None)
        assert awaited is None or text == (
            f"{name}(timeout=0.05) cannot receive anything more: the application has"
            f" raised tests.scripts.Boom: boom, tests/scripts.py:{line}."
            f" Waiting for: {awaited}. Received: nothing.\n"
            "Your receive_output() hides this exception: call super().receive_output()"
            " to raise it."
        )


async def test_a_timeout_before_the_application_is_started_is_explained() -> None:
    class Failing(RecordingWebsocketCommunicator):
        async def receive_output(self, timeout: float | None = 1) -> Any:
            raise TimeoutError

    communicator = Failing(scripted(Script(()), "async"), "/ws/")
    assert await message(communicator.receive_from()) == (
        "receive_from(timeout=1) timed out. Waiting for: a data frame."
        " Received: nothing.\n"
        "The application has not been started.\nCall connect() first."
    )


async def test_a_timeout_of_a_subclass_that_reads_the_queue_itself_is_explained() -> (
    None
):
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
            "To check that nothing is sent, use receive_nothing(): it does not cancel"
            " the application."
        )


@pytest.mark.parametrize("name", ["wait", "disconnect"])
async def test_cancelled_error_names_the_call_that_ended_the_application(
    name: str,
) -> None:
    communicator = RecordingWebsocketCommunicator(hanging, "/ws/")
    await getattr(communicator, name)(timeout=0.2)
    for later in ("receive_output", "receive_from", "wait_closed", "connect"):
        error = await failure(getattr(communicator, later)())
        assert isinstance(error, asyncio.CancelledError)
        assert str(error) == (
            f"{name}(timeout=0.2) cancelled the application, which had not returned in"
            " time.\nCall wait() and disconnect() at the end of the test."
        )


async def test_cancelled_error_says_that_wait_has_ended_a_consumer() -> None:
    communicator = client(ACCEPT)
    await communicator.connect()
    await communicator.wait(0.1)
    assert await message(communicator.receive_json_from()) == (
        "wait(timeout=0.1) cancelled the application, which had not returned in time.\n"
        "Call wait() and disconnect() at the end of the test."
    )


async def test_cancelled_error_says_that_no_call_cancelled_the_application() -> None:
    communicator = client(ACCEPT)
    await communicator.connect()
    communicator.stop()
    assert await message(communicator.receive_output()) == (
        "The application was cancelled by stop(), by future.cancel() or by itself.\n"
        "Cancel it only at the end of the test, or create a new communicator."
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
    with pytest.raises(TimeoutError):
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
        f" {shown}.\nCall accept() or close() before sending anything else."
    )


async def test_connect_names_an_event_without_type() -> None:
    raised = await failure(client({"text": "1"}).connect())
    assert type(raised) is KeyError
    assert raised.args == (
        "connect() expected websocket.accept, websocket.close or"
        " websocket.http.response.start, but the application sent {'text': '1'}."
        "\nCall accept() or close() before sending anything else.",
    )


async def test_wait_closed_says_that_the_handshake_was_denied() -> None:
    communicator = client(DENIAL, PART)
    await communicator.send_input(CONNECT)
    assert await message(communicator.wait_closed()) == (
        "wait_closed() expected websocket.close, but the application has denied the"
        " handshake with HTTP 401.\n"
        "See denial_response."
    )


# One communicator is one connection.


async def disconnect(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.connect()
    await communicator.disconnect()


async def leave(communicator: RecordingWebsocketCommunicator) -> None:
    async with communicator:
        await communicator.connect()


@pytest.mark.parametrize("end", [disconnect, leave])
@pytest.mark.parametrize(
    ("name", "awaited"),
    [
        ("connect", HANDSHAKE.removeprefix("Waiting for: ").removesuffix(".")),
        ("receive_output", "any event"),
        ("receive_from", "a data frame"),
        ("receive_json_from", "a data frame"),
        ("wait_closed", "websocket.close"),
    ],
)
@each_consumer
async def test_a_failure_says_that_the_test_has_disconnected(
    end: Callable[[RecordingWebsocketCommunicator], Awaitable[None]],
    name: str,
    awaited: str,
    kind: Kind,
) -> None:
    communicator = client(ACCEPT, kind=kind)
    await end(communicator)
    for _ in range(2):
        error = await failure(getattr(communicator, name)())
        assert isinstance(error, TimeoutError)
        assert str(error) == (
            f"{name}(timeout=1) cannot receive anything more: the test has"
            f" disconnected. Waiting for: {awaited}. Received: nothing.\n"
            f"{ONE_CONNECTION}"
        )


async def test_a_crash_after_the_test_has_disconnected_is_raised() -> None:
    class Crashing(AsyncWebsocketConsumer):
        async def disconnect(self, code: int) -> None:
            raise Boom("boom")

    communicator = RecordingWebsocketCommunicator(Crashing.as_asgi(), "/ws/")
    await communicator.connect()
    with pytest.raises(Boom):
        await communicator.disconnect()
    with pytest.raises(Boom):
        await communicator.receive_output()


# Applications that suppress CancelledError.


class Suppressing(AsyncWebsocketConsumer):
    """Suppresses its cancellation, in the handler that ``path`` names."""

    async def connect(self) -> None:
        if self.scope["path"] == "/connect":
            await self.suppress()  # in connect()
        await self.accept()

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.suppress()  # in receive()

    async def disconnect(self, code: int) -> None:
        if self.scope["path"] == "/disconnect":
            await self.suppress()  # in disconnect()

    async def suppress(self) -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()  # suppresses


class Report:
    """What a call on a consumer that suppresses its cancellation has raised."""

    def __init__(self, name: str, path: str) -> None:
        self.communicator = RecordingWebsocketCommunicator(Suppressing.as_asgi(), path)
        self.name = name

    async def make(self) -> BaseException:
        """Make the call when the consumer is where it suppresses its cancellation."""
        it = self.communicator
        if self.name == "connect":
            return await failure(it.connect(0.2))
        await it.connect()
        if self.name == "async with":
            return await failure(self.leave())
        if self.name == "disconnect":
            return await failure(it.disconnect(timeout=0.2))
        await it.send_to("anything")
        assert await it.receive_nothing(0.01)
        return await failure(getattr(it, self.name)(timeout=0.2))

    async def leave(self) -> None:
        async with self.communicator:
            pass


#: The calls, the path of their communicator, and the first line of their failure.
FORCED: dict[str, tuple[str, str]] = {
    "connect": (
        "/connect",
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Received: nothing.\n",
    ),
    "receive_json_from": (
        "/receive",
        "receive_json_from(timeout=0.2) timed out. Waiting for: a data frame."
        " Received: nothing.\n",
    ),
    "receive_output": (
        "/receive",
        "receive_output(timeout=0.2) timed out. Waiting for: any event."
        " Received: nothing.\n",
    ),
    "wait_closed": (
        "/receive",
        "wait_closed(timeout=0.2) timed out. Waiting for: websocket.close."
        " Received: nothing.\n",
    ),
    "wait": ("/receive", ""),
    "disconnect": ("/disconnect", ""),
    "async with": ("/disconnect", ""),
}


@pytest.fixture
def short_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time in which an application has to end."""
    for module in ("application", "communicator"):
        name = f"channels_closetest.{module}.SHUTDOWN_TIMEOUT"
        monkeypatch.setattr(name, 0.05)


def place(path: str) -> str:
    """Return what a failure shows of the place that suppresses the cancellation."""
    handler = path.removeprefix("/")
    waits = "await asyncio.get_running_loop().create_future()  # suppresses"
    return frame_of(
        handler, f"await self.suppress()  # in {handler}()", __file__
    ) + frame_of("suppress", waits, __file__)


@pytest.mark.usefixtures("short_shutdown")
@pytest.mark.parametrize("name", FORCED)
async def test_a_failure_says_where_the_application_suppresses_its_cancellation(
    name: str,
) -> None:
    path, first_line = FORCED[name]
    report = Report(name, path)
    task = asyncio.ensure_future(report.make())
    await asyncio.wait([task], timeout=LONG)
    assert task.done(), "does not end"
    error, text = task.result(), readable(task.result())
    assert isinstance(error, TimeoutError if first_line else AssertionError)
    # Between them are the frames of Channels.
    beginning = f"{first_line}The application was forced to stop: {SUPPRESSES}"
    assert text.startswith(f'{beginning}  File "channels/consumer.py", in app\n')
    assert text.endswith(f"\n{place(path)}{HOW_TO_STOP}")
    assert text.count('File "tests/') == 2
    assert report.communicator.future.done()


@pytest.mark.usefixtures("short_shutdown")
@pytest.mark.parametrize("name", FORCED)
async def test_a_forced_end_is_called_that_in_the_transcript(name: str) -> None:
    report = Report(name, FORCED[name][0])
    shown = only_note(await report.make()).splitlines()
    ending = [line for line in shown if "the application" in line]
    assert ending == ["   0.0 ms  the application was forced to stop"]
    [later] = [
        line
        for line in readable(report.communicator.transcript).splitlines()
        if "the application" in line
    ]
    assert later == ending[0]
    # The client of a server would not notice.
    assert report.communicator.client_view.close_code in (None, 1000, 1006)


@pytest.mark.usefixtures("short_shutdown")
@pytest.mark.parametrize("name", FORCED)
async def test_later_calls_say_where_the_application_suppresses_its_cancellation(
    name: str,
) -> None:
    path, _ = FORCED[name]
    report = Report(name, path)
    await report.make()
    it = report.communicator
    for call in (
        it.connect(),
        it.receive_output(),
        it.receive_from(),
        it.receive_json_from(),
        it.receive_nothing(),
        it.wait_closed(),
        it.send_to("anything"),
        it.send_json_to([]),
        it.send_input({"type": "websocket.receive", "text": "anything"}),
    ):
        error = await failure(call)
        assert isinstance(error, asyncio.CancelledError)
        text = readable(error)
        assert text.startswith(f"The application was forced to stop: {SUPPRESSES}")
        assert text.endswith(f"\n{place(path)}{HOW_TO_STOP}")
    later = await failure(it.wait())
    assert isinstance(later, AssertionError)
    assert readable(later).endswith(f"{place(path)}{HOW_TO_STOP}")
    it.stop()


@pytest.mark.usefixtures("short_shutdown")
@pytest.mark.parametrize("name", FORCED)
def test_a_forced_end_leaves_nothing_to_be_logged(name: str) -> None:
    reported: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reported.append(context))
        await Report(name, FORCED[name][0]).make()
        await asyncio.sleep(0)
        gc.collect()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    gc.collect()
    assert reported == []


async def test_every_call_ends_although_the_application_suppresses_cancellation() -> (
    None
):
    """With the real timeouts: about five seconds."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    reports = [Report(name, path) for name, (path, _) in FORCED.items()]
    tasks = [asyncio.ensure_future(report.make()) for report in reports]
    _, pending = await asyncio.wait(tasks, timeout=LONG)
    assert not pending
    assert loop.time() - start < 10


@pytest.mark.usefixtures("short_shutdown")
async def test_the_place_is_where_the_application_waits_after_its_cancellation() -> (
    None
):
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        try:
            while True:
                await receive()
        finally:
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.get_running_loop().create_future()  # cleans up

    communicator = RecordingWebsocketCommunicator(application, "/")
    cleans_up = "await asyncio.get_running_loop().create_future()  # cleans up"
    assert await message(communicator.wait(0.05)) == (
        f"The application was forced to stop: {SUPPRESSES}"
        + frame_of("application", cleans_up, __file__)
        + HOW_TO_STOP
    )


@pytest.mark.usefixtures("short_shutdown")
async def test_the_place_is_shown_although_the_consumer_is_idle() -> None:
    class Restarting(AsyncWebsocketConsumer):
        async def __call__(self, *args: Any) -> None:
            while True:
                with suppress(asyncio.CancelledError):
                    await super().__call__(*args)  # restarts

    communicator = RecordingWebsocketCommunicator(Restarting.as_asgi(), "/")
    await communicator.connect()
    text = await message(communicator.receive_output(0.05))
    assert text.startswith(
        "receive_output(timeout=0.05) timed out. Waiting for: any event."
        f" Received: nothing.\nThe application was forced to stop: {SUPPRESSES}"
    )
    assert (
        frame_of("__call__", "await super().__call__(*args)  # restarts", __file__)
        in text
    )
    assert text.endswith(HOW_TO_STOP)


@pytest.mark.usefixtures("short_shutdown")
async def test_an_application_that_cannot_be_forced_did_not_stop() -> None:
    stop = asyncio.Event()

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        while not stop.is_set():
            try:
                await stop.wait()  # stops for nothing
            except BaseException:
                pass

    waits = "await stop.wait()  # stops for nothing"
    did_not_stop = (
        f"The application did not stop: {SUPPRESSES}"
        + frame_of("application", waits, __file__)
        + '  File "asyncio/locks.py", in wait\n    await fut\n'
        + HOW_TO_STOP
    )
    communicators = []

    async def leave() -> None:
        async with RecordingWebsocketCommunicator(application, "/") as communicator:
            communicators.append(communicator)
            await communicator.receive_nothing()

    for name in ("async with", "wait", "disconnect", "receive_output"):
        if name == "async with":
            call: Any = leave()
        else:
            communicators.append(RecordingWebsocketCommunicator(application, "/"))
            call = getattr(communicators[-1], name)(timeout=0.05)
        error = await failure(call)
        assert type(error) is AssertionError
        assert readable(error) == did_not_stop
    stop.set()
    await asyncio.wait([it.future for it in communicators])


# Tasks that a subclass starts.


def reading_elsewhere(strict_: bool) -> RecordingWebsocketCommunicator:
    class Reader(RecordingWebsocketCommunicator):
        """Starts a task for every event that it sends, which receives later."""

        strict = strict_
        reader: "asyncio.Task[object]"

        async def send_input(self, message: dict[str, Any]) -> None:
            await super().send_input(message)
            if message["type"] == "websocket.receive":
                self.reader = asyncio.create_task(self.read())

        async def read(self) -> object:
            return await self.receive_output(0.2)

    return Reader(Echo.as_asgi(), "/ws/")


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data != "no reply":
            await self.send(text_data)


@pytest.mark.parametrize("strict", [False, True])
async def test_a_timeout_in_a_task_that_send_input_has_started_is_explained(
    strict: bool,
) -> None:
    communicator: Any = reading_elsewhere(strict)
    await communicator.connect()
    await communicator.send_to("no reply")
    error = await failure(communicator.reader)
    assert isinstance(error, TimeoutError)
    assert str(error) == (
        "receive_output(timeout=0.2) timed out. Waiting for: any event."
        f" Received: nothing.\n{IDLE}"
    )
    assert "-> receive    no reply\n" in only_note(error)


async def test_strict_checks_a_task_that_send_input_has_started() -> None:
    communicator: Any = reading_elsewhere(True)
    await communicator.connect()
    await communicator.send_to("NaN")
    error = await failure(communicator.reader)
    assert isinstance(error, AssertionError)
    assert str(error).splitlines()[1] == "send NaN"
    await communicator.disconnect()


async def test_strict_checks_a_call_while_another_task_has_one_in_progress() -> None:
    communicator = RecordingWebsocketCommunicator(Echo.as_asgi(), "/ws/")
    communicator.strict = True
    await communicator.connect()
    waiting = asyncio.ensure_future(communicator.wait_closed(LONG))
    await communicator.send_to("NaN")
    while communicator.pre_close_messages != ["NaN"]:
        await asyncio.sleep(0)
    error = await failure(communicator.receive_nothing(0))
    assert isinstance(error, AssertionError)
    assert str(error).splitlines()[1] == "send NaN"
    waiting.cancel()
    await asyncio.wait([waiting])
    await communicator.disconnect()


# What the test has forgotten.


HINTS = {
    "user": "which AuthMiddlewareStack adds: use that, or set"
    ' communicator.scope["user"] = user',
    "session": "which SessionMiddlewareStack adds: use that, or set"
    ' communicator.scope["session"] = session',
    "cookies": "which CookieMiddleware adds: use that, or set"
    ' communicator.scope["cookies"] = {}',
    "url_route": "which URLRouter adds: use that, or set"
    ' communicator.scope["url_route"] = {"args": (), "kwargs": {}}',
    "client": "which a server adds: use that, or set"
    ' communicator.scope["client"] = ["127.0.0.1", 50000]',
    "server": "which a server adds: use that, or set"
    ' communicator.scope["server"] = ["127.0.0.1", 8000]',
}


class Reads(AsyncWebsocketConsumer):
    def __init__(self, key: object) -> None:
        super().__init__()
        self.key: Any = key

    async def connect(self) -> None:
        scope: Any = self.scope
        scope[self.key]  # reads
        await self.accept()


class SyncReads(WebsocketConsumer):
    def __init__(self, key: object) -> None:
        super().__init__()
        self.key: Any = key

    def connect(self) -> None:
        scope: Any = self.scope
        scope[self.key]  # reads, too
        self.accept()


@pytest.mark.parametrize("key", HINTS)
@pytest.mark.parametrize(
    ("consumer", "code"),
    [
        (Reads, "scope[self.key]  # reads"),
        (SyncReads, "scope[self.key]  # reads, too"),
    ],
    ids=["async", "sync"],
)
async def test_a_key_error_says_what_adds_the_key_to_the_scope(
    key: str, consumer: Any, code: str
) -> None:
    communicator = RecordingWebsocketCommunicator(consumer.as_asgi(key=key), "/ws/")
    error = await failure(communicator.connect())
    assert type(error) is KeyError and error.args == (key,)
    assert only_note(error) == (
        "Transcript: /ws/\n"
        "   0.0 ms  -> connect\n"
        f"   0.0 ms  the application raised KeyError: {key!r},"
        f" tests/failures/test_failures.py:{line_of(code, __file__)}\n"
        f"              the scope has no {key!r}, {HINTS[key]}\n"
        "a client of Daphne sees: HTTP 500, then close code 1006"
    )


class KeyErrors(AsyncWebsocketConsumer):
    """Raises the exception that is in its scope."""

    async def connect(self) -> None:
        scope: Any = self.scope
        raise scope["error"]


@pytest.mark.parametrize(
    ("error", "keys"),
    [
        (KeyError("user"), {"user": None}),
        (KeyError("url_route"), {"url_route": {}}),
        (KeyError("room"), {}),
        (KeyError("path"), {}),
        (KeyError(), {}),
        (KeyError(1), {}),
        (KeyError(["user"]), {}),
        (LookupError("user"), {}),
        (ValueError("user"), {}),
        (TypeError("user"), {}),
    ],
    ids=repr,
)
async def test_another_error_gets_no_hint(
    error: Exception, keys: dict[str, object]
) -> None:
    communicator = RecordingWebsocketCommunicator(KeyErrors.as_asgi(), "/ws/")
    scope: Any = communicator.scope
    scope.update({"error": error, **keys})
    raised = await failure(communicator.connect())
    assert raised is error
    shown = only_note(raised).splitlines()
    as_in_traceback, *_ = traceback.format_exception_only(error)
    crash = f"   0.0 ms  the application raised {as_in_traceback.strip()}, tests/"
    assert shown[2].startswith(crash)
    assert shown[3:] == ["a client of Daphne sees: HTTP 500, then close code 1006"]


async def test_a_key_that_cannot_be_compared_does_not_break_the_transcript() -> None:
    communicator = RecordingWebsocketCommunicator(KeyErrors.as_asgi(), "/ws/")
    scope: Any = communicator.scope
    scope["error"] = KeyError(HOSTILE)
    error = await failure(communicator.connect())
    assert error is scope["error"]
    shown = only_note(error).splitlines()
    assert re.fullmatch(
        r" +0\.0 ms  the application raised .*KeyError.*, \S+/test_failures.py:\d+",
        shown[2],
    )
    assert shown[3:] == ["a client of Daphne sees: HTTP 500, then close code 1006"]


async def test_a_key_that_middleware_has_added_gets_no_hint() -> None:
    def middleware(scope: Any, receive: Any, send: Any) -> Any:
        inner: Any = {**scope, "user": None, "error": KeyError("user")}
        return KeyErrors.as_asgi()(inner, receive, send)

    communicator = RecordingWebsocketCommunicator(as_application(middleware), "/ws/")
    error = await failure(communicator.connect())
    assert type(error) is KeyError
    assert "the application raised KeyError: 'user'" in only_note(error)
    assert "the scope has no" not in only_note(error)


def as_application(function: Any) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await function(scope, receive, send)

    return application


@pytest.mark.parametrize(
    "consumer", [AsyncWebsocketConsumer, WebsocketConsumer, AsyncConsumer, SyncConsumer]
)
async def test_a_consumer_class_in_place_of_its_application_is_explained(
    consumer: Any,
) -> None:
    consumer = type("RoomConsumer", (consumer,), {})
    parent = WebsocketCommunicator(consumer, "/ws/")
    ours = RecordingWebsocketCommunicator(consumer, "/ws/")
    expected, error = await failure(parent.connect()), await failure(ours.connect())
    assert type(expected) is type(error) is TypeError
    assert str(expected) == str(error)
    hint = "RoomConsumer is a class, not an application: pass RoomConsumer.as_asgi()"
    assert only_note(error).splitlines()[3] == f"{'':14}{hint}"
    router = URLRouter([url("ws/", consumer)])
    routed = RecordingWebsocketCommunicator(router, "/ws/")
    error = await failure(routed.connect())
    assert only_note(error).splitlines()[3] == f"{'':14}{hint}"


async def test_a_type_error_of_another_class_gets_no_hint() -> None:
    class Application:
        def __init__(self, scope: object) -> None:
            raise TypeError("its own")

    application: Any = Application
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    error = await failure(communicator.connect())
    assert str(error) == "its own"
    assert "is a class" not in only_note(error)


async def test_a_type_error_of_a_consumer_gets_no_hint() -> None:
    class Consumer(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            raise TypeError("its own")

    communicator = RecordingWebsocketCommunicator(Consumer.as_asgi(), "/ws/")
    error = await failure(communicator.connect())
    assert "is a class" not in only_note(error)


# Several communicators.


TOKENS = [
    f"/ws/rooms/a-room-with-quite-a-long-name/?token={'0123456789' * 9}{end}"
    for end in ("first", "second")
]


@pytest.mark.parametrize("failing", [0, 1])
async def test_clients_whose_paths_differ_at_the_end_can_be_told_apart(
    failing: int,
) -> None:
    application = scripted(Script((ACCEPT,)), "async")
    with pytest.raises(TimeoutError) as raised:
        async with (
            RecordingWebsocketCommunicator(application, TOKENS[0]) as first,
            RecordingWebsocketCommunicator(application, TOKENS[1]) as second,
        ):
            await asyncio.gather(first.connect(), second.connect())
            await (first, second)[failing].receive_output(0.05)
    shown = only_note(raised.value)
    headings = [line for line in shown.splitlines() if "Transcript" in line]
    assert len(headings) == len(set(headings)) == 2
    # Whose call has failed is said of one of them.
    [failed] = [heading for heading in headings if "fail" in heading]
    [other] = [heading for heading in headings if "fail" not in heading]
    ends = ["first", "second"]
    assert ends[failing] in failed and ends[failing] not in other
    assert ends[1 - failing] in other and ends[1 - failing] not in failed


async def test_a_single_communicator_needs_no_name() -> None:
    error = await failure(client(ACCEPT).receive_output(0.05))
    assert only_note(error).splitlines()[0] == "Transcript: /ws/?token=old"


@pytest.mark.parametrize(
    ("offered", "shown"),
    [
        ([], "   0.0 ms  -> connect"),
        (["chat"], "   0.0 ms  -> connect    subprotocols chat"),
        (["chat", "v2", ""], "   0.0 ms  -> connect    subprotocols chat, v2, ''"),
    ],
)
async def test_the_line_of_connect_shows_the_subprotocols(
    offered: list[str], shown: str
) -> None:
    application = scripted(Script(()), "async")
    communicator = RecordingWebsocketCommunicator(application, "/ws/", None, offered)
    error = await failure(communicator.connect(0.05))
    assert only_note(error) == (
        f"Transcript: /ws/\n{shown}\n"
        "   0.0 ms  the application was cancelled\n"
        "a client of Daphne sees: no response yet"
    )


# The output of a test runner.


FAILING = """
import asyncio
import unittest

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.test import SimpleTestCase

from channels_closetest import RecordingWebsocketCommunicator


class Consumer(AsyncJsonWebsocketConsumer):
    async def connect(self):
        if self.scope["path"] == "/rejects/":
            await self.send_json({"type": "jwt-expired"})
        elif self.scope["path"] == "/crashes/":
            raise ValueError("boom")
        else:
            await self.accept()
            await self.send(text_data="NaN")

    async def disconnect(self, code):
        raise ValueError("at the end")


class Tests(unittest.IsolatedAsyncioTestCase):
    async def test_rejected(self):
        communicator = RecordingWebsocketCommunicator(Consumer.as_asgi(), "/rejects/")
        await communicator.connect(timeout=0.2)


class MoreTests(SimpleTestCase):
    async def test_rejected(self):
        communicator = RecordingWebsocketCommunicator(Consumer.as_asgi(), "/rejects/")
        await communicator.connect(timeout=0.2)

    async def test_crash(self):
        communicator = RecordingWebsocketCommunicator(Consumer.as_asgi(), "/crashes/")
        await communicator.connect()

    async def test_strict(self):
        communicator = RecordingWebsocketCommunicator(Consumer.as_asgi(), "/strict/")
        communicator.strict = True
        await communicator.connect()  # strictly

    async def test_the_end_of_a_block(self):
        communicator = RecordingWebsocketCommunicator(Consumer.as_asgi(), "/ends/")
        async with communicator:
            await communicator.connect()

    async def test_an_error_of_channels(self):
        communicator = RecordingWebsocketCommunicator(Consumer.as_asgi(), "/json/")
        await communicator.connect()
        await communicator.send_to(b"bytes")

    async def test_stop(self):
        communicator = RecordingWebsocketCommunicator(Consumer.as_asgi(), "/crashes/")
        await communicator.send_input({"type": "websocket.connect"})
        await asyncio.wait([communicator.future])
        communicator.stop()


if __name__ == "__main__":
    unittest.main()
"""


def output_of(command: list[str], file: Path) -> str:
    """Run tests as their users do, and return what is printed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        # The options of this run of pytest are not meant for another.
        if not name.startswith("PYTEST_")
    }
    process = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", *command],
        env={
            **environment,
            "PYTHONPATH": str(TESTS.parent),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        },
        cwd=file.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert process.returncode == 1, process.stdout
    return process.stdout


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    file = tmp_path / "failing.py"
    file.write_text(FAILING)
    return file


def test_the_whole_output_of_a_failing_test(failing: Path) -> None:
    output = output_of([str(failing), "Tests"], failing)
    shown = re.search(r"TimeoutError: (.*?)\n\n-----", output, re.DOTALL)
    assert shown is not None, output
    notes = textwrap.dedent("""
        Transcript: /rejects/
           0.0 ms  -> connect
           0.0 ms  <- send       {"type": "jwt-expired"}  !! sent before accept(): \
the client receives HTTP 500
           0.0 ms  the application was cancelled
        a client of Daphne sees: HTTP 500, then close code 1006""")
    assert readable(shown[1]) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE}"
        f" Received: 1 data frame, now in pre_close_messages.\n{UNANSWERED}" + notes
    )
    # The output has the test's own line, and no warning of asyncio.
    assert "await communicator.connect(timeout=0.2)" in output
    assert not re.search("never|destroyed|Warning", output)


PYTEST = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio"]
RUNNERS = {
    "pytest": [*PYTEST, "failing.py::MoreTests"],
    "unittest": ["-m", "unittest", "failing.MoreTests"],
    "django": ["-m", "django", "test", "failing.MoreTests"],
    "pytest, native": [*PYTEST, "--tb=native", "failing.py::MoreTests"],
    "pytest, all frames": [*PYTEST, "--full-trace", "failing.py::MoreTests"],
}


TESTS_THAT_FAIL = set(re.findall(r"def (test_\w+)", FAILING))


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_failing_test_shows_no_frame_of_the_package(
    runner: str, failing: Path
) -> None:
    output = output_of(RUNNERS[runner], failing)
    assert len(set(re.findall(r"\btest_\w+", output)) & TESTS_THAT_FAIL) == 6, output
    # On a busy machine, asyncio's debug mode logs slow steps, with their callbacks.
    lines = [it for it in output.splitlines() if not it.startswith("Executing <")]
    shown = [line for line in lines if "channels_closetest/" in line]
    assert shown == []
    for line in (
        "await communicator.connect(timeout=0.2)",
        "await communicator.connect()",
        "await communicator.connect()  # strictly",
        "async with communicator:",
        'await communicator.send_to(b"bytes")',
        "communicator.stop()",
        'raise ValueError("boom")',
        'raise ValueError("at the end")',
    ):
        assert line in output, output


async def test_a_consumer_without_a_channel_layer_gets_a_hint() -> None:
    class Grouped(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.channel_layer.group_add("group", self.channel_name)

    class InGroups(AsyncWebsocketConsumer):
        groups = ["group"]

    for consumer in (Grouped, InGroups):
        communicator = RecordingWebsocketCommunicator(consumer.as_asgi(), "/ws/")
        with override_settings(CHANNEL_LAYERS={}):
            error = await failure(communicator.connect())
        assert type(error).__name__ in ("AttributeError", "InvalidChannelLayerError")
        *_, hint, _ = str(communicator.transcript).splitlines()
        assert hint.strip() == (
            "there is no channel layer: set CHANNEL_LAYERS, or override_settings() it"
        )

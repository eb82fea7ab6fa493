"""Why a call fails: what it waited for, what it received, and what to do."""

import asyncio
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, BODY, CLOSE_WITH_REASON, DENIAL, JSON_FRAME, PART
from tests.failures.texts import (
    AWAITED,
    BOOM,
    IDLE,
    NOT_CLOSED,
    RETURNED,
    UNANSWERED,
    WITHOUT_ANSWER,
    nothing_more,
    timed_out,
)
from tests.helpers import (
    LONG,
    client,
    each_consumer,
    failure,
    hanging,
    ignore_undeliverable,
    message,
    only_note,
)
from tests.scripts import Kind, Script, scripted
from tests.virtual_time import run

pytestmark = ignore_undeliverable


class Cause(NamedTuple):
    """Why a call fails."""

    application: Any
    #: The calls in order. The last one is the one that fails; others may.
    calls: str
    text: str
    error: type[BaseException] = TimeoutError


def times_out(
    calls: str, where: str, *events: object, received: str = "nothing"
) -> Cause:
    text = timed_out(calls.split()[-1], where, received)
    return Cause(Script(events), calls, text)


def idle(calls: str, why: str, *events: object) -> Cause:
    return times_out(calls, f"the application {why}", *events)


def ends(calls: str, how: str, advice: str, ending: Any = "wait") -> Cause:
    text = nothing_more(calls.split()[-1], how, advice)
    return Cause(Script((ACCEPT,), ending), calls, text)


def cancelled(calls: str, text: str, application: Any = hanging) -> Cause:
    return Cause(application, calls, text, asyncio.CancelledError)


def timed_out_before(calls: str) -> Cause:
    text = (
        f"The application is cancelled: an earlier {calls.split()[0]}(timeout=0.2)"
        " timed out. Like the parent class, a call that times out cancels the"
        " application.\nTo check that nothing is sent, use receive_nothing(): it does"
        " not cancel the application."
    )
    return cancelled(calls, text)


def ended_before(end: str, name: str) -> Cause:
    text = (
        f"{end}(timeout=0.2) cancelled the application, which had not returned in"
        " time.\nCall wait() and disconnect() at the end of the test."
    )
    return cancelled(f"{end} {name}", text)


def unexpected(event: object, error: type[Exception], shown: str) -> Cause:
    text = (
        "connect() expected websocket.accept, websocket.close or a denial response,"
        f" but the application sent {shown}.\n"
        "Call accept() or close() before sending anything else."
    )
    return Cause(Script((event,)), "connect", text, error)


CLOSED = (
    "has closed with 4401\n"
    "The test has already received the close; nothing can follow it."
)
DISCONNECTED = (
    "the test has disconnected",
    "A communicator is one connection: create another one.",
)
ONE, TWO = (
    f"{frames}, now in pre_close_messages"
    for frames in ("1 data frame", "2 data frames")
)
RECEIVING = ("receive_output", "receive_from", "receive_json_from")
CAUSES = [
    # What it waits for, and what it has received.
    *(times_out(f"connect {name}", IDLE, ACCEPT) for name in RECEIVING),
    times_out("connect wait_closed", NOT_CLOSED, ACCEPT),
    times_out("connect", UNANSWERED),
    times_out("connect", UNANSWERED, JSON_FRAME, received=ONE),
    times_out("connect", UNANSWERED, JSON_FRAME, JSON_FRAME, received=TWO),
    times_out(
        "connect wait_closed", NOT_CLOSED, ACCEPT, ACCEPT, received="1 other event"
    ),
    # Only the frames that it has read past itself.
    times_out(
        "connect wait_closed",
        NOT_CLOSED,
        *(JSON_FRAME, ACCEPT, JSON_FRAME),
        received=ONE,
    ),
    times_out(
        "connect",
        "the application has started a denial response and not completed"
        " it\nSend a websocket.http.response.body without more_body.",
        *(DENIAL, PART),
        received="the start of a denial response, HTTP 401, but not its end",
    ),
    # Why a consumer that waits for events sends nothing.
    idle(
        "receive_json_from",
        "has not received websocket.connect\nCall connect() first.",
        ACCEPT,
    ),
    idle(
        "connect receive_json_from",
        "has denied the handshake with HTTP 401\nSee denial_response.",
        *(DENIAL, BODY),
    ),
    idle("connect receive_output", CLOSED, CLOSE_WITH_REASON),
    idle("connect receive_output receive_from", CLOSED, ACCEPT, CLOSE_WITH_REASON),
    idle(
        "connect wait_closed receive_json_from",
        CLOSED,
        *(ACCEPT, JSON_FRAME, CLOSE_WITH_REASON),
    ),
    # Nothing more can come.
    *(
        ends(f"connect {name}", "the application has returned", RETURNED, "return")
        for name in (*RECEIVING, "wait_closed")
    ),
    *(
        ends(f"connect {end} {name} {name}", *DISCONNECTED)
        for name in AWAITED
        for end in ("disconnect", "leave")
    ),
    # Who has cancelled the application.
    *(timed_out_before(f"{name} receive_output receive_output") for name in AWAITED),
    timed_out_before("receive_output wait receive_output"),
    *(ended_before("wait", name) for name in AWAITED),
    *(ended_before("disconnect", name) for name in AWAITED),
    cancelled(
        "connect stop receive_output",
        "The application was cancelled by stop(), by future.cancel() or by itself.\n"
        "Cancel it only at the end of the test, or create a new communicator.",
        Script((ACCEPT,)),
    ),
    # What has come instead.
    unexpected(PART, AssertionError, "denial body b'Not ', more to come"),
    unexpected({"text": "1"}, KeyError, "{'text': '1'}"),
    unexpected(None, TypeError, "None"),
    Cause(
        Script((DENIAL, BODY)),
        "connect wait_closed",
        "wait_closed() expected websocket.close, but the application sent denial"
        " HTTP 401.\nSee denial_response.",
        AssertionError,
    ),
]


async def perform(communicator: RecordingWebsocketCommunicator, name: str) -> None:
    if name == "leave":
        async with communicator:
            pass
    elif name == "stop":
        communicator.stop()
    else:
        await getattr(communicator, name)(timeout=0.2)


@each_consumer
@pytest.mark.parametrize("cause", CAUSES, ids=lambda it: it.calls.replace(" ", "(), "))
def test_the_text_of_a_failure(cause: Cause, kind: Kind) -> None:
    application = cause.application
    if isinstance(application, Script):
        application = scripted(application, kind)

    async def fail() -> BaseException:
        communicator = RecordingWebsocketCommunicator(application, "/ws/")
        *before, last = cause.calls.split()
        for earlier in before:
            with suppress(TimeoutError, asyncio.CancelledError):
                await perform(communicator, earlier)
        return await failure(perform(communicator, last))

    error = run(fail())
    assert type(error) is cause.error
    assert error.args == (cause.text,)


@pytest.mark.parametrize(
    ("arguments", "keywords", "timeout"),
    [((), {}, 1), ((2,), {}, 2), ((), {"timeout": 3}, 3), ((None,), {}, None)],
)
async def test_a_failure_shows_the_timeout_however_it_is_given(
    arguments: Any, keywords: Any, timeout: float | None
) -> None:
    call = client(ending="return").connect(*arguments, **keywords)
    assert await message(call) == nothing_more("connect", *WITHOUT_ANSWER, timeout)


async def test_the_cancellation_of_the_test_itself_has_no_text() -> None:
    task = asyncio.ensure_future(client().connect())
    await asyncio.sleep(0)
    task.cancel()
    error = await failure(task)
    assert isinstance(error, asyncio.CancelledError)
    assert error.args == ()


# A receive_output() of the test's own.


class Overriding(RecordingWebsocketCommunicator):
    """Its receive_output() reads the queue itself, as in public suites."""

    async def receive_output(self, timeout: float | None = 1) -> Any:
        return await asyncio.wait_for(self.output_queue.get(), timeout)


class Failing(RecordingWebsocketCommunicator):
    async def receive_output(self, timeout: float | None = 1) -> Any:
        raise TimeoutError


class Relaying(RecordingWebsocketCommunicator):
    other: RecordingWebsocketCommunicator

    async def receive_output(self, timeout: float | None = 1) -> Any:
        return await self.other.receive_output(timeout)


def test_a_subclass_that_reads_the_queue_itself_is_told_of_the_crash() -> None:
    async def fail() -> None:
        application = scripted(Script((ACCEPT,), "raise"), "async")
        communicator = Overriding(application, "/ws/")
        await communicator.connect()
        # Its own receive_output() is not explained: it may call what it likes.
        assert await message(communicator.receive_output(0.2)) == ""
        for name in ("receive_from", "wait_closed"):
            assert await message(perform(communicator, name)) == nothing_more(
                name,
                f"the application has raised {BOOM}",
                "Your receive_output() hides this exception: call"
                " super().receive_output() to raise it.",
            )

    run(fail())


def test_a_timeout_of_a_receive_output_of_the_tests_own_is_explained() -> None:
    async def fail() -> None:
        application = scripted(Script(()), "async")
        communicator = Overriding(application, "/ws/")
        unanswered = timed_out("connect", UNANSWERED)
        assert await message(communicator.connect(0.2)) == unanswered
        assert not communicator.future.done()
        failing = Failing(application, "/ws/")
        not_started = "the application has not been started\nCall connect() first."
        shown = timed_out("receive_from", not_started)
        assert await message(failing.receive_from(0.2)) == shown
        # It is the other communicator that explains.
        relaying = Relaying(application, "/ws/")
        relaying.other = client(ACCEPT)
        await relaying.other.connect()
        shown = timed_out("receive_output", IDLE)
        assert await message(relaying.receive_from(0.2)) == shown

    run(fail())


# Calls in tasks of their own.


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data != "no reply":
            await self.send(text_data)


class ReadingLater(RecordingWebsocketCommunicator):
    """Starts a task for every event that it sends, which receives later."""

    reader: "asyncio.Task[object]"

    async def send_input(self, message: dict[str, Any]) -> None:
        await super().send_input(message)
        if message["type"] == "websocket.receive":
            self.reader = asyncio.create_task(self.receive_output(0.2))


@pytest.mark.parametrize("strict", [False, True])
def test_a_failure_in_a_task_that_send_input_has_started_is_explained(
    strict: bool,
) -> None:
    async def fail(text: str) -> BaseException:
        communicator = ReadingLater(Echo.as_asgi(), "/ws/")
        communicator.strict = strict
        await communicator.connect()
        await communicator.send_to(text)
        return await failure(communicator.reader)

    error = run(fail("no reply"))
    assert isinstance(error, TimeoutError)
    assert str(error) == timed_out("receive_output", IDLE)
    assert "no reply\n" in only_note(error)
    if strict:
        error = run(fail("NaN"))
        assert isinstance(error, AssertionError)
        assert str(error).splitlines()[1].endswith(": send NaN")


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
    assert str(error).splitlines()[1].endswith(": send NaN")
    waiting.cancel()
    await asyncio.wait([waiting])
    await communicator.disconnect()

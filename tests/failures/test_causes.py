"""Why a call fails: what it waited for, what it received, and what to do."""

import asyncio
from collections.abc import Callable, Coroutine
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
    """A call that fails."""

    application: Any
    #: The calls before it, which may fail, too.
    before: list[str]
    call: str
    text: str
    error: type[BaseException] = TimeoutError


RECEIVING = [name for name in AWAITED if name != "connect"]
CLOSED = (
    "The consumer is idle: it has closed with 4401.\n"
    "The test has already received the close; nothing can follow it."
)
DISCONNECTED = (
    "the test has disconnected",
    "A communicator is one connection: create another one.",
)


def idle(*events: object, before: list[str], why: str) -> Cause:
    text = timed_out("receive_json_from", f"The consumer is idle: it {why}")
    return Cause(Script(events), before, "receive_json_from", text)


def cancelled(application: Any, before: list[str], call: str, text: str) -> Cause:
    return Cause(application, before, call, text, asyncio.CancelledError)


def unexpected(event: object, error: type[Exception], shown: str) -> Cause:
    text = (
        "connect() expected websocket.accept, websocket.close or"
        " websocket.http.response.start, but the application sent"
        f" {shown}.\nCall accept() or close() before sending anything else."
    )
    return Cause(Script((event,)), [], "connect", text, error)


def timed_out_before(name: str) -> str:
    return (
        f"The application is cancelled: an earlier {name}(timeout=0.2) timed out."
        " Like the parent class, a call that times out cancels the application.\n"
        "To check that nothing is sent, use receive_nothing(): it does not cancel"
        " the application."
    )


CAUSES: dict[str, Cause] = {
    **{
        f"{name}(): idle": Cause(
            Script((ACCEPT,)),
            ["connect"],
            name,
            timed_out(name, NOT_CLOSED if name == "wait_closed" else IDLE),
        )
        for name in RECEIVING
    },
    **{
        f"{name}(): returned": Cause(
            Script((ACCEPT,), "return"),
            ["connect"],
            name,
            nothing_more(name, "the application has returned", RETURNED),
        )
        for name in RECEIVING
    },
    **{
        f"{name}() after {end}": Cause(
            Script((ACCEPT,)),
            ["connect", end, name],
            name,
            nothing_more(name, *DISCONNECTED),
        )
        for name in AWAITED
        for end in ("disconnect", "async with")
    },
    **{
        f"connect(): {number} frames, and no answer": Cause(
            Script((JSON_FRAME,) * number),
            [],
            "connect",
            timed_out("connect", UNANSWERED, received),
        )
        for number, received in enumerate(
            [
                "nothing",
                "1 data frame, now in pre_close_messages",
                "2 data frames, now in pre_close_messages",
            ]
        )
    },
    "wait_closed(): only the frames that it has read past itself": Cause(
        Script((JSON_FRAME, ACCEPT, JSON_FRAME)),
        ["connect"],
        "wait_closed",
        timed_out("wait_closed", NOT_CLOSED, "1 data frame, now in pre_close_messages"),
    ),
    "connect(): denial response incomplete": Cause(
        Script((DENIAL, PART)),
        [],
        "connect",
        timed_out(
            "connect",
            "The consumer is idle: it has started a denial response and not completed"
            " it.\nSend a websocket.http.response.body without more_body.",
            "the start of a denial response, HTTP 401, but not its end",
        ),
    ),
    "idle: not connected": idle(
        ACCEPT,
        before=[],
        why="has not received websocket.connect.\nCall connect() first.",
    ),
    "idle: denied": idle(
        DENIAL,
        BODY,
        before=["connect"],
        why="has denied the handshake with HTTP 401.\nSee denial_response.",
    ),
    **{
        f"idle: closed, which {before[-1]} has returned": Cause(
            Script(events),
            before,
            "receive_output",
            timed_out("receive_output", CLOSED),
        )
        for events, before in [
            ((CLOSE_WITH_REASON,), ["connect"]),
            ((ACCEPT, CLOSE_WITH_REASON), ["connect", "receive_output"]),
            ((ACCEPT, JSON_FRAME, CLOSE_WITH_REASON), ["connect", "wait_closed"]),
        ]
    },
    "wait_closed(): denied": Cause(
        Script((DENIAL, BODY)),
        ["connect"],
        "wait_closed",
        "wait_closed() expected websocket.close, but the application has denied the"
        " handshake with HTTP 401.\nSee denial_response.",
        AssertionError,
    ),
    "no handshake response: a body": unexpected(
        PART, AssertionError, "denial body b'Not ', more to come"
    ),
    "no handshake response: no type": unexpected(
        {"text": "1"}, KeyError, "{'text': '1'}"
    ),
    "no handshake response: None": unexpected(None, TypeError, "None"),
    **{
        f"cancelled: an earlier {name}()": cancelled(
            Script(()),
            [name, "receive_output"],
            "receive_output",
            timed_out_before(name),
        )
        for name in AWAITED
    },
    "cancelled: an earlier call, although wait() follows": cancelled(
        hanging,
        ["receive_output", "wait"],
        "receive_output",
        timed_out_before("receive_output"),
    ),
    **{
        f"cancelled: {end}(), before {name}()": cancelled(
            hanging,
            [end],
            name,
            f"{end}(timeout=0.2) cancelled the application, which had not returned in"
            " time.\nCall wait() and disconnect() at the end of the test.",
        )
        for end in ("wait", "disconnect")
        for name in AWAITED
    },
    "cancelled: by no call": cancelled(
        Script((ACCEPT,)),
        ["connect", "stop"],
        "receive_output",
        "The application was cancelled by stop(), by future.cancel() or by itself.\n"
        "Cancel it only at the end of the test, or create a new communicator.",
    ),
}


async def perform(communicator: RecordingWebsocketCommunicator, name: str) -> None:
    if name == "async with":
        async with communicator:
            pass
    elif name == "stop":
        communicator.stop()
    else:
        await getattr(communicator, name)(timeout=0.2)


@each_consumer
@pytest.mark.parametrize("name", CAUSES)
def test_the_text_of_a_failure(name: str, kind: Kind) -> None:
    application, before, call, text, expected = CAUSES[name]
    if isinstance(application, Script):
        application = scripted(application, kind)

    async def fail() -> BaseException:
        communicator = RecordingWebsocketCommunicator(application, "/ws/")
        for earlier in before:
            with suppress(TimeoutError, asyncio.CancelledError):
                await perform(communicator, earlier)
        return await failure(perform(communicator, call))

    error = run(fail())
    assert type(error) is expected
    assert error.args == (text,)


@pytest.mark.parametrize(
    ("arguments", "keywords", "timeout"),
    [((), {}, 1), ((2,), {}, 2), ((), {"timeout": 3}, 3), ((None,), {}, None)],
)
async def test_a_failure_shows_the_timeout_however_it_is_given(
    arguments: Any, keywords: Any, timeout: float | None
) -> None:
    call = client(ending="return").connect(*arguments, **keywords)
    assert await message(call) == nothing_more(
        "connect", "the application has returned", RETURNED, timeout
    )


async def test_the_cancellation_of_the_test_itself_has_no_text() -> None:
    task = asyncio.ensure_future(client().connect())
    await asyncio.sleep(0)
    task.cancel()
    error = await failure(task)
    assert isinstance(error, asyncio.CancelledError)
    assert error.args == ()


# A receive_output() of the test's own.


ReceiveOutput = Callable[
    [RecordingWebsocketCommunicator, float], Coroutine[Any, Any, Any]
]


def overriding(
    receive_output: ReceiveOutput, *events: object, ending: Any = "wait"
) -> RecordingWebsocketCommunicator:
    class Overriding(RecordingWebsocketCommunicator):
        async def receive_output(self, timeout: float | None = 1) -> Any:
            return await receive_output(self, timeout or 0)

    return Overriding(scripted(Script(events, ending), "async"), "/ws/")


async def read_queue(it: RecordingWebsocketCommunicator, timeout: float) -> Any:
    """Read the queue itself, as subclasses in public suites do."""
    return await asyncio.wait_for(it.output_queue.get(), timeout)


def test_a_subclass_that_reads_the_queue_itself_is_told_of_the_crash() -> None:
    async def fail() -> None:
        communicator = overriding(read_queue, ACCEPT, ending="raise")
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
        async def fail_at_once(it: object, timeout: float) -> None:
            raise TimeoutError

        async def relay(it: object, timeout: float) -> object:
            return await other.receive_output(timeout)

        communicator = overriding(read_queue)
        unanswered = timed_out("connect", UNANSWERED)
        assert await message(communicator.connect(0.2)) == unanswered
        assert not communicator.future.done()
        communicator.stop()
        not_started = "The application has not been started.\nCall connect() first."
        assert await message(overriding(fail_at_once).receive_from(0.2)) == timed_out(
            "receive_from", not_started
        )
        other = client(ACCEPT)
        await other.connect()
        # It is the other communicator that explains.
        assert await message(overriding(relay).receive_from(0.2)) == timed_out(
            "receive_output", IDLE
        )

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
        assert str(error).splitlines()[1] == "send NaN"


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

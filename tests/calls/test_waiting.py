"""A call waits as long as the parent's, and ends at once when the application ends."""

import asyncio
import threading
import time
import traceback
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.testing import WebsocketCommunicator

import channels_closetest.application
from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, CONNECT, JSON_FRAME, Event, body
from tests.helpers import (
    LONG,
    SHORT,
    CommunicatorClass,
    both_classes,
    each_kind,
    hanging,
)
from tests.scripts import Boom, Kind, Script, scripted

#: The timeout of a call in seconds, and the time in which it should end.
TIMEOUT = 100
AT_ONCE = 10


CALLS_THAT_WAIT = [
    "connect",
    "receive_output",
    "receive_from",
    "receive_json_from",
    "wait_closed",
]

each_call = pytest.mark.parametrize("name", CALLS_THAT_WAIT)


def call(
    communicator: WebsocketCommunicator, name: str, timeout: float | None
) -> Awaitable[Any]:
    made: Awaitable[Any] = getattr(communicator, name)(timeout=timeout)
    return made


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


async def started(
    script: Script, kind: Kind = "asgi", ended: bool = False
) -> RecordingWebsocketCommunicator:
    """Return a communicator whose application is about to run, or has ended."""
    communicator = RecordingWebsocketCommunicator(scripted(script, kind), "/")
    await communicator.send_input(CONNECT)
    if ended:
        await asyncio.wait([communicator.future])
    return communicator


def repeating(first: Event, event: Event, pause: float) -> ASGI3Application:
    """Return an application that sends an event again and again."""

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        await send(first)  # type: ignore[arg-type]
        while True:
            await send(event)  # type: ignore[arg-type]
            await asyncio.sleep(pause)

    return application


def late(event: Event, pause: float = 0.05) -> ASGI3Application:
    """Return an application that sends an event after a pause and returns."""

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        await asyncio.sleep(pause)
        await send(event)  # type: ignore[arg-type]

    return application


async def echo(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    while True:
        event: Any = await receive()
        if event["type"] == "websocket.receive":
            outcome = {"type": "websocket.send", "text": event["text"]}
            await send(outcome)  # type: ignore[arg-type]


# An application that has ended.


@each_call
@each_kind
@pytest.mark.parametrize("ended", [False, True], ids=["meanwhile", "before"])
async def test_a_crash_ends_the_call_at_once(
    name: str, kind: Kind, ended: bool
) -> None:
    communicator = await started(Script((), "raise"), kind, ended)
    with within(AT_ONCE), pytest.raises(Boom) as raised:
        await call(communicator, name, TIMEOUT)
    assert raised.value is communicator.future.exception()
    assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "end"


@each_call
@each_kind
@pytest.mark.parametrize("ended", [False, True], ids=["meanwhile", "before"])
async def test_a_return_ends_the_call_at_once(
    name: str, kind: Kind, ended: bool
) -> None:
    communicator = await started(Script((), "return"), kind, ended)
    with within(AT_ONCE), pytest.raises(TimeoutError):
        await call(communicator, name, TIMEOUT)
    assert communicator.future.done()
    assert not communicator.future.cancelled()


@each_kind
@pytest.mark.parametrize("ending", ["return", "raise"])
@pytest.mark.parametrize("interval", [0.01, TIMEOUT])
async def test_receive_nothing_returns_at_once_when_the_application_ends(
    kind: Kind, ending: Any, interval: float
) -> None:
    communicator = await started(Script((), ending), kind)
    with within(AT_ONCE):
        assert await communicator.receive_nothing(TIMEOUT, interval)


@each_kind
async def test_receive_nothing_returns_at_once_when_the_application_has_returned(
    kind: Kind,
) -> None:
    communicator = await started(Script((), "return"), kind, ended=True)
    with within(AT_ONCE):
        assert await communicator.receive_nothing(TIMEOUT)


@each_kind
@pytest.mark.parametrize("name", ["wait", "receive_output"])
@pytest.mark.parametrize("ending", ["wait", "raise"])
async def test_receive_nothing_after_the_end_returns_or_raises_as_the_parent_does(
    kind: Kind, name: str, ending: Any
) -> None:
    outcomes = []
    for communicator_class in (WebsocketCommunicator, RecordingWebsocketCommunicator):
        application = scripted(Script((), ending), kind)
        communicator = communicator_class(application, "/")
        await communicator.send_input(CONNECT)
        if ending == "raise":
            await asyncio.wait([communicator.future])
        with suppress(Boom, TimeoutError):
            await call(communicator, name, SHORT)
        try:
            outcomes.append(repr(await communicator.receive_nothing()))
        except (Boom, asyncio.CancelledError) as error:
            # It raises the exception of the application; with old asgiref it does not.
            assert communicator.future.cancelled() or (
                error is communicator.future.exception()
            )
            outcomes.append(type(error).__name__)
    assert outcomes[0] == outcomes[1]


@each_call
async def test_a_crash_is_raised_by_every_later_call(name: str) -> None:
    communicator = await started(Script((), "raise"))
    raised = []
    for _ in range(3):
        with pytest.raises(Boom) as caught:
            await call(communicator, name, TIMEOUT)
        raised.append(caught.value)
    assert raised == [communicator.future.exception()] * 3


@each_call
async def test_an_application_that_cancels_itself_ends_the_call_at_once(
    name: str,
) -> None:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        raise asyncio.CancelledError

    communicator = RecordingWebsocketCommunicator(application, "/")
    with within(AT_ONCE), pytest.raises(asyncio.CancelledError):
        await call(communicator, name, TIMEOUT)


# The order of events and exceptions is that of the parent.


@both_classes
async def test_an_event_sent_before_a_crash_is_returned_before_the_crash_is_raised(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(
        scripted(Script((JSON_FRAME, JSON_FRAME), "raise"), "asgi"), "/"
    )
    await communicator.send_input(CONNECT)
    assert await communicator.receive_output(LONG) is JSON_FRAME
    with pytest.raises(Boom):
        await communicator.receive_output(0.1)
    assert communicator.output_queue.qsize() == 1


@both_classes
async def test_a_crash_before_the_call_is_raised_before_any_event_is_returned(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(
        scripted(Script((ACCEPT, JSON_FRAME), "raise"), "asgi"), "/"
    )
    await communicator.send_input(CONNECT)
    await asyncio.wait([communicator.future])
    with pytest.raises(Boom):
        await communicator.receive_output(0.1)
    assert communicator.output_queue.qsize() == 2


@both_classes
async def test_events_sent_before_a_return_can_be_received(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(
        scripted(Script((ACCEPT, JSON_FRAME, CLOSE), "return"), "asgi"), "/"
    )
    await communicator.send_input(CONNECT)
    await asyncio.wait([communicator.future])
    assert not await communicator.receive_nothing(0.1)
    events = [await communicator.receive_output(0.1) for _ in range(3)]
    assert events == [ACCEPT, JSON_FRAME, CLOSE]
    assert await communicator.receive_nothing(0.1)
    with pytest.raises(TimeoutError):
        await communicator.receive_output(0.1)


@both_classes
async def test_a_timeout_of_0_returns_what_is_queued(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(
        scripted(Script((ACCEPT, JSON_FRAME)), "asgi"), "/"
    )
    await communicator.send_input(CONNECT)
    while communicator.output_queue.qsize() < 2:
        await asyncio.sleep(0)
    assert await communicator.receive_output(0) == ACCEPT
    assert await communicator.receive_from(0) == JSON_FRAME["text"]
    with within(AT_ONCE), pytest.raises(TimeoutError):
        await asyncio.wait_for(communicator.receive_output(0), 2 * AT_ONCE)


# Timeouts.


@pytest.mark.parametrize("name", ["connect", "wait_closed"])
@pytest.mark.parametrize("pause", [0, 0.02])
@pytest.mark.parametrize(
    ("first", "event"),
    [
        (JSON_FRAME, JSON_FRAME),
        (
            {"type": "websocket.http.response.start", "status": 401},
            body(more_body=True),
        ),
    ],
    ids=["frames", "denial"],
)
async def test_the_timeout_covers_the_whole_call(
    name: str, pause: float, first: Event, event: Event
) -> None:
    communicator = RecordingWebsocketCommunicator(repeating(first, event, pause), "/")
    start = time.monotonic()
    with within(AT_ONCE), pytest.raises((TimeoutError, AssertionError)):
        await asyncio.wait_for(call(communicator, name, 0.1), 2 * AT_ONCE)
    if name == "connect":
        # wait_closed() raises at once after a denial: there will be no close.
        assert time.monotonic() - start >= 0.05
        assert communicator.future.cancelled()
    communicator.stop(exceptions=False)


@each_call
async def test_a_call_waits_until_its_timeout_expires_while_the_application_runs(
    name: str,
) -> None:
    communicator = RecordingWebsocketCommunicator(hanging, "/")
    start = time.monotonic()
    with within(AT_ONCE), pytest.raises(TimeoutError):
        await call(communicator, name, 0.1)
    assert time.monotonic() - start >= 0.05


async def test_reading_the_queue_elsewhere_does_not_prolong_the_call() -> None:
    communicator = RecordingWebsocketCommunicator(hanging, "/")
    receiving = asyncio.ensure_future(communicator.receive_output(0.1))
    for _ in range(1_000):
        communicator.output_queue.put_nowait(JSON_FRAME)
        communicator.output_queue.get_nowait()
        await asyncio.wait([receiving], timeout=0.01)
        if receiving.done():
            break
    assert isinstance(receiving.exception(), TimeoutError)


@both_classes
async def test_the_timeout_expires_while_the_application_blocks_the_event_loop(
    communicator_class: CommunicatorClass,
) -> None:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        time.sleep(0.2)
        await asyncio.sleep(0.02)
        await send(JSON_FRAME)  # type: ignore[arg-type]

    with pytest.raises(TimeoutError):
        await communicator_class(application, "/").receive_output(0.1)


@both_classes
async def test_a_timeout_of_0_expires_before_the_application_responds(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(echo, "/")
    await communicator.send_to("1")
    with pytest.raises(TimeoutError):
        await communicator.receive_from(0)


@both_classes
@pytest.mark.parametrize("name", ["receive_output", "receive_from"])
async def test_a_timeout_of_0_lets_the_application_take_its_first_step(
    communicator_class: CommunicatorClass, name: str
) -> None:
    steps: list[str] = []

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        steps.append("first")
        await asyncio.sleep(TIMEOUT)
        steps.append("second")

    communicator = communicator_class(application, "/")
    with within(AT_ONCE), suppress(TimeoutError):
        await call(communicator, name, 0)
    assert steps == ["first"]
    assert communicator.future.cancelled()


@pytest.mark.parametrize(
    ("name", "event", "result"),
    [
        ("connect", ACCEPT, (True, None)),
        ("receive_output", JSON_FRAME, JSON_FRAME),
        ("receive_from", JSON_FRAME, JSON_FRAME["text"]),
        ("receive_json_from", JSON_FRAME, {"type": "jwt-expired"}),
        ("wait_closed", CLOSE, 4401),
        ("wait", CLOSE, None),
        ("disconnect", CLOSE, None),
    ],
)
async def test_a_timeout_of_none_waits_forever(
    name: str, event: Event, result: object
) -> None:
    communicator = RecordingWebsocketCommunicator(late(event), "/")
    assert await call(communicator, name, None) == result


@each_call
async def test_a_call_without_timeout_ends_at_once_when_the_application_crashes(
    name: str,
) -> None:
    communicator = await started(Script((), "raise"))
    with within(AT_ONCE), pytest.raises(Boom):
        await call(communicator, name, None)


@both_classes
async def test_receive_nothing_checks_after_an_interval_longer_than_its_timeout(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(repeating(JSON_FRAME, JSON_FRAME, 10), "/")
    assert not await communicator.receive_nothing(timeout=0.001, interval=0.1)
    communicator.stop()


@both_classes
async def test_receive_nothing_does_not_cancel_the_application(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(echo, "/")
    assert await communicator.receive_nothing(timeout=0.001)
    assert not communicator.future.done()
    with within(AT_ONCE):
        nothing = asyncio.ensure_future(communicator.receive_nothing(TIMEOUT))
        await asyncio.sleep(0.05)
        await communicator.send_to("late")
        assert not await nothing
    assert await communicator.receive_from() == "late"
    communicator.stop()


# After a timeout.


@both_classes
@pytest.mark.parametrize("name", ["connect", "receive_output", "receive_from"])
async def test_a_call_that_times_out_cancels_the_application(
    communicator_class: CommunicatorClass, name: str
) -> None:
    communicator = communicator_class(hanging, "/")
    with pytest.raises(TimeoutError):
        await call(communicator, name, 0.05)
    assert communicator.future.cancelled()
    for later in ("connect", "receive_output", "receive_from"):
        with within(AT_ONCE), pytest.raises(asyncio.CancelledError):
            await call(communicator, later, TIMEOUT)
    await communicator.wait()
    communicator.stop(exceptions=False)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("name", ["connect", "receive_output", "wait", "disconnect"])
async def test_a_handler_that_suppresses_a_cancellation_is_cancelled_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels_closetest.application, "SHUTDOWN_TIMEOUT", 0.05)

    class Suppressing(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(TIMEOUT)

    communicator = RecordingWebsocketCommunicator(Suppressing.as_asgi(), "/")
    await communicator.send_input(CONNECT)
    with within(AT_ONCE), suppress(TimeoutError):
        await call(communicator, name, 0.01)
    assert communicator.future.done()
    ended = repr(communicator.future)
    await asyncio.sleep(0.1)  # In this time it would be cancelled once more.
    assert repr(communicator.future) == ended


async def test_wait_closed_cancels_the_application_too() -> None:
    communicator = RecordingWebsocketCommunicator(hanging, "/")
    with pytest.raises(TimeoutError):
        await communicator.wait_closed(0.05)
    assert communicator.future.cancelled()
    with pytest.raises(asyncio.CancelledError):
        await communicator.wait_closed()


@both_classes
async def test_an_exception_raised_by_the_cancelled_application_is_raised(
    communicator_class: CommunicatorClass,
) -> None:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        try:
            await hanging(scope, receive, send)
        finally:
            raise Boom("cancelled")

    communicator = communicator_class(application, "/")
    with pytest.raises(Boom, match="cancelled"):
        await communicator.receive_output(0.05)


async def test_a_sync_consumer_that_blocks_its_thread_does_not_block_the_call() -> None:
    released = threading.Event()

    class Blocking(WebsocketConsumer):
        def connect(self) -> None:
            released.wait()

    communicator = RecordingWebsocketCommunicator(Blocking.as_asgi(), "/")
    try:
        with within(AT_ONCE), pytest.raises(TimeoutError):
            await communicator.connect(0.1)
    finally:
        released.set()


@each_call
async def test_a_call_that_is_cancelled_leaves_the_application_running(
    name: str,
) -> None:
    communicator = RecordingWebsocketCommunicator(echo, "/")
    task = asyncio.ensure_future(call(communicator, name, TIMEOUT))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task(), communicator.future}
    await communicator.send_to("still there")
    assert await communicator.receive_from() == "still there"
    communicator.stop()


@both_classes
async def test_wait_and_disconnect_return_and_cancel_when_their_timeout_expires(
    communicator_class: CommunicatorClass,
) -> None:
    for name in ("wait", "disconnect"):
        communicator = communicator_class(hanging, "/")
        with within(AT_ONCE):
            assert await call(communicator, name, 0.05) is None
        assert communicator.future.cancelled()


@both_classes
@pytest.mark.parametrize("name", ["wait", "disconnect"])
async def test_wait_and_disconnect_raise_a_crash_at_once(
    communicator_class: CommunicatorClass, name: str
) -> None:
    communicator = communicator_class(scripted(Script((), "raise"), "asgi"), "/")
    await communicator.send_input(CONNECT)
    with within(AT_ONCE), pytest.raises(Boom) as raised:
        await call(communicator, name, TIMEOUT)
    assert raised.value is communicator.future.exception()


@both_classes
@pytest.mark.parametrize("name", ["wait", "disconnect"])
async def test_wait_and_disconnect_cancel_the_application_when_they_are_cancelled(
    communicator_class: CommunicatorClass, name: str
) -> None:
    communicator = communicator_class(hanging, "/")
    with suppress(TimeoutError):
        await asyncio.wait_for(call(communicator, name, TIMEOUT), 0.05)
    assert communicator.future.cancelled()


# More than one at a time.


@both_classes
async def test_one_task_may_send_while_another_receives(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(echo, "/")
    numbers = list(map(str, range(100)))

    async def send() -> None:
        for number in numbers:
            await communicator.send_to(number)
            await asyncio.sleep(0)

    async def receive() -> list[str | bytes]:
        return [await communicator.receive_from() for _ in numbers]

    received, _ = await asyncio.gather(receive(), send())
    assert received == numbers
    communicator.stop()


@both_classes
@pytest.mark.parametrize("turns", [0, 1, 5])
async def test_several_tasks_can_receive_at_once(
    communicator_class: CommunicatorClass, turns: int
) -> None:
    communicator = communicator_class(echo, "/")
    receiving = [
        asyncio.ensure_future(communicator.receive_from(TIMEOUT)) for _ in range(3)
    ]
    await asyncio.sleep(0)
    for number in ("first", "second", "third"):
        await communicator.send_to(number)
        for _ in range(turns):
            await asyncio.sleep(0)
    with within(AT_ONCE):
        assert await asyncio.gather(*receiving) == ["first", "second", "third"]
    communicator.stop()


@both_classes
async def test_tasks_receive_in_the_order_in_which_they_called(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(echo, "/")
    first = asyncio.ensure_future(communicator.receive_from(TIMEOUT))
    for _ in range(5):
        await asyncio.sleep(0)
    second = asyncio.ensure_future(communicator.receive_from(TIMEOUT))
    # In the iteration of the event loop in which the second starts to wait.
    await communicator.send_to("first")
    await first
    await communicator.send_to("second")
    with within(AT_ONCE):
        assert [await first, await second] == ["first", "second"]
    communicator.stop()


@pytest.mark.parametrize("cause", ["event", "crash", "return"])
async def test_every_waiting_call_returns_when_something_happens(cause: str) -> None:
    happened = asyncio.Event()

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        await happened.wait()
        if cause == "crash":
            raise Boom("boom")
        if cause == "event":
            await send(JSON_FRAME)  # type: ignore[arg-type]
            await hanging(scope, receive, send)

    communicator = RecordingWebsocketCommunicator(application, "/")
    waiting = [
        asyncio.ensure_future(communicator.receive_nothing(TIMEOUT)) for _ in range(3)
    ]
    receiving = [
        asyncio.ensure_future(call(communicator, name, TIMEOUT))
        for name in CALLS_THAT_WAIT
        if cause != "event"  # which only one of them receives
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    happened.set()
    _, pending = await asyncio.wait([*waiting, *receiving], timeout=AT_ONCE)
    assert pending == set()
    assert [task.result() for task in waiting] == [cause != "event"] * 3
    expected = Boom if cause == "crash" else TimeoutError
    assert [type(task.exception()) for task in receiving] == [expected] * len(receiving)
    communicator.stop(exceptions=False)


@both_classes
async def test_receive_nothing_returns_as_soon_as_something_is_sent(
    communicator_class: CommunicatorClass,
) -> None:
    application = late(JSON_FRAME)
    with within(AT_ONCE):
        assert not await communicator_class(application, "/").receive_nothing(TIMEOUT)


@both_classes
@pytest.mark.parametrize("name", ["wait", "disconnect"])
@pytest.mark.parametrize("timeout", [0, -1])
async def test_a_timeout_of_0_ends_the_application_at_once(
    communicator_class: CommunicatorClass, name: str, timeout: int
) -> None:
    communicator = communicator_class(hanging, "/")
    await communicator.send_input(CONNECT)
    with within(AT_ONCE):
        await asyncio.wait_for(call(communicator, name, timeout), AT_ONCE)
    assert communicator.future.cancelled()


@each_call
@pytest.mark.parametrize("timeout", [0, -1])
async def test_a_timeout_of_0_does_not_wait(name: str, timeout: int) -> None:
    communicator = RecordingWebsocketCommunicator(hanging, "/")
    with within(AT_ONCE), pytest.raises(TimeoutError):
        await asyncio.wait_for(call(communicator, name, timeout), 2 * AT_ONCE)
    assert communicator.future.cancelled()


async def test_a_crash_ends_all_waiting_calls() -> None:
    communicator = await started(Script((), "raise"))
    calls = [call(communicator, name, TIMEOUT) for name in CALLS_THAT_WAIT]
    with within(AT_ONCE):
        raised = await asyncio.gather(*calls, return_exceptions=True)
    assert raised == [communicator.future.exception()] * len(calls)


@each_kind
async def test_the_end_of_one_communicator_does_not_affect_others(kind: Kind) -> None:
    scripts = [
        Script((ACCEPT,)),
        Script((), "raise"),
        Script((CLOSE,)),
        Script((), "return"),
    ] * 5
    communicators = [
        RecordingWebsocketCommunicator(scripted(script, kind), "/")
        for script in scripts
    ]
    with within(AT_ONCE):
        outcomes = await asyncio.gather(
            *(communicator.connect(TIMEOUT) for communicator in communicators),
            return_exceptions=True,
        )
    kinds = [
        outcome if isinstance(outcome, tuple) else type(outcome) for outcome in outcomes
    ]
    assert kinds == [(True, None), Boom, (False, 4401), TimeoutError] * 5
    for communicator, script in zip(communicators, scripts):
        if script.ending == "wait":
            await communicator.disconnect()
    assert asyncio.all_tasks() == {asyncio.current_task()}


# At the edges.


@both_classes
async def test_an_event_sent_while_the_deadline_passes_is_received(
    communicator_class: type[WebsocketCommunicator],
) -> None:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        await asyncio.sleep(0.02)
        time.sleep(0.3)  # blocks the event loop until the deadline has passed
        await send(JSON_FRAME)  # type: ignore[arg-type]
        await hanging(scope, receive, send)

    communicator = communicator_class(application, "/")
    assert await communicator.receive_output(0.1) is JSON_FRAME
    communicator.stop()


async def test_wait_stops_the_application_although_it_is_cancelled_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels_closetest.application, "SHUTDOWN_TIMEOUT", 0.1)
    suppressed = asyncio.Event()

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        with suppress(asyncio.CancelledError):
            await hanging(scope, receive, send)
        suppressed.set()
        await hanging(scope, receive, send)

    communicator = RecordingWebsocketCommunicator(application, "/")
    waiting = asyncio.ensure_future(communicator.wait(0.01))
    await suppressed.wait()
    waiting.cancel()
    # As the parent, it suppresses its own cancellation.
    await waiting
    assert communicator.future.cancelled()


async def test_a_pending_call_may_be_closed_by_the_garbage_collector() -> None:
    communicator = RecordingWebsocketCommunicator(echo, "/")
    call = communicator.receive_from(TIMEOUT)
    call.send(None)
    call.close()
    await communicator.send_to("still running")
    assert await communicator.receive_from() == "still running"
    communicator.stop()

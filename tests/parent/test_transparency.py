"""The application, and what it raises, are as with the parent class.

What a test replaces for its application, nobody but the application uses; what the
application has scheduled before it sends has run when a call returns; and an exception
reaches the test as it was raised.
"""

import asyncio
import dataclasses
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any, NoReturn
from unittest.mock import call as call_with
from unittest.mock import patch

import pytest
from asgiref.typing import ASGI3Application
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.testing import WebsocketCommunicator
from freezegun import freeze_time

import channels_closetest.application
from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, CONNECT, DISCONNECT, FRAME, JSON_FRAME, close
from tests.helpers import (
    LONG,
    SHORT,
    CommunicatorClass,
    both_classes,
    failure,
    ignore_undeliverable,
    only_note,
)
from tests.hostile import HOSTILE
from tests.parent.test_idioms import connected, sending

Call = Callable[[Any], Awaitable[object]]


# What a test replaces for its application.


class Sleeper(AsyncWebsocketConsumer):
    """Sleeps before it answers, and sends what ``asyncio.sleep()`` returned."""

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        result: object = await asyncio.sleep(5, "by asyncio")
        await self.send(str(result))


@both_classes
async def test_the_application_alone_calls_a_replacement_of_asyncio_sleep(
    communicator_class: CommunicatorClass,
) -> None:
    with patch("asyncio.sleep") as sleep:
        communicator = await connected(communicator_class, Sleeper.as_asgi())
        for _ in range(2):
            await communicator.send_to("text")
            await communicator.receive_from()
        await communicator.disconnect()
    assert sleep.await_args_list == [call_with(5, "by asyncio")] * 2


@both_classes
async def test_the_application_alone_receives_the_results_of_a_replaced_sleep(
    communicator_class: CommunicatorClass,
) -> None:
    with patch("asyncio.sleep", side_effect=["first", "second"]):
        communicator = await connected(communicator_class, Sleeper.as_asgi())
        for expected in ("first", "second"):
            await communicator.send_to("text")
            assert await communicator.receive_from() == expected
        await communicator.disconnect()


async def test_receive_nothing_does_not_call_a_replacement_of_asyncio_sleep() -> None:
    """The parent class calls it, and so do suites that count the calls."""
    with patch("asyncio.sleep", side_effect=["first"]):
        async with RecordingWebsocketCommunicator(Sleeper.as_asgi(), "/") as it:
            assert await it.connect() == (True, None)
            assert await it.receive_nothing(SHORT)
            await it.send_to("text")
            assert not await it.receive_nothing(LONG)
            assert await it.receive_from() == "first"


class Stopwatch(AsyncWebsocketConsumer):
    """Sends how long it took to handle an event."""

    async def connect(self) -> None:
        start = time.perf_counter()
        await self.accept()
        await self.send(str(time.perf_counter() - start))


@both_classes
async def test_the_application_alone_reads_a_replacement_of_the_clock(
    communicator_class: CommunicatorClass,
) -> None:
    with patch("time.perf_counter", side_effect=[1.0, 3.5]):
        communicator = communicator_class(Stopwatch.as_asgi(), "/")
        assert await communicator.connect() == (True, None)
        assert await communicator.receive_from() == "2.5"
        await communicator.disconnect()


def replaced(name: str, callers: set[tuple[str, str]]) -> Any:
    """Replace a function of another module by one that adds which module calls it."""
    module, function = name.split(".")
    original = getattr(sys.modules[module], function)

    def spy(*args: Any, **kwargs: Any) -> Any:
        callers.add((name, sys._getframe(1).f_globals["__name__"]))
        return original(*args, **kwargs)

    return patch(name, spy)


#: What applications call, and tests replace.
REPLACED: dict[str, Callable[[], Any]] = {
    "time.time": lambda: time.time(),
    "time.monotonic": lambda: time.monotonic(),
    "time.monotonic_ns": lambda: time.monotonic_ns(),
    "time.perf_counter": lambda: time.perf_counter(),
    "time.perf_counter_ns": lambda: time.perf_counter_ns(),
    "time.sleep": lambda: time.sleep(0),
    "asyncio.sleep": lambda: asyncio.sleep(0),
    "asyncio.wait_for": lambda: asyncio.wait_for(asyncio.sleep(0), LONG),
    "asyncio.gather": lambda: asyncio.gather(asyncio.sleep(0)),
    "asyncio.shield": lambda: asyncio.shield(asyncio.sleep(0)),
    "asyncio.wait": lambda: asyncio.wait([asyncio.ensure_future(asyncio.sleep(0))]),
    "asyncio.ensure_future": lambda: asyncio.ensure_future(asyncio.sleep(0)),
    "asyncio.create_task": lambda: asyncio.create_task(asyncio.sleep(0)),
}


@ignore_undeliverable
@pytest.mark.parametrize("strict", [False, True])
async def test_the_package_calls_nothing_that_tests_replace(
    strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels_closetest.application, "SHUTDOWN_TIMEOUT", SHORT)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for use in REPLACED.values():
            result = use()
            if asyncio.isfuture(result) or asyncio.iscoroutine(result):
                await result
        for event in (JSON_FRAME, ACCEPT, FRAME, JSON_FRAME, CLOSE):
            await send(event)
        try:
            while (await receive())["type"] != "websocket.disconnect":
                pass
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    class Communicator(RecordingWebsocketCommunicator):
        pass

    Communicator.strict = strict
    calls: list[Call] = [
        lambda it: it.connect(LONG),
        lambda it: it.receive_nothing(SHORT),
        lambda it: it.receive_from(LONG),
        lambda it: it.receive_json_from(LONG),
        lambda it: it.wait_closed(LONG),
        lambda it: it.receive_nothing(SHORT),
        lambda it: it.receive_output(SHORT),
        lambda it: it.wait(SHORT),
        lambda it: it.disconnect(timeout=SHORT),
    ]
    callers: set[tuple[str, str]] = set()
    with ExitStack() as stack:
        for name in REPLACED:
            stack.enter_context(replaced(name, callers))
        async with Communicator(application, "/") as communicator:
            for each in calls:
                with suppress(Exception, asyncio.CancelledError):
                    await each(communicator)
            assert communicator.future.cancelled()
            assert str(communicator.transcript) and repr(communicator)
        async with Communicator(application, "/") as communicator:
            await communicator.send_input(CONNECT)
        assert not communicator.future.cancelled()
    assert {name for name, module in callers if module == __name__} == set(REPLACED)
    assert [it for it in callers if it[1].startswith("channels_closetest")] == []


async def chatty(scope: Any, receive: Any, send: Any) -> None:
    """Sends a frame every 30 milliseconds, and accepts after many of them."""
    await receive()
    for _ in range(100):
        await send(FRAME)
        await asyncio.sleep(0.03)
    await send(ACCEPT)
    await receive()


async def test_a_deadline_expires_while_the_time_of_the_test_is_frozen() -> None:
    communicator = RecordingWebsocketCommunicator(chatty, "/")
    with freeze_time("2024-02-29", real_asyncio=True):
        with pytest.raises(TimeoutError):
            await communicator.connect(0.2)
    assert len(communicator.pre_close_messages) < 100


async def test_a_transcript_has_real_times_while_those_of_the_test_are_frozen() -> None:
    communicator = RecordingWebsocketCommunicator(chatty, "/")
    with freeze_time("2024-02-29", real_asyncio=True):
        await communicator.send_input(CONNECT)
        for _ in range(3):
            await communicator.receive_output(LONG)
    connect, *_, last = communicator.transcript.records
    assert last.seconds - connect.seconds >= 0.03


@both_classes
async def test_a_timeout_expires_while_the_time_of_the_test_is_frozen(
    communicator_class: CommunicatorClass,
) -> None:
    with freeze_time("2024-02-29", real_asyncio=True):
        communicator = await connected(communicator_class)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(communicator.receive_output(SHORT), LONG)
    assert communicator.future.cancelled()


# What the application has scheduled before it sends.


def scheduling(*events: object, how: str, done: list[str]) -> ASGI3Application:
    """Return an application that schedules work for each event, and then sends it."""

    async def work() -> None:
        done.append("work")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        tasks = set()
        for event in events:
            await receive()
            if how == "create_task()":
                tasks.add(loop.create_task(work()))
            else:
                loop.call_soon(done.append, "work")
            if event is not None:
                await send(event)
        if events[-1] is not None:
            await asyncio.Event().wait()

    return application


each_way_to_schedule = pytest.mark.parametrize("how", ["create_task()", "call_soon()"])

#: Calls, and the event that each waits for after ``connect()``. None is the end.
WAITING: dict[str, tuple[Call, object]] = {
    "receive_output": (lambda it: it.receive_output(LONG), FRAME),
    "receive_from": (lambda it: it.receive_from(LONG), FRAME),
    "receive_json_from": (lambda it: it.receive_json_from(LONG), JSON_FRAME),
    "receive_nothing": (lambda it: it.receive_nothing(LONG), FRAME),
    "wait": (lambda it: it.wait(LONG), None),
    "disconnect": (lambda it: it.disconnect(timeout=LONG), None),
}


@both_classes
@each_way_to_schedule
async def test_what_is_scheduled_before_the_handshake_has_run_after_connect(
    communicator_class: CommunicatorClass, how: str
) -> None:
    done: list[str] = []
    communicator = communicator_class(scheduling(ACCEPT, how=how, done=done), "/")
    await communicator.connect(LONG)
    assert done == ["work"]
    communicator.stop()


async def interact(
    communicator: WebsocketCommunicator, event: object, waiting: Call, done: list[str]
) -> None:
    """Let the application handle one more event during the call."""
    await communicator.connect(LONG)
    done.clear()
    # disconnect() sends the event itself.
    if waiting is not WAITING["disconnect"][0]:
        await communicator.send_input({"type": "websocket.receive", "text": ""})
    await waiting(communicator)
    assert done == ["work"]
    communicator.stop()


@both_classes
@each_way_to_schedule
@pytest.mark.parametrize("name", WAITING)
async def test_what_is_scheduled_before_an_event_has_run_when_a_call_returns(
    communicator_class: CommunicatorClass, how: str, name: str
) -> None:
    waiting, event = WAITING[name]
    done: list[str] = []
    application = scheduling(ACCEPT, event, how=how, done=done)
    await interact(communicator_class(application, "/"), event, waiting, done)


@each_way_to_schedule
async def test_what_is_scheduled_before_a_close_has_run_after_wait_closed(
    how: str,
) -> None:
    done: list[str] = []
    communicator = RecordingWebsocketCommunicator(
        scheduling(ACCEPT, CLOSE, how=how, done=done), "/"
    )

    def wait_closed(it: Any) -> Any:
        return it.wait_closed(LONG)

    await interact(communicator, CLOSE, wait_closed, done)


@both_classes
@each_way_to_schedule
async def test_what_is_scheduled_before_a_late_event_has_run_when_a_call_returns(
    communicator_class: CommunicatorClass, how: str
) -> None:
    """The application sends after the call has waited for some time."""
    done: list[str] = []
    application = scheduling(ACCEPT, FRAME, how=how, done=done)
    communicator = await connected(communicator_class, application)
    done.clear()
    loop = asyncio.get_running_loop()
    loop.call_later(SHORT, communicator.input_queue.put_nowait, CONNECT)
    assert await communicator.receive_output(LONG) is FRAME
    assert done == ["work"]
    communicator.stop()


# What the application, or the test, raises.


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int = 4401


class RefusesNotes(Exception):
    def add_note(self, note: str) -> NoReturn:
        raise RuntimeError("no notes")


class RefusesToReturnNotes(Exception):
    @property
    def add_note(self) -> Any:
        raise RuntimeError("no notes")


class RefusesAttributes(Exception):
    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise RuntimeError("no attributes")


class RefusesArguments(Exception):
    @property
    def args(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no arguments")


class RefusesItsClass(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class RefusesToBeShown(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")

    __repr__ = __str__


class RefusesToBeCompared(Exception):
    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("no comparison")

    def __bool__(self) -> NoReturn:
        raise RuntimeError("no truth value")

    __hash__ = None  # type: ignore[assignment]


class HasOtherNotes(Exception):
    def __init__(self) -> None:
        self.__notes__: Any = ("in a tuple",)


class MissingKey(KeyError):
    """The transcript shows a hint for a ``KeyError``, which has the key as argument."""

    args = RefusesArguments.args


each_exception = pytest.mark.parametrize(
    "exception_class",
    [
        Frozen,
        RefusesNotes,
        RefusesToReturnNotes,
        RefusesAttributes,
        RefusesArguments,
        RefusesItsClass,
        RefusesToBeShown,
        RefusesToBeCompared,
        HasOtherNotes,
        MissingKey,
    ],
)


class Strict(RecordingWebsocketCommunicator):
    strict = True


every_class = pytest.mark.parametrize(
    "communicator_class",
    [WebsocketCommunicator, RecordingWebsocketCommunicator, Strict],
    ids=["parent", "ours", "strict"],
)


#: Seconds for calls that the parent class ends with their timeout.
BRIEF = 0.01


async def stop(it: WebsocketCommunicator) -> None:
    it.stop()


async def leave_a_block(it: RecordingWebsocketCommunicator) -> None:
    async with it:
        if it._future is None:
            await it.send_input(CONNECT)


async def connect_in_a_block(it: RecordingWebsocketCommunicator) -> None:
    async with it:
        await it.connect()


WAITING_CALLS: dict[str, Call] = {
    "connect": lambda it: it.connect(BRIEF),
    "receive_output": lambda it: it.receive_output(BRIEF),
    "receive_from": lambda it: it.receive_from(BRIEF),
    "receive_json_from": lambda it: it.receive_json_from(BRIEF),
    "wait": lambda it: it.wait(),
    "disconnect": lambda it: it.disconnect(),
}
OUR_CALLS: dict[str, Call] = {
    "wait_closed": lambda it: it.wait_closed(LONG),
    "leave a block": leave_a_block,
    "connect in a block": connect_in_a_block,
}
#: These do not wait, and raise only what the application has raised before.
OTHER_CALLS: dict[str, Call] = {
    "receive_nothing": lambda it: it.receive_nothing(),
    "send_input": lambda it: it.send_input(DISCONNECT),
    "send_to": lambda it: it.send_to("text"),
    "send_json_to": lambda it: it.send_json_to([]),
    "stop": stop,
}


def raising(exception: BaseException) -> ASGI3Application:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise exception

    return application


def calls_of(communicator_class: CommunicatorClass) -> dict[str, Call]:
    is_ours = issubclass(communicator_class, RecordingWebsocketCommunicator)
    return {**WAITING_CALLS, **(OUR_CALLS if is_ours else {})}


@every_class
@each_exception
async def test_an_exception_of_the_application_leaves_a_waiting_call_as_it_is(
    communicator_class: CommunicatorClass, exception_class: type[Exception]
) -> None:
    is_the_same = {}
    for name, call in calls_of(communicator_class).items():
        exception = exception_class()
        communicator = communicator_class(raising(exception), "/")
        is_the_same[name] = await failure(call(communicator)) is exception
    assert is_the_same == dict.fromkeys(is_the_same, True)


@every_class
@each_exception
async def test_an_exception_of_an_application_that_has_ended_is_raised_as_it_is(
    communicator_class: CommunicatorClass, exception_class: type[Exception]
) -> None:
    exception = exception_class()
    communicator = communicator_class(raising(exception), "/")
    await communicator.send_input(CONNECT)
    await asyncio.wait([communicator.future])
    calls = {**calls_of(communicator_class), **OTHER_CALLS}
    # Only the first call raises it, and that is in another test.
    calls.pop("leave a block", None)
    is_the_same = {
        name: await failure(call(communicator)) is exception
        for name, call in calls.items()
    }
    assert is_the_same == dict.fromkeys(calls, True)


@every_class
@each_exception
async def test_an_exception_of_a_method_of_a_subclass_is_raised_as_it_is(
    communicator_class: CommunicatorClass, exception_class: type[Exception]
) -> None:
    exception = exception_class()

    class Raising(communicator_class):  # type: ignore[misc, valid-type]
        async def send_input(self, message: Any) -> None:
            raise exception

        async def receive_output(self, timeout: float | None = 1) -> Any:
            raise exception

    communicator = Raising(sending(ACCEPT), "/")
    calls: dict[str, Call] = {**calls_of(communicator_class), **OTHER_CALLS}
    for name in ("wait", "leave a block", "receive_nothing", "stop"):
        calls.pop(name, None)  # they call neither method
    for name in ("send_input", "receive_output"):
        calls.pop(name)  # they are not ours
    is_the_same = {
        name: await failure(call(communicator)) is exception
        for name, call in calls.items()
    }
    assert is_the_same == dict.fromkeys(calls, True)


@each_exception
async def test_no_exception_of_the_application_fails_the_transcript(
    exception_class: type[Exception],
) -> None:
    communicator = RecordingWebsocketCommunicator(raising(exception_class()), "/")
    await failure(communicator.connect())
    assert "the application raised" in str(communicator.transcript)
    assert repr(communicator)


@pytest.mark.parametrize(
    "make", [lambda: HOSTILE, RefusesItsClass, None], ids=["hostile", "class", "none"]
)
async def test_an_application_may_hold_any_object_or_none_yet(
    make: Callable[[], object] | None,
) -> None:

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        variable

    if make is not None:
        variable = make()
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    error = await failure(communicator.receive_output(SHORT))
    assert type(error) is TimeoutError
    assert only_note(error).startswith("Transcript: /ws/\n")
    assert str(communicator.transcript).startswith("/ws/\n")


@each_exception
async def test_the_exception_of_a_block_leaves_it_as_it_is(
    exception_class: type[Exception],
) -> None:
    exception = exception_class()

    async def use(*communicators: RecordingWebsocketCommunicator) -> None:
        async with communicators[0] as first, communicators[1] as second:
            await first.connect()
            await second.connect()
            raise exception

    application = sending(ACCEPT)
    error = await failure(
        use(
            RecordingWebsocketCommunicator(application, "/first/"),
            RecordingWebsocketCommunicator(application, "/second/"),
        )
    )
    assert error is exception


@pytest.mark.parametrize(
    "exception_class",
    [Frozen, RefusesNotes, RefusesAttributes, RefusesArguments, RefusesToBeCompared],
)
async def test_an_exception_that_refuses_attributes_carries_the_transcript(
    exception_class: type[Exception],
) -> None:
    communicator = RecordingWebsocketCommunicator(raising(exception_class()), "/ws/")
    error = await failure(communicator.connect())
    assert only_note(error).startswith("Transcript: /ws/\n")


# Scopes that hold, or are, objects of the test's own making.


class RefusesGet(dict[str, Any]):
    def get(self, *args: object) -> NoReturn:
        raise RuntimeError("no get()")


class RefusesContains(dict[str, Any]):
    def __contains__(self, key: object) -> NoReturn:
        raise RuntimeError("no membership")


class RefusesComparison(list[Any]):
    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("no comparison")


class RefusesIteration(list[Any]):
    def __iter__(self) -> NoReturn:
        raise RuntimeError("no iteration")


class HostileText(str):
    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("no comparison")

    __ne__ = __eq__
    __hash__ = str.__hash__


SCOPES: dict[str, Callable[[dict[str, Any]], object]] = {
    "get() raises": RefusesGet,
    "in raises": RefusesContains,
    "subprotocols that cannot be compared": lambda scope: {
        **scope,
        "subprotocols": RefusesComparison(["chat"]),
    },
    "subprotocols that cannot be iterated over": lambda scope: {
        **scope,
        "subprotocols": RefusesIteration(["chat"]),
    },
    "a subprotocol that cannot be compared": lambda scope: {
        **scope,
        "subprotocols": [HostileText("chat")],
    },
    "a hostile subprotocol": lambda scope: {**scope, "subprotocols": [HOSTILE]},
    "hostile subprotocols": lambda scope: {**scope, "subprotocols": HOSTILE},
    "hostile headers": lambda scope: {
        **scope,
        "subprotocols": [],
        "headers": [HOSTILE, (HOSTILE, HOSTILE)],
    },
    "a hostile path": lambda scope: {**scope, "path": HOSTILE},
    "a hostile object": lambda scope: HOSTILE,
    "None": lambda scope: None,
}


each_scope = pytest.mark.parametrize("make", SCOPES.values(), ids=SCOPES)


def with_scope(
    communicator_class: CommunicatorClass, make: Callable[[Any], Any], *events: object
) -> Any:
    communicator = communicator_class(sending(*events), "/")
    communicator.scope = make(communicator.scope)
    return communicator


@each_scope
async def test_no_scope_masks_the_exception_of_a_block(
    make: Callable[[Any], Any],
) -> None:
    error = ValueError("boom")
    communicator = with_scope(RecordingWebsocketCommunicator, make, ACCEPT, FRAME)

    async def use() -> None:
        async with communicator:
            await communicator.connect()
            # As a test does between its calls; the scope stays as hostile.
            communicator.scope = make({"type": "websocket", "path": "/"})
            raise error

    assert await failure(use()) is error


@both_classes
@each_scope
async def test_no_scope_fails_a_call(
    communicator_class: CommunicatorClass, make: Callable[[Any], Any]
) -> None:
    communicator = with_scope(communicator_class, make, ACCEPT, FRAME)
    assert await communicator.connect() == (True, None)
    assert await communicator.receive_from() == "hello"
    await communicator.send_to("text")
    error = await failure(communicator.receive_from(SHORT))
    assert type(error) is TimeoutError


@ignore_undeliverable
@each_scope
async def test_no_scope_fails_a_connect_that_reads_past_a_frame(
    make: Callable[[Any], Any],
) -> None:
    communicator = with_scope(RecordingWebsocketCommunicator, make, FRAME, CLOSE)
    assert await communicator.connect() == (False, 4401)
    assert communicator.pre_close_messages == ["hello"]
    await communicator.disconnect()


@each_scope
async def test_no_scope_fails_a_strict_call(make: Callable[[Any], Any]) -> None:
    communicator = with_scope(Strict, make, close())
    faults = []
    if make is SCOPES["hostile headers"]:
        with pytest.raises(AssertionError, match="headers that are not pairs of bytes"):
            await communicator.connect()
        faults = ["Pass headers as a list of pairs of bytes"]
    else:
        assert await communicator.connect() == (False, 1000)
    await communicator.disconnect()
    assert str(communicator.transcript) and repr(communicator)
    assert communicator.client_view.status == 403
    assert [found.remedy for found in communicator.undeliverable] == faults

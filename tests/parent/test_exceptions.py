"""An exception reaches the test as it was raised: the same object, unchanged."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest
from asgiref.typing import ASGI3Application
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CONNECT, DISCONNECT
from tests.helpers import LONG, SHORT, CommunicatorClass, failure, only_note
from tests.hostile import HOSTILE
from tests.parent.applications import sending

Call = Callable[[Any], Awaitable[object]]


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int = 4401


class RefusesNotes(Exception):
    def add_note(self, note: str) -> NoReturn:
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


#: What carries the transcript as a note, whatever it refuses.
WITH_NOTE = [
    Frozen,
    RefusesNotes,
    RefusesAttributes,
    RefusesArguments,
    RefusesToBeCompared,
]
each_exception = pytest.mark.parametrize(
    "exception_class",
    [
        *WITH_NOTE,
        RefusesItsClass,
        RefusesToBeShown,
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


def calls_of(communicator_class: CommunicatorClass, *without: str) -> dict[str, Call]:
    calls = {**WAITING_CALLS, **OTHER_CALLS}
    if issubclass(communicator_class, RecordingWebsocketCommunicator):
        calls |= OUR_CALLS
    return {name: call for name, call in calls.items() if name not in without}


async def assert_raised_by(
    calls: dict[str, Call], exception: BaseException, communicator: object
) -> None:
    not_the_same = [
        name
        for name, call in calls.items()
        if await failure(call(communicator)) is not exception
    ]
    assert not_the_same == []


@every_class
@each_exception
async def test_a_waiting_call_raises_the_exception_of_the_application(
    communicator_class: CommunicatorClass, exception_class: type[Exception]
) -> None:
    for name, call in calls_of(communicator_class, *OTHER_CALLS).items():
        exception = exception_class()
        communicator = communicator_class(raising(exception), "/")
        await assert_raised_by({name: call}, exception, communicator)


@every_class
@each_exception
async def test_a_later_call_raises_the_exception_of_the_application(
    communicator_class: CommunicatorClass, exception_class: type[Exception]
) -> None:
    exception = exception_class()
    communicator = communicator_class(raising(exception), "/")
    await communicator.send_input(CONNECT)
    await asyncio.wait([communicator.future])
    # Only the first call raises it for a block, and that is in another test.
    calls = calls_of(communicator_class, "leave a block")
    await assert_raised_by(calls, exception, communicator)


@every_class
@each_exception
async def test_a_call_raises_the_exception_of_a_method_of_a_subclass(
    communicator_class: CommunicatorClass, exception_class: type[Exception]
) -> None:
    exception = exception_class()

    class Raising(communicator_class):  # type: ignore[misc, valid-type]
        async def send_input(self, message: Any) -> None:
            raise exception

        async def receive_output(self, timeout: float | None = 1) -> Any:
            raise exception

    call_neither = ("wait", "leave a block", "receive_nothing", "stop")
    calls = calls_of(communicator_class, *call_neither, "send_input", "receive_output")
    await assert_raised_by(calls, exception, Raising(sending(ACCEPT), "/"))


@each_exception
async def test_a_block_raises_the_exception_of_its_body(
    exception_class: type[Exception],
) -> None:
    exception = exception_class()

    async def use() -> None:
        async with (
            RecordingWebsocketCommunicator(sending(ACCEPT), "/first/") as first,
            RecordingWebsocketCommunicator(sending(ACCEPT), "/second/") as second,
        ):
            await first.connect()
            await second.connect()
            raise exception

    assert await failure(use()) is exception


@each_exception
async def test_the_transcript_shows_an_exception_whatever_it_refuses(
    exception_class: type[Exception],
) -> None:
    communicator = RecordingWebsocketCommunicator(raising(exception_class()), "/ws/")
    error = await failure(communicator.connect())
    assert "the application raised" in str(communicator.transcript)
    assert repr(communicator)
    if exception_class in WITH_NOTE:
        assert only_note(error).startswith("Transcript: /ws/\n")


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

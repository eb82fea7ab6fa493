"""``UndeliverableWarning``: what it is issued for, how often, and at which line."""

import asyncio
import functools
import gc
import inspect
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.testing import WebsocketCommunicator
from django.urls import path

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning
from tests.events import (
    ACCEPT,
    BODY,
    CLOSE_WITH_REASON,
    CONNECT,
    DENIAL,
    FRAME,
    JSON_FRAME,
    accept,
    close,
    send,
)
from tests.helpers import (
    LONG,
    client,
    communicator_for,
    each_kind,
    line_of,
)
from tests.scripts import Boom, Kind, Script, scripted
from tests.servers.cases import CLOSE_4000, MORE_CASES, ROWS, UNDELIVERABLE, script


async def test_only_frames_before_accept_warn() -> None:
    for name, case in UNDELIVERABLE.items():
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            communicator = communicator_for(case)
            with suppress(Boom):
                await communicator.connect()
                while not await communicator.receive_nothing(0.01):
                    await communicator.receive_output()
                await communicator.disconnect()
        expected = [UndeliverableWarning] if name == "a frame before accept" else []
        assert (name, [each.category for each in warned]) == (name, expected)
        communicator.stop(exceptions=False)


async def converse(communicator: WebsocketCommunicator) -> list[object]:
    """Make the usual calls of a test, and return their results."""
    done: list[object] = [await communicator.connect(0.05)]
    while not await communicator.receive_nothing(0.01, 0.001):
        done.append(await communicator.receive_output(0.05))
    await communicator.disconnect(timeout=0.05)
    return done


@pytest.mark.parametrize("name", [*ROWS, *MORE_CASES])
async def test_no_test_that_passes_with_the_parent_warns_or_fails(name: str) -> None:
    case = (ROWS | MORE_CASES)[name]
    application = scripted(case.script, "asgi")
    parent = WebsocketCommunicator(application, "/", subprotocols=case.subprotocols)
    try:
        done = await converse(parent)
    except BaseException:
        return  # The test fails with the parent.
    finally:
        parent.stop(exceptions=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await converse(communicator_for(case)) == done


async def test_a_frame_before_accept_warns_at_the_line_of_the_test() -> None:
    communicator = client(JSON_FRAME, JSON_FRAME, CLOSE_WITH_REASON)
    with pytest.warns(UndeliverableWarning) as warned:
        await communicator.connect()  # here
    [warning] = warned
    assert warning.filename == __file__
    assert warning.lineno == line_of("await communicator.connect()  # here", __file__)
    assert str(warning.message) == (
        'send {"type": "jwt-expired"}\n'
        "  sent before accept(): the client receives HTTP 500.\n"
        "  Call accept() first, then send, then close()."
    )


@each_kind
async def test_several_frames_before_accept_issue_one_warning_at_the_line_of_the_test(
    kind: Kind,
) -> None:
    case = script(send(text='{"type": "jwt-expired"}'), FRAME, FRAME, accept())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with communicator_for(case, kind) as communicator:
            result, line = await communicator.connect(), line_number()
    assert result == (True, None)
    [warning] = warned
    assert warning.category is UndeliverableWarning
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert str(warning.message) == (
        'send {"type": "jwt-expired"}\n'
        "  sent before accept(): the client receives HTTP 500.\n"
        "  Call accept() first, then send, then close()."
    )


def line_number() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


async def test_every_connection_issues_its_own_warning() -> None:
    for _ in range(2):
        async with communicator_for(script(FRAME, close())) as communicator:
            with pytest.warns(UndeliverableWarning):
                await communicator.connect()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert await communicator.wait_closed() == 1000


async def test_the_warning_names_the_frame_and_not_the_denial() -> None:
    communicator = communicator_for(script(DENIAL, FRAME, BODY))
    with pytest.warns(UndeliverableWarning, match="^send hello\n"):
        assert await communicator.connect() == (False, 401)
    communicator.stop()


async def test_a_frame_after_accept_does_not_warn() -> None:
    communicator = communicator_for(script(accept(), FRAME, CLOSE_4000))
    await communicator.connect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await communicator.connect() == (False, 4000)
    assert communicator.pre_close_messages == ["hello"]


# Where it points.


class SendsTooEarly(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.send("too early")
        await self.accept()


class SyncSendsTooEarly(WebsocketConsumer):
    def connect(self) -> None:
        self.send("too early")
        self.accept()


class SendsTooEarlyAndReturns(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.send("too early")
        await self.accept()
        raise StopConsumer


class Overriding(RecordingWebsocketCommunicator):
    async def connect(self, timeout: float | None = 1) -> tuple[bool, Any]:
        return await super().connect(timeout)


class OverridingTwice(Overriding):
    async def connect(this, timeout: float | None = 1) -> tuple[bool, Any]:
        return await super().connect(timeout)

    async def is_accepted(self) -> bool:
        accepted, _ = await self.connect()
        return accepted


async def sends_too_early(scope: Any, receive: Any, send: Any) -> None:
    await SendsTooEarly()(scope, receive, send)


async def function(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.send", "text": "too early"})
    await send({"type": "websocket.accept"})
    await receive()


class Instance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await function(scope, receive, send)


def routed(consumer: Any) -> Any:
    routes: Any = [path("ws/", consumer.as_asgi())]
    return ProtocolTypeRouter({"websocket": AuthMiddlewareStack(URLRouter(routes))})


def defined(what: Any) -> tuple[str, int]:
    """Return where a class or a function is defined."""
    return __file__, inspect.getsourcelines(what)[1]


#: The application, and the code to which a warning points that has no line of the test.
APPLICATIONS: dict[str, tuple[Any, tuple[str, int]]] = {
    "a consumer": (SendsTooEarly.as_asgi(), defined(SendsTooEarly)),
    "a sync consumer": (SyncSendsTooEarly.as_asgi(), defined(SyncSendsTooEarly)),
    "a consumer that returns": (
        SendsTooEarlyAndReturns.as_asgi(),
        defined(SendsTooEarlyAndReturns),
    ),
    "a consumer behind routers": (routed(SendsTooEarly), defined(SendsTooEarly)),
    "a sync consumer behind routers": (
        routed(SyncSendsTooEarly),
        defined(SyncSendsTooEarly),
    ),
    "a consumer in a function": (sends_too_early, defined(SendsTooEarly)),
    "a function": (function, defined(function)),
    "a consumer behind routers that returns": (
        routed(SendsTooEarlyAndReturns),
        defined(SendsTooEarlyAndReturns),
    ),
    # Python does not know where an object comes from.
    "an object": (Instance(), ("<application>", 1)),
}

each_application = pytest.mark.parametrize("name", APPLICATIONS)
each_class = pytest.mark.parametrize(
    "cls", [RecordingWebsocketCommunicator, Overriding, OverridingTwice]
)


def places_of(warned: list[warnings.WarningMessage]) -> list[tuple[str, int]]:
    assert {each.category for each in warned} <= {UndeliverableWarning}
    return [(each.filename, each.lineno) for each in warned]


@contextmanager
def places() -> Iterator[list[tuple[str, int]]]:
    """Yield a list that has in the end the file and line of every warning."""
    found: list[tuple[str, int]] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield found
    found += places_of(warned)


@each_application
@each_class
async def test_the_warning_points_at_the_line_that_awaits_connect(
    name: str, cls: type[RecordingWebsocketCommunicator]
) -> None:
    async with cls(APPLICATIONS[name][0], "/ws/") as communicator:
        with places() as found:
            result, line = await communicator.connect(), line_number()
        assert result == (True, None)
        assert found == [(__file__, line)]


async def test_the_warning_points_past_every_method_of_the_communicator() -> None:
    async with OverridingTwice(SendsTooEarly.as_asgi(), "/ws/") as communicator:
        with places() as found:
            result, line = await communicator.is_accepted(), line_number()
        assert result is True
        assert found == [(__file__, line)]


async def test_the_warning_points_past_what_decorates_a_method() -> None:
    def decorate(method: Any) -> Any:
        @functools.wraps(method)
        async def call(self: Any) -> Any:
            return await method(self)

        return call

    class Decorated(RecordingWebsocketCommunicator):
        @decorate
        async def connect(self) -> Any:
            return await super().connect()

    async with Decorated(SendsTooEarly.as_asgi(), "/ws/") as communicator:
        with places() as found:
            _, line = await communicator.connect(), line_number()
        assert found == [(__file__, line)]


async def test_the_warning_keeps_no_communicator_alive() -> None:
    async def connect_and_drop(_: object) -> Any:
        communicator = client(FRAME, ACCEPT)
        with places() as found:
            await communicator.connect()
        assert len(found) == 1
        dropped = weakref.ref(communicator)
        del communicator
        gc.collect()
        return dropped()

    # A frame with an argument, which could be the communicator.
    assert await connect_and_drop(None) is None


async def test_the_warning_points_at_a_helper_that_awaits_connect() -> None:
    async def helper() -> None:
        await communicator.connect()  # in a helper

    line = line_of("await communicator.connect()  # in a helper", __file__)
    async with Overriding(SendsTooEarly.as_asgi(), "/ws/") as communicator:
        with places() as found:
            await helper()
        assert found == [(__file__, line)]
    # Its line is on the stack of any task.
    async with Overriding(SendsTooEarly.as_asgi(), "/ws/") as communicator:
        with places() as found:
            await asyncio.gather(helper())
        assert found == [(__file__, line)]


async def test_the_methods_of_another_communicator_are_code_of_the_test() -> None:
    class Pair(RecordingWebsocketCommunicator):
        async def connect(self, timeout: float | None = 1) -> tuple[bool, Any]:
            return await other.connect()  # of a pair

    application = SendsTooEarly.as_asgi()
    async with RecordingWebsocketCommunicator(application, "/ws/") as other:
        with places() as found:
            await Pair(application, "/ws/").connect()
    line = line_of("return await other.connect()  # of a pair", __file__)
    assert found == [(__file__, line)]


async def gathered(connecting: Any) -> None:
    await asyncio.gather(connecting)


async def waited_for(connecting: Any) -> None:
    await asyncio.wait_for(connecting, LONG)


async def in_a_task(connecting: Any) -> None:
    await asyncio.create_task(connecting)


@each_application
@each_class
@pytest.mark.parametrize("run", [gathered, waited_for, in_a_task])
async def test_the_warning_points_at_the_application_where_a_task_connects(
    name: str, cls: type[RecordingWebsocketCommunicator], run: Any
) -> None:
    application, place = APPLICATIONS[name]
    async with cls(application, "/ws/") as communicator:
        with places() as found:
            await run(communicator.connect())
    assert found == [place]


@pytest.mark.parametrize(
    ("application", "place"),
    [
        (SendsTooEarlyAndReturns.as_asgi(), defined(SendsTooEarlyAndReturns)),
        # Nothing is left from which its consumer could be found.
        (routed(SendsTooEarlyAndReturns), ("<application>", 1)),
    ],
)
async def test_the_warning_points_at_an_application_that_has_ended(
    application: Any, place: tuple[str, int]
) -> None:
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    await communicator.send_input(CONNECT)
    await asyncio.wait([communicator.future], timeout=LONG)
    assert communicator.future.done()
    with places() as found:
        await asyncio.gather(communicator.connect())
    assert found == [place]


@each_application
@each_class
def test_the_warning_points_at_the_application_where_asgiref_connects(
    name: str, cls: type[RecordingWebsocketCommunicator]
) -> None:
    application, place = APPLICATIONS[name]
    communicator = cls(application, "/ws/")
    with places() as found:
        assert async_to_sync(communicator.connect)() == (True, None)
    assert found == [place]
    communicator.stop(exceptions=False)


@each_class
def test_the_warning_points_at_the_test_that_asgiref_runs(
    cls: type[RecordingWebsocketCommunicator],
) -> None:
    async def test() -> None:
        async with cls(SendsTooEarly.as_asgi(), "/ws/") as communicator:
            await communicator.connect()  # that asgiref runs

    with places() as found:
        async_to_sync(test)()
    line = line_of("await communicator.connect()  # that asgiref runs", __file__)
    assert found == [(__file__, line)]


async def test_a_filter_for_the_module_of_the_test_applies() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module=f"^{__name__}$")
        async with Overriding(SendsTooEarly.as_asgi(), "/ws/") as communicator:
            await communicator.connect()


async def test_a_warning_that_is_an_error_is_raised_and_loses_nothing() -> None:
    async with Overriding(SendsTooEarly.as_asgi(), "/ws/") as communicator:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UndeliverableWarning, match="^send too early\n"):
                await communicator.connect()
        assert communicator.pre_close_messages == ["too early"]
        assert await communicator.receive_nothing(0.01)


async def test_a_frame_that_a_subclass_makes_up_does_not_warn() -> None:
    class Inventing(RecordingWebsocketCommunicator):
        invented = False

        async def receive_output(self, timeout: float | None = 1) -> Any:
            if not self.invented:
                self.invented = True
                return {"type": "websocket.send", "text": "made up"}
            return await super().receive_output(timeout)

    communicator = Inventing(scripted(Script((ACCEPT,)), "asgi"), "/")
    assert await communicator.connect() == (True, None)
    assert communicator.pre_close_messages == ["made up"]
    await communicator.disconnect()

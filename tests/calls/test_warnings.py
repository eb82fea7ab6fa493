"""``UndeliverableWarning``: what it is issued for, how often, and at which line."""

import asyncio
import functools
import gc
import inspect
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning
from tests.calls.timing import in_virtual_time, pausing, started, timed
from tests.events import ACCEPT, BODY, DENIAL, FRAME, JSON_FRAME, accept, close
from tests.helpers import client, communicator_for, each_kind, line_of
from tests.scripts import Kind
from tests.servers.cases import CLOSE_4000, MORE_CASES, ROWS, UNDELIVERABLE, script

Ours = RecordingWebsocketCommunicator
BEFORE_ACCEPT = "sent before accept(): the client receives HTTP 500.\n"


@contextmanager
def warned() -> Iterator[list[tuple[str, int]]]:
    """Yield a list that has in the end the file and line of every warning."""
    places: list[tuple[str, int]] = []
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield places
    assert {each.category for each in found} <= {UndeliverableWarning}
    places += [(each.filename, each.lineno) for each in found]


def here(code: str) -> tuple[str, int]:
    return __file__, line_of(code, __file__)


@pytest.mark.parametrize("name", [*ROWS, *MORE_CASES, *UNDELIVERABLE])
async def test_only_frames_before_accept_warn(name: str) -> None:
    case = (ROWS | MORE_CASES | UNDELIVERABLE)[name]
    communicator = communicator_for(case)
    with warned() as places:
        result, _ = await timed(communicator.connect(0.05))
        has_frames = bool(communicator.pre_close_messages)
        while not communicator.output_queue.empty():
            communicator.output_queue.get_nowait()
        await timed(communicator.disconnect(timeout=0.05))
    assert len(places) == (has_frames and type(result) is tuple)
    communicator.stop(exceptions=False)


@each_kind
async def test_several_frames_issue_one_warning_at_the_line_of_the_test(
    kind: Kind,
) -> None:
    communicator = client(JSON_FRAME, FRAME, FRAME, ACCEPT, kind=kind)
    with pytest.warns(UndeliverableWarning) as found:
        assert await communicator.connect() == (True, None)  # several
    [warning] = found
    line = "assert await communicator.connect() == (True, None)  # several"
    assert (warning.filename, warning.lineno) == here(line)
    assert str(warning.message) == (
        f'send {{"type": "jwt-expired"}}\n  {BEFORE_ACCEPT}'
        "  Call accept() first, then send, then close()."
    )
    await communicator.disconnect()


@pytest.mark.parametrize("response", [ACCEPT, close()], ids=["accepted", "rejected"])
@in_virtual_time
async def test_every_connection_warns_once(response: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(FRAME)
        while True:
            await send(response)
            await receive()

    for _ in range(2):
        async with Ours(application, "/") as communicator:
            with pytest.warns(UndeliverableWarning):
                await communicator.connect()
            with warned() as places:
                await communicator.connect()
                await timed(communicator.wait_closed(0))
            assert places == []
        assert communicator.pre_close_messages == ["hello"]


async def test_the_warning_names_the_frame_and_not_the_denial() -> None:
    communicator = communicator_for(script(DENIAL, FRAME, BODY))
    with pytest.warns(UndeliverableWarning, match="^send hello\n"):
        assert await communicator.connect() == (False, 401)
    communicator.stop()


async def test_a_frame_after_accept_does_not_warn() -> None:
    communicator = communicator_for(script(accept(), FRAME, CLOSE_4000))
    with warned() as places:
        await communicator.connect()
        assert await communicator.connect() == (False, 4000)
    assert places == []
    assert communicator.pre_close_messages == ["hello"]


async def test_a_frame_that_a_subclass_makes_up_does_not_warn() -> None:
    made_up = [FRAME]

    class Inventing(Ours):
        async def receive_output(self, timeout: float | None = 1) -> Any:
            return made_up.pop() if made_up else await super().receive_output(timeout)

    async with Inventing(pausing(ACCEPT), "/") as communicator:
        assert await communicator.connect() == (True, None)
    assert communicator.pre_close_messages == ["hello"]


# Where it points.


class SendsTooEarly(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.send("too early")
        await self.accept()
        if self.scope["path"] == "/returns/":
            raise StopConsumer


class SyncSendsTooEarly(WebsocketConsumer):
    def connect(self) -> None:
        self.send("too early")
        self.accept()


async def sends_too_early(scope: Any, receive: Any, send: Any) -> None:
    await SendsTooEarly()(scope, receive, send)


class Instance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await pausing(FRAME, ACCEPT)(scope, receive, send)


class Overriding(Ours):
    async def connect(this, timeout: float | None = 1) -> tuple[bool, Any]:
        return await super().connect(timeout)

    async def is_accepted(self) -> bool:
        accepted, _ = await self.connect()
        return accepted


def decorated(method: Any) -> Any:
    @functools.wraps(method)
    async def call(self: Any) -> Any:
        return await method(self)

    return call


class Decorated(Ours):
    @decorated
    async def connect(self) -> Any:
        return await super().connect()


def routed(consumer: Any) -> Any:
    routes: Any = [path("<slug:_>/", consumer.as_asgi())]
    return ProtocolTypeRouter({"websocket": AuthMiddlewareStack(URLRouter(routes))})


async def in_a_helper(communicator: Any) -> None:
    await communicator.connect()  # in a helper


async def through_a_method(communicator: Any) -> None:
    await communicator.is_accepted()  # through a method


async def in_a_task_of_a_helper(communicator: Any) -> None:
    await asyncio.gather(in_a_helper(communicator))


HELPERS: list[tuple[type[Ours], Callable[[Any], Awaitable[None]], str]] = [
    (Ours, in_a_helper, "connect()  # in a helper"),
    (Overriding, in_a_helper, "connect()  # in a helper"),
    (Decorated, in_a_helper, "connect()  # in a helper"),
    (Overriding, in_a_task_of_a_helper, "connect()  # in a helper"),
    (Overriding, through_a_method, "is_accepted()  # through a method"),
]


@pytest.mark.parametrize(("cls", "use", "line"), HELPERS)
@pytest.mark.parametrize("with_asgiref", [False, True])
def test_the_warning_points_at_the_line_of_the_test_that_awaits_the_call(
    cls: type[Ours], use: Any, line: str, with_asgiref: bool
) -> None:
    async def test() -> None:
        async with cls(SendsTooEarly.as_asgi(), "/ws/") as communicator:
            await use(communicator)

    with warned() as places:
        async_to_sync(test)() if with_asgiref else asyncio.run(test())
    assert places == [here(f"await communicator.{line}")]


async def test_the_methods_of_another_communicator_are_code_of_the_test() -> None:
    class Pair(Ours):
        async def connect(self, timeout: float | None = 1) -> tuple[bool, Any]:
            return await communicator.connect()  # of a pair

    application = SendsTooEarly.as_asgi()
    async with Ours(application, "/ws/") as communicator:
        with warned() as places:
            await Pair(application, "/ws/").connect()
    assert places == [here("return await communicator.connect()  # of a pair")]


def defined(source: Any) -> tuple[str, int]:
    """Return where a class or a function is defined."""
    return (
        (__file__, inspect.getsourcelines(source)[1])
        if source
        else ("<application>", 1)
    )


async def gathered(connecting: Any) -> None:
    await asyncio.gather(connecting)


async def waited_for(connecting: Any) -> None:
    await asyncio.wait_for(connecting, 30)


async def in_a_task(connecting: Any) -> None:
    await asyncio.create_task(connecting)


#: The path, the application, and the class or function to which a warning points that
#: has no line of the test.
APPLICATIONS: list[tuple[str, Any, Any]] = [
    ("/ws/", SendsTooEarly.as_asgi(), SendsTooEarly),
    ("/ws/", SyncSendsTooEarly.as_asgi(), SyncSendsTooEarly),
    ("/returns/", SendsTooEarly.as_asgi(), SendsTooEarly),
    ("/ws/", routed(SendsTooEarly), SendsTooEarly),
    ("/ws/", routed(SyncSendsTooEarly), SyncSendsTooEarly),
    ("/ws/", sends_too_early, SendsTooEarly),
    # Python does not know where an object comes from.
    ("/ws/", Instance(), None),
]


@pytest.mark.parametrize(("path", "application", "source"), APPLICATIONS)
@pytest.mark.parametrize("cls", [Ours, Overriding])
@pytest.mark.parametrize("use", [gathered, waited_for, in_a_task, None])
def test_the_warning_points_at_the_application_where_no_line_awaits_the_call(
    path: str, application: Any, source: Any, cls: type[Ours], use: Any
) -> None:
    communicator = cls(application, path)

    async def test() -> None:
        await use(communicator.connect())

    with warned() as places:
        asyncio.run(test()) if use else async_to_sync(communicator.connect)()
    assert places == [defined(source)]


@pytest.mark.parametrize(
    ("application", "source"),
    [
        (SendsTooEarly.as_asgi(), SendsTooEarly),
        # Nothing is left from which its consumer could be found.
        (routed(SendsTooEarly), None),
    ],
)
async def test_the_warning_points_at_an_application_that_has_ended(
    application: Any, source: Any
) -> None:
    communicator = await started(Ours, application, has_ended=True, path="/returns/")
    with warned() as places:
        await asyncio.gather(communicator.connect())
    assert places == [defined(source)]


async def test_the_warning_keeps_no_communicator_alive() -> None:
    async def connect_and_drop(_: object) -> Any:
        communicator = client(FRAME, ACCEPT)
        with warned() as places:
            await communicator.connect()
        assert len(places) == 1
        dropped = weakref.ref(communicator)
        del communicator
        gc.collect()
        return dropped()

    # A frame with an argument, which could be the communicator.
    assert await connect_and_drop(None) is None


# Filters.


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

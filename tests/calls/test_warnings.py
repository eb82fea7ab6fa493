"""``UndeliverableWarning``: what it is issued for, how often, and at which line."""

import asyncio
import gc
import inspect
import warnings
import weakref
from collections.abc import Iterator
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
@in_virtual_time
async def test_only_frames_before_accept_warn(name: str) -> None:
    case = (ROWS | MORE_CASES | UNDELIVERABLE)[name]
    communicator = communicator_for(case)
    with warned() as places:
        result, _ = await timed(communicator.connect())
        has_frames = bool(communicator.pre_close_messages)
        while not communicator.output_queue.empty():
            communicator.output_queue.get_nowait()
        await timed(communicator.disconnect())
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


class Overriding(Ours):
    async def connect(this, timeout: float | None = 1) -> tuple[bool, Any]:
        return await super().connect(timeout)


def routed(consumer: Any) -> Any:
    routes: Any = [path("<slug:_>/", consumer.as_asgi())]
    return ProtocolTypeRouter({"websocket": AuthMiddlewareStack(URLRouter(routes))})


async def in_a_helper(communicator: Any) -> None:
    await communicator.connect()  # in a helper


async def in_a_task_of_a_helper(communicator: Any) -> None:
    await asyncio.gather(in_a_helper(communicator))


@pytest.mark.parametrize("cls", [Ours, Overriding])
@pytest.mark.parametrize("use", [in_a_helper, in_a_task_of_a_helper])
@pytest.mark.parametrize("with_asgiref", [False, True])
def test_the_warning_points_at_the_line_of_the_test_that_awaits_the_call(
    cls: type[Ours], use: Any, with_asgiref: bool
) -> None:
    async def test() -> None:
        async with cls(SendsTooEarly.as_asgi(), "/ws/") as communicator:
            await use(communicator)

    with warned() as places:
        async_to_sync(test)() if with_asgiref else asyncio.run(test())
    assert places == [here("await communicator.connect()  # in a helper")]


#: The path, the application, and the class or function to which a warning points that
#: has no line of the test.
APPLICATIONS: list[tuple[str, Any, Any]] = [
    ("/ws/", SendsTooEarly.as_asgi(), SendsTooEarly),
    ("/ws/", SyncSendsTooEarly.as_asgi(), SyncSendsTooEarly),
    ("/returns/", SendsTooEarly.as_asgi(), SendsTooEarly),
    ("/ws/", routed(SendsTooEarly), SendsTooEarly),
    ("/ws/", routed(SyncSendsTooEarly), SyncSendsTooEarly),
]


@pytest.mark.parametrize(("path", "application", "source"), APPLICATIONS)
@pytest.mark.parametrize("cls", [Ours, Overriding])
@pytest.mark.parametrize("in_a_task", [True, False], ids=["in a task", "by asgiref"])
def test_the_warning_points_at_the_application_where_no_line_awaits_the_call(
    path: str, application: Any, source: Any, cls: type[Ours], in_a_task: bool
) -> None:
    communicator = cls(application, path)

    async def test() -> None:
        await asyncio.gather(communicator.connect())

    with warned() as places:
        asyncio.run(test()) if in_a_task else async_to_sync(communicator.connect)()
    assert places == [(__file__, inspect.getsourcelines(source)[1])]


async def test_the_warning_has_no_line_if_nothing_is_left_of_the_consumer() -> None:
    application = routed(SendsTooEarly)
    communicator = await started(Ours, application, has_ended=True, path="/returns/")
    with warned() as places:
        await asyncio.gather(communicator.connect())
    assert places == [("<application>", 1)]


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

"""``UndeliverableWarning``: what it is issued for, how often, and at which line."""

import asyncio
import gc
import operator
import re
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning
from tests.calls.timing import in_virtual_time, pausing, timed
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
    where, _, text = str(warning.message).partition(": ")
    assert re.fullmatch(r"tests/scripts.py:\d+", where)
    assert text == (
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
    with pytest.warns(UndeliverableWarning, match=": send hello\n"):
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
        await self.send("too early")  # of the consumer
        await self.accept()


class SyncSendsTooEarly(WebsocketConsumer):
    def connect(self) -> None:
        self.send("too early")  # of the sync consumer
        self.accept()


async def scheduled(scope: Any, receive: Any, send: Any) -> None:
    """Sends by no line of the project."""
    for event in (FRAME, ACCEPT):
        put = operator.methodcaller("put_nowait", event)
        asyncio.get_running_loop().call_soon(put, send.__self__)
    await receive()
    await receive()


def in_async_to_sync(coroutine: Any) -> None:
    async def run() -> None:
        await coroutine

    async_to_sync(run)()


class Overriding(Ours):
    async def connect(this, timeout: float | None = 1) -> tuple[bool, Any]:
        return await super().connect(timeout)  # of the subclass


async def directly(communicator: Any) -> None:
    await communicator.connect()  # of the test


async def in_a_task(communicator: Any) -> None:
    await asyncio.gather(communicator.connect())


CONSUMER = 'await self.send("too early")  # of the consumer'
SYNC_CONSUMER = 'self.send("too early")  # of the sync consumer'
SUBCLASS = "return await super().connect(timeout)  # of the subclass"


@pytest.mark.parametrize(
    ("cls", "application", "use", "code"),
    [
        (
            Ours,
            SendsTooEarly.as_asgi(),
            directly,
            "await communicator.connect()  # of the test",
        ),
        (Overriding, SendsTooEarly.as_asgi(), directly, SUBCLASS),
        (Overriding, SendsTooEarly.as_asgi(), in_a_task, SUBCLASS),
        # Where no line connects, the line that sends.
        (Ours, SendsTooEarly.as_asgi(), in_a_task, CONSUMER),
        (Ours, SyncSendsTooEarly.as_asgi(), in_a_task, SYNC_CONSUMER),
    ],
)
@pytest.mark.parametrize("runs", [asyncio.run, in_async_to_sync])
def test_the_line_of_the_warning(
    cls: type[Ours], application: Any, use: Any, code: str, runs: Any
) -> None:
    async def test() -> None:
        async with cls(application, "/ws/") as communicator:
            await use(communicator)

    with warned() as places:
        runs(test())
    assert places == [here(code)]


async def test_a_warning_without_any_line() -> None:
    communicator = Ours(scheduled, "/ws/")
    with warned() as places:
        await asyncio.gather(communicator.connect())
    assert places == [("<application>", 1)]
    await communicator.disconnect()


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
            with pytest.raises(UndeliverableWarning, match=": send too early\n"):
                await communicator.connect()
        assert communicator.pre_close_messages == ["too early"]
        assert await communicator.receive_nothing(0.01)

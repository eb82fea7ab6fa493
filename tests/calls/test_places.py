"""The line that has sent an event: in records, transcripts and findings."""

import asyncio
import contextlib
import functools
import gc
import re
import sys
import textwrap
import types
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.typing import ASGI3Application
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from channels.security.websocket import OriginValidator

from channels_closetest import Place, RecordingWebsocketCommunicator
from tests.helpers import LONG, failure
from tests.virtual_time import EAGER


def sent_at(communicator: RecordingWebsocketCommunicator, text: str) -> Place | None:
    """Return the place of the data frame that has this text."""
    records = communicator.transcript.records
    [place] = [it.place for it in records if it.event.get("text") == text]
    return place


def here(comment: str, file: str = __file__) -> Place:
    """Return the place of the line of this module that ends with this comment."""
    lines = Path(file).read_text().splitlines()
    [line] = [n for n, it in enumerate(lines, 1) if it.endswith(f"  # {comment}")]
    return Place(file, line)


async def place_of_answer(application: ASGI3Application, text: str) -> Place | None:
    """Return the place of what the application sends after it has received a frame."""
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    await communicator.connect()
    await communicator.send_to(text)
    assert await communicator.receive_from(LONG) == f"{text}!"
    await communicator.disconnect()
    return sent_at(communicator, f"{text}!")


# Consumers that answer, each at a line of its own.


class Answering(AsyncWebsocketConsumer):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.send(f"{text_data}!")  # async


class SyncAnswering(WebsocketConsumer):
    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        self.send(f"{text_data}!")  # sync


class UnboundThread(SyncAnswering):
    """Sends from a thread of a pool, as ``thread_sensitive=False`` does."""

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        def answer() -> None:
            self.send(f"{text_data}!")  # unbound

        async_to_sync(sync_to_async(answer, thread_sensitive=False))()


class FromTask(Answering):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        self.task = asyncio.create_task(self.answer(text_data))

    async def answer(self, text: str) -> None:
        await self.send(f"{text}!")  # task


class FromGroup(Answering):
    groups = ["places"]

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        layer: Any = get_channel_layer()
        await layer.group_send("places", {"type": "answer", "text": text_data})

    async def answer(self, event: dict[str, Any]) -> None:
        await self.send(f"{event['text']}!")  # group


def logged(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await method(*args, **kwargs)

    return call


class Decorated(Answering):
    @logged
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        async with self.opened() as suffix:
            with contextlib.suppress(KeyError):
                await self.send(text_data + suffix)  # decorated

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[str]:
        yield "!"


class FromContextManager(Answering):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        async with self.answered(text_data):
            pass

    @contextlib.asynccontextmanager
    async def answered(self, text: str) -> AsyncIterator[None]:
        yield
        await self.send(f"{text}!")  # context manager


async def raw(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    text = (await receive())["text"]
    await send({"type": "websocket.send", "text": f"{text}!"})  # raw
    await receive()


def wrapping(application: Any) -> ASGI3Application:
    """Return middleware that wraps ``send``."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        async def counting(event: Any) -> None:
            await send(event)  # the middleware

        await application(scope, receive, counting)

    return middleware


@pytest.mark.parametrize(
    "application, comment",
    [
        (Answering.as_asgi(), "async"),
        (SyncAnswering.as_asgi(), "sync"),
        (UnboundThread.as_asgi(), "unbound"),
        (FromTask.as_asgi(), "task"),
        (FromGroup.as_asgi(), "group"),
        (Decorated.as_asgi(), "decorated"),
        (FromContextManager.as_asgi(), "context manager"),
        (raw, "raw"),
        (wrapping(Answering.as_asgi()), "async"),
    ],
)
@pytest.mark.parametrize("factory", [None, EAGER])
async def test_the_line_of_the_application(
    application: ASGI3Application, comment: str, factory: Any
) -> None:
    asyncio.get_running_loop().set_task_factory(factory)
    assert await place_of_answer(application, "a") == here(comment)


async def test_several_sync_consumers_at_once() -> None:
    application = SyncAnswering.as_asgi()
    texts = map(str, range(8))
    places = await asyncio.gather(*(place_of_answer(application, it) for it in texts))
    assert set(places) == {here("sync")}


async def test_middleware_that_closes() -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4003})  # refuses

    communicator = RecordingWebsocketCommunicator(refusing, "/ws/")
    assert await communicator.connect() == (False, 4003)
    assert communicator.transcript.records[-1].place == here("refuses")
    [finding] = communicator.undeliverable
    assert finding.place == here("refuses")


@pytest.mark.parametrize("factory", [None, EAGER])
async def test_a_denier_of_channels_has_no_line(factory: Any) -> None:
    asyncio.get_running_loop().set_task_factory(factory)
    application = OriginValidator(Answering.as_asgi(), ["example.com"])
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    assert await communicator.connect() == (False, 1000)
    assert communicator.transcript.records[-1].place is None


async def rejected(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.connect()  # rejected


async def test_strict_and_the_transcript_name_the_line() -> None:
    class Early(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.send("early")  # before accept()
            await self.close(4401)  # with a code

    communicator = RecordingWebsocketCommunicator(Early.as_asgi(), "/ws/?token=old")
    communicator.strict = True
    text = str(await failure(rejected(communicator)))
    lines = [here(it).line for it in ("rejected", "before accept()", "with a code")]
    assert f"\ntests/calls/test_places.py:{lines[1]}: send early\n" in text
    shown = re.sub(r"\d+\.\d ms", "0.0 ms", str(communicator.transcript))
    assert re.sub("  +(?=0.0 ms)", "  ", shown) == (
        "/ws/?token=old\n"
        f"  0.0 ms  -> connect           tests/calls/test_places.py:{lines[0]}\n"
        f"  0.0 ms  <- send       early  tests/calls/test_places.py:{lines[1]}\n"
        "                !! sent before accept(): the client receives HTTP 500\n"
        f"  0.0 ms  <- close      4401   tests/calls/test_places.py:{lines[2]}\n"
        "                !! lost: the connection had ended\n"
        "a client of Daphne sees: HTTP 500, then close code 1006"
    )
    await communicator.disconnect()


# Consumers of a library.


@pytest.fixture(params=["site-packages", "dist-packages"])  # of Debian
def library(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The file of an installed module with a consumer."""
    folder = tmp_path / request.param
    folder.mkdir()
    file = folder / "answering_library.py"
    file.write_text(textwrap.dedent("""
            from channels.generic.websocket import AsyncWebsocketConsumer

            class Answering(AsyncWebsocketConsumer):
                async def receive(self, text_data=None, bytes_data=None):
                    await self.answer(f"{text_data}!")

                async def answer(self, text):
                    await self.send(text)  # library
            """))
    monkeypatch.syspath_prepend(str(folder))
    yield file
    del sys.modules["answering_library"]


async def test_the_project_is_preferred_to_a_consumer_that_is_installed(
    library: Path,
) -> None:
    import answering_library  # type: ignore[import-not-found]

    class Own(answering_library.Answering):  # type: ignore[misc]
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await super().receive(text_data)  # of the project

    place = await place_of_answer(answering_library.Answering.as_asgi(), "a")
    assert place == here("library", str(library))
    assert await place_of_answer(Own.as_asgi(), "a") == here("of the project")


# The test's own events.


async def say(communicator: RecordingWebsocketCommunicator) -> None:
    await communicator.send_to("a")  # helper


@pytest.fixture
async def greeted() -> RecordingWebsocketCommunicator:
    communicator = RecordingWebsocketCommunicator(Answering.as_asgi(), "/ws/")
    await communicator.connect()
    await communicator.send_to("a")  # fixture
    return communicator


async def test_the_line_of_the_test() -> None:
    communicator = RecordingWebsocketCommunicator(Answering.as_asgi(), "/ws/")
    await communicator.connect()  # direct
    await say(communicator)
    connect, _, frame, *_ = communicator.transcript.records
    assert connect.place == here("direct")
    assert frame.place == here("helper")
    await communicator.input_queue.put({"type": "websocket.disconnect"})  # queue
    assert communicator.transcript.records[-1].place == here("queue")


async def test_the_line_of_a_fixture(greeted: RecordingWebsocketCommunicator) -> None:
    assert sent_at(greeted, "a") == here("fixture")


def test_the_line_of_a_test_that_is_sync() -> None:
    communicator = RecordingWebsocketCommunicator(Answering.as_asgi(), "/ws/")

    async def converse() -> None:
        await communicator.connect()
        await communicator.send_to("a")  # in async_to_sync()
        await communicator.disconnect()

    async_to_sync(converse)()
    assert sent_at(communicator, "a") == here("in async_to_sync()")


async def test_a_call_in_a_task_of_its_own_has_no_line() -> None:
    communicator = RecordingWebsocketCommunicator(Answering.as_asgi(), "/ws/")
    await asyncio.gather(communicator.connect())
    assert communicator.transcript.records[0].place is None


# Where it is shown, and what it keeps alive.


def test_a_place_is_shown_relative_to_the_working_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    assert str(Place(__file__, 7)) == "test_places.py:7"
    assert str(Place("/elsewhere/chat.py", 7)) == "/elsewhere/chat.py:7"


async def test_frames_and_modules_are_not_kept_alive() -> None:
    module = types.ModuleType("dynamic")
    source = """
class Local: pass
async def application(scope, receive, send):
    local = Local()
    keep(ref(local))
    await send({"type": "websocket.close"})
"""
    references: list[weakref.ref[object]] = []

    vars(module).update(keep=references.append, ref=weakref.ref)
    exec(compile(source, "dynamic.py", "exec"), vars(module))
    communicator = RecordingWebsocketCommunicator(vars(module)["application"], "/")
    assert await communicator.connect() == (False, 1000)
    await communicator.wait()
    assert communicator.transcript.records[-1].place == Place("dynamic.py", 6)
    transcript = communicator.transcript
    references.append(weakref.ref(module))
    del module, communicator
    gc.collect()
    assert [reference() for reference in references] == [None, None]
    assert "dynamic.py:6" in str(transcript)

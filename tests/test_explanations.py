"""What a failure says: every message that a user can meet, whole."""

import asyncio
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.urls import path

import channels_closetest.communicator
from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning
from tests.events import (
    ACCEPT,
    CLOSE_WITH_REASON,
    CONNECT,
    DENIAL,
    JSON_FRAME,
    PART,
    Event,
    close,
    send,
)
from tests.scripts import Boom, Kind, Script, scripted

TESTS = Path(__file__).parent


each_kind = pytest.mark.parametrize("kind", ["async", "sync"])
with_notes = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Python 3.10 has no add_note()"
)
frames_before_accept = pytest.mark.filterwarnings(
    "ignore::channels_closetest.UndeliverableWarning"
)


def client(
    *events: object, ending: Any = "wait", kind: Kind = "async"
) -> RecordingWebsocketCommunicator:
    application = scripted(Script(events, ending), kind)
    return RecordingWebsocketCommunicator(application, "/ws/?token=old")


async def failure(call: Awaitable[object]) -> BaseException:
    try:
        result = await call
    except (Exception, asyncio.CancelledError) as error:
        return error
    pytest.fail(f"returned {result!r}")


async def message(call: Awaitable[object]) -> str:
    return readable(str(await failure(call)))


async def note(call: Awaitable[object]) -> str:
    return only_note(await failure(call))


def only_note(error: BaseException | None) -> str:
    assert error is not None
    [text] = getattr(error, "__notes__")
    return readable(text)


def readable(text: str) -> str:
    """What is the same on every machine, with every version of what is not ours."""
    text = re.sub(
        r'File "\S+/(?:site-packages|python3\.\d+)/(\S+)", line \d+', r'File "\1"', text
    )
    text = re.sub(
        r'  File "asgiref/sync.py".*\n.*\n(  File "(asgiref|asyncio)/.*\n.*\n)*',
        "  (asgiref)\n",
        text,
    )
    text = text.replace(str(TESTS), "tests")
    return re.sub(r"^ +\d+\.\d ms", "   0.0 ms", text, flags=re.MULTILINE)


def line_of(code: str, file: str = __file__) -> int:
    lines = Path(file).read_text().splitlines()
    [number] = [number for number, line in enumerate(lines, 1) if line.strip() == code]
    return number


# What hangs, and where.


class AsyncHanging(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.greet()

    async def greet(self) -> None:
        await asyncio.get_running_loop().create_future()  # greets


@pytest.fixture
def locked() -> Iterator[threading.Lock]:
    """Not an Event: what hangs in it does so in no frame but its own."""
    lock = threading.Lock()
    with lock:
        yield lock


class SyncHanging(WebsocketConsumer):
    def __init__(self, lock: threading.Lock) -> None:
        super().__init__()
        self.lock = lock

    def connect(self) -> None:
        self.greet()

    def greet(self) -> None:
        with self.lock:  # greets
            pass


class Querying(AsyncWebsocketConsumer):
    def __init__(self, lock: threading.Lock) -> None:
        super().__init__()
        self.lock = lock

    async def connect(self) -> None:
        await database_sync_to_async(self.query)()

    def query(self) -> None:
        with self.lock:  # queries
            pass


@types.coroutine
def generated() -> Generator[Any, None, None]:
    yield from asyncio.get_running_loop().create_future()  # generates


class Awaited:
    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.get_running_loop().create_future()  # is awaited


async def waiting_for_generator(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    await generated()


async def waiting_for_object(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    await Awaited()


HANDSHAKE = "Awaited: websocket.accept, websocket.close or a denial response."
HANGS = "The application hangs here, the most recent call last:\n"
GO_ON = "Let it go on, or give the call more time."
IDLE = (
    "The consumer is idle: it has handled every event it was sent.\n"
    "Let a handler of it send, or send it an event that makes it."
)
UNANSWERED = (
    "The consumer is idle: it has not answered the handshake.\n"
    "Let its connect() call accept() or close()."
)
RETURNED = "Let it send before it returns, or before a handler raises StopConsumer."
#: A consumer's chain, as far as it is Channels'.
CHANNELS = """\
  File "channels/consumer.py", in app
    return await consumer(scope, receive, send)
  File "channels/consumer.py", in __call__
    await await_many_dispatch(
  File "channels/utils.py", in await_many_dispatch
    await dispatch(result)
"""
ASYNC_HANDLER = """\
  File "channels/consumer.py", in dispatch
    await handler(message)
  File "channels/generic/websocket.py", in websocket_connect
    await self.connect()
"""
SYNC_HANDLER = """\
  (asgiref)
  File "channels/consumer.py", in dispatch
    handler(message)
  File "channels/generic/websocket.py", in websocket_connect
    self.connect()
"""


def ours(function: str, code: str) -> str:
    """A frame of this file."""
    return (
        f'  File "tests/test_explanations.py", line {line_of(code)}, in {function}\n'
        f"    {code}\n"
    )


# TimeoutError: what was awaited, for how long, what came, and where it hangs.


each_call_that_receives = pytest.mark.parametrize(
    ("name", "awaited"),
    [
        ("receive_output", "any event"),
        ("receive_from", "a data frame"),
        ("receive_json_from", "a data frame"),
        ("wait_closed", "websocket.close"),
    ],
)


@each_call_that_receives
@each_kind
async def test_a_call_says_what_it_awaited(name: str, awaited: str, kind: Kind) -> None:
    communicator = client(ACCEPT, kind=kind)
    await communicator.connect()
    assert await message(getattr(communicator, name)(timeout=0.2)) == (
        f"{name}(timeout=0.2) timed out. Awaited: {awaited}. Came: nothing.\n{IDLE}"
    )


@each_call_that_receives
@each_kind
async def test_a_call_says_that_the_application_has_returned(
    name: str, awaited: str, kind: Kind
) -> None:
    communicator = client(ACCEPT, ending="return", kind=kind)
    await communicator.connect()
    assert await message(getattr(communicator, name)()) == (
        f"{name}(timeout=1) has nothing to wait for: the application has returned."
        f" Awaited: {awaited}. Came: nothing.\n{RETURNED}"
    )


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (lambda communicator: communicator.connect(), "connect(timeout=1)"),
        (lambda communicator: communicator.connect(2), "connect(timeout=2)"),
        (lambda communicator: communicator.connect(timeout=3), "connect(timeout=3)"),
        (lambda communicator: communicator.connect(None), "connect(timeout=None)"),
    ],
)
async def test_connect_says_that_the_application_has_returned(
    call: Callable[[RecordingWebsocketCommunicator], Awaitable[object]], shown: str
) -> None:
    assert await message(call(client(ending="return"))) == (
        f"{shown} has nothing to wait for: the application has returned."
        f" {HANDSHAKE} Came: nothing.\n{RETURNED}"
    )


@pytest.mark.parametrize(
    ("frames", "came"),
    [
        ([], "nothing"),
        ([JSON_FRAME], "1 data frame, now in pre_close_messages"),
        ([JSON_FRAME, JSON_FRAME], "2 data frames, now in pre_close_messages"),
    ],
)
async def test_connect_says_that_the_consumer_is_idle_and_what_it_has_sent(
    frames: list[Event], came: str
) -> None:
    assert await message(client(*frames).connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: {came}.\n{UNANSWERED}"
    )


@frames_before_accept
async def test_wait_closed_counts_the_frames_that_it_has_passed_itself() -> None:
    communicator = client(JSON_FRAME, ACCEPT, JSON_FRAME)
    await communicator.connect()
    assert await message(communicator.wait_closed(0.2)) == (
        "wait_closed(timeout=0.2) timed out. Awaited: websocket.close."
        f" Came: 1 data frame, now in pre_close_messages.\n{IDLE}"
    )


async def test_connect_says_that_a_denial_response_has_no_end() -> None:
    assert await message(client(DENIAL, PART).connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE}"
        " Came: the start of a denial response, HTTP 401, but not its end.\n"
        "The consumer is idle: it has begun a denial response, and not ended it.\n"
        "Let it send a websocket.http.response.body without more_body."
    )


@pytest.mark.parametrize(
    ("events", "connects", "idle"),
    [
        (
            (ACCEPT,),
            False,
            "has not been sent websocket.connect.\nCall connect() first.",
        ),
        (
            (CLOSE_WITH_REASON,),
            True,
            "has closed with 4401.\n"
            "Look in pre_close_messages for what it has said before.",
        ),
        (
            (ACCEPT, JSON_FRAME, CLOSE_WITH_REASON),
            True,
            "has closed with 4401.\n"
            "Look in pre_close_messages for what it has said before.",
        ),
        (
            (DENIAL, {**PART, "more_body": False}),
            True,
            "has denied the handshake with HTTP 401.\nLook at denial_response.",
        ),
    ],
)
async def test_a_call_says_why_an_idle_consumer_says_no_more(
    events: tuple[Event, ...], connects: bool, idle: str
) -> None:
    communicator = client(*events)
    if connects:
        await communicator.connect()
    if events[-1] is CLOSE_WITH_REASON:
        await communicator.wait_closed()
    assert await message(communicator.receive_json_from(0.2)) == (
        "receive_json_from(timeout=0.2) timed out. Awaited: a data frame."
        f" Came: nothing.\nThe consumer is idle: it {idle}"
    )


async def test_a_consumer_behind_a_router_is_idle_too() -> None:
    application: Any = scripted(Script(()), "async")
    routes: Any = [path("ws/", application)]
    communicator = RecordingWebsocketCommunicator(URLRouter(routes), "/ws/")
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n{UNANSWERED}"
    )


async def test_an_async_consumer_hangs_in_a_chain_of_coroutines() -> None:
    communicator = RecordingWebsocketCommunicator(AsyncHanging.as_asgi(), "/ws/")
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n"
        + HANGS
        + CHANNELS
        + ASYNC_HANDLER
        + ours("connect", "await self.greet()")
        + ours("greet", "await asyncio.get_running_loop().create_future()  # greets")
        + GO_ON
    )


async def test_a_sync_consumer_hangs_in_its_thread(locked: threading.Lock) -> None:
    communicator = RecordingWebsocketCommunicator(
        SyncHanging.as_asgi(lock=locked), "/ws/"
    )
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n"
        + HANGS
        + CHANNELS
        + SYNC_HANDLER
        + ours("connect", "self.greet()")
        + ours("greet", "with self.lock:  # greets")
        + GO_ON
    )


async def test_an_async_consumer_hangs_in_the_thread_of_its_database(
    locked: threading.Lock,
) -> None:
    communicator = RecordingWebsocketCommunicator(Querying.as_asgi(lock=locked), "/ws/")
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n"
        + HANGS
        + CHANNELS
        + ASYNC_HANDLER
        + ours("connect", "await database_sync_to_async(self.query)()")
        + "  (asgiref)\n"
        + ours("query", "with self.lock:  # queries")
        + GO_ON
    )


async def test_a_sync_consumer_waits_for_the_thread_that_another_one_blocks(
    locked: threading.Lock,
) -> None:
    other = RecordingWebsocketCommunicator(SyncHanging.as_asgi(lock=locked), "/ws/")
    await other.send_input(CONNECT)
    assert await other.receive_nothing(0.01)
    said = await message(client(ACCEPT, kind="sync").connect(0.2))
    # Newer asgiref has functions of its own in the thread, too.
    assert said.replace("function:\n  (asgiref)\n", "function:\n") == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n"
        + HANGS
        + CHANNELS
        + "  (asgiref)\n"
        + "It waits for its thread, which is busy with another function:\n"
        + SYNC_HANDLER.removeprefix("  (asgiref)\n")
        + ours("connect", "self.greet()")
        + ours("greet", "with self.lock:  # greets")
        + "Let that end first."
    )


@pytest.mark.parametrize(
    ("application", "code", "function", "line"),
    [
        (
            waiting_for_generator,
            "await generated()",
            "generated",
            "yield from asyncio.get_running_loop().create_future()  # generates",
        ),
        (
            waiting_for_object,
            "await Awaited()",
            "__await__",
            "yield from asyncio.get_running_loop().create_future()  # is awaited",
        ),
    ],
)
async def test_an_application_hangs_in_what_is_awaited_like_a_coroutine(
    application: ASGI3Application, code: str, function: str, line: str
) -> None:
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    assert await message(communicator.receive_output(0.2)) == (
        "receive_output(timeout=0.2) timed out. Awaited: any event. Came: nothing.\n"
        + HANGS
        + ours(application.__name__, code)
        + ours(function, line)
        + GO_ON
    )


async def test_a_timeout_of_a_subclass_that_reads_the_queue_itself_is_explained() -> (
    None
):
    class Reading(RecordingWebsocketCommunicator):
        async def receive_output(self, timeout: float | None = 1) -> Any:
            return await asyncio.wait_for(self.output_queue.get(), timeout)

    communicator = Reading(scripted(Script(()), "async"), "/ws/")
    assert await message(communicator.connect(0.2)) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE} Came: nothing.\n{UNANSWERED}"
    )
    assert not communicator.future.done()
    communicator.stop()


async def test_a_call_that_another_communicator_makes_is_explained_as_its_own() -> None:
    class Relaying(RecordingWebsocketCommunicator):
        async def receive_output(self, timeout: float | None = 1) -> Any:
            return await other.receive_output(timeout)

    other = client(ACCEPT)
    await other.connect()
    relaying = Relaying(scripted(Script(()), "async"), "/ws/")
    assert await message(relaying.receive_from(0.2)) == (
        "receive_output(timeout=0.2) timed out. Awaited: any event. Came: nothing.\n"
        + IDLE
    )


# CancelledError: who cancelled the application.


@pytest.mark.parametrize(
    "name",
    ["connect", "receive_output", "receive_from", "receive_json_from", "wait_closed"],
)
async def test_cancelled_error_says_which_call_timed_out(name: str) -> None:
    communicator = client()
    await failure(getattr(communicator, name)(timeout=0.2))
    for _ in range(2):
        assert await message(communicator.receive_output()) == (
            f"The application is cancelled: {name}(timeout=0.2) timed out before."
            " Like the parent class, this one cancels an application that lets a call"
            " time out.\n"
            "Ask receive_nothing() whether something comes: it cancels nothing."
        )


@pytest.mark.parametrize("name", ["wait", "disconnect"])
async def test_cancelled_error_says_which_call_cancelled_in_silence(name: str) -> None:
    communicator = RecordingWebsocketCommunicator(waiting_for_object, "/ws/")
    await getattr(communicator, name)(timeout=0.2)
    assert await message(communicator.receive_output()) == (
        f"The application is cancelled: it was cancelled during {name}(timeout=0.2)."
        " Like the parent class, this one cancels an application that lets a call time"
        " out.\n"
        "Ask receive_nothing() whether something comes: it cancels nothing."
    )


async def test_cancelled_error_says_that_no_call_has_cancelled() -> None:
    communicator = client(ACCEPT)
    await communicator.connect()
    communicator.stop()
    assert await message(communicator.receive_output()) == (
        "The application was cancelled, and not by a call that timed out."
    )


async def test_cancelled_error_of_the_test_itself_is_left_as_it_is() -> None:
    task = asyncio.ensure_future(client().connect())
    await asyncio.sleep(0.01)
    task.cancel()
    error = await failure(task)
    assert isinstance(error, asyncio.CancelledError)
    assert error.args == ()


# What is no answer.


@pytest.mark.parametrize(
    ("event", "error", "shown"),
    [
        (
            {"type": "websocket.unknown", "id": 1},
            AssertionError,
            "{'id': 1, 'type': 'websocket.unknown'}",
        ),
        (PART, AssertionError, "denial body b'Not ', more to come"),
        ({"type": None}, AssertionError, "{'type': None}"),
        (None, TypeError, "None"),
        (["accept"], TypeError, "['accept']"),
    ],
)
async def test_connect_names_what_is_no_answer(
    event: object, error: type[Exception], shown: str
) -> None:
    raised = await failure(client(event).connect())
    assert type(raised) is error
    assert str(raised) == (
        "connect() expected websocket.accept, websocket.close or"
        " websocket.http.response.start, but the application sent"
        f" {shown}. Let it answer the handshake first."
    )


async def test_connect_names_an_event_without_type() -> None:
    raised = await failure(client({"text": "1"}).connect())
    assert type(raised) is KeyError
    assert raised.args == (
        "connect() expected websocket.accept, websocket.close or"
        " websocket.http.response.start, but the application sent {'text': '1'}."
        " Let it answer the handshake first.",
    )


async def test_wait_closed_says_that_the_handshake_was_denied() -> None:
    communicator = client(DENIAL, PART)
    await communicator.send_input(CONNECT)
    assert await message(communicator.wait_closed()) == (
        "wait_closed() expected websocket.close, but the application has denied the"
        " handshake with HTTP 401.\n"
        "Look at denial_response instead."
    )


# What Channels says itself.


@pytest.mark.parametrize(
    ("sent", "name", "text"),
    [
        (
            CLOSE_WITH_REASON,
            "receive_from",
            "Expected type 'websocket.send', but was '{type}'",
        ),
        (
            send(text="1", bytes=b"1"),
            "receive_from",
            "The response needs exactly one of 'text' or 'bytes'",
        ),
        (
            send(text=1),
            "receive_from",
            "Text frame payload is not str, it is <class 'int'>",
        ),
        (
            send(bytes="1"),
            "receive_from",
            "Binary frame payload is not bytes, it is <class 'str'>",
        ),
        (
            send(bytes=b"1"),
            "receive_json_from",
            "JSON data is not a text frame, it is <class 'bytes'>",
        ),
        (
            send(text="]"),
            "receive_json_from",
            "Expecting value: line 1 column 1 (char 0)",
        ),
    ],
)
async def test_the_texts_of_channels_are_left_as_they_are(
    sent: Event, name: str, text: str
) -> None:
    application = scripted(Script((ACCEPT, sent)), "async")
    messages = []
    for communicator_class in (WebsocketCommunicator, RecordingWebsocketCommunicator):
        communicator = communicator_class(application, "/ws/")
        await communicator.connect()
        messages.append(str(await failure(getattr(communicator, name)())))
        await communicator.disconnect()
    parents, ours = messages
    assert ours == text.format(**sent) if "type}" in text else text
    # Channels 4.1 has no text where 4.2 says what came.
    assert parents in [ours, ""]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "You must supply exactly one of text_data or bytes_data"),
        (("a", b"b"), "You must supply exactly one of text_data or bytes_data"),
        ((b"a",), "The text_data argument must be a str"),
        ((None, "b"), "The bytes_data argument must be bytes"),
    ],
)
async def test_what_send_to_says_is_left_as_it_is(
    arguments: tuple[Any, ...], text: str
) -> None:
    assert await message(client().send_to(*arguments)) == text


# The note.


@with_notes
@frames_before_accept
async def test_a_crash_carries_the_transcript() -> None:
    communicator = client(JSON_FRAME, ending="raise")
    error = await failure(communicator.connect())
    assert error is communicator.future.exception()
    assert str(error) == "boom"
    line = line_of('raise Boom("boom")', str(TESTS / "scripts.py"))
    assert only_note(error) == (
        "What passed between test and application: /ws/?token=old\n"
        "   0.0 ms  -> connect\n"
        '   0.0 ms  <- send       {"type": "jwt-expired"}'
        "  !! sent before accept(): the client gets HTTP 500\n"
        f"   0.0 ms  the application raised Boom('boom'), tests/scripts.py:{line}\n"
        "a client of Daphne sees: HTTP 500, then close code 1006"
    )


@with_notes
async def test_a_timeout_carries_the_transcript() -> None:
    communicator = client(ACCEPT)
    await communicator.connect()
    assert await note(communicator.receive_from(0.2)) == (
        "What passed between test and application: /ws/?token=old\n"
        "   0.0 ms  -> connect\n"
        "   0.0 ms  <- accept\n"
        "   0.0 ms  the application was cancelled\n"
        "a client of Daphne sees: HTTP 101"
    )


@with_notes
async def test_an_error_of_channels_carries_the_transcript() -> None:
    communicator = client(ACCEPT, {**CLOSE_WITH_REASON, "reason": ""})
    await communicator.connect()
    assert await note(communicator.receive_from()) == (
        "What passed between test and application: /ws/?token=old\n"
        "   0.0 ms  -> connect\n"
        "   0.0 ms  <- accept\n"
        "   0.0 ms  <- close      4401 ''\n"
        "a client of Daphne sees: HTTP 101, then close code 4401"
    )


class Layered(RecordingWebsocketCommunicator):
    """Each call passes through a method of a subclass, and through ``super()``."""

    async def connect(self, timeout: float | None = 1) -> tuple[bool, Any]:
        return await super().connect(timeout)

    async def receive_output(self, timeout: float | None = 1) -> Any:
        return await super().receive_output(timeout)

    async def receive_from(self, timeout: float = 1) -> Any:
        return await super().receive_from(timeout)


@with_notes
async def test_the_transcript_is_added_once_through_however_many_layers() -> None:
    application = scripted(Script((ACCEPT,), "raise"), "async")
    with pytest.raises(Boom) as raised:
        async with Layered(application, "/ws/") as communicator:
            await communicator.connect()
            await asyncio.wait([communicator.future])
            for name in ("receive_from", "receive_json_from", "receive_output"):
                with pytest.raises(Boom):
                    await getattr(communicator, name)()
            with pytest.raises(Boom):
                communicator.stop()
            await communicator.connect()
    assert len(getattr(raised.value, "__notes__")) == 1


@with_notes
async def test_every_block_adds_its_transcript() -> None:
    with pytest.raises(AssertionError) as raised:
        async with client(ACCEPT) as first, client(ACCEPT, CLOSE_WITH_REASON) as second:
            await asyncio.gather(first.connect(), second.connect())
            await second.receive_from()
    of_second, of_first = getattr(raised.value, "__notes__")
    assert "<- close" in of_second and "<- close" not in of_first
    assert of_first.splitlines()[0] == of_second.splitlines()[0]


@with_notes
def test_an_exception_can_be_pickled() -> None:
    async def fail() -> BaseException:
        return await failure(client(ACCEPT).receive_from(0.01))

    error = asyncio.run(fail())
    copy: Any = pickle.loads(pickle.dumps(error))
    assert [str(copy), only_note(copy)] == [str(error), only_note(error)]


@with_notes
async def test_the_transcript_comes_after_the_notes_that_are_there() -> None:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        error = Boom("boom")
        getattr(error, "add_note")("mine")
        raise error

    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    error = await failure(communicator.receive_output())
    assert [text.splitlines()[0] for text in getattr(error, "__notes__")] == [
        "mine",
        "What passed between test and application: /ws/",
    ]


@with_notes
async def test_what_the_body_of_a_block_raises_carries_the_transcript() -> None:
    error = AssertionError("(False, 4401) != (True, None)")
    with pytest.raises(AssertionError) as raised:
        async with client(CLOSE_WITH_REASON) as communicator:
            await communicator.connect()
            raise error
    assert raised.value is error
    assert str(error) == "(False, 4401) != (True, None)"
    assert only_note(error) == (
        "What passed between test and application: /ws/?token=old\n"
        "   0.0 ms  -> connect\n"
        "   0.0 ms  <- close      4401 expired"
        "           !! closed with code or reason before accept():"
        " the client gets HTTP 403\n"
        "a client of Daphne sees: HTTP 403, then close code 1006"
    )


@with_notes
async def test_a_crash_that_only_the_end_of_a_block_shows_carries_the_transcript() -> (
    None
):
    with pytest.raises(Boom) as raised:
        async with client(ACCEPT, ending="raise") as communicator:
            await communicator.connect()
            await asyncio.wait([communicator.future])
    line = line_of('raise Boom("boom")', str(TESTS / "scripts.py"))
    assert only_note(raised.value) == (
        "What passed between test and application: /ws/?token=old\n"
        "   0.0 ms  -> connect\n"
        "   0.0 ms  <- accept\n"
        f"   0.0 ms  the application raised Boom('boom'), tests/scripts.py:{line}\n"
        "a client of Daphne sees: HTTP 101, then close code 1011"
    )


async def test_a_crash_is_located_in_the_code_of_the_project() -> None:
    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        json.loads("{")  # crashes

    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    error = await failure(communicator.connect())
    line = line_of('json.loads("{")  # crashes')
    ends = readable(str(communicator.transcript)).splitlines()[-2]
    assert error.__class__.__name__ in ends
    assert ends.endswith(f", tests/test_explanations.py:{line}")


async def test_a_crash_of_a_library_is_located_there() -> None:
    communicator = RecordingWebsocketCommunicator(URLRouter([]), "/ws/")
    await failure(communicator.connect())
    ends = readable(str(communicator.transcript)).splitlines()[-2]
    assert re.search(r"raised ValueError\(.*channels/routing.py:\d+$", ends), ends


@with_notes
async def test_servers_that_are_not_known_do_not_hide_the_failure() -> None:
    communicator = client()
    communicator.servers = ["nginx"]
    assert (await note(communicator.connect(0.2))).endswith(
        "a client of Daphne sees: no answer yet"
    )


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="has notes")
async def test_python_3_10_has_no_notes() -> None:
    error = await failure(client(ending="raise").connect())
    assert not hasattr(error, "__notes__")


# The end of a block that nothing ends.


async def test_the_end_of_a_block_says_that_the_application_cannot_be_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels_closetest.communicator, "_PATIENCE", 0.01)
    stop = asyncio.Event()

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        while not stop.is_set():
            try:
                await stop.wait()  # deaf
            except BaseException:
                pass

    with pytest.raises(AssertionError) as raised:
        async with RecordingWebsocketCommunicator(application, "/") as communicator:
            await communicator.receive_nothing()
    stop.set()
    await asyncio.wait([communicator.future])
    assert readable(str(raised.value)) == (
        "The application cannot be ended: it swallows cancellation.\n"
        + HANGS
        + ours("application", "await stop.wait()  # deaf")
        + '  File "asyncio/locks.py", in wait\n    await fut\n'
        + GO_ON
    )


# What is undeliverable.


async def test_a_frame_before_accept_warns_at_the_line_of_the_test() -> None:
    communicator = client(JSON_FRAME, JSON_FRAME, CLOSE_WITH_REASON)
    with pytest.warns(UndeliverableWarning) as warned:
        await communicator.connect()  # here
    [warning] = warned
    assert warning.filename == __file__
    assert warning.lineno == line_of("await communicator.connect()  # here")
    assert str(warning.message) == (
        'send {"type": "jwt-expired"}\n'
        "  sent before accept(): the client gets HTTP 500.\n"
        "  Call accept() first, then send, then close()."
    )


class Strict(RecordingWebsocketCommunicator):
    strict = True


async def test_strict_says_what_was_sent_what_the_client_gets_and_the_remedy() -> None:
    communicator = Strict(
        scripted(Script((JSON_FRAME, CLOSE_WITH_REASON)), "async"), "/ws/"
    )
    error = await failure(communicator.connect())
    assert type(error) is AssertionError
    assert str(error) == (
        "strict: the application sent what not every client gets as it was sent.\n"
        'send {"type": "jwt-expired"}\n'
        "  sent before accept(): the client gets HTTP 500.\n"
        "  Call accept() first, then send, then close().\n"
        "close 4401 expired\n"
        "  sent when all was over: the client gets nothing.\n"
        "  Mend what ended it, or send no more."
    )


async def test_strict_names_the_servers_that_differ() -> None:
    event = close(code=1008)
    communicator = Strict(scripted(Script((ACCEPT, event)), "async"), "/ws/")
    communicator.servers = ("uvicorn", "daphne")
    assert await message(communicator.connect()) == (
        "strict: the application sent what not every client gets as it was sent.\n"
        "close 1008\n"
        "  a close code for servers and libraries, 1001 to 1014: the client gets"
        " close code 1011 on Daphne.\n"
        "  Close with 1000 or a code from 3000 to 4999."
    )


@pytest.mark.parametrize("servers", [(), ("nginx",), "daphne", None])
@pytest.mark.parametrize("name", ["transcript", "client_view", "undeliverable"])
def test_servers_that_are_not_known_are_named(servers: Any, name: str) -> None:
    class Elsewhere(RecordingWebsocketCommunicator):
        pass

    Elsewhere.servers = servers

    async def look() -> None:
        with pytest.raises(ValueError) as raised:
            getattr(Elsewhere(scripted(Script(()), "async"), "/ws/"), name)
        assert str(raised.value) == (
            f"servers is {servers!r}, but takes one or more of"
            " ('daphne', 'uvicorn', 'hypercorn')"
        )

    asyncio.run(look())


# repr().


@frames_before_accept
@pytest.mark.parametrize(
    ("events", "ending", "state"),
    [
        ((), "wait", "running, pre_close_messages: 0"),
        ((), "raise", "ended, pre_close_messages: 0"),
        ((ACCEPT,), "wait", "accepted, running, pre_close_messages: 0"),
        ((ACCEPT,), "return", "accepted, ended, pre_close_messages: 0"),
        (
            (JSON_FRAME, CLOSE_WITH_REASON),
            "wait",
            "closed 4401, running, pre_close_messages: 1",
        ),
        (
            (ACCEPT, CLOSE_WITH_REASON),
            "return",
            "accepted, closed 4401, ended, pre_close_messages: 0",
        ),
        ((DENIAL,), "wait", "denied 401, running, pre_close_messages: 0"),
    ],
)
async def test_repr_shows_path_state_and_messages(
    events: tuple[Event, ...], ending: Any, state: str
) -> None:
    communicator = client(*events, ending=ending)
    task = asyncio.ensure_future(communicator.connect())
    await communicator.receive_nothing(0.01)
    await asyncio.wait([task], timeout=0.01)
    assert repr(communicator) == (
        f"<RecordingWebsocketCommunicator /ws/?token=old: {state}>"
    )
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
    communicator.stop(exceptions=False)


async def test_repr_shows_what_has_not_started_and_what_is_cancelled() -> None:
    communicator = Strict(scripted(Script(()), "async"), "/ws/")
    started = "not started" if communicator._future is None else "running"
    assert repr(communicator) == f"<Strict /ws/: {started}, pre_close_messages: 0>"
    await failure(communicator.receive_output(0.01))
    assert repr(communicator) == "<Strict /ws/: cancelled, pre_close_messages: 0>"


# As its reader finds it.


FAILING = """
import unittest

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from channels_closetest import RecordingWebsocketCommunicator


class Consumer(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.send_json({"type": "jwt-expired"})


class Tests(unittest.IsolatedAsyncioTestCase):
    async def test_rejected(self):
        communicator = RecordingWebsocketCommunicator(Consumer.as_asgi(), "/ws/")
        await communicator.connect(timeout=0.2)


unittest.main()
"""


def test_the_output_of_a_failing_test_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "failing.py"
    file.write_text(FAILING)
    output = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", str(file)],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    ).stderr
    shown = re.search(r"TimeoutError: (.*?)\n\n-----", output, re.DOTALL)
    assert shown is not None, output
    notes = textwrap.dedent("""
        What passed between test and application: /ws/
           0.0 ms  -> connect
           0.0 ms  <- send       {"type": "jwt-expired"}  !! sent before accept(): \
the client gets HTTP 500
           0.0 ms  the application was cancelled
        a client of Daphne sees: HTTP 500, then close code 1006""")
    assert readable(shown[1]) == (
        f"connect(timeout=0.2) timed out. {HANDSHAKE}"
        f" Came: 1 data frame, now in pre_close_messages.\n{UNANSWERED}"
        + (notes if sys.version_info >= (3, 11) else "")
    )
    # The test's own line is there, and nothing that asyncio has to complain of.
    assert "await communicator.connect(timeout=0.2)" in output
    assert not re.search("never|destroyed|Warning", output)

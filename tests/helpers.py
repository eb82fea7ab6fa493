"""Parameters, communicators and comparable texts that many test modules use."""

import asyncio
import re
from collections.abc import Awaitable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from channels.testing import WebsocketCommunicator

from channels_closetest import (
    DenialResponse,
    RecordingWebsocketCommunicator,
    UndeliverableWarning,
)
from channels_closetest.servers.rules import SERVERS, ServerName
from tests.events import CONNECT, HEADERS
from tests.scripts import Kind, Script, scripted
from tests.servers.running import Case

TESTS = Path(__file__).parent
#: A timeout in seconds for what certainly happens, on however slow a machine.
LONG = 30
#: A timeout in seconds for what certainly does not happen.
SHORT = 0.05
CommunicatorClass = type[WebsocketCommunicator]


both_classes = pytest.mark.parametrize(
    "communicator_class",
    [WebsocketCommunicator, RecordingWebsocketCommunicator],
    ids=["parent", "ours"],
)


KINDS: list[Kind] = ["asgi", "async", "sync"]

each_kind = pytest.mark.parametrize("kind", KINDS)
each_consumer = pytest.mark.parametrize("kind", ["async", "sync"])


ignore_undeliverable = pytest.mark.filterwarnings(
    "ignore::channels_closetest.UndeliverableWarning"
)


# Applications and communicators.


async def hanging(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    await asyncio.get_running_loop().create_future()


def client(
    *events: object, ending: Any = "wait", kind: Kind = "async"
) -> RecordingWebsocketCommunicator:
    application = scripted(Script(events, ending), kind)
    return RecordingWebsocketCommunicator(application, "/ws/?token=old")


def communicator_for(
    case: Case, kind: Kind = "asgi", **attributes: object
) -> RecordingWebsocketCommunicator:
    """Return a communicator of a subclass that has these attributes."""
    communicator_class = type("Ours", (RecordingWebsocketCommunicator,), attributes)
    communicator: RecordingWebsocketCommunicator = communicator_class(
        scripted(case.script, kind), "/ws/", subprotocols=case.subprotocols
    )
    return communicator


async def having_sent(
    *events: object,
    ending: Any = "wait",
    kind: Kind = "asgi",
    path: str = "/ws/?token=old",
    subprotocols: Sequence[str] = (),
    servers: Sequence[ServerName] = SERVERS,
) -> RecordingWebsocketCommunicator:
    """Return a communicator whose application has sent these events, all unread."""
    communicator = RecordingWebsocketCommunicator(
        scripted(Script(events, ending), kind), path, subprotocols=subprotocols
    )
    communicator.servers = servers
    await communicator.send_input(CONNECT)
    while len(communicator.transcript.records) < 1 + len(events):
        assert not communicator.future.done()
        await asyncio.sleep(0)
    if ending != "wait":
        await asyncio.wait([communicator.future])
    return communicator


async def wait_for_thread() -> None:
    """Wait until the thread of the sync consumers is free."""
    await sync_to_async(lambda: None)()


# What they send and what calls raise.


def drain(queue: "asyncio.Queue[Any]") -> list[Any]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


def denial(content: bytes) -> DenialResponse:
    return DenialResponse(401, HEADERS, content)


def warning_if(frames: object) -> AbstractContextManager[object]:
    return pytest.warns(UndeliverableWarning) if frames else nullcontext()


def read_all_records(communicator: RecordingWebsocketCommunicator) -> None:
    """Read everything that is derived from the recorded events."""
    assert str(communicator.transcript)
    assert repr(communicator)
    assert communicator.client_view
    assert isinstance(communicator.undeliverable, list)


async def failure(call: Awaitable[object]) -> BaseException:
    try:
        result = await call
    except (Exception, asyncio.CancelledError) as error:
        return error
    pytest.fail(f"returned {result!r}")


async def message(call: Awaitable[object]) -> str:
    return readable(await failure(call))


async def note(call: Awaitable[object]) -> str:
    return only_note(await failure(call))


def only_note(error: BaseException | None) -> str:
    assert error is not None
    [text] = getattr(error, "__notes__")
    return readable(str(text))


# Texts.


def readable(shown: object) -> str:
    """Return the text without what differs between machines and versions."""
    text = str(shown)
    text = re.sub(
        r'File "\S+/(?:site-packages|python3\.\d+)/(\S+)", line \d+', r'File "\1"', text
    )
    text = re.sub(
        r'  File "asgiref/sync.py".*\n.*\n(  File "(asgiref|asyncio)/.*\n.*\n)*',
        "  (asgiref)\n",
        text,
    )
    text = text.replace(str(TESTS), "tests")
    text = re.sub(r"^ +\d+\.\d ms", "   0.0 ms", text, flags=re.MULTILINE)
    # The lines that have sent the events, which tests/calls/test_places.py is about.
    text = re.sub(r"^tests/\S+:\d+: ", "", text, flags=re.MULTILINE)
    return re.sub(
        r"^(   0\.0 ms  [<-][->] .*?) +\S+\.py:\d+$", r"\1", text, flags=re.MULTILINE
    )


def line_of(code: str, file: str) -> int:
    lines = Path(file).read_text().splitlines()
    [number] = [number for number, line in enumerate(lines, 1) if line.strip() == code]
    return number


def frame_of(function: str, code: str, file: str) -> str:
    """Return the lines of a traceback for this line of code in a file of the tests."""
    line = line_of(code, file)
    path = Path(file).relative_to(TESTS.parent)
    return f'  File "{path}", line {line}, in {function}\n    {code}\n'

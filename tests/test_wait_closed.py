"""``wait_closed()``: its result, and the frames that it reads past."""

import asyncio
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import (
    ACCEPT,
    BODY,
    BYTES_FRAME,
    CLOSE_WITH_REASON,
    CONNECT,
    DENIAL,
    FRAME,
    JSON_FRAME,
    UNKNOWN,
    close,
)
from tests.helpers import LONG, SHORT, each_kind
from tests.scripts import Boom, Kind, Script, scripted
from tests.steps import Step, arrived, connect, drained, ended, receive, take


class Ways(NamedTuple):
    """What the application does, what the test reads, and how wait_closed() ends."""

    script: Script
    steps: list[Step]
    result: int | type[BaseException]
    pre_close_messages: list[object]


WAYS = {
    "refused": Ways(Script((CLOSE_WITH_REASON,)), [connect], 4401, []),
    "refused, and nothing read": Ways(
        Script((CLOSE_WITH_REASON,)),
        [lambda it: it.send_input(CONNECT)],
        4401,
        [],
    ),
    "accepted and closed": Ways(
        Script((ACCEPT, CLOSE_WITH_REASON)), [connect], 4401, []
    ),
    "closed without a code": Ways(Script((ACCEPT, close())), [connect], 1000, []),
    "closed with a code of None": Ways(
        Script((ACCEPT, close(code=None))), [connect], 1000, []
    ),
    "frames before the close": Ways(
        Script((ACCEPT, JSON_FRAME, FRAME, BYTES_FRAME, CLOSE_WITH_REASON)),
        [connect],
        4401,
        [{"type": "jwt-expired"}, "hello", b"\0"],
    ),
    "frames before the close, some of them read": Ways(
        Script((ACCEPT, JSON_FRAME, FRAME, CLOSE_WITH_REASON)),
        [connect, receive],
        4401,
        ["hello"],
    ),
    "all of it read": Ways(
        Script((ACCEPT, JSON_FRAME, CLOSE_WITH_REASON)),
        [connect, receive, receive],
        4401,
        [],
    ),
    "the close read, and frames after it": Ways(
        Script((ACCEPT, CLOSE_WITH_REASON, JSON_FRAME)),
        [connect, receive, arrived],
        4401,
        [{"type": "jwt-expired"}],
    ),
    "an unknown event before the close": Ways(
        Script((ACCEPT, UNKNOWN, FRAME, CLOSE_WITH_REASON)), [connect], 4401, ["hello"]
    ),
    "closed, then crashed, all of it read": Ways(
        Script((ACCEPT, CLOSE_WITH_REASON), "raise"),
        [connect, ended, drained],
        4401,
        [],
    ),
    "crashed": Ways(
        Script((ACCEPT, JSON_FRAME), "raise"),
        [connect],
        Boom,
        [{"type": "jwt-expired"}],
    ),
    "returned": Ways(
        Script((ACCEPT, JSON_FRAME), "return"),
        [connect],
        asyncio.TimeoutError,
        [{"type": "jwt-expired"}],
    ),
    "open": Ways(Script((ACCEPT, FRAME)), [connect], asyncio.TimeoutError, ["hello"]),
    "no answer": Ways(Script(()), [], asyncio.TimeoutError, []),
    "denied": Ways(Script((DENIAL, BODY)), [connect], AssertionError, []),
    "denied, and frames after it": Ways(
        Script((DENIAL, BODY, JSON_FRAME)),
        [connect, arrived],
        AssertionError,
        [{"type": "jwt-expired"}],
    ),
    "denied and returned": Ways(
        Script((DENIAL, BODY), "return"), [connect], AssertionError, []
    ),
}


@each_kind
@pytest.mark.parametrize("name", WAYS)
async def test_wait_closed_gives_the_code_or_says_why_there_is_none(
    name: str, kind: Kind
) -> None:
    ways = WAYS[name]
    communicator = RecordingWebsocketCommunicator(scripted(ways.script, kind), "/")
    for step in ways.steps:
        await take(step, communicator)
    result: object
    if isinstance(ways.result, int):
        result = await communicator.wait_closed(LONG)
    else:
        with pytest.raises(ways.result) as raised:
            await communicator.wait_closed(SHORT)
        assert str(raised.value)
        result = raised.type
    assert result == ways.result
    assert communicator.pre_close_messages == ways.pre_close_messages
    assert communicator.output_queue.empty()
    with suppress(Boom, asyncio.CancelledError):
        communicator.stop()


async def test_wait_closed_leaves_what_comes_after_the_close_to_the_test() -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((ACCEPT, CLOSE_WITH_REASON, JSON_FRAME)), "asgi"), "/"
    )
    await communicator.connect()
    assert await communicator.wait_closed() == 4401
    assert communicator.pre_close_messages == []
    assert await communicator.receive_output() is JSON_FRAME
    await communicator.disconnect()


async def test_wait_closed_waits_for_the_close() -> None:
    async def hang_up(it: WebsocketCommunicator) -> None:
        await asyncio.sleep(0.05)
        await it.send_to("go")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await receive()
        await send(FRAME)
        await send(CLOSE_WITH_REASON)

    communicator = RecordingWebsocketCommunicator(application, "/")
    await communicator.connect()
    code, _ = await asyncio.gather(
        communicator.wait_closed(LONG), hang_up(communicator)
    )
    assert code == communicator.close_code == 4401
    assert communicator.pre_close_messages == ["hello"]

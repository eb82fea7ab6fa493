"""``strict``: which calls fail, and with which text."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.servers.rules import SERVERS
from tests.calls.timing import ENDING, RECEIVING, call, pausing, started
from tests.events import (
    ACCEPT,
    BODY,
    CONNECT,
    DENIAL,
    FRAME,
    JSON_FRAME,
    PART,
    accept,
    close,
    send,
)
from tests.helpers import communicator_for, message
from tests.scripts import Boom
from tests.servers.cases import CLOSE_4000, script

THE_APPLICATION = (
    "strict: the application sent something that some clients do not receive as sent.\n"
)
EMPTY_FRAME = (
    "send ''\n"
    "  an empty frame: the client receives nothing on Daphne.\n"
    "  Send a payload, or no frame."
)
RESERVED_CODE = (
    "close 1008\n"
    "  a close code reserved for servers and libraries: 1001 to 1014: the client"
    " receives close code 1011 on Daphne.\n"
    "  Close with 1000 or a code from 3000 to 4999."
)
NAME_SERVERS = (
    "\nNot every server does that. To check only those that you deploy on, set"
    ' servers, for example to ["uvicorn"].'
)

Call = Callable[[RecordingWebsocketCommunicator], Awaitable[object]]


def leave(it: RecordingWebsocketCommunicator) -> Awaitable[None]:
    return it.__aexit__(None, None, None)


CALLS: dict[str, Call] = {
    "receive_nothing": lambda it: it.receive_nothing(),
    "send_input": lambda it: it.send_input({"type": "websocket.receive", "text": "t"}),
    "send_to": lambda it: it.send_to(text_data="t"),
    "send_json_to": lambda it: it.send_json_to({}),
    "async with": leave,
}


@pytest.mark.parametrize("name", [*CALLS, *RECEIVING[1:], *ENDING])
async def test_strict_fails_the_first_call_after_an_undeliverable_event(
    name: str,
) -> None:
    case = script(ACCEPT, send(text="[]"), send(text=""), CLOSE_4000)
    communicator = communicator_for(case)
    await communicator.connect()
    communicator.strict = True
    make_call: Call = CALLS.get(name, lambda it: call(it, name, 0.1))
    text = await message(make_call(communicator))
    assert text == THE_APPLICATION + EMPTY_FRAME + NAME_SERVERS
    # No later call raises: each event is reported once.
    await leave(communicator)


async def test_strict_fails_connect_and_does_not_warn() -> None:
    case = script(JSON_FRAME, accept(headers=[("a", "b")]), FRAME)
    communicator = communicator_for(case, strict=True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        text = await message(communicator.connect())
    assert warned == []
    assert text.startswith(
        THE_APPLICATION + 'send {"type": "jwt-expired"}\n'
        "  sent before accept(): the client receives HTTP 500.\n"
        "  Call accept() first, then send, then close()."
    )
    assert communicator.pre_close_messages == [{"type": "jwt-expired"}]
    communicator.stop()


async def test_strict_fails_one_call_for_each_undeliverable_event() -> None:
    async def application(scope: Any, receive: Any, send_: Any) -> None:
        await receive()
        await send_(ACCEPT)
        while (await receive())["type"] != "websocket.disconnect":
            await send_(send(text=""))

    communicator = RecordingWebsocketCommunicator(application, "/")
    communicator.strict = True
    await communicator.connect()
    for _ in range(3):
        await communicator.send_to(text_data="more")
        text = await message(communicator.receive_output())
        assert text == THE_APPLICATION + EMPTY_FRAME + NAME_SERVERS
        assert await communicator.receive_nothing(0.01, 0) is True
    await communicator.disconnect()


async def test_strict_accepts_what_every_server_delivers() -> None:
    for servers, case in [
        (SERVERS, script(ACCEPT, FRAME, CLOSE_4000)),
        (SERVERS, script(close())),
        (["uvicorn"], script(ACCEPT, close(code=1008, reason="why"))),
        (["hypercorn", "uvicorn"], script(DENIAL, PART, BODY)),
    ]:
        async with communicator_for(case, servers=servers, strict=True) as communicator:
            await communicator.connect()


async def test_strict_fails_the_end_of_a_block_for_a_denial_without_end() -> None:
    communicator = communicator_for(
        script(DENIAL, PART), servers=["uvicorn"], strict=True
    )
    await communicator.send_input(CONNECT)
    for event in (DENIAL, PART):
        assert await communicator.receive_output() is event
    assert await message(leave(communicator)) == (
        f"{THE_APPLICATION}denial HTTP 401\n"
        "  a denial response that is not completed: the client receives no complete"
        " response.\n"
        "  Send a last body event, without more_body."
    )


async def test_strict_says_that_the_test_has_connected_twice() -> None:
    communicator = await started(RecordingWebsocketCommunicator, pausing(ACCEPT))
    communicator.strict = True
    assert await message(communicator.connect()) == (
        "strict: the test sent something that no client can send.\n"
        "connect\n"
        "  a second websocket.connect: no client can send that.\n"
        "  A communicator is one connection: create another one."
    )
    communicator.stop()


async def test_strict_does_not_hide_another_failure() -> None:
    with pytest.raises(Boom):
        await communicator_for(script(FRAME, ending="raise"), strict=True).connect()
    with pytest.raises(TimeoutError):
        await communicator_for(script(FRAME), strict=True).connect(0.01)
    with pytest.raises(KeyError):
        async with communicator_for(script(FRAME, close())) as communicator:
            await communicator.send_input(CONNECT)
            await communicator.output_queue.get()
            communicator.strict = True
            raise KeyError


@pytest.mark.parametrize(
    ("events", "servers", "expected"),
    [
        ([], ("uvicorn", "daphne"), RESERVED_CODE),
        ([], SERVERS, RESERVED_CODE + NAME_SERVERS),
        # Only one of the findings depends on the server.
        ([send(text="NaN")], SERVERS, RESERVED_CODE + NAME_SERVERS),
    ],
    ids=["its own", "the default", "one of two"],
)
async def test_strict_advises_to_name_servers_if_they_differ(
    events: Any, servers: Any, expected: str
) -> None:
    case = script(ACCEPT, *events, close(code=1008))
    communicator = communicator_for(case, strict=True, servers=servers)
    text = await message(communicator.connect())
    assert text.startswith(THE_APPLICATION + ("send NaN\n" if events else expected))
    assert text.endswith(expected)
    communicator.stop()


async def test_strict_shows_ten_of_many() -> None:
    case = script(ACCEPT, *[send(text="")] * 12)
    communicator = communicator_for(case, strict=True)
    await communicator.send_input(CONNECT)
    while len(communicator.transcript.records) < 14:
        await asyncio.sleep(0)
    text = await message(communicator.receive_output())
    assert text.count(EMPTY_FRAME) == 10
    assert text.endswith(f"\nand 2 more, in undeliverable.{NAME_SERVERS}")
    communicator.stop()

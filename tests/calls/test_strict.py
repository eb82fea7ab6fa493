"""``strict``: which calls fail, and with which text."""

import asyncio
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.servers.rules import SERVERS, ServerName
from tests.events import (
    ACCEPT,
    BODY,
    CLOSE_WITH_REASON,
    CONNECT,
    DENIAL,
    FRAME,
    JSON_FRAME,
    PART,
    accept,
    close,
    send,
)
from tests.helpers import communicator_for, failure, message
from tests.scripts import Boom, Script, scripted
from tests.servers.cases import CLOSE_4000, script

FIRST_LINE = (
    "strict: the application sent something that some clients do not receive as sent.\n"
)


EMPTY_FRAME = (
    "send ''\n"
    "  an empty frame: the client receives nothing on Daphne.\n"
    "  Send a payload, or no frame."
)
NAME_SERVERS = (
    "\nNot every server does that. To check only those that you deploy on, set"
    ' servers, for example to ["uvicorn"].'
)


Call = Callable[[RecordingWebsocketCommunicator], Coroutine[Any, Any, object]]


CALLS: dict[str, Call] = {
    "receive_output": lambda it: it.receive_output(),
    "receive_from": lambda it: it.receive_from(),
    "receive_json_from": lambda it: it.receive_json_from(),
    "receive_nothing": lambda it: it.receive_nothing(),
    "send_input": lambda it: it.send_input({"type": "websocket.receive", "text": "t"}),
    "send_to": lambda it: it.send_to(text_data="t"),
    "send_json_to": lambda it: it.send_json_to({}),
    "wait_closed": lambda it: it.wait_closed(),
    "disconnect": lambda it: it.disconnect(),
    "wait": lambda it: it.wait(),
    "async with": lambda it: it.__aexit__(None, None, None),
}


@pytest.mark.parametrize("name", CALLS)
async def test_strict_fails_the_first_call_after_an_undeliverable_event(
    name: str,
) -> None:
    communicator = communicator_for(
        script(accept(), send(text="[]"), send(text=""), CLOSE_4000), strict=True
    )
    communicator.strict = False
    await communicator.connect()
    communicator.strict = True
    with pytest.raises(AssertionError) as raised:
        await CALLS[name](communicator)
    assert str(raised.value) == FIRST_LINE + EMPTY_FRAME + NAME_SERVERS
    # No later call raises: each event is reported once.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await communicator.__aexit__(None, None, None)


async def test_strict_fails_connect_and_does_not_warn() -> None:
    case = script(FRAME, accept(headers=[("a", "b")]), FRAME)
    communicator = communicator_for(case, strict=True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(AssertionError) as raised:
            await communicator.connect()
    assert warned == []
    assert str(raised.value).startswith(
        f"{FIRST_LINE}send hello\n"
        "  sent before accept(): the client receives HTTP 500.\n"
        "  Call accept() first, then send, then close()."
    )
    assert communicator.pre_close_messages == ["hello"]
    communicator.stop()


async def test_strict_fails_one_call_for_each_undeliverable_event() -> None:
    async def application(scope: Any, receive: Any, send_: Any) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            await send_(accept() if not sent else send(text=""))
            sent.append(None)

    sent: list[None] = []
    communicator = RecordingWebsocketCommunicator(application, "/")
    communicator.strict = True
    await communicator.connect()
    for _ in range(3):
        await communicator.send_to(text_data="more")
        with pytest.raises(AssertionError) as raised:
            await communicator.receive_output()
        assert str(raised.value) == FIRST_LINE + EMPTY_FRAME + NAME_SERVERS
        assert await communicator.receive_nothing(0.01) is True
    await communicator.disconnect()


async def test_strict_accepts_what_every_server_delivers() -> None:
    for servers, case in [
        (SERVERS, script(accept(), FRAME, CLOSE_4000)),
        (SERVERS, script(close())),
        (["uvicorn"], script(accept(), close(code=1008, reason="why"))),
        (["hypercorn", "uvicorn"], script(DENIAL, PART, BODY)),
    ]:
        async with communicator_for(case, servers=servers, strict=True) as communicator:
            await communicator.connect()


async def test_strict_waits_for_the_end_of_a_denial_response() -> None:
    async def application(scope: Any, receive: Any, send_: Any) -> None:
        for event in sent:
            await receive()
            await send_(event)
        await receive()

    incomplete = (
        f"{FIRST_LINE}denial HTTP 401\n"
        "  a denial response that is not completed: the client receives no complete"
        " response.\n"
        "  Send a last body event, without more_body."
    )
    for sent, text in [([DENIAL, PART, BODY], ""), ([DENIAL, PART], incomplete)]:
        communicator = RecordingWebsocketCommunicator(application, "/")
        communicator.servers = ["uvicorn"]
        communicator.strict = True
        await communicator.send_input(CONNECT)
        for event in sent:
            assert await communicator.receive_output() is event
            shown = [found.event for found in communicator.undeliverable]
            assert shown == ([] if event is BODY else [DENIAL])
            await communicator.send_input({"type": "chat.message"})
        if text:
            assert await message(communicator.__aexit__(None, None, None)) == text
        else:
            await communicator.__aexit__(None, None, None)


@pytest.mark.parametrize(
    "responses",
    [[[ACCEPT], [ACCEPT]], [[close()], [close()]], [[ACCEPT, CLOSE_4000], [ACCEPT]]],
    ids=["accepted twice", "rejected twice", "closed, then accepted"],
)
async def test_strict_says_that_the_test_has_connected_twice(
    responses: list[list[Any]],
) -> None:
    async def application(scope: Any, receive: Any, send_: Any) -> None:
        for response in responses:
            await receive()
            for sent in response:
                await send_(sent)
        await receive()

    communicator = RecordingWebsocketCommunicator(application, "/")
    communicator.strict = True
    await communicator.connect()
    for _ in responses[0][1:]:
        await communicator.receive_output()
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
        async with communicator_for(
            script(FRAME, close()), strict=True
        ) as communicator:
            await communicator.send_input(CONNECT)
            await asyncio.wait([communicator.future], timeout=0.01)
            assert communicator.undeliverable != []
            raise KeyError


class Strict(RecordingWebsocketCommunicator):
    strict = True


async def test_strict_names_the_event_what_the_client_receives_and_the_remedy() -> None:
    communicator = Strict(
        scripted(Script((JSON_FRAME, CLOSE_WITH_REASON)), "async"), "/ws/"
    )
    error = await failure(communicator.connect())
    assert type(error) is AssertionError
    assert str(error) == (
        FIRST_LINE + 'send {"type": "jwt-expired"}\n'
        "  sent before accept(): the client receives HTTP 500.\n"
        "  Call accept() first, then send, then close()."
    )


POLICY = (
    "close 1008\n"
    "  a close code reserved for servers and libraries: 1001 to 1014: the client"
    " receives close code 1011 on Daphne.\n"
    "  Close with 1000 or a code from 3000 to 4999."
)


@pytest.mark.parametrize(
    ("servers", "hint"),
    [(("uvicorn", "daphne"), ""), (SERVERS, NAME_SERVERS)],
    ids=["its own", "the default"],
)
async def test_strict_names_the_servers_that_differ(
    servers: tuple[ServerName, ...], hint: str
) -> None:
    event = close(code=1008)
    communicator = Strict(scripted(Script((ACCEPT, event)), "async"), "/ws/")
    communicator.servers = servers
    assert await message(communicator.connect()) == FIRST_LINE + POLICY + hint


async def test_strict_advises_to_name_servers_if_only_one_finding_depends_on_them() -> (
    None
):
    case = script(ACCEPT, send(text="NaN"), close(code=1008))
    communicator = communicator_for(case, strict=True)
    text = await message(communicator.connect())
    assert text.startswith(f"{FIRST_LINE}send NaN\n")
    assert text.endswith(POLICY + NAME_SERVERS)
    communicator.stop()

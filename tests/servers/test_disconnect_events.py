"""``async with`` ends a connection with the event that a server sends."""

import asyncio
import itertools
import json
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode

import pytest
from websockets.exceptions import InvalidHandshake

from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.servers.rules import SERVERS
from tests.events import ACCEPT, BODY, CONNECT, DENIAL, Event, close
from tests.events import send as frame
from tests.servers.running import TIMEOUT, Server, connect_without_redirects, serving

#: What an application sends before it waits for the end of its connection. Where it has
#: accepted and does not close, the client leaves. Where it has not responded, the
#: client leaves, too.
CONVERSATIONS: dict[str, list[Event]] = {
    "waits": [],
    "rejects": [close()],
    "rejects with 4401": [close(code=4401)],
    "denies": [DENIAL, BODY],
    "accepts": [ACCEPT],
    "closes": [ACCEPT, close()],
    "closes with 4401": [ACCEPT, close(code=4401, reason="why")],
}
#: The code with which the client leaves: a browser's close() sends none.
Leaving = Literal["1000", "4000", "1001", "no code", "cut"]

#: What each conversation ended with, by the number that its client has chosen.
ends: dict[str, "asyncio.Future[Event]"] = {}
numbers = itertools.count()


# In the process of a server.


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Hold a conversation, or send how the one with the same number has ended."""
    if scope["type"] != "websocket":
        raise ValueError("only WebSockets")
    query = parse_qs(scope["query_string"].decode())
    end = ends.setdefault(query["number"][0], asyncio.Future())
    if "name" in query:
        end.set_result(await hold(query["name"][0], receive, send))
    else:
        await receive()
        await send(ACCEPT)
        await send(frame(text=json.dumps(await end)))
        await send(close())


async def hold(name: str, receive: Any, send: Any) -> Event:
    await receive()
    for event in CONVERSATIONS[name]:
        await send(event)
    end: Event = await receive()
    return end


# In the process of the tests.


def connected(url: str, open_timeout: float = TIMEOUT, **query: object) -> Any:
    return connect_without_redirects(
        f"{url}/?{urlencode(query)}", proxy=None, open_timeout=open_timeout
    )


async def end_on_server(url: str, name: str, leaving: Leaving = "1000") -> Event:
    number = next(numbers)
    # The client of an application that does not respond leaves soon.
    open_timeout = 1 if name == "waits" else TIMEOUT
    with suppress(InvalidHandshake, TimeoutError):
        async with connected(url, open_timeout, number=number, name=name) as client:
            if name == "accepts" and leaving == "cut":
                client.transport.abort()
            elif name == "accepts" and leaving == "no code":
                client.protocol.send_close()
                client.send_data()
            elif name == "accepts":
                await client.close(int(leaving))
            await client.wait_closed()
    async with connected(url, number=number) as client:
        event: Event = json.loads(await client.recv())
        return event


async def end_in_test(server: Server, name: str) -> Event:
    """Return what ``async with`` sends to the same application."""
    received: list[Event] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        received.append(await hold(name, receive, send))

    async with RecordingWebsocketCommunicator(application, "/") as communicator:
        communicator.servers = (server,)
        await communicator.send_input(CONNECT)
        while len(communicator.transcript.records) <= len(CONVERSATIONS[name]):
            await asyncio.sleep(0)
    return received[0]


# What the README says of the ends that no call of a communicator stands for.
CODES: dict[Server, dict[Leaving, int | None]] = {
    "daphne": {"no code": None, "4000": 4000, "1001": 1001, "cut": 1006},
    "uvicorn": {"no code": 1005, "4000": 4000, "1001": 1001, "cut": 1005},
    "hypercorn": {"no code": 1006, "4000": 1006, "1001": 1006, "cut": 1006},
}


@pytest.mark.parametrize("server", SERVERS)
async def test_async_with_sends_the_disconnect_of_the_server(server: Server) -> None:
    async def compare(url: str, name: str) -> None:
        end = await end_in_test(server, name)
        # A busy client does not answer a close in time: Daphne waits for one second.
        for _ in range(5):
            if (on_server := await end_on_server(url, name)) == end:
                return
        assert (name, on_server) == (name, end)

    async def compare_code(url: str, leaving: Leaving, code: int | None) -> None:
        end = await end_on_server(url, "accepts", leaving)
        assert (leaving, end["code"]) == (leaving, code)

    with serving(server, application=f"{__name__}:application") as url:
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            for name in CONVERSATIONS:
                group.create_task(compare(url, name))
            for leaving, code in CODES[server].items():
                group.create_task(compare_code(url, leaving, code))

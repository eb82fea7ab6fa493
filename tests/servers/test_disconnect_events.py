"""``async with`` ends a connection with the event that a server sends."""

import asyncio
import json
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from websockets.exceptions import InvalidHandshake

from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.servers.rules import SERVERS
from tests.events import CONNECT, DISCONNECT, Event, accept, close
from tests.helpers import communicator_for
from tests.servers.cases import script
from tests.servers.disconnects import CONVERSATIONS
from tests.servers.running import TIMEOUT, Server, connect_without_redirects, serving


async def end_of(url: str, number: int) -> Event:
    """Return what the conversation with this number has ended with."""
    query = urlencode({"number": number})
    async with connect_without_redirects(f"{url}/?{query}", proxy=None) as client:
        event: Event = json.loads(await client.recv())
        return event


async def ends_on_server(url: str, names: list[str]) -> dict[str, Event]:
    """Return what each conversation ends with, and wait for each at the same time."""

    async def hold(number: int, name: str) -> Event:
        query = urlencode({"number": number, "name": name})
        # The client of an application that does not respond leaves soon.
        open_timeout = 1 if name == "waits" else TIMEOUT
        with suppress(InvalidHandshake, TimeoutError):
            async with connect_without_redirects(
                f"{url}/?{query}", proxy=None, open_timeout=open_timeout
            ) as client:
                if name == "accepts":
                    await client.close(1000)
                await client.wait_closed()
        return await end_of(url, number)

    ends = await asyncio.gather(*(hold(*pair) for pair in enumerate(names)))
    return dict(zip(names, ends))


async def end_in_test(server: Server, name: str) -> Event:
    """Return what ``async with`` sends to the same application."""
    received: list[Event] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for event in CONVERSATIONS[name]:
            await send(event)
        received.append(await receive())

    class Communicator(RecordingWebsocketCommunicator):
        servers = (server,)

    async with Communicator(application, "/") as communicator:
        await communicator.send_input(CONNECT)
        while len(communicator.transcript.records) <= len(CONVERSATIONS[name]):
            await asyncio.sleep(0)
    return received[0]


@pytest.mark.parametrize("server", SERVERS)
async def test_async_with_sends_the_disconnect_of_the_server(server: Server) -> None:
    names = list(CONVERSATIONS)
    with serving(server, application="tests.servers.disconnects:application") as url:
        on_server = await asyncio.wait_for(ends_on_server(url, names), timeout=60)
    assert {name: await end_in_test(server, name) for name in names} == on_server


# What the README says of the ends that no call of a communicator stands for.
CODES: dict[Server, dict[str, int | None]] = {
    "daphne": {"no code": None, "4000": 4000, "1001": 1001, "cut": 1006},
    "uvicorn": {"no code": 1005, "4000": 4000, "1001": 1001, "cut": 1005},
    "hypercorn": {"no code": 1006, "4000": 1006, "1001": 1006, "cut": 1006},
}


async def codes_on_server(url: str) -> dict[str, int | None]:
    """Return the code that the consumer receives after each end of a connection."""

    async def code_of(number: int, end: str) -> int | None:
        query = urlencode({"number": number, "name": "accepts"})
        async with connect_without_redirects(f"{url}/?{query}", proxy=None) as client:
            if end == "cut":
                client.transport.abort()
            elif end == "no code":  # as a browser's close() does
                client.protocol.send_close()
                client.send_data()
                await client.wait_closed()
            else:
                await client.close(int(end))
        code: int | None = (await end_of(url, number))["code"]
        return code

    ends = list(CODES["daphne"])
    codes = await asyncio.gather(*(code_of(*pair) for pair in enumerate(ends)))
    return dict(zip(ends, codes))


@pytest.mark.parametrize("server", SERVERS)
async def test_the_codes_in_the_readme_are_those_of_the_server(server: Server) -> None:
    with serving(server, application="tests.servers.disconnects:application") as url:
        codes = await asyncio.wait_for(codes_on_server(url), timeout=60)
    assert codes == CODES[server]


class Refusing(AsyncWebsocketConsumer):
    room: str  # which connect() has not set

    async def connect(self) -> None:
        await self.close()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)


class SyncRefusing(WebsocketConsumer):
    room: str

    def connect(self) -> None:
        self.close()

    def disconnect(self, code: int) -> None:
        discard = async_to_sync(self.channel_layer.group_discard)
        discard(self.room, self.channel_name)


@pytest.mark.parametrize("consumer", [Refusing, SyncRefusing])
async def test_a_disconnect_that_fails_after_a_rejection_fails_the_test(
    consumer: Any,
) -> None:
    communicator = RecordingWebsocketCommunicator(consumer.as_asgi(), "/")
    with pytest.raises(AttributeError, match="room"):
        async with communicator:
            assert await communicator.connect() == (False, 1000)
    assert communicator.future.done()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("consumer", [Refusing, SyncRefusing])
async def test_a_failing_disconnect_does_not_replace_what_the_block_raises(
    consumer: Any,
) -> None:
    with pytest.raises(KeyError):
        async with RecordingWebsocketCommunicator(consumer.as_asgi(), "/") as it:
            await it.connect()
            raise KeyError


async def test_an_explicit_disconnect_has_the_code_of_the_test() -> None:
    communicator = communicator_for(script(close()))
    await communicator.connect()
    await communicator.disconnect(4000)
    assert communicator.transcript.records[-1].event == {**DISCONNECT, "code": 4000}


async def test_async_with_sends_no_second_disconnect() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(accept())
        await receive()
        await released.wait()

    released = asyncio.Event()
    async with RecordingWebsocketCommunicator(application, "/") as communicator:
        await communicator.connect()
        await communicator.send_input(DISCONNECT)
        asyncio.get_running_loop().call_soon(released.set)
    kinds = [record.event["type"] for record in communicator.transcript.records]
    assert kinds.count("websocket.disconnect") == 1
    assert not communicator.future.cancelled()

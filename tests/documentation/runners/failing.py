"""Tests that fail. No runner finds them unless they are asked for by name."""

import asyncio
import unittest

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.test import SimpleTestCase

from channels_closetest import RecordingWebsocketCommunicator


class Consumer(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        if self.scope["path"] == "/rejects/":
            await self.send_json({"type": "jwt-expired"})
        elif self.scope["path"] == "/crashes/":
            raise ValueError("boom")
        else:
            await self.accept()
            await self.send(text_data="NaN")

    async def disconnect(self, code: int) -> None:
        raise ValueError("at the end")


def communicator_for(path: str) -> RecordingWebsocketCommunicator:
    return RecordingWebsocketCommunicator(Consumer.as_asgi(), path)


async def fail() -> None:
    communicator = communicator_for("/rejects/")
    await communicator.connect(timeout=0.5)


class Tests(unittest.IsolatedAsyncioTestCase):
    async def test_rejected(self) -> None:
        await fail()


class MoreTests(SimpleTestCase):
    async def test_rejected(self) -> None:
        await fail()

    async def test_crash(self) -> None:
        communicator = communicator_for("/crashes/")
        await communicator.connect()

    async def test_strict(self) -> None:
        communicator = communicator_for("/strict/")
        communicator.strict = True
        await communicator.connect()  # strictly

    async def test_the_end_of_a_block(self) -> None:
        async with communicator_for("/ends/") as communicator:
            await communicator.connect()  # in a block

    async def test_an_error_of_channels(self) -> None:
        communicator = communicator_for("/json/")
        await communicator.connect()
        await communicator.send_to(b"bytes")  # type: ignore[arg-type]

    async def test_stop(self) -> None:
        communicator = communicator_for("/crashes/")
        await communicator.send_input({"type": "websocket.connect"})
        await asyncio.wait([communicator.future])
        communicator.stop()


if __name__ == "__main__":
    asyncio.run(fail())

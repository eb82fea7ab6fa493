"""The consumers of a project whose test suite is run by ``channels_closetest``."""

import asyncio
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer


class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content)


class Accepting(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        headers: Any = [(b"x-version", b"1")]  # the type stubs allow only str
        await self.accept(headers=headers)


class Rejecting(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.close(4401)


class Speaking(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        for number in range(100):
            await self.send_json({"number": number})
        await self.close(4401)  # a consequence


class Closing(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send(text_data="")
        await self.close(4000, "done")


class Late(AsyncJsonWebsocketConsumer):
    """Closes after the test, or when the test has dropped it."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content == "soon":
            await asyncio.sleep(0)
            await self.close(1005)
            return
        try:
            await self.send_json("waiting")
            await asyncio.sleep(60)
        finally:
            await self.close(1015)


class Crashing(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content == "raise":
            raise ValueError("crash")
        task = asyncio.create_task(self.fail())
        await asyncio.wait([task])
        if content == "retrieve":
            task.exception()
        await self.send_json("failed")

    async def fail(self) -> None:
        raise KeyError("crash of a task")

"""The consumers of a project whose test suite is run by ``channels_closetest``."""

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
        await self.send_json("jwt-expired")
        await self.close(4401)


class Closing(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send(text_data="")
        await self.close(4000, "done")

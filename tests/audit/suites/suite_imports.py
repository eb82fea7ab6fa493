"""Every way to import the class, and to replace it. Each test makes one finding."""

import asyncio
from copy import deepcopy
from typing import Any
from unittest import mock

import channels.testing
from channels.testing import ApplicationCommunicator, WebsocketCommunicator
from channels.testing.websocket import WebsocketCommunicator as Alias
from django.test import SimpleTestCase

from tests.audit.suites.consumers import Rejecting


class Subclass(WebsocketCommunicator):
    async def connect(self, timeout: float = 1) -> Any:
        return "own", await super().connect(timeout)


class WithoutSuper(WebsocketCommunicator):
    async def receive_output(self, timeout: float = 1) -> Any:
        return await self.output_queue.get()


class WithoutConstructor(WebsocketCommunicator):
    def __init__(self, application: Any, path: str) -> None:
        scope: Any = {"type": "websocket", "path": path, "headers": []}
        parent: Any = super(WebsocketCommunicator, self)
        parent.__init__(application, scope)


def make(cls: Any = None) -> Any:
    cls = cls or channels.testing.WebsocketCommunicator
    return cls(Rejecting.as_asgi(), "/")


class ImportTests(SimpleTestCase):
    async def test_classes(self) -> None:
        for cls in (WebsocketCommunicator, Alias, WithoutSuper, WithoutConstructor):
            self.assertEqual(await make(cls).connect(), (False, 4401))
        self.assertNotIn(ApplicationCommunicator, WebsocketCommunicator.__bases__)
        self.assertIs(WebsocketCommunicator, Alias)

    async def test_calls(self) -> None:
        await asyncio.gather(make().connect(), make(Subclass).connect())
        await deepcopy(make()).connect()
        communicator = make()
        await communicator.send_input({"type": "websocket.connect"})
        await communicator.output_queue.get()

    async def test_patch_the_class(self) -> None:
        with mock.patch("channels.testing.WebsocketCommunicator", Subclass):
            self.assertEqual(await make().connect(), ("own", (False, 4401)))
        self.assertEqual(await make().connect(), (False, 4401))

    async def test_patch_what_the_command_needs(self) -> None:
        with mock.patch("builtins.open") as open_, mock.patch("json.dumps") as dumps:
            await make().connect()
        open_.assert_not_called()
        dumps.assert_not_called()

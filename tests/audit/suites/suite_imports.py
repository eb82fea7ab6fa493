"""Every way to import the class, and to call it.

A line with a comment ``# ->`` makes the call after which these events were there, which
not every client receives as sent.
"""

import asyncio
from typing import Any

import channels.testing
from channels.testing import ApplicationCommunicator, WebsocketCommunicator
from channels.testing.websocket import WebsocketCommunicator as Alias
from django.test import SimpleTestCase

from tests.audit.suites.consumers import Closing, Echo, Rejecting


class Subclass(WebsocketCommunicator):
    async def connect(self, timeout: float = 1) -> Any:
        return await super().connect(timeout)

    async def receive_end(self) -> Any:
        await self.send_json_to(None)
        await self.receive_from()
        return await self.receive_output()


class WithoutSuper(WebsocketCommunicator):
    async def receive_output(self, timeout: float = 1) -> Any:
        return await self.output_queue.get()


class WithoutConstructor(WebsocketCommunicator):
    def __init__(self, application: Any, path: str) -> None:
        scope: Any = {"type": "websocket", "path": path, "headers": []}
        parent: Any = super(WebsocketCommunicator, self)
        parent.__init__(application, scope)


class ImportTests(SimpleTestCase):
    async def test_from_the_package(self) -> None:
        communicator = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        response = await communicator.connect()  # -> close 4401
        self.assertEqual(response, (False, 4401))

    async def test_from_the_module(self) -> None:
        communicator = Alias(Rejecting.as_asgi(), "/")
        await communicator.connect()  # -> close 4401

    async def test_by_attribute(self) -> None:
        application = Rejecting.as_asgi()
        communicator = channels.testing.WebsocketCommunicator(application, "/")
        await communicator.connect()  # -> close 4401

    async def test_subclass(self) -> None:
        communicator = Subclass(Rejecting.as_asgi(), "/")
        await communicator.connect()  # -> close 4401

    async def test_subclass_that_skips_the_constructor(self) -> None:
        communicator = WithoutConstructor(Rejecting.as_asgi(), "/")
        await communicator.connect()  # -> close 4401

    def test_none_of_them_is_the_parent(self) -> None:
        self.assertNotIn(ApplicationCommunicator, WebsocketCommunicator.__bases__)
        self.assertIs(WebsocketCommunicator, Alias)


class CallTests(SimpleTestCase):
    async def test_event_by_event(self) -> None:
        communicator = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        await communicator.send_input({"type": "websocket.connect"})
        await communicator.receive_output()  # -> close 4401

    async def test_wait_for(self) -> None:
        communicator = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        await asyncio.wait_for(communicator.connect(), 10)  # -> close 4401

    async def test_gather(self) -> None:
        communicator = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        calls = [communicator.connect()]  # -> close 4401
        await asyncio.gather(*calls)

    async def test_method_of_a_subclass(self) -> None:
        communicator = Subclass(Closing.as_asgi(), "/")
        await communicator.connect()
        close = await communicator.receive_end()  # -> send '' and close 4000 done
        self.assertEqual(close["code"], 4000)

    async def test_call_of_a_subclass_in_a_task(self) -> None:
        communicator = Subclass(Rejecting.as_asgi(), "/")  # -> close 4401
        await asyncio.create_task(communicator.connect())

    async def test_method_without_super(self) -> None:
        communicator = WithoutSuper(Closing.as_asgi(), "/")
        await communicator.connect()
        await communicator.send_json_to(None)
        await communicator.receive_output()  # -> send '' and close 4000 done

    async def test_queue(self) -> None:
        communicator = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        await communicator.send_input({"type": "websocket.connect"})
        await communicator.output_queue.get()  # -> close 4401

    async def test_async_with(self) -> None:
        communicator: Any = WebsocketCommunicator(Closing.as_asgi(), "/")
        async with communicator:  # -> send '' and close 4000 done
            await communicator.connect()
            await communicator.send_json_to(None)
            while communicator.output_queue.qsize() < 2:
                await asyncio.sleep(0)

    async def test_everything_is_received(self) -> None:
        communicator = WebsocketCommunicator(Echo.as_asgi(), "/")
        self.assertEqual(await communicator.connect(), (True, None))
        await communicator.send_json_to("hello")
        self.assertEqual(await communicator.receive_json_from(), "hello")
        await communicator.disconnect()

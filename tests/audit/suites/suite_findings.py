"""Findings of every kind."""

import asyncio
import unittest
from typing import Any

from channels.testing import WebsocketCommunicator
from django.test import SimpleTestCase

from tests.audit.suites import consumers


async def connect(consumer: Any) -> tuple[WebsocketCommunicator, bool]:
    """Many tests call it: that names their line, and not this one."""
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/?token=secret")
    is_connected, _ = await communicator.connect()
    return communicator, is_connected


class FindingTests(SimpleTestCase):
    async def test_nothing_is_lost(self) -> None:
        communicator, _ = await connect(consumers.Echo)
        await communicator.send_json_to("hello")
        self.assertEqual(await communicator.receive_json_from(), "hello")
        await communicator.disconnect()

    async def test_everything_is_lost_on_every_server(self) -> None:
        await connect(consumers.Speaking)

    async def test_everything_is_lost_on_some_servers(self) -> None:
        communicator, _ = await connect(consumers.Closing)
        await communicator.send_json_to(None)
        await communicator.receive_from()

    async def test_a_part_is_lost(self) -> None:
        communicator, _ = await connect(consumers.Accepting)
        await communicator.disconnect()

    async def test_no_client_can_send_it(self) -> None:
        communicator = WebsocketCommunicator(consumers.Echo.as_asgi(), "/")
        await communicator.send_to("too early")

    def test_that_runs_another_test(self) -> None:
        HelperTests("test_00")(unittest.TestResult())

    def test_sent_after_the_test(self) -> None:
        loop = asyncio.new_event_loop()
        communicator, _ = loop.run_until_complete(connect(consumers.Late))
        loop.run_until_complete(communicator.send_json_to("soon"))
        self.addClassCleanup(loop.close)
        for call in (communicator.disconnect(), communicator.receive_output()):
            self.addClassCleanup(loop.run_until_complete, call)

    async def test_sent_after_the_communicator_was_dropped(self) -> None:
        communicator, _ = await connect(consumers.Late)
        await communicator.send_json_to("when it is dropped")
        await communicator.receive_from()
        future = communicator.future
        del communicator
        await asyncio.wait([future])


class CrashTests(SimpleTestCase):
    async def crash(self, how: str) -> WebsocketCommunicator:
        communicator, _ = await connect(consumers.Crashing)
        await communicator.send_json_to(how)
        if how == "raise":
            await asyncio.wait([communicator.future])
        else:
            await communicator.receive_from()
        return communicator

    async def test_no_call_raises_it(self) -> None:
        await self.crash("raise")

    async def test_the_communicator_is_kept(self) -> None:
        self.communicator = await self.crash("raise")

    async def test_a_call_raises_it(self) -> None:
        communicator = await self.crash("raise")
        with self.assertRaises(ValueError):
            await communicator.receive_output()

    async def test_the_test_retrieves_it(self) -> None:
        communicator = await self.crash("raise")
        self.assertIsInstance(communicator.future.exception(), ValueError)

    async def test_of_a_task(self) -> None:
        await self.crash("task")

    async def test_of_a_task_that_is_retrieved(self) -> None:
        await self.crash("retrieve")


class HelperTests(SimpleTestCase):
    """Twelve tests that a consumer rejects."""

    async def test_00(self) -> None:
        _, is_connected = await connect(consumers.Rejecting)
        self.assertFalse(is_connected)


for number in range(1, 12):
    setattr(HelperTests, f"test_{number:02}", HelperTests.test_00)

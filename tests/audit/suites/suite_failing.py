"""A suite with results of every kind, and warnings. Its output is as without us."""

import gc
import unittest
import warnings
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.testing import WebsocketCommunicator
from django.test import SimpleTestCase

from tests.audit.suites.consumers import Rejecting


class Crashing(AsyncWebsocketConsumer):
    async def receive(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("crash")


class FailingTests(SimpleTestCase):
    async def test_failure(self) -> None:
        communicator = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        self.assertEqual(await communicator.connect(), (True, None))  # -> close 4401

    async def test_error(self) -> None:
        communicator = WebsocketCommunicator(Crashing.as_asgi(), "/")
        await communicator.connect()
        await communicator.send_to("x")
        await communicator.receive_output()

    async def test_crash_that_only_asyncio_logs(self) -> None:
        communicator = WebsocketCommunicator(Crashing.as_asgi(), "/")
        await communicator.connect()
        await communicator.send_to("x")
        await communicator.receive_nothing()
        del communicator
        gc.collect()  # asyncio logs it now, and not at any later time

    async def test_coroutine_that_is_never_awaited(self) -> None:
        communicator: Any = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        communicator.connect()

    @unittest.expectedFailure
    def test_expected_failure(self) -> None:
        self.fail()

    @unittest.skip("for a reason")
    def test_skipped(self) -> None: ...

    def test_warning(self) -> None:
        warnings.warn("a warning of the suite", stacklevel=1)

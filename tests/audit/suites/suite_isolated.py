"""Tests whose event loop runs below ``unittest`` on the stack.

On their own, because Django cannot run them in parallel: an
``IsolatedAsyncioTestCase`` cannot be pickled.
"""

import asyncio
import unittest
from typing import Any

from channels.testing import WebsocketCommunicator

from tests.audit.suites.consumers import Rejecting


class Subclass(WebsocketCommunicator):
    async def connect(self, timeout: float = 1) -> Any:
        return await super().connect(timeout)


class IsolatedTests(unittest.IsolatedAsyncioTestCase):
    async def test_call(self) -> None:
        communicator = Subclass(Rejecting.as_asgi(), "/")
        await communicator.connect()  # -> close 4401

    async def test_call_of_a_subclass_in_a_task(self) -> None:
        communicator = Subclass(Rejecting.as_asgi(), "/")  # -> close 4401
        await asyncio.create_task(communicator.connect())

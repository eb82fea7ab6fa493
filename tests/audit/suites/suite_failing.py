"""A suite with results of every kind, and warnings. Its output is as without us."""

import gc
import unittest
import warnings
from typing import Any

from channels.testing import WebsocketCommunicator
from django.test import SimpleTestCase

from tests.audit.suites.consumers import Crashing, Rejecting


class FailingTests(SimpleTestCase):
    async def test_failure(self) -> None:
        await WebsocketCommunicator(Rejecting.as_asgi(), "/dropped").connect()
        communicator = WebsocketCommunicator(Rejecting.as_asgi(), "/kept")
        self.assertEqual(await communicator.connect(), (True, None))

    async def test_error(self) -> None:
        communicator = WebsocketCommunicator(Crashing.as_asgi(), "/in-a-note")
        await communicator.connect()
        await communicator.send_json_to("raise")
        await communicator.receive_output()

    async def test_crash_that_only_asyncio_logs(self) -> None:
        communicator = WebsocketCommunicator(Crashing.as_asgi(), "/")
        await communicator.connect()
        await communicator.send_json_to("raise")
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
        # Each names another frame: of the test, or of what calls it.
        for level in range(1, 12):
            warnings.warn(f"a warning of the suite, {level}", stacklevel=level)

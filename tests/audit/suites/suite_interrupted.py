"""A suite that waits until somebody interrupts it."""

import time
from pathlib import Path

from channels.testing import WebsocketCommunicator
from django.test import SimpleTestCase

from tests.audit.suites.consumers import Rejecting


class InterruptedTests(SimpleTestCase):
    async def test_waits(self) -> None:
        communicator = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        await communicator.connect()  # -> close 4401

    def test_waits_longer(self) -> None:
        Path("waiting").touch()
        time.sleep(60)

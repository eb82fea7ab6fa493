"""A suite that is interrupted, as by Ctrl+C."""

from channels.testing import WebsocketCommunicator
from django.test import SimpleTestCase

from tests.audit.suites.consumers import Rejecting


class InterruptedTests(SimpleTestCase):
    async def test_before(self) -> None:
        await WebsocketCommunicator(Rejecting.as_asgi(), "/").connect()

    def test_interrupted(self) -> None:
        raise KeyboardInterrupt

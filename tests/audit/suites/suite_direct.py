"""A suite that uses the class already, and tests its warning."""

from django.test import SimpleTestCase

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning
from tests.audit.suites.consumers import Speaking


class DirectTests(SimpleTestCase):
    async def test_warns(self) -> None:
        # Channels is imported only here, after the package.
        from channels.testing import WebsocketCommunicator

        self.assertIs(WebsocketCommunicator, RecordingWebsocketCommunicator)
        communicator = RecordingWebsocketCommunicator(Speaking.as_asgi(), "/")
        with self.assertWarns(UndeliverableWarning):
            await communicator.connect()

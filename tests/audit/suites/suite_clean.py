"""A suite in which nothing is found."""

from channels.testing import WebsocketCommunicator
from django.test import SimpleTestCase

from tests.audit.suites.consumers import Echo


class CleanTests(SimpleTestCase):
    async def test_everything_is_received(self) -> None:
        communicator = WebsocketCommunicator(Echo.as_asgi(), "/")
        self.assertEqual(await communicator.connect(), (True, None))
        await communicator.send_json_to("hello")
        self.assertEqual(await communicator.receive_json_from(), "hello")
        await communicator.disconnect()


class OtherCleanTests(CleanTests):
    """Another class, because Django runs classes in parallel."""

"""A test that fails. No runner finds it unless it is asked for by name."""

from django.test import SimpleTestCase

from channels_closetest import RecordingWebsocketCommunicator
from tests.documentation.runners.conversations import Echo


class FailingTests(SimpleTestCase):
    async def test_an_answer(self) -> None:
        communicator = RecordingWebsocketCommunicator(Echo.as_asgi(), "/ws/echo/")
        await communicator.connect()
        await communicator.receive_json_from(timeout=0.01)

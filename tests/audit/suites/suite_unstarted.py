"""What needs a communicator that has not started its application: asgiref 3.9."""

from copy import deepcopy

from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.test import SimpleTestCase

from tests.audit.suites.consumers import Rejecting


class SyncTests(SimpleTestCase):
    def test_one_call(self) -> None:
        communicator = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        async_to_sync(communicator.connect)()  # -> close 4401

    async def test_copy(self) -> None:
        original = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        await deepcopy(original).connect()  # -> close 4401

    def test_several_calls(self) -> None:
        communicator = WebsocketCommunicator(Rejecting.as_asgi(), "/")
        async_to_sync(self.connect)(communicator)

    async def connect(self, communicator: WebsocketCommunicator) -> None:
        await communicator.connect()  # -> close 4401

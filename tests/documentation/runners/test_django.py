from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from channels_closetest import RecordingWebsocketCommunicator
from tests.documentation.runners.conversations import Conversations
from tests.models import Note


class NoteTaker(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: str, **kwargs: object) -> None:
        await database_sync_to_async(Note.objects.create)(text=content)
        await self.send_json(await Note.objects.acount())


class DatabaseConversations(Conversations):
    async def test_a_consumer_uses_the_database(self) -> None:
        communicator = RecordingWebsocketCommunicator(NoteTaker.as_asgi(), "/")
        assert await communicator.connect() == (True, None)
        for text, count in [("one", 1), ("two", 2)]:
            await communicator.send_json_to(text)
            assert await communicator.receive_json_from() == count
        await communicator.disconnect()


class SimpleTests(Conversations, SimpleTestCase):
    pass


class Tests(DatabaseConversations, TestCase):
    pass


class TransactionTests(DatabaseConversations, TransactionTestCase):
    pass

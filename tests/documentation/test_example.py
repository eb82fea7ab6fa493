"""
The purpose of the package: a test receives what a consumer sends before it closes.

This needs only the installed package::

    python -m django test --settings=tests.settings tests.documentation.test_example
"""

from datetime import timedelta
from urllib.parse import parse_qs

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.contrib.sessions.models import Session
from django.test import TestCase
from django.urls import path
from django.utils import timezone

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning


class NotesConsumer(AsyncJsonWebsocketConsumer):
    """Accept a client whose session has not expired, and close for any other."""

    async def connect(self) -> None:
        query = parse_qs(self.scope["query_string"].decode())
        sessions = Session.objects.filter(expire_date__gt=timezone.now())
        if await sessions.filter(session_key=query["token"][0]).aexists():
            await self.accept()
        else:
            await self.reject()

    async def reject(self) -> None:
        await self.send_json({"type": "jwt-expired"})
        await self.close(4401, "token expired")


class AcceptingNotesConsumer(NotesConsumer):
    async def reject(self) -> None:
        await self.accept()
        await super().reject()


# The type stubs of path() allow only views of Django.
urlpatterns = [
    path("ws/notes/", NotesConsumer.as_asgi()),  # type: ignore[arg-type]
    path(
        "ws/accepting/notes/",
        AcceptingNotesConsumer.as_asgi(),  # type: ignore[arg-type]
    ),
]
application = AuthMiddlewareStack(URLRouter(urlpatterns))  # type: ignore[arg-type]


class ExpiredTokenTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        now = timezone.now()
        for token, expire_date in [
            ("old", now - timedelta(hours=1)),
            ("new", now + timedelta(hours=1)),
        ]:
            Session.objects.create(session_key=token, expire_date=expire_date)

    async def test_accepts_a_new_token(self) -> None:
        communicator = RecordingWebsocketCommunicator(
            application, "/ws/notes/?token=new"
        )
        self.assertEqual(await communicator.connect(), (True, None))
        await communicator.disconnect()

    async def test_closes_before_accept_for_an_old_token(self) -> None:
        communicator = RecordingWebsocketCommunicator(
            application, "/ws/notes/?token=old"
        )
        with self.assertWarns(UndeliverableWarning):
            connected, code = await communicator.connect()
        self.assertFalse(connected)
        self.assertEqual(code, 4401)
        self.assertEqual(communicator.pre_close_messages, [{"type": "jwt-expired"}])
        self.assertEqual(communicator.close_code, 4401)
        self.assertEqual(communicator.close_reason, "token expired")
        # The consumer has sent all this, but no client receives it.
        self.assertEqual(communicator.client_view.messages, [])
        self.assertEqual(communicator.client_view.close_code, 1006)
        print("The consumer sends a frame and closes before it accepts:")
        print(communicator.transcript)

    async def test_closes_once_accepted_for_an_old_token(self) -> None:
        communicator = RecordingWebsocketCommunicator(
            application, "/ws/accepting/notes/?token=old"
        )
        self.assertEqual(await communicator.connect(), (True, None))
        self.assertEqual(
            await communicator.receive_json_from(), {"type": "jwt-expired"}
        )
        self.assertEqual(await communicator.wait_closed(), 4401)
        self.assertEqual(communicator.close_reason, "token expired")
        self.assertEqual(communicator.client_view.messages, [{"type": "jwt-expired"}])
        self.assertEqual(communicator.client_view.close_code, 4401)
        print("The consumer accepts before it sends the frame and closes:")
        print(communicator.transcript)

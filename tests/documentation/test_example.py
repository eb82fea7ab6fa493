"""
The purpose of the package: a test receives what a consumer sends before it closes.

This needs only the installed package::

    python -m django test --settings=tests.settings tests.documentation.test_example
"""

from datetime import timedelta
from itertools import zip_longest
from urllib.parse import parse_qs

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
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
        await self.close(4401)


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


def show(consumer: str, communicator: RecordingWebsocketCommunicator) -> None:
    """Print what the consumer has sent, and what a client has received."""
    view = communicator.client_view
    sent = [
        f"{event['type']} {event.get('text', event.get('code', ''))}"
        for direction, event, *_ in communicator.transcript.records
        if direction == "send"
    ]
    received = [f"HTTP {view.status}", *map(str, view.messages)]
    if view.status == 101:
        received.append(f"close code {view.close_code}")
    print(f"\n{f'{consumer} sends':<48}a client receives")
    for event, outcome in zip_longest(sent, received, fillvalue="nothing"):
        print(f"  {event:<46}  {outcome}")


class ExpiredTokenTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        now = timezone.now()
        for token, expire_date in [
            ("old", now - timedelta(hours=1)),
            ("new", now + timedelta(hours=1)),
        ]:
            Session.objects.create(session_key=token, expire_date=expire_date)

    async def test_1_the_parent_class_fails_for_an_old_token(self) -> None:
        communicator = WebsocketCommunicator(application, "/ws/notes/?token=old")
        with self.assertRaises(AssertionError) as raised:
            await communicator.connect()
        # Not disconnect(): the parent class would close the connection of the database.
        await communicator.wait(0)
        self.assertEqual(str(raised.exception), "")
        print("channels.testing.WebsocketCommunicator with NotesConsumer:")
        print("  connect() raises AssertionError, without a text, and drops the frame")

    async def test_2_closes_before_accept_for_an_old_token(self) -> None:
        communicator = RecordingWebsocketCommunicator(
            application, "/ws/notes/?token=old"
        )
        with self.assertWarns(UndeliverableWarning):
            connected, code = await communicator.connect()
        self.assertFalse(connected)
        self.assertEqual(code, 4401)
        self.assertEqual(communicator.pre_close_messages, [{"type": "jwt-expired"}])
        self.assertEqual(communicator.close_code, 4401)
        # The consumer has sent all this, but no client receives it.
        self.assertEqual(communicator.client_view.messages, [])
        self.assertEqual(communicator.client_view.close_code, 1006)
        show("NotesConsumer", communicator)

    async def test_3_closes_once_accepted_for_an_old_token(self) -> None:
        communicator = RecordingWebsocketCommunicator(
            application, "/ws/accepting/notes/?token=old"
        )
        self.assertEqual(await communicator.connect(), (True, None))
        self.assertEqual(
            await communicator.receive_json_from(), {"type": "jwt-expired"}
        )
        self.assertEqual(await communicator.wait_closed(), 4401)
        self.assertEqual(communicator.client_view.messages, [{"type": "jwt-expired"}])
        self.assertEqual(communicator.client_view.close_code, 4401)
        show("AcceptingNotesConsumer", communicator)

    async def test_4_accepts_a_new_token(self) -> None:
        communicator = RecordingWebsocketCommunicator(
            application, "/ws/notes/?token=new"
        )
        self.assertEqual(await communicator.connect(), (True, None))
        await communicator.disconnect()
        print("\nSee what your own suite sends, without a change to it:")
        print("  python -m channels_closetest manage.py test")
        print("  pytest --closetest")

"""
The examples of Channels' documentation on testing, in its order, with either class.

https://channels.readthedocs.io/en/stable/topics/testing.html. What it shows with
``ApplicationCommunicator``, whose methods a WebSocket's communicator has too, is done
here with an application for HTTP. Its examples of other classes are left out.
"""

import unittest
from typing import Any

import pytest
from channels.consumer import AsyncConsumer
from channels.generic.websocket import WebsocketConsumer
from channels.routing import URLRouter
from django.test import TestCase
from django.urls import re_path

from tests.both import CommunicatorClass, both_classes

pytestmark = both_classes


class ChunkedHttpApp(AsyncConsumer):
    async def http_request(self, event: Any) -> None:
        await self.send({"type": "http.response.start", "status": 200, "headers": []})
        first, _, last = event["body"].partition(b"\x01")
        await self.send(
            {"type": "http.response.body", "body": first, "more_body": True}
        )
        await self.send({"type": "http.response.body", "body": last})


class FailingApp(AsyncConsumer):
    async def http_request(self, event: Any) -> None:
        raise ValueError("no such page")


class SimpleWebsocketApp(WebsocketConsumer):
    def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        self.send(text_data=text_data, bytes_data=bytes_data)


class KwargsWebSocketApp(WebsocketConsumer):
    def connect(self) -> None:
        self.accept()
        self.send(text_data=self.scope["url_route"]["kwargs"]["message"])


class RejectingWebsocketApp(WebsocketConsumer):
    def connect(self) -> None:
        self.close(code=4401)


# Setting up async tests.


def test_in_a_test_case_of_django(communicator_class: CommunicatorClass) -> None:
    class MyTests(TestCase):
        databases: set[str] = set()

        async def test_my_consumer(self) -> None:
            communicator = communicator_class(SimpleWebsocketApp.as_asgi(), "/testws/")
            connected, subprotocol = await communicator.connect()
            self.assertTrue(connected)
            await communicator.disconnect()

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(MyTests).run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


@pytest.mark.asyncio
async def test_with_pytest(communicator_class: CommunicatorClass) -> None:
    communicator = communicator_class(SimpleWebsocketApp.as_asgi(), "/testws/")
    connected, subprotocol = await communicator.connect()
    assert connected
    await communicator.disconnect()


# ApplicationCommunicator.


async def test_events_of_any_protocol(communicator_class: CommunicatorClass) -> None:
    communicator = communicator_class(ChunkedHttpApp.as_asgi(), "/")
    # send_input
    await communicator.send_input(
        {"type": "http.request", "body": b"chunk one \x01 chunk two"}
    )
    # receive_output
    event = await communicator.receive_output(timeout=1)
    assert event["type"] == "http.response.start"
    # receive_nothing
    assert await communicator.receive_nothing(timeout=0.1, interval=0.01) is False
    event = await communicator.receive_output()
    assert event["type"] == "http.response.body"
    assert event.get("more_body") is True
    event = await communicator.receive_output()
    assert event["type"] == "http.response.body"
    assert event.get("more_body") is None
    assert await communicator.receive_nothing() is True
    # One can go on to send and receive.
    await communicator.send_input({"type": "http.request", "body": b""})
    event = await communicator.receive_output()
    assert event["type"] == "http.response.start"
    # wait
    await communicator.wait(timeout=1)


async def test_wait_raises_what_the_application_raises(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(FailingApp.as_asgi(), "/")
    await communicator.send_input({"type": "http.request"})
    with pytest.raises(ValueError, match="no such page"):
        await communicator.wait()


# WebsocketCommunicator.


async def test_the_methods_of_a_websocket(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(SimpleWebsocketApp.as_asgi(), "/testws/")
    # connect
    connected, subprotocol = await communicator.connect()
    assert connected
    assert subprotocol is None
    # send_to, receive_from
    await communicator.send_to(text_data="hello")
    response = await communicator.receive_from()
    assert response == "hello"
    await communicator.send_to(bytes_data=b"hi\0")
    response = await communicator.receive_from()
    assert response == b"hi\0"
    # send_json_to, receive_json_from
    await communicator.send_json_to({"hello": "world"})
    response = await communicator.receive_json_from()
    assert response == {"hello": "world"}
    # receive_nothing
    assert await communicator.receive_nothing() is True
    # disconnect
    await communicator.disconnect()


async def test_arguments_from_the_url(communicator_class: CommunicatorClass) -> None:
    # Django's types know no ASGI application for a path, and Channels' no such path.
    view: Any = KwargsWebSocketApp.as_asgi()
    routes: Any = [re_path(r"^testws/(?P<message>\w+)/$", view)]
    communicator = communicator_class(URLRouter(routes), "/testws/test/")
    connected, subprotocol = await communicator.connect()
    assert connected
    # The welcome message.
    message = await communicator.receive_from()
    assert message == "test"
    await communicator.disconnect()


async def test_a_rejection(communicator_class: CommunicatorClass) -> None:
    communicator = communicator_class(RejectingWebsocketApp.as_asgi(), "/testws/")
    assert await communicator.connect() == (False, 4401)


@pytest.mark.parametrize(
    ("text_data", "bytes_data"), [(b"bytes", None), (None, "text"), ("1", b"1")]
)
async def test_what_is_sent_is_checked(
    communicator_class: CommunicatorClass, text_data: Any, bytes_data: Any
) -> None:
    communicator = communicator_class(SimpleWebsocketApp.as_asgi(), "/testws/")
    await communicator.connect()
    with pytest.raises(AssertionError):
        await communicator.send_to(text_data, bytes_data)
    await communicator.disconnect()

"""
Idioms of public test suites and of Channels' documentation work with both classes.
"""

import asyncio
import gc
import unittest
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from unittest.mock import AsyncMock, create_autospec, patch

import pytest
from asgiref.typing import ASGI3Application
from channels.consumer import AsyncConsumer
from channels.generic.websocket import WebsocketConsumer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.test import TestCase
from django.urls import re_path

from tests.events import (
    ACCEPT,
    CLOSE,
    CONNECT,
    DISCONNECT,
    JSON_FRAME,
    Event,
    accept,
    close,
    send,
)
from tests.helpers import LONG, SHORT, CommunicatorClass, both_classes
from tests.hostile import HOSTILE
from tests.scripts import Boom, Script, scripted

pytestmark = both_classes


def sending(*events: object, ending: Any = "wait") -> ASGI3Application:
    return scripted(Script(events, ending), "asgi")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Accepts, and then sends back what it receives."""
    await receive()
    await send(ACCEPT)
    while (event := await receive()) != DISCONNECT:
        is_frame = isinstance(event, dict) and event.get("type") == "websocket.receive"
        await send({**event, "type": "websocket.send"} if is_frame else event)


async def connected(
    communicator_class: Callable[..., WebsocketCommunicator],
    application: ASGI3Application = echo,
) -> WebsocketCommunicator:
    communicator = communicator_class(application, "/")
    assert await communicator.connect(LONG) == (True, None)
    return communicator


# Calls.


async def test_the_timeout_of_connect_is_passed_by_position_and_by_keyword(
    communicator_class: CommunicatorClass,
) -> None:
    first, second = communicator_class(echo, "/"), communicator_class(echo, "/")
    assert await first.connect(LONG) == (True, None)
    assert await second.connect(timeout=LONG) == (True, None)
    for communicator in (first, second):
        await communicator.disconnect()


@pytest.mark.parametrize("code", [1000, 401, 4003, 4401])
async def test_connect_returns_the_close_code_of_a_rejection(
    communicator_class: CommunicatorClass, code: int
) -> None:
    application = sending(close(code=code))
    communicator = communicator_class(application, "/")
    assert await communicator.connect() == (False, code)
    await communicator.disconnect()


async def test_the_constructor_takes_five_arguments_by_position_and_by_keyword(
    communicator_class: CommunicatorClass,
) -> None:
    headers = [(b"origin", b"http://example.com")]
    for communicator in (
        communicator_class(echo, "/ws/?a=1", headers, ["chat"], 2),
        communicator_class(
            application=echo,
            path="/ws/?a=1",
            headers=headers,
            subprotocols=["chat"],
            spec_version=2,
        ),
    ):
        assert communicator.scope == {
            "type": "websocket",
            "path": "/ws/",
            "query_string": b"a=1",
            "headers": headers,
            "subprotocols": ["chat"],
            "spec_version": 2,
        }
        assert await communicator.connect() == (True, None)
        await communicator.disconnect()


async def test_frames_go_both_ways(communicator_class: CommunicatorClass) -> None:
    communicator = await connected(communicator_class)
    await communicator.send_to(text_data="text")
    assert await communicator.receive_from() == "text"
    await communicator.send_to(bytes_data=b"bytes")
    assert await communicator.receive_from(LONG) == b"bytes"
    await communicator.send_json_to({"a": 1})
    assert await communicator.receive_json_from(timeout=LONG) == {"a": 1}
    await communicator.send_to("text")
    assert not await communicator.receive_nothing(LONG)
    assert (await communicator.receive_output())["text"] == "text"
    assert await communicator.receive_nothing(timeout=0.01, interval=0.001)
    await communicator.disconnect()


async def test_events_of_other_types_are_sent_to_the_application(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(communicator_class)
    event = {"type": "chat.message", "text": "hello"}
    await communicator.send_input(event)
    assert await communicator.receive_output() is event
    await communicator.disconnect()


async def test_receiving_until_a_timeout_and_again_until_a_cancellation(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(
        communicator_class, sending(ACCEPT, JSON_FRAME, CLOSE)
    )
    received = []
    for expected in (TimeoutError, asyncio.CancelledError):
        with pytest.raises(expected):
            while True:
                received.append(await communicator.receive_output(SHORT))
    assert received == [JSON_FRAME, CLOSE]
    assert communicator.future.cancelled()


async def test_waiting_after_the_close_and_cleaning_up_twice(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(communicator_class, sending(ACCEPT, CLOSE))
    assert await communicator.receive_output() == CLOSE
    await communicator.send_input({"type": "websocket.disconnect", "code": 4401})
    await communicator.wait()
    await communicator.wait(timeout=SHORT)
    await communicator.disconnect()
    await communicator.disconnect(code=1001, timeout=SHORT)
    communicator.stop(exceptions=False)
    assert communicator.future.done() and not communicator.future.cancelled()


@pytest.mark.parametrize("ending", ["raise", "return"])
async def test_cleaning_up_after_an_application_that_has_ended(
    communicator_class: CommunicatorClass, ending: str
) -> None:
    communicator = await connected(communicator_class, sending(ACCEPT, ending=ending))
    await asyncio.wait([communicator.future])
    communicator.stop(exceptions=False)
    for _ in range(2):
        with suppress(Boom):
            await communicator.disconnect()


# Attributes read directly.


async def test_the_output_queue_can_be_read_directly(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(
        communicator_class, sending(ACCEPT, JSON_FRAME, JSON_FRAME, JSON_FRAME, CLOSE)
    )
    queue = communicator.output_queue
    assert (queue.qsize(), queue.empty()) == (4, False)
    assert await queue.get() is JSON_FRAME
    assert await asyncio.wait_for(queue.get(), LONG) is JSON_FRAME
    assert await communicator.receive_from() == JSON_FRAME["text"]
    assert queue.get_nowait() is CLOSE
    assert (queue.qsize(), queue.empty()) == (0, True)
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), SHORT)
    assert not communicator.future.done()
    await communicator.disconnect()


async def test_the_input_queue_can_be_filled_directly(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(echo, "/")
    communicator.input_queue.put_nowait(CONNECT)
    communicator.input_queue.put_nowait({"type": "websocket.receive", "text": "1"})
    assert await communicator.receive_output() == ACCEPT
    assert await communicator.receive_from() == "1"
    await communicator.disconnect()


async def test_the_future_is_the_task_of_the_application(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(communicator_class)
    future = communicator.future
    assert isinstance(future, asyncio.Task)
    assert (future.done(), future.cancelled()) == (False, False)
    await communicator.send_input(DISCONNECT)
    assert await communicator.future is None
    assert communicator.future is future
    assert (future.done(), future.cancelled()) == (True, False)


async def test_the_future_may_be_cancelled(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(communicator_class)
    assert communicator.future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await communicator.future
    assert communicator.future.cancelled()


@pytest.mark.parametrize("name", ["connect", "receive_output", "receive_from", "stop"])
async def test_the_text_of_a_cancellation_by_the_test_is_kept(
    communicator_class: CommunicatorClass, name: str
) -> None:
    communicator = await connected(communicator_class)
    communicator.future.cancel("why")
    await asyncio.wait([communicator.future])
    # asyncio forgets the text when it has raised it once.
    with pytest.raises(asyncio.CancelledError) as raised:
        await getattr(communicator, name)()
    assert raised.value.args == ("why",)


async def test_the_text_of_a_cancellation_during_a_call_is_kept(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(communicator_class)
    loop = asyncio.get_running_loop()
    loop.call_later(0.01, communicator.future.cancel, "why")
    with pytest.raises(asyncio.CancelledError) as raised:
        await communicator.receive_output(SHORT)
    assert raised.value.args == ("why",)


async def test_the_future_has_the_exception_of_the_application(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(communicator_class, sending(ACCEPT, ending="raise"))
    with pytest.raises(Boom):
        await communicator.future
    assert isinstance(communicator.future.exception(), Boom)


async def test_the_private_attribute_of_the_future(
    communicator_class: CommunicatorClass,
) -> None:
    """Since asgiref 3.9 it exists, and is None until the application starts."""
    parent, communicator = [
        cls(echo, "/") for cls in (WebsocketCommunicator, communicator_class)
    ]
    if hasattr(parent, "_future"):
        assert communicator._future is parent._future is None
    assert await communicator.connect() == (True, None)
    if hasattr(parent, "_future"):
        assert communicator._future is communicator.future
    parent.stop()
    await communicator.disconnect()


async def scope_reader(scope: Any, receive: Any, send: Any) -> None:
    """Accepts with the user of the scope as subprotocol, and adds to the scope."""
    await receive()
    scope["added"] = "by the application"
    await send(accept(subprotocol=scope.get("user")))
    await receive()


async def test_the_scope_is_edited_in_place_and_read_afterwards(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(scope_reader, "/")
    scope: Any = communicator.scope
    scope["user"] = "Ada"
    scope.update({"url_route": {"kwargs": {"id": 1}}})
    assert await communicator.connect() == (True, "Ada")
    assert scope["added"] == "by the application"
    assert communicator.scope is scope
    await communicator.disconnect()


async def test_scope_and_application_may_be_replaced(
    communicator_class: CommunicatorClass,
) -> None:
    """With the parent this has an effect since asgiref 3.9."""

    async def use(cls: CommunicatorClass) -> list[object]:
        other_scope: Any = cls(scope_reader, "/")
        other_scope.scope = {"type": "websocket", "user": "Ada"}
        other_application: Any = cls(scope_reader, "/")
        other_application.application = sending(accept(subprotocol="other"))
        results: list[object] = []
        for communicator in (other_scope, other_application):
            results.append(await communicator.connect())
            results.append(communicator.scope.get("added"))
            await communicator.disconnect()
        return results

    assert await use(communicator_class) == await use(WebsocketCommunicator)


async def test_response_headers_are_those_of_the_accept(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(sending(accept(headers=[(b"a", b"b")])), "/")
    assert communicator.response_headers is None
    await communicator.connect()
    assert communicator.response_headers == [(b"a", b"b")]
    await communicator.disconnect()


async def test_the_application_is_the_only_task(
    communicator_class: CommunicatorClass,
) -> None:
    before = asyncio.all_tasks()
    communicator = communicator_class(echo, "/")
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: communicator.connect(),
        lambda: communicator.send_to("1"),
        lambda: communicator.receive_from(),
        lambda: communicator.receive_nothing(),
        lambda: asyncio.wait_for(communicator.receive_output(LONG), SHORT),
    ]
    for call in calls:
        with suppress(TimeoutError):
            await call()
        assert asyncio.all_tasks() - before == {communicator.future}
    await communicator.disconnect()
    assert asyncio.all_tasks() == before


# Identity, mocks and cancellation.


async def test_events_are_passed_as_the_same_object_and_can_be_changed(
    communicator_class: CommunicatorClass,
) -> None:
    event: Event = send(text="1", list=[])
    communicator = await connected(communicator_class, sending(ACCEPT, event))
    event["text"] = "changed by the application"
    received = await communicator.receive_output()
    assert received is event
    received["list"].append("by the test")
    del received["type"]
    assert event == {"text": "changed by the application", "list": ["by the test"]}
    sent: Event = {"type": "websocket.receive", "text": "1"}
    await communicator.send_input(sent)
    assert communicator.input_queue.get_nowait() is sent
    await communicator.disconnect()


async def test_events_and_scopes_may_hold_objects_that_support_no_operation(
    communicator_class: CommunicatorClass,
) -> None:
    """They cannot be copied, compared or formatted."""
    event = send(text=HOSTILE, list=[HOSTILE])
    communicator = communicator_class(sending(ACCEPT, event, event), "/")
    scope: Any = communicator.scope
    scope["user"] = scope["session"] = HOSTILE
    assert await communicator.connect() == (True, None)
    await communicator.send_input({"type": "websocket.receive", "text": HOSTILE})
    received = await communicator.receive_output()
    assert received is event and received["text"] is HOSTILE
    with pytest.raises(AssertionError):
        await communicator.receive_from()
    with pytest.raises(TimeoutError):
        await communicator.receive_output(SHORT)


@pytest.mark.parametrize(
    "event",
    [None, {}, "text", "", 5, {"type": "chat.message"}, {"type": None}],
    ids=repr,
)
async def test_events_may_be_any_object(
    communicator_class: CommunicatorClass, event: Any
) -> None:
    communicator = await connected(communicator_class)
    await communicator.send_input(event)
    assert await communicator.receive_output() is event
    await communicator.disconnect()


async def test_the_application_receives_the_scope_of_the_communicator(
    communicator_class: CommunicatorClass,
) -> None:
    scopes = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send(ACCEPT)

    communicator = await connected(communicator_class, application)
    assert scopes[0] is communicator.scope
    assert list(communicator.scope) == [
        "type",
        "path",
        "query_string",
        "headers",
        "subprotocols",
    ]


async def interrupted(it: WebsocketCommunicator) -> None:
    await it.connect()
    task = asyncio.create_task(it.receive_output(LONG))
    await asyncio.sleep(SHORT)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(
    "use",
    [
        lambda it: it.send_input(CONNECT),
        lambda it: it.connect(),
        lambda it: it.receive_output(LONG),
        lambda it: it.receive_nothing(SHORT),
        lambda it: it.receive_from(LONG),
        interrupted,
    ],
    ids=["sent", "connected", "received", "nothing", "failed", "interrupted"],
)
async def test_an_application_is_cancelled_when_its_communicator_is_garbage_collected(
    communicator_class: CommunicatorClass,
    use: Callable[[WebsocketCommunicator], Awaitable[object]],
) -> None:
    held: list[object] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        held.extend([scope, receive, send])
        await send(CLOSE)
        await receive()
        await asyncio.sleep(LONG)

    gc.disable()
    try:
        communicator = communicator_class(application, "/")
        with suppress(AssertionError):
            await use(communicator)
        await asyncio.sleep(0)
        future, reference = communicator.future, weakref.ref(communicator)
        assert len(held) == 3 and not future.done()
        del communicator
        assert reference() is None
    finally:
        gc.enable()
    with pytest.raises(asyncio.CancelledError):
        await future


async def test_a_cancelled_call_leaves_the_application_usable(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(communicator_class)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(communicator.receive_output(timeout=10), SHORT)
    assert not communicator.future.done()
    await communicator.send_to("text")
    assert await communicator.receive_from() == "text"
    await communicator.disconnect()


async def test_sending_and_receiving_json_in_two_tasks(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = await connected(communicator_class)

    async def send() -> None:
        for number in range(20):
            await communicator.send_json_to(number)
            await asyncio.sleep(0)

    async def receive() -> list[object]:
        return [await communicator.receive_json_from(LONG) for _ in range(20)]

    received, _ = await asyncio.gather(receive(), send())
    assert received == list(range(20))
    await communicator.disconnect()


async def test_the_class_can_be_mocked(
    communicator_class: CommunicatorClass,
) -> None:
    mock = create_autospec(communicator_class)
    communicator = mock(echo, "/")
    communicator.connect.return_value = (True, "chat")
    assert await communicator.connect(5) == (True, "chat")
    communicator.connect.assert_awaited_once_with(timeout=5)
    with pytest.raises(TypeError):
        communicator.receive_from(patience=5)
    with pytest.raises(AttributeError):
        communicator.no_such_method


async def test_methods_of_the_class_can_be_patched(
    communicator_class: CommunicatorClass,
) -> None:
    with patch.object(communicator_class, "connect") as connect:
        connect.return_value = (False, 4403)
        assert await communicator_class(echo, "/").connect() == (False, 4403)
    assert isinstance(connect, AsyncMock)
    communicator = await connected(communicator_class)
    await communicator.disconnect()


async def test_each_call_reaches_a_spy_on_send_input_once(
    communicator_class: CommunicatorClass,
) -> None:
    communicator = communicator_class(echo, "/")
    spy = AsyncMock(wraps=communicator.send_input)
    with patch.object(communicator, "send_input", spy):
        await communicator.connect()
        spy.assert_awaited_once_with(CONNECT)
        spy.reset_mock()
        await communicator.send_to("text")
        spy.assert_awaited_once_with({"type": "websocket.receive", "text": "text"})
        spy.reset_mock()
        await communicator.disconnect()
        spy.assert_awaited_once_with(DISCONNECT)


# The examples of Channels' documentation on testing, in its order:
# https://channels.readthedocs.io/en/stable/topics/testing.html. What it shows with
# ApplicationCommunicator, whose methods a WebSocket's communicator has too, is done
# here with an application for HTTP. Its examples of other classes are left out.


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
    # A test can then send and receive again.
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


async def test_the_methods_of_a_websocket_communicator(
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
    # Neither Django's types nor those of Channels allow an ASGI application in path().
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
async def test_send_to_checks_its_arguments(
    communicator_class: CommunicatorClass, text_data: Any, bytes_data: Any
) -> None:
    communicator = communicator_class(SimpleWebsocketApp.as_asgi(), "/testws/")
    await communicator.connect()
    with pytest.raises(AssertionError):
        await communicator.send_to(text_data, bytes_data)
    await communicator.disconnect()

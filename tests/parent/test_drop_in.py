"""
The class behaves as its parent.

The same steps are performed with both, and their outcomes and final states compared.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal
from unittest.mock import AsyncMock, create_autospec

import pytest
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import (
    ACCEPT,
    BYTES_FRAME,
    CLOSE_WITH_REASON,
    CONNECT,
    FRAME,
    JSON_FRAME,
    UNKNOWN,
    Event,
    accept,
    send,
)
from tests.helpers import LONG, SHORT, client, each_kind, failure, message
from tests.scripts import Kind, Script, scripted
from tests.steps import Outcome, Step, assert_same, connect, perform_step, wait_for_end

APPLICATION = scripted(Script((ACCEPT,)), "asgi")


# Signatures and attributes.


def public(cls: type) -> dict[str, object]:
    return {name: getattr(cls, name) for name in dir(cls) if not name.startswith("_")}


def arguments(function: Callable[..., object]) -> list[tuple[str, object, object]]:
    parameters = inspect.signature(function).parameters.values()
    return [(it.name, it.kind, it.default) for it in parameters]


def test_the_class_takes_the_same_arguments() -> None:
    ours = arguments(RecordingWebsocketCommunicator)
    assert ours == arguments(WebsocketCommunicator)


@pytest.mark.parametrize("name", ["__init__", *public(WebsocketCommunicator)])
def test_every_method_takes_the_same_arguments(name: str) -> None:
    parent = getattr(WebsocketCommunicator, name)
    ours = getattr(RecordingWebsocketCommunicator, name)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(parent)
    assert isinstance(ours, property) == isinstance(parent, property)
    if not isinstance(parent, property):
        assert arguments(ours) == arguments(parent)


async def test_every_attribute_of_the_parent_exists() -> None:
    parent = WebsocketCommunicator(APPLICATION, "/")
    ours = RecordingWebsocketCommunicator(APPLICATION, "/")
    assert set(dir(parent)) - set(dir(ours)) == set()
    for name in ("application", "scope", "response_headers"):
        assert getattr(ours, name) == getattr(parent, name)
    parent.stop()
    ours.stop()


async def test_an_autospec_mock_has_the_same_methods() -> None:
    parent = create_autospec(WebsocketCommunicator)(None, "/")
    ours = create_autospec(RecordingWebsocketCommunicator)(None, "/")
    for name, member in public(WebsocketCommunicator).items():
        is_awaitable = inspect.iscoroutinefunction(member)
        for mock in (parent, ours):
            assert isinstance(getattr(mock, name), AsyncMock) is is_awaitable
        if is_awaitable:
            with pytest.raises(TypeError):
                getattr(ours, name)(1, 2, 3, 4)
    await ours.connect(5)
    ours.connect.assert_awaited_once_with(timeout=5)


def construct(args: list[object], **kwargs: object) -> Step:
    def step(cls: Any) -> object:
        communicator = cls(*args, **kwargs)
        communicator.stop()
        return communicator.scope

    return step


async def assert_same_construction(step: Step) -> Outcome:
    parent, ours = [
        await perform_step(step, cls)
        for cls in (WebsocketCommunicator, RecordingWebsocketCommunicator)
    ]
    assert ours == parent
    return parent


@pytest.mark.parametrize(
    "step",
    [
        construct([APPLICATION, "/"]),
        construct([APPLICATION, "/ws/%E2%82%AC/?a=1&b=%20#fragment"]),
        construct([APPLICATION, "ws://user:pass@example.com:8080/ws/?a=1"]),
        construct([APPLICATION, "/", [(b"origin", b"http://a")], ["chat"], 3]),
        construct([APPLICATION, "/", None, None, 0]),
        construct([], application=APPLICATION, path="/", subprotocols=["chat"]),
    ],
)
async def test_the_constructor_makes_the_same_scope(step: Step) -> None:
    outcome = await assert_same_construction(step)
    assert outcome.returned


# The parent's __del__() raises if its constructor has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "step",
    [
        construct([]),
        construct([APPLICATION]),
        construct([APPLICATION, None]),
        construct([APPLICATION, b"/"]),
        construct([APPLICATION, "/", [], [], 2, "too many"]),
        construct([APPLICATION, "/"], timeout=1),
        lambda cls: cls(5, "/").connect(),
    ],
)
async def test_the_constructor_raises_the_same(step: Step) -> None:
    outcome = await assert_same_construction(step)
    assert outcome.raised


# The same steps.


ACCEPTED: dict[str, tuple[Script, list[Step]]] = {
    "the handshake response": (
        Script((accept(subprotocol="chat", headers=[(b"a", b"b")]),)),
        [connect],
    ),
    "frames, of which some are not received": (
        Script((ACCEPT, JSON_FRAME, BYTES_FRAME, FRAME, JSON_FRAME)),
        [
            connect,
            lambda it: it.receive_json_from(LONG),
            lambda it: it.receive_from(timeout=LONG),
            lambda it: it.receive_output(LONG),
            lambda it: it.receive_nothing(LONG),
        ],
    ),
    "nothing": (Script((ACCEPT,)), [connect, lambda it: it.receive_nothing()]),
    "an interval over the timeout": (
        Script((ACCEPT,)),
        [connect, lambda it: it.receive_nothing(0.01, 0.02)],
    ),
    "a close in place of a frame": (
        Script((ACCEPT, CLOSE_WITH_REASON, JSON_FRAME)),
        [
            connect,
            lambda it: it.receive_from(LONG),
            lambda it: it.receive_json_from(LONG),
        ],
    ),
    "a close received as an event": (
        Script((ACCEPT, JSON_FRAME, CLOSE_WITH_REASON)),
        [connect, lambda it: it.receive_from(LONG), lambda it: it.receive_output(LONG)],
    ),
    "disconnected twice": (
        Script((ACCEPT, JSON_FRAME)),
        [
            connect,
            lambda it: it.receive_from(LONG),
            lambda it: it.disconnect(4000, LONG),
            lambda it: it.disconnect(code=4000),
            lambda it: it.wait(),
            lambda it: it.stop(),
        ],
    ),
    "stopped": (
        Script((ACCEPT,)),
        [connect, lambda it: it.stop(), wait_for_end, lambda it: it.stop()],
    ),
    "wait until the timeout expires": (
        Script((ACCEPT,)),
        [connect, lambda it: it.wait(SHORT), lambda it: it.receive_output(SHORT)],
    ),
    "text that is not JSON": (
        Script((ACCEPT, FRAME)),
        [connect, lambda it: it.receive_json_from(LONG)],
    ),
    "bytes in place of JSON": (
        Script((ACCEPT, BYTES_FRAME)),
        [connect, lambda it: it.receive_json_from(LONG)],
    ),
    "nothing to send": (Script((ACCEPT,)), [connect, lambda it: it.send_to()]),
    "two things to send": (
        Script((ACCEPT,)),
        [connect, lambda it: it.send_to("text", b"bytes")],
    ),
    "bytes sent as text": (
        Script((ACCEPT,)),
        [connect, lambda it: it.send_to(text_data=b"bytes")],
    ),
    "text sent as bytes": (
        Script((ACCEPT,)),
        [connect, lambda it: it.send_to(bytes_data="text")],
    ),
    "an object that is not JSON-serializable": (
        Script((ACCEPT,)),
        [connect, lambda it: it.send_json_to({1, 2})],
    ),
}


@each_kind
@pytest.mark.parametrize("name", ACCEPTED)
async def test_an_accepted_connection_works_as_with_the_parent(
    name: str, kind: Kind
) -> None:
    script, steps = ACCEPTED[name]
    await assert_same(scripted(script, kind), *steps)


async def test_a_second_handshake_response_is_handled_as_by_the_parent() -> None:
    application = scripted(Script((ACCEPT, ACCEPT, CLOSE_WITH_REASON)), "asgi")
    await assert_same(application, connect, connect, connect)


@pytest.mark.parametrize("receive", ["receive_from", "receive_json_from"])
@pytest.mark.parametrize(
    "event",
    [
        send(),
        send(text="1", bytes=b"1"),
        send(text=None),
        send(text=1),
        send(bytes="1"),
        send(bytes=bytearray(b"1")),
        send(text="NaN"),
        send(text=""),
        UNKNOWN,
        {},
        None,
        "websocket.send",
    ],
    ids=str,
)
async def test_a_malformed_frame_fails_as_with_the_parent(
    event: object, receive: str
) -> None:
    await assert_same(
        scripted(Script((ACCEPT, event, JSON_FRAME)), "asgi"),
        connect,
        lambda it: getattr(it, receive)(LONG),
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"headers": None},
        {"headers": [("a", "b")]},
        {"subprotocol": 5},
        {"subprotocol": ""},
    ],
    ids=str,
)
async def test_a_malformed_accept_is_handled_as_by_the_parent(
    keys: dict[str, object],
) -> None:
    await assert_same(scripted(Script((accept(**keys),)), "asgi"), connect)


LATER_CALLS: dict[str, Step] = {
    "connect": lambda it: it.connect(SHORT),
    "receive_output": lambda it: it.receive_output(SHORT),
    "receive_from": lambda it: it.receive_from(SHORT),
    "receive_json_from": lambda it: it.receive_json_from(timeout=SHORT),
    "receive_nothing": lambda it: it.receive_nothing(),
    "send_input": lambda it: it.send_input({"type": "websocket.receive", "text": "1"}),
    "send_to": lambda it: it.send_to(bytes_data=b"1"),
    "send_json_to": lambda it: it.send_json_to({}),
    "disconnect": lambda it: it.disconnect(timeout=SHORT),
    "wait": lambda it: it.wait(SHORT),
    "stop": lambda it: it.stop(),
    "stop without exceptions": lambda it: it.stop(exceptions=False),
}


each_later_call = pytest.mark.parametrize("name", LATER_CALLS)


@each_later_call
@each_kind
@pytest.mark.parametrize("ending", ["raise", "return"])
async def test_calls_after_the_end_of_the_application_work_as_with_the_parent(
    name: str, kind: Kind, ending: Literal["raise", "return"]
) -> None:
    # Without a frame: connect() reads past it, which the parent does not do.
    unread = () if name == "connect" else (JSON_FRAME,)
    await assert_same(
        scripted(Script((ACCEPT, *unread), ending), kind),
        lambda it: it.send_input(CONNECT),
        wait_for_end,
        LATER_CALLS[name],
        LATER_CALLS[name],
        LATER_CALLS[name],
    )


@each_later_call
async def test_calls_after_a_timeout_work_as_with_the_parent(
    name: str,
) -> None:
    await assert_same(
        scripted(Script((ACCEPT,)), "asgi"),
        connect,
        lambda it: it.receive_output(0.01),
        LATER_CALLS[name],
        LATER_CALLS[name],
    )


@each_later_call
async def test_calls_before_the_start_of_the_application_work_as_with_the_parent(
    name: str,
) -> None:
    await assert_same(
        scripted(Script((ACCEPT, CLOSE_WITH_REASON)), "asgi"), LATER_CALLS[name]
    )


@pytest.mark.parametrize("timeout", [0, 0.01, 1, None])
async def test_queued_events_are_returned_whatever_the_timeout(
    timeout: float | None,
) -> None:
    await assert_same(
        scripted(Script((ACCEPT, JSON_FRAME, CLOSE_WITH_REASON), "return"), "asgi"),
        lambda it: it.send_input(CONNECT),
        wait_for_end,
        lambda it: it.receive_output(timeout),
        lambda it: it.receive_from(timeout=timeout),
        lambda it: it.receive_output(timeout),
    )


# The failure texts of Channels.


@pytest.mark.parametrize(
    ("sent", "name", "text"),
    [
        (
            CLOSE_WITH_REASON,
            "receive_from",
            "Expected type 'websocket.send', but was '{type}'",
        ),
        (
            send(text="1", bytes=b"1"),
            "receive_from",
            "The response needs exactly one of 'text' or 'bytes'",
        ),
        (
            send(text=1),
            "receive_from",
            "Text frame payload is not str, it is <class 'int'>",
        ),
        (
            send(bytes="1"),
            "receive_from",
            "Binary frame payload is not bytes, it is <class 'str'>",
        ),
        (
            send(bytes=b"1"),
            "receive_json_from",
            "JSON data is not a text frame, it is <class 'bytes'>",
        ),
        (
            send(text="]"),
            "receive_json_from",
            "Expecting value: line 1 column 1 (char 0)",
        ),
    ],
)
async def test_the_failure_texts_of_channels_are_unchanged(
    sent: Event, name: str, text: str
) -> None:
    application = scripted(Script((ACCEPT, sent)), "async")
    messages = []
    for communicator_class in (WebsocketCommunicator, RecordingWebsocketCommunicator):
        communicator = communicator_class(application, "/ws/")
        await communicator.connect()
        messages.append(str(await failure(getattr(communicator, name)())))
        await communicator.disconnect()
    parents, ours = messages
    assert ours == text.format(**sent) if "type}" in text else text
    assert parents == ours


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "You must supply exactly one of text_data or bytes_data"),
        (("a", b"b"), "You must supply exactly one of text_data or bytes_data"),
        ((b"a",), "The text_data argument must be a str"),
        ((None, "b"), "The bytes_data argument must be bytes"),
    ],
)
async def test_the_failure_texts_of_send_to_are_unchanged(
    arguments: tuple[Any, ...], text: str
) -> None:
    assert await message(client().send_to(*arguments)) == text

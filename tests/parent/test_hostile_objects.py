"""Events and scopes may be any objects, also such that support no operation."""

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, FRAME, Event, close, send
from tests.helpers import (
    SHORT,
    CommunicatorClass,
    both_classes,
    failure,
    ignore_undeliverable,
)
from tests.hostile import HOSTILE
from tests.parent.applications import connected, sending


@both_classes
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


@both_classes
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


class RefusesGet(dict[str, Any]):
    def get(self, *args: object) -> NoReturn:
        raise RuntimeError("no get()")


class RefusesContains(dict[str, Any]):
    def __contains__(self, key: object) -> NoReturn:
        raise RuntimeError("no membership")


class RefusesComparison(list[Any]):
    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("no comparison")


class RefusesIteration(list[Any]):
    def __iter__(self) -> NoReturn:
        raise RuntimeError("no iteration")


class HostileText(str):
    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("no comparison")

    __ne__ = __eq__
    __hash__ = str.__hash__


def having(**keys: object) -> Callable[[dict[str, Any]], object]:
    return lambda scope: {**scope, **keys}


SCOPES: dict[str, Callable[[dict[str, Any]], object]] = {
    "get() raises": RefusesGet,
    "in raises": RefusesContains,
    "subprotocols without ==": having(subprotocols=RefusesComparison(["chat"])),
    "subprotocols without iter()": having(subprotocols=RefusesIteration(["chat"])),
    "a subprotocol without ==": having(subprotocols=[HostileText("chat")]),
    "a hostile subprotocol": having(subprotocols=[HOSTILE]),
    "hostile subprotocols": having(subprotocols=HOSTILE),
    "hostile headers": having(subprotocols=[], headers=[HOSTILE, (HOSTILE, HOSTILE)]),
    "a hostile path": having(path=HOSTILE),
    "a hostile user": having(user=HOSTILE, session=HOSTILE),
    "a hostile object": lambda scope: HOSTILE,
    "None": lambda scope: None,
}

each_scope = pytest.mark.parametrize("make", SCOPES.values(), ids=SCOPES)


def with_scope(
    communicator_class: CommunicatorClass, make: Callable[[Any], Any], *events: object
) -> Any:
    communicator = communicator_class(sending(*events), "/")
    communicator.scope = make(communicator.scope)
    return communicator


@both_classes
@each_scope
async def test_no_scope_fails_a_call(
    communicator_class: CommunicatorClass, make: Callable[[Any], Any]
) -> None:
    communicator = with_scope(communicator_class, make, ACCEPT, FRAME)
    assert await communicator.connect() == (True, None)
    assert await communicator.receive_from() == "hello"
    await communicator.send_input({"type": "websocket.receive", "text": HOSTILE})
    error = await failure(communicator.receive_from(SHORT))
    assert type(error) is TimeoutError


@ignore_undeliverable
@each_scope
async def test_no_scope_masks_the_exception_of_a_block(
    make: Callable[[Any], Any],
) -> None:
    error = ValueError("boom")
    communicator = with_scope(RecordingWebsocketCommunicator, make, FRAME, ACCEPT)

    async def use() -> None:
        async with communicator:
            assert await communicator.connect() == (True, None)
            assert communicator.pre_close_messages == ["hello"]
            # As a test does between its calls; the scope stays as hostile.
            communicator.scope = make({"type": "websocket", "path": "/"})
            raise error

    assert await failure(use()) is error


@each_scope
async def test_no_scope_fails_a_strict_call(make: Callable[[Any], Any]) -> None:
    communicator = with_scope(RecordingWebsocketCommunicator, make, close())
    communicator.strict = True
    faults = []
    if make is SCOPES["hostile headers"]:
        with pytest.raises(AssertionError, match="headers that are not pairs of bytes"):
            await communicator.connect()
        faults = ["Pass headers as a list of pairs of bytes"]
    else:
        assert await communicator.connect() == (False, 1000)
    await communicator.disconnect()
    assert str(communicator.transcript) and repr(communicator)
    assert communicator.client_view.status == 403
    assert [found.remedy for found in communicator.undeliverable] == faults

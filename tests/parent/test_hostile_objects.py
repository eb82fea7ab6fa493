"""Events and scopes may hold, or be, objects that support no operation."""

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE, FRAME, close, send
from tests.helpers import (
    SHORT,
    CommunicatorClass,
    both_classes,
    failure,
    ignore_undeliverable,
)
from tests.hostile import HOSTILE
from tests.parent.applications import sending


@both_classes
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
    await communicator.send_to("text")
    error = await failure(communicator.receive_from(SHORT))
    assert type(error) is TimeoutError


@ignore_undeliverable
@each_scope
async def test_no_scope_fails_a_connect_that_reads_past_a_frame(
    make: Callable[[Any], Any],
) -> None:
    communicator = with_scope(RecordingWebsocketCommunicator, make, FRAME, CLOSE)
    assert await communicator.connect() == (False, 4401)
    assert communicator.pre_close_messages == ["hello"]
    await communicator.disconnect()


@each_scope
async def test_no_scope_masks_the_exception_of_a_block(
    make: Callable[[Any], Any],
) -> None:
    error = ValueError("boom")
    communicator = with_scope(RecordingWebsocketCommunicator, make, ACCEPT, FRAME)

    async def use() -> None:
        async with communicator:
            await communicator.connect()
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

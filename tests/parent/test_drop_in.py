"""
The same steps have the same outcomes, and leave the same state, as with the parent.

A step is a call, or the use of an attribute, as in public test suites.
"""

import asyncio
from contextlib import suppress
from typing import Any
from unittest.mock import AsyncMock

import pytest
from asgiref.typing import ASGI3Application

from tests.events import (
    ACCEPT,
    BYTES_FRAME,
    CLOSE,
    CLOSE_WITH_REASON,
    CONNECT,
    DISCONNECT,
    FRAME,
    JSON_FRAME,
    UNKNOWN,
    accept,
    send,
)
from tests.helpers import LONG, SHORT, each_kind
from tests.parent.applications import echo, scope_reader, sending
from tests.scripts import Kind, Script, scripted
from tests.steps import Step, assert_same, connect, receive, wait_for_end


@pytest.mark.parametrize(
    "events",
    [
        [accept(headers=None)],
        [accept(headers=[("a", "b")])],
        [accept(subprotocol=5)],
        [accept(subprotocol="")],
        [ACCEPT, ACCEPT, CLOSE_WITH_REASON],
    ],
    ids=str,
)
async def test_unusual_handshake_responses(events: list[object]) -> None:
    await assert_same(sending(*events), *[connect] * len(events))


#: What an application sends after it has accepted, and the steps after connect().
ACCEPTED: dict[str, tuple[list[object], list[Step]]] = {
    "frames, of which some are not received": (
        [JSON_FRAME, BYTES_FRAME, FRAME, JSON_FRAME],
        [
            lambda it: it.receive_json_from(LONG),
            lambda it: it.receive_from(timeout=LONG),
            receive,
            lambda it: it.receive_nothing(LONG),
        ],
    ),
    "nothing": ([], [lambda it: it.receive_nothing()]),
    "an interval over the timeout": ([], [lambda it: it.receive_nothing(0.01, 0.02)]),
    "a close in place of a frame": (
        [CLOSE_WITH_REASON, JSON_FRAME],
        [lambda it: it.receive_from(LONG), lambda it: it.receive_json_from(LONG)],
    ),
    "a close received as an event": (
        [JSON_FRAME, CLOSE_WITH_REASON],
        [lambda it: it.receive_from(LONG), receive],
    ),
    "cleaned up after the close, several times": (
        [CLOSE],
        [
            receive,
            lambda it: it.send_input({"type": "websocket.disconnect", "code": 4401}),
            lambda it: it.wait(),
            lambda it: it.wait(timeout=SHORT),
            lambda it: it.disconnect(),
            lambda it: it.disconnect(code=1001, timeout=SHORT),
            lambda it: it.stop(exceptions=False),
        ],
    ),
    "text that is not JSON": ([FRAME], [lambda it: it.receive_json_from(LONG)]),
    "bytes in place of JSON": ([BYTES_FRAME], [lambda it: it.receive_json_from(LONG)]),
    "nothing to send": ([], [lambda it: it.send_to()]),
    "two things to send": ([], [lambda it: it.send_to("text", b"bytes")]),
    "bytes sent as text": ([], [lambda it: it.send_to(text_data=b"bytes")]),
    "text sent as bytes": ([], [lambda it: it.send_to(bytes_data="text")]),
    "what JSON cannot encode": ([], [lambda it: it.send_json_to({1, 2})]),
}


@each_kind
@pytest.mark.parametrize("name", ACCEPTED)
async def test_an_accepted_connection(name: str, kind: Kind) -> None:
    events, steps = ACCEPTED[name]
    await assert_same(scripted(Script((ACCEPT, *events)), kind), connect, *steps)


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
async def test_malformed_frames(event: object, receive: str) -> None:
    await assert_same(
        sending(ACCEPT, event, JSON_FRAME),
        connect,
        lambda it: getattr(it, receive)(LONG),
    )


@pytest.mark.parametrize("timeout", [0, 0.01, 1, None])
async def test_queued_events_are_received_whatever_the_timeout(
    timeout: float | None,
) -> None:
    await assert_same(
        sending(ACCEPT, JSON_FRAME, CLOSE_WITH_REASON, ending="return"),
        lambda it: it.send_input(CONNECT),
        wait_for_end,
        lambda it: it.receive_output(timeout),
        lambda it: it.receive_from(timeout=timeout),
        lambda it: it.receive_output(timeout),
    )


# Calls at another time than usual.

CALLS: dict[str, Step] = {
    "connect": lambda it: it.connect(SHORT if it._future else LONG),
    "receive_output": lambda it: it.receive_output(SHORT),
    "receive_from": lambda it: it.receive_from(SHORT),
    "receive_json_from": lambda it: it.receive_json_from(timeout=SHORT),
    "receive_nothing": lambda it: it.receive_nothing(),
    "send_input": lambda it: it.send_input(CONNECT),
    "send_to": lambda it: it.send_to(bytes_data=b"1"),
    "send_json_to": lambda it: it.send_json_to({}),
    "disconnect": lambda it: it.disconnect(timeout=SHORT),
    "wait": lambda it: it.wait(SHORT),
    "stop": lambda it: it.stop(),
    "stop without exceptions": lambda it: it.stop(exceptions=False),
}


async def start_and_end(it: Any) -> None:
    await it.send_input(CONNECT)
    await asyncio.wait([it.future])


def cancel_soon(it: Any) -> None:
    asyncio.get_running_loop().call_soon(it.future.cancel, "why")


#: What an application does, and the steps before the call.
TIMES: dict[str, tuple[Script, list[Step]]] = {
    "before the start": (Script((ACCEPT, CLOSE, CLOSE)), []),
    "after a crash": (Script((ACCEPT, CLOSE), "raise"), [start_and_end]),
    "after a return": (Script((ACCEPT, CLOSE), "return"), [start_and_end]),
    "after a timeout": (
        Script((ACCEPT,)),
        [connect, lambda it: it.receive_output(0.01)],
    ),
    "after a cancellation": (
        Script((ACCEPT,)),
        [connect, lambda it: it.future.cancel("why"), wait_for_end],
    ),
    "during a cancellation": (Script((ACCEPT,)), [connect, cancel_soon]),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("time", "kind"),
    [*[(it, "asgi") for it in TIMES], ("after a crash", "sync")],
)
async def test_calls_at_any_time(time: str, kind: Kind, name: str) -> None:
    script, before = TIMES[time]
    await assert_same(scripted(script, kind), *before, *[CALLS[name]] * 3)


# Attributes, and calls of several tasks.


async def get_in_vain(it: Any) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(it.output_queue.get(), SHORT)


def spy(it: Any) -> None:
    it.send_input = AsyncMock(wraps=it.send_input)


def count_tasks(it: object) -> int:
    return len(asyncio.all_tasks())


def state(it: Any) -> object:
    future = it.future
    return type(future), future.done(), future.cancelled(), it._future is future


def other_scope(it: Any) -> None:
    it.scope = {"type": "websocket", "user": "Ada"}


def other_application(it: Any) -> None:
    it.application = sending(accept(subprotocol="other"))


#: With each call, send_input() is called once at most, and no task is left.
CONVERSATION: list[Step] = [
    lambda it: it.connect(),
    lambda it: it.send_to(text_data="hello"),
    lambda it: it.receive_from(),
    lambda it: it.send_to(bytes_data=b"hi\0"),
    lambda it: it.receive_from(),
    lambda it: it.send_json_to({"hello": "world"}),
    lambda it: it.receive_json_from(),
    lambda it: it.receive_nothing(),
    lambda it: it.disconnect(),
]

USES: dict[str, tuple[ASGI3Application, list[Step]]] = {
    "the output queue": (
        sending(ACCEPT, JSON_FRAME, JSON_FRAME, JSON_FRAME, CLOSE),
        [
            connect,
            lambda it: it.output_queue.qsize(),
            lambda it: it.output_queue.get(),
            lambda it: asyncio.wait_for(it.output_queue.get(), LONG),
            lambda it: it.receive_from(),
            lambda it: it.output_queue.get_nowait(),
            lambda it: it.output_queue.empty(),
            get_in_vain,
        ],
    ),
    "the input queue": (
        echo,
        [lambda it: it.input_queue.put_nowait(CONNECT), receive],
    ),
    "the future": (
        echo,
        [
            lambda it: it._future,
            connect,
            state,
            lambda it: it.send_input(DISCONNECT),
            lambda it: it.future,
            state,
        ],
    ),
    "the scope": (
        scope_reader,
        [
            lambda it: it.scope.update({"user": "Ada", "url_route": {"kwargs": {}}}),
            connect,
            lambda it: it.scope["keys"],
            lambda it: it.scope["id"] == id(it.scope),
        ],
    ),
    "another scope": (
        scope_reader,
        [other_scope, connect, lambda it: it.scope["keys"]],
    ),
    "another application": (echo, [other_application, connect]),
    "a conversation": (
        echo,
        [
            spy,
            *[step for call in CONVERSATION for step in (call, count_tasks)],
            lambda it: it.send_input.await_args_list,
        ],
    ),
}


@pytest.mark.parametrize("name", USES)
async def test_attributes_and_tasks(name: str) -> None:
    application, steps = USES[name]
    await assert_same(application, *steps)

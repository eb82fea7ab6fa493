"""What the test sends: the scope that the client asks for, its events, and its end."""

from collections import UserDict
from typing import Any

import pytest

from channels_closetest.recording import event_type
from channels_closetest.servers.connection import Client, client_of
from channels_closetest.servers.rules import DAPHNE_LARGEST_FRAME
from tests.events import (
    ACCEPT,
    BODY,
    CONNECT,
    DENIAL,
    DISCONNECT,
    FRAME,
    PART,
    Event,
    accept,
    close,
)
from tests.helpers import having_sent
from tests.hostile import HostileMapping, UnhashableText
from tests.servers.cases import CLOSE_4000
from tests.servers.replaying import FROM_TEST, replay
from tests.servers.test_findings import AFTER_CLOSE, BEFORE_ACCEPT, LOST

# What no client can send.


def receive(**keys: object) -> Event:
    return {"type": "websocket.receive", **keys}


RECEIVE = receive(text="hello")
LARGE = "x" * DAPHNE_LARGEST_FRAME
MESSAGE = {"type": "chat.message", "text": "hello"}
CANNOT = "no client can send that"
TOO_EARLY = f"a frame before the handshake is accepted: {CANNOT}"
TOO_LATE = f"a frame after the test has disconnected: {CANNOT}"
SECOND = f"a second websocket.connect: {CANNOT}"
SECOND_ACCEPT = (
    "a second accept(): the client receives close code 1011 on Daphne and Hypercorn,"
    " close code 1006 on Uvicorn"
)
TOO_LARGE = "a frame larger than 1 MiB: the client receives close code 1006 on Daphne"


@pytest.mark.parametrize(
    ("events", "outcomes"),
    [
        ([RECEIVE], [TOO_EARLY]),
        ([CONNECT, RECEIVE], [TOO_EARLY]),
        ([CONNECT, close(), RECEIVE], [TOO_EARLY]),
        ([CONNECT, ACCEPT, RECEIVE, RECEIVE], []),
        # The client has not received the close yet.
        ([CONNECT, ACCEPT, CLOSE_4000, RECEIVE], []),
        # The frame is not blamed for what the application sent before accept.
        ([CONNECT, FRAME, ACCEPT, RECEIVE], [BEFORE_ACCEPT, LOST]),
        ([CONNECT, DISCONNECT, RECEIVE], [TOO_LATE]),
        ([CONNECT, ACCEPT, DISCONNECT, RECEIVE], [TOO_LATE]),
        ([CONNECT, close(), DISCONNECT, RECEIVE], [TOO_LATE]),
        ([CONNECT, MESSAGE, ACCEPT, DISCONNECT, DISCONNECT, MESSAGE], []),
        ([CONNECT, ACCEPT, receive(text=LARGE)], []),
        *(
            ([CONNECT, ACCEPT, frame, FRAME], [TOO_LARGE, f"{LOST} on Daphne"])
            for frame in (
                receive(text=LARGE + "x"),
                receive(bytes=LARGE.encode() + b"x"),
            )
        ),
        # What follows a second connect is due to the test, and not to the application.
        ([CONNECT, ACCEPT, CONNECT, ACCEPT, FRAME], [SECOND]),
        ([CONNECT, ACCEPT, CONNECT, CONNECT, ACCEPT, FRAME], [SECOND, SECOND]),
        *(
            ([CONNECT, *events, CONNECT, event], [SECOND])
            for events in ([close()], [ACCEPT, CLOSE_4000])
            for event in (ACCEPT, FRAME, CLOSE_4000, {"type": "unknown"})
        ),
        ([CONNECT, CONNECT, FRAME], [SECOND]),
        ([CONNECT, ACCEPT, CONNECT, ACCEPT, ACCEPT], [SECOND]),
        ([CONNECT, ACCEPT, ACCEPT, CONNECT], [SECOND_ACCEPT, SECOND]),
        ([CONNECT, close(), FRAME, CONNECT], [AFTER_CLOSE, SECOND]),
    ],
)
def test_what_the_test_has_sent_is_undeliverable_if_no_client_can_send_it(
    events: list[Event], outcomes: list[str]
) -> None:
    replayed = replay(*events)
    found = replayed.undeliverable()
    assert [it.outcome for it in found] == outcomes
    for finding in replayed.findings:
        kind = event_type(finding.undeliverable.event)
        assert finding.is_from_test is (kind in FROM_TEST)


@pytest.mark.parametrize("first", [[ACCEPT], [ACCEPT, FRAME, CLOSE_4000], [close()]])
def test_what_the_test_has_done_wrong_changes_nothing_for_a_client(
    first: list[Event],
) -> None:
    before = replay(CONNECT, *first).client_view()
    assert replay(CONNECT, *first, CONNECT, ACCEPT).client_view() == before


NO_PAIRS = "headers that are not pairs of bytes"
NO_LOWER_CASE = "headers with names that are not in lower case"
NO_SLASH = "a path without a leading slash"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"headers": []}, ""),
        ({"headers": None}, ""),
        ({"headers": {}}, ""),
        ({"headers": [(b"origin", b"http://LOCALHOST")]}, ""),
        ({"headers": [[b"origin", b"http://localhost"]]}, ""),
        ({"headers": {b"origin": b"http://localhost"}.items()}, ""),
        ({"headers": iter([("origin", "http://localhost")])}, ""),
        ({"headers": [(b"x-1", b"1"), [b"Origin", b"x"]]}, NO_LOWER_CASE),
        ({"headers": [("Origin", "http://localhost")]}, NO_PAIRS),
        ({"headers": [(b"origin", "http://localhost")]}, NO_PAIRS),
        ({"headers": [b"origin"]}, NO_PAIRS),
        ({"headers": {b"origin": b"http://localhost"}}, NO_PAIRS),
        ({"path": "/ws/"}, ""),
        ({"path": None}, ""),
        ({"path": "ws/"}, NO_SLASH),
        ({"path": ""}, NO_SLASH),
        ({}, ""),
        (None, ""),
        (HostileMapping(), ""),
    ],
)
def test_a_request_is_undeliverable_if_no_client_can_make_it(
    keys: object, found: str
) -> None:
    findings = replay(CONNECT, ACCEPT, client=client_of(keys)).findings
    assert [it.description for it in findings] == [found] * bool(found)


def test_headers_that_can_be_read_once_are_left_to_the_application() -> None:
    pair = (b"sec-websocket-protocol", b"x")
    headers = iter([pair])
    assert client_of({"headers": headers}) == Client(())
    replay(accept(headers=headers))
    replay(accept(headers=[headers]))
    assert list(headers) == [pair]


# The subprotocols that the client offers.

PROTOCOL = b"sec-websocket-protocol"


@pytest.mark.parametrize(
    ("scope", "offered"),
    [
        ({"subprotocols": ["x", "y"]}, ("x", "y")),
        ({"subprotocols": ("x",)}, ("x",)),
        (UserDict({"subprotocols": ["x"]}), ("x",)),
        ({"subprotocols": ["x", 1, None, UnhashableText("y")]}, ("x", "y")),
        *(({"subprotocols": it}, ()) for it in ("xy", None)),
        ({}, ()),
        (None, ()),
        ("subprotocols", ()),
        (HostileMapping(), ()),
        # Or else they are where a server reads them.
        ({"headers": [(PROTOCOL, b"x")]}, ("x",)),
        ({"headers": [(b"Sec-WebSocket-Protocol", b" x ,y,, ")]}, ("x", "y")),
        (
            {"headers": [(PROTOCOL, b"x"), (b"host", b"z"), (PROTOCOL, b"y")]},
            ("x", "y"),
        ),
        ({"subprotocols": [], "headers": [(PROTOCOL, b"x")]}, ("x",)),
        ({"subprotocols": ["y"], "headers": [(PROTOCOL, b"x")]}, ("y",)),
        ({"headers": [("sec-websocket-protocol", "x")]}, ()),
        *(({"headers": it}, ()) for it in ([(PROTOCOL, "x")], [b"x"], None, 5)),
    ],
)
def test_the_subprotocols_of_any_scope_can_be_read(
    scope: Any, offered: tuple[str, ...]
) -> None:
    read = client_of(scope).offered
    assert read == offered
    assert {type(name) for name in read} <= {str}


async def test_the_subprotocols_offered_are_those_of_the_scope() -> None:
    communicator = await having_sent(accept(subprotocol="bearer"))
    assert len(communicator.undeliverable) == 1
    communicator.scope["headers"] = [(PROTOCOL, b"bearer, token")]
    assert communicator.undeliverable == []
    assert communicator.client_view.subprotocol == "bearer"
    assert "subprotocols bearer, token" in str(communicator.transcript)


# The client disconnects.


@pytest.mark.parametrize(
    ("events", "view"),
    [
        ([], (None, None, [], 1006, "")),
        ([DENIAL], (None, None, [], 1006, "")),
        ([DENIAL, PART], (401, None, [], 1006, "")),
        ([ACCEPT], (101, None, [], 1005, "")),
        ([ACCEPT, FRAME, CLOSE_4000], (101, None, ["hello"], 4000, "")),
        ([close()], (403, None, [], 1006, "")),
        ([DENIAL, BODY], (401, None, [], 1006, "")),
    ],
)
def test_a_client_that_has_disconnected_receives_nothing_more(
    events: list[Event], view: object
) -> None:
    left = {"type": "websocket.disconnect"}
    replayed = replay(
        *[*events, left, FRAME, CLOSE_4000, ACCEPT, {}, None],
        servers=["hypercorn"],
        ending="raised",
    )
    assert replayed.client_view() == view
    # The application cannot know.
    denied = "a denial response that is not completed"
    expected = [denied] if events in ([DENIAL], [DENIAL, PART]) else []
    assert [it.description for it in replayed.findings] == expected

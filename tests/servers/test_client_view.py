"""``client_view`` has plain values, is a snapshot, and can be read of any events."""

from random import Random

import pytest
from django.utils.functional import lazy, lazystr
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_closetest import ClientView, Transcript
from channels_closetest.servers.connection import Client
from channels_closetest.servers.replay import Replay
from channels_closetest.servers.rules import SERVERS
from channels_closetest.text.transcript import About
from tests.events import ACCEPT, DENIAL, FRAME, PART, Event, accept, close, send
from tests.hostile import Hostile, HostileMapping, UnhashableText
from tests.servers.cases import CLOSE_4000, Blob, Code, Name, ProtocolChoice
from tests.servers.replaying import advance, recorded, replay


def test_client_view_has_plain_values() -> None:
    events = [
        accept(subprotocol=ProtocolChoice.Y),
        send(text=Name("text")),
        send(text=lazystr("lazy")),
        send(text=lazystr("[1]")),
        send(bytes=memoryview(b"view")),
        send(bytes=Blob(b"blob")),
        close(code=Code.EXPIRED, reason=lazystr("why")),
    ]
    view = replay(*events, servers=["uvicorn"], client=Client(("y",))).client_view()
    types = [type(value) for value in (*view.messages[1:], *view[3:], view[1])]
    assert types == [str, list, bytes, bytes, int, str, str]
    assert view == (101, "y", ["text", "lazy", [1], b"view", b"blob"], 4401, "why")


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("events", [[], [DENIAL], [DENIAL, PART], [ACCEPT, FRAME]])
def test_the_client_does_not_see_that_the_application_is_cancelled(
    events: list[Event], server: str
) -> None:
    before = replay(*events, servers=[server]).client_view()
    after = replay(*events, servers=[server], ending="cancelled").client_view()
    assert after == before


# Judging works for every event.


def fail() -> str:
    raise RuntimeError("hostile")


VALUES: list[object] = [
    *[None, True, False, 0, 1, -1, 1.5, float("nan"), 1000, 1005, 4000, 10**5000],
    *["", "x", "NaN", "[" * 10_000, "\ud800", "r" * 124, UnhashableText("x")],
    *[b"", b"x", bytearray(b"x"), memoryview(b"x"), b"\xff" * 124],
    *[[], {}, (), [None], [("a",)], [(b"a", b"b")], [Hostile()], {"a": Hostile()}],
    *[Hostile(), lazy(fail, str)()],
]
TYPES = [
    *["websocket.accept", "websocket.send", "websocket.close"],
    *["websocket.http.response.start", "websocket.http.response.body"],
    *["websocket.receive", "unknown", UnhashableText("websocket.send")],
]
KEYS = [
    *["subprotocol", "headers", "text", "bytes", "code", "reason"],
    *["status", "body", "more_body"],
]


def hostile_event(random: Random) -> object:
    keys = {random.choice(KEYS): random.choice(VALUES) for _ in range(3)}
    return random.choice(
        [
            {"type": random.choice(TYPES), **keys},
            random.choice([ACCEPT, DENIAL, PART]),
            {"type": random.choice(VALUES)},
            random.choice(VALUES),
            HostileMapping(type="websocket.send"),
        ]
    )


@settings(max_examples=500, deadline=None)
@given(st.randoms(use_true_random=False))
def test_judging_never_raises(random: Random) -> None:
    events = [hostile_event(random) for _ in range(random.randrange(6))]
    recording = recorded(*events, ending=random.choice([None, "returned", "raised"]))
    servers, client = (random.choice(SERVERS),), Client(random.choice([(), ("x", "y")]))
    replayed = advance(Replay(servers, client), recording)
    assert isinstance(replayed.client_view(), ClientView)
    assert len({finding.position for finding in replayed.findings}) <= len(events)
    assert isinstance(str(Transcript(recording, About("/", servers, client))), str)


def test_a_client_view_and_a_list_of_the_undeliverable_are_snapshots() -> None:
    recording = recorded(ACCEPT, FRAME, send(text=""))
    replayed = advance(replay(), recording)
    view, undeliverable = replayed.client_view(), replayed.undeliverable()
    for event in (FRAME, CLOSE_4000, FRAME):
        recording.add("send", event)
    advance(replayed, recording)
    for _ in range(2):
        assert replayed.client_view() == (101, None, ["hello"] * 2, 4000, "")
        assert len(replayed.undeliverable()) == 2
        replayed.client_view().messages.clear()
        replayed.undeliverable().clear()
    assert view == (101, None, ["hello"], None, None)
    assert len(undeliverable) == 1


def test_the_first_events_can_be_judged_alone() -> None:
    recording = recorded(ACCEPT, FRAME, FRAME, ending="raised")
    first = replay()
    for until, messages, close_code in [(2, 1, None), (3, 2, 1011), (1, 2, 1011)]:
        first.advance(recording.records, until, recording.ending)
        view = first.client_view()
        assert (len(view.messages), view.close_code) == (messages, close_code)

"""How a finding describes what each client receives, and what is its consequence."""

from typing import Any

import pytest

from channels_closetest import Undeliverable
from channels_closetest.servers.rules import SERVERS
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
    send,
)
from tests.servers.cases import CLOSE_4000
from tests.servers.replaying import advance, recorded, replay

LOST = "lost: the connection had ended"
BEFORE_ACCEPT = "sent before accept(): the client receives HTTP 500"
AFTER_CLOSE = "sent after the connection had ended: the client receives nothing"
ALL = " ".join(SERVERS)
INCOMPLETE = "a denial response that is not completed"
NOT_BYTES = (
    "a bytearray, a memoryview or a subclass of bytes as bytes: the client receives"
)
VIEW = send(bytes=memoryview(b"b"))

#: By the servers that they are about, and the events.
OUTCOMES: list[tuple[str, list[Event], list[str]]] = [
    # Names the servers unless these are all, and groups those with the same outcome.
    ("uvicorn", [ACCEPT, VIEW], []),
    ("daphne", [ACCEPT, VIEW], [f"{NOT_BYTES} close code 1011"]),
    ("uvicorn daphne", [ACCEPT, VIEW], [f"{NOT_BYTES} close code 1011 on Daphne"]),
    (
        ALL,
        [accept(subprotocol="x")],
        [
            "accepted with a subprotocol that was not offered: the client receives no"
            " response: the connection is dropped on Daphne and Hypercorn, a response"
            " that Chromium rejects on Uvicorn"
        ],
    ),
    # Everything that is wrong with an event.
    (
        ALL,
        [ACCEPT, close(code=1006, reason="r" * 124)],
        [
            "a close code that no frame may contain: 1005, 1006 or 1015: the client"
            " receives close code 1011 on Daphne, close code 1006 on Uvicorn, close"
            " code 1000 on Hypercorn",
            "a reason longer than 123 bytes: the client receives the reason's first 123"
            " bytes on Hypercorn",
        ],
    ),
    # What follows an end by a finding is its consequence, but not what follows an end
    # by the application.
    ("daphne", [FRAME, ACCEPT, FRAME, CLOSE_4000], [BEFORE_ACCEPT, LOST, LOST, LOST]),
    (
        ALL,
        [ACCEPT, VIEW, CLOSE_4000, FRAME],
        [
            f"{NOT_BYTES} close code 1011 on Daphne",
            f"{LOST} on Daphne",
            f"{AFTER_CLOSE} on Uvicorn and Hypercorn",
            f"{LOST} on Daphne",
        ],
    ),
    *(
        (
            "uvicorn",
            [ACCEPT, close(code=code), FRAME],
            [f"{said}: the client receives close code 1006", AFTER_CLOSE],
        )
        for code, said in {
            1005: "a close code that no frame may contain: 1005, 1006 or 1015",
            2000: "an undefined close code",
        }.items()
    ),
    (
        "hypercorn",
        [DENIAL, FRAME],
        ["a malformed event: raises, or is lost, depending on the server"],
    ),
]


@pytest.mark.parametrize(("servers", "events", "outcomes"), OUTCOMES)
def test_an_outcome(servers: str, events: list[Event], outcomes: list[str]) -> None:
    replayed = replay(*events, servers=servers.split(), ending="returned")
    found = replayed.undeliverable()
    assert [it.outcome for it in found] == outcomes
    # strict and the report are about the causes alone.
    causes = [it for it in found if not it.outcome.startswith(LOST)]
    assert [it.undeliverable for it in replayed.findings] == causes
    assert all(it.remedy for it in causes)


def test_a_finding_has_its_event_and_the_remedy() -> None:
    events = [ACCEPT, VIEW, FRAME, accept(headers=["a"])]
    [found] = replay(*events, servers=["daphne"]).findings
    assert (found.position, found.servers) == (1, ("daphne",))
    assert found.undeliverable.event == VIEW
    assert found.undeliverable.remedy == "Convert it with bytes()"
    [_, lost, _] = replay(*events, servers=["daphne"]).undeliverable()
    assert lost == Undeliverable(FRAME, LOST, "")


@pytest.mark.parametrize(
    ("headers", "servers", "is_partial"),
    [
        ([(b"x-version", b"1")], ["daphne"], True),
        # Daphne leaves them out, Uvicorn and Hypercorn fail.
        ([("x-version", "1")], ["daphne"], True),
        ([("x-version", "1")], ["daphne", "uvicorn"], False),
        ([("x-version", "1")], ["hypercorn"], False),
    ],
)
def test_a_part_is_lost_if_the_rest_arrives_on_each_server(
    headers: object, servers: list[str], is_partial: bool
) -> None:
    found = replay(accept(headers=headers), servers=servers).findings[0]
    assert found.is_partial is is_partial
    assert found.servers == tuple(servers)


# Denial responses that are not completed.


@pytest.mark.parametrize("parts", [[], [PART], [PART, PART]], ids=len)
def test_a_denial_response_is_undeliverable_until_it_is_complete(
    parts: list[Event],
) -> None:
    recording = recorded(CONNECT, DENIAL, *parts)
    replayed = advance(replay(servers=["uvicorn"]), recording)
    assert replayed.undeliverable() == [
        Undeliverable(
            DENIAL,
            f"{INCOMPLETE}: the client receives no complete response",
            "Send a last body event, without more_body",
        )
    ]
    # There may be more to come: strict is not to fail in the middle of a response.
    assert replayed.findings == []
    recording.add("send", BODY)
    assert advance(replayed, recording).undeliverable() == []
    recording.end("returned")
    assert advance(replayed, recording).undeliverable() == []


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("ending", ["cancelled", "returned", "raised", None])
def test_a_denial_response_that_cannot_be_completed_any_more_is_a_finding(
    ending: Any, server: str
) -> None:
    events = [CONNECT, DENIAL, PART, *([] if ending else [DISCONNECT])]
    replayed = replay(*events, servers=[server], ending=ending)
    # Daphne has ignored it from its start.
    expected = "a denial response" if server == "daphne" else INCOMPLETE
    assert [(it.position, it.description) for it in replayed.findings] == [
        (1, expected)
    ]
    assert len(replayed.undeliverable()) == 1

"""Which row of the table of rules an event is about.

What each server does with it is compared with the servers: see ``test_servers.py``.
What a row says is in the table of the README: see ``documentation/test_readme.py``.
"""

import itertools
from collections import UserDict
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from django.utils.functional import lazystr

from channels_closetest.recording import event_type, is_lazy
from channels_closetest.servers.connection import Client
from channels_closetest.servers.rules import (
    DAPHNE_LARGEST_FRAME,
    ENDINGS,
    MALFORMED,
    NO_END,
    RULES,
    SERVERS,
    nothing,
    sent,
    unreported,
)
from tests.events import ACCEPT, BODY, DENIAL, FRAME, accept, body, close, send, start
from tests.servers import cases
from tests.servers.cases import CLOSE_4000, MORE_CASES, ROWS, Blob, Code, Name
from tests.servers.replaying import replay, replay_case

LARGE = "x" * DAPHNE_LARGEST_FRAME
NO_EVENTS: list[object] = [None, "text", {}, 5, {"type": None}]

INVALID_HEADERS: list[object] = [
    [(b"name", b"value", b"more")],
    [(b"name",)],
    [(b"name", b"value"), (b"name", b"value", b"more")],
    [(b"name", "value")],
    [("name", b"value")],
    ["a"],
    {b"name": b"value"},
    None,
]
#: What neither HTTP nor ASGI allows in a header, and what they allow.
FORBIDDEN = [
    *[(b"x-a", value) for value in (b"b\r\nc", b"b\x00c", b"b\x7f", b" b", b"b\t")],
    *[(name, b"b") for name in (b"x a", b":path", b"", b"x\xff")],
    *[(name, b"y") for name in (b"sec-websocket-protocol", b"Sec-WebSocket-Protocol")],
]
ALLOWED = [(b"x-a", value) for value in (b"b", b"", b"\xff", b"b\tc")]
VALID_HEADERS: list[object] = [*([it] for it in ALLOWED), ([b"X-A", b"b c"],)]

#: Events to which one row applies and no other, by the description of the row.
ABOUT: dict[str, list[list[Any]]] = {
    "sent before accept()": [[FRAME], [UserDict(FRAME)]],
    "closed with a code or reason before accept()": [
        [close(**keys)]
        for keys in ({"code": 0}, {"code": 1000}, {"code": 4401}, {"reason": "why"})
    ],
    "accepted with headers that are not pairs of bytes": [
        [accept(headers=headers)] for headers in INVALID_HEADERS
    ],
    "accepted with headers": [[accept(headers=headers)] for headers in VALID_HEADERS],
    "accepted with a subprotocol that was not offered": [[accept(subprotocol="x")]],
    "a second accept()": [[ACCEPT, ACCEPT]],
    "sent after the connection had ended": [
        [*events, FRAME]
        for events in (
            [close()],
            [DENIAL, BODY],
            [ACCEPT, CLOSE_4000],
            [ACCEPT, close(code=1000)],
        )
    ],
    MALFORMED: [
        *([accept(headers=[(b"x-first", b"1"), header])] for header in FORBIDDEN),
        *([start(status=401, headers=headers)] for headers in INVALID_HEADERS),
        *([start(status=401, headers=[header])] for header in FORBIDDEN),
        *([start(status=status, headers=[])] for status in ("401", 199, 600, None)),
        [start(headers=[])],
        *([*before, event] for before in ([], [DENIAL]) for event in NO_EVENTS),
        *([DENIAL, it] for it in (body(), body(body="no"), FRAME, close(), ACCEPT)),
    ],
    "": [
        [close()],
        [close(code=None, reason=None)],
        [close(reason="")],
        [accept(headers=[])],
        [accept(headers=())],
        *([start(status=401, headers=it), BODY] for it in ([], (), *VALID_HEADERS)),
    ],
}
ABOUT_OPEN: dict[str, list[Any]] = {
    "an event of unknown type": [{"type": "x"}, UserDict({"type": "x"})],
    "a frame with text and bytes": [
        send(text=text, bytes=b"b") for text in ("t", "NaN", "\ud800")
    ]
    + [send(text="1", bytes=b"")],
    "a payload of the wrong type": [send(text=5), send(text=b"t"), send(bytes="t")],
    "a lazy string as text": [send(text=lazystr("lazy"))],
    "an empty frame": [send(text=""), send(bytes=b"")],
    "a bytearray, a memoryview or a subclass of bytes as bytes": [
        *(send(bytes=make(b"b")) for make in (bytearray, memoryview, Blob)),
        send(text="", bytes=bytearray(b"b")),
    ],
    "NaN or Infinity, which are not JSON": [send(text="NaN"), send(text="[-Infinity]")],
    "a frame larger than 1 MiB": [
        send(text=LARGE + "x"),
        send(text="é" * (len(LARGE) // 2) + "x"),
        send(bytes=LARGE.encode() + b"x"),
        send(text="", bytes=LARGE.encode() + b"x"),
    ],
    "a close code that is not an int": [close(code="4000"), close(code=4000.0)],
    "a close code of a subclass of int": [close(code=Code.EXPIRED)],
    "a reason longer than 123 bytes": [
        close(code=4000, reason=reason)
        for reason in ("r" * 124, "é" * 62, lazystr("é" * 62))
    ],
    "closed with a reason": [close(reason="é" * 61), close(reason=lazystr("why"))],
    MALFORMED: [
        *NO_EVENTS,
        *[UserDict(text="t"), send(), send(text="\ud800"), close(reason=5)],
        *(close(code=it) for it in (True, False, None, "x", float("nan"))),
        close(code=float("inf")),
    ],
    "": [
        *[send(text=text) for text in (LARGE, '"NaN"', "NaN, no JSON", "[Infinity")],
        *[send(text="é" * (len(LARGE) // 2)), send(bytes=LARGE.encode())],
        *[send(text="", bytes=b"b"), send(text=0, bytes=b"b")],
        *[MappingProxyType(FRAME), close(reason="")],
    ],
}


def all_about() -> list[tuple[str, list[Any]]]:
    """Return the description and the events of each test."""
    is_open = [(it, [ACCEPT, event]) for it, of in ABOUT_OPEN.items() for event in of]
    return [(it, events) for it, of in ABOUT.items() for events in of] + is_open


@pytest.mark.parametrize(("description", "events"), all_about())
def test_a_row_applies(description: str, events: list[Any]) -> None:
    # Daphne ignores all of a denial response, which is a row of its own.
    is_denial = event_type(events[0]) == DENIAL["type"]
    found = replay(*events, servers=SERVERS[1:] if is_denial else SERVERS).findings
    assert [it.description for it in found] == [description] * bool(description)


#: RFC 6455 section 7.4, and the IANA registry that it establishes.
CLOSE_CODES = {
    "": {1000, 1011, *range(3000, 5000)},
    "a close code that no frame may contain: 1005, 1006 or 1015": {1005, 1006, 1015},
    "a close code reserved for servers and libraries: 1001 to 1014": (
        {*range(1001, 1015)} - {1004, 1005, 1006, 1011}
    ),
    MALFORMED: {-1, 65536, 10**6},
}


def test_close_codes_are_those_of_rfc_6455() -> None:
    described = {code: it for it, codes in CLOSE_CODES.items() for code in codes}
    for code in {-1, *range(5100), 65535, *described}:
        found = [it.description for it in replay(ACCEPT, close(code=code)).findings]
        expected = described.get(code, "an undefined close code")
        assert (code, found) == (code, [expected] * bool(expected))


@pytest.mark.parametrize(
    ("code", "close_with"),
    [
        *[(code, "close()") for code in (1000, 1011, 3000, 4999)],
        *[
            (code, "close() with a code from 3000 to 4999")
            for code in (403, 1005, 1008, 2000, 5000, 10**6, "4401", Code.EXPIRED)
        ],
    ],
)
def test_the_remedy_for_a_close_before_accept_names_codes_that_arrive(
    code: object, close_with: str
) -> None:
    [found] = replay(close(code=code)).undeliverable()
    assert found.remedy == (
        f"Call accept() first, then {close_with}: only then does the client receive"
        " them"
    )
    # With the code that it names, nothing is left to find.
    arrives = "with a code" not in close_with
    assert (replay(ACCEPT, close(code=code)).findings == []) is arrives


class Type(str, Enum):
    ACCEPT = "websocket.accept"
    SEND = "websocket.send"
    CLOSE = "websocket.close"


@pytest.mark.parametrize("mapping", [dict, UserDict, MappingProxyType])
def test_an_event_may_be_any_mapping_and_its_type_a_member_of_an_enum(
    mapping: Any,
) -> None:
    events = [
        accept(type=Type.ACCEPT, subprotocol="x"),
        send(type=Type.SEND, text="[1]"),
    ]
    events += [send(bytes=b"b"), close(type=Type.CLOSE, code=4000, reason="why")]
    client = Client(("x",))
    replayed = replay(*map(mapping, events), servers=["uvicorn"], client=client)
    assert replayed.client_view() == (101, "x", [[1], b"b"], 4000, "why")
    assert replayed.undeliverable() == []
    denied = replay(*map(mapping, [DENIAL, BODY]), servers=["uvicorn"])
    assert denied.client_view() == (401, None, [], 1006, "")


def test_other_classes_of_the_name_promise_are_not_lazy_strings() -> None:
    class Promise:
        pass

    assert is_lazy(lazystr("x"))
    assert not any(map(is_lazy, (Promise(), "x", None, Name("x"))))


# The table.


def test_client_view_goes_on_after_a_malformed_event_as_if_it_had_raised() -> None:
    for phase, (raises, _) in ENDINGS.items():
        as_if_raised = [effect.outcome for effect in raises]
        for rule in itertools.chain(*RULES[phase].values()):
            if rule.description == MALFORMED:
                effects = rule.daphne, rule.uvicorn, rule.hypercorn
                for effect, outcome in zip(effects, as_if_raised, strict=True):
                    ends_it = effect.is_error and effect.outcome == outcome
                    assert ends_it or effect in (sent, nothing, unreported)


def test_the_rules_of_a_phase_have_distinct_descriptions() -> None:
    for rules in itertools.chain(*(kinds.values() for kinds in RULES.values())):
        described = [it.description for it in rules if it.description != MALFORMED]
        assert all(described) and len(set(described)) == len(described)


def test_every_rule_and_every_ending_is_covered_by_a_case_that_the_servers_perform(
    rules_asked: list[tuple[str, str, str]],
) -> None:
    ended = set()
    for case in (ROWS | MORE_CASES | cases.MALFORMED).values():
        replay_case(case)
        replay_case(case, task=1)
        waiting = case._replace(script=case.script._replace(ending="wait"))
        for server in SERVERS:
            phase = replay_case(waiting, servers=[server]).connection.phase
            ended.add((phase, case.script.ending))
    assert ended >= set(itertools.product(ENDINGS, cases.ENDINGS))
    rules = {
        (phase, kind, rule.description)
        for phase, kinds in RULES.items()
        for kind, rules in kinds.items()
        for rule in rules
        if kind != NO_END  # it is about no event
    }
    assert rules - set(rules_asked) == set()

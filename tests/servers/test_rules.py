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

from channels_closetest.recording import event_type
from channels_closetest.servers.connection import Client
from channels_closetest.servers.replay import Replay
from channels_closetest.servers.rules import (
    ENDINGS,
    MALFORMED,
    NO_END,
    RULES,
    SERVERS,
    Rule,
    nothing,
    sent,
)
from tests.events import ACCEPT, BODY, DENIAL, accept, close, send
from tests.servers import cases
from tests.servers.cases import BY_ROW, MORE_CASES, ROWS, Code
from tests.servers.replaying import replay, replay_case


@pytest.mark.parametrize(
    ("row", "number"),
    [(row, number) for row, of in BY_ROW.items() for number in range(len(of))],
)
def test_a_row_applies(row: str, number: int) -> None:
    case = BY_ROW[row][number]
    # Daphne ignores all of a denial response, which is a row of its own.
    is_denial = event_type(case.script.events[0]) == DENIAL["type"]
    found = replay_case(case, SERVERS[1:] if is_denial else SERVERS).findings
    assert {it.description for it in found} == {row} - {""}


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
    remedy = f"Call close() without them, or accept() first, then {close_with}"
    assert found.remedy == remedy
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


# The table.


def test_client_view_goes_on_after_a_malformed_event_as_if_it_had_raised() -> None:
    for phase, (raises, _) in ENDINGS.items():
        as_if_raised = [effect.outcome for effect in raises]
        for rule in itertools.chain(*RULES[phase].values()):
            if rule.description == MALFORMED:
                for effect, outcome in zip(rule.effects, as_if_raised, strict=True):
                    ends_it = effect.is_error and effect.outcome == outcome
                    assert ends_it or effect in (sent, nothing)


def test_every_rule_and_every_ending_is_covered_by_a_case_that_the_servers_perform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    applied: set[int] = set()
    applies = Replay._applies

    def watch(replay: Replay, rule: Rule, event: object) -> bool:
        does = applies(replay, rule, event)
        applied.update({id(rule)} if does else ())
        return does

    monkeypatch.setattr(Replay, "_applies", watch)
    ended = set()
    for case in (ROWS | MORE_CASES | cases.MALFORMED).values():
        replay_case(case)
        replay_case(case, task=1)
        waiting = case._replace(script=case.script._replace(ending="wait"))
        for server in SERVERS:
            phase = replay_case(waiting, servers=[server]).connection.phase
            ended.add((phase, case.script.ending))
    assert ended >= set(itertools.product(ENDINGS, cases.ENDINGS))
    for kinds in RULES.values():
        for kind, rules in kinds.items():
            # The other is about no event.
            assert kind == NO_END or {*map(id, rules)} <= applied, kind

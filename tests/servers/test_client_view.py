"""The table of what each server makes of an event: pure functions of a recording."""

import itertools
from collections import UserDict
from collections.abc import Mapping, Sequence
from enum import Enum
from random import Random
from types import MappingProxyType
from typing import Any

import pytest
from django.utils.functional import lazy, lazystr
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_closetest import (
    ClientView,
    RecordingWebsocketCommunicator,
    Transcript,
    Undeliverable,
)
from channels_closetest.recording import Outcome, Recording, is_lazy
from channels_closetest.servers import replay as replay_module
from channels_closetest.servers.connection import (
    Client,
    client_of,
    offered_subprotocols,
)
from channels_closetest.servers.replay import Replay
from channels_closetest.servers.rules import (
    DAPHNE_LARGEST_FRAME,
    ENDINGS,
)
from channels_closetest.servers.rules import MALFORMED as MALFORMED_EVENT
from channels_closetest.servers.rules import (
    NO_END,
    RULES,
    SERVERS,
    Rule,
    nothing,
    sent,
    unreported,
)
from channels_closetest.text.transcript import About
from tests.events import (
    BODY,
    CONNECT,
    DENIAL,
    DISCONNECT,
    FRAME,
    PART,
    Event,
    accept,
    body,
    close,
    send,
    start,
)
from tests.hostile import Hostile, UnhashableText
from tests.scripts import Script, scripted
from tests.servers import cases
from tests.servers.cases import (
    CLOSE_4000,
    MORE_CASES,
    ROWS,
    UNDELIVERABLE,
    Blob,
    Code,
    Ending,
    Name,
    ProtocolChoice,
)
from tests.servers.running import Case

each_server = pytest.mark.parametrize("server", SERVERS)


def record(
    *events: object,
    servers: Sequence[str] = SERVERS,
    offered: Sequence[str] = (),
    ending: Ending = "wait",
) -> Replay:
    """Replay an application that has sent these events and ended."""
    return replay(recorded(*events, ending=ending), servers, offered)


def recorded(*events: object, ending: Ending = "wait") -> Recording:
    recording = Recording()
    for event in events:
        recording.add("send", event)
    if ending != "wait":
        end(recording, ending)
    return recording


def replay(
    recording: Recording,
    servers: Sequence[str] = SERVERS,
    offered: Sequence[str] = (),
) -> Replay:
    replay = Replay(tuple(servers), Client(tuple(offered)))
    replay.advance(recording.records, len(recording.records), recording.ending)
    return replay


def performed(case: Case, task: int = 0) -> Recording:
    """Return a recording of a case, of which all events come from one task."""
    recording = Recording()
    recording.add("receive", CONNECT)
    for event in case.script.events:
        recording.add("send", event, task)
    end(recording, case.script.ending)
    return recording


def end(recording: Recording, ending: str) -> None:
    # "wait" is a test that cancels the application.
    outcomes: dict[str, Outcome] = {
        "wait": "cancelled",
        "return": "returned",
        "raise": "raised",
        "cancel": "cancelled itself",
    }
    recording.end(outcomes[ending])


# The outcomes and remedies of undeliverable events.


LOST = ("lost: the connection had ended", "")
NO_DENIAL = (
    "a denial response: the client receives nothing on Daphne",
    "Call close(), which is HTTP 403 on every server, or deploy on one that offers it",
)


MALFORMED = (
    "a malformed event: raises, or is lost, depending on the server",
    "Send only the events that ASGI defines for a WebSocket, in its order",
)


OUTCOMES_AND_REMEDIES: dict[str, list[tuple[str, str]]] = {
    "a frame before accept": [
        (
            "sent before accept(): the client receives HTTP 500",
            "Call accept() first, then send, then close()",
        ),
        LOST,
    ],
    "a close code before accept": [
        (
            "closed with a code or reason before accept(): the client receives"
            " HTTP 403",
            "Call accept() first, then close(): only then does the client receive them",
        )
    ],
    "a subprotocol that is not offered": [
        (
            "accepted with a subprotocol that was not offered: the client receives no"
            " response: the connection is dropped on Daphne and Hypercorn, a response"
            " that Chromium rejects on Uvicorn",
            "Accept with one of scope['subprotocols']",
        )
    ],
    "no subprotocol though some are offered": [
        (
            "accepted without any of the offered subprotocols: the client receives a"
            " response that Chromium rejects",
            "Accept with one of scope['subprotocols']",
        )
    ],
    "headers": [
        (
            "accepted with headers: the client receives no headers on Daphne",
            "Send it in a data frame, or deploy on a server that delivers it",
        )
    ],
    "a denial response": [NO_DENIAL],
    "a denial response that is not completed": [
        NO_DENIAL,
        (
            "a denial response that is not completed: the client receives no complete"
            " response",
            "Send a last body event, without more_body",
        ),
    ],
    "a second response within the first": [NO_DENIAL, MALFORMED],
    "a second accept": [
        (
            "a second accept(): the client receives close code 1011 on Daphne and"
            " Hypercorn, close code 1006 on Uvicorn",
            "Call accept() once",
        )
    ],
    "anything after close": [
        (
            "sent after the connection had ended: the client receives nothing",
            "Fix what ended it, or do not send this",
        )
    ],
    "close(code=1008)": [
        (
            "a close code reserved for servers and libraries: 1001 to 1014: the client"
            " receives close code 1011 on Daphne",
            "Close with 1000 or a code from 3000 to 4999",
        )
    ],
    "a reason": [
        (
            "closed with a reason: the client receives no reason on Daphne",
            "Send it in a data frame, or deploy on a server that delivers it",
        )
    ],
    "a reason over 123 bytes": [
        (
            "a reason longer than 123 bytes: the client receives no reason on Daphne,"
            " close code 1006 on Uvicorn, the reason's first 123 bytes on Hypercorn",
            "Pass a str of at most 123 bytes in UTF-8",
        )
    ],
    "an empty frame": [
        (
            "an empty frame: the client receives nothing on Daphne",
            "Send a payload, or no frame",
        )
    ],
    "NaN": [
        (
            "NaN or Infinity, which are not JSON: the client receives text that"
            " JSON.parse() rejects",
            "Send null, or the number as a string",
        )
    ],
    "nothing": [],
    "a rejection": [],
    "a crash": [],
}


@pytest.mark.parametrize("name", UNDELIVERABLE)
def test_undeliverable_names_the_outcome_and_the_remedy(name: str) -> None:
    case = UNDELIVERABLE[name]
    events = case.script.events
    found = record(
        *events, offered=case.subprotocols, ending=case.script.ending
    ).undeliverable()
    assert [(each.outcome, each.remedy) for each in found] == OUTCOMES_AND_REMEDIES[
        name
    ]
    assert all(each.event in events for each in found)


def test_all_faults_of_an_event_are_named() -> None:
    event = accept(subprotocol="y", headers=[("a", "b")])
    assert record(event, servers=["daphne", "uvicorn"]).undeliverable() == [
        Undeliverable(
            event,
            "accepted with headers that are not pairs of bytes: the client receives no"
            " headers on Daphne, HTTP 500 on Uvicorn",
            "Pass headers as a list of pairs of bytes",
        ),
        Undeliverable(
            event,
            "accepted with a subprotocol that was not offered: the client receives no"
            " response: the connection is dropped on Daphne",
            "Accept with one of scope['subprotocols']",
        ),
    ]
    event = close(code=1006, reason="r" * 124)
    outcomes = [found.outcome for found in record(accept(), event).undeliverable()]
    assert outcomes == [
        "a close code that no frame may contain: 1005, 1006 or 1015: the client"
        " receives close code 1011 on Daphne, close code 1006 on Uvicorn, close code"
        " 1000 on Hypercorn",
        "a reason longer than 123 bytes: the client receives the reason's first 123"
        " bytes on Hypercorn",
    ]


def test_an_event_is_judged_by_the_servers_on_which_it_differs() -> None:
    [found] = record(close(code=4000, reason="why"), servers=["hypercorn"]).findings
    assert found.undeliverable.outcome == (
        "closed with a code or reason before accept(): the client receives HTTP 403"
    )
    event = send(bytes=bytearray(b"b"))
    for servers, where in [
        (["daphne"], ""),
        (["uvicorn", "daphne"], " on Daphne"),
    ]:
        [found] = record(accept(), event, servers=servers).findings
        assert found.position == 1
        assert found.undeliverable == Undeliverable(
            event,
            "a bytearray, a memoryview or a subclass of bytes as bytes: the client"
            f" receives close code 1011{where}",
            "Convert it with bytes()",
        )
    assert record(accept(), event, servers=["uvicorn"]).findings == []


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
    found = record(accept(headers=headers), servers=servers).findings[0]
    assert found.is_partial is is_partial
    assert found.servers == tuple(servers)


@pytest.mark.parametrize(
    ("events", "remedy"),
    [
        ([DENIAL, body()], MALFORMED[1]),
        ([DENIAL, body(body="no")], MALFORMED[1]),
        ([DENIAL, PART], "Send a last body event, without more_body"),
        ([start(headers=[]), BODY], MALFORMED[1]),
        ([start(status=99, headers=[]), BODY], MALFORMED[1]),
        ([start(status=401), BODY], MALFORMED[1]),
        ([accept(headers=["a"])], "Pass headers as a list of pairs of bytes"),
        ([{"type": "x"}], MALFORMED[1]),
        ([accept(), {"type": "x"}], MALFORMED[1]),
        ([accept(), send()], MALFORMED[1]),
        (
            [accept(), send(text=5)],
            "Send either text as a str, or bytes as a bytes object",
        ),
        ([accept(), send(text="\ud800")], MALFORMED[1]),
        (
            [accept(), send(bytes=b"x" * DAPHNE_LARGEST_FRAME + b"x")],
            "Send it in several frames",
        ),
        ([accept(), close(reason=5)], MALFORMED[1]),
        (
            [accept(), close(reason="r" * 124)],
            "Pass a str of at most 123 bytes in UTF-8",
        ),
    ],
    ids=range(15),
)
def test_the_remedy_is_about_the_first_fault(events: list[Event], remedy: str) -> None:
    is_denial = events[0]["type"] == DENIAL["type"]
    servers = ["uvicorn", "hypercorn"] if is_denial else ["daphne"]
    assert record(*events, servers=servers).undeliverable()[0].remedy == remedy


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
    [found] = record(close(code=code)).undeliverable()
    assert found.remedy == (
        f"Call accept() first, then {close_with}: only then does the client receive"
        " them"
    )
    # With the code that it names, nothing is left to find.
    arrives = "with a code" not in close_with
    assert (faults(accept(), close(code=code)) == []) is arrives


# What is lost because of an earlier finding.


def test_what_follows_the_end_by_a_finding_is_its_consequence() -> None:
    replayed = record(FRAME, accept(), FRAME, CLOSE_4000)
    cause, *consequences = replayed.undeliverable()
    assert cause.outcome == "sent before accept(): the client receives HTTP 500"
    assert consequences == [
        Undeliverable(event, *LOST) for event in (accept(), FRAME, CLOSE_4000)
    ]
    assert [it.undeliverable for it in replayed.findings] == [cause]


def test_a_consequence_names_the_servers_unless_these_are_all() -> None:
    events = [accept(), send(bytes=memoryview(b"b")), FRAME]
    replayed = record(*events)
    assert [it.description for it in replayed.findings] == [
        "a bytearray, a memoryview or a subclass of bytes as bytes"
    ]
    [_, lost] = replayed.undeliverable()
    assert lost == (FRAME, "lost: the connection had ended on Daphne", "")
    events[1] = send(text=lazystr("lazy"))
    [*_, lost] = record(*events, {"type": "x"}, FRAME).undeliverable()
    assert lost.outcome == "lost: the connection had ended on Uvicorn and Hypercorn"


@pytest.mark.parametrize(
    "events",
    [
        [close(), FRAME],
        [close(code=4401), FRAME],
        [DENIAL, BODY, FRAME],
        [accept(), CLOSE_4000, FRAME],
        [accept(), close(code=1008), FRAME],
        [accept(), close(code={}), FRAME],
    ],
    ids=range(6),
)
def test_what_follows_the_end_by_the_application_is_a_finding(
    events: list[Event],
) -> None:
    found = record(*events, servers=["uvicorn"]).undeliverable()[-1]
    assert found == (
        FRAME,
        "sent after the connection had ended: the client receives nothing",
        "Fix what ended it, or do not send this",
    )


def test_an_event_may_be_a_finding_on_one_server_and_a_consequence_on_another() -> None:
    events = [accept(), send(bytes=memoryview(b"b")), CLOSE_4000, FRAME]
    assert [it.outcome for it in record(*events).undeliverable()][1:] == [
        "lost: the connection had ended on Daphne",
        "sent after the connection had ended: the client receives nothing on Uvicorn"
        " and Hypercorn",
        "lost: the connection had ended on Daphne",
    ]


# Denial responses that are not completed.


INCOMPLETE = "a denial response that is not completed"


@pytest.mark.parametrize("parts", [[], [PART], [PART, PART]], ids=len)
def test_a_denial_response_is_undeliverable_until_it_is_complete(
    parts: list[Event],
) -> None:
    recording = recorded(DENIAL, *parts)
    replayed = replay(recording, ["uvicorn"])
    [found] = replayed.undeliverable()
    assert found == (
        DENIAL,
        f"{INCOMPLETE}: the client receives no complete response",
        "Send a last body event, without more_body",
    )
    # There may be more to come: strict is not to fail in the middle of a response.
    assert replayed.findings == []
    recording.add("send", BODY)
    replayed.advance(recording.records, len(recording.records), None)
    end(recording, "return")
    replayed.advance(recording.records, len(recording.records), recording.ending)
    assert replayed.undeliverable() == []


@each_server
@pytest.mark.parametrize("ending", ["wait", "return", "raise", "disconnect"])
def test_a_denial_response_that_cannot_be_completed_any_more_is_a_finding(
    ending: str, server: str
) -> None:
    recording = recorded(DENIAL, PART)
    if ending == "disconnect":
        recording.add("receive", DISCONNECT)
    else:
        end(recording, ending)
    replayed = replay(recording, [server])
    # Daphne has ignored it from its start.
    expected = "a denial response" if server == "daphne" else INCOMPLETE
    assert [(it.position, it.description) for it in replayed.findings] == [
        (0, expected)
    ]
    assert len(replayed.undeliverable()) == 1


def test_the_denial_response_that_an_error_ends_is_no_finding_beside_it() -> None:
    replayed = record(DENIAL, FRAME, servers=["hypercorn"], ending="return")
    assert [it.event for it in replayed.undeliverable()] == [FRAME]


@pytest.mark.parametrize(("parts", "status"), [([], 500), ([PART], 401)])
@pytest.mark.parametrize("ending", ["raise", "error"])
def test_hypercorn_cuts_off_a_denial_response_that_has_begun(
    ending: str, parts: list[Event], status: int
) -> None:
    waiting = record(DENIAL, *parts, servers=["hypercorn"]).client_view()
    assert waiting.status == (status if parts else None)
    events = [DENIAL, *parts, *([FRAME] if ending == "error" else [])]
    view = record(*events, servers=["hypercorn"], ending="raise").client_view()
    assert view == (status, None, [], 1006, "")


# Malformed events.


def test_client_view_goes_on_after_a_malformed_event_as_if_it_had_raised() -> None:
    for phase, (raises, _) in ENDINGS.items():
        as_if_raised = [effect.outcome for effect in raises]
        for rule in itertools.chain(*RULES[phase].values()):
            if rule.description == MALFORMED_EVENT:
                effects = rule.daphne, rule.uvicorn, rule.hypercorn
                for effect, outcome in zip(effects, as_if_raised, strict=True):
                    ends_it = effect.is_error and effect.outcome == outcome
                    assert ends_it or effect in (sent, nothing, unreported)


@pytest.mark.parametrize(
    ("server", "events", "is_found"),
    [
        ("uvicorn", [start(status=401), BODY], False),
        ("hypercorn", [start(status=401), BODY], True),
        ("uvicorn", [DENIAL, body()], True),
        ("hypercorn", [DENIAL, body()], False),
    ],
)
def test_a_denial_response_without_a_key_arrives_on_one_server(
    server: str, events: list[Event], is_found: bool
) -> None:
    replayed = record(*events, servers=[server])
    assert bool(replayed.undeliverable()) is is_found
    assert (replayed.client_view().status == 401) is not is_found


@pytest.mark.parametrize(
    ("name", "value", "is_malformed"),
    [
        (b"x-a", b"b", False),
        (b"X-A", b"b c", False),
        (b"x-a", b"", False),
        (b"x-a", b"\xff", False),
        (b"x-a", b"b\tc", False),
        (b"x-a", b"b\r\nc", True),
        (b"x-a", b"b\x00c", True),
        (b"x-a", b"b\x7f", True),
        (b"x-a", b" b", True),
        (b"x-a", b"b\t", True),
        (b"x a", b"b", True),
        (b":path", b"b", True),
        (b"", b"b", True),
        (b"x\xff", b"b", True),
        (b"sec-websocket-protocol", b"y", True),
        (b"Sec-WebSocket-Protocol", b"y", True),
    ],
)
def test_headers_are_those_that_http_allows(
    name: bytes, value: bytes, is_malformed: bool
) -> None:
    headers = [(b"x-first", b"1"), (name, value)]
    expected = ["a malformed event"] if is_malformed else []
    accepted = faults(accept(headers=headers))
    assert accepted == (expected or ["accepted with headers"])
    assert faults(start(status=401, headers=headers), BODY)[1:2] == expected


@pytest.mark.parametrize("event", [None, "text", {}, 5, {"type": None}])
@pytest.mark.parametrize("before", [[], [DENIAL], [accept()]], ids=len)
def test_what_is_no_event_is_malformed(before: list[Event], event: object) -> None:
    replayed = record(*before, event, servers=["uvicorn"])
    assert replayed.undeliverable() == [Undeliverable(event, *MALFORMED)]
    assert replayed.client_view().close_code == 1006


class Type(str, Enum):
    ACCEPT = "websocket.accept"
    SEND = "websocket.send"
    CLOSE = "websocket.close"


def test_the_type_of_an_event_may_be_a_member_of_an_enum() -> None:
    events = [{"type": Type.ACCEPT}, {"type": Type.SEND, "text": "1"}]
    replayed = record(*events, {"type": Type.CLOSE, "code": 4000})
    assert replayed.client_view() == (101, None, [1], 4000, "")
    assert replayed.undeliverable() == []
    assert recorded({"type": Type.CLOSE, "code": 4000}).close is not None


def faults(*events: object) -> list[str]:
    return [
        found.outcome.partition(": ")[0] for found in record(*events).undeliverable()
    ]


def test_close_codes_are_those_of_rfc_6455() -> None:
    """Section 7.4, and the IANA registry that it establishes."""
    texts = {
        "a close code that no frame may contain": {1005, 1006, 1015},
        "a close code reserved for servers and libraries": (
            {*range(1001, 1015)} - {1004, 1005, 1006, 1011}
        ),
        "a malformed event": {-1, 65536, 10**6},
    }
    free = {1000, 1011, *range(3000, 5000)}
    for code in {-1, *range(5100), 65535, 65536, 10**6} - free:
        what = [words for words, codes in texts.items() if code in codes]
        expected = what or ["an undefined close code"]
        assert (code, faults(accept(), close(code=code))) == (code, expected)
    for code in free:
        assert (code, faults(accept(), close(code=code))) == (code, [])


@pytest.mark.parametrize(
    ("frame", "is_too_large"),
    [
        (send(text="x" * DAPHNE_LARGEST_FRAME), False),
        (send(text="x" * DAPHNE_LARGEST_FRAME + "x"), True),
        (send(text="é" * (DAPHNE_LARGEST_FRAME // 2)), False),
        (send(text="é" * (DAPHNE_LARGEST_FRAME // 2) + "x"), True),
        (send(bytes=b"x" * DAPHNE_LARGEST_FRAME), False),
        (send(bytes=b"x" * DAPHNE_LARGEST_FRAME + b"x"), True),
    ],
    ids=range(6),
)
def test_daphne_sends_frames_of_up_to_1_mib(frame: Event, is_too_large: bool) -> None:
    view = record(accept(), frame, servers=["daphne"]).client_view()
    assert view.close_code == (1011 if is_too_large else None)
    assert bool(faults(accept(), frame)) is is_too_large


def test_a_client_of_uvicorn_rejects_a_subprotocol_that_it_has_not_offered() -> None:
    transcript = record(accept(subprotocol="y"), servers=["uvicorn"], offered=["x"])
    assert transcript.client_view() == (None, None, [], 1006, "")


@pytest.mark.parametrize(
    ("text", "is_json_to_python_only"),
    [
        ("NaN", True),
        ("[-Infinity]", True),
        ('"NaN"', False),
        ("NaN, but no JSON", False),
        ("[Infinity", False),
    ],
)
def test_text_that_is_json_only_to_python(
    text: str, is_json_to_python_only: bool
) -> None:
    assert bool(faults(accept(), send(text=text))) is is_json_to_python_only


INVALID_HEADERS: list[object] = [
    [(b"name", b"value", b"more")],
    [(b"name",)],
    [(b"name", b"value"), (b"name", b"value", b"more")],
    [(b"name", "value")],
    [("name", b"value")],
    {b"name": b"value"},
    None,
]


@pytest.mark.parametrize("headers", INVALID_HEADERS, ids=repr)
def test_headers_are_pairs_of_bytes(headers: object) -> None:
    assert faults(accept(headers=headers)) == [
        "accepted with headers that are not pairs of bytes"
    ]
    assert faults(start(status=401, headers=headers))[1:] == ["a malformed event"]
    view = record(accept(headers=headers), servers=["uvicorn"]).client_view()
    assert view == (500, None, [], 1006, "")


def test_headers_may_be_any_sequence_of_pairs_of_bytes() -> None:
    headers: list[object] = [[], (), [[b"name", b"value"]], ((b"name", b"value"),)]
    for valid in headers:
        named = ["accepted with headers"] if valid else []
        assert faults(accept(headers=valid)) == named
        assert faults(start(status=401, headers=valid), BODY) == ["a denial response"]


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"code": 0}, True),
        ({"code": 1000}, True),
        ({"code": 4401}, True),
        ({"reason": "why"}, True),
        ({"code": None}, False),
        ({"code": None, "reason": None}, False),
        ({"reason": ""}, False),
        ({}, False),
    ],
)
def test_a_code_and_a_reason_before_accept_are_lost_whatever_they_are(
    keys: dict[str, object], found: bool
) -> None:
    text = "closed with a code or reason before accept()"
    assert faults(close(**keys)) == ([text] if found else [])
    assert record(close(**keys)).client_view() == (403, None, [], 1006, "")


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (True, ["a malformed event"]),
        (False, ["a malformed event"]),
        ("4000", ["a close code that is not an int"]),
        (4000.0, ["a close code that is not an int"]),
        ("4000 or so", ["a malformed event"]),
        (float("nan"), ["a malformed event"]),
        (float("inf"), ["a malformed event"]),
        (None, ["a malformed event"]),
        (0, ["an undefined close code"]),
        (1, ["an undefined close code"]),
    ],
)
def test_a_close_code_is_an_int_and_a_bool_is_none(
    code: object, found: list[str]
) -> None:
    assert faults(accept(), close(code=code)) == found


@pytest.mark.parametrize(
    ("keys", "found", "messages"),
    [
        ({"text": "NaN", "bytes": b"b"}, ["a frame with text and bytes"], [b"b"]),
        ({"text": "\ud800", "bytes": b"b"}, ["a frame with text and bytes"], [b"b"]),
        ({"text": "1", "bytes": b""}, ["a frame with text and bytes"], [b""]),
        ({"text": "", "bytes": b"b"}, [], [b"b"]),
        ({"text": 0, "bytes": b"b"}, [], [b"b"]),
        (
            {"text": "", "bytes": b"x" * DAPHNE_LARGEST_FRAME + b"x"},
            ["a frame larger than 1 MiB"],
            [b"x" * DAPHNE_LARGEST_FRAME + b"x"],
        ),
        (
            {"text": "", "bytes": bytearray(b"b")},
            ["a bytearray, a memoryview or a subclass of bytes as bytes"],
            [b"b"],
        ),
    ],
    ids=range(7),
)
def test_where_a_frame_has_bytes_its_text_is_not_judged(
    keys: dict[str, object], found: list[str], messages: list[object]
) -> None:
    assert faults(accept(), send(**keys)) == found
    view = record(accept(), send(**keys), servers=["uvicorn"]).client_view()
    assert view == (101, None, messages, None, None)


@pytest.mark.parametrize("mapping", [UserDict, MappingProxyType])
def test_an_event_may_be_any_mapping(mapping: Any) -> None:
    events = [accept(subprotocol="x"), send(text="[1]"), send(bytes=b"b")]
    events.append(close(code=4000, reason="why"))
    replayed = record(*map(mapping, events), servers=["uvicorn"], offered=["x"])
    assert replayed.client_view() == (101, "x", [[1], b"b"], 4000, "why")
    assert replayed.undeliverable() == []
    denied = [start(status=401, headers=[]), body(body=b"no")]
    replayed = record(*map(mapping, denied), servers=["uvicorn"])
    assert replayed.client_view() == (401, None, [], 1006, "")
    assert faults(mapping(send(text="t"))) == ["sent before accept()"]
    assert faults(accept(), mapping({"text": "t"})) == ["a malformed event"]
    assert faults(accept(), mapping({"type": "x"})) == ["an event of unknown type"]


@pytest.mark.parametrize("code", [1011, Code.INTERNAL_ERROR])
@pytest.mark.parametrize("task", [0, 1])
def test_1011_arrives_from_daphne_unless_a_task_sends_it(
    task: int, code: object
) -> None:
    recording = recorded(accept())
    recording.add("send", close(code=code, reason="why"), task)
    replayed = replay(recording, ["daphne"])
    view, outcomes = replayed.client_view(), str(replayed.undeliverable())
    assert view[3:] == ((None, None) if task else (1011, ""))
    assert ("and the task that sent it fails" in outcomes) is bool(task)
    assert ("receives no reason" in outcomes) is not task


@pytest.mark.parametrize("code", ["4401", " 4401", 4401.0, 4401.9])
def test_hypercorn_converts_a_close_code(code: object) -> None:
    replayed = record(accept(), close(code=code), servers=["hypercorn"])
    assert replayed.client_view() == (101, None, [], 4401, "")
    assert replayed.undeliverable() == []


def test_a_close_after_a_close_changes_nothing() -> None:
    first, second = close(code=4000, reason="why"), close(code=4001, reason="again")
    view = record(accept(), first, second, servers=["uvicorn"]).client_view()
    assert view == (101, None, [], 4000, "why")
    recording = recorded(accept(), first, second)
    assert recording.close == first
    assert faults(accept(), close(code=4000), second) == [
        "sent after the connection had ended"
    ]


# The test has connected twice, which no client does, and so no server performs.


FROM_TEST = (
    "websocket.connect",
    "websocket.receive",
    "websocket.disconnect",
    "chat.message",
)


def conversation(*events: Event) -> Recording:
    """Return a recording of what the test and the application send."""
    recording = Recording()
    for event in events:
        from_test = event["type"] in FROM_TEST
        recording.add("receive" if from_test else "send", event)
    return recording


SECOND_CONNECT = Undeliverable(
    CONNECT,
    "a second websocket.connect: no client can send that",
    "A communicator is one connection: create another one",
)


@pytest.mark.parametrize("connects", [1, 2])
def test_a_second_accept_is_due_to_the_test_if_it_has_connected_twice(
    connects: int,
) -> None:
    again = [CONNECT] * connects
    events = [CONNECT, accept(), *again, accept(), FRAME, CLOSE_4000]
    replayed = replay(conversation(*events))
    assert replayed.undeliverable() == [SECOND_CONNECT] * connects
    # The first connection goes on.
    assert replayed.client_view() == (101, None, ["hello"], 4000, "")


@pytest.mark.parametrize(
    "first", [[close()], [accept(), CLOSE_4000]], ids=["rejected", "closed"]
)
@pytest.mark.parametrize("event", [accept(), FRAME, CLOSE_4000, {"type": "unknown"}])
def test_what_follows_a_close_is_due_to_the_test_if_it_has_connected_twice(
    first: list[Event], event: Event
) -> None:
    before = replay(conversation(CONNECT, *first)).client_view()
    replayed = replay(conversation(CONNECT, *first, CONNECT, event))
    assert replayed.undeliverable() == [SECOND_CONNECT]
    assert replayed.client_view() == before


def test_a_second_accept_is_due_to_the_application_if_the_test_connects_later() -> None:
    replayed = replay(conversation(CONNECT, accept(), accept(), CONNECT))
    found, second = replayed.undeliverable()
    assert second == SECOND_CONNECT
    assert found.outcome.startswith("a second accept(): the client receives close code")
    assert found.remedy == "Call accept() once"
    replayed = replay(conversation(CONNECT, close(), FRAME, CONNECT))
    found, second = replayed.undeliverable()
    assert second == SECOND_CONNECT
    assert found.remedy == "Fix what ended it, or do not send this"


def test_the_first_response_is_judged_as_ever_if_the_test_connects_twice() -> None:
    replayed = replay(conversation(CONNECT, CONNECT, FRAME))
    second, found = replayed.undeliverable()
    assert second == SECOND_CONNECT
    assert found.remedy == "Call accept() first, then send, then close()"
    assert replayed.client_view().status == 500


# What else the test sends, and no client can.

RECEIVE = {"type": "websocket.receive", "text": "hello"}
TOO_EARLY = "a frame before the handshake is accepted: no client can send that"
TOO_LATE = "a frame after the test has disconnected: no client can send that"


def found_in(*events: Event) -> list[tuple[Event, str, str]]:
    found = replay(conversation(*events)).undeliverable()
    return [tuple(it) for it in found]


@pytest.mark.parametrize(
    "before",
    [[], [CONNECT], [CONNECT, close()], [CONNECT, DENIAL, BODY]],
    ids=["not connected", "no response", "rejected", "denied"],
)
def test_no_client_can_send_a_frame_before_the_handshake_is_accepted(
    before: list[Event],
) -> None:
    remedy = "Send it after connect() has returned (True, subprotocol)"
    [*_, found] = found_in(*before, RECEIVE)
    assert found == (RECEIVE, TOO_EARLY, remedy)


def test_a_client_can_send_a_frame_as_soon_as_it_is_accepted() -> None:
    assert found_in(CONNECT, accept(), RECEIVE, RECEIVE) == []


def test_a_client_can_send_a_frame_before_it_has_received_a_close() -> None:
    assert found_in(CONNECT, accept(), CLOSE_4000, RECEIVE) == []


def test_a_frame_is_not_blamed_for_what_the_application_sent_before_accept() -> None:
    [(event, _, _)] = found_in(CONNECT, FRAME, accept(), RECEIVE)[:1]
    assert event == FRAME
    assert RECEIVE not in [it[0] for it in found_in(CONNECT, FRAME, accept(), RECEIVE)]


@pytest.mark.parametrize("response", [[], [accept()], [close()]])
def test_no_client_can_send_a_frame_after_it_has_disconnected(
    response: list[Event],
) -> None:
    events = [CONNECT, *response, DISCONNECT, RECEIVE]
    assert found_in(*events) == [(RECEIVE, TOO_LATE, SECOND_CONNECT.remedy)]


def test_a_second_disconnect_and_messages_of_a_channel_layer_are_harmless() -> None:
    message = {"type": "chat.message", "text": "hello"}
    assert found_in(CONNECT, message, accept(), DISCONNECT, DISCONNECT, message) == []


@pytest.mark.parametrize(
    ("headers", "is_valid"),
    [
        ([], True),
        (None, True),
        ([(b"origin", b"http://localhost")], True),
        ([[b"origin", b"http://localhost"]], True),
        ([("origin", "http://localhost")], False),
        ([(b"origin", "http://localhost")], False),
        ([b"origin"], False),
        ({b"origin": b"http://localhost"}, False),
        ({}, True),
        ({b"origin": b"http://localhost"}.items(), True),
        (iter([("origin", "http://localhost")]), True),
    ],
    ids=range(11),
)
def test_no_server_passes_headers_that_are_not_pairs_of_bytes(
    headers: object, is_valid: bool
) -> None:
    client = client_of({"headers": headers})
    assert client.has_valid_headers is is_valid
    replayed = Replay(SERVERS, client)
    recording = conversation(CONNECT, accept())
    replayed.advance(recording.records, 2, None)
    assert replayed.undeliverable() == (
        []
        if is_valid
        else [
            Undeliverable(
                CONNECT,
                "headers that are not pairs of bytes: no client can send that",
                "Pass headers as a list of pairs of bytes",
            )
        ]
    )


@pytest.mark.parametrize(
    ("headers", "is_lower_case"),
    [
        ([], True),
        ([(b"origin", b"http://LOCALHOST")], True),
        ([(b"x-1", b"1"), [b"Origin", b"http://localhost"]], False),
        # These are not pairs of bytes, which is what the test has to change.
        ([("Origin", "http://localhost")], True),
    ],
)
def test_servers_pass_the_names_of_headers_in_lower_case(
    headers: object, is_lower_case: bool
) -> None:
    client = client_of({"headers": headers})
    assert client.has_lower_case_headers is is_lower_case
    replayed = Replay(SERVERS, client)
    replayed.advance([("receive", CONNECT, 0.0, 0)], 1, None)
    found = Undeliverable(
        CONNECT,
        "headers with names that are not in lower case: no client can send that",
        "Write the names of headers in lower case, as servers pass them",
    )
    assert (found in replayed.undeliverable()) is not is_lower_case


@pytest.mark.parametrize(
    ("path", "begins_with_slash"),
    [("/", True), ("/ws/", True), ("ws/", False), ("", False), (None, True)],
)
def test_the_path_of_a_request_begins_with_a_slash(
    path: object, begins_with_slash: bool
) -> None:
    client = client_of({"path": path})
    assert client.has_absolute_path is begins_with_slash
    replayed = Replay(SERVERS, client)
    replayed.advance([("receive", CONNECT, 0.0, 0)], 1, None)
    found = Undeliverable(
        CONNECT,
        "a path without a leading slash: no client can send that",
        "Begin the path with a slash",
    )
    assert replayed.undeliverable() == ([] if begins_with_slash else [found])


@each_server
@pytest.mark.parametrize("is_too_large", [False, True])
@pytest.mark.parametrize("key", ["text", "bytes"])
def test_daphne_receives_frames_of_up_to_1_mib(
    key: str, is_too_large: bool, server: str
) -> None:
    size = DAPHNE_LARGEST_FRAME + is_too_large
    data = "x" * size if key == "text" else b"x" * size
    frame = {"type": "websocket.receive", key: data}
    replayed = replay(conversation(CONNECT, accept(), frame, FRAME), [server])
    if is_too_large and server == "daphne":
        assert replayed.client_view() == (101, None, [], 1006, "")
        [found] = replayed.findings
        assert found.undeliverable == (
            frame,
            "a frame larger than 1 MiB: the client receives close code 1006",
            "Send it in several frames",
        )
        assert found.is_from_test
        assert replayed.undeliverable()[1:] == [(FRAME, *LOST)]
    else:
        assert replayed.client_view() == (101, None, ["hello"], None, None)
        assert replayed.undeliverable() == []


def test_headers_that_can_be_read_once_are_left_to_the_application() -> None:
    pair = (b"sec-websocket-protocol", b"x")
    headers = iter([pair])
    assert client_of({"headers": headers}) == Client(())
    assert list(headers) == [pair]


def test_the_headers_of_a_scope_without_any_are_valid() -> None:
    scopes: list[object] = [{}, None, HostileMapping()]
    for scope in scopes:
        assert client_of(scope).has_valid_headers


@pytest.mark.parametrize(
    ("scope", "offered"),
    [
        ({"subprotocols": ["x", "y"]}, ("x", "y")),
        ({"subprotocols": ("x",)}, ("x",)),
        (UserDict({"subprotocols": ["x"]}), ("x",)),
        ({"subprotocols": ["x", 1, None, UnhashableText("y")]}, ("x", "y")),
        ({"subprotocols": "xy"}, ()),
        ({"subprotocols": None}, ()),
        ({}, ()),
        (None, ()),
        ("subprotocols", ()),
    ],
    ids=range(9),
)
def test_the_subprotocols_of_any_scope_can_be_read(
    scope: object, offered: tuple[str, ...]
) -> None:
    read = offered_subprotocols(scope)
    assert read == offered
    assert {type(name) for name in read} <= {str}
    view = record(accept(subprotocol="z"), servers=["uvicorn"], offered=read)
    assert view.client_view().close_code == 1006
    assert [it.remedy for it in view.undeliverable()] == [
        "Accept with one of scope['subprotocols']"
    ]


@pytest.mark.parametrize(
    ("scope", "offered"),
    [
        ({"headers": [(b"sec-websocket-protocol", b"x")]}, ("x",)),
        ({"headers": [(b"Sec-WebSocket-Protocol", b" x ,y,, ")]}, ("x", "y")),
        (
            {
                "headers": [
                    (b"sec-websocket-protocol", b"bearer"),
                    (b"host", b"z"),
                    (b"sec-websocket-protocol", b"token"),
                ]
            },
            ("bearer", "token"),
        ),
        ({"subprotocols": [], "headers": [(b"sec-websocket-protocol", b"x")]}, ("x",)),
        (
            {"subprotocols": ["y"], "headers": [(b"sec-websocket-protocol", b"x")]},
            ("y",),
        ),
        ({"headers": [("sec-websocket-protocol", "x")]}, ()),
        ({"headers": [(b"sec-websocket-protocol", "x")]}, ()),
        ({"headers": [b"x"]}, ()),
        ({"headers": None}, ()),
        ({"headers": 5}, ()),
    ],
    ids=range(10),
)
def test_the_subprotocols_are_those_in_the_header_as_a_server_reads_it(
    scope: object, offered: tuple[str, ...]
) -> None:
    assert offered_subprotocols(scope) == offered


async def test_a_subprotocol_offered_in_the_header_can_be_selected() -> None:
    communicator = RecordingWebsocketCommunicator(
        scripted(Script((accept(subprotocol="bearer"),)), "async"),
        "/",
        headers=[(b"sec-websocket-protocol", b"bearer, token")],
    )
    communicator.strict = True
    async with communicator:
        assert await communicator.connect() == (True, "bearer")
        assert communicator.client_view.subprotocol == "bearer"
        assert "subprotocols bearer, token" in str(communicator.transcript)


def test_the_subprotocols_of_a_hostile_scope_are_none() -> None:
    assert offered_subprotocols(HostileMapping()) == ()


# Values that are nearly a str, bytes or an int.


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
    view = record(*events, servers=["uvicorn"], offered=["y"]).client_view()
    types = [type(value) for value in (*view.messages[1:], *view[3:], view[1])]
    assert types == [str, list, bytes, bytes, int, str, str]
    assert view == (101, "y", ["text", "lazy", [1], b"view", b"blob"], 4401, "why")


def test_a_lazy_string_may_fail() -> None:
    def fail() -> str:
        raise RuntimeError("hostile")

    failing = lazy(fail, str)()
    view = record(accept(), send(text=failing), close(reason=failing)).client_view()
    assert view.messages[0] is failing


@pytest.mark.parametrize(
    ("reason", "on_hypercorn"), [("é" * 61, "é" * 61), ("é" * 62, "é" * 61)]
)
def test_hypercorn_cuts_a_lazy_reason(reason: str, on_hypercorn: str) -> None:
    event = close(code=4000, reason=lazystr(reason))
    view = record(accept(), event, servers=["hypercorn"]).client_view()
    assert view.close_reason == on_hypercorn


def test_other_classes_of_the_name_promise_are_not_lazy_strings() -> None:
    class Promise:
        pass

    assert is_lazy(lazystr("x"))
    for value in (Promise(), "x", None, Name("x")):
        assert not is_lazy(value)


# The client disconnects, and the application ends.


@pytest.mark.parametrize(
    ("server", "code", "reason"),
    [
        ("daphne", 1000, ""),
        ("uvicorn", 4000, "bye"),
        ("hypercorn", 4000, "bye"),
    ],
)
def test_a_client_that_closes_receives_what_its_server_answers(
    server: str, code: int, reason: str
) -> None:
    event = {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}
    view = replay(conversation(CONNECT, accept(), event), [server]).client_view()
    assert view == (101, None, [], code, reason)


@each_server
def test_a_client_that_vanishes_has_no_close_code(server: str) -> None:
    event = {"type": "websocket.disconnect", "code": 1006}
    view = replay(conversation(CONNECT, accept(), event), [server]).client_view()
    assert view == (101, None, [], 1006, "")


@pytest.mark.parametrize(
    ("events", "view"),
    [
        ([], (None, None, [], 1006, "")),
        ([DENIAL], (None, None, [], 1006, "")),
        ([DENIAL, PART], (401, None, [], 1006, "")),
        ([accept()], (101, None, [], 1005, "")),
        ([accept(), FRAME, CLOSE_4000], (101, None, ["hello"], 4000, "")),
        ([close()], (403, None, [], 1006, "")),
        ([DENIAL, BODY], (401, None, [], 1006, "")),
    ],
)
def test_a_client_that_has_disconnected_receives_nothing_more(
    events: list[object], view: object
) -> None:
    recording = recorded(*events)
    recording.add("receive", {"type": "websocket.disconnect"})
    for event in [FRAME, CLOSE_4000, accept(), {}, None]:
        recording.add("send", event)
    end(recording, "raise")
    replayed = replay(recording, servers=["hypercorn"])
    assert replayed.client_view() == view
    # The application cannot know.
    denied = "a denial response that is not completed"
    expected = [denied] if events[:1] == [DENIAL] and BODY not in events else []
    assert [it.description for it in replayed.findings] == expected


@each_server
@pytest.mark.parametrize("ending", ["raise", "return", "cancel"])
@pytest.mark.parametrize(
    "events", [[close()], [accept(), CLOSE_4000], [{}], [accept(), accept()]]
)
def test_the_end_of_the_application_is_not_visible_after_the_end_of_the_connection(
    events: list[object], ending: Ending, server: str
) -> None:
    before = record(*events, servers=[server])
    after = record(*events, servers=[server], ending=ending)
    assert after.client_view() == before.client_view()


@each_server
@pytest.mark.parametrize("events", [[], [DENIAL], [DENIAL, PART], [accept(), FRAME]])
def test_the_client_does_not_see_that_the_application_is_cancelled(
    events: list[object], server: str
) -> None:
    before = record(*events, servers=[server])
    recording = recorded(*events)
    end(recording, "wait")
    after = replay(recording, servers=[server])
    assert after.client_view() == before.client_view()


@pytest.mark.parametrize(
    ("events", "servers"),
    [
        ([], SERVERS),
        ([DENIAL], SERVERS[1:]),
        ([DENIAL, PART], SERVERS[1:]),
    ],
)
@pytest.mark.parametrize("ending", ["raise", "return"])
def test_the_connection_is_dropped_if_the_application_ends_without_a_handshake_response(
    events: list[object], servers: tuple[str, ...], ending: Ending
) -> None:
    for server in servers:
        waiting = record(*events, servers=[server]).client_view()
        assert waiting.close_code is None
        ended = record(*events, servers=[server], ending=ending).client_view()
        assert (ended.close_code, ended.close_reason) == (1006, "")


@each_server
def test_ending_without_a_close_is_not_undeliverable(
    server: str,
) -> None:
    for ending in ("raise", "return"):
        for events in ([], [accept()], [accept(), FRAME]):
            replayed = record(*events, servers=[server], ending=ending)
            assert replayed.undeliverable() == []


def test_an_event_after_the_end_of_the_application_is_undeliverable() -> None:
    recording = Recording()
    recording.add("send", accept())
    end(recording, "raise")
    recording.add("send", FRAME)
    replayed = replay(recording, servers=["daphne"])
    assert replayed.client_view() == (101, None, [], 1011, "")
    assert [found.event for found in replayed.undeliverable()] == [FRAME]


# Judging works for every event, and judges each once.


class HostileMapping(dict[str, object]):
    def fail(self, *args: object) -> Any:
        raise RuntimeError("hostile")

    get = __getitem__ = __contains__ = __iter__ = keys = items = fail


VALUES: list[object] = [
    *[None, True, False, 0, 1, -1, 1.5, float("nan"), 1000, 1005, 4000, 10**5000],
    *["", "x", "NaN", "[" * 10_000, "\ud800", "r" * 124, UnhashableText("x")],
    *[b"", b"x", bytearray(b"x"), memoryview(b"x"), b"\xff" * 124],
    *[[], {}, (), [None], [("a",)], [(b"a", b"b")], [Hostile()], {"a": Hostile()}],
    Hostile(),
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
            random.choice([accept(), DENIAL, PART]),
            {"type": random.choice(VALUES)},
            random.choice(VALUES),
            HostileMapping(type="websocket.send"),
        ]
    )


@settings(max_examples=500, deadline=None)
@given(st.randoms(use_true_random=False))
def test_judging_never_raises(random: Random) -> None:
    events = [hostile_event(random) for _ in range(random.randrange(6))]
    recording = recorded(*events, ending=random.choice(["wait", "return", "raise"]))
    servers, offered = (random.choice(SERVERS),), random.choice([(), ("x", "y")])
    replayed = replay(recording, servers, offered)
    assert isinstance(replayed.client_view(), ClientView)
    assert len({finding.position for finding in replayed.findings}) <= len(events)
    assert isinstance(
        str(Transcript(recording, About("/", servers, Client(offered)))), str
    )


@pytest.fixture
def rules_asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """Record each evaluation of a rule, and whether the rule applies."""
    asked: list[tuple[str, str, str]] = []

    def watch(phase: str, kind: str, rule: Rule) -> Rule:
        def applies(event: Mapping[str, Any], client: Client) -> object:
            does = rule.condition(event, client)
            asked.append((phase, kind, rule.description if does else ""))
            return does

        return rule._replace(condition=applies)

    watched = {
        phase: {
            kind: [watch(phase, kind, rule) for rule in rules]
            for kind, rules in kinds.items()
        }
        for phase, kinds in RULES.items()
    }
    monkeypatch.setattr(replay_module, "RULES", watched)
    return asked


def test_each_event_is_judged_once_however_often_client_view_is_read(
    rules_asked: list[tuple[str, str, str]],
) -> None:
    events = [accept(), *[FRAME, send(text="")] * 1_000, CLOSE_4000, FRAME]
    at_once = record(*events)
    at_once.client_view()
    count = len(rules_asked)

    recording = Recording()
    bit_by_bit = Replay(SERVERS, Client(()))
    for event in events:
        recording.add("send", event)
        bit_by_bit.advance(recording.records, len(recording.records), None)
    assert len(rules_asked) == 2 * count
    assert bit_by_bit.client_view() == at_once.client_view()
    assert bit_by_bit.undeliverable() == at_once.undeliverable()


def test_a_client_view_and_a_list_of_the_undeliverable_are_snapshots() -> None:
    recording = recorded(accept(), FRAME, send(text=""))
    replayed = replay(recording)
    view, undeliverable = replayed.client_view(), replayed.undeliverable()
    for event in (FRAME, CLOSE_4000, FRAME):
        recording.add("send", event)
    replayed.advance(recording.records, len(recording.records), None)
    later = (101, None, ["hello"] * 2, 4000, "")
    assert replayed.client_view() == later
    assert len(replayed.undeliverable()) == 2
    assert view == (101, None, ["hello"], None, None)
    assert len(undeliverable) == 1
    for handed_out in (replayed.client_view().messages, replayed.undeliverable()):
        handed_out.clear()
    assert replayed.client_view() == later
    assert len(replayed.undeliverable()) == 2


# The tables.


def test_every_rule_is_covered_by_a_case_that_the_servers_perform(
    rules_asked: list[tuple[str, str, str]],
) -> None:
    for case in (ROWS | MORE_CASES | cases.MALFORMED).values():
        for task in (0, 1):
            replay(performed(case, task), SERVERS, case.subprotocols)
    rules = {
        (phase, kind, rule.description)
        for phase, kinds in RULES.items()
        for kind, rules in kinds.items()
        for rule in rules
        if kind != NO_END  # it is about no event
    }
    assert rules - set(rules_asked) == set()


def test_the_first_events_can_be_judged_alone() -> None:
    recording = recorded(accept(), FRAME, FRAME, ending="raise")
    first = Replay(SERVERS, Client(()))
    for until, messages, close_code in [(2, 1, None), (3, 2, 1011), (1, 2, 1011)]:
        first.advance(recording.records, until, recording.ending)
        view = first.client_view()
        assert (len(view.messages), view.close_code) == (messages, close_code)


def test_every_ending_is_covered_by_a_case_that_the_servers_perform() -> None:
    met = set()
    for case in (ROWS | MORE_CASES).values():
        for server in SERVERS:
            events, offered = case.script.events, case.subprotocols
            connection = record(*events, servers=[server], offered=offered).connection
            met.add((connection.phase, case.script.ending))
    assert {(phase, "raise") for phase in ENDINGS} <= met
    assert {(phase, "return") for phase in ENDINGS} <= met
    assert {(phase, "cancel") for phase in ENDINGS} <= met


def test_the_rules_of_a_phase_have_distinct_descriptions() -> None:
    for kinds in RULES.values():
        for rules in kinds.values():
            says = [rule.description for rule in rules]
            says = [it for it in says if it != MALFORMED_EVENT]
            assert len(set(says)) == len(says)
            assert all(says)

"""What a real client sees of what an application sends: pure functions of events.

The rules are the table RULES, and how an application's end shows is the table
ENDINGS. Their rows say what was measured with real clients and servers; the README's
section "What real servers do" is the same in prose.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

if TYPE_CHECKING:
    from .transcript import Ending, Record

#: The servers whose behaviour is known.
SERVERS = ("daphne", "uvicorn", "hypercorn")


class ClientView(NamedTuple):
    """What a real client has seen so far."""

    #: The HTTP status of the handshake: 101 once accepted, None as long as there is
    #: no answer, and also when the connection drops without one.
    status: int | None
    #: The subprotocol that was selected, or None.
    subprotocol: str | None
    #: The payload of each frame that has reached the client, in order: JSON text
    #: decoded, other text as ``str``, binary as ``bytes``.
    messages: list[Any]
    #: What a browser's ``CloseEvent`` says (RFC 6455 section 7.4): 1006 and ``""``
    #: when the handshake failed. None while the connection is open.
    close_code: int | None
    close_reason: str | None


class DenialResponse(NamedTuple):
    """The HTTP response that answered the handshake instead of a connection.

    It is sent over the ASGI extension ``websocket.http.response`` ("WebSocket Denial
    Response").
    """

    #: The HTTP status.
    status: int
    #: The headers as they were sent: pairs of ``bytes``.
    headers: list[tuple[bytes, bytes]]
    #: The chunks of the body so far, put together.
    body: bytes


class Undeliverable(NamedTuple):
    """An event that the application sent and that not every client gets as sent."""

    #: The ASGI event, as it was when it was sent.
    event: Any
    #: Why, and what the client gets instead, on which server.
    outcome: str
    #: What to write in its place.
    remedy: str


class UndeliverableWarning(UserWarning):
    """A test read a frame that reaches no client: it was sent before ``accept()``."""


# Reading events. An application may send anything at all, and what is not what ASGI
# says reads as absent. It is type() that is asked: __class__ may run code, and fail.


def event_type(event: object) -> str:
    cls = type(event)
    # The abstract class comes last because it is slow, and every event is asked.
    if cls is MappingProxyType or cls is dict or issubclass(cls, Mapping):
        mapping: Any = event
        try:
            kind = mapping.get("type")
        except Exception:
            return ""  # a mapping of the application's own making
        if issubclass(type(kind), str):
            return str.__str__(kind)
    return ""


def payload(event: Mapping[str, Any]) -> Any:
    """The payload of a data frame: JSON text decoded, other text and bytes as sent."""
    data: Any = event.get("bytes")
    text: Any = event.get("text")
    if data is not None:
        return data
    if issubclass(type(text), str):
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            pass
    return text


def has_more_body(event: Mapping[str, Any]) -> bool:
    more = event.get("more_body")
    return issubclass(type(more), int) and bool(more)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259 section 6)")


def close_code(event: Mapping[str, Any]) -> int:
    """The code of a ``websocket.close``, 1000 where it is absent (ASGI)."""
    code: int | None = event.get("code")
    return 1000 if code is None else code


def close_reason(event: Mapping[str, Any]) -> str:
    """The reason of a ``websocket.close``, empty where it is absent (ASGI)."""
    reason: str | None = event.get("reason")
    return "" if reason is None else reason


class Connection:
    """What a client has of its connection to one server, as far as the events tell."""

    def __init__(self) -> None:
        self.phase: Phase = "handshake"
        self.status: Any = None
        self.subprotocol: str | None = None
        self.delivered: list[Mapping[str, Any]] = []
        self._messages: list[Any] = []
        self.close_code: Any = None
        self.close_reason: Any = None
        self.denial_status: Any = None

    def view(self) -> ClientView:
        # Each is decoded once, however often the view is asked for.
        self._messages += map(payload, self.delivered[len(self._messages) :])
        return ClientView(
            self.status,
            self.subprotocol,
            self._messages[:],
            self.close_code,
            self.close_reason,
        )

    def fail(self, status: Any) -> None:
        """The handshake fails: the client hears of no code and no reason."""
        self.phase, self.status = "over", status
        self.close_code, self.close_reason = 1006, ""

    def close(self, code: Any, reason: Any = "") -> None:
        self.phase = "over"
        self.close_code, self.close_reason = code, reason

    def deliver(self, event: Mapping[str, Any]) -> None:
        """What an event does where no rule says otherwise."""
        kind = event_type(event)
        if kind == "websocket.accept":
            self.phase, self.status = "open", 101
            subprotocol: Any = event.get("subprotocol")
            if issubclass(type(subprotocol), str) and len(subprotocol) > 0:
                self.subprotocol = subprotocol
        elif kind == "websocket.send":
            self.delivered.append(event)
        elif kind == "websocket.close" and self.phase == "open":
            self.close(close_code(event), close_reason(event))
        elif kind == "websocket.close":
            self.fail(403)
        elif kind == "websocket.http.response.start":
            self.phase, self.denial_status = "denial", event.get("status")
        else:  # a part of a denial response: of no other event is anything left
            self.phase = "body"
            if not has_more_body(event):
                self.fail(self.denial_status)

    def leave(self, event: Mapping[str, Any]) -> None:
        """The client goes away by itself."""
        if self.phase == "open":
            self.close(event.get("code", 1005))
        elif self.phase != "over":
            self.fail(self.status)
        self.phase = "left"


#: Nothing sent; a denial response begun, a part of its body sent; accepted; refused or
#: closed, by the application or the server; closed by the client.
Phase = Literal["handshake", "denial", "body", "open", "over", "left"]


# The cells of the table: what a server makes of an event it does not deliver as sent.


class Effect(NamedTuple):
    #: What the client gets.
    outcome: str
    #: Brings it about, and gives what is delivered of the event all the same.
    apply: Callable[[Connection, Mapping[str, Any]], Mapping[str, Any] | None]


def http(status: int) -> Effect:
    """The handshake fails with this status."""

    def apply(connection: Connection, event: Mapping[str, Any]) -> None:
        connection.fail(status)

    return Effect(f"HTTP {status}", apply)


def closed(code: int) -> Effect:
    """The connection ends with this code, and not as the application said."""

    def apply(connection: Connection, event: Mapping[str, Any]) -> None:
        connection.close(code)

    return Effect(f"close code {code}", apply)


def changed(outcome: str, **keys: object) -> Effect:
    """Delivered, but for these keys."""
    return Effect(outcome, lambda connection, event: {**event, **keys})


def _no_answer(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.fail(None)


def _begin(connection: Connection, event: Mapping[str, Any]) -> Mapping[str, Any]:
    connection.status = connection.denial_status
    return event


def _cut_body(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.fail(connection.denial_status)


def _cut_reason(connection: Connection, event: Mapping[str, Any]) -> Mapping[str, Any]:
    reason = event["reason"].encode()[:LONGEST_REASON].decode(errors="ignore")
    return {**event, "reason": reason}


def _refuse(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.fail(101)


sent = Effect("", lambda connection, event: event)
nothing = Effect("nothing", lambda connection, event: None)
lost = Effect("", lambda connection, event: None)
no_answer = Effect("no answer: the connection drops", _no_answer)
refused = Effect("an answer that it refuses", _refuse)
no_browser = changed("an answer that browsers refuse")
no_headers = changed("no headers", headers=())
begun = Effect("", _begin)
cut_body = Effect("a body that breaks off", _cut_body)
no_denial = changed("nothing of the first answer")
no_code = changed("close code 1000", code=1000)
no_reason = changed("no reason", reason="")
cut_reason = Effect("the reason's first 123 bytes", _cut_reason)
only_bytes = changed("only the bytes", text=None)
only_text = changed("only the text", bytes=None)
no_json = changed("text that JSON.parse() refuses")


#: A close frame holds 125 bytes, two of them the code (RFC 6455 section 5.5).
LONGEST_REASON = 123
#: What Daphne sends in one frame, in bytes.
DAPHNE_LARGEST_FRAME = 1024 * 1024


# The conditions of the table: on an event of the type that the row is about, and on the
# subprotocols that the client has offered.

_Condition = Callable[[Mapping[str, Any], Sequence[str]], bool]


def always(event: Mapping[str, Any], offered: Sequence[str]) -> bool:
    return True


def _with(key: str, condition: Callable[[Any], object]) -> _Condition:
    """On one value of the event, if it is there."""
    return lambda event, offered: key in event and bool(condition(event[key]))


def _without(key: str) -> _Condition:
    return lambda event, offered: key not in event


def _payload(condition: Callable[[Any, Any], object]) -> _Condition:
    """On the text and the bytes of a frame."""
    return lambda event, offered: bool(condition(event.get("text"), event.get("bytes")))


def _text(condition: Callable[[str], object]) -> _Condition:
    """On the text of a frame that has no bytes."""
    return _payload(lambda text, data: data is None and text and condition(text))


def _selects(condition: Callable[[Any, Sequence[str]], bool]) -> _Condition:
    return lambda event, offered: condition(event.get("subprotocol"), offered)


def _has_code_or_reason(event: Mapping[str, Any], offered: Sequence[str]) -> bool:
    return event.get("code") is not None or bool(event.get("reason"))


def _has_no_type(event: object, offered: Sequence[str]) -> bool:
    return not isinstance(event, Mapping) or "type" not in event


def _are_no_pairs(headers: object) -> bool:
    return not isinstance(headers, (list, tuple)) or not all(
        isinstance(header, (list, tuple))
        and len(header) == 2
        and all(isinstance(part, bytes) for part in header)
        for header in headers
    )


def _is_no_status(status: object) -> bool:
    return not isinstance(status, int) or not 100 <= status < 600


def _is_wrong(text: object, data: object) -> bool:
    if data is not None:
        return not isinstance(data, (bytes, bytearray))
    return text is not None and not isinstance(text, str)


def _is_wrong_and_empty(text: object, data: object) -> bool:
    return not text and not data and _is_wrong(text, data)


def _is_unencodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_json_to_python_only(text: str) -> bool:
    if "NaN" not in text and "Infinity" not in text:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return payload({"text": text}) is text


def _is_too_large(text: str | None, data: bytes | None) -> bool:
    if data is not None:
        return len(data) > DAPHNE_LARGEST_FRAME
    # No character takes more than 4 bytes: most texts need not be encoded to be sure.
    return (
        text is not None
        and 4 * len(text) > DAPHNE_LARGEST_FRAME
        and len(text.encode()) > DAPHNE_LARGEST_FRAME
    )


def _is_int(code: object) -> bool:
    return isinstance(code, int) and not isinstance(code, bool)


def _is_for_protocols(code: Any) -> bool:
    return _is_int(code) and 1001 <= code <= 1014 and code not in (1004, 1011)


def _is_undefined(code: Any) -> bool:
    return _is_int(code) and (
        code == 1004 or not (1000 <= code <= 1015 or 3000 <= code <= 4999)
    )


def _is_no_reason(reason: Any) -> bool:
    if reason is None:
        return False
    return not isinstance(reason, str) or _is_unencodable(reason)


def _is_too_long(reason: Any) -> bool:
    return isinstance(reason, str) and len(reason.encode()) > LONGEST_REASON


class Cells(NamedTuple):
    """What each server makes of one thing."""

    daphne: Effect
    uvicorn: Effect
    hypercorn: Effect


class Rule(NamedTuple):
    """A row: what was sent, what each server makes of it, what to write instead."""

    says: str
    applies: _Condition
    daphne: Effect
    uvicorn: Effect
    hypercorn: Effect
    remedy: str


# The remedies that several rows share.
_ACCEPT_FIRST = "Call accept() first, then send, then close()"
_CLOSE_LATER = "Call accept(), then close() with them: only then do they arrive"
_SELECT = "Select one of scope['subprotocols']"
_PAIRS = "Give headers as a list of pairs of bytes"
_DENY = (
    "Call close(), which is HTTP 403 everywhere, or deploy on a server that offers it"
)
_ANSWER_ONCE = "Answer the handshake once, and with the whole answer at a time"
_BODY_OF_BYTES = "Give it a body of bytes, b'' if there is none"
_ASGI = "Send the events that ASGI defines for a WebSocket, and in its order"
_PAYLOAD = "Send either text, a str, or bytes, a bytes object"
_CODE = "Close with 1000 or a code from 3000 to 4999"
_REASON = "Give a str of at most 123 bytes in UTF-8"
_IN_A_FRAME = "Say it in a data frame, or deploy on a server that sends it"

_ACCEPT, _SEND, _CLOSE = "websocket.accept", "websocket.send", "websocket.close"
_START, _BODY = "websocket.http.response.start", "websocket.http.response.body"
_OTHER = "any type that is not a key beside this one"

# The table: in which phase an event finds the connection, of which type it is, and the
# rows for that. All that apply do, from the top, as long as something of the event is
# left to deliver. A row has two lines: what was sent, and when that is so; then Daphne,
# Uvicorn, Hypercorn, and what to write instead.
# fmt: off

_PARTS = [
    Rule("a denial response without body", _without("body"),
         nothing, no_answer, sent, _BODY_OF_BYTES),
    Rule("a denial response with a body that is not bytes",
         _with("body", lambda body: not isinstance(body, (bytes, bytearray))),
         nothing, no_answer, cut_body, _BODY_OF_BYTES),
]

RULES: dict[Phase, dict[str, Sequence[Rule]]] = {
    "handshake": {
        _SEND: [
            Rule("sent before accept()", always,
                 http(500), http(500), http(500), _ACCEPT_FIRST),
        ],
        _CLOSE: [
            Rule("closed with code or reason before accept()", _has_code_or_reason,
                 http(403), http(403), http(403), _CLOSE_LATER),
        ],
        _ACCEPT: [
            Rule("selects a subprotocol that is not offered",
                 _selects(lambda name, offered: bool(name) and name not in offered),
                 no_answer, refused, no_answer, _SELECT),
            Rule("selects the subprotocol ''",
                 _with("subprotocol", lambda name: name == ""),
                 no_answer, sent, no_answer, _SELECT),
            Rule("selects none of the subprotocols that are offered",
                 _selects(lambda name, offered: not name and bool(offered)),
                 no_browser, no_browser, no_browser, _SELECT),
            Rule("accepted with headers that are no pairs of bytes",
                 _with("headers", _are_no_pairs),
                 no_headers, http(500), no_answer, _PAIRS),
            Rule("accepted with headers", _with("headers", bool),
                 no_headers, sent, sent, _IN_A_FRAME),
        ],
        _START: [
            Rule("a denial response", always,
                 nothing, sent, sent, _DENY),
            Rule("a denial response without HTTP status", _without("status"),
                 nothing, http(500), http(500), "Give it a status from 200 to 599"),
            Rule("a denial response with what is no HTTP status",
                 _with("status", _is_no_status),
                 nothing, http(500), http(500), "Give it a status from 200 to 599"),
            Rule("a denial response without headers", _without("headers"),
                 nothing, sent, http(500), "Give it headers, [] if there are none"),
            Rule("a denial response with headers that are no pairs of bytes",
                 _with("headers", _are_no_pairs),
                 nothing, http(500), http(500), _PAIRS),
        ],
        _BODY: [
            Rule("the body of a denial response that has not begun there", always,
                 nothing, http(500), http(500), _ANSWER_ONCE),
        ],
        _OTHER: [
            Rule("no ASGI event", _has_no_type,
                 http(500), http(500), http(500), _ASGI),
            Rule("an event of unknown type", always,
                 nothing, http(500), http(500), _ASGI),
        ],
    },
    # Daphne ignores the start of a denial response, and so is never in these two.
    "denial": {
        _BODY: [
            *_PARTS,
            Rule("a denial response in several parts", _with("more_body", bool),
                 nothing, sent, begun, _BODY_OF_BYTES),
        ],
        _CLOSE: [
            Rule("closed within a denial response", always,
                 nothing, no_answer, http(403), _ANSWER_ONCE),
        ],
        _ACCEPT: [
            Rule("accepted within a denial response", always,
                 nothing, no_answer, no_denial, _ANSWER_ONCE),
        ],
        _START: [
            Rule("a second start of a denial response", always,
                 nothing, no_answer, no_denial, _ANSWER_ONCE),
        ],
        _OTHER: [
            Rule("sent within a denial response", always,
                 nothing, no_answer, http(500), _ANSWER_ONCE),
        ],
    },
    "body": {
        _BODY: [
            *_PARTS,
        ],
        _OTHER: [
            Rule("sent within the body of a denial response", always,
                 nothing, no_answer, cut_body, _ANSWER_ONCE),
        ],
    },
    "open": {
        _ACCEPT: [
            Rule("a second accept()", always,
                 closed(1011), closed(1006), closed(1011), "Call accept() once"),
        ],
        _SEND: [
            Rule("a frame with text and bytes",
                 _payload(lambda text, data: text and data),
                 closed(1011), only_bytes, only_bytes, _PAYLOAD),
            Rule("a frame with text and empty bytes",
                 _payload(lambda text, data: text and data is not None and not data),
                 only_text, only_bytes, only_bytes, _PAYLOAD),
            Rule("a frame with neither text nor bytes",
                 _payload(lambda text, data: text is None and data is None),
                 nothing, nothing, closed(1011), _PAYLOAD),
            Rule("an empty payload of the wrong type", _payload(_is_wrong_and_empty),
                 nothing, closed(1006), closed(1011), _PAYLOAD),
            Rule("a payload of the wrong type", _payload(_is_wrong),
                 closed(1011), closed(1006), closed(1011), _PAYLOAD),
            Rule("an empty frame", _payload(lambda text, data: not text and not data),
                 nothing, sent, sent, "Put something into it, or leave it out"),
            Rule("bytes that is a bytearray",
                 _payload(lambda text, data: isinstance(data, bytearray)),
                 closed(1011), sent, sent, "Send bytes() of it"),
            Rule("text with a lone surrogate", _text(_is_unencodable),
                 closed(1011), closed(1006), closed(1011), "Send what UTF-8 encodes"),
            Rule("NaN or Infinity, which are not JSON", _text(_is_json_to_python_only),
                 no_json, no_json, no_json, "Send null, or the number as a string"),
            Rule("a frame of over 1 MiB", _payload(_is_too_large),
                 closed(1011), sent, sent, "Send it in several frames"),
        ],
        _CLOSE: [
            Rule("a close code that is None", _with("code", lambda code: code is None),
                 sent, closed(1005), closed(1006), _CODE),
            Rule("a close code that is no int",
                 _with("code", lambda code: code is not None and not _is_int(code)),
                 closed(1011), closed(1006), closed(1006), _CODE),
            Rule("a close code that no frame may carry: 1005, 1006, 1015",
                 _with("code", lambda code: code in (1005, 1006, 1015)),
                 closed(1011), closed(1006), no_code, _CODE),
            Rule("a close code for servers and libraries, 1001 to 1014",
                 _with("code", _is_for_protocols),
                 closed(1011), sent, sent, _CODE),
            Rule("a close code that is not defined", _with("code", _is_undefined),
                 closed(1011), closed(1006), closed(1006), _CODE),
            Rule("a reason that no close frame can carry",
                 _with("reason", _is_no_reason),
                 no_reason, closed(1006), closed(1006), _REASON),
            Rule("a reason of over 123 bytes", _with("reason", _is_too_long),
                 no_reason, closed(1006), cut_reason, _REASON),
            Rule("closed with a reason", _with("reason", bool),
                 no_reason, sent, sent, _IN_A_FRAME),
        ],
        _OTHER: [
            Rule("no ASGI event", _has_no_type,
                 closed(1011), closed(1006), closed(1011), _ASGI),
            Rule("an event of unknown type", always,
                 nothing, closed(1006), closed(1011), _ASGI),
        ],
    },
    "over": {
        _OTHER: [
            Rule("sent when all was over", always,
                 nothing, nothing, nothing, "Mend what ended it, or send no more"),
        ],
    },
    # That the client has left, an application can only learn too late.
    "left": {
        _OTHER: [
            Rule("sent to a client that has left", always,
                 lost, lost, lost, "Nothing: it is no fault of the application"),
        ],
    },
}

# What the client gets when the application ends: it has raised, or it has returned.
ENDINGS: dict[Phase, tuple[Cells, Cells]] = {
    "handshake": (
        Cells(http(500), http(500), http(500)),
        Cells(no_answer, http(500), http(500)),
    ),
    "denial": (
        Cells(nothing, no_answer, http(500)),
        Cells(nothing, no_answer, http(500)),
    ),
    "body": (
        Cells(nothing, no_answer, cut_body),
        Cells(nothing, no_answer, cut_body),
    ),
    "open": (
        Cells(closed(1011), closed(1006), closed(1011)),
        Cells(nothing, closed(1006), closed(1011)),
    ),
}
# fmt: on


class Judgement:
    """What becomes of the events, on each of the servers; every event is read once."""

    def __init__(self, servers: tuple[str, ...], offered: tuple[str, ...]) -> None:
        self.terms = servers, offered
        #: What is undeliverable, by the index of its event.
        self.findings: dict[int, list[Undeliverable]] = {}
        self.connections = {server: Connection() for server in servers}
        self._read = 0
        self._has_ended = False

    def read(self, records: Sequence[Record], ending: Ending | None) -> None:
        """Go on to the end of the records, and of the application."""
        for index in range(self._read, len(records)):
            if ending is not None and records[index].seconds > ending.seconds:
                self._end(ending)
            self._feed(index, records[index])
        self._read = max(self._read, len(records))
        if ending is not None:
            self._end(ending)

    def _feed(self, index: int, record: Record) -> None:
        event, kind = record.event, event_type(record.event)
        if record.direction == "send":
            found: dict[Rule, dict[str, str]] = {}
            for server, connection in self.connections.items():
                for rule, effect in self._meet(server, connection, kind, event):
                    found.setdefault(rule, {})[server] = effect.outcome
            if found:
                self.findings[index] = [
                    Undeliverable(event, self._outcome(rule, outcomes), rule.remedy)
                    for rule, outcomes in found.items()
                ]
        elif kind == "websocket.disconnect":
            for connection in self.connections.values():
                connection.leave(event)

    def _meet(
        self, server: str, connection: Connection, kind: str, event: Any
    ) -> Iterator[tuple[Rule, Effect]]:
        """Do with the event what the server does, and give the rules that it met."""
        left: Any = event
        rows = RULES[connection.phase]
        for rule in rows.get(kind, rows[_OTHER]):
            if self._applies(rule, left):
                effect: Effect = getattr(rule, server)
                if effect.outcome:
                    yield rule, effect
                left = effect.apply(connection, left)
                if left is None:
                    return
        connection.deliver(left)

    def _applies(self, rule: Rule, event: Any) -> bool:
        try:
            return rule.applies(event, self.terms[1])
        except Exception:
            # Applications send objects that cannot so much as be compared.
            return False

    def _outcome(self, rule: Rule, outcomes: dict[str, str]) -> str:
        gets = []
        for outcome in dict.fromkeys(outcomes.values()):
            servers = [server for server in outcomes if outcomes[server] == outcome]
            where = " and ".join(map(str.capitalize, servers))
            everywhere = len(servers) == len(self.connections)
            gets.append(outcome if everywhere else f"{outcome} on {where}")
        return f"{rule.says}: the client gets {', '.join(gets)}"

    def _end(self, ending: Ending) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if ending.cancelled:
            return  # by the test; no server would have
        exception = ending.exception()
        for server, connection in self.connections.items():
            if connection.phase in ENDINGS:
                raised, returned = ENDINGS[connection.phase]
                cells = returned if exception is None else raised
                effect: Effect = getattr(cells, server)
                effect.apply(connection, {})

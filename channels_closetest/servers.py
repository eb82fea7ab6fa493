"""The table: what each server makes of each event that an application sends.

``RULES`` has a row for each kind of event that a server does not deliver as sent, and
``ENDINGS`` has what a client receives when the application ends. Both hold what was
measured with real servers and clients; the README shows them under "What real servers
do", and ``tests/test_servers.py`` compares them with the servers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from .recording import (
    close_code,
    close_reason,
    decode,
    event_type,
    has_more_body,
    payload,
)

#: The servers whose behaviour is known.
SERVERS = ("daphne", "uvicorn", "hypercorn")


#: Where a connection is: nothing sent; a denial response started, a part of its body
#: sent; accepted; rejected or closed, by the application or the server; closed by the
#: client.
Phase = Literal["handshake", "denial", "body", "open", "closed", "client_left"]


class Connection:
    """What the client of one server has received, as it follows from the events."""

    def __init__(self) -> None:
        self.phase: Phase = "handshake"
        self.status: Any = None
        self.subprotocol: str | None = None
        self.close_code: Any = None
        self.close_reason: Any = None
        self._denial_status: Any = None
        self._frames: list[Mapping[str, Any]] = []
        self._messages: list[Any] = []

    @property
    def message_count(self) -> int:
        return len(self._frames)

    @property
    def messages(self) -> list[Any]:
        """The payloads that have reached the client; each is decoded once."""
        self._messages += map(payload, self._frames[len(self._messages) :])
        return self._messages

    def deliver(self, event: Mapping[str, Any]) -> None:
        """Do what a server does with an event to which no rule applies."""
        kind = event_type(event)
        if kind == "websocket.accept":
            self.phase, self.status = "open", 101
            subprotocol: Any = event.get("subprotocol")
            if issubclass(type(subprotocol), str) and len(subprotocol) > 0:
                self.subprotocol = subprotocol
        elif kind == "websocket.send":
            self._frames.append(event)
        elif kind == "websocket.close" and self.phase == "open":
            self.close(close_code(event), close_reason(event))
        elif kind == "websocket.close":
            self.fail_handshake(403)
        elif kind == "websocket.http.response.start":
            self.phase, self._denial_status = "denial", event.get("status")
        else:  # a part of a denial response: rules deal with all other events
            self.phase = "body"
            if not has_more_body(event):
                self.end_denial()

    def fail_handshake(self, status: Any) -> None:
        """End without a connection: the client receives no code and no reason."""
        self.phase, self.status = "closed", status
        self.close_code, self.close_reason = 1006, ""

    def start_denial(self) -> None:
        """Deliver the status: Hypercorn sends it before the body is complete."""
        self.status = self._denial_status

    def end_denial(self) -> None:
        self.fail_handshake(self._denial_status)

    def close(self, code: Any, reason: Any = "") -> None:
        self.phase = "closed"
        self.close_code, self.close_reason = code, reason

    def disconnect(self, event: Mapping[str, Any]) -> None:
        """The client closes the connection."""
        if self.phase == "open":
            self.close(event.get("code", 1005))
        elif self.phase != "closed":
            self.fail_handshake(self.status)
        self.phase = "client_left"


# The cells of the table: what a server does with an event that it does not deliver as
# sent.


class Effect(NamedTuple):
    #: What the client receives.
    outcome: str
    #: Do it, and return what is left of the event to deliver: None for nothing.
    apply: Callable[[Connection, Mapping[str, Any]], Mapping[str, Any] | None]
    #: False where the client receives the event as sent, or cannot receive any.
    is_reported: bool = True


def http(status: int) -> Effect:
    """The handshake fails with this status."""

    def apply(connection: Connection, event: Mapping[str, Any]) -> None:
        connection.fail_handshake(status)

    return Effect(f"HTTP {status}", apply)


def closed(code: int) -> Effect:
    """The connection ends with this code, which is not the application's."""

    def apply(connection: Connection, event: Mapping[str, Any]) -> None:
        connection.close(code)

    return Effect(f"close code {code}", apply)


def changed(outcome: str, **keys: object) -> Effect:
    """The event is delivered with other values for these keys."""
    return Effect(outcome, lambda connection, event: {**event, **keys})


def _fail_without_response(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.fail_handshake(None)


def _reject_response(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.fail_handshake(101)


def _truncate_body(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.end_denial()


def _start_denial(
    connection: Connection, event: Mapping[str, Any]
) -> Mapping[str, Any]:
    connection.start_denial()
    return event


def _cut_reason(connection: Connection, event: Mapping[str, Any]) -> Mapping[str, Any]:
    reason = event["reason"].encode()[:LONGEST_REASON].decode(errors="ignore")
    return {**event, "reason": reason}


sent = Effect("as sent", lambda connection, event: event, is_reported=False)
nothing = Effect("nothing", lambda connection, event: None)
client_left = Effect("nothing", lambda connection, event: None, is_reported=False)
no_response = Effect("no response: the connection is dropped", _fail_without_response)
rejected_response = Effect("a response that the client rejects", _reject_response)
no_browser = changed("a response that browsers reject")
no_headers = changed("no headers", headers=())
status_first = Effect("as sent", _start_denial, is_reported=False)
truncated_body = Effect("a truncated body", _truncate_body)
no_denial = changed("nothing of the first response")
no_code = changed("close code 1000", code=1000)
no_reason = changed("no reason", reason="")
cut_reason = Effect("the reason's first 123 bytes", _cut_reason)
only_bytes = changed("only the bytes", text=None)
only_text = changed("only the text", bytes=None)
no_json = changed("text that JSON.parse() rejects")


#: A close frame holds 125 bytes, two of them the code (RFC 6455 section 5.5).
LONGEST_REASON = 123
#: The largest frame that Daphne sends, in bytes.
DAPHNE_LARGEST_FRAME = 1024 * 1024


# The conditions of the table: on an event of the type that the row is about, and on
# what the client has sent. One that raises does not apply: applications send objects
# that cannot even be compared.


class Client(NamedTuple):
    """What the client, which is the test, has sent so far."""

    #: The subprotocols that it has offered.
    offered: tuple[str, ...]
    #: How often it has sent ``websocket.connect``.
    connects: int


_Condition = Callable[[Mapping[str, Any], Client], bool]


def always(event: Mapping[str, Any], client: Client) -> bool:
    return True


def _connected_twice(event: Mapping[str, Any], client: Client) -> bool:
    return client.connects > 1


def _with(key: str, condition: Callable[[Any], object]) -> _Condition:
    """A condition on one value of the event, if the key is present."""
    return lambda event, client: key in event and bool(condition(event[key]))


def _without(key: str) -> _Condition:
    return lambda event, client: key not in event


def _payload(condition: Callable[[Any, Any], object]) -> _Condition:
    """A condition on the text and the bytes of a frame."""
    return lambda event, client: bool(condition(event.get("text"), event.get("bytes")))


def _text(condition: Callable[[str], object]) -> _Condition:
    """A condition on the text of a frame without bytes."""
    return _payload(lambda text, data: data is None and text and condition(text))


def _selects(condition: Callable[[Any, Sequence[str]], bool]) -> _Condition:
    return lambda event, client: condition(event.get("subprotocol"), client.offered)


def _has_code_or_reason(event: Mapping[str, Any], client: Client) -> bool:
    return event.get("code") is not None or bool(event.get("reason"))


def _has_no_type(event: object, client: Client) -> bool:
    return not isinstance(event, Mapping) or "type" not in event


def _are_invalid_headers(headers: object) -> bool:
    return not isinstance(headers, (list, tuple)) or not all(
        isinstance(header, (list, tuple))
        and len(header) == 2
        and all(isinstance(part, bytes) for part in header)
        for header in headers
    )


def _is_invalid_status(status: object) -> bool:
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
    return decode(text, is_text=True) is text


def _is_too_large(text: str | None, data: bytes | None) -> bool:
    if data is not None:
        return len(data) > DAPHNE_LARGEST_FRAME
    # No character takes more than 4 bytes, so most texts need not be encoded.
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


def _is_invalid_reason(reason: Any) -> bool:
    if reason is None:
        return False
    return not isinstance(reason, str) or _is_unencodable(reason)


def _is_too_long(reason: Any) -> bool:
    return isinstance(reason, str) and len(reason.encode()) > LONGEST_REASON


class PerServer(NamedTuple):
    """What each server does."""

    daphne: Effect
    uvicorn: Effect
    hypercorn: Effect


class Rule(NamedTuple):
    """A row: what was sent, what each server does with it, what to write instead."""

    description: str
    condition: _Condition
    effects: PerServer
    remedy: str


# What to write instead.
_ACCEPT_FIRST = "Call accept() first, then send, then close()"
_CLOSE_LATER = (
    "Call accept() first, then close(): only then does the client receive them"
)
_SELECT = "Accept with one of scope['subprotocols']"
_PAIRS = "Pass headers as a list of pairs of bytes"
_DENY = (
    "Call close(), which is HTTP 403 on every server, or deploy on one that offers it"
)
_ANSWER_ONCE = "Send one complete handshake response"
_BODY_OF_BYTES = "Send a body of bytes, b'' if there is none"
_ASGI = "Send only the events that ASGI defines for a WebSocket, in its order"
_PAYLOAD = "Send either text as a str, or bytes as a bytes object"
_CODE = "Close with 1000 or a code from 3000 to 4999"
_REASON = "Pass a str of at most 123 bytes in UTF-8"
_STATUS = "Send a status from 200 to 599"
_HEADERS = "Send headers, [] if there are none"
_ONCE = "Call accept() once"
_ONE_CONNECTION = "One communicator is one connection: make another"
_NOT_EMPTY = "Send a payload, or no frame"
_BYTES = "Convert it with bytes()"
_UTF_8 = "Send text that UTF-8 can encode"
_NULL = "Send null, or the number as a string"
_SEVERAL_FRAMES = "Send it in several frames"
_NO_MORE = "Fix what ended it, or do not send this"
_NOTHING = "Nothing: the application could not know"
_IN_A_FRAME = "Send it in a data frame, or deploy on a server that delivers it"

_ACCEPT, _SEND, _CLOSE = "websocket.accept", "websocket.send", "websocket.close"
_START, _BODY = "websocket.http.response.start", "websocket.http.response.body"
#: The key of the rows for all types without rows of their own.
OTHER = "any other"

# The table: by the phase of the connection and the type of the event. Rows apply from
# top to bottom, and several may apply to one event, until nothing of it is left to
# deliver. Anything not listed arrives unchanged.
# fmt: off

_PARTS = [
    Rule("a denial response without a body", _without("body"),
         PerServer(nothing, no_response, sent), _BODY_OF_BYTES),
    Rule("a denial response with a body that is not bytes",
         _with("body", lambda body: not isinstance(body, (bytes, bytearray))),
         PerServer(nothing, no_response, truncated_body), _BODY_OF_BYTES),
]

RULES: dict[Phase, dict[str, Sequence[Rule]]] = {
    "handshake": {
        _SEND: [
            Rule("sent before accept()", always,
                 PerServer(http(500), http(500), http(500)), _ACCEPT_FIRST),
        ],
        _CLOSE: [
            Rule("closed with a code or reason before accept()", _has_code_or_reason,
                 PerServer(http(403), http(403), http(403)), _CLOSE_LATER),
        ],
        _ACCEPT: [
            Rule("accepted with a subprotocol that was not offered",
                 _selects(lambda name, offered: bool(name) and name not in offered),
                 PerServer(no_response, rejected_response, no_response), _SELECT),
            Rule("accepted with the subprotocol ''",
                 _with("subprotocol", lambda name: name == ""),
                 PerServer(no_response, sent, no_response), _SELECT),
            Rule("accepted without any of the offered subprotocols",
                 _selects(lambda name, offered: not name and bool(offered)),
                 PerServer(no_browser, no_browser, no_browser), _SELECT),
            Rule("accepted with headers that are not pairs of bytes",
                 _with("headers", _are_invalid_headers),
                 PerServer(no_headers, http(500), no_response), _PAIRS),
            Rule("accepted with headers", _with("headers", bool),
                 PerServer(no_headers, sent, sent), _IN_A_FRAME),
        ],
        _START: [
            Rule("a denial response", always,
                 PerServer(nothing, sent, sent), _DENY),
            Rule("a denial response without an HTTP status", _without("status"),
                 PerServer(nothing, http(500), http(500)), _STATUS),
            Rule("a denial response with an invalid HTTP status",
                 _with("status", _is_invalid_status),
                 PerServer(nothing, http(500), http(500)), _STATUS),
            Rule("a denial response without headers", _without("headers"),
                 PerServer(nothing, sent, http(500)), _HEADERS),
            Rule("a denial response with headers that are not pairs of bytes",
                 _with("headers", _are_invalid_headers),
                 PerServer(nothing, http(500), http(500)), _PAIRS),
        ],
        _BODY: [
            Rule("the body of a denial response that has not started", always,
                 PerServer(nothing, http(500), http(500)), _ANSWER_ONCE),
        ],
        OTHER: [
            Rule("not an ASGI event", _has_no_type,
                 PerServer(http(500), http(500), http(500)), _ASGI),
            Rule("an event of unknown type", always,
                 PerServer(nothing, http(500), http(500)), _ASGI),
        ],
    },
    # Never on Daphne, which ignores the start of a denial response.
    "denial": {
        _BODY: [
            *_PARTS,
            Rule("a denial response in several parts", _with("more_body", bool),
                 PerServer(nothing, sent, status_first), _BODY_OF_BYTES),
        ],
        _CLOSE: [
            Rule("closed during a denial response", always,
                 PerServer(nothing, no_response, http(403)), _ANSWER_ONCE),
        ],
        _ACCEPT: [
            Rule("accepted during a denial response", always,
                 PerServer(nothing, no_response, no_denial), _ANSWER_ONCE),
        ],
        _START: [
            Rule("a second start of a denial response", always,
                 PerServer(nothing, no_response, no_denial), _ANSWER_ONCE),
        ],
        OTHER: [
            Rule("sent during a denial response", always,
                 PerServer(nothing, no_response, http(500)), _ANSWER_ONCE),
        ],
    },
    "body": {
        _BODY: [
            *_PARTS,
        ],
        OTHER: [
            Rule("sent during the body of a denial response", always,
                 PerServer(nothing, no_response, truncated_body), _ANSWER_ONCE),
        ],
    },
    "open": {
        _ACCEPT: [
            Rule("accepted again, because the test has connected twice",
                 _connected_twice,
                 PerServer(nothing, nothing, nothing), _ONE_CONNECTION),
            Rule("a second accept()", always,
                 PerServer(closed(1011), closed(1006), closed(1011)), _ONCE),
        ],
        _SEND: [
            Rule("a frame with text and bytes",
                 _payload(lambda text, data: text and data),
                 PerServer(closed(1011), only_bytes, only_bytes), _PAYLOAD),
            Rule("a frame with text and empty bytes",
                 _payload(lambda text, data: text and data is not None and not data),
                 PerServer(only_text, only_bytes, only_bytes), _PAYLOAD),
            Rule("a frame with neither text nor bytes",
                 _payload(lambda text, data: text is None and data is None),
                 PerServer(nothing, nothing, closed(1011)), _PAYLOAD),
            Rule("an empty payload of the wrong type", _payload(_is_wrong_and_empty),
                 PerServer(nothing, closed(1006), closed(1011)), _PAYLOAD),
            Rule("a payload of the wrong type", _payload(_is_wrong),
                 PerServer(closed(1011), closed(1006), closed(1011)), _PAYLOAD),
            Rule("an empty frame", _payload(lambda text, data: not text and not data),
                 PerServer(nothing, sent, sent), _NOT_EMPTY),
            Rule("a bytearray as bytes",
                 _payload(lambda text, data: isinstance(data, bytearray)),
                 PerServer(closed(1011), sent, sent), _BYTES),
            Rule("text with a lone surrogate", _text(_is_unencodable),
                 PerServer(closed(1011), closed(1006), closed(1011)), _UTF_8),
            Rule("NaN or Infinity, which are not JSON", _text(_is_json_to_python_only),
                 PerServer(no_json, no_json, no_json), _NULL),
            Rule("a frame larger than 1 MiB", _payload(_is_too_large),
                 PerServer(closed(1011), sent, sent), _SEVERAL_FRAMES),
        ],
        _CLOSE: [
            Rule("a close code that is None", _with("code", lambda code: code is None),
                 PerServer(sent, closed(1005), closed(1006)), _CODE),
            Rule("a close code that is not an int",
                 _with("code", lambda code: code is not None and not _is_int(code)),
                 PerServer(closed(1011), closed(1006), closed(1006)), _CODE),
            Rule("a close code that no frame may contain: 1005, 1006 or 1015",
                 _with("code", lambda code: code in (1005, 1006, 1015)),
                 PerServer(closed(1011), closed(1006), no_code), _CODE),
            Rule("a close code reserved for servers and libraries: 1001 to 1014",
                 _with("code", _is_for_protocols),
                 PerServer(closed(1011), sent, sent), _CODE),
            Rule("an undefined close code", _with("code", _is_undefined),
                 PerServer(closed(1011), closed(1006), closed(1006)), _CODE),
            Rule("a reason that no close frame can contain",
                 _with("reason", _is_invalid_reason),
                 PerServer(no_reason, closed(1006), closed(1006)), _REASON),
            Rule("a reason longer than 123 bytes", _with("reason", _is_too_long),
                 PerServer(no_reason, closed(1006), cut_reason), _REASON),
            Rule("closed with a reason", _with("reason", bool),
                 PerServer(no_reason, sent, sent), _IN_A_FRAME),
        ],
        OTHER: [
            Rule("not an ASGI event", _has_no_type,
                 PerServer(closed(1011), closed(1006), closed(1011)), _ASGI),
            Rule("an event of unknown type", always,
                 PerServer(nothing, closed(1006), closed(1011)), _ASGI),
        ],
    },
    "closed": {
        OTHER: [
            Rule("sent after the test has connected twice", _connected_twice,
                 PerServer(nothing, nothing, nothing), _ONE_CONNECTION),
            Rule("sent after the connection had ended", always,
                 PerServer(nothing, nothing, nothing), _NO_MORE),
        ],
    },
    # An application can learn only too late that the client has disconnected.
    "client_left": {
        OTHER: [
            Rule("sent after the client had disconnected", always,
                 PerServer(client_left, client_left, client_left), _NOTHING),
        ],
    },
}

# What the client receives when the application ends: by an exception, or by returning.
ENDINGS: dict[Phase, tuple[PerServer, PerServer]] = {
    "handshake": (
        PerServer(http(500), http(500), http(500)),
        PerServer(no_response, http(500), http(500)),
    ),
    "denial": (
        PerServer(nothing, no_response, http(500)),
        PerServer(nothing, no_response, http(500)),
    ),
    "body": (
        PerServer(nothing, no_response, truncated_body),
        PerServer(nothing, no_response, truncated_body),
    ),
    "open": (
        PerServer(closed(1011), closed(1006), closed(1011)),
        PerServer(nothing, closed(1006), closed(1011)),
    ),
}
# fmt: on

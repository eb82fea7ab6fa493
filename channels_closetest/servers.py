"""The table: what each server makes of each event that an application sends.

``RULES`` has a row for each kind of event that a server does not deliver as sent,
``ENDINGS`` has what a client receives when the application ends, and ``CLIENT_CLOSES``
when it closes the connection itself. ``CLIENT_RULES`` has what no client can send, and
``DISCONNECT_CODES`` what an application receives when the connection ends. All hold
what was measured with real servers and clients; the README shows them under "What real
servers do", and ``tests/test_servers.py`` compares them with the servers.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from .recording import (
    BYTES_LIKE,
    close_code,
    close_reason,
    decode,
    event_type,
    has_more_body,
    is_lazy,
    payload,
    plain_text,
)

ServerName = Literal["daphne", "uvicorn", "hypercorn"]
#: The servers whose behaviour is known.
SERVERS: tuple[ServerName, ...] = ("daphne", "uvicorn", "hypercorn")


#: Where a connection is: nothing sent; a denial response started, a part of its body
#: sent; accepted; rejected or closed, by the application or the server; dropped because
#: the handshake took too long; closed by the client. The last is no phase of a
#: connection: the event comes from a task that an earlier event has ended.
Phase = Literal[
    "handshake",
    "denial",
    "body",
    "open",
    "closed",
    "timed_out",
    "client_left",
    "task_failed",
]


class Connection:
    """What the client of one server has received, as it follows from the events."""

    def __init__(self) -> None:
        self.phase: Phase = "handshake"
        self.status: Any = None
        self.subprotocol: str | None = None
        self.close_code: Any = None
        self.close_reason: Any = None
        #: The tasks that an event of theirs has ended.
        self.failed_tasks: set[int] = set()
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
            self.close_code = self.close_reason = None
            subprotocol = plain_text(event.get("subprotocol"))
            if type(subprotocol) is str and subprotocol:
                self.subprotocol = subprotocol
        elif kind == "websocket.send":
            self._frames.append(event)
        elif kind == "websocket.close" and self.phase == "open":
            self.close(close_code(event), plain_text(close_reason(event)))
        elif kind == "websocket.close":
            self.fail_handshake(403)
        elif kind == "websocket.http.response.start":
            self.phase, self._denial_status = "denial", event.get("status")
        else:  # a part of a denial response: rules deal with all other events
            self.phase = "body"
            if not has_more_body(event):
                self.end_denial()

    def fail_handshake(self, status: Any, phase: Phase = "closed") -> None:
        """End without a connection: the client receives no code and no reason."""
        self.phase, self.status = phase, None if status == 101 else status
        self.close_code, self.close_reason = 1006, ""

    def start_denial(self) -> None:
        """Deliver the status: Hypercorn sends it before the body is complete."""
        self.status = self._denial_status

    def end_denial(self) -> None:
        self.fail_handshake(self._denial_status)

    def close(self, code: Any, reason: Any = "") -> None:
        self.phase = "closed"
        is_int = issubclass(type(code), int)
        self.close_code = int.__index__(code) if is_int else code
        self.close_reason = reason

    def time_out(self) -> None:
        """Drop the connection, because the handshake takes too long."""
        self.fail_handshake(None, "timed_out")


# The cells of the table: what a server does with an event that it does not deliver as
# sent.


class Effect(NamedTuple):
    #: What the client receives.
    outcome: str
    #: Do it, and return what is left of the event to deliver: None for nothing.
    apply: Callable[[Connection, Mapping[str, Any]], Mapping[str, Any] | None]
    #: False where the client receives the event as sent, or cannot receive any.
    is_reported: bool = True
    #: Whether the event raises where it is sent, and this is what follows when the
    #: exception ends the application. In a task that the application has started, it
    #: ends the task, and the connection goes on.
    is_error: bool = False
    #: Whether the event arrives, and only a part of it is lost.
    is_partial: bool = False


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


def error(effect: Effect) -> Effect:
    """The event raises where it is sent, and this follows if nobody catches that."""
    return effect._replace(is_error=True)


def changed(outcome: str, **keys: object) -> Effect:
    """The event is delivered with other values for these keys."""
    return Effect(outcome, lambda connection, event: {**event, **keys})


def without(outcome: str, **keys: object) -> Effect:
    """The event is delivered without the values of these keys."""
    return changed(outcome, **keys)._replace(is_partial=True)


def _fail_without_response(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.fail_handshake(None)


def _fail_unless_answered(connection: Connection, event: Mapping[str, Any]) -> None:
    # The connection is dropped later: a task may respond to the handshake until then.
    connection.fail_handshake(None, connection.phase)


def _echo(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.close(event.get("code", 1005), event.get("reason") or "")


def _select_by_header(
    connection: Connection, event: Mapping[str, Any]
) -> Mapping[str, Any]:
    [value, *_] = _values(event["headers"], b"sec-websocket-protocol")
    return {**event, "subprotocol": str(value, "latin-1")}


def _truncate_body(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.end_denial()


def _start_denial(
    connection: Connection, event: Mapping[str, Any]
) -> Mapping[str, Any]:
    connection.start_denial()
    return event


def _cut_reason(connection: Connection, event: Mapping[str, Any]) -> Mapping[str, Any]:
    reason = str(event["reason"]).encode()[:LONGEST_REASON].decode(errors="ignore")
    return {**event, "reason": reason}


sent = Effect("as sent", lambda connection, event: event, is_reported=False)
nothing = Effect("nothing", lambda connection, event: None)
unreported = Effect("nothing", lambda connection, event: None, is_reported=False)
no_response = Effect("no response: the connection is dropped", _fail_without_response)
rejected_response = Effect("a response that the client rejects", _fail_without_response)
no_response_in_time = no_response._replace(apply=_fail_unless_answered)
no_browser = changed("a response that browsers reject")
by_header = Effect("as sent", _select_by_header, is_reported=False)
no_headers = without("no headers", headers=())
status_first = Effect("as sent", _start_denial, is_reported=False)
truncated_body = Effect("a truncated body", _truncate_body)
no_denial = changed("nothing of the first response")
no_code = changed("close code 1000", code=1000)
no_reason = without("no reason", reason="")
cut_reason = Effect("the reason's first 123 bytes", _cut_reason, is_partial=True)
only_bytes = without("only the bytes", text=None)
only_text = without("only the text", bytes=None)
no_json = changed("text that JSON.parse() rejects")
echoed = Effect("its own code and reason", _echo)
#: What an event from a task that the application has started does instead of an error.
failed_task = Effect(
    "nothing, and the task that sent it fails", lambda connection, event: None
)
error_500 = error(http(500))
error_drop, error_truncated = error(no_response), error(truncated_body)
error_1011, error_1006 = error(closed(1011)), error(closed(1006))


#: A close frame holds 125 bytes, two of them the code (RFC 6455 section 5.5).
LONGEST_REASON = 123
#: The largest frame that Daphne sends, in bytes.
DAPHNE_LARGEST_FRAME = 1024 * 1024
#: Seconds from websocket.connect until a server drops a handshake without response.
#: Those that are not here wait as long as the client does.
HANDSHAKE_TIMEOUTS = {"daphne": 5.0}


# The conditions of the table: on an event of the type that the row is about, and on
# what the client has sent. One that raises does not apply: applications send objects
# that cannot even be compared.


class Client(NamedTuple):
    """What the client, which is the test, has sent so far."""

    #: The subprotocols that it has offered.
    offered: tuple[str, ...]
    #: Whether the headers of its request are pairs of bytes.
    has_valid_headers: bool = True
    #: How often it has sent ``websocket.connect``.
    connects: int = 0
    has_disconnected: bool = False
    #: Whether the application has sent it ``websocket.accept``.
    is_accepted: bool = False


_Condition = Callable[[Mapping[str, Any], Client], bool]


def always(event: Mapping[str, Any], client: Client) -> bool:
    return True


def _connected_twice(event: Mapping[str, Any], client: Client) -> bool:
    return client.connects > 1


def _has_invalid_headers(event: Mapping[str, Any], client: Client) -> bool:
    return not client.has_valid_headers


def _has_disconnected(event: Mapping[str, Any], client: Client) -> bool:
    return client.has_disconnected


def _is_not_accepted(event: Mapping[str, Any], client: Client) -> bool:
    return not client.is_accepted


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
    return _payload(
        lambda text, data: data is None and text and condition(plain_text(text))
    )


def _selects(condition: Callable[[Any, Sequence[str]], bool]) -> _Condition:
    return lambda event, client: condition(event.get("subprotocol"), client.offered)


def _has_code_or_reason(event: Mapping[str, Any], client: Client) -> bool:
    return event.get("code") is not None or bool(event.get("reason"))


def _has_no_type(event: object, client: Client) -> bool:
    return not isinstance(event, Mapping) or "type" not in event


def _values(headers: Any, name: bytes) -> list[bytes]:
    """Return the values of all headers of this name."""
    return [value for key, value in headers or () if key.lower() == name]


def _selects_by_header(event: Mapping[str, Any], client: Client) -> bool:
    return bool(_values(event.get("headers"), b"sec-websocket-protocol"))


def _selects_twice(event: Mapping[str, Any], client: Client) -> bool:
    return bool(event.get("subprotocol")) and _selects_by_header(event, client)


def _is_of_handshake(headers: Any) -> bool:
    return any(name.lower() in _HANDSHAKE_HEADERS for name, _ in headers)


_HANDSHAKE_HEADERS = (b"sec-websocket-accept", b"sec-websocket-extensions", b"upgrade")
#: The characters of a token (RFC 9110 section 5.6.2).
_TOKEN = frozenset(
    b"!#$%&'*+-.^_`|~" + f"{string.digits}{string.ascii_letters}".encode()
)


def _has_invalid_name(headers: Any) -> bool:
    return any(not name or not _TOKEN.issuperset(name) for name, _ in headers)


def _has_control_character(headers: Any) -> bool:
    return any(
        code < 32 and code != 9 or code == 127 for _, value in headers for code in value
    )


def _has_whitespace_around(headers: Any) -> bool:
    return any(value != value.strip(b" \t") for _, value in headers)


def _has_other_str(name: Any) -> bool:
    """Whether it is a ``(str, Enum)``: a server that formats it sends another text."""
    return isinstance(name, str) and str(name) != str.__str__(name)


def are_invalid_headers(headers: object) -> bool:
    return not isinstance(headers, (list, tuple)) or not all(
        isinstance(header, (list, tuple))
        and len(header) == 2
        and all(isinstance(part, bytes) for part in header)
        for header in headers
    )


def _is_invalid_status(status: int) -> bool:
    return not 100 <= status < 600


def _is_wrong(text: object, data: object) -> bool:
    if data is not None:
        return not isinstance(data, BYTES_LIKE)
    return text is not None and not isinstance(text, str) and not is_lazy(text)


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
        return memoryview(data).nbytes > DAPHNE_LARGEST_FRAME
    # No character takes more than 4 bytes, so most texts need not be encoded.
    return (
        text is not None
        and 4 * len(text) > DAPHNE_LARGEST_FRAME
        and len(text.encode()) > DAPHNE_LARGEST_FRAME
    )


def _is_int(code: object) -> bool:
    return isinstance(code, int) and not isinstance(code, bool)


def _is_of_int_subclass(code: object) -> bool:
    return _is_int(code) and type(code) is not int


def _exceeds_two_bytes(code: object) -> bool:
    return isinstance(code, int) and _is_int(code) and not 0 <= code <= 65535


def _is_for_protocols(code: Any) -> bool:
    return _is_int(code) and 1001 <= code <= 1014 and code not in (1004, 1011)


def _is_undefined(code: Any) -> bool:
    return _is_int(code) and (
        code == 1004 or not (1000 <= code <= 1015 or 3000 <= code <= 4999)
    )


def _is_invalid_reason(reason: Any) -> bool:
    if reason is None or is_lazy(reason):
        return False
    return not isinstance(reason, str) or _is_unencodable(reason)


def _is_too_long(reason: Any) -> bool:
    text = plain_text(reason)
    return isinstance(text, str) and len(text.encode()) > LONGEST_REASON


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


class Ends(NamedTuple):
    """What the client receives when the application raises, and when it returns.

    A ``CancelledError`` that the application lets out although nobody has cancelled it
    is to servers as if it had returned.
    """

    raises: PerServer
    returns: PerServer


class ClientRule(NamedTuple):
    """A row about what the test sends: why no client can, what to write instead."""

    description: str
    condition: _Condition
    remedy: str


class DisconnectCode(NamedTuple):
    daphne: int | None
    uvicorn: int | None
    hypercorn: int | None


# What to write instead.
_ACCEPT_FIRST = "Call accept() first, then send, then close()"
_CLOSE_LATER = (
    "Call accept() first, then close(): only then does the client receive them"
)
_SELECT = "Accept with one of scope['subprotocols']"
_NAME = "Accept with the value of the enum, a plain str"
_BY_ARGUMENT = "Pass the subprotocol to accept(), and no header of that name"
_OWN_HEADERS = "Leave the headers of the handshake to the server"
_HTTP = "Pass headers that HTTP allows: a token, and a value without control characters"
_STRIP = "Strip the whitespace"
_STR = "Convert it with str()"
_INT = "Convert it with int()"
_IN_TIME = "Respond within 5 s, or accept first and do the rest then"
_CATCH = "Fix what ended the task, or do not send this"
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
_AFTER_ACCEPT = "Send it after connect() has returned (True, subprotocol)"
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
         PerServer(nothing, error_drop, sent), _BODY_OF_BYTES),
    Rule("a denial response with a body that is not bytes",
         _with("body", lambda body: not isinstance(body, BYTES_LIKE)),
         PerServer(nothing, error_drop, error_truncated), _BODY_OF_BYTES),
]

RULES: dict[Phase, dict[str, Sequence[Rule]]] = {
    "handshake": {
        _SEND: [
            Rule("sent before accept()", always,
                 PerServer(error_500, error_500, error_500), _ACCEPT_FIRST),
        ],
        _CLOSE: [
            Rule("closed with a code or reason before accept()", _has_code_or_reason,
                 PerServer(http(403), http(403), http(403)), _CLOSE_LATER),
        ],
        _ACCEPT: [
            Rule("accepted with headers that are not pairs of bytes",
                 _with("headers", are_invalid_headers),
                 PerServer(no_headers, error_500, no_response), _PAIRS),
            Rule("accepted with a header whose value has a control character",
                 _with("headers", _has_control_character),
                 PerServer(no_headers, error_500, no_response), _HTTP),
            Rule("accepted with a subprotocol and a sec-websocket-protocol header",
                 _selects_twice,
                 PerServer(no_headers, rejected_response, no_response), _BY_ARGUMENT),
            Rule("accepted with a sec-websocket-protocol header", _selects_by_header,
                 PerServer(no_headers, by_header, no_response), _BY_ARGUMENT),
            Rule("accepted with a subprotocol that was not offered",
                 _selects(lambda name, offered: bool(name) and name not in offered),
                 PerServer(no_response, rejected_response, no_response), _SELECT),
            Rule("accepted with the subprotocol ''",
                 _with("subprotocol", lambda name: name == ""),
                 PerServer(no_response, sent, no_response), _SELECT),
            Rule("accepted with a subprotocol whose str() is another text",
                 _with("subprotocol", _has_other_str),
                 PerServer(rejected_response, rejected_response, sent), _NAME),
            Rule("accepted without any of the offered subprotocols",
                 _selects(lambda name, offered: not name and bool(offered)),
                 PerServer(no_browser, no_browser, no_browser), _SELECT),
            Rule("accepted with a header of the handshake: sec-websocket-accept,"
                 " sec-websocket-extensions or upgrade",
                 _with("headers", _is_of_handshake),
                 PerServer(no_headers, rejected_response,
                           rejected_response), _OWN_HEADERS),
            Rule("accepted with a header whose name is not a token",
                 _with("headers", _has_invalid_name),
                 PerServer(no_headers, rejected_response, no_response), _HTTP),
            Rule("accepted with a header whose value has whitespace around",
                 _with("headers", _has_whitespace_around),
                 PerServer(no_headers, sent, no_response), _STRIP),
            Rule("accepted with headers", _with("headers", bool),
                 PerServer(no_headers, sent, sent), _IN_A_FRAME),
        ],
        _START: [
            Rule("a denial response", always,
                 PerServer(nothing, sent, sent), _DENY),
            Rule("a denial response without an HTTP status", _without("status"),
                 PerServer(nothing, error_500, error_500), _STATUS),
            Rule("a denial response with a status that is not an int",
                 _with("status", lambda status: not isinstance(status, int)),
                 PerServer(nothing, error_500, error_500), _STATUS),
            Rule("a denial response with an invalid HTTP status",
                 _with("status", _is_invalid_status),
                 PerServer(nothing, error_500, error_500), _STATUS),
            Rule("a denial response without headers", _without("headers"),
                 PerServer(nothing, sent, error_500), _HEADERS),
            Rule("a denial response with headers that are not pairs of bytes",
                 _with("headers", are_invalid_headers),
                 PerServer(nothing, error_500, error_500), _PAIRS),
            Rule("a denial response with a header whose name is not a token",
                 _with("headers", _has_invalid_name),
                 PerServer(nothing, rejected_response, error_500), _HTTP),
            Rule("a denial response with a header whose value has a control character",
                 _with("headers", _has_control_character),
                 PerServer(nothing, error_drop, error_500), _HTTP),
        ],
        _BODY: [
            Rule("the body of a denial response that has not started", always,
                 PerServer(nothing, error_500, error_500), _ANSWER_ONCE),
        ],
        OTHER: [
            Rule("not an ASGI event", _has_no_type,
                 PerServer(error_500, error_500, error_500), _ASGI),
            Rule("an event of unknown type", always,
                 PerServer(nothing, error_500, error_500), _ASGI),
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
                 PerServer(nothing, error_drop, http(403)), _ANSWER_ONCE),
        ],
        _ACCEPT: [
            Rule("accepted during a denial response", always,
                 PerServer(nothing, error_drop, no_denial), _ANSWER_ONCE),
        ],
        _START: [
            Rule("a second start of a denial response", always,
                 PerServer(nothing, error_drop, no_denial), _ANSWER_ONCE),
        ],
        _SEND: [
            Rule("sent during a denial response", always,
                 PerServer(nothing, error_drop, error_500), _ANSWER_ONCE),
        ],
        OTHER: [
            Rule("an event of unknown type during a denial response", always,
                 PerServer(nothing, error_drop, error_500), _ANSWER_ONCE),
        ],
    },
    # Never on Daphne.
    "body": {
        _BODY: [
            *_PARTS,
        ],
        _CLOSE: [
            Rule("closed during the body of a denial response", always,
                 PerServer(nothing, error_drop, truncated_body), _ANSWER_ONCE),
        ],
        OTHER: [
            Rule("sent during the body of a denial response", always,
                 PerServer(nothing, error_drop, error_truncated), _ANSWER_ONCE),
        ],
    },
    "open": {
        _ACCEPT: [
            Rule("accepted again, because the test has connected twice",
                 _connected_twice,
                 PerServer(*[unreported] * 3), _ONE_CONNECTION),
            Rule("a second accept()", always,
                 PerServer(error_1011, error_1006, error_1011), _ONCE),
        ],
        _SEND: [
            Rule("a frame with text and bytes",
                 _payload(lambda text, data: text and data),
                 PerServer(error_1011, only_bytes, only_bytes), _PAYLOAD),
            Rule("a frame with text and empty bytes",
                 _payload(lambda text, data: text and data is not None and not data),
                 PerServer(only_text, only_bytes, only_bytes), _PAYLOAD),
            Rule("a frame with neither text nor bytes",
                 _payload(lambda text, data: text is None and data is None),
                 PerServer(nothing, nothing, error_1011), _PAYLOAD),
            Rule("an empty payload of the wrong type", _payload(_is_wrong_and_empty),
                 PerServer(nothing, error_1006, error_1011), _PAYLOAD),
            Rule("a payload of the wrong type", _payload(_is_wrong),
                 PerServer(error_1011, error_1006, error_1011), _PAYLOAD),
            Rule("a lazy string as text",
                 _payload(lambda text, data: data is None and is_lazy(text)),
                 PerServer(sent, sent, error_1011), _STR),
            Rule("an empty frame", _payload(lambda text, data: not text and not data),
                 PerServer(nothing, sent, sent), _NOT_EMPTY),
            Rule("a bytearray, a memoryview or a subclass of bytes as bytes",
                 _payload(lambda _, data: data is not None and type(data) is not bytes),
                 PerServer(error_1011, sent, sent), _BYTES),
            Rule("text with a lone surrogate", _text(_is_unencodable),
                 PerServer(error_1011, error_1006, error_1011), _UTF_8),
            Rule("NaN or Infinity, which are not JSON", _text(_is_json_to_python_only),
                 PerServer(no_json, no_json, no_json), _NULL),
            Rule("a frame larger than 1 MiB", _payload(_is_too_large),
                 PerServer(error_1011, sent, sent), _SEVERAL_FRAMES),
        ],
        _CLOSE: [
            Rule("a close code that is None", _with("code", lambda code: code is None),
                 PerServer(sent, closed(1005), error_1006), _CODE),
            Rule("a close code that is not an int",
                 _with("code", lambda code: code is not None and not _is_int(code)),
                 PerServer(error_1011, closed(1006), error_1006), _CODE),
            Rule("a close code that does not fit into two bytes",
                 _with("code", _exceeds_two_bytes),
                 PerServer(error_1011, closed(1006), error_1006), _CODE),
            Rule("a close code that no frame may contain: 1005, 1006 or 1015",
                 _with("code", lambda code: code in (1005, 1006, 1015)),
                 PerServer(error_1011, closed(1006), no_code), _CODE),
            Rule("a close code reserved for servers and libraries: 1001 to 1014",
                 _with("code", _is_for_protocols),
                 PerServer(error_1011, sent, sent), _CODE),
            # Daphne reports an exception with the same code.
            Rule("the close code 1011", _with("code", lambda code: code == 1011),
                 PerServer(error(sent), sent, sent), _CODE),
            Rule("an undefined close code", _with("code", _is_undefined),
                 PerServer(error_1011, closed(1006), closed(1006)), _CODE),
            Rule("a close code of a subclass of int",
                 _with("code", _is_of_int_subclass),
                 PerServer(error_1011, sent, sent), _INT),
            Rule("a reason that no close frame can contain",
                 _with("reason", _is_invalid_reason),
                 PerServer(no_reason, closed(1006), error_1006), _REASON),
            Rule("a lazy string as reason",
                 _with("reason", lambda reason: is_lazy(reason) and reason),
                 PerServer(no_reason, sent, sent), _STR),
            Rule("a reason longer than 123 bytes", _with("reason", _is_too_long),
                 PerServer(no_reason, closed(1006), cut_reason), _REASON),
            Rule("closed with a reason", _with("reason", bool),
                 PerServer(no_reason, sent, sent), _IN_A_FRAME),
        ],
        OTHER: [
            Rule("not an ASGI event", _has_no_type,
                 PerServer(error_1011, error_1006, error_1011), _ASGI),
            Rule("an event of unknown type", always,
                 PerServer(nothing, error_1006, error_1011), _ASGI),
        ],
    },
    "closed": {
        OTHER: [
            Rule("sent after the test has connected twice", _connected_twice,
                 PerServer(*[unreported] * 3), _ONE_CONNECTION),
            Rule("sent after the connection had ended", always,
                 PerServer(nothing, nothing, nothing), _NO_MORE),
        ],
    },
    # Only on Daphne: see HANDSHAKE_TIMEOUTS.
    "timed_out": {
        OTHER: [
            Rule("sent more than 5 s after websocket.connect, as the first response",
                 always,
                 PerServer(no_response, sent, sent), _IN_TIME),
        ],
    },
    # Only from a task that the application has started: see Effect.is_error.
    "task_failed": {
        OTHER: [
            Rule("sent by a task that an earlier event has ended", always,
                 PerServer(nothing, nothing, nothing), _CATCH),
        ],
    },
    # An application can learn only too late that the client has disconnected.
    "client_left": {
        OTHER: [
            Rule("sent after the client had disconnected", always,
                 PerServer(*[unreported] * 3), _NOTHING),
        ],
    },
}

ENDINGS: dict[Phase, Ends] = {
    "handshake": Ends(
        PerServer(http(500), http(500), http(500)),
        PerServer(no_response_in_time, http(500), http(500)),
    ),
    "denial": Ends(
        PerServer(nothing, no_response, http(500)),
        PerServer(nothing, no_response, http(500)),
    ),
    "body": Ends(
        PerServer(nothing, no_response, truncated_body),
        PerServer(nothing, no_response, truncated_body),
    ),
    "open": Ends(
        PerServer(closed(1011), closed(1006), closed(1011)),
        PerServer(nothing, closed(1006), closed(1011)),
    ),
}

# What the test sends, and no client can. These rows hold on every server.
CLIENT_RULES: dict[str, Sequence[ClientRule]] = {
    "websocket.connect": [
        ClientRule("a second websocket.connect", _connected_twice, _ONE_CONNECTION),
        ClientRule("headers that are not pairs of bytes", _has_invalid_headers, _PAIRS),
    ],
    "websocket.receive": [
        ClientRule("a frame after the test has disconnected", _has_disconnected,
                   _ONE_CONNECTION),
        ClientRule("a frame before the handshake is accepted", _is_not_accepted,
                   _AFTER_ACCEPT),
    ],
}

# The code of the websocket.disconnect with which a server ends a connection: while the
# handshake is in progress, after a rejection, when the client closes with 1000, and
# after a close of the application. None is the code of the close frame.
DISCONNECT_CODES = {
    "handshake": DisconnectCode(1006, 1006, 1006),
    "rejected": DisconnectCode(1006, 1006, 1000),
    "open": DisconnectCode(1000, 1000, 1006),
    "closed": DisconnectCode(None, None, 1000),
}

# What a client receives in answer when it closes the connection.
CLIENT_CLOSES = PerServer(closed(1000), echoed, echoed)
# fmt: on


def known_servers(servers: Sequence[ServerName]) -> tuple[ServerName, ...]:
    """Return the names of servers. Raise ``ValueError`` if one is not known."""
    known = isinstance(servers, (list, tuple)) and bool(servers)
    if not known or not all(server in SERVERS for server in servers):
        raise ValueError(
            f"servers must be a list or tuple with one or more of {SERVERS},"
            f" but is {servers!r}"
        )
    return tuple(servers)


def disconnect_event(server: str, connection: Connection) -> dict[str, Any]:
    """Return the event with which a server ends a connection (ASGI, "Disconnect")."""
    is_accepted = connection.status == 101
    if connection.phase == "closed":
        state = "closed" if is_accepted else "rejected"
    else:
        state = "open" if is_accepted else "handshake"
    code: int | None = getattr(DISCONNECT_CODES[state], server)
    event = {
        "type": "websocket.disconnect",
        "code": connection.close_code if code is None else code,
    }
    if server == "uvicorn" and is_accepted:
        event["reason"] = connection.close_reason or ""
    return event

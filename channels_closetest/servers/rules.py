"""The table: what each server makes of each event.

``RULES`` has a row for each kind of event of an application that a server does not
deliver as sent, ``ENDINGS`` what a client receives when the application ends.
``TEST_RULES`` has what the test sends and no client can send, ``CLIENT_CLOSES`` what a
client receives when it closes the connection itself, and ``DISCONNECT_CODES`` what the
application receives when the connection ends. All hold what was measured with real
servers and clients; README.rst beside this file shows them, and
``tests/test_servers.py`` compares them with the servers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ..recording import (
    BYTES_LIKE,
    close_reason,
    decode,
    event_type,
    is_lazy,
    plain_text,
)
from .connection import Client, Connection, Phase, are_invalid_headers

ServerName = Literal["daphne", "uvicorn", "hypercorn"]
#: The servers whose behaviour is known.
SERVERS: tuple[ServerName, ...] = ("daphne", "uvicorn", "hypercorn")


# The cells of the table: what a server does with an event.


class Effect(NamedTuple):
    #: What the client receives.
    outcome: str
    #: Do it, and return what is left of the event to deliver: None for nothing. If that
    #: is the event itself, it arrives as sent.
    apply: Callable[[Connection, Mapping[str, Any]], Mapping[str, Any] | None]
    #: Whether the event raises where it is sent, and this is what follows when the
    #: exception ends the application. In a task that the application has started, it
    #: ends the task, and the connection goes on.
    is_error: bool = False
    #: Whether the event arrives, and only a part of it is lost.
    is_partial: bool = False
    #: False where the client misses nothing, or an earlier finding tells it.
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


def _begin_denial(
    connection: Connection, event: Mapping[str, Any]
) -> Mapping[str, Any]:
    connection.begin_denial()
    return event


def _cut_off_denial(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.fail_handshake(connection.status or 500)


def _close_with_1011(
    connection: Connection, event: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    # A server that reports an exception so does what close(1011) asks for.
    if event_type(event) == "websocket.close" and _is_1011(event.get("code")):
        return event
    connection.close(1011)
    return None


def _is_1011(code: object) -> bool:
    return issubclass(type(code), int) and code == 1011


def _answer(connection: Connection, event: Mapping[str, Any]) -> None:
    # 1006 stands for a client that has vanished, and receives no answer.
    connection.close(1006 if event.get("code") == 1006 else 1000)


def _echo(connection: Connection, event: Mapping[str, Any]) -> None:
    connection.close(event.get("code", 1005), event.get("reason") or "")


def _convert_code(
    connection: Connection, event: Mapping[str, Any]
) -> Mapping[str, Any]:
    return {**event, "code": int(event["code"])}


def _cut_reason(connection: Connection, event: Mapping[str, Any]) -> Mapping[str, Any]:
    reason = str(event["reason"]).encode()[:LONGEST_REASON].decode(errors="ignore")
    return {**event, "reason": reason}


sent = Effect("as sent", lambda connection, event: event)
nothing = Effect("nothing", lambda connection, event: None)
unreported = nothing._replace(is_reported=False)
no_response = Effect("no response: the connection is dropped", _fail_without_response)
rejected_response = Effect("a response that the client rejects", _fail_without_response)
rejected_by_chromium = Effect(
    "a response that Chromium rejects", _fail_without_response
)
begun = Effect("as sent", _begin_denial)
cut_off = Effect("HTTP 500, or a truncated body", _cut_off_denial)
no_headers = without("no headers", headers=())
no_code = changed("close code 1000", code=1000)
converted = Effect("as sent", _convert_code, is_reported=False)
no_reason = without("no reason", reason="")
cut_reason = Effect("the reason's first 123 bytes", _cut_reason, is_partial=True)
only_bytes = without("only the bytes", text=None)
no_json = changed("text that JSON.parse() rejects")
answered = Effect("close code 1000", _answer)
echoed = Effect("its own code and reason", _echo)
#: What an event from a task that the application has started does instead of an error.
failed_task = Effect(
    "nothing, and the task that sent it fails", lambda connection, event: None
)
error_500, error_drop, error_cut_off = map(error, (http(500), no_response, cut_off))
error_1011 = error(Effect("close code 1011", _close_with_1011))
error_1006 = error(closed(1006))


#: A close frame holds 125 bytes, two of them the code (RFC 6455 section 5.5).
LONGEST_REASON = 123
#: The largest frame that Daphne sends and receives, in bytes.
DAPHNE_LARGEST_FRAME = 1024 * 1024


# The conditions of the table: on an event of the type that the row is about, and on
# what the client has sent. One that raises does not apply: applications send objects
# that cannot even be compared.


_Condition = Callable[[Mapping[str, Any], Client], bool]


def always(event: Mapping[str, Any], client: Client) -> bool:
    return True


def _client(condition: Callable[[Client], bool]) -> _Condition:
    """A condition on what the client has sent."""
    return lambda event, client: condition(client)


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


def _has_other_str(name: Any) -> bool:
    """Whether it is a ``(str, Enum)``: a server that formats it sends another text."""
    return isinstance(name, str) and str(name) != str.__str__(name)


#: The name of a header is a token, and its value has neither control characters nor
#: whitespace around it (RFC 9110 sections 5.1 and 5.5).
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"([!-~\x80-\xff]([\t -~\x80-\xff]*[!-~\x80-\xff])?)?")


def _are_malformed(headers: Any) -> bool:
    """Return whether headers are pairs of bytes, but none that HTTP and ASGI allow."""
    return not are_invalid_headers(headers) and not all(
        _NAME.fullmatch(name)
        and _VALUE.fullmatch(value)
        and name.lower() != b"sec-websocket-protocol"
        for name, value in headers
    )


def _is_malformed_start(event: Mapping[str, Any], client: Client) -> bool:
    status, headers = event.get("status"), event.get("headers", ())
    return (
        not isinstance(status, int)
        or not 200 <= status < 600
        or are_invalid_headers(headers)
        or _are_malformed(headers)
    )


def _is_malformed_frame(event: Mapping[str, Any], client: Client) -> bool:
    text, data = plain_text(event.get("text")), event.get("bytes")
    return data is None and (text is None or _is_unencodable(text))


def _is_malformed_close(event: Mapping[str, Any], client: Client) -> bool:
    code, reason = event.get("code", 1000), plain_text(close_reason(event))
    if not isinstance(code, (int, str, float)) or isinstance(code, bool):
        return True
    try:
        fits = 0 <= int(code) <= 65535
    except (ValueError, OverflowError):
        return True
    return not fits or not isinstance(reason, str) or _is_unencodable(reason)


def _is_unencodable(text: object) -> bool:
    """Whether it is text that UTF-8 cannot encode, because of a lone surrogate."""
    try:
        return isinstance(text, str) and text.encode() is None
    except UnicodeEncodeError:
        return True


def _has_no_type(event: object, client: Client) -> bool:
    return not event_type(event)


def _is_wrong(text: object, data: object) -> bool:
    if data is not None:
        return not isinstance(data, BYTES_LIKE)
    return text is not None and not isinstance(text, str) and not is_lazy(text)


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


def _is_defined(code: int) -> bool:
    """Whether RFC 6455 section 7.4 defines the close code, or leaves it to us."""
    return code != 1004 and (1000 <= code <= 1015 or 3000 <= code <= 4999)


def _arrives(code: Any) -> bool:
    """Whether every server sends the close code."""
    return type(code) is int and (code in (1000, 1011) or 3000 <= code <= 4999)


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
    #: Empty for what is lost because of an earlier finding.
    remedy: str | Callable[[Mapping[str, Any]], str]
    #: What to say instead of what the client receives.
    verdict: str = ""


class Ends(NamedTuple):
    """What the client receives when the application raises, and when it returns.

    A ``CancelledError`` that the application lets out although nobody has cancelled it
    is to servers as if it had returned.
    """

    raises: PerServer
    returns: PerServer


class DisconnectCode(NamedTuple):
    daphne: int | None
    uvicorn: int | None
    hypercorn: int | None


# What to write instead.
_ACCEPT_FIRST = "Call accept() first, then send, then close()"
_SELECT = "Accept with one of scope['subprotocols']"
_NAME_OF_ENUM = "Accept with the value of the enum, a plain str"
_STR = "Convert it with str()"
_INT = "Convert it with int()"
_CATCH = "Fix what ended the task, or do not send this"
_PAIRS = "Pass headers as a list of pairs of bytes"
_LOWER_CASE = "Write the names of headers in lower case, as servers pass them"
_SLASH = "Begin the path with a slash"
_DENY = (
    "Call close(), which is HTTP 403 on every server, or deploy on one that offers it"
)
_WHOLE_DENIAL = "Send a last body event, without more_body"
_ASGI = "Send only the events that ASGI defines for a WebSocket, in its order"
_PAYLOAD = "Send either text as a str, or bytes as a bytes object"
_CODE = "Close with 1000 or a code from 3000 to 4999"
_REASON = "Pass a str of at most 123 bytes in UTF-8"
_ONCE = "Call accept() once"
_ONE_CONNECTION = "A communicator is one connection: create another one"
_AFTER_ACCEPT = "Send it after connect() has returned (True, subprotocol)"
_NOT_EMPTY = "Send a payload, or no frame"
_BYTES = "Convert it with bytes()"
_NULL = "Send null, or the number as a string"
_SEVERAL_FRAMES = "Send it in several frames"
_NO_MORE = "Fix what ended it, or do not send this"
_IN_A_FRAME = "Send it in a data frame, or deploy on a server that delivers it"


def _close_later(event: Mapping[str, Any]) -> str:
    arrives = _arrives(event.get("code", 1000))
    close = "close()" if arrives else "close() with a code from 3000 to 4999"
    return f"Call accept() first, then {close}: only then does the client receive them"


_ACCEPT, _SEND, _CLOSE = "websocket.accept", "websocket.send", "websocket.close"
_START, _BODY = "websocket.http.response.start", "websocket.http.response.body"
#: The keys of the rows for all types without rows of their own, and for a denial
#: response that is not completed while the application runs.
OTHER, NO_END = "any other", "no end"

# The table: by the phase of the connection and the type of the event. Rows apply from
# top to bottom, and several may apply to one event, until nothing of it is left to
# deliver. Anything not listed arrives unchanged.
# fmt: off


def _malformed(condition: _Condition, *effects: Effect) -> Rule:
    """What ASGI does not allow, and no row is about: as if it raised everywhere."""
    return Rule(MALFORMED, condition, PerServer(*effects), _ASGI,
                "raises, or is lost, depending on the server")


MALFORMED = "a malformed event"

RULES: dict[Phase, dict[str, Sequence[Rule]]] = {
    "handshake": {
        _SEND: [
            Rule("sent before accept()", always,
                 PerServer(error_500, error_500, error_500), _ACCEPT_FIRST),
        ],
        _CLOSE: [
            Rule("closed with a code or reason before accept()", _has_code_or_reason,
                 PerServer(http(403), http(403), http(403)), _close_later),
        ],
        _ACCEPT: [
            _malformed(_with("headers", _are_malformed),
                       error_500, error_500, error_500),
            Rule("accepted with headers that are not pairs of bytes",
                 _with("headers", are_invalid_headers),
                 PerServer(no_headers, error_500, no_response), _PAIRS),
            Rule("accepted with a subprotocol that was not offered",
                 _selects(lambda name, offered: name not in (None, *offered)),
                 PerServer(no_response, rejected_by_chromium, no_response), _SELECT),
            Rule("accepted with a (str, Enum) subprotocol",
                 _with("subprotocol", _has_other_str),
                 PerServer(rejected_response, rejected_response, sent), _NAME_OF_ENUM),
            Rule("accepted without any of the offered subprotocols",
                 _selects(lambda name, offered: name is None and bool(offered)),
                 PerServer(rejected_by_chromium, rejected_by_chromium,
                           rejected_by_chromium), _SELECT),
            Rule("accepted with headers", _with("headers", bool),
                 PerServer(no_headers, sent, sent), _IN_A_FRAME),
        ],
        _START: [
            Rule("a denial response", always,
                 PerServer(nothing, sent, sent), _DENY),
            _malformed(_is_malformed_start, error_500, error_500, error_500),
            _malformed(_without("headers"), nothing, sent, error_500),
        ],
        _BODY: [
            # On Daphne, where the start has no effect, that of a started response.
            _malformed(always, unreported, error_500, error_500),
        ],
        OTHER: [
            _malformed(always, error_500, error_500, error_500),
        ],
    },
    # Never on Daphne, where the start of a denial response has no effect.
    "denial": {
        NO_END: [
            Rule("a denial response that is not completed", always,
                 PerServer(nothing, no_response, cut_off), _WHOLE_DENIAL,
                 "the client receives no complete response"),
        ],
        _BODY: [
            _malformed(_without("body"), nothing, error_drop, sent),
            _malformed(_with("body", lambda body: not isinstance(body, BYTES_LIKE)),
                       nothing, error_drop, error_cut_off),
            # Never reported: Hypercorn sends the status with it.
            Rule("a part that is not the last", _with("more_body", bool),
                 PerServer(nothing, sent, begun), ""),
        ],
        OTHER: [
            _malformed(always, nothing, error_drop, error_cut_off),
        ],
    },
    "open": {
        _ACCEPT: [
            Rule("a second accept()", always,
                 PerServer(error_1011, error_1006, error_1011), _ONCE),
        ],
        _SEND: [
            _malformed(_is_malformed_frame, error_1011, error_1006, error_1011),
            Rule("a frame with text and bytes",
                 _payload(lambda text, data: text and data is not None),
                 PerServer(error_1011, only_bytes, only_bytes), _PAYLOAD),
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
            Rule("NaN or Infinity, which are not JSON", _text(_is_json_to_python_only),
                 PerServer(no_json, no_json, no_json), _NULL),
            Rule("a frame larger than 1 MiB", _payload(_is_too_large),
                 PerServer(error_1011, sent, sent), _SEVERAL_FRAMES),
        ],
        _CLOSE: [
            _malformed(_is_malformed_close, error_1011, error_1006, error_1011),
            Rule("a close code that is not an int",
                 _with("code", lambda code: not isinstance(code, int)),
                 PerServer(error_1011, closed(1006), converted), _CODE),
            Rule("a close code that no frame may contain: 1005, 1006 or 1015",
                 _with("code", lambda code: code in (1005, 1006, 1015)),
                 PerServer(error_1011, closed(1006), no_code), _CODE),
            Rule("a close code reserved for servers and libraries: 1001 to 1014",
                 _with("code", lambda code: 1001 <= code <= 1014 and code != 1004),
                 PerServer(error_1011, sent, sent), _CODE),
            Rule("an undefined close code",
                 _with("code", lambda code: not _is_defined(code)),
                 PerServer(error_1011, closed(1006), sent), _CODE),
            Rule("a close code of a subclass of int",
                 _with("code", lambda code: type(code) is not int),
                 PerServer(error_1011, sent, sent), _INT),
            Rule("a reason longer than 123 bytes", _with("reason", _is_too_long),
                 PerServer(no_reason, closed(1006), cut_reason), _REASON),
            Rule("closed with a reason", _with("reason", bool),
                 PerServer(no_reason, sent, sent), _IN_A_FRAME),
        ],
        OTHER: [
            _malformed(_has_no_type, error_1011, error_1006, error_1011),
            Rule("an event of unknown type", always,
                 PerServer(nothing, error_1006, error_1011), _ASGI),
        ],
    },
    "closed": {
        OTHER: [
            Rule("sent after the connection had ended", always,
                 PerServer(nothing, nothing, nothing), _NO_MORE),
        ],
    },
    "lost": {
        OTHER: [
            Rule("lost", always, PerServer(nothing, nothing, nothing), "",
                 "the connection had ended"),
        ],
    },
    # Only from a task that the application has started: see Effect.is_error.
    "task_failed": {
        OTHER: [
            Rule("sent from a task that had already failed", always,
                 PerServer(nothing, nothing, nothing), _CATCH),
        ],
    },
}

ENDINGS: dict[Phase, Ends] = {
    "handshake": Ends(
        PerServer(http(500), http(500), http(500)),
        PerServer(no_response, http(500), http(500)),
    ),
    "denial": Ends(*[RULES["denial"][NO_END][0].effects] * 2),
    "open": Ends(
        PerServer(closed(1011), closed(1006), closed(1011)),
        PerServer(nothing, closed(1006), closed(1011)),
    ),
}


def _impossible(description: str, condition: _Condition, remedy: str) -> Rule:
    """What the test sends, and no client can send. Servers do not matter."""
    return Rule(description, condition, PerServer(nothing, nothing, nothing), remedy,
                "no client can send that")


# What the test sends. Of a row that applies, nothing is left for the next.
TEST_RULES: dict[str, Sequence[Rule]] = {
    "websocket.connect": [
        _impossible("a second websocket.connect",
                    _client(lambda client: client.connects > 1), _ONE_CONNECTION),
        _impossible("headers that are not pairs of bytes",
                    _client(lambda client: not client.has_valid_headers), _PAIRS),
        _impossible("headers with names that are not in lower case",
                    _client(lambda client: not client.has_lower_case_headers),
                    _LOWER_CASE),
        _impossible("a path without a leading slash",
                    _client(lambda client: not client.has_absolute_path), _SLASH),
    ],
    "websocket.receive": [
        _impossible("a frame after the test has disconnected",
                    _client(lambda client: client.has_disconnected), _ONE_CONNECTION),
        _impossible("a frame before the handshake is accepted",
                    _client(lambda client: not client.is_accepted), _AFTER_ACCEPT),
        Rule("a frame larger than 1 MiB", _payload(_is_too_large),
             PerServer(closed(1006), sent, sent), _SEVERAL_FRAMES),
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
CLIENT_CLOSES = PerServer(answered, echoed, echoed)
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
    if connection.has_ended:
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

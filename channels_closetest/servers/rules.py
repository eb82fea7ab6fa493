"""The table: what each server makes of each event.

``RULES`` has a row for each kind of event of an application that a server does not
deliver as sent, ``ENDINGS`` what a client receives when the application ends.
``TEST_RULES`` has what the test sends and no client can send, ``CLIENT_CLOSES`` what a
client receives when it closes the connection itself, and ``DISCONNECT_CODES`` what the
application receives when the connection ends. All hold what was measured with real
servers and clients; README.rst beside this file shows them, and
``tests/servers/test_servers.py`` compares them with the servers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from ..recording import BYTES_LIKE, decode, event_type, is_lazy, plain_text
from . import asgi
from .connection import Client, Connection, Event, Phase

ServerName = Literal["daphne", "uvicorn", "hypercorn"]
#: The servers whose behaviour is known.
SERVERS: tuple[ServerName, ...] = ("daphne", "uvicorn", "hypercorn")
_Cell = TypeVar("_Cell")


# The cells of the table: what a server does with an event.


class Effect(NamedTuple):
    #: What the client receives. "As sent" is no finding.
    outcome: str
    #: Do it, and return what is left of the event to deliver: None for nothing. If that
    #: is the event itself, it arrives as sent.
    apply: Callable[[Connection, Event], Event | None]
    #: Whether the event raises where it is sent, and this is what follows when the
    #: exception ends the application. In a task that the application has started, it
    #: ends the task, and the connection goes on.
    is_error: bool = False
    #: Whether the event arrives, and only a part of it is lost.
    is_partial: bool = False


def failed(outcome: str, status: int | None = None) -> Effect:
    """The handshake fails, with this status or without a response."""
    return Effect(outcome, lambda connection, _: connection.fail_handshake(status))


def closed(code: int) -> Effect:
    """The connection ends with this code, which is not the application's."""
    return Effect(f"close code {code}", lambda connection, _: connection.close(code))


def error(effect: Effect) -> Effect:
    """The event raises where it is sent, and this follows if nobody catches that."""
    return effect._replace(is_error=True)


def changed(outcome: str, **keys: object) -> Effect:
    """The event is delivered with other values for these keys."""
    return Effect(outcome, lambda _, event: {**event, **keys})


def without(outcome: str, **keys: object) -> Effect:
    """The event is delivered without the values of these keys."""
    return changed(outcome, **keys)._replace(is_partial=True)


def _cut_reason(_: Connection, event: Event) -> Event:
    reason = str(event["reason"]).encode()[:LONGEST_REASON].decode(errors="ignore")
    return {**event, "reason": reason}


sent = Effect("as sent", lambda connection, event: event)
nothing = Effect("nothing", lambda connection, event: None)
http_403, http_500 = failed("HTTP 403", 403), failed("HTTP 500", 500)
no_response = failed("no response: the connection is dropped")
rejected_response = failed("a response that the client rejects")
rejected_by_chromium = failed("a response that Chromium rejects")
begun = Effect("as sent", Connection.begin_denial)
cut_off = Effect(
    "HTTP 500, or a truncated body", lambda it, _: it.fail_handshake(it.status or 500)
)
no_headers = without("no headers", headers=())
encoded = Effect(
    "as sent", lambda _, event: {**event, "headers": asgi.encoded(event["headers"])}
)
no_code = changed("close code 1000", code=1000)
no_reason = without("no reason", reason="")
cut_reason = Effect("the reason's first 123 bytes", _cut_reason, is_partial=True)
only_bytes = without("only the bytes", text=None)
only_text = without("only the text", bytes=None)
no_json = changed("text that JSON.parse() rejects")
answered = Effect("close code 1000", Connection.answer)
echoed = Effect("its own code and reason", Connection.echo)
#: What an event from a task that the application has started does instead of an error.
failed_task = nothing._replace(outcome="nothing, and the task that sent it fails")
error_500, error_drop, error_cut_off = map(error, (http_500, no_response, cut_off))
error_1011 = error(Effect("close code 1011", Connection.close_with_1011))
error_1006 = error(closed(1006))


#: A close frame holds 125 bytes, two of them the code (RFC 6455 section 5.5).
LONGEST_REASON = 123
#: The largest frame that Daphne sends and receives, in bytes.
DAPHNE_LARGEST_FRAME = 1024 * 1024


# The conditions of the table: on an event of the type that the row is about, and on
# what the client has sent. One that raises does not apply: applications send objects
# that cannot even be compared.


_Condition = Callable[[Event, Client], object]


def always(event: Event, client: Client) -> bool:
    return True


def _with(key: str, condition: Callable[[Any], object]) -> _Condition:
    """A condition on one value of the event, if the key is present."""
    return lambda event, client: key in event and condition(event[key])


def _payload(condition: Callable[[Any, Any], object]) -> _Condition:
    """A condition on the text and the bytes of a frame."""
    return lambda event, client: condition(event.get("text"), event.get("bytes"))


def _unless(is_valid: Callable[[Event], object]) -> _Condition:
    """The condition that an event is not valid, or so odd that asking raises."""

    def condition(event: Event, client: Client) -> bool:
        try:
            return not is_valid(event)
        except Exception:
            return True

    return condition


def _is_wrong(text: object, data: object) -> bool:
    if data is not None:
        return not isinstance(data, BYTES_LIKE)
    return text is not None and not isinstance(text, str) and not is_lazy(text)


def _is_json_to_python_only(text: Any, data: object) -> bool:
    text = plain_text(text)
    is_candidate = data is None and ("NaN" in text or "Infinity" in text)
    # json.loads() raises if it is no JSON to Python either.
    return is_candidate and json.loads(text) and decode(text) is text


def _is_too_large(text: Any, data: Any) -> bool:
    sent = text.encode() if data is None else data
    return memoryview(sent).nbytes > DAPHNE_LARGEST_FRAME


class PerServer(NamedTuple, Generic[_Cell]):
    """A cell for each server."""

    daphne: _Cell
    uvicorn: _Cell
    hypercorn: _Cell


def everywhere(effect: Effect) -> PerServer[Effect]:
    return PerServer(effect, effect, effect)


def on_daphne(effect: Effect) -> PerServer[Effect]:
    """The others deliver the event as sent."""
    return PerServer(effect, sent, sent)


class Rule(NamedTuple):
    """A row: what was sent, what each server does with it, what to write instead."""

    description: str
    condition: _Condition
    effects: PerServer[Effect]
    #: Empty for what is lost because of an earlier finding.
    remedy: str | Callable[[Event], str]
    #: What to say instead of what the client receives.
    verdict: str = ""


def _close_later(event: Event) -> str:
    code = event.get("code", 1000)
    arrives = type(code) is int and (code in (1000, 1011) or 3000 <= code <= 4999)
    close = "close()" if arrives else "close() with a code from 3000 to 4999"
    return f"Call close() without them, or accept() first, then {close}"


# What to write instead, where several rows say the same.
_SELECT = "Accept with one of scope['subprotocols']"
_PAIRS = "Pass headers as a list of pairs of bytes"
_ASGI = "Send only the events that ASGI defines for a WebSocket, in its order"
_PAYLOAD = "Send either text as a str, or bytes as a bytes object"
_CODE = "Close with 1000 or a code from 3000 to 4999"
_ONE_CONNECTION = "A communicator is one connection: create another one"
_SEVERAL_FRAMES = "Send it in several frames"
_IN_A_FRAME = "Send it in a data frame, or deploy on a server that delivers it"

_ACCEPT, _SEND, _CLOSE = "websocket.accept", "websocket.send", "websocket.close"
_START, _BODY = "websocket.http.response.start", "websocket.http.response.body"
#: The keys of the rows for all types without rows of their own, and for a denial
#: response that is not completed while the application runs.
OTHER, NO_END = "any other", "no end"

# The table: by the phase of the connection and the type of the event. Rows apply from
# top to bottom, and several may apply to one event, until nothing of it is left to
# deliver. Anything not listed arrives unchanged.
# fmt: off


def _malformed(condition: _Condition, effects: PerServer[Effect]) -> Rule:
    """What ASGI does not allow, and no row is about: as if it raised everywhere."""
    return Rule(MALFORMED, condition, effects, _ASGI,
                "raises, or is lost, depending on the server")


MALFORMED = "a malformed event"
raised_in_handshake = everywhere(error_500)
raised_in_denial = PerServer(nothing, error_drop, error_cut_off)
raised_when_open = PerServer(error_1011, error_1006, error_1011)

RULES: dict[Phase, dict[str, Sequence[Rule]]] = {
    "handshake": {
        _SEND: [
            Rule("sent before accept()", always, raised_in_handshake,
                 "Call accept() first, then send, then close()"),
        ],
        _CLOSE: [
            Rule("closed with a code or reason before accept()",
                 lambda event, _: event.get("code") is not None or event.get("reason"),
                 everywhere(http_403), _close_later),
        ],
        _ACCEPT: [
            Rule("accepted with a header whose value is a str",
                 _with("headers", asgi.have_str_values),
                 PerServer(no_headers, error_500, encoded), _PAIRS),
            Rule("accepted with headers that are not pairs of bytes",
                 _with("headers", asgi.are_invalid_headers),
                 PerServer(no_headers, error_500, no_response), _PAIRS),
            _malformed(_with("headers", lambda it: not asgi.are_allowed_headers(it)),
                       raised_in_handshake),
            Rule("accepted with a subprotocol that was not offered",
                 lambda event, client:
                     event.get("subprotocol") not in (None, *client.offered),
                 PerServer(no_response, rejected_by_chromium, no_response), _SELECT),
            # A server that formats it sends another text.
            Rule("accepted with a (str, Enum) subprotocol",
                 _with("subprotocol", lambda name: str(name) != str.__str__(name)),
                 PerServer(rejected_response, rejected_response, sent),
                 "Accept with the value of the enum, a plain str"),
            Rule("accepted without any of the offered subprotocols",
                 lambda event, client:
                     client.offered and event.get("subprotocol") is None,
                 everywhere(rejected_by_chromium), _SELECT),
            Rule("accepted with headers", _with("headers", bool),
                 on_daphne(no_headers), _IN_A_FRAME),
        ],
        _START: [
            Rule("a denial response", always, on_daphne(nothing),
                 "Call close(), which is HTTP 403 on every server, or deploy on one"
                 " that offers it"),
            _malformed(_unless(asgi.is_start), raised_in_handshake),
            _malformed(lambda event, _: "headers" not in event,
                       PerServer(nothing, sent, error_500)),
        ],
        _BODY: [
            # On Daphne, the start has no effect, and the finding is about that.
            _malformed(always, PerServer(sent, error_500, error_500)),
        ],
        OTHER: [
            _malformed(always, raised_in_handshake),
        ],
    },
    # Never on Daphne, where the start of a denial response has no effect.
    "denial": {
        NO_END: [
            Rule("a denial response that is not completed", always,
                 PerServer(nothing, no_response, cut_off),
                 "Send a last body event, without more_body",
                 "the client receives no complete response"),
        ],
        _BODY: [
            _malformed(lambda event, _: "body" not in event,
                       PerServer(nothing, error_drop, sent)),
            _malformed(_with("body", lambda body: not isinstance(body, BYTES_LIKE)),
                       raised_in_denial),
            # Never reported: Hypercorn sends the status with it.
            Rule("a part that is not the last", _with("more_body", bool),
                 PerServer(nothing, sent, begun), ""),
        ],
        OTHER: [
            _malformed(always, raised_in_denial),
        ],
    },
    "open": {
        _ACCEPT: [
            Rule("a second accept()", always, raised_when_open, "Call accept() once"),
        ],
        _SEND: [
            Rule("a frame with text and empty bytes",
                 _payload(lambda text, data:
                          text and isinstance(data, BYTES_LIKE) and not data),
                 PerServer(only_text, only_bytes, only_bytes), _PAYLOAD),
            Rule("a frame with text and bytes",
                 _payload(lambda text, data: text and data is not None),
                 PerServer(error_1011, only_bytes, only_bytes), _PAYLOAD),
            Rule("a payload of the wrong type", _payload(_is_wrong), raised_when_open,
                 _PAYLOAD),
            _malformed(_unless(asgi.is_frame), raised_when_open),
            Rule("a lazy string as text",
                 _payload(lambda text, data: data is None and is_lazy(text)),
                 PerServer(sent, sent, error_1011), "Convert it with str()"),
            Rule("an empty frame", _payload(lambda text, data: not text and not data),
                 on_daphne(nothing), "Send a payload, or no frame"),
            Rule("a bytearray, a memoryview or a subclass of bytes as bytes",
                 _payload(lambda _, data: data is not None and type(data) is not bytes),
                 on_daphne(error_1011), "Convert it with bytes()"),
            Rule("NaN or Infinity, which are not JSON",
                 _payload(_is_json_to_python_only),
                 everywhere(no_json), "Send null, or the number as a string"),
            Rule("a frame larger than 1 MiB", _payload(_is_too_large),
                 on_daphne(error_1011), _SEVERAL_FRAMES),
        ],
        _CLOSE: [
            _malformed(_unless(asgi.is_close), raised_when_open),
            Rule("a close code that is not an int",
                 _with("code", lambda code: not isinstance(code, int)),
                 PerServer(error_1011, closed(1006), sent), _CODE),
            Rule("a close code that no frame may contain: 1005, 1006 or 1015",
                 _with("code", lambda code: code in (1005, 1006, 1015)),
                 PerServer(error_1011, closed(1006), no_code), _CODE),
            Rule("a close code reserved for servers and libraries: 1001 to 1014",
                 _with("code", lambda code: 1001 <= code <= 1014 and code != 1004),
                 on_daphne(error_1011), _CODE),
            # RFC 6455 section 7.4 neither defines it nor leaves it to applications.
            Rule("an undefined close code",
                 _with("code", lambda code: code == 1004
                       or not (1000 <= code <= 1015 or 3000 <= code <= 4999)),
                 PerServer(error_1011, closed(1006), sent), _CODE),
            Rule("a close code of a subclass of int",
                 _with("code", lambda code: type(code) is not int),
                 on_daphne(error_1011), "Convert it with int()"),
            Rule("a reason longer than 123 bytes",
                 _with("reason", lambda reason:
                       len(plain_text(reason).encode()) > LONGEST_REASON),
                 PerServer(no_reason, closed(1006), cut_reason),
                 "Pass a str of at most 123 bytes in UTF-8"),
            Rule("closed with a reason", _with("reason", bool),
                 on_daphne(no_reason), _IN_A_FRAME),
        ],
        OTHER: [
            _malformed(lambda event, _: not event_type(event), raised_when_open),
            Rule("an event of unknown type", always,
                 PerServer(nothing, error_1006, error_1011), _ASGI),
        ],
    },
    "closed": {
        OTHER: [
            Rule("sent after the connection had ended", always,
                 everywhere(nothing), "Fix what ended it, or do not send this"),
        ],
    },
    "lost": {
        OTHER: [
            Rule("lost", always, everywhere(nothing), "", "the connection had ended"),
        ],
    },
    # Only from a task that the application has started: see Effect.is_error.
    "task_failed": {
        OTHER: [
            Rule("sent from a task that had already failed", always,
                 everywhere(nothing), "Fix what ended the task, or do not send this"),
        ],
    },
}

#: What the client receives when the application raises, and when it returns. A
#: ``CancelledError`` that it lets out although nobody has cancelled it is to servers as
#: if it had returned.
ENDINGS: dict[Phase, tuple[PerServer[Effect], PerServer[Effect]]] = {
    "handshake": (
        everywhere(http_500),
        PerServer(no_response, http_500, http_500),
    ),
    "denial": (
        PerServer(nothing, no_response, cut_off),
        PerServer(nothing, no_response, cut_off),
    ),
    "open": (
        PerServer(closed(1011), closed(1006), closed(1011)),
        PerServer(nothing, closed(1006), closed(1011)),
    ),
}


def _impossible(description: str, condition: _Condition, remedy: str) -> Rule:
    """What the test sends, and no client can send. Servers do not matter."""
    return Rule(description, condition, everywhere(nothing), remedy,
                "no client can send that")


# What the test sends. Of a row that applies, nothing is left for the next.
TEST_RULES: dict[str, Sequence[Rule]] = {
    "websocket.connect": [
        _impossible("a second websocket.connect",
                    lambda _, client: client.passed["receive", "websocket.connect"] > 1,
                    _ONE_CONNECTION),
        _impossible("headers that are not pairs of bytes",
                    lambda _, client: client.headers
                    and asgi.are_invalid_headers(client.headers), _PAIRS),
        _impossible("headers with names that are not in lower case",
                    lambda _, client:
                        any(name != name.lower() for name, _ in client.headers),
                    "Write the names of headers in lower case, as servers pass them"),
        _impossible("a path without a leading slash",
                    lambda _, client: isinstance(client.path, str)
                    and not client.path.startswith("/"),
                    "Begin the path with a slash"),
    ],
    "websocket.receive": [
        _impossible("a frame after the test has disconnected",
                    lambda _, client:
                        ("receive", "websocket.disconnect") in client.passed,
                    _ONE_CONNECTION),
        _impossible("a frame before the handshake is accepted",
                    lambda _, client: ("send", "websocket.accept") not in client.passed,
                    "Send it after connect() has returned (True, subprotocol)"),
        Rule("a frame larger than 1 MiB", _payload(_is_too_large),
             on_daphne(closed(1006)), _SEVERAL_FRAMES),
    ],
}

# The code of the websocket.disconnect with which a server ends a connection: while the
# handshake is in progress, after a rejection, when the client closes with 1000, and
# after a close of the application. None is the code of the close frame.
# The keys are whether the handshake was accepted, and whether the connection has ended.
DISCONNECT_CODES: dict[tuple[bool, bool], PerServer[int | None]] = {
    (False, False): PerServer(1006, 1006, 1006),
    (False, True): PerServer(1006, 1006, 1000),
    (True, False): PerServer(1000, 1000, 1006),
    (True, True): PerServer(None, None, 1000),
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
    codes = DISCONNECT_CODES[is_accepted, connection.has_ended]
    code: int | None = getattr(codes, server)
    event = {
        "type": "websocket.disconnect",
        "code": connection.close_code if code is None else code,
    }
    if server == "uvicorn" and is_accepted:
        event["reason"] = connection.close_reason or ""
    return event

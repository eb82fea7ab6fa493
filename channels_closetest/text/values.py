"""Shows events, values and exceptions, each on one line.

Whatever an application sends may be huge, unprintable or hostile: showing it never
raises.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any, cast

from ..recording import Place, close_code, event_type, has_more_body

#: How many characters of a payload fit a terminal line beside time and type.
PAYLOAD_WIDTH = 50


def format_event(event: object, width: int = 0) -> str:
    """Return an event on one line: its type, and of its content as much as fits."""
    kind = event_type(event)
    if kind not in _DETAILS:
        return format_value(event)
    name, format_details = _DETAILS[kind]
    details = format_details(cast("Mapping[str, Any]", event))
    return f"{name:<{width}} {details}".rstrip()


def _format_accept(event: Mapping[str, Any]) -> str:
    details = [
        f"{key} {format_value(event[key])}"
        for key in ("subprotocol", "headers")
        if event.get(key) is not None
    ]
    return ", ".join(details)


def _format_frame(event: Mapping[str, Any]) -> str:
    payloads = [event.get("text"), event.get("bytes")]
    payloads = [payload for payload in payloads if payload is not None]
    width = PAYLOAD_WIDTH // max(1, len(payloads))
    details = [format_value(payload, width) for payload in payloads]
    return " and ".join(details) or "with neither text nor bytes"


def _format_close(event: Mapping[str, Any]) -> str:
    code, reason = close_code(event), event.get("reason")
    width = PAYLOAD_WIDTH // (1 if reason is None else 2)
    parts = (code, reason)
    return " ".join(format_value(part, width) for part in parts if part is not None)


def _format_body(event: Mapping[str, Any]) -> str:
    more = ", more to come" if has_more_body(event) else ""
    return f"body {format_value(event.get('body', b''))}{more}"


_DETAILS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "websocket.connect": ("connect", lambda event: ""),
    "websocket.receive": ("receive", _format_frame),
    "websocket.disconnect": (
        "disconnect",
        lambda event: format_value(event.get("code", 1005)),
    ),
    "websocket.accept": ("accept", _format_accept),
    "websocket.send": ("send", _format_frame),
    "websocket.close": ("close", _format_close),
    "websocket.http.response.start": (
        "denial",
        lambda event: f"HTTP {format_value(event.get('status'))}",
    ),
    "websocket.http.response.body": ("denial", _format_body),
}


def format_value(value: Any, width: int = PAYLOAD_WIDTH) -> str:
    """Return a value on one line: text as is if it can be printed, else its repr()."""
    try:
        if issubclass(type(value), (str, bytes, bytearray)):
            return _format_text(value, width)
        if issubclass(type(value), Mapping):
            value = dict(value)
        for limit in (6, 3, 2, 1):
            shown = _format_object(value, limit, width * limit // 6)
            if len(shown) <= width:
                return shown
    except Exception as error:
        return f"{type(value).__name__} (cannot be shown: {type(error).__name__})"
    return type(value).__name__


def _format_text(value: str | bytes | bytearray, width: int) -> str:
    """Cut the middle out of a long text, so that its end can be seen, too."""
    size = len(value)
    if size <= width:
        is_plain = isinstance(value, str) and _is_plain(value)
        shown = str(value) if is_plain else repr(value)
        if len(shown) <= width + len("''"):
            return shown
    half = min(width, size - 1) // 2
    head, tail = value[:half], value[-half:]
    if isinstance(value, str) and _is_plain(f"{head!s}{tail!s}"):
        return f"{head!s}...{tail!s} ({size} in all)"
    while len(repr(head)) + len(repr(tail)) > width + len("''") and half > 1:
        half = half * 3 // 4
        head, tail = value[:half], value[-half:]
    return f"{head!r}...{tail!r} ({size} in all)"


def _is_plain(text: str) -> bool:
    return text.isprintable() and text == text.strip() != ""


def _format_object(value: object, limit: int, width: int) -> str:
    shorter = reprlib.Repr()
    shorter.maxstring = shorter.maxother = max(width, 6)
    shorter.maxdict = shorter.maxlist = shorter.maxtuple = shorter.maxset = limit
    return " ".join(shorter.repr(value).split())


def format_exception(exception: BaseException, place: Place | None) -> str:
    """Return an exception as a traceback shows it, and the line that raised it."""
    cls = type(exception)
    name = cls.__qualname__
    if cls.__module__ not in ("builtins", "__main__"):
        name = f"{cls.__module__}.{name}"
    try:
        text = str(exception)
    except Exception as error:
        text = f"(cannot be shown: {type(error).__name__})"
    shown = f"{name}: {format_value(text, 2 * PAYLOAD_WIDTH)}" if text else name
    return shown if place is None else f"{shown}, {place}"


def format_path(scope: object) -> str:
    """Return the path of a connection with its query string."""
    if not isinstance(scope, Mapping):
        return "?"
    try:
        path, query = scope.get("path", "?"), scope.get("query_string")
    except Exception:
        return "?"  # a scope of the test's own making
    shown = format_value(path)
    if issubclass(type(query), bytes) and query:
        shown += f"?{format_value(query.decode(errors='replace'))}"
    return shown


def count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"

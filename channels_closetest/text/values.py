"""Shows events, values and exceptions, each on one line.

Whatever an application sends may be huge, unprintable or hostile: showing it never
raises.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from ..recording import Place, close_code, event_type, has_more_body

#: How many characters a value may take on a line of a message.
VALUE_WIDTH = 64


def format_event(event: Any, column: int = 0, width: int = VALUE_WIDTH) -> str:
    """Return an event on one line: its type, and of its content as much as fits.

    The type fills a column, and the content has the width.
    """
    kind, details = event_type(event), ""
    name = kind.removeprefix("websocket.")
    match kind:
        case "websocket.receive" | "websocket.send":
            details = _join(" and ", width, event.get("text"), event.get("bytes"))
            details = details or "with neither text nor bytes"
        case "websocket.accept":
            found = [(key, event.get(key)) for key in ("subprotocol", "headers")]
            found = [(key, it) for key, it in found if it is not None]
            each = width // max(1, len(found))
            shown = [f"{key} {format_value(it, each - len(key))}" for key, it in found]
            details = ", ".join(shown)
        case "websocket.close":
            details = _join(" ", width, close_code(event), event.get("reason"))
        case "websocket.disconnect":
            details = format_value(event.get("code", 1005), width)
        case "websocket.http.response.start":
            status = format_value(event.get("status"), width - len("HTTP "))
            name, details = "denial", f"HTTP {status}"
        case "websocket.http.response.body":
            more = ", more to come" if has_more_body(event) else ""
            name = "denial"
            body = format_value(event.get("body", b""), width - len(more))
            details = f"body {body}{more}"
        case "websocket.connect":
            pass
        case _:
            return format_value(event, width)
    return f"{name:<{column}} {details}".rstrip()


def _join(separator: str, width: int, *values: object) -> str:
    """Return the values that are not None, and of each as much as fits."""
    shown = [it for it in values if it is not None]
    return separator.join(format_value(it, width // len(shown)) for it in shown)


def format_value(value: Any, width: int = VALUE_WIDTH) -> str:
    """Return a value on one line: text as is if it can be printed, else its repr()."""
    try:
        if issubclass(type(value), (str, bytes, bytearray)):
            return _format_text(value, width)
        if issubclass(type(value), Mapping):
            value = dict(value)
        shorter = reprlib.Repr()
        for limit in (6, 3, 2, 1):
            shorter.maxstring = shorter.maxother = max(width * limit // 6, 6)
            shorter.maxdict = shorter.maxlist = shorter.maxtuple = shorter.maxset = (
                limit
            )
            shown = " ".join(shorter.repr(value).split())
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
        if len(shown) <= width:
            return shown
    length = f"({size} in all)"
    width -= len(f"... {length}")
    half = min(width, size - 1) // 2
    while half > 0:
        head, tail = value[:half], value[-half:]
        if isinstance(value, str) and _is_plain(f"{head!s}{tail!s}"):
            return f"{head!s}...{tail!s} {length}"
        if len(repr(head)) + len(repr(tail)) <= width:
            return f"{head!r}...{tail!r} {length}"
        half = half * 3 // 4
    return length


def _is_plain(text: str) -> bool:
    return text.isprintable() and text == text.strip() != ""


def format_place(place: Place | None, width: int = 40) -> str:
    """Return a place as it can be opened; of a long path the end is shown."""
    shown = "" if place is None else str(place)
    return shown if len(shown) <= width else f"...{shown[3 - width:]}"


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
    shown = f"{name}: {format_value(text, 2 * VALUE_WIDTH)}" if text else name
    return shown if place is None else f"{shown}, {place}"


def format_path(scope: Any) -> str:
    """Return the path of a connection with its query string."""
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

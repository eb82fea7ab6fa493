"""What ASGI and HTTP allow: headers, and the values of events."""

from __future__ import annotations

import re
from typing import Any

from ..recording import close_reason, is_lazy, plain_text
from .connection import Event

#: The name of a header is a token, and its value has neither control characters nor
#: whitespace around it (RFC 9110 sections 5.1 and 5.5).
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"([!-~\x80-\xff]([\t -~\x80-\xff]*[!-~\x80-\xff])?)?")


def are_invalid_headers(headers: Any, allowed: Any = bytes) -> bool:
    """Whether headers are not pairs of bytes, or their values are not allowed."""
    # What can be read only once is left to the server.
    return not isinstance(headers, (list, tuple)) or not all(
        isinstance(header, (list, tuple))
        and len(header) == 2
        and isinstance(header[0], bytes)
        and isinstance(header[1], allowed)
        for header in headers
    )


def encoded(headers: Any) -> list[Any]:
    return [
        (name, value.encode("ascii") if isinstance(value, str) else value)
        for name, value in headers
    ]


def have_str_values(headers: Any) -> bool:
    """Whether headers are pairs of bytes once such values are encoded."""
    return (
        are_invalid_headers(headers)
        and not are_invalid_headers(headers, (bytes, str))
        and bool(encoded(headers))
    )


def are_allowed_headers(headers: Any) -> bool:
    """Whether headers are pairs of bytes that HTTP and ASGI allow."""
    return not are_invalid_headers(headers) and all(
        _NAME.fullmatch(name)
        and _VALUE.fullmatch(value)
        and name.lower() != b"sec-websocket-protocol"
        for name, value in headers
    )


def is_start(event: Event) -> bool:
    """Whether a denial response may start so."""
    status = event["status"]
    is_status = isinstance(status, int) and 200 <= status < 600
    return is_status and are_allowed_headers(event.get("headers", ()))


def is_frame(event: Event) -> bool:
    text: Any = event.get("text")
    # A lone surrogate cannot be encoded, nor can None.
    return event.get("bytes") is not None or is_lazy(text) or text.encode() is not None


def is_close(event: Event) -> bool:
    code, reason = event.get("code", 1000), plain_text(close_reason(event))
    is_number = isinstance(code, (int, str, float)) and not isinstance(code, bool)
    return is_number and 0 <= int(code) <= 65535 and reason.encode() is not None

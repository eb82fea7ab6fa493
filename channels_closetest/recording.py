"""What has passed between a test and the application: plain data, no I/O, no asyncio.

An application may send anything at all. Whatever is not what ASGI defines reads as
absent, and reading it never raises.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from types import CodeType, MappingProxyType
from typing import Any, Literal, NamedTuple, NoReturn

Direction = Literal["receive", "send"]
#: How an application ends: on its own, also with a CancelledError although nobody has
#: cancelled it; or because the test cancels it, or closes its coroutine.
Outcome = Literal["returned", "raised", "cancelled itself", "cancelled", "forced"]


class Place(NamedTuple):
    """A line of code."""

    file: str
    line: int

    def __str__(self) -> str:
        """Return it relative to the working directory, if it lies below that."""
        here = os.path.join(os.getcwd(), "")
        return f"{self.file.removeprefix(here)}:{self.line}"


#: Code, and the offset of an instruction in it. Not a frame, which would keep its local
#: variables alive, and not the line, which takes long to find in a long function.
RawPlace = tuple[CodeType, int]


def resolve(place: RawPlace | None) -> Place | None:
    if place is None:
        return None
    code, offset = place
    lines = (line for start, end, line in code.co_lines() if start <= offset < end)
    return Place(code.co_filename, next(lines, None) or code.co_firstlineno)


class Record(NamedTuple):
    """One event, as sent."""

    #: The ASGI callable that the event passed through, as the application knows it:
    #: the application receives what the test sends.
    direction: Literal["receive", "send"]
    #: The ASGI event: a read-only copy, if it is a mapping as ASGI requires.
    event: Any
    #: Seconds since the first event of the transcript.
    seconds: float
    #: The line of the project that sent it, or else of a library, or None.
    place: Place | None = None


class Crash(NamedTuple):
    """What an application, or a task that it started, has raised, and where."""

    exception: BaseException
    place: Place | None


#: The fields of a Record, and the number of the task that sent the event if the
#: application has started that task itself, else 0.
RawRecord = tuple[Direction, Any, float, RawPlace | None, int]


class DenialResponse(NamedTuple):
    """The HTTP response that the application sent to reject the handshake.

    ASGI extension ``websocket.http.response``, "WebSocket Denial Response".
    """

    #: The HTTP status.
    status: int
    #: The headers as sent: pairs of ``bytes``.
    headers: list[tuple[bytes, bytes]]
    #: The body as far as it has been sent, in one piece.
    body: bytes


class Ending(NamedTuple):
    """How the application ended."""

    #: How many events had passed.
    position: int
    #: Seconds since the first event.
    seconds: float
    outcome: Outcome

    # Not the exception: its frames hold the queues, which hold the recording, and that
    # would be a reference cycle.

    @property
    def is_interrupted(self) -> bool:
        """Whether the test ended the application, as no server does."""
        return self.outcome in ("cancelled", "forced")


class Recording:
    """Everything that has passed so far. It only ever grows at its end."""

    # An attribute of the class, because mock.patch("time.perf_counter") and freezegun
    # replace what modules hold.
    now = staticmethod(time.perf_counter)

    #: None until the application has ended.
    ending: Ending | None = None
    _start = 0.0
    #: How many records have been searched for answers.
    _searched = 0

    def __init__(self) -> None:
        #: When it was made, on the clock of now().
        self.made = self.now()
        # Plain tuples: most records of most tests are never looked at.
        self.records: list[RawRecord] = []
        self._answers: list[Mapping[str, Any]] = []

    def add(
        self,
        direction: Direction,
        event: object,
        place: RawPlace | None = None,
        task: int = 0,
    ) -> None:
        now = self.now()
        if not self.records:
            self._start = now
        seconds = now - self._start
        self.records.append((direction, _copy_event(event), seconds, place, task))

    def end(self, outcome: Outcome) -> None:
        seconds = self.now() - self._start if self.records else 0.0
        self.ending = Ending(len(self.records), seconds, outcome)

    @property
    def passed(self) -> Counter[tuple[Direction, str]]:
        """How many events of each direction and type have passed."""
        return Counter((it[0], event_type(it[1])) for it in self.records)

    @property
    def close(self) -> Mapping[str, Any] | None:
        """The first ``websocket.close`` of the application."""
        return next(iter(self._sent("websocket.close")), None)

    @property
    def denial_response(self) -> DenialResponse | None:
        """The first denial response of the application, as far as it has been sent."""
        start, parts = self.denial()
        if start is None:
            return None
        headers = start.get("headers", ())
        chunks = [plain_bytes(part.get("body", b"")) for part in parts]
        return DenialResponse(
            start.get("status"),  # type: ignore[arg-type]  # whatever was sent
            list(headers) if type(headers) in (list, tuple) else [],
            b"".join(it for it in chunks if type(it) is bytes),
        )

    @property
    def denial_in_progress(self) -> bool:
        """Whether a denial response has started, and more of its body is to come."""
        start, parts = self.denial()
        return start is not None and (not parts or has_more_body(parts[-1]))

    def denial(self) -> tuple[Mapping[str, Any] | None, list[Mapping[str, Any]]]:
        """Return the start of the first denial response, and its body in parts."""
        start, parts = None, []
        for event in self._sent(_DENIAL_START, _DENIAL_BODY):
            if event_type(event) == _DENIAL_START:
                start = event if start is None else start
            elif start is not None:
                parts.append(event)
                if not has_more_body(event):
                    break
        return start, parts

    def _sent(self, *types: str) -> list[Mapping[str, Any]]:
        """Return the answers of these types that the application has sent."""
        new = self.records[self._searched :]
        self._searched += len(new)
        sent = (event for direction, event, *_ in new if direction == "send")
        self._answers += [event for event in sent if event_type(event) in _ANSWERS]
        return [event for event in self._answers if event_type(event) in types]


_DENIAL_START = "websocket.http.response.start"
_DENIAL_BODY = "websocket.http.response.body"
_ANSWERS = {"websocket.close", _DENIAL_START, _DENIAL_BODY}


# Reading ASGI events. Types are compared with type(), because __class__ and with it
# isinstance() may run code of the application, and fail.


def event_type(event: object) -> str:
    """Return the type of an ASGI event, or ``""`` if it has none."""
    cls = type(event)
    # The abstract class comes last because it is slow, and this runs for every event.
    if cls is not dict and not issubclass(cls, Mapping):
        return ""
    mapping: Any = event
    try:
        kind = mapping.get("type")
    except Exception:
        return ""  # a mapping of the application's own making
    if type(kind) is str:
        return kind
    return str.__str__(kind) if issubclass(type(kind), str) else ""


def payload(event: Mapping[str, Any]) -> Any:
    """Return the payload of a data frame: JSON text decoded, other text as sent.

    Binary payloads are ``bytes``, also where a ``bytearray``, a ``memoryview`` or a
    subclass was sent, and lazy strings are ``str``, because that is what a client
    receives.
    """
    data: Any = event.get("bytes")
    if data is not None:
        return plain_bytes(data)
    text: Any = event.get("text")
    return decode(plain_text(text) if is_lazy(text) else text)


#: What servers send as a binary payload.
BYTES_LIKE = (bytes, bytearray, memoryview)


def plain_bytes(data: Any) -> Any:
    """Return data as ``bytes``, also where something like ``bytes`` was sent."""
    if type(data) is not bytes and issubclass(type(data), BYTES_LIKE):
        with contextlib.suppress(ValueError):  # a memoryview that has been released
            return bytes(memoryview(data))
    return data


def is_lazy(value: object) -> bool:
    """Return whether it is one of Django's lazy strings, such as ``gettext_lazy()``."""
    return type(value) is not str and any(
        cls.__name__ == "Promise" and cls.__module__ == "django.utils.functional"
        for cls in type(value).__mro__
    )


def plain_text(value: Any) -> Any:
    """Return text as a ``str``, also where a subclass or a lazy string was sent."""
    if issubclass(type(value), str):
        return str.__str__(value)
    if is_lazy(value):
        # The function behind it is the application's own.
        with contextlib.suppress(Exception):
            return str(value)
    return value


def decode(text: Any) -> Any:
    """Return what JSON text stands for, and anything else as it is."""
    if issubclass(type(text), str):
        with contextlib.suppress(ValueError, RecursionError):
            return _json.decode(text)
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259 section 6)")


#: Made once, because json.loads() makes a decoder for each call with such an argument.
_json = json.JSONDecoder(parse_constant=_refuse_constant)


def has_more_body(event: Mapping[str, Any]) -> bool:
    more = event.get("more_body")
    return issubclass(type(more), int) and bool(more)


def close_code(close: Mapping[str, Any]) -> int:
    """Return the code of a ``websocket.close``: 1000 where it is absent (ASGI)."""
    code: int | None = close.get("code")
    return 1000 if code is None else code


def close_reason(close: Mapping[str, Any]) -> str:
    """Return the reason of a ``websocket.close``: empty where it is absent (ASGI)."""
    reason: str | None = close.get("reason")
    return "" if reason is None else reason


# Copying, so that a later change of an event does not show.


def _copy_event(event: Any) -> Any:
    """Return a ``dict`` if the event is a mapping, and else the event itself."""
    cls = type(event)
    if cls is not dict and not issubclass(cls, Mapping):
        return event
    try:
        copy = dict(event)
    except Exception:
        return event  # a mapping of the application's own making
    for key, value in copy.items():
        if type(value) not in _IMMUTABLE:
            with contextlib.suppress(RecursionError):  # it nests too deeply
                copy[key] = _copy(value)
    return copy


_IMMUTABLE = {str, bytes, int, float, bool, type(None)}


def _copy(value: Any) -> Any:
    """Copy built-in containers only, which runs no code of the application."""
    kind = type(value)
    if kind is dict:
        return {key: _copy(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind(map(_copy, value))
    return bytearray(value) if kind is bytearray else value


def read_only(event: Any) -> Any:
    """Return a recorded event for the public: every ``dict`` there is a copy."""
    return MappingProxyType(event) if type(event) is dict else event

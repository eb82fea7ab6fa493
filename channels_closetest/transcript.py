"""Records what passes between a test and the application, and shows it.

Nothing here waits, and nothing an application sends makes anything here raise.
"""

from __future__ import annotations

import os
import reprlib
import sysconfig
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, takewhile
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, cast, overload

from .client_view import (
    ClientView,
    Connection,
    DenialResponse,
    Judgement,
    Undeliverable,
    close_code,
    event_type,
    has_more_body,
)

#: Where a traceback is not in the code of the project.
_HERE = os.path.dirname(__file__)
_LIBRARIES = tuple(map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))
#: How many characters of a payload fit a terminal line beside time and type.
PAYLOAD_WIDTH = 50
#: How many events a note on an exception shows from the start, and from the end.
NOTE_HEAD, NOTE_TAIL = 10, 20


class Record(NamedTuple):
    """One event, as it was when it passed."""

    #: The ASGI callable the event passed through, as the application knows it:
    #: ``"receive"`` brings it what the test sends, ``"send"`` takes what it sends.
    direction: Literal["receive", "send"]
    #: The ASGI event: a read-only copy, if it was a mapping as ASGI wants it.
    event: Any
    #: Seconds since the first event of the transcript.
    seconds: float


class Ending(NamedTuple):
    """How the application ended, ``seconds`` after the first event."""

    seconds: float
    cancelled: bool
    #: What it raised, or None. Called only to judge or to show the ending, because
    #: asyncio reports an exception that nobody has asked for.
    exception: Callable[[], BaseException | None]


class Recording:
    """All that has passed so far; it only ever grows at its end."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.ending: Ending | None = None
        self.accepted = False
        #: The first ``websocket.close`` of the application.
        self.close: Mapping[str, Any] | None = None
        #: Its ``websocket.http.response.start`` and the ``.body`` events after it.
        self.denial: list[Mapping[str, Any]] = []
        self._start = 0.0
        self._judgement: Judgement | None = None

    def add(self, direction: Literal["receive", "send"], event: object) -> None:
        now = time.perf_counter()
        if not self.records:
            self._start = now
        copy = _copy_event(event)
        self.records.append(Record(direction, copy, now - self._start))
        if direction == "receive":
            return
        kind = event_type(copy)
        if kind == "websocket.accept":
            self.accepted = True
        elif kind == "websocket.close" and self.close is None:
            self.close = copy
        elif kind == "websocket.http.response.start" and not self.denial:
            self.denial.append(copy)
        elif kind == "websocket.http.response.body" and self.denial_goes_on():
            self.denial.append(copy)

    def denial_goes_on(self) -> bool:
        last = self.denial[-1:]
        return bool(last) and (len(self.denial) == 1 or has_more_body(last[0]))

    def end(
        self, cancelled: bool, exception: Callable[[], BaseException | None]
    ) -> None:
        seconds = time.perf_counter() - self._start if self.records else 0.0
        self.ending = Ending(seconds, cancelled, exception)

    def milestones(self) -> list[str]:
        """How far the connection has come, in words."""
        denial = self.denial_response()
        return [
            *(["accepted"] if self.accepted else []),
            *([f"denied {_show(denial.status)}"] if denial else []),
            *([f"closed {_show(close_code(self.close))}"] if self.close else []),
        ]

    def denial_response(self) -> DenialResponse | None:
        if not self.denial:
            return None
        start, *parts = self.denial
        headers = start.get("headers", ())
        chunks = [part.get("body", b"") for part in parts]
        return DenialResponse(
            start.get("status"),  # type: ignore[arg-type]  # whatever was sent
            list(headers) if type(headers) in (list, tuple) else [],
            b"".join(
                chunk for chunk in chunks if issubclass(type(chunk), (bytes, bytearray))
            ),
        )

    def judge(
        self,
        servers: tuple[str, ...],
        offered: tuple[str, ...],
        count: int | None = None,
    ) -> Judgement:
        """The judgement of all that has passed, or at least of the first ``count``.

        Each event is judged only once.
        """
        if self._judgement is None or self._judgement.terms != (servers, offered):
            self._judgement = Judgement(servers, offered)
        if count is None:
            self._judgement.read(self.records, self.ending)
        else:
            self._judgement.read(self.records[:count], None)
        return self._judgement


class Transcript(Sequence[Record]):
    """Everything that has passed in both directions, in order.

    A sequence of :class:`Record`; ``str()`` of it is made for reading. It goes on
    growing as long as the communicator that gave it is in use.
    """

    def __init__(
        self,
        recording: Recording,
        path: str,
        servers: tuple[str, ...],
        offered_subprotocols: tuple[str, ...],
    ) -> None:
        self._recording = recording
        self._path = path
        self._terms = servers, offered_subprotocols

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        return self._recording.records[index]

    def __len__(self) -> int:
        return len(self._recording.records)

    def __repr__(self) -> str:
        return f"<Transcript of {self._path}: {len(self)} events>"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def excerpt(self) -> str:
        """As ``str()``, but of a long transcript only the start and the end."""
        left_out = range(NOTE_HEAD, len(self) - NOTE_TAIL)
        return "\n".join(self._lines(left_out if len(left_out) > 1 else range(0)))

    def client_view(self) -> ClientView:
        """What a client of the first server has seen so far."""
        servers, _ = self._terms
        return self._recording.judge(*self._terms).connections[servers[0]].view()

    def undeliverable(self) -> list[Undeliverable]:
        """What a client of any of the servers does not get as it was sent."""
        findings = self._recording.judge(*self._terms).findings
        return [found for founds in findings.values() for found in founds]

    def first_frame(self) -> Undeliverable | None:
        """Why the client does not get the first data frame, if it does not."""
        frames = (
            index
            for index, (direction, event, _) in enumerate(self)
            if direction == "send" and event_type(event) == "websocket.send"
        )
        first = next(frames, -1)
        judgement = self._recording.judge(*self._terms, first + 1)
        return next(iter(judgement.findings.get(first, ())), None)

    def _lines(self, left_out: range = range(0)) -> Iterator[str]:
        recording, servers = self._recording, self._terms[0]
        judgement, ending = recording.judge(*self._terms), recording.ending
        yield self._path
        for index in chain(range(left_out.start), range(left_out.stop, len(self))):
            record = recording.records[index]
            if left_out and index == left_out.stop:
                yield f"{'...':>8}      {len(left_out)} more events"
            if ending is not None and ending.seconds < record.seconds:
                yield self._line(ending.seconds, describe_ending(ending))
                ending = None
            arrow = "->" if record.direction == "receive" else "<-"
            line = self._line(
                record.seconds, f"{arrow} {describe(record.event, width=10)}"
            )
            found = judgement.findings.get(index, ())
            outcomes = "; ".join(undeliverable.outcome for undeliverable in found)
            yield f"{line:<48}  !! {outcomes}" if outcomes else line
        if ending is not None:
            yield self._line(ending.seconds, describe_ending(ending))
        seen = describe_connection(judgement.connections[servers[0]])
        yield f"a client of {servers[0].capitalize()} sees: {seen}"

    def _line(self, seconds: float, shown: str) -> str:
        return f"{seconds * 1000:8.1f} ms  {shown}"


# Showing. What an application sends may be huge, unprintable or hostile.


def describe(event: object, width: int = 0) -> str:
    """An event on one line: its type, and what it holds as far as that fits."""
    kind = event_type(event)
    if kind not in _DETAILS:
        return _show(event)
    name, details = _DETAILS[kind]
    return f"{name:<{width}} {details(cast('Mapping[str, Any]', event))}".rstrip()


def _accept(event: Mapping[str, Any]) -> str:
    shown = [
        f"{key} {_show(event[key])}"
        for key in ("subprotocol", "headers")
        if event.get(key) is not None
    ]
    return ", ".join(shown)


def _frame(event: Mapping[str, Any]) -> str:
    payloads = [event.get("text"), event.get("bytes")]
    payloads = [payload for payload in payloads if payload is not None]
    width = PAYLOAD_WIDTH // max(1, len(payloads))
    shown = [_show(payload, width) for payload in payloads]
    return " and ".join(shown) or "with neither text nor bytes"


def _close(event: Mapping[str, Any]) -> str:
    code, reason = close_code(event), event.get("reason")
    width = PAYLOAD_WIDTH // (1 if reason is None else 2)
    return " ".join(_show(part, width) for part in (code, reason) if part is not None)


def _body(event: Mapping[str, Any]) -> str:
    more = ", more to come" if has_more_body(event) else ""
    return f"body {_show(event.get('body', b''))}{more}"


_DETAILS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "websocket.connect": ("connect", lambda event: ""),
    "websocket.receive": ("receive", _frame),
    "websocket.disconnect": (
        "disconnect",
        lambda event: _show(event.get("code", 1005)),
    ),
    "websocket.accept": ("accept", _accept),
    "websocket.send": ("send", _frame),
    "websocket.close": ("close", _close),
    "websocket.http.response.start": (
        "denial",
        lambda event: f"HTTP {_show(event.get('status'))}",
    ),
    "websocket.http.response.body": ("denial", _body),
}

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = PAYLOAD_WIDTH


def _show(value: Any, width: int = PAYLOAD_WIDTH) -> str:
    """A value on one line: text as it is if it can be printed, all else as repr()."""
    try:
        if issubclass(type(value), (str, bytes)):
            shown = value[: width + 1]
            if issubclass(type(value), bytes) or not _is_plain(shown):
                shown = repr(shown)
            if len(shown) <= width:
                return str(shown)
            return f"{shown[:width]}... ({len(value)} in all)"
        if issubclass(type(value), Mapping):
            value = dict(value)
        shown = " ".join(_repr.repr(value).split())
    except Exception as error:
        return f"{type(value).__name__} (cannot be shown: {type(error).__name__})"
    return shown if len(shown) <= width else f"{shown[:width]}..."


def _is_plain(text: str) -> bool:
    return text.isprintable() and text == text.strip() != ""


def describe_ending(ending: Ending) -> str:
    if ending.cancelled:
        return "the application was cancelled"
    exception = ending.exception()
    if exception is None:
        return "the application returned"
    # Above the frames of the application are those of the calls that have raised it.
    frames = traceback.extract_tb(exception.__traceback__)[::-1]
    of_application = takewhile(lambda it: not it.filename.startswith(_HERE), frames)
    own = [it for it in of_application if not it.filename.startswith(_LIBRARIES)]
    where = "".join(f", {it.filename}:{it.lineno}" for it in (own or frames)[:1])
    return f"the application raised {_show(exception)}{where}"


def describe_connection(connection: Connection) -> str:
    if connection.status is not None:
        seen = f"HTTP {_show(connection.status)}"
    elif connection.close_code is None:
        seen = "no answer yet"
    else:
        seen = "no answer"
    if connection.subprotocol is not None:
        seen += f", subprotocol {_show(connection.subprotocol)}"
    if connection.delivered:
        count = len(connection.delivered)
        seen += f", {count} message{'s' * (count > 1)}"
    if connection.close_code is not None:
        seen += f", then close code {_show(connection.close_code)}"
    if issubclass(type(connection.close_reason), str) and connection.close_reason:
        seen += f" {_show(connection.close_reason)}"
    return seen


def show_path(scope: object) -> str:
    """The path of a connection as its client wrote it, more or less."""
    if not isinstance(scope, Mapping):
        return "?"
    path, query = _show(scope.get("path", "?")), scope.get("query_string")
    if issubclass(type(query), bytes) and query:
        path += f"?{_show(query.decode(errors='replace'))}"
    return path


# The texts of failures: what happened, what was seen instead, what to do next.


def show_came(events: int, frames: int, denial: DenialResponse | None) -> str:
    if denial is not None:
        status = _show(denial.status)
        return f"the start of a denial response, HTTP {status}, but not its end"
    if frames:
        return f"{frames} data frame{'s' * (frames > 1)}, now in pre_close_messages"
    return f"{events} other event{'s' * (events > 1)}" if events else "nothing"


def show_timed_out(call: str, awaited: str, came: str, where: str) -> str:
    return f"{call} timed out. Awaited: {awaited}. Came: {came}.\n{where}"


def show_idle(recording: Recording) -> str:
    received = {
        event_type(event)
        for direction, event, _ in recording.records
        if direction == "receive"
    }
    denial, close = recording.denial_response(), recording.close
    if "websocket.connect" not in received:
        how, advice = "has not been sent websocket.connect", "Call connect() first"
    elif denial is not None and recording.denial_goes_on():
        how = "has begun a denial response, and not ended it"
        advice = "Let it send a websocket.http.response.body without more_body"
    elif denial is not None:
        how = f"has denied the handshake with HTTP {_show(denial.status)}"
        advice = "Look at denial_response"
    elif close is not None:
        how = f"has closed with {_show(close_code(close))}"
        advice = "Look in pre_close_messages for what it has said before"
    elif not recording.accepted:
        how = "has not answered the handshake"
        advice = "Let its connect() call accept() or close()"
    else:
        how = "has handled every event it was sent"
        advice = "Let a handler of it send, or send it an event that makes it"
    return f"The consumer is idle: it {how}.\n{advice}."


def show_returned(call: str, awaited: str, came: str) -> str:
    return (
        f"{call} has nothing to wait for: the application has returned."
        f" Awaited: {awaited}. Came: {came}.\n"
        "Let it send before it returns, or before a handler raises StopConsumer."
    )


def show_cancelled(how: str) -> str:
    if not how:
        return "The application was cancelled, and not by a call that timed out."
    return (
        f"The application is cancelled: {how}. Like the parent class, this one cancels"
        " an application that lets a call time out.\n"
        "Ask receive_nothing() whether something comes: it cancels nothing."
    )


def show_no_answer(event: object) -> str:
    return (
        "connect() expected websocket.accept, websocket.close or"
        f" websocket.http.response.start, but the application sent {describe(event)}."
        " Let it answer the handshake first."
    )


def show_denied(denial: DenialResponse | None) -> str:
    status = "?" if denial is None else _show(denial.status)
    return (
        "wait_closed() expected websocket.close, but the application has denied the"
        f" handshake with HTTP {status}.\nLook at denial_response instead."
    )


def show_undeliverable(found: Undeliverable) -> str:
    return f"{describe(found.event)}\n  {found.outcome}.\n  {found.remedy}."


def show_refused(undeliverable: Iterable[Undeliverable]) -> str:
    return (
        "strict: the application sent what not every client gets as it was sent.\n"
        + "\n".join(map(show_undeliverable, undeliverable))
    )


# Copying. A later change to an event must not show.


def _copy_event(event: Any) -> Any:
    cls = type(event)
    if cls is not dict and not issubclass(cls, Mapping):
        return event
    try:
        copy = dict(event)
        if not _IMMUTABLE.issuperset(map(type, copy.values())):
            copy = _copy(copy)
        return MappingProxyType(copy)
    except RecursionError:
        return MappingProxyType(dict(event))
    except Exception:
        # A mapping of somebody else's making that cannot be read: shown as it is.
        return event


_IMMUTABLE = {str, bytes, int, float, bool, type(None)}


def _copy(value: Any) -> Any:
    """Copy builtin containers only: to copy runs no code of the application."""
    kind = type(value)
    if kind is dict:
        return {key: _copy(item) for key, item in value.items()}
    if kind is list:
        return [_copy(item) for item in value]
    if kind is tuple:
        return tuple([_copy(item) for item in value])
    if kind is bytearray:
        return bytearray(value)
    return value

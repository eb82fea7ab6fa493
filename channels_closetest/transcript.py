"""Shows a recording, and words every failure.

Whatever an application sends may be huge, unprintable or hostile: it is shown on one
line, and showing it never raises.
"""

from __future__ import annotations

import os
import reprlib
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, takewhile
from typing import Any, cast, overload

from .client_view import Replay, Undeliverable
from .recording import (
    DenialResponse,
    Ending,
    Record,
    Recording,
    close_code,
    event_type,
    has_more_body,
    read_only,
)
from .servers import Connection

#: Frames of these are not in the code of the project.
HERE = os.path.dirname(__file__)
LIBRARIES = tuple(map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))
#: How many characters of a payload fit a terminal line beside time and type.
PAYLOAD_WIDTH = 50
#: How many events a note on an exception shows from the start, and from the end.
NOTE_HEAD, NOTE_TAIL = 10, 20


class Transcript(Sequence[Record]):
    """Everything that has passed in both directions, in order.

    A snapshot, and a sequence of :class:`Record`; ``str()`` of it is made for reading.
    Two of the same moment are equal.
    """

    def __init__(
        self,
        recording: Recording,
        path: str,
        servers: tuple[str, ...],
        offered: tuple[str, ...],
    ) -> None:
        # Not copied: a recording only ever grows at its end.
        self._recording = recording
        self._length = len(recording.records)
        self._ending = recording.ending
        self._path = path
        self._servers = servers
        self._offered = offered

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        # A range does what a sequence does with negative and with wrong indices.
        positions = range(self._length)[index]
        if isinstance(positions, range):
            return [self._record(position) for position in positions]
        return self._record(positions)

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Transcript):
            return NotImplemented
        return self._moment() == other._moment()

    def _moment(self) -> tuple[object, ...]:
        # The records are tuples that are equal if they are identical, so that no event
        # is compared with itself: not everything that is sent can be.
        records = self._recording.records[: self._length]
        return self._path, self._servers, self._offered, self._ending, records

    def __repr__(self) -> str:
        return f"<Transcript of {self._path}: {len(self)} events>"

    def __str__(self) -> str:
        return "\n".join(self._lines(range(0)))

    def excerpt(self) -> str:
        """Return the start and the end of a long transcript, and else all of it."""
        left_out = range(NOTE_HEAD, len(self) - NOTE_TAIL)
        return "\n".join(self._lines(left_out if len(left_out) > 1 else range(0)))

    def _record(self, position: int) -> Record:
        direction, event, seconds = self._recording.records[position]
        return Record(direction, read_only(event), seconds)

    def _lines(self, left_out: range) -> Iterator[str]:
        replay = Replay(self._servers, self._offered)
        replay.advance(self._recording.records, self._length, self._ending)
        outcomes: dict[int, list[str]] = {}
        for position, undeliverable in replay.findings:
            outcomes.setdefault(position, []).append(undeliverable.outcome)
        ending = self._ending
        yield self._path
        for position in chain(range(left_out.start), range(left_out.stop, len(self))):
            direction, event, seconds = self._recording.records[position]
            if left_out and position == left_out.stop:
                yield f"{'...':>8}      {len(left_out)} more events"
            if ending is not None and ending.position <= position:
                yield _line(ending.seconds, format_ending(ending))
                ending = None
            arrow = "->" if direction == "receive" else "<-"
            line = _line(seconds, f"{arrow} {format_event(event, width=10)}")
            if position in outcomes:
                line = f"{line:<48}  !! {'; '.join(outcomes[position])}"
            yield line
        if ending is not None:
            yield _line(ending.seconds, format_ending(ending))
        seen = format_connection(replay.connection)
        yield f"a client of {self._servers[0].capitalize()} sees: {seen}"


class TranscriptNote(str):
    """A note for an exception (PEP 678): what its communicators have recorded.

    As a ``str`` it has no characters, so that ``pytest.raises(match="^text$")``, which
    matches notes as well, matches what it matches with the parent class. Whoever shows
    notes calls ``str()``, and only then are the transcripts rendered.
    """

    def __new__(cls) -> TranscriptNote:
        return super().__new__(cls)

    def __init__(self) -> None:
        self._transcripts: list[Transcript] = []
        self._newest = 0.0

    def add(self, transcript: Transcript) -> None:
        """Add a transcript, unless there is one of the same communicator."""
        recording = transcript._recording
        if any(recording is other._recording for other in self._transcripts):
            return
        if self._newest < recording.made:
            # A communicator that is newer than what the exception carries raises it
            # anew: it is a singleton, which would collect those of all tests.
            self._transcripts.clear()
        self._transcripts.append(transcript)
        self._newest = recording.now()

    def __str__(self) -> str:
        return "\n".join(
            f"Transcript: {transcript.excerpt()}" for transcript in self._transcripts
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Parallel test runners pickle exceptions.
        return _RenderedNote, (str(self),)


class _RenderedNote(str):
    """The note of an exception that comes from another process."""

    def __new__(cls, text: str) -> _RenderedNote:
        return super().__new__(cls)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __reduce__(self) -> tuple[object, ...]:
        return _RenderedNote, (self._text,)


def add_transcript(exception: BaseException, transcript: Transcript) -> None:
    """Let an exception carry a transcript as a note, rendered when it is shown."""
    # Not add_note(): classes of exceptions override it, or refuse attributes.
    notes = vars(exception).setdefault("__notes__", [])
    note = next((it for it in notes if type(it) is TranscriptNote), None)
    if note is None:
        note = TranscriptNote()
        notes.append(note)
    note.add(transcript)


def _line(seconds: float, text: str) -> str:
    return f"{seconds * 1000:8.1f} ms  {text}"


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

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = PAYLOAD_WIDTH


def format_value(value: Any, width: int = PAYLOAD_WIDTH) -> str:
    """Return a value on one line: text as is if it can be printed, else its repr()."""
    try:
        if issubclass(type(value), (str, bytes, bytearray)):
            # Cut first: a payload may be huge.
            shown = value[: width + 1]
            if not issubclass(type(value), str) or not _is_plain(shown):
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


def format_ending(ending: Ending) -> str:
    """Return how the application ended, and where it raised."""
    if ending.interruption == "cancelled":
        return "the application was cancelled"
    if ending.interruption == "forced":
        return "the application was forced to stop"
    exception = ending.exception()
    if exception is None:
        return "the application returned"
    # Above the frames of the application are those of the calls that have raised it.
    frames = traceback.extract_tb(exception.__traceback__)[::-1]
    of_application = takewhile(lambda it: not it.filename.startswith(HERE), frames)
    own = [it for it in of_application if not it.filename.startswith(LIBRARIES)]
    where = "".join(f", {it.filename}:{it.lineno}" for it in (own or frames)[:1])
    return f"the application raised {format_value(exception)}{where}"


def format_connection(connection: Connection) -> str:
    """Return what a client has received."""
    if connection.status is not None:
        seen = f"HTTP {format_value(connection.status)}"
    elif connection.close_code is None:
        seen = "no response yet"
    else:
        seen = "no response"
    if connection.subprotocol is not None:
        seen += f", subprotocol {format_value(connection.subprotocol)}"
    if connection.message_count:
        seen += f", {_count(connection.message_count, 'message')}"
    if connection.close_code is not None:
        seen += f", then close code {format_value(connection.close_code)}"
    if issubclass(type(connection.close_reason), str) and connection.close_reason:
        seen += f" {format_value(connection.close_reason)}"
    return seen


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


def format_progress(recording: Recording) -> list[str]:
    """Return how far the connection has come, in words."""
    denial, close = recording.denial_response, recording.close
    return [
        *(["accepted"] if recording.accepted else []),
        *([f"denied {format_value(denial.status)}"] if denial else []),
        *([f"closed {format_value(close_code(close))}"] if close else []),
    ]


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number > 1)}"


# Failures: what happened, what was seen instead, what to do.


def format_received(events: int, frames: int, denial: DenialResponse | None) -> str:
    """Return what a call received instead of what it was waiting for."""
    if denial is not None:
        status = format_value(denial.status)
        return f"the start of a denial response, HTTP {status}, but not its end"
    if frames:
        return f"{_count(frames, 'data frame')}, now in pre_close_messages"
    return _count(events, "other event") if events else "nothing"


def format_timed_out(call: str, expected: str, received: str, where: str) -> str:
    return f"{call} timed out. Waiting for: {expected}. Received: {received}.\n{where}"


def format_idle(recording: Recording) -> str:
    """Return why a consumer that waits for events sends nothing more."""
    received = {
        event_type(event)
        for direction, event, _ in recording.records
        if direction == "receive"
    }
    denial, close = recording.denial_response, recording.close
    if "websocket.connect" not in received:
        how, advice = "has not received websocket.connect", "Call connect() first"
    elif recording.denial_in_progress:
        how = "has started a denial response and not completed it"
        advice = "Send a websocket.http.response.body without more_body"
    elif denial is not None:
        how = f"has denied the handshake with HTTP {format_value(denial.status)}"
        advice = "See denial_response"
    elif close is not None:
        how = f"has closed with {format_value(close_code(close))}"
        advice = "The frames before the close are in pre_close_messages"
    elif not recording.accepted:
        how = "has not responded to the handshake"
        advice = "Call accept() or close() in its connect()"
    else:
        how = "has handled every event that it received"
        advice = "Send from one of its handlers, or send it an event that it answers"
    return f"The consumer is idle: it {how}.\n{advice}."


def format_stuck(
    recording: Recording,
    is_idle: bool,
    stack: traceback.StackSummary,
    busy_thread: traceback.StackSummary | None,
) -> str:
    """Return where an application is waiting, and for what."""
    if is_idle:
        return format_idle(recording)
    where = "".join(stack.format())
    if busy_thread is None:
        advice = "Unblock it, or pass a longer timeout."
    else:
        advice = (
            "It is waiting for its thread, which is busy with another function:\n"
            f"{''.join(busy_thread.format())}Let that function return first."
        )
    return f"The application is waiting here (most recent call last):\n{where}{advice}"


def format_returned(call: str, expected: str, received: str) -> str:
    return (
        f"{call} cannot receive anything more: the application has returned."
        f" Waiting for: {expected}. Received: {received}.\n"
        "Send before it returns, or before a handler raises StopConsumer."
    )


def format_cancelled(how: str) -> str:
    if not how:
        return "The application was cancelled, but not by a call that timed out."
    return (
        f"The application is cancelled: {how}. Like the parent class, a call that times"
        " out cancels the application.\n"
        "To check that nothing is sent, use receive_nothing(), which cancels nothing."
    )


def format_not_stopped(where: str) -> str:
    return f"The application did not stop: it suppresses CancelledError.\n{where}"


def format_no_answer(event: object) -> str:
    return (
        "connect() expected websocket.accept, websocket.close or"
        " websocket.http.response.start, but the application sent"
        f" {format_event(event)}.\nRespond to the handshake first."
    )


def format_denied(denial: DenialResponse | None) -> str:
    status = "?" if denial is None else format_value(denial.status)
    return (
        "wait_closed() expected websocket.close, but the application has denied the"
        f" handshake with HTTP {status}.\nSee denial_response."
    )


def format_undeliverable(found: Undeliverable) -> str:
    return f"{format_event(found.event)}\n  {found.outcome}.\n  {found.remedy}."


def format_strict(undeliverable: Iterable[Undeliverable]) -> str:
    return (
        "strict: the application sent something that some clients do not receive as"
        " sent.\n" + "\n".join(map(format_undeliverable, undeliverable))
    )

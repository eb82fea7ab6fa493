"""Shows a recording: every event, how the application ended, what a client received."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..recording import (
    Crash,
    Ending,
    Outcome,
    Place,
    RawRecord,
    Record,
    Recording,
    read_only,
    resolve,
)
from ..servers.connection import Client, Connection
from ..servers.replay import Replay
from .values import count, format_event, format_exception, format_place, format_value

#: How many characters a line has at most, and the columns before the event and before
#: its content.
_LINE_WIDTH, _EVENT, _CONTENT = 99, 16, 11
#: How many events a note on an exception shows from the start, and from the end.
NOTE_HEAD, NOTE_TAIL = 10, 20


class About(NamedTuple):
    """What a transcript shows beside the events."""

    path: str
    servers: tuple[str, ...]
    #: The client before it has sent anything.
    client: Client
    #: What the application has raised.
    crash: Crash | None = None
    #: What the tasks that the application has started have raised.
    crashed_tasks: tuple[Crash, ...] = ()
    #: The tasks that the application has started, and that outlive it.
    running_tasks: tuple[str, ...] = ()
    #: Where the application was waiting when a call cancelled it.
    cut_off: Place | None = None
    #: What the test has forgotten, if that is why anything was raised.
    hint: str = ""


class Transcript:
    """Everything that has passed in both directions: ``.records``, and ``str()``.

    A snapshot. ``str()`` of it is made for reading.
    """

    def __init__(self, recording: Recording, about: About) -> None:
        # Not copied: a recording only ever grows at its end.
        self._recording = recording
        self._length = len(recording.records)
        self._ending = recording.ending
        self._about = about

    @property
    def records(self) -> tuple[Record, ...]:
        """The events, in order."""
        return tuple(
            Record(direction, read_only(event), seconds, resolve(place))
            for direction, event, seconds, place, _ in self._raw_records()
        )

    def _raw_records(self) -> list[RawRecord]:
        return self._recording.records[: self._length]

    def __repr__(self) -> str:
        return f"<Transcript of {self._about.path}: {self._length} events>"

    def __str__(self) -> str:
        return "\n".join(self._lines(left_out=range(0)))

    def excerpt(self) -> str:
        """Return the start and the end of a long transcript, and else all of it."""
        left_out = range(NOTE_HEAD, self._length - NOTE_TAIL)
        return "\n".join(self._lines(left_out if len(left_out) > 1 else range(0)))

    def _lines(self, left_out: range) -> Iterator[str]:
        about, ending = self._about, self._ending
        replay = Replay(about.servers, about.client)
        replay.advance(self._recording.records, self._length, ending)
        outcomes: dict[int, list[str]] = {}
        for finding in replay.all_findings():
            outcome = finding.undeliverable.outcome
            outcomes.setdefault(finding.position, []).append(outcome)
        names = ", ".join(map(format_value, about.client.offered))
        offer = f", subprotocols {format_value(names)}" if names else ""
        yield f"{about.path}{offer}"
        shown = [
            (position, *record)
            for position, record in enumerate(self._raw_records())
            if position not in left_out
        ]
        places = {it: format_place(resolve(it)) for *_, it, _ in shown}
        longest = max(map(len, places.values()), default=0)
        width = _LINE_WIDTH - _EVENT - _CONTENT - len("  ") - longest
        events = [format_event(it, _CONTENT - 1, width) for _, _, it, *_ in shown]
        width = max(map(len, events), default=0)
        for (position, direction, _, seconds, place, _), event in zip(shown, events):
            if left_out and position == left_out.stop:
                yield f"{'...':>8}      {len(left_out)} more events"
            if ending is not None and ending.position <= position:
                yield from self._ending_lines(ending)
                ending = None
            arrow = "->" if direction == "receive" else "<-"
            when = f"{seconds * 1000:8.1f} ms"
            yield f"{when}  {arrow} {event:<{width}}  {places[place]}".rstrip()
            for outcome in outcomes.get(position, ()):
                yield f"{'':{_EVENT}}!! {outcome}"
        if ending is not None:
            yield from self._ending_lines(ending)
        for crash in about.crashed_tasks:
            yield f"{'':14}a task of the application raised {format_exception(*crash)}"
        for task in about.running_tasks:
            yield f"{'':14}still running: {task}"
        if about.hint:
            yield f"{'':14}{about.hint}"
        seen = format_connection(replay.connection)
        yield f"a client of {about.servers[0].capitalize()} sees: {seen}"

    def _ending_lines(self, ending: Ending) -> Iterator[str]:
        crash, happened = self._about.crash, _OUTCOMES[ending.outcome]
        if crash is not None:
            happened = f"raised {format_exception(*crash)}"
        elif ending.is_interrupted and self._about.cut_off is not None:
            happened += f" at {self._about.cut_off}"
        yield f"{ending.seconds * 1000:8.1f} ms  the application {happened}"


_OUTCOMES: dict[Outcome, str] = {
    "returned": "returned",
    "raised": "raised an exception",
    "cancelled itself": "raised CancelledError, and nobody had cancelled it",
    "cancelled": "was cancelled",
    "forced": "was forced to stop",
}


class TranscriptNote(str):
    """A note for an exception (PEP 678): the transcripts of its communicators.

    As a ``str`` it is empty: ``pytest.raises(match=...)`` also searches notes and must
    not find our text. Whoever shows notes calls ``str()``, and only then are the
    transcripts rendered.
    """

    def __new__(cls, rendered: str = "") -> TranscriptNote:
        return super().__new__(cls)

    def __init__(self, rendered: str = "") -> None:
        #: The text of a note that comes from another process.
        self._rendered = rendered
        #: And whether a call of the communicator has raised the exception.
        self._transcripts: list[tuple[Transcript, bool]] = []
        self._last_added = 0.0

    def add(self, transcript: Transcript, failed: bool) -> None:
        """Add a transcript, unless there is one of the same communicator."""
        recording = transcript._recording
        if any(recording is other._recording for other, _ in self._transcripts):
            return
        if self._last_added < recording.made:
            # Raised again by a later communicator. Otherwise a singleton exception
            # would accumulate a transcript per test.
            self._transcripts.clear()
        self._transcripts.append((transcript, failed))
        self._last_added = recording.now()

    def __str__(self) -> str:
        several = len(self._transcripts) > 1
        return self._rendered or "\n".join(
            f"Transcript{' (its call failed)' if several and failed else ''}:"
            f" {transcript.excerpt()}"
            for transcript, failed in self._transcripts
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Parallel test runners pickle exceptions.
        return TranscriptNote, (str(self),)


def add_transcript(
    exception: BaseException, transcript: Transcript, failed: bool
) -> None:
    """Let an exception carry a transcript as a note, rendered when it is shown."""
    # Not add_note(): classes of exceptions override it, or refuse attributes.
    notes = vars(exception).setdefault("__notes__", [])
    note = next((it for it in notes if type(it) is TranscriptNote), None)
    if note is None:
        note = TranscriptNote()
        notes.append(note)
    note.add(transcript, failed)


def format_connection(connection: Connection) -> str:
    """Return what a client has received."""
    seen = "no response yet" if connection.close_code is None else "no response"
    if connection.status is not None:
        seen = f"HTTP {format_value(connection.status)}"
    if connection.subprotocol is not None:
        seen += f", subprotocol {format_value(connection.subprotocol)}"
    if connection.frames:
        seen += f", {count(len(connection.frames), 'message')}"
    if connection.close_code is not None:
        seen += f", then close code {format_value(connection.close_code)}"
    if issubclass(type(connection.close_reason), str) and connection.close_reason:
        seen += f" {format_value(connection.close_reason)}"
    return seen

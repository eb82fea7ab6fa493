"""Shows a recording: every event, how the application ended, what a client received."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..recording import (
    Crash,
    Ending,
    Outcome,
    Record,
    Recording,
    close_code,
    event_type,
    read_only,
)
from ..servers.connection import Client, Connection
from ..servers.replay import Replay
from .values import PAYLOAD_WIDTH, count, format_event, format_exception, format_value

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
            Record(direction, read_only(event), seconds)
            for direction, event, seconds, _ in self._recording.records[: self._length]
        )

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
        yield about.path
        records = self._recording.records[: self._length]
        for position, (direction, event, seconds, _) in enumerate(records):
            if position in left_out:
                continue
            if left_out and position == left_out.stop:
                yield f"{'...':>8}      {len(left_out)} more events"
            if ending is not None and ending.position <= position:
                yield from self._ending_lines(ending)
                ending = None
            arrow = "->" if direction == "receive" else "<-"
            line = f"{seconds * 1000:8.1f} ms  {arrow} {self._format(event)}"
            if position in outcomes:
                line = f"{line:<48}  !! {'; '.join(outcomes[position])}"
            yield line
        if ending is not None:
            yield from self._ending_lines(ending)
        for crash in about.crashed_tasks:
            yield f"{'':14}a task of the application raised {format_exception(*crash)}"
        for task in about.running_tasks:
            yield f"{'':14}still running: {task}"
        seen = format_connection(replay.connection)
        yield f"a client of {about.servers[0].capitalize()} sees: {seen}"

    def _format(self, event: object) -> str:
        shown = format_event(event, width=10)
        names = list(map(format_value, self._about.client.offered))
        if names and event_type(event) == "websocket.connect":
            offered = ", ".join(names)
            if len(offered) > PAYLOAD_WIDTH and len(names) > 1:
                offered = f"{names[0]} and {len(names) - 1} more"
            shown = f"{shown:<10} subprotocols {offered}"
        return shown

    def _ending_lines(self, ending: Ending) -> Iterator[str]:
        crash, happened, hint = self._about.crash, _OUTCOMES[ending.outcome], ""
        if crash is not None:
            happened = f"raised {format_exception(*crash)}"
            hint = format_hint(crash.exception)
        yield f"{ending.seconds * 1000:8.1f} ms  the application {happened}"
        if hint:
            yield f"{'':14}{hint}"


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


#: The keys that servers or middleware add to the scope: who adds them, and a value for
#: a test.
SCOPE_KEYS = {
    "user": ("AuthMiddlewareStack", "user"),
    "session": ("SessionMiddlewareStack", "session"),
    "cookies": ("CookieMiddleware", "{}"),
    "url_route": ("URLRouter", '{"args": (), "kwargs": {}}'),
    "client": ("a server", '["127.0.0.1", 50000]'),
    "server": ("a server", '["127.0.0.1", 8000]'),
}


#: The modules whose functions call an application, which they name so.
_CALLERS = ("asgiref.compatibility", "channels.routing")


def format_hint(exception: BaseException) -> str:
    """Return what the test has forgotten, if that is why the application raised."""
    cls = type(exception)
    if cls.__name__ == "InvalidChannelLayerError" or (
        type(exception) is AttributeError
        and exception.obj is None
        and str(exception.name).startswith("group_")
    ):
        return (
            "there is no channel layer: set CHANNEL_LAYERS, or override_settings() it"
        )
    if cls is TypeError:
        for frame, _ in traceback.walk_tb(exception.__traceback__):
            if frame.f_globals.get("__name__") not in _CALLERS:
                continue
            called: Any = frame.f_locals.get("application")
            if issubclass(type(called), type) and hasattr(called, "as_asgi"):
                name = called.__name__
                return f"{name} is a class, not an application: pass {name}.as_asgi()"
    key = exception.args[0] if cls is KeyError and exception.args else ""
    if (
        type(key) is not str
        or key not in SCOPE_KEYS
        or not _scopes_lack(key, exception)
    ):
        return ""
    source, example = SCOPE_KEYS[key]
    return (
        f"the scope has no {key!r}, which {source} adds: use that, or set"
        f' communicator.scope["{key}"] = {example}'
    )


def _scopes_lack(key: str, exception: BaseException) -> bool:
    """Whether no scope of the application that raised has a key.

    There may be several, because middleware copies the scope.
    """
    scopes: list[Any] = []
    for frame, _ in traceback.walk_tb(exception.__traceback__):
        # An object of the application's own making may raise.
        with contextlib.suppress(Exception):
            owner: Any = frame.f_locals.get("self")
            scopes += [frame.f_locals.get("scope"), getattr(owner, "scope", None)]
    found = [scope for scope in scopes if type(scope) is dict]
    return bool(found) and not any(key in scope for scope in found)


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


def format_progress(recording: Recording) -> list[str]:
    """Return how far the connection has come, in words."""
    denial, close = recording.denial_response, recording.close
    return [
        *(["accepted"] if recording.accepted else []),
        *([f"denied {format_value(denial.status)}"] if denial else []),
        *([f"closed {format_value(close_code(close))}"] if close else []),
    ]

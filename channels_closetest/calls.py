"""What is added to a call: an explanation if it fails, and ``strict`` if it does not.

transcript.py words the explanations, client_view.py finds what is undeliverable.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from .application import RecordingApplicationCommunicator
from .client_view import Replay, UndeliverableWarning, offered_subprotocols
from .recording import event_type
from .servers import SERVERS
from .stuck import find_source
from .transcript import (
    HERE,
    LIBRARIES,
    Transcript,
    add_transcript,
    format_cancelled,
    format_not_stopped,
    format_path,
    format_received,
    format_returned,
    format_strict,
    format_timed_out,
    format_undeliverable,
)

_Method = TypeVar("_Method", bound=Callable[..., Any])
_Result = TypeVar("_Result")

#: What a call waits for, in the words of its failure.
_EXPECTED = {
    "connect": "websocket.accept, websocket.close or a denial response",
    "wait_closed": "websocket.close",
    "receive_from": "a data frame",
    "receive_json_from": "a data frame",
}


class Received(Protocol):
    """What a call has received that it was not waiting for."""

    events: int
    frames: int


class Call(NamedTuple):
    """A call that has failed."""

    method: Callable[..., object]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self.method.__name__

    def __str__(self) -> str:
        """Return the call with its timeout, which often is the default."""
        bound = inspect.signature(self.method).bind(None, *self.args, **self.kwargs)
        bound.apply_defaults()
        return f"{self.name}(timeout={bound.arguments.get('timeout')})"


class CallState:
    """What is known about the calls of one communicator."""

    def __init__(self) -> None:
        #: Set by a call that fails, for its explanation, which follows at once.
        self.received: Received | None = None
        #: The text that the last failure was given, and an outer call may replace.
        self.explanation = ""
        self.crash_has_surfaced = False
        self.replay: Replay | None = None
        #: For ``strict``: the tasks with a call in progress, and how many findings have
        #: failed a call.
        self.calling: set[asyncio.Task[Any] | None] = set()
        self.failed_findings = 0


class ExplainedCommunicator(RecordingApplicationCommunicator):
    """A communicator whose calls may be ``explained``."""

    #: The servers you deploy on: any of ``"daphne"``, ``"uvicorn"``, ``"hypercorn"``.
    #: ``client_view`` is about the first, ``undeliverable`` and ``strict`` about all.
    servers: Sequence[str] = SERVERS
    #: Whether a call that encounters anything undeliverable raises ``AssertionError``.
    strict: bool = False

    @functools.cached_property
    def _call_state(self) -> CallState:
        # Made when it is first used, because subclasses skip the constructors.
        return CallState()


def explained(method: _Method) -> _Method:
    """Explain every exception that leaves the method, and check ``strict``.

    Where an explained method calls another one, the outermost has the last word.
    """

    @functools.wraps(method)
    async def call(self: ExplainedCommunicator, /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            result = method(self, *args, **kwargs)
            return await (_strictly(self, result) if self.strict else result)
        except BaseException as exception:
            explain(exception, self, Call(method, args, kwargs))
            raise

    return cast(_Method, call)


async def _strictly(
    communicator: ExplainedCommunicator, call: Coroutine[Any, Any, _Result]
) -> _Result:
    """Fail the call if anything undeliverable has passed, and it is the outermost.

    Calls are kept by their task, because a task that is started during a call makes
    calls of its own.
    """
    __tracebackhide__ = True
    calling, task = communicator._call_state.calling, asyncio.current_task()
    if task in calling:
        return await call
    calling.add(task)
    try:
        result = await call
    finally:
        calling.discard(task)
        # A task that fails holds this frame, which must not hold the task.
        del task
    _fail_on_undeliverable(communicator)
    return result


def explain(
    exception: BaseException, communicator: ExplainedCommunicator, call: Call
) -> None:
    if isinstance(exception, GeneratorExit):
        return  # the call is garbage-collected
    # Nothing ever takes the place of an exception: some refuse attributes.
    with contextlib.suppress(Exception):
        _explain(exception, communicator, call)
    explain_with_transcript(exception, communicator)


def _explain(
    exception: BaseException, communicator: ExplainedCommunicator, call: Call
) -> None:
    state, run = communicator._call_state, communicator._application_run
    if exception is run.exception():
        state.crash_has_surfaced = True
        return
    if exception.args and exception.args[0] is not state.explanation:
        return  # it has a text
    if isinstance(exception, asyncio.TimeoutError):
        state.explanation = _format_timeout(communicator, call)
        if run.was_cancelled:
            run.cancelled_by = f"an earlier {call} timed out"
    elif isinstance(exception, asyncio.CancelledError) and run.was_cancelled:
        state.explanation = format_cancelled(run.cancelled_by)
    elif (  # pragma: no cover - only Channels 4.1 has no text here
        isinstance(exception, AssertionError)
        and call.name in ("receive_from", "receive_json_from")
    ):
        kind = event_type(run.last_output)  # and this is the text of 4.2
        state.explanation = f"Expected type 'websocket.send', but was '{kind}'"
    else:
        return
    exception.args = (state.explanation,)


def explain_with_transcript(
    exception: BaseException, communicator: ExplainedCommunicator
) -> None:
    if not hasattr(exception, "add_note"):
        return  # Python 3.10 shows no notes
    try:
        servers = known_servers(communicator)
    except ValueError:
        servers = SERVERS
    with contextlib.suppress(Exception):
        add_transcript(exception, transcript_of(communicator, servers))


def _format_timeout(communicator: ExplainedCommunicator, call: Call) -> str:
    state, run = communicator._call_state, communicator._application_run
    expected = _EXPECTED.get(call.name, "any event")
    denial = run.recording.denial_response if call.name == "connect" else None
    received = format_received(
        0 if state.received is None else state.received.events,
        0 if state.received is None else state.received.frames,
        denial,
    )
    if run.ended_on_its_own:
        return format_returned(str(call), expected, received)
    where = run.where_stuck()
    if run.is_forced:
        where = format_not_stopped(where)
    return format_timed_out(str(call), expected, received, where)


def warn_of_first_frame(communicator: ExplainedCommunicator) -> None:
    """Warn if the first data frame reaches no client."""
    records = communicator._application_run.recording.records
    position = next(
        position
        for position, (direction, event, _) in enumerate(records)
        if direction == "send" and event_type(event) == "websocket.send"
    )
    for finding in replay_of(communicator, position + 1).findings:
        if finding.position == position:
            warning = UndeliverableWarning(format_undeliverable(finding.undeliverable))
            _warn(warning, communicator)
            return


def _fail_on_undeliverable(communicator: ExplainedCommunicator) -> None:
    __tracebackhide__ = True
    state, findings = communicator._call_state, replay_of(communicator).findings
    new = findings[state.failed_findings :]
    state.failed_findings = len(findings)
    if new:
        raise AssertionError(format_strict(it.undeliverable for it in new))


def known_servers(communicator: ExplainedCommunicator) -> tuple[str, ...]:
    servers = communicator.servers
    if not isinstance(servers, (list, tuple)) or not servers:
        known = False
    else:
        known = all(server in SERVERS for server in servers)
    if not known:
        raise ValueError(
            f"servers must be a list or tuple with one or more of {SERVERS},"
            f" but is {servers!r}"
        )
    return tuple(servers)


def replay_of(communicator: ExplainedCommunicator, until: int | None = None) -> Replay:
    """Return the replay of what has passed, or at least of the first ``until`` events.

    Each event is replayed once, as long as neither the servers change nor the offer.
    """
    state = communicator._call_state
    recording = communicator._application_run.recording
    servers = known_servers(communicator)
    offered = offered_subprotocols(vars(communicator).get("scope"))
    replay = state.replay
    if replay is None or (servers, offered) != (replay.servers, replay.offered):
        state.replay = replay = Replay(servers, offered)
    length = len(recording.records) if until is None else until
    replay.advance(recording.records, length, recording.ending)
    return replay


def transcript_of(
    communicator: ExplainedCommunicator, servers: tuple[str, ...]
) -> Transcript:
    scope = vars(communicator).get("scope")
    return Transcript(
        communicator._application_run.recording,
        format_path(scope),
        servers,
        offered_subprotocols(scope),
    )


def _warn(warning: Warning, communicator: ExplainedCommunicator) -> None:
    """Issue a warning at the line that awaits the call, or else at the application.

    A fixed stacklevel is wrong where a subclass overrides the call, and it points into
    asyncio or asgiref where a task of its own runs the call.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _belongs_to(communicator, frame):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith(LIBRARIES):
        run = communicator._application_run
        file, line = find_source(communicator.application, run.task)
        warnings.warn_explicit(warning, None, file, line)
    else:
        warnings.warn_explicit(
            warning,
            None,
            frame.f_code.co_filename,
            frame.f_lineno,
            module=frame.f_globals.get("__name__"),
            registry=frame.f_globals.setdefault("__warningregistry__", {}),
        )


def _belongs_to(communicator: ExplainedCommunicator, frame: FrameType) -> bool:
    """Whether a frame is of a method of the communicator, or of this package."""
    first = frame.f_code.co_varnames[: frame.f_code.co_argcount][:1]
    return frame.f_code.co_filename.startswith(HERE) or any(
        frame.f_locals.get(name) is communicator for name in first
    )

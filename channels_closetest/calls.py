"""What is added to a call: an explanation if it fails, and ``strict`` if it does not.

transcript.py words the explanations, client_view.py finds what is undeliverable.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import math
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from channels.consumer import AsyncConsumer

from .application import RecordingApplicationCommunicator
from .client_view import Replay, UndeliverableWarning, client_of
from .failures import (
    CANCELLED,
    DISCONNECTED,
    FORCED_BEFORE,
    LOOP_ENDED,
    NAME_SERVERS,
    NOT_STARTED,
    RETURNED,
    format_after,
    format_crashed,
    format_denial_in_progress,
    format_ended,
    format_strict,
    format_stuck,
    format_timed_out,
    format_timed_out_before,
    format_undeliverable,
    format_waited_before,
)
from .places import is_library
from .recording import event_type
from .servers import SERVERS, ServerName
from .stuck import find_source, format_task
from .transcript import (
    HERE,
    SCOPE_KEYS,
    About,
    Transcript,
    add_transcript,
    format_path,
)

_Method = TypeVar("_Method", bound=Callable[..., Any])
_Result = TypeVar("_Result")

#: What a call waits for, in the words of its failure.
_EXPECTED = {
    "connect": "websocket.accept, websocket.close or a denial response",
    "wait_closed": "websocket.close",
    "receive_until": "a data frame that matches",
    "receive_from": "a data frame",
    "receive_json_from": "a data frame",
}


#: The calls that say what they have received.
_SEVERAL_EVENTS = ("connect", "wait_closed", "receive_until")


class Received(Protocol):
    """What a call has received that it was not waiting for."""

    def describe(self) -> str: ...


class Call(NamedTuple):
    """A call that has failed."""

    method: Callable[..., object]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self.method.__name__

    @property
    def timeout(self) -> float | None:
        """The timeout, which often is the default."""
        bound = inspect.signature(self.method).bind(None, *self.args, **self.kwargs)
        bound.apply_defaults()
        timeout: float | None = bound.arguments.get("timeout")
        return timeout

    def __str__(self) -> str:
        return f"{self.name}(timeout={self.timeout})"


class CallState:
    """What is known about the calls of one communicator."""

    def __init__(self) -> None:
        #: Set by a call that fails, for its explanation, which follows at once.
        self.received: Received | None = None
        #: The text set by the last _explain(); an enclosing call replaces it.
        self.explanation = ""
        #: The call that has cancelled the application because it timed out, in words.
        self.timed_out_before = ""
        self.crash_has_surfaced = False
        self.replay: Replay | None = None
        #: For ``strict``: the tasks with a call in progress, and how many findings have
        #: failed a call.
        self.calling: set[asyncio.Task[Any] | None] = set()
        self.failed_findings = 0


class ExplainedCommunicator(RecordingApplicationCommunicator):
    """A communicator whose calls may be ``explained``."""

    servers: Sequence[ServerName] = SERVERS
    """The servers that you deploy on; by default Daphne, Uvicorn and Hypercorn.

    ``client_view`` is about the first of them, ``undeliverable`` and ``strict`` about
    all. With a name that is not known, the first call raises ``ValueError``.
    """
    strict: bool = False
    """Whether a call that encounters anything undeliverable raises ``AssertionError``.

    Each event fails one call. It is also what a test does and no client can do.
    """

    #: Whether a data frame before accept issues a warning. watching.py sets it.
    _warns_of_frames = True

    @functools.cached_property
    def _call_state(self) -> CallState:
        # Made when it is first used, because subclasses skip the constructors.
        return CallState()


def explained(method: _Method) -> _Method:
    """Explain every exception that leaves the method, and check ``strict``.

    Where an explained method calls another one, the outermost determines the text.
    """

    @functools.wraps(method)
    async def call(self: ExplainedCommunicator, /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            if self.servers is not SERVERS or self.timeout_factor != 1:
                _check_attributes(self)
            result = method(self, *args, **kwargs)
            return await (_strictly(self, result) if self.strict else result)
        except BaseException as exception:
            explain(exception, self, Call(method, args, kwargs))
            raise

    return cast(_Method, call)


def explained_as(method: Callable[..., Any]) -> Callable[[_Method], _Method]:
    """Explain a method of the parent, with the signature and docstring of another.

    The other has no body: to call ``super()`` there would cost a coroutine for each
    frame. Editors show its docstring.
    """

    def declare(declaration: _Method) -> _Method:
        return cast(_Method, functools.wraps(declaration)(explained(method)))

    return declare


async def _strictly(
    communicator: ExplainedCommunicator, call: Coroutine[Any, Any, _Result]
) -> _Result:
    """Fail the call if anything undeliverable has passed, and it is the outermost.

    Calls are kept by their task, because a task that is started during a call makes
    calls of its own.
    """
    __tracebackhide__ = True  # pytest skips frames with this local variable
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
    """Set the text of an exception that has none, and attach the transcript."""
    if type(exception) is GeneratorExit:
        return  # the call is garbage-collected
    # Nothing ever takes the place of an exception: some refuse attributes.
    with contextlib.suppress(Exception):
        _explain(exception, communicator, call)
    explain_with_transcript(exception, communicator, failed=True)
    without_our_frames(exception)


def _explain(
    exception: BaseException, communicator: ExplainedCommunicator, call: Call
) -> None:
    state, run = communicator._call_state, communicator._application_run
    if exception is run.exception():
        state.crash_has_surfaced = True
        return
    if exception.args and exception.args[0] is not state.explanation:
        return  # it has a text
    if isinstance(exception, TimeoutError):
        state.explanation = _format_timeout(communicator, call)
        if run.was_cancelled:
            state.timed_out_before = _timed_out(communicator, call)
    elif isinstance(exception, asyncio.CancelledError) and run.was_cancelled:
        state.explanation = _format_cancelled(communicator)
    else:
        return
    exception.args = (state.explanation,)


def explain_with_transcript(
    exception: BaseException, communicator: ExplainedCommunicator, failed: bool
) -> None:
    try:
        servers = known_servers(communicator)
    except ValueError:
        servers = SERVERS
    with contextlib.suppress(Exception):
        add_transcript(exception, transcript_of(communicator, servers), failed)


def without_our_frames(exception: BaseException) -> None:
    """Remove our frames from a traceback: those of test and application remain."""
    with contextlib.suppress(Exception):
        kept = [
            (frame, position, line)
            for frame, position, line in _traceback_entries(exception)
            if not frame.f_code.co_filename.startswith(HERE)
        ]
        following: TracebackType | None = None
        for frame, position, line in reversed(kept):
            following = TracebackType(following, frame, position, line)
        exception.__traceback__ = following


def _traceback_entries(
    exception: BaseException,
) -> Iterator[tuple[FrameType, int, int]]:
    entry = exception.__traceback__
    while entry is not None:
        yield entry.tb_frame, entry.tb_lasti, entry.tb_lineno
        entry = entry.tb_next


def _format_timeout(communicator: ExplainedCommunicator, call: Call) -> str:
    state, run = communicator._call_state, communicator._application_run
    expected = _EXPECTED.get(call.name, "any event")
    denial = run.recording.denial_response if call.name == "connect" else None
    received = state.received if call.name in _SEVERAL_EVENTS else None
    if denial is not None:
        seen = format_denial_in_progress(denial)
    else:
        seen = "nothing" if received is None else received.describe()
    if run.ended_on_its_own:
        crash = run.exception()
        if crash is not None:
            # A subclass overrides receive_output() and reads the queue: otherwise the
            # crash itself would have been raised.
            how, do = format_crashed(crash)
        elif run.has_disconnected():
            how, do = DISCONNECTED
        else:
            how, do = RETURNED
        return format_ended(str(call), expected, seen, how, do)
    stuck = run.find_stuck()
    if stuck is None:
        where = NOT_STARTED
    elif run.is_forced:
        where = run.format_suppressing()
    else:
        where = format_stuck(run.recording, call.name, *stuck)
    return format_timed_out(_timed_out(communicator, call), expected, seen, where)


def _timed_out(communicator: ExplainedCommunicator, call: Call) -> str:
    after = format_after(call.timeout, communicator.timeout_factor)
    return f"{call} timed out{after}"


def _format_cancelled(communicator: ExplainedCommunicator) -> str:
    state, run = communicator._call_state, communicator._application_run
    if run.is_forced:
        return FORCED_BEFORE
    if state.timed_out_before:
        return format_timed_out_before(state.timed_out_before)
    if run.cancelled_by_wait:
        return format_waited_before(run.cancelled_by_wait)
    if run.loop_has_ended:
        return LOOP_ENDED
    return CANCELLED


def warn_of_first_frame(communicator: ExplainedCommunicator) -> None:
    """Warn if the first data frame reaches no client."""
    records = communicator._application_run.recording.records
    frames = (
        position
        for position, (direction, event, *_) in enumerate(records)
        if direction == "send" and event_type(event) == "websocket.send"
    )
    # None if a subclass has made up the frame in its receive_output().
    position = next(frames, -1)
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
        hint = ""
        if communicator.servers is SERVERS:
            hint = "" if all(it.is_everywhere for it in new) else NAME_SERVERS
        raise AssertionError(format_strict(new, hint))


def _check_attributes(communicator: ExplainedCommunicator) -> None:
    __tracebackhide__ = True
    known_servers(communicator)
    factor = communicator.timeout_factor
    if not isinstance(factor, (int, float)) or not 0 <= factor < math.inf:
        raise ValueError(
            f"timeout_factor must be a number that is not negative, but is {factor!r}"
        )


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

    Each event is replayed once, as long as neither the servers change nor the request.
    """
    state = communicator._call_state
    recording = communicator._application_run.recording
    servers = known_servers(communicator)
    client = client_of(vars(communicator).get("scope"))
    replay = state.replay
    if replay is None or (servers, client) != (replay.servers, replay.client):
        state.replay = replay = Replay(servers, client)
    length = len(recording.records) if until is None else until
    replay.advance(recording.records, length, recording.ending)
    return replay


def transcript_of(
    communicator: ExplainedCommunicator, servers: tuple[str, ...]
) -> Transcript:
    scope = vars(communicator).get("scope")
    run = communicator._application_run
    about = About(
        format_path(scope),
        servers,
        client_of(scope),
        _missing_keys(scope),
        _consumer_class(communicator),
        run.crashed_tasks,
        tuple(map(format_task, run.running_tasks)) if run.has_ended() else (),
    )
    return Transcript(run.recording, about, run.exception())


def _missing_keys(scope: object) -> tuple[str, ...]:
    if type(scope) is not dict:
        return ()
    return tuple(key for key in SCOPE_KEYS if key not in scope)


def _consumer_class(communicator: ExplainedCommunicator) -> str:
    """Return the name of the consumer class that stands for its application."""
    # asgiref takes any class for an application of ASGI 2, and wraps it.
    application: Any = vars(communicator).get("application")
    if type(application) is not FunctionType or hasattr(application, "consumer_class"):
        return ""
    for cell in application.__closure__ or ():
        with contextlib.suppress(ValueError):  # not assigned yet
            value: Any = cell.cell_contents
            if issubclass(type(value), type) and issubclass(value, AsyncConsumer):
                return str(value.__name__)
    return ""


def _warn(warning: Warning, communicator: ExplainedCommunicator) -> None:
    """Issue a warning at the line that awaits the call, or else at the application.

    A fixed stacklevel is wrong where a subclass overrides the call, and it points into
    asyncio or asgiref where a task of its own runs the call.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and belongs_to(communicator, frame):
        frame = frame.f_back
    if frame is None or is_library(frame.f_code.co_filename):
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


def belongs_to(communicator: ExplainedCommunicator, frame: FrameType) -> bool:
    """Whether a frame is of a method of the communicator, or of this package."""
    # Not by f_locals["self"]: before Python 3.13 that is a copy, kept by the frame, and
    # would keep a communicator alive that the test drops.
    code, cls = frame.f_code, cast(type, type(communicator))
    return code.co_filename.startswith(HERE) or code in _method_codes(cls)


@functools.lru_cache
def _method_codes(cls: type) -> frozenset[CodeType]:
    """Return the code of every method of a class, and of what decorates it."""
    codes = set()
    for base in cls.__mro__:
        for function in vars(base).values():
            while type(function) is FunctionType:
                codes.add(function.__code__)
                function = getattr(function, "__wrapped__", None)
    return frozenset(codes)

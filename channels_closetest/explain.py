"""Wrap every public call: explain its failure, enforce ``strict``, and warn."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import os
import sys
import warnings
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, TypeVar, cast

from .application import Application, RecordingApplicationCommunicator
from .places import is_library
from .recording import event_type
from .servers.connection import client_of
from .servers.replay import Replay, UndeliverableWarning
from .servers.rules import SERVERS, known_servers
from .stuck import find_source, format_task
from .text.failures import Call, Failure, RawCall, format_strict, format_undeliverable
from .text.transcript import About, Transcript, add_transcript
from .text.values import format_path

_Method = TypeVar("_Method", bound=Callable[..., Any])
_HERE = os.path.dirname(__file__)


def explained(method: _Method) -> _Method:
    """Explain every exception that leaves the method, and check ``strict``.

    Where an explained method calls another one, only the outermost does either. Calls
    are kept by their task, because two tasks may use one communicator.
    """

    @functools.wraps(method)
    async def call(
        self: RecordingApplicationCommunicator, /, *args: Any, **kwargs: Any
    ) -> Any:
        calls, task = self._application.calls, self._application.current_task()
        if task in calls:
            return await method(self, *args, **kwargs)
        calls[task] = this = method, args, kwargs, self.timeout_factor
        try:
            if self.servers is not SERVERS or self.timeout_factor != 1:
                _check_attributes(self)
            result = await method(self, *args, **kwargs)
            if self.strict:
                _fail_on_undeliverable(self)
            return result
        except BaseException as exception:
            explain(exception, self, this)
            raise
        finally:
            del calls[task]
            # A task that fails holds this frame, which must not hold the task.
            del task

    return cast(_Method, call)


def explain(
    exception: BaseException,
    communicator: RecordingApplicationCommunicator,
    call: RawCall,
) -> None:
    """Set the text of an exception that has none, and attach the transcript."""
    if type(exception) is GeneratorExit:
        return  # the call is garbage-collected
    application = communicator._application
    # Nothing ever takes the place of an exception: some refuse attributes.
    with contextlib.suppress(Exception):
        crash = application.crash
        if crash is not None and exception is crash.exception:
            application.conversation.crash_has_surfaced = True
        elif exception.args:
            pass  # it has a text
        elif isinstance(exception, TimeoutError):
            exception.args = (_failure(application, call).timed_out(),)
        elif isinstance(exception, asyncio.CancelledError) and application.is_cancelled:
            exception.args = (_failure(application, call).cancelled(),)
    explain_with_transcript(exception, communicator, failed=True)
    without_our_frames(exception)


def _failure(application: Application, call: RawCall) -> Failure:
    conversation, queue = application.conversation, application.output_queue
    cancelled_by, loop = application.cancelled_by, queue.loop
    return Failure(
        Call(*call),
        conversation.recording,
        events=queue.taken_count - conversation.taken_before,
        frames=len(conversation.pre_close_messages) - conversation.kept_before,
        queued=queue.qsize(),
        crash=application.crash,
        crashed_tasks=tuple(application.started.crashes),
        stuck=application.find_stuck(),
        suppressing=application.suppressing,
        cancelled_by=Call(*cancelled_by) if cancelled_by else None,
        loop_has_ended=loop is not None and not loop.is_running(),
    )


def explain_with_transcript(
    exception: BaseException,
    communicator: RecordingApplicationCommunicator,
    failed: bool,
) -> None:
    try:
        servers = known_servers(communicator.servers)
    except ValueError:
        servers = SERVERS
    with contextlib.suppress(Exception):
        add_transcript(exception, transcript_of(communicator, servers), failed)


def without_our_frames(exception: BaseException) -> None:
    """Remove our frames from a traceback: those of test and application remain."""
    kept: list[TracebackType] = []
    entry = exception.__traceback__
    while entry is not None:
        if not entry.tb_frame.f_code.co_filename.startswith(_HERE):
            kept.append(entry)
        entry = entry.tb_next
    with contextlib.suppress(Exception):
        exception.__traceback__ = kept[0] if kept else None
        for entry, following in zip(kept, [*kept[1:], None]):
            entry.tb_next = following


def warn_of_first_frame(communicator: RecordingApplicationCommunicator) -> None:
    """Warn if the first data frame reaches no client.

    The warning is issued at the line that awaits the call, or else at the application.
    A fixed stacklevel is wrong where a subclass overrides the call, and it points into
    asyncio or asgiref where a task of its own runs the call.
    """
    records = communicator._application.conversation.recording.records
    kinds = (event_type(event) for _, event, *_ in records)
    # There is no frame if a subclass has made it up in its receive_output(). After the
    # first, there may be thousands.
    until = next((n for n, it in enumerate(kinds, 1) if it == "websocket.send"), 0)
    findings = replay_of(communicator, until).findings
    found = [it.undeliverable for it in findings if it.position == until - 1]
    if not found:
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and belongs_to(communicator, frame):
        frame = frame.f_back
    names: dict[str, Any] = {}
    if frame is None or is_library(frame.f_code.co_filename):
        file, line = find_source(
            communicator.application, communicator._application.task
        )
    else:
        file, line, names = frame.f_code.co_filename, frame.f_lineno, frame.f_globals
    warnings.warn_explicit(
        UndeliverableWarning(format_undeliverable(found[0])),
        None,
        file,
        line,
        module=names.get("__name__", file.removesuffix(".py")),
        registry=names.setdefault("__warningregistry__", {}),
    )


def _fail_on_undeliverable(communicator: RecordingApplicationCommunicator) -> None:
    conversation = communicator._application.conversation
    findings = replay_of(communicator).findings
    new = findings[conversation.failed_findings :]
    conversation.failed_findings = len(findings)
    if new:
        raise AssertionError(format_strict(new, communicator.servers is not SERVERS))


def _check_attributes(communicator: RecordingApplicationCommunicator) -> None:
    if communicator.servers is not SERVERS:
        known_servers(communicator.servers)
    factor = communicator.timeout_factor
    if not isinstance(factor, (int, float)) or not 0 <= factor < math.inf:
        raise ValueError(
            f"timeout_factor must be a number that is not negative, but is {factor!r}"
        )


def replay_of(
    communicator: RecordingApplicationCommunicator, until: int | None = None
) -> Replay:
    # There is no scope if a subclass skips the constructors.
    return communicator._application.conversation.replay(
        known_servers(communicator.servers), vars(communicator).get("scope"), until
    )


def transcript_of(
    communicator: RecordingApplicationCommunicator, servers: tuple[str, ...]
) -> Transcript:
    application, scope = communicator._application, vars(communicator).get("scope")
    running = application.started.running() if application.ending is not None else []
    about = About(
        format_path(scope),
        servers,
        client_of(scope),
        application.crash,
        tuple(application.started.crashes),
        tuple(map(format_task, running)),
    )
    return Transcript(application.conversation.recording, about)


def belongs_to(
    communicator: RecordingApplicationCommunicator, frame: FrameType
) -> bool:
    """Whether a frame is of a method of the communicator, or of this package."""
    # Not by f_locals["self"]: before Python 3.13 that is a copy, kept by the frame, and
    # would keep a communicator alive that the test drops.
    code, cls = frame.f_code, cast(type, type(communicator))
    return code.co_filename.startswith(_HERE) or code in _method_codes(cls)


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

"""Wrap every public call: explain its failure, enforce ``strict``, and warn."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
import warnings
from asyncio import current_task  # at import, before a test patches it
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

from .application import Application
from .application import RecordingApplicationCommunicator as Communicator
from .places import find_sender
from .recording import Place, event_type, resolve
from .servers.connection import client_of
from .servers.replay import Replay, UndeliverableWarning
from .servers.rules import SERVERS, known_servers
from .stuck import format_task
from .text.failures import Call, Failure, RawCall, format_strict, format_undeliverable
from .text.hints import format_hint, format_refusal
from .text.transcript import About, Transcript, add_transcript
from .text.values import format_path

_Method = TypeVar("_Method", bound=Callable[..., Any])
_HERE = os.path.dirname(__file__)
#: The methods that send something. Looking for the line takes a while.
_SENDING = {"connect", "send_input", "send_to", "send_json_to", "disconnect"}


def explained(method: _Method) -> _Method:
    """Explain every exception that leaves the method, and check ``strict``.

    Where an explained method calls another one, only the outermost does either. Calls
    are kept by their task, because two tasks may use one communicator.
    """

    sends = method.__name__ in _SENDING

    @functools.wraps(method)
    async def call(self: Communicator, /, *args: Any, **kwargs: Any) -> Any:
        application = self._application
        # With its event loop, because before Python 3.12 it takes a system call to find
        # the running one.
        calls, task = application.calls, current_task(application.loop)
        if task in calls:
            return await method(self, *args, **kwargs)
        place = find_sender(sys._getframe(1), is_test=True) if sends else None
        calls[task] = this = (method, args, kwargs, self.timeout_factor, place)
        try:
            if self.servers is not SERVERS:
                known_servers(self.servers)
            result = await method(self, *args, **kwargs)
            if self.strict:
                application.raise_unseen()
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
    exception: BaseException, communicator: Communicator, call: RawCall
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
    by = application.cancelled_by
    return Failure(
        Call(*call),
        conversation,
        events=queue.taken_count - conversation.taken_before,
        frames=len(conversation.pre_close_messages) - conversation.kept_before,
        queued=queue.qsize(),
        crash=application.crash,
        crashed_tasks=tuple(application.started.crashes),
        stuck=application.find_stuck(),
        suppressing=application.suppressing if application.is_forced else None,
        cancelled_by=by and Call(*by),
        loop_has_ended=bool(application.loop and not application.loop.is_running()),
    )


def explain_with_transcript(
    exception: BaseException, communicator: Communicator, failed: bool
) -> None:
    try:
        servers = known_servers(communicator.servers)
    except ValueError:
        servers = SERVERS
    with contextlib.suppress(Exception):
        transcript = transcript_of(communicator, servers, exception)
        add_transcript(exception, transcript, failed)


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


def warn_of_first(communicator: Communicator, kind: str) -> None:
    """Warn if the first event of a type is undeliverable.

    The warning is issued at the line that sends ``websocket.connect``, or else at that
    which sends the event. A stacklevel is wrong where a subclass overrides
    ``connect()``, and where a task of its own runs it.
    """
    if communicator.strict or not communicator._warns_of_frames:
        return  # because the call raises it, or the audit reports it
    records, place = communicator._application.conversation.records, None
    for position, (_, event, _, sender, _) in enumerate(records):
        if event_type(event) == "websocket.connect":
            place = place or resolve(sender)
        if event_type(event) == kind:
            break
    else:
        return  # a subclass has made it up in its receive_output()
    # Not those of a flood behind it.
    findings = replay_of(communicator, position + 1).findings
    for found in (it.undeliverable for it in findings if it.position == position):
        place = place or found.place or Place("<application>", 1)
        names = _names_of_module(place.file)
        warnings.warn_explicit(
            UndeliverableWarning(format_undeliverable(found)),
            None,
            place.file,
            place.line,
            module=names.get("__name__", place.file.removesuffix(".py")),
            registry=names.setdefault("__warningregistry__", {}),
        )


def _names_of_module(file: str) -> dict[str, Any]:
    """Return the global names of the module that was loaded from a file."""
    for module in list(sys.modules.values()):
        # Not vars(): some packages load their modules when an attribute is looked up.
        with contextlib.suppress(AttributeError):
            names: dict[str, Any] = object.__getattribute__(module, "__dict__")
            if names.get("__file__") == file:
                return names
    return {}


def _fail_on_undeliverable(communicator: Communicator) -> None:
    conversation = communicator._application.conversation
    findings = replay_of(communicator).findings
    new = findings[conversation.failed_findings :]
    conversation.failed_findings = len(findings)
    if new:
        raise AssertionError(format_strict(new, communicator.servers is not SERVERS))


def replay_of(communicator: Communicator, until: int | None = None) -> Replay:
    # There is no scope if a subclass skips the constructors.
    return communicator._application.conversation.replay(
        known_servers(communicator.servers), vars(communicator).get("scope"), until
    )


def transcript_of(
    communicator: Communicator,
    servers: tuple[str, ...],
    exception: BaseException | None = None,
) -> Transcript:
    application, scope = communicator._application, vars(communicator).get("scope")
    running = application.started.running() if application.ending is not None else []
    stuck, crash = application.stuck, application.crash
    raised, hint = exception if crash is None else crash.exception, ""
    with contextlib.suppress(Exception):  # an exception of the application's own making
        waiting = application.find_stuck()
        if waiting is not None and waiting.refusal is not None:
            hint = format_refusal(*waiting.refusal)
        elif raised is not None:
            hint = format_hint(raised, application.conversation.records)
    about = About(
        format_path(scope),
        servers,
        client_of(scope),
        crash,
        tuple(application.started.crashes),
        tuple(map(format_task, running)),
        None if stuck is None else stuck.place,
        hint,
    )
    return Transcript(application.conversation, about)

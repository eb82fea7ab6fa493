"""Words every failure of a call: what happened, what was seen instead, what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from traceback import StackSummary
from typing import Any, NamedTuple

from ..recording import Crash, DenialResponse, Recording, close_code, event_type
from ..servers.replay import Finding, Undeliverable
from .values import count, format_event, format_exception, format_value

OTHER_LOOP = (
    "The application runs in another event loop: a communicator belongs to the loop"
    " that started its application.\n"
    "Use one event loop for the whole conversation: one async_to_sync() around all"
    " of it, or the same loop for the fixture and the test."
)
#: What a call waits for.
_EXPECTED = {
    "connect": "websocket.accept, websocket.close or a denial response",
    "wait_closed": "websocket.close",
    "receive_until": "a data frame that matches",
    "receive_from": "a data frame",
    "receive_json_from": "a data frame",
}


#: The fields of a Call: most calls do not fail.
RawCall = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any], float]


class Call(NamedTuple):
    """A call of a communicator."""

    method: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    #: The ``timeout_factor``.
    factor: float

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

    @property
    def after(self) -> str:
        """After how many seconds the timeout expires, if that is not the timeout."""
        timeout, factor = self.timeout, self.factor
        if timeout is None or factor == 1:
            return ""
        return f" after {timeout * factor:g} s"


class Stuck(NamedTuple):
    """Where an application was waiting at one moment."""

    #: Whether it is a consumer of Channels that waits for its next event.
    is_idle: bool
    #: From the application to the await, or to the call in its thread, unless it is
    #: idle; then the same for each task that it has started.
    stacks: Sequence[StackSummary]
    #: The stacks of asgiref's threads, if the application waits for a thread that is
    #: busy with something else or cannot be identified.
    threads: StackSummary | None = None
    is_thread_known: bool = True


class Failure(NamedTuple):
    """What is known when a call fails. Chooses the cause, and words it."""

    call: Call
    recording: Recording
    #: How many events connect() or wait_closed() has received, and how many of them
    #: are data frames.
    events: int
    frames: int
    #: How many events are still to be received.
    queued: int
    #: What the application, and the tasks that it has started, have raised.
    crash: Crash | None
    crashed_tasks: Sequence[Crash]
    #: Where the application is waiting, or was when a call cancelled it. None if it has
    #: not been started, or has ended on its own.
    stuck: Stuck | None
    #: Where it was waiting after it had suppressed its cancellation.
    suppressing: StackSummary | None
    #: The call that has cancelled it.
    cancelled_by: Call | None
    loop_has_ended: bool

    def timed_out(self) -> str:
        """Return why a call that waits got nothing."""
        expected = _EXPECTED.get(self.call.name, "any event")
        wanted = f"Waiting for: {expected}. Received: {self._received()}."
        ending = self.recording.ending
        if ending is None or ending.is_interrupted:
            return f"{self.call} timed out{self.call.after}. {wanted}\n{self._where()}"
        if self.crash is not None:
            # Otherwise the exception itself would have been raised.
            how = f"the application has raised {format_exception(*self.crash)}"
            advice = (
                "Your receive_output() hides this exception: call"
                " super().receive_output() to raise it."
            )
        elif "websocket.disconnect" in self._sent_by_test():
            how = "the test has disconnected"
            advice = "A communicator is one connection: create another one."
        else:
            how = "the application has returned"
            advice = "Send before it returns, or before a handler raises StopConsumer."
        return f"{self.call} cannot receive anything more: {how}. {wanted}\n{advice}"

    def _received(self) -> str:
        name, denial = self.call.name, self.recording.denial_response
        if name == "connect" and denial is not None:
            status = format_value(denial.status)
            return f"the start of a denial response, HTTP {status}, but not its end"
        if name == "receive_until" and self.queued:
            frames = count(self.queued, "data frame")
            return f"{frames} without a match, still to be received"
        if name in ("connect", "wait_closed") and self.frames:
            return f"{count(self.frames, 'data frame')}, now in pre_close_messages"
        if name in ("connect", "wait_closed") and self.events:
            return count(self.events, "other event")
        return "nothing"

    def _sent_by_test(self) -> set[str]:
        records = self.recording.records
        return {
            event_type(it) for direction, it, *_ in records if direction == "receive"
        }

    def _where(self) -> str:
        stuck = self.stuck
        if self._is_forced():
            return format_suppressing(self.suppressing, has_stopped=True)
        if stuck is None:
            return "The application has not been started.\nCall connect() first."
        parts = [
            f"A task that the application started has raised {format_exception(*it)}."
            for it in self.crashed_tasks
        ]
        if stuck.stacks:
            parts.append(_format_stacks(stuck))
        elif parts:
            parts.append("The consumer is idle. Fix that task first.")
        else:
            parts.append(f"The consumer is idle: it {self._why_idle()}")
        return "\n".join(parts)

    def _is_forced(self) -> bool:
        ending = self.recording.ending
        return ending is not None and ending.outcome == "forced"

    def _why_idle(self) -> str:
        """Return why a consumer that waits for events sends nothing more."""
        denial, close = self.recording.denial_response, self.recording.close
        if "websocket.connect" not in self._sent_by_test():
            return "has not received websocket.connect.\nCall connect() first."
        if self.recording.denial_in_progress:
            return (
                "has started a denial response and not completed it.\n"
                "Send a websocket.http.response.body without more_body."
            )
        if denial is not None:
            status = format_value(denial.status)
            return f"has denied the handshake with HTTP {status}.\nSee denial_response."
        if close is not None:
            return (
                f"has closed with {format_value(close_code(close))}.\n"
                "The test has already received the close; nothing can follow it."
            )
        if not self.recording.accepted:
            return (
                "has not responded to the handshake.\n"
                "Call accept() or close() in its connect()."
            )
        if self.call.name == "wait_closed":
            return (
                "has handled every event that it received.\n"
                "Call close() in one of its handlers, send it an event after which it"
                " closes, or call disconnect() to close from the side of the client."
            )
        return (
            "has handled every event that it received.\n"
            "Send from one of its handlers, or send it an event that it answers. If it"
            " waits for group_send(), compare the name of the group: a message reaches"
            " only the channels that are in the group when it is sent."
        )

    def cancelled(self) -> str:
        """Return why the application was cancelled before this call."""
        by = self.cancelled_by
        if self._is_forced():
            return format_suppressing(self.suppressing, has_stopped=True)
        if by is not None and by.name in ("wait", "disconnect"):
            return (
                f"{by} cancelled the application, which had not"
                f" returned{by.after or ' in time'}.\n"
                "Call wait() and disconnect() at the end of the test."
            )
        if by is not None:
            return (
                f"The application is cancelled: an earlier {by} timed out{by.after}."
                " Like the parent class, a call that times out cancels the"
                " application.\n"
                "To check that nothing is sent, use receive_nothing(): it does not"
                " cancel the application."
            )
        if self.loop_has_ended:
            return (
                "The application was cancelled when its event loop ended:"
                " async_to_sync() and asyncio.run() run an event loop for each call.\n"
                "Use one of them for the whole conversation."
            )
        return (
            "The application was cancelled by stop(), by future.cancel() or by"
            " itself.\n"
            "Cancel it only at the end of the test, or create a new communicator."
        )


def _format_stacks(stuck: Stuck) -> str:
    text = ""
    whose = "The consumer has a task that is" if stuck.is_idle else "The application is"
    for stack in stuck.stacks:
        frames = "".join(stack.format())
        text += f"{whose} waiting here (most recent call last):\n{frames}"
        whose = "It has a task that is"
    if stuck.threads is None:
        return f"{text}Unblock it, or pass a longer timeout."
    if stuck.is_thread_known:
        where = "its thread, which is busy with another function:"
        advice = "Let that function return first."
    else:
        where = "a thread. The threads of asgiref are here:"
        advice = "Unblock them, or pass a longer timeout."
    threads = "".join(stuck.threads.format())
    return f"{text}It is waiting for {where}\n{threads}{advice}"


def format_suppressing(suppressing: StackSummary | None, has_stopped: bool) -> str:
    """Return where an application suppresses its cancellation."""
    happened = "was forced to stop" if has_stopped else "did not stop"
    where = "" if suppressing is None else "".join(suppressing.format())
    return (
        f"The application {happened}: it suppresses CancelledError here (most recent"
        f" call last):\n{where}Let CancelledError pass, or raise it again."
    )


def format_no_answer(event: object) -> str:
    return (
        "connect() expected websocket.accept, websocket.close or"
        " websocket.http.response.start, but the application sent"
        f" {format_event(event)}.\n"
        "Call accept() or close() before sending anything else."
    )


def format_no_match(event: object, frames: int) -> str:
    before = f" after {count(frames, 'data frame')} without a match" if frames else ""
    return (
        "receive_until() expected a data frame that matches, but the application sent"
        f" {format_event(event)}{before}.\nEvery event is still to be received."
    )


def format_denied(denial: DenialResponse) -> str:
    status = format_value(denial.status)
    return (
        "wait_closed() expected websocket.close, but the application has denied the"
        f" handshake with HTTP {status}.\nSee denial_response."
    )


def format_undeliverable(found: Undeliverable) -> str:
    return f"{format_event(found.event)}\n  {found.outcome}.\n  {found.remedy}."


#: What ``strict`` fails on, by whether the test has sent it.
_STRICT = {
    False: "the application sent something that some clients do not receive as sent.",
    True: "the test sent something that no client can send.",
}


def format_strict(findings: Sequence[Finding], has_named_servers: bool) -> str:
    """Return what the application and the test have sent that is undeliverable."""
    parts = []
    for is_from_test, headline in _STRICT.items():
        found = [it.undeliverable for it in findings if it.is_from_test == is_from_test]
        if found:
            parts += [f"strict: {headline}", *map(format_undeliverable, found)]
    if not has_named_servers and not all(it.is_everywhere for it in findings):
        parts.append(
            "Not every server does that. To check only those that you deploy on, set"
            ' servers, for example to ["uvicorn"].'
        )
    return "\n".join(parts)

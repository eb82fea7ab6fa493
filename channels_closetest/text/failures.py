"""Words every failure of a call: what happened, what was seen instead, what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from traceback import StackSummary
from typing import Any, NamedTuple

from ..recording import Crash, Place, RawPlace, Recording, close_code
from ..servers.replay import Finding, Undeliverable
from .hints import format_refusal
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
    "receive_all": "data frames",
    "receive_from": "a data frame",
    "receive_json_from": "a data frame",
}
#: What to do about an event that a call does not receive.
_UNEXPECTED = {
    "connect": "Call accept() or close() before sending anything else.",
    "wait_closed": "See denial_response.",
    "receive_until": "Every event is still to be received.",
    "receive_all": "Receive that with receive_output(), or a close with wait_closed().",
}


class Call(NamedTuple):
    """A call of a communicator."""

    method: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    #: The ``timeout_factor``.
    factor: float = 1
    #: The line of the test.
    place: RawPlace | None = None

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


#: The fields of a Call, which takes longer to make: most calls do not fail.
RawCall = tuple[
    Callable[..., object], tuple[Any, ...], dict[str, Any], float, RawPlace | None
]


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
    #: The groups that the consumer is in, where the channel layer can tell.
    groups: Sequence[str] | None = None
    is_channel_full: bool = False
    #: The origin that OriginValidator refuses, and what it allows.
    refusal: tuple[str | None, Sequence[str]] | None = None

    @property
    def place(self) -> Place | None:
        """Where the application, or the first of its tasks, is waiting."""
        innermost = [frame for stack in self.stacks for frame in stack[-1:]]
        places = (Place(it.filename, it.lineno or 0) for it in innermost)
        return next(places, None)


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
    #: Where it suppressed its cancellation, if a call has tried to force it to stop.
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
            # The cause comes first, for the summary of pytest.
            cause, details = self._where()
            return (
                f"{self.call} timed out{self.call.after}: {cause}. {wanted}\n{details}"
            )
        if self.crash is not None:
            # Otherwise the exception itself would have been raised.
            how = f"the application has raised {format_exception(*self.crash)}"
            advice = (
                "Your receive_output() hides this exception: call"
                " super().receive_output() to raise it."
            )
        elif ("receive", "websocket.disconnect") in self.recording.passed:
            how = "the test has disconnected"
            advice = "A communicator is one connection: create another one."
        elif self.call.name == "connect":
            how = "the application has returned without an answer"
            advice = "Call accept() or close() before it returns."
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

    def _where(self) -> tuple[str, str]:
        """Return where the application is, in short, and what to do about it."""
        stuck = self.stuck
        if stuck is None:
            return "the application has not been started", "Call connect() first."
        failed = [f"has raised {format_exception(*it)}" for it in self.crashed_tasks]
        parts = [f"A task that the application started {it}." for it in failed[1:]]
        if stuck.is_channel_full:
            parts.append("Its channel is full: it misses what is sent to its groups.")
        if stuck.stacks:
            parts.append(_format_stacks(stuck))
        elif failed:
            parts.append("The application is idle. Fix that task first.")
        else:
            cause, advice = self._why_idle(stuck)
            return f"the application {cause}", advice
        where = f"the application waits at {stuck.place}"
        if stuck.threads is not None:
            where = "the application waits for a thread"
        cause = f"a task that the application started {failed[0]}" if failed else where
        return cause, "\n".join(parts)

    def _why_idle(self, stuck: Stuck) -> tuple[str, str]:
        """Return why an application that waits for events sends nothing more."""
        denial, close = self.recording.denial_response, self.recording.close
        if ("receive", "websocket.connect") not in self.recording.passed:
            return "has not received websocket.connect", "Call connect() first."
        if stuck.refusal is not None:
            cause = f"was not called: {format_refusal(*stuck.refusal)}"
            return cause, 'Pass headers=[(b"origin", ...)] to the communicator.'
        if self.recording.denial_in_progress:
            cause = "has started a denial response and not completed it"
            return cause, "Send a websocket.http.response.body without more_body."
        if denial is not None:
            cause = f"has denied the handshake with HTTP {format_value(denial.status)}"
            return cause, "See denial_response."
        if close is not None:
            return (
                f"has closed with {format_value(close_code(close))}",
                "The test has already received the close; nothing can follow it.",
            )
        if ("send", "websocket.accept") not in self.recording.passed:
            cause = "is idle and has not responded to the handshake"
            return cause, "Call accept() or close() in its connect()."
        cause = "is idle: it has handled every event that it received"
        if self.call.name == "wait_closed":
            return (
                cause,
                "Call close() in one of its handlers, send it an event after which it"
                " closes, or call disconnect() to close from the side of the client.",
            )
        return (
            cause,
            f"{_format_groups(stuck)}{self._read()}Send from one of its handlers, or"
            " send it an event that it answers.",
        )

    def _read(self) -> str:
        sent = self.recording.passed["send", "websocket.send"]
        if not sent or self.queued:
            return ""
        frames = count(sent, "data frame")
        return f"It has sent {frames}, and the test has received all. "

    def cancelled(self) -> str:
        """Return why the application was cancelled before this call."""
        by = self.cancelled_by
        if self.suppressing is not None:
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


def _format_groups(stuck: Stuck) -> str:
    if not stuck.groups:
        return ""
    names = format_value(", ".join(stuck.groups))
    return f"It is in the groups {names}: a message to another does not reach it.\n"


def _format_stacks(stuck: Stuck) -> str:
    text, whose = "", "The application is"
    if stuck.is_idle:
        whose = "The application has a task that is"
    for stack in stuck.stacks:
        frames = "".join(stack.format())
        text += f"{whose} waiting here (most recent call last):\n{frames}"
        whose = "It has a task that is"
    if stuck.threads is None:
        return f"{text}Unblock it, or pass a longer timeout."
    threads = "".join(stuck.threads.format())
    return (
        f"{text}It is waiting for a thread. The threads of asgiref are here:\n"
        f"{threads}Unblock them, or pass a longer timeout."
    )


def format_suppressing(suppressing: StackSummary | None, has_stopped: bool) -> str:
    """Return where an application suppresses its cancellation."""
    happened = "was forced to stop" if has_stopped else "did not stop"
    where = "" if suppressing is None else "".join(suppressing.format())
    return (
        f"The application {happened}: it suppresses CancelledError here (most recent"
        f" call last):\n{where}Let CancelledError pass, or raise it again."
    )


def format_unexpected(name: str, event: object) -> str:
    """Return that a call has come upon an event that it does not receive."""
    return (
        f"{name}() expected {_EXPECTED[name]}, but the application sent"
        f" {format_event(event)}.\n{_UNEXPECTED[name]}"
    )


def format_busy(call: Call, stuck: Stuck, other: str) -> str:
    """Return that an application is not idle: at the path ``other``, or the own one."""
    whose = "the application"
    if other:
        whose = f"the application of another communicator, {other},"
    return (
        f"{call} timed out{call.after}: {whose} is busy. Nothing is cancelled.\n"
        f"{_format_stacks(stuck)} To wait for one frame, use receive_until()."
    )


def format_undeliverable(found: Undeliverable) -> str:
    where = "" if found.place is None else f"{found.place}: "
    return f"{where}{format_event(found.event)}\n  {found.outcome}.\n  {found.remedy}."


#: How many findings ``strict`` shows.
_SHOWN = 10
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
            parts.append(f"strict: {headline}")
            parts += map(format_undeliverable, found[:_SHOWN])
            if len(found) > _SHOWN:
                parts.append(f"and {len(found) - _SHOWN} more, in undeliverable.")
    if not has_named_servers and not all(it.is_everywhere for it in findings):
        parts.append(
            "Not every server does that. To check only those that you deploy on, set"
            ' servers, for example to ["uvicorn"].'
        )
    return "\n".join(parts)

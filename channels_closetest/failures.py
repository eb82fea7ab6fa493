"""Words every failure: what happened, what was seen instead, what to do."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from .client_view import Finding, Undeliverable
from .recording import DenialResponse, Recording, close_code, event_type
from .transcript import count, format_event, format_exception, format_value

# Why nothing more can be received, and what to do.
RETURNED = (
    "the application has returned",
    "Send before it returns, or before a handler raises StopConsumer",
)
DISCONNECTED = (
    "the test has disconnected",
    "One communicator is one connection: make another",
)
FORCED_BEFORE = (
    "The application was forced to stop, because it suppressed CancelledError when"
    " an earlier call cancelled it.\nLet CancelledError pass, or raise it again."
)
LOOP_ENDED = (
    "The application was cancelled when its event loop ended: async_to_sync() and"
    " asyncio.run() run an event loop for each call.\n"
    "Use one of them for the whole conversation."
)
OTHER_LOOP = (
    "The application runs in another event loop: a communicator belongs to the loop"
    " that started its application.\n"
    "Use one event loop for the whole conversation: one async_to_sync() around all"
    " of it, or the same loop for the fixture and the test."
)
NOT_STARTED = "The application has not been started.\nCall connect() first."
CANCELLED = (
    "The application was cancelled by stop(), by future.cancel() or by itself.\n"
    "Do that last, or make another communicator."
)

NAME_SERVERS = (
    "\nNot every server does that. To check only those that you deploy on, set"
    ' servers, for example to ["uvicorn"].'
)


def format_denial_in_progress(denial: DenialResponse) -> str:
    status = format_value(denial.status)
    return f"the start of a denial response, HTTP {status}, but not its end"


def format_received(events: int, frames: int) -> str:
    """Return what a call received instead of what it was waiting for."""
    if frames:
        return f"{count(frames, 'data frame')}, now in pre_close_messages"
    return count(events, "other event") if events else "nothing"


def format_unmatched(frames: int) -> str:
    """Return what receive_until() has looked at, and left to be received."""
    if not frames:
        return "nothing"
    return f"{count(frames, 'data frame')} without a match, still to be received"


def format_after(timeout: float | None, factor: float) -> str:
    """Return after how many seconds a timeout expires, if that is not the timeout."""
    if timeout is None or factor == 1:
        return ""
    return f" after {timeout * factor:g} s"


def format_timed_out(timed_out: str, expected: str, received: str, where: str) -> str:
    return f"{timed_out}. Waiting for: {expected}. Received: {received}.\n{where}"


def format_idle(recording: Recording, call: str) -> str:
    """Return why a consumer that waits for events sends nothing more."""
    received = {
        event_type(event)
        for direction, event, _, _ in recording.records
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
        advice = "The test has received that, and nothing can follow it"
    elif not recording.accepted:
        how = "has not responded to the handshake"
        advice = "Call accept() or close() in its connect()"
    elif call == "wait_closed":
        how = "has handled every event that it received"
        advice = (
            "Call close() in one of its handlers, send it an event after which it"
            " closes, or call disconnect() to close from the side of the client"
        )
    else:
        how = "has handled every event that it received"
        advice = (
            "Send from one of its handlers, or send it an event that it answers. If it"
            " waits for group_send(), compare the name of the group: a message reaches"
            " only the channels that are in the group when it is sent"
        )
    return f"The consumer is idle: it {how}.\n{advice}."


def format_stuck(
    recording: Recording,
    call: str,
    is_idle: bool,
    stacks: Sequence[traceback.StackSummary],
    crashes: Sequence[BaseException],
    threads: traceback.StackSummary | None,
    is_thread_known: bool,
) -> str:
    """Return where an application is waiting, and for what."""
    parts = [
        f"A task that the application started has raised {format_exception(crash)}."
        for crash in crashes
    ]
    if is_idle and crashes and not stacks:
        return "\n".join([*parts, "The consumer is idle. Fix that task first."])
    if is_idle and not stacks:
        return format_idle(recording, call)
    whose = "The application is" if not is_idle else "The consumer has a task that is"
    for stack in stacks:
        parts.append(
            f"{whose} waiting here (most recent call last):\n"
            f"{''.join(stack.format()).rstrip()}"
        )
        whose = "It has a task that is"
    if threads is None:
        parts.append("Unblock it, or pass a longer timeout.")
    elif is_thread_known:
        parts.append(
            "It is waiting for its thread, which is busy with another function:\n"
            f"{''.join(threads.format())}Let that function return first."
        )
    else:
        parts.append(
            "It is waiting for a thread. The threads of asgiref are here:\n"
            f"{''.join(threads.format())}Unblock them, or pass a longer timeout."
        )
    return "\n".join(parts)


def format_ended(call: str, expected: str, received: str, how: str, do: str) -> str:
    return (
        f"{call} cannot receive anything more: {how}. Waiting for: {expected}."
        f" Received: {received}.\n{do}."
    )


def format_crashed(crash: BaseException) -> tuple[str, str]:
    return (
        f"the application has raised {format_exception(crash)}",
        "To raise that, call super() where you override receive_output()",
    )


def format_timed_out_before(timed_out: str) -> str:
    return (
        f"The application is cancelled: an earlier {timed_out}. Like the parent"
        " class, a call that times out cancels the application.\n"
        "To check that nothing is sent, use receive_nothing(), which cancels nothing."
    )


def format_waited_before(has_ended_it: str) -> str:
    return (
        f"The application is cancelled: {has_ended_it}, because it had not"
        " returned in time.\nCall wait() and disconnect() last."
    )


def format_suppressing(
    suppressing: traceback.StackSummary | None, has_stopped: bool
) -> str:
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
        f" {format_event(event)}.\nRespond to the handshake first."
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


def format_strict(findings: Sequence[Finding], hint: str = "") -> str:
    """Return what the application and the test have sent that is undeliverable."""
    of_application = [it.undeliverable for it in findings if not it.is_from_test]
    of_test = [it.undeliverable for it in findings if it.is_from_test]
    parts = []
    if of_application:
        parts.append(
            "strict: the application sent something that some clients do not receive"
            " as sent."
        )
        parts += map(format_undeliverable, of_application)
    if of_test:
        parts.append("strict: the test sent something that no client can send.")
        parts += map(format_undeliverable, of_test)
    return "\n".join(parts) + hint

"""The parts of failures and of transcripts, each written once."""

import re

from tests.helpers import TESTS, line_of, readable

#: Each call that receives, and what it waits for.
AWAITED = {
    "connect": "websocket.accept, websocket.close or a denial response",
    "receive_output": "any event",
    "receive_from": "a data frame",
    "receive_json_from": "a data frame",
    "wait_closed": "websocket.close",
}


def timed_out(
    name: str, where: str, received: str = "nothing", timeout: float = 0.2
) -> str:
    """Return the failure of a call whose timeout has expired.

    The first line of ``where`` is the cause, unless it is a stack.
    """
    cause, _, details = where.partition("\n")
    if "It is waiting for" in where:
        cause, details = "the application waits for a thread", where
    elif cause.endswith("(most recent call last):"):
        stack = re.split(r"\n(?! )", f"{details}\n")[0]
        file, line = re.findall(r'File "(.+)", line (\d+)', stack)[-1]
        cause, details = f"the application waits at {file}:{line}", where
    return (
        f"{name}(timeout={timeout}) timed out: {cause}. Waiting for: {AWAITED[name]}."
        f" Received: {received}.\n{details}"
    )


def nothing_more(name: str, how: str, advice: str, timeout: float | None = 0.2) -> str:
    """Return the failure of a call that nothing more can reach."""
    return (
        f"{name}(timeout={timeout}) cannot receive anything more: {how}."
        f" Waiting for: {AWAITED[name]}. Received: nothing.\n{advice}"
    )


WAITING_HERE = "The application is waiting here (most recent call last):\n"


HOW_TO_UNBLOCK = "Unblock it, or pass a longer timeout."


_HANDLED = "the application is idle: it has handled every event that it received\n"


#: In the failure of a call that receives.
IDLE = f"{_HANDLED}Send from one of its handlers, or send it an event that it answers."


#: In the failure of wait_closed().
NOT_CLOSED = (
    f"{_HANDLED}Call close() in one of its handlers, send it an event after which it"
    " closes, or call disconnect() to close from the side of the client."
)


UNANSWERED = (
    "the application is idle and has not responded to the handshake\n"
    "Call accept() or close() in its connect()."
)


SUPPRESSES = "it suppresses CancelledError here (most recent call last):\n"


HOW_TO_STOP = "Let CancelledError pass, or raise it again."


#: What a script with the ending "raise" raises.
BOOM = "tests.scripts.Boom: boom, tests/scripts.py:" + str(
    line_of('raise Boom("boom")', str(TESTS / "scripts.py"))
)


#: How an application ends, and the advice: of connect(), and of other calls.
WITHOUT_ANSWER = (
    "the application has returned without an answer",
    "Call accept() or close() before it returns.",
)
RETURNED = "Send before it returns, or before a handler raises StopConsumer."


# The layout of a transcript, which no other module knows.


def transcript(
    *lines: str,
    sees: str = "no response yet",
    path: str = "/ws/?token=old",
    server: str = "Daphne",
) -> str:
    """Return a transcript as ``readable()`` shows it.

    A line is an event after its arrow, or how the application ended; after ``!!``, what
    is wrong with the event before it; after a space, what is neither.
    """
    shown = [path]
    for line in lines:
        first, _, event = line.partition(" ")
        name, _, details = event.partition(" ")
        if first == "!!":
            shown.append(f"{'':16}{line}")
        elif not first:
            shown.append(f"{'':14}{event}")
        elif name.isalpha() and first in ("->", "<-"):
            shown.append(f"   0.0 ms  {first} {name:<10} {details}".rstrip())
        else:
            shown.append(f"   0.0 ms  {line}")
    return "\n".join([*shown, f"a client of {server} sees: {sees}"])


def lines_of(shown: object) -> list[str]:
    """Return the lines of a transcript, without times, layout and what is wrong."""
    _, *lines, _ = readable(shown).splitlines()
    plain = (re.sub(r"^ +(0\.0 ms  )?", "", line) for line in lines)
    return [
        re.sub(r"^(-> \w+|<- \w+) +", r"\1 ", line)
        for line in plain
        if not line.startswith("!!")
    ]

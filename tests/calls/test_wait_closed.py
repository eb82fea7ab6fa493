"""``wait_closed()``: its result, and the frames that it reads past."""

from typing import Any, NamedTuple

import pytest
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.recording import payload
from tests.calls.timing import in_virtual_time, timed
from tests.events import (
    ACCEPT,
    BODY,
    BYTES_FRAME,
    CLOSE_WITH_REASON,
    CONNECT,
    DENIAL,
    FRAME,
    JSON_FRAME,
    UNKNOWN,
    close,
)
from tests.helpers import drain, each_kind
from tests.scripts import Boom, Kind, Script, scripted
from tests.steps import (
    Step,
    connect,
    drain_output,
    perform_step,
    receive,
    wait_for_end,
    wait_for_output,
)


class Closing(NamedTuple):
    """What the application sends, the steps of the test, and the expected results."""

    events: tuple[object, ...]
    steps: list[Step]
    result: int | type[BaseException]
    pre_close_messages: list[object] = []
    ending: Any = "wait"


async def start(it: WebsocketCommunicator) -> None:
    await it.send_input(CONNECT)


SENT = (ACCEPT, JSON_FRAME, FRAME, BYTES_FRAME, CLOSE_WITH_REASON)
JSON = {"type": "jwt-expired"}

CLOSINGS = {
    "rejected": Closing((CLOSE_WITH_REASON,), [connect], 4401),
    "rejected, and nothing read": Closing((CLOSE_WITH_REASON,), [start], 4401),
    "accepted and closed": Closing((ACCEPT, CLOSE_WITH_REASON), [connect], 4401),
    "closed without a code": Closing((ACCEPT, close()), [connect], 1000),
    "closed with a code of None": Closing((ACCEPT, close(code=None)), [connect], 1000),
    "frames before": Closing(SENT, [connect], 4401, [JSON, "hello", b"\0"]),
    "some of them read": Closing(SENT, [connect, receive], 4401, ["hello", b"\0"]),
    "all of it read": Closing(SENT, [connect, *[receive] * 4], 4401),
    # The first close counts, also if it has been read.
    "closed twice, the first read": Closing(
        (ACCEPT, CLOSE_WITH_REASON, JSON_FRAME, close(code=4000)),
        [connect, receive, wait_for_output],
        4401,
        [JSON],
    ),
    "an unknown event before the close": Closing(
        (ACCEPT, UNKNOWN, FRAME, CLOSE_WITH_REASON), [connect], 4401, ["hello"]
    ),
    "closed, then crashed, all of it read": Closing(
        SENT, [connect, wait_for_end, drain_output], 4401, ending="raise"
    ),
    "crashed": Closing((ACCEPT, JSON_FRAME), [connect], Boom, [JSON], "raise"),
    "returned": Closing((ACCEPT, FRAME), [connect], TimeoutError, ["hello"], "return"),
    "open": Closing((ACCEPT, FRAME), [connect], TimeoutError, ["hello"]),
    "no handshake response": Closing((), [], TimeoutError),
    "denied": Closing((DENIAL, BODY), [connect], AssertionError),
    "denied, and frames after it": Closing(
        (DENIAL, BODY, JSON_FRAME), [connect, wait_for_output], AssertionError, [JSON]
    ),
}


@each_kind
@pytest.mark.parametrize("name", CLOSINGS)
@in_virtual_time
async def test_wait_closed_returns_the_close_code_or_raises(
    name: str, kind: Kind
) -> None:
    events, steps, expected, payloads, ending = CLOSINGS[name]
    application = scripted(Script(events, ending), kind)
    communicator = RecordingWebsocketCommunicator(application, "/")
    for step in steps:
        await perform_step(step, communicator)
    result, seconds = await timed(communicator.wait_closed(5))
    assert (result if type(result) is int else type(result)) == expected
    assert str(result)
    is_open = expected is TimeoutError and ending == "wait"
    assert seconds == (5 if is_open else 0)
    left = [payload(event) for event in drain(communicator.output_queue)]
    assert communicator.pre_close_messages + left == payloads
    # Where the application has crashed, what it had sent is still to be received.
    assert left == [] or expected is Boom


@in_virtual_time
async def test_wait_closed_leaves_events_after_the_close_to_receive() -> None:
    events = (ACCEPT, CLOSE_WITH_REASON, JSON_FRAME)
    communicator = RecordingWebsocketCommunicator(scripted(Script(events), "asgi"), "/")
    await communicator.connect()
    assert await communicator.wait_closed() == 4401
    assert communicator.pre_close_messages == []
    assert await communicator.receive_output() is JSON_FRAME

"""How long a call waits, and what ends it before its timeout expires."""

import asyncio
import time
import traceback
from contextlib import suppress
from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.calls.timing import (
    ENDING,
    OF_THE_PARENT,
    RECEIVING,
    block,
    call,
    each_call,
    each_call_of_both_classes,
    in_virtual_time,
    pausing,
    started,
    timed,
    turns,
)
from tests.events import ACCEPT, CLOSE, DENIAL, FRAME, JSON_FRAME, PART, Event
from tests.helpers import (
    LONG,
    CommunicatorClass,
    both_classes,
    each_kind,
    hanging,
    ignore_undeliverable,
)
from tests.scripts import Boom, Kind, Script, scripted

pytestmark = ignore_undeliverable

Ours = RecordingWebsocketCommunicator


async def echo(scope: Any, receive: Any, send: Any) -> None:
    while True:
        event = await receive()
        if event["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})


# An application that has ended.

ENDED = {"raise": Boom, "return": TimeoutError, "cancel": asyncio.CancelledError}


@each_call
@each_kind
@pytest.mark.parametrize("ending", ENDED)
@pytest.mark.parametrize("has_ended", [False, True], ids=["meanwhile", "before"])
@in_virtual_time
async def test_the_end_of_the_application_ends_every_call_at_once(
    name: str, kind: Kind, ending: Any, has_ended: bool
) -> None:
    perform: Any = scripted(Script((), ending), kind)

    async def application(*args: Any) -> None:
        await asyncio.sleep(2)
        await perform(*args)

    communicator = await started(Ours, application, has_ended)
    result, seconds = await timed(call(communicator, name, None))
    assert seconds == (0 if has_ended else 2)
    # As the parent's, disconnect() raises what the application had before.
    silent = {
        "raise": [],
        "return": ENDING,
        "cancel": ["wait"] if has_ended else ENDING,
    }
    expected = type(None) if name in silent[ending] else ENDED[ending]
    assert type(result) is expected
    if ending == "raise":
        assert result is communicator.future.exception()
        assert traceback.extract_tb(result.__traceback__)[-1].name == "end"
    # So it does each later one.
    for later in RECEIVING:
        result, seconds = await timed(call(communicator, later, None))
        assert (type(result), seconds) == (ENDED[ending], 0)


@both_classes
@pytest.mark.parametrize(
    ("ending", "has_ended", "expected"),
    [
        # What was sent before a crash comes first only if the call is waiting for it.
        ("raise", False, [ACCEPT, Boom, Boom]),
        ("raise", True, [Boom, Boom, Boom]),
        ("return", True, [ACCEPT, JSON_FRAME, TimeoutError]),
    ],
)
@in_virtual_time
async def test_events_and_exceptions_have_the_order_of_the_parent(
    communicator_class: CommunicatorClass,
    ending: Any,
    has_ended: bool,
    expected: list[object],
) -> None:
    application = scripted(Script((ACCEPT, JSON_FRAME), ending), "asgi")
    communicator = await started(communicator_class, application, has_ended)
    results = [(await timed(communicator.receive_output(1)))[0] for _ in range(3)]
    shown = [it if type(it) is dict else type(it) for it in results]
    assert shown == expected
    received = [it for it in shown if type(it) is dict]
    assert communicator.output_queue.qsize() == 2 - len(received)


# Timeouts.


@each_call_of_both_classes
@pytest.mark.parametrize("timeout", [5, 0, -1])
@in_virtual_time
async def test_a_call_waits_until_its_timeout_expires_and_cancels_the_application(
    communicator_class: CommunicatorClass, name: str, timeout: float
) -> None:
    has_started = asyncio.Event()

    async def application(*args: Any) -> None:
        has_started.set()
        await hanging(*args)

    communicator = communicator_class(application, "/")
    result, seconds = await timed(call(communicator, name, timeout))
    assert type(result) is (type(None) if name in ENDING else TimeoutError)
    assert seconds == max(timeout, 0)
    # It takes its first step even without time, but not to be waited for.
    assert has_started.is_set() is (timeout > 0 or name != "wait")
    if name == "receive_until":
        assert not communicator.future.done()
        return
    assert communicator.future.cancelled()
    for later in OF_THE_PARENT:
        result, seconds = await timed(call(communicator, later, None))
        assert (type(result), seconds) == (asyncio.CancelledError, 0)
    await communicator.wait()
    communicator.stop(exceptions=False)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("name", "event", "result"),
    [
        ("connect", ACCEPT, (True, None)),
        ("receive_output", JSON_FRAME, JSON_FRAME),
        ("receive_from", JSON_FRAME, JSON_FRAME["text"]),
        ("receive_json_from", JSON_FRAME, {"type": "jwt-expired"}),
        ("receive_until", JSON_FRAME, [{"type": "jwt-expired"}]),
        ("wait_closed", CLOSE, 4401),
        ("wait", CLOSE, None),
        ("disconnect", CLOSE, None),
    ],
)
@in_virtual_time
async def test_a_timeout_of_none_waits_forever(
    name: str, event: Event, result: object
) -> None:
    communicator = Ours(pausing(500, event, ending="return"), "/")
    assert await timed(call(communicator, name, None)) == (result, 500)


@pytest.mark.parametrize("name", ["connect", "wait_closed", "receive_until"])
@pytest.mark.parametrize(
    "events", [[FRAME, FRAME], [DENIAL, *[PART] * 100]], ids=["frames", "denial"]
)
@pytest.mark.parametrize("factor", [1, 2, 0])
@in_virtual_time
async def test_the_timeout_covers_the_whole_call(
    name: str, events: list[Event], factor: int
) -> None:
    steps = [step for event in events * 50 for step in (event, 0.3)]
    communicator = await started(Ours, pausing(*steps))
    communicator.timeout_factor = factor
    result, seconds = await timed(call(communicator, name, 5, match=False))
    if not factor or events[0] is FRAME or name == "connect":
        assert (type(result), seconds) == (TimeoutError, 5 * factor)
    else:
        # There will be no close, and no frame.
        assert (type(result), seconds) == (AssertionError, 0)


@pytest.mark.parametrize("name", ["connect", "wait_closed", "receive_until"])
async def test_an_endless_series_of_frames_does_not_delay_the_timeout(
    name: str,
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await send(FRAME)
            await send(FRAME)
            await asyncio.sleep(0)

    communicator = Ours(application, "/")
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        await call(communicator, name, 0.1, match=False)
    assert 0.1 <= time.monotonic() - start < LONG
    communicator.stop(exceptions=False)


@both_classes
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(0, 0.1, TimeoutError), (0.1, 0, dict)],
    ids=["sent later", "sent while it passes"],
)
@in_virtual_time
async def test_the_deadline_passes_while_the_application_blocks_the_event_loop(
    communicator_class: CommunicatorClass, before: float, after: float, expected: type
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(before)
        block(10)
        if after:
            await asyncio.sleep(after)
        await send(JSON_FRAME)
        await hanging(scope, receive, send)

    result, _ = await timed(communicator_class(application, "/").receive_output(5))
    assert type(result) is expected


@both_classes
@in_virtual_time
async def test_an_exception_raised_by_the_cancelled_application_is_raised(
    communicator_class: CommunicatorClass,
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await hanging(scope, receive, send)
        finally:
            raise Boom("cancelled")

    with pytest.raises(Boom, match="cancelled"):
        await communicator_class(application, "/").receive_output(5)


@in_virtual_time
async def test_wait_stops_the_application_although_it_is_cancelled_meanwhile() -> None:
    suppressed = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        with suppress(asyncio.CancelledError):
            await hanging(scope, receive, send)
        suppressed.set()
        await hanging(scope, receive, send)

    communicator = Ours(application, "/")
    waiting = asyncio.ensure_future(communicator.wait(5))
    await suppressed.wait()
    waiting.cancel()
    # As the parent, it suppresses its own cancellation.
    await waiting
    assert communicator.future.cancelled()


# A call that is cancelled.


@each_call_of_both_classes
@in_virtual_time
async def test_cancelling_a_call_cancels_the_application_only_if_it_waits_for_its_end(
    communicator_class: CommunicatorClass, name: str
) -> None:
    communicator = communicator_class(echo, "/")
    task = asyncio.ensure_future(call(communicator, name, None))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    if name in ENDING:
        assert communicator.future.cancelled()
        return
    assert task.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task(), communicator.future}
    await communicator.send_to("still there")
    assert await communicator.receive_from() == "still there"


async def test_a_pending_call_may_be_closed_by_the_garbage_collector() -> None:
    communicator = Ours(echo, "/")
    call = communicator.receive_from(LONG)
    call.send(None)
    call.close()
    await communicator.send_to("still running")
    assert await communicator.receive_from() == "still running"
    communicator.stop()


# More than one at a time.


@both_classes
@pytest.mark.parametrize("count", [0, 1, 5])
@in_virtual_time
async def test_several_tasks_can_receive_at_once(
    communicator_class: CommunicatorClass, count: int
) -> None:
    communicator = communicator_class(echo, "/")
    receiving = [asyncio.ensure_future(communicator.receive_from(9)) for _ in range(3)]
    await turns(1)
    for number in ("first", "second", "third"):
        await communicator.send_to(number)
        await turns(count)
    assert await asyncio.gather(*receiving) == ["first", "second", "third"]


@in_virtual_time
async def test_a_call_after_a_disconnect_ends_with_the_application() -> None:
    communicator = await started(Ours, pausing(2))
    await communicator.send_input({"type": "websocket.disconnect"})
    for seconds in (2, 0):
        assert (await timed(communicator.receive_output(9)))[1] == seconds
        await asyncio.create_task(communicator.wait())


@pytest.mark.parametrize("ending", [Boom("boom"), "return", "wait"])
@in_virtual_time
async def test_every_waiting_call_returns_when_something_happens(ending: Any) -> None:
    events = [FRAME] if ending == "wait" else []
    communicator = Ours(pausing(2.25, *events, ending=ending), "/")
    waiting = [communicator.receive_nothing(9, 0.5) for _ in range(3)]
    # Only one of these would receive an event.
    names = [] if events else [*RECEIVING, *RECEIVING]
    calls = [call(communicator, name, 9) for name in names]
    results = await asyncio.gather(*map(timed, [*waiting, *calls]))
    # receive_nothing() looks at the queue once an interval.
    assert results[:3] == [(not events, 2.5 if events else 2.25)] * 3
    expected = TimeoutError if ending == "return" else Boom
    assert [(type(it), at) for it, at in results[3:]] == [(expected, 2.25)] * len(names)

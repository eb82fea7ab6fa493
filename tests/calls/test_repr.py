"""``repr()`` of a communicator."""

import asyncio
from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import (
    ACCEPT,
    CLOSE_WITH_REASON,
    CONNECT,
    DENIAL,
    JSON_FRAME,
    Event,
)
from tests.helpers import LONG, SHORT, client, failure, ignore_undeliverable
from tests.scripts import Script, scripted


@ignore_undeliverable
@pytest.mark.parametrize(
    ("events", "ending", "state"),
    [
        ((), "wait", "running, pre_close_messages: 0"),
        ((), "raise", "ended, pre_close_messages: 0"),
        ((ACCEPT,), "wait", "accepted, running, pre_close_messages: 0"),
        ((ACCEPT,), "return", "accepted, ended, pre_close_messages: 0"),
        (
            (JSON_FRAME, CLOSE_WITH_REASON),
            "wait",
            "closed 4401, running, pre_close_messages: 1",
        ),
        (
            (ACCEPT, CLOSE_WITH_REASON),
            "return",
            "accepted, closed 4401, ended, pre_close_messages: 0",
        ),
        ((DENIAL,), "wait", "denied 401, running, pre_close_messages: 0"),
    ],
)
async def test_repr_shows_path_state_and_messages(
    events: tuple[Event, ...], ending: Any, state: str
) -> None:
    communicator = client(*events, ending=ending)
    task = asyncio.ensure_future(communicator.connect(LONG))
    while len(communicator.transcript.records) < 1 + len(events):
        await asyncio.sleep(0)
    if ending != "wait":
        await asyncio.wait([communicator.future])
    if ending != "wait" or events not in ((), (DENIAL,)):
        await asyncio.wait([task])
    assert repr(communicator) == (
        f"<RecordingWebsocketCommunicator /ws/?token=old: {state}>"
    )
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
    communicator.stop(exceptions=False)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"token=\xff", "/ws/?token=\ufffd"),
        ("token=é".encode(), "/ws/?token=é"),
        (b"a\nb", "/ws/?'a\\nb'"),
        (b"", "/ws/"),
        (None, "/ws/"),
        ("text", "/ws/"),
        (b"a" * 60, f"/ws/?{'a' * 25}...{'a' * 25} (60 in all)"),
    ],
    ids=range(7),
)
async def test_repr_shows_any_query_string(query: object, shown: str) -> None:
    communicator = client()
    scope: Any = communicator.scope
    scope.update(path="/ws/", query_string=query)
    await communicator.send_input(CONNECT)
    assert repr(communicator) == (
        f"<RecordingWebsocketCommunicator {shown}: running, pre_close_messages: 0>"
    )
    assert str(communicator.transcript).splitlines()[0] == shown
    communicator.stop(exceptions=False)


class Strict(RecordingWebsocketCommunicator):
    strict = True


async def test_repr_shows_not_started_and_cancelled() -> None:
    communicator = Strict(scripted(Script(()), "async"), "/ws/")
    started = "not started" if communicator._future is None else "running"
    assert repr(communicator) == f"<Strict /ws/: {started}, pre_close_messages: 0>"
    await failure(communicator.receive_output(SHORT))
    assert repr(communicator) == "<Strict /ws/: cancelled, pre_close_messages: 0>"

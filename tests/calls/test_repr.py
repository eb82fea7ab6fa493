"""``repr()`` of a communicator."""

from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE_WITH_REASON, JSON_FRAME, Event
from tests.helpers import SHORT, failure, having_sent, ignore_undeliverable
from tests.scripts import Script, scripted


@pytest.mark.parametrize(
    ("events", "ending", "state"),
    [
        ((), "wait", "running, close_code: None"),
        ((ACCEPT,), "raise", "raised, close_code: None"),
        ((ACCEPT, CLOSE_WITH_REASON), "return", "returned, close_code: 4401"),
    ],
)
async def test_repr_shows_the_path_and_the_state(
    events: tuple[Event, ...], ending: Any, state: str
) -> None:
    communicator = await having_sent(*events, ending=ending)
    name = "RecordingWebsocketCommunicator"
    shown = f"<{name} /ws/?token=old: {state}, pre_close_messages: 0>"
    assert repr(communicator) == shown
    communicator.stop(exceptions=False)


class Strict(RecordingWebsocketCommunicator):
    pass


@ignore_undeliverable
async def test_repr_shows_the_class_and_the_count_and_that_it_was_cancelled() -> None:
    script = Script((JSON_FRAME, CLOSE_WITH_REASON))
    communicator = Strict(scripted(script, "async"), "/")
    await communicator.connect()
    await failure(communicator.receive_output(SHORT))
    state = "cancelled, close_code: 4401"
    assert repr(communicator) == f"<Strict /: {state}, pre_close_messages: 1>"

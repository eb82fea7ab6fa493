"""``repr()`` of a communicator."""

from typing import Any

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE_WITH_REASON, DENIAL, JSON_FRAME, Event
from tests.helpers import SHORT, client, failure, having_sent, ignore_undeliverable
from tests.scripts import Script, scripted


def shown(path: str, state: str, kept: int = 0) -> str:
    name = "RecordingWebsocketCommunicator"
    return f"<{name} {path}: {state}, pre_close_messages: {kept}>"


@pytest.mark.parametrize(
    ("events", "ending", "state"),
    [
        ((), "wait", "running"),
        ((), "raise", "ended"),
        ((ACCEPT,), "wait", "accepted, running"),
        ((ACCEPT,), "return", "accepted, ended"),
        ((ACCEPT, CLOSE_WITH_REASON), "return", "accepted, closed 4401, ended"),
        ((DENIAL,), "wait", "denied 401, running"),
    ],
)
async def test_repr_shows_the_path_and_the_state(
    events: tuple[Event, ...], ending: Any, state: str
) -> None:
    communicator = await having_sent(*events, ending=ending)
    assert repr(communicator) == shown("/ws/?token=old", state)
    communicator.stop(exceptions=False)


@ignore_undeliverable
async def test_repr_counts_the_messages() -> None:
    communicator = client(JSON_FRAME, CLOSE_WITH_REASON)
    await communicator.connect()
    state = "closed 4401, running"
    assert repr(communicator) == shown("/ws/?token=old", state, kept=1)
    communicator.stop()


class Strict(RecordingWebsocketCommunicator):
    strict = True


async def test_repr_shows_the_class_and_that_it_was_cancelled() -> None:
    communicator = Strict(scripted(Script(()), "async"), "/ws/")
    await failure(communicator.receive_output(SHORT))
    assert repr(communicator) == "<Strict /ws/: cancelled, pre_close_messages: 0>"

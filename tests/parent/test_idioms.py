"""Events are the objects that were sent, and may be any object."""

from typing import Any

import pytest

from tests.events import ACCEPT, Event, send
from tests.helpers import CommunicatorClass, both_classes

# What test_parity and tests.failures use from here, too.
from tests.parent.applications import connected as connected
from tests.parent.applications import echo as echo  # noqa: F401
from tests.parent.applications import sending as sending

pytestmark = both_classes


async def test_events_are_passed_as_the_same_object_and_can_be_changed(
    communicator_class: CommunicatorClass,
) -> None:
    event: Event = send(text="1", list=[])
    communicator = await connected(communicator_class, sending(ACCEPT, event))
    event["text"] = "changed by the application"
    received = await communicator.receive_output()
    assert received is event
    received["list"].append("by the test")
    del received["type"]
    assert event == {"text": "changed by the application", "list": ["by the test"]}
    sent: Event = {"type": "websocket.receive", "text": "1"}
    await communicator.send_input(sent)
    assert communicator.input_queue.get_nowait() is sent
    await communicator.disconnect()


@pytest.mark.parametrize(
    "event",
    [None, {}, "text", "", 5, {"type": "chat.message"}, {"type": None}],
    ids=repr,
)
async def test_events_may_be_any_object(
    communicator_class: CommunicatorClass, event: Any
) -> None:
    communicator = await connected(communicator_class)
    await communicator.send_input(event)
    assert await communicator.receive_output() is event
    await communicator.disconnect()

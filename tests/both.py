"""What runs with the parent class and with ours."""

import pytest
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator

CommunicatorClass = type[WebsocketCommunicator]

both_classes = pytest.mark.parametrize(
    "communicator_class",
    [WebsocketCommunicator, RecordingWebsocketCommunicator],
    ids=["parent", "ours"],
)

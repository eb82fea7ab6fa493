"""Lets ``pytest -p tests.tools.with_parent`` run tests with the parent, to compare."""

from channels.testing import WebsocketCommunicator

import channels_closetest

setattr(channels_closetest, "RecordingWebsocketCommunicator", WebsocketCommunicator)

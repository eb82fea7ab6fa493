"""A suite that cannot be imported."""

from channels.testing import WebsocketCommunicator

raise RuntimeError(f"crash at import, after {WebsocketCommunicator.__name__}")

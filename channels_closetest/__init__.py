"""A WebSocket communicator that records what a consumer sends before it closes.

PYTEST_DONT_REWRITE: pytest rewrites the assertions of a plugin's package, and warns if
that is imported already, as with ``python -m channels_closetest -m pytest``.
"""

from typing import TYPE_CHECKING

from .recording import DenialResponse, Place, Record
from .servers.replay import ClientView, Undeliverable, UndeliverableWarning
from .text.transcript import Transcript

if TYPE_CHECKING:
    from .communicator import RecordingWebsocketCommunicator
else:

    def __getattr__(name):
        """Import the communicator, and with it Channels, when it is first used.

        ``python -m channels_closetest`` imports this module before the test suite has
        set up Django.
        """
        if name != "RecordingWebsocketCommunicator":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .communicator import RecordingWebsocketCommunicator

        globals()[name] = RecordingWebsocketCommunicator
        return RecordingWebsocketCommunicator


__all__ = [
    "ClientView",
    "DenialResponse",
    "Place",
    "Record",
    "RecordingWebsocketCommunicator",
    "Transcript",
    "Undeliverable",
    "UndeliverableWarning",
]

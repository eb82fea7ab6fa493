"""A WebSocket communicator that shows what a consumer says before it hangs up."""

from .client_view import (
    ClientView,
    DenialResponse,
    Undeliverable,
    UndeliverableWarning,
)
from .communicator import RecordingWebsocketCommunicator
from .transcript import Record, Transcript

__all__ = [
    "ClientView",
    "DenialResponse",
    "Record",
    "RecordingWebsocketCommunicator",
    "Transcript",
    "Undeliverable",
    "UndeliverableWarning",
]

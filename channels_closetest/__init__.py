"""A WebSocket communicator that records what a consumer sends before it closes."""

from .client_view import ClientView, Undeliverable, UndeliverableWarning
from .communicator import RecordingWebsocketCommunicator
from .recording import DenialResponse, Record
from .transcript import Transcript

__all__ = [
    "ClientView",
    "DenialResponse",
    "Record",
    "RecordingWebsocketCommunicator",
    "Transcript",
    "Undeliverable",
    "UndeliverableWarning",
]

"""Parts of failure texts that several test modules compare with."""

HANDSHAKE = "Waiting for: websocket.accept, websocket.close or a denial response."


WAITING_HERE = "The application is waiting here (most recent call last):\n"


HOW_TO_UNBLOCK = "Unblock it, or pass a longer timeout."


IDLE = (
    "The consumer is idle: it has handled every event that it received.\n"
    "Send from one of its handlers, or send it an event that it answers."
)


UNANSWERED = (
    "The consumer is idle: it has not responded to the handshake.\n"
    "Call accept() or close() in its connect()."
)


RETURNED = "Send before it returns, or before a handler raises StopConsumer."

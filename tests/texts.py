"""Parts of failure texts that several test modules compare with."""

HANDSHAKE = "Awaited: websocket.accept, websocket.close or a denial response."


WAITING_HERE = "The application hangs here, the most recent call last:\n"


HOW_TO_UNBLOCK = "Let it go on, or give the call more time."


IDLE = (
    "The consumer is idle: it has handled every event it was sent.\n"
    "Let a handler of it send, or send it an event that makes it."
)


UNANSWERED = (
    "The consumer is idle: it has not answered the handshake.\n"
    "Let its connect() call accept() or close()."
)


RETURNED = "Let it send before it returns, or before a handler raises StopConsumer."

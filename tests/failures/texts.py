"""Parts of failure texts that several test modules compare with."""

HANDSHAKE = "Waiting for: websocket.accept, websocket.close or a denial response."


WAITING_HERE = "The application is waiting here (most recent call last):\n"


HOW_TO_UNBLOCK = "Unblock it, or pass a longer timeout."


_HANDLED = "The consumer is idle: it has handled every event that it received.\n"


#: In the failure of a call that receives.
IDLE = (
    f"{_HANDLED}Send from one of its handlers, or send it an event that it answers. If"
    " it waits for group_send(), compare the name of the group: a message reaches only"
    " the channels that are in the group when it is sent."
)


#: In the failure of wait_closed().
NOT_CLOSED = (
    f"{_HANDLED}Call close() in one of its handlers, send it an event after which it"
    " closes, or call disconnect() to close from the side of the client."
)


CLOSED = (
    "The consumer is idle: it has closed with 4401.\n"
    "The test has already received the close; nothing can follow it."
)


UNANSWERED = (
    "The consumer is idle: it has not responded to the handshake.\n"
    "Call accept() or close() in its connect()."
)


SUPPRESSES = "it suppresses CancelledError here (most recent call last):\n"


HOW_TO_STOP = "Let CancelledError pass, or raise it again."


ONE_CONNECTION = "A communicator is one connection: create another one."


RETURNED = "Send before it returns, or before a handler raises StopConsumer."

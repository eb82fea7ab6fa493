"""The ASGI events that the tests use, each defined once."""

from typing import Any

Event = dict[str, Any]


def accept(**keys: object) -> Event:
    return {"type": "websocket.accept", **keys}


def send(**keys: object) -> Event:
    return {"type": "websocket.send", **keys}


def close(**keys: object) -> Event:
    return {"type": "websocket.close", **keys}


def start(**keys: object) -> Event:
    """Return the start of a denial response."""
    return {"type": "websocket.http.response.start", **keys}


def body(**keys: object) -> Event:
    """Return a part of the body of a denial response."""
    return {"type": "websocket.http.response.body", **keys}


CONNECT: Event = {"type": "websocket.connect"}
DISCONNECT: Event = {"type": "websocket.disconnect", "code": 1000}
UNKNOWN: Event = {"type": "websocket.unknown"}

ACCEPT = accept()

FRAME = send(text="hello")
JSON_FRAME = send(text='{"type": "jwt-expired"}')
BYTES_FRAME = send(bytes=b"\0")

CLOSE = close(code=4401)
CLOSE_WITH_REASON = close(code=4401, reason="expired")

HEADERS = [(b"x-why", b"because")]
DENIAL = start(status=401, headers=HEADERS)
#: A whole body, and a part that is not the last.
BODY = body(body=b"no")
PART = body(body=b"Not ", more_body=True)

"""A connection as its client sees it: what it has received, and what it has sent."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from ..recording import (
    Direction,
    close_code,
    close_reason,
    event_type,
    has_more_body,
    payload,
    plain_text,
)

#: An ASGI event.
Event = Mapping[str, Any]
#: Where a connection is: no response sent; a denial response started; accepted; ended
#: by the application, or by an event with a finding; ended by the client. The last is
#: no phase of a connection: the event comes from a task that an earlier event has
#: ended.
Phase = Literal[
    "handshake", "denial", "open", "closed", "lost", "client_left", "task_failed"
]


class Connection:
    """What the client of one server has received, as it follows from the events."""

    def __init__(self) -> None:
        self.phase: Phase = "handshake"
        self.status: Any = None
        self.subprotocol: str | None = None
        self.close_code: Any = None
        self.close_reason: Any = None
        #: The tasks that an event of theirs has ended.
        self.failed_tasks: set[int] = set()
        self.denial_status: Any = None
        #: The data frames that have reached the client.
        self.frames: list[Event] = []
        self._messages: list[Any] = []

    @property
    def messages(self) -> list[Any]:
        """Their payloads; each is decoded once."""
        self._messages += map(payload, self.frames[len(self._messages) :])
        return self._messages[:]

    @property
    def has_ended(self) -> bool:
        """Whether the application or the server has ended it."""
        return self.phase in ("closed", "lost")

    def deliver(self, event: Event) -> None:
        """Do what a server does with an event to which no rule applies."""
        kind = event_type(event)
        if kind == "websocket.accept":
            self.phase, self.status = "open", 101
            subprotocol = plain_text(event.get("subprotocol"))
            if type(subprotocol) is str and subprotocol:
                self.subprotocol = subprotocol
        elif kind == "websocket.send":
            self.frames.append(event)
        elif kind == "websocket.close" and self.phase == "open":
            # Hypercorn converts what is not an int. Rules deal with the other servers.
            self.close(int(close_code(event)), plain_text(close_reason(event)))
        elif kind == "websocket.close":
            self.fail_handshake(403)
        elif kind == "websocket.http.response.start":
            self.phase, self.denial_status = "denial", event.get("status")
        elif self.phase == "denial" and not has_more_body(event):
            self.fail_handshake(self.denial_status)

    def fail_handshake(self, status: Any) -> None:
        """End without a connection: the client receives no code and no reason."""
        self.phase, self.status = "closed", status
        self.close_code, self.close_reason = 1006, ""

    def close(self, code: Any, reason: Any = "") -> None:
        self.phase = "closed"
        self.close_code, self.close_reason = code, reason

    # What a server does instead of delivering an event, or before that.

    def begin_denial(self, event: Event) -> Event:
        # Before the body is complete.
        self.status = self.denial_status
        return event

    def close_with_1011(self, event: Event) -> Event | None:
        # A server that reports an exception so does what close(1011) asks for.
        code = event.get("code") if event_type(event) == "websocket.close" else None
        if issubclass(type(code), int) and code == 1011:
            return event
        self.close(1011)
        return None

    def answer(self, event: Event) -> None:
        # 1006 stands for a client that has vanished, and receives no answer.
        self.close(1006 if event.get("code") == 1006 else 1000)

    def echo(self, event: Event) -> None:
        self.close(event.get("code", 1005), event.get("reason") or "")


class Client(NamedTuple):
    """The client, which is the test: its request, and what has passed since."""

    #: The subprotocols that it has offered.
    offered: tuple[str, ...]
    #: The headers and the path of its request.
    headers: tuple[Any, ...] = ()
    path: Any = None
    #: How many events of each direction and type have passed, data frames aside.
    passed: Counter[tuple[Direction, str]] = Counter()


def client_of(scope: Any) -> Client:
    """Return the client that has made a request, before it has sent anything.

    The subprotocols that it has offered are in ``subprotocols``, or else where a server
    reads them: in the headers ``sec-websocket-protocol`` (RFC 6455 section 11.3.4).
    """
    client = Client(())
    with contextlib.suppress(Exception):  # a scope of the test's own making
        client = Client((), tuple(_listed(scope, "headers")), scope.get("path"))
        offered = [
            it for it in _listed(scope, "subprotocols") if issubclass(type(it), str)
        ]
        if not offered:
            values = [
                value.decode("latin-1")
                for name, value in client.headers
                if name.lower() == b"sec-websocket-protocol"
            ]
            offered = list(filter(None, map(str.strip, ",".join(values).split(","))))
        client = client._replace(offered=tuple(map(str.__str__, offered)))
    return client


def _listed(scope: Any, key: str) -> Any:
    """Return what can be iterated over again, which the application does."""
    value = scope.get(key)
    return value if issubclass(type(value), (list, tuple, Mapping)) else ()

"""What a real client sees: a recording, run through the table of ``servers.py``.

Computed from the records and the scope alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .recording import Ending, RawRecord, event_type, read_only
from .servers import (
    CLIENT_CLOSES,
    CLIENT_RULES,
    ENDINGS,
    HANDSHAKE_TIMEOUTS,
    OTHER,
    RULES,
    Client,
    ClientRule,
    Connection,
    Effect,
    Phase,
    Rule,
    are_invalid_headers,
    failed_task,
)


class ClientView(NamedTuple):
    """What a real client has seen so far."""

    #: The HTTP status of the handshake: 101 once the client is connected, None as long
    #: as there is no response, and also when the connection is dropped without one, or
    #: the client rejects the response.
    status: int | None
    #: The subprotocol that the application selected, or None.
    subprotocol: str | None
    #: The payload of each frame that has reached the client, in order: JSON text
    #: decoded, other text as ``str``, binary as ``bytes``.
    messages: list[Any]
    #: The code of a browser's ``CloseEvent`` (RFC 6455 section 7.4): 1006 when the
    #: handshake failed, None while the connection is open.
    close_code: int | None
    #: The reason of a browser's ``CloseEvent``: ``""`` when the handshake failed, None
    #: while the connection is open.
    close_reason: str | None


class Undeliverable(NamedTuple):
    """An event that some client does not receive as sent, or no client can send."""

    #: The ASGI event, as sent.
    event: Any
    #: Why, and what the client receives instead, on which server; or that the test has
    #: sent it.
    outcome: str
    #: What to write instead.
    remedy: str


class UndeliverableWarning(UserWarning):
    """A test read a frame that reaches no client: it was sent before ``accept()``."""


def offered_subprotocols(scope: object) -> tuple[str, ...]:
    """Return the subprotocols that the client has offered.

    They are in ``subprotocols``, or else where a server reads them: in the headers
    ``sec-websocket-protocol`` (RFC 6455 section 11.3.4), if these are in a list or a
    tuple.
    """
    try:
        return _offered_in_scope(scope) or _offered_in_headers(scope)
    except Exception:
        return ()  # a scope of the test's own making


def _offered_in_scope(scope: Any) -> tuple[str, ...]:
    offered: Any = scope.get("subprotocols")
    if not issubclass(type(offered), (list, tuple)):
        return ()
    return tuple(str.__str__(it) for it in offered if issubclass(type(it), str))


def _offered_in_headers(scope: Any) -> tuple[str, ...]:
    headers: Any = scope.get("headers")
    if not issubclass(type(headers), (list, tuple)):
        return ()  # to iterate over anything else may exhaust it
    values = [
        value.decode("latin-1")
        for name, value in headers
        if name.lower() == b"sec-websocket-protocol"
    ]
    names = [name.strip() for name in ",".join(values).split(",")]
    return tuple(name for name in names if name)


def has_valid_headers(scope: object) -> bool:
    """Return whether the headers of a scope are pairs of bytes, as servers pass them.

    Only a list, a tuple or a mapping is looked at: to iterate over anything else may
    exhaust it.
    """
    try:
        headers: Any = scope.get("headers")  # type: ignore[attr-defined]
        if issubclass(type(headers), Mapping):
            return not headers
        if not issubclass(type(headers), (list, tuple)):
            return True
        return not are_invalid_headers(headers)
    except Exception:
        return True  # a scope of the test's own making


def client_of(scope: object) -> Client:
    """Return the client that has made a request, before it has sent anything."""
    return Client(offered_subprotocols(scope), has_valid_headers(scope))


class Finding(NamedTuple):
    #: Which event of the recording is undeliverable.
    position: int
    undeliverable: Undeliverable
    #: What was sent: the start of the outcome.
    description: str
    #: The servers on which it is undeliverable, and whether these are all.
    servers: tuple[str, ...]
    is_everywhere: bool
    #: Whether the test has sent it, and not the application.
    is_from_test: bool = False
    #: Whether the event arrives on each of the servers, and only a part of it is lost.
    is_partial: bool = False


class Replay:
    """A recording, replayed on each of the servers. Each event is replayed once."""

    def __init__(self, servers: tuple[str, ...], client: Client) -> None:
        self.servers = servers
        #: The client before it has sent anything.
        self.client = client
        #: Everything undeliverable, in order.
        self.findings: list[Finding] = []
        self._connections = {server: Connection() for server in servers}
        self._client = client
        #: When the test has connected, in seconds since the first event.
        self._connected: float | None = None
        self._position = 0
        self._has_ended = False

    @property
    def connection(self) -> Connection:
        """What a client of the first server has received."""
        return self._connections[self.servers[0]]

    def client_view(self) -> ClientView:
        connection = self.connection
        return ClientView(
            connection.status,
            connection.subprotocol,
            connection.messages[:],
            connection.close_code,
            connection.close_reason,
        )

    def undeliverable(self) -> list[Undeliverable]:
        return [finding.undeliverable for finding in self.findings]

    def advance(
        self, records: Sequence[RawRecord], until: int, ending: Ending | None
    ) -> None:
        """Replay the events before this position, and the ending if it came before."""
        while self._position < until:
            self._end_if_reached(ending)
            direction, event, seconds, task = records[self._position]
            self._time_out(seconds)
            if direction == "send":
                self._process(event, task)
            else:
                self._process_from_test(event, seconds)
            self._position += 1
        self._end_if_reached(ending)

    def _time_out(self, seconds: float) -> None:
        if self._connected is None:
            return
        for server, timeout in HANDSHAKE_TIMEOUTS.items():
            connection = self._connections.get(server)
            if connection is not None and connection.phase == "handshake":
                if seconds - self._connected > timeout:
                    connection.time_out()

    def _end_if_reached(self, ending: Ending | None) -> None:
        if ending is None or self._has_ended or self._position < ending.position:
            return
        self._has_ended = True
        if ending.is_interrupted:
            return  # a server does not cancel it: it would continue
        self._time_out(ending.seconds)
        for server, connection in self._connections.items():
            if connection.phase in ENDINGS:
                ends = ENDINGS[connection.phase]
                effects = ends.raises if ending.outcome == "raised" else ends.returns
                effect: Effect = getattr(effects, server)
                effect.apply(connection, {})

    def _process_from_test(self, event: Any, seconds: float) -> None:
        kind, client = event_type(event), self._client
        if kind == "websocket.connect":
            self._client = client._replace(connects=client.connects + 1)
            if self._connected is None:
                self._connected = seconds
        for rule in CLIENT_RULES.get(kind, ()):
            if self._applies(rule, event):
                outcome = f"{rule.description}: no client can send that"
                undeliverable = Undeliverable(read_only(event), outcome, rule.remedy)
                self.findings.append(
                    Finding(
                        self._position,
                        undeliverable,
                        rule.description,
                        self.servers,
                        is_everywhere=True,
                        is_from_test=True,
                    )
                )
                break
        if kind == "websocket.disconnect":
            self._client = client._replace(has_disconnected=True)
            for server, connection in self._connections.items():
                if connection.phase == "open":
                    effect: Effect = getattr(CLIENT_CLOSES, server)
                    effect.apply(connection, event)
                elif connection.close_code is None:
                    connection.fail_handshake(connection.status)
                connection.phase = "client_left"

    def _process(self, event: Any, task: int) -> None:
        if event_type(event) == "websocket.accept":
            self._client = self._client._replace(is_accepted=True)
        found: dict[Rule, dict[str, Effect]] = {}
        # The phases in which no rule applies. For most events, all servers are in the
        # same one, and it is one of these.
        unchanged: dict[Phase, bool] = {}
        for server, connection in self._connections.items():
            phase: Phase = connection.phase
            if task in connection.failed_tasks:
                phase = "task_failed"
            rules = RULES[phase].get(event_type(event), RULES[phase][OTHER])
            if phase not in unchanged:
                unchanged[phase] = not any(self._applies(it, event) for it in rules)
            if unchanged[phase]:
                connection.deliver(event)
                continue
            for rule, effect in self._apply_rules(
                rules, server, connection, event, task
            ):
                if effect.is_reported:
                    found.setdefault(rule, {})[server] = effect
        for rule, effects in found.items():
            outcome = self._outcome(rule, effects)
            undeliverable = Undeliverable(read_only(event), outcome, rule.remedy)
            self.findings.append(
                Finding(
                    self._position,
                    undeliverable,
                    rule.description,
                    tuple(effects),
                    is_everywhere=len(effects) == len(self._connections),
                    is_partial=all(effect.is_partial for effect in effects.values()),
                )
            )

    def _apply_rules(
        self,
        rules: Sequence[Rule],
        server: str,
        connection: Connection,
        event: Any,
        task: int,
    ) -> Iterator[tuple[Rule, Effect]]:
        """Do what the server does, and yield the rules that apply."""
        rest: Mapping[str, Any] | None = event
        for rule in rules:
            if self._applies(rule, rest):
                effect: Effect = getattr(rule.effects, server)
                if effect.is_error and task:
                    connection.failed_tasks.add(task)
                    effect = failed_task
                yield rule, effect
                rest = effect.apply(connection, rest)  # type: ignore[arg-type]
                if rest is None:
                    return
        connection.deliver(rest)  # type: ignore[arg-type]

    def _applies(self, rule: Rule | ClientRule, event: Any) -> bool:
        try:
            return rule.condition(event, self._client)
        except Exception:
            return False  # see the conditions in servers.py

    def _outcome(self, rule: Rule, effects: dict[str, Effect]) -> str:
        received = []
        outcomes = {server: effect.outcome for server, effect in effects.items()}
        for outcome in dict.fromkeys(outcomes.values()):
            servers = [server for server in outcomes if outcomes[server] == outcome]
            where = " and ".join(map(str.capitalize, servers))
            everywhere = len(servers) == len(self._connections)
            received.append(outcome if everywhere else f"{outcome} on {where}")
        return f"{rule.description}: the client receives {', '.join(received)}"

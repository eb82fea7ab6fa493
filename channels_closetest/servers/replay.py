"""What a real client sees: a recording, run through the table of ``rules.py``.

Computed from the records and the scope alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ..recording import Ending, Place, RawRecord, event_type, read_only, resolve
from .connection import Client, Connection, Event
from .rules import (
    CLIENT_CLOSES,
    ENDINGS,
    NO_END,
    OTHER,
    RULES,
    TEST_RULES,
    Effect,
    Rule,
    failed_task,
    sent,
)


class ClientView(NamedTuple):
    """What a real client has seen so far."""

    #: The HTTP status of the handshake: 101 once the client is connected, None as long
    #: as there is no complete response, and also when the connection is dropped without
    #: one, or the client rejects the response.
    status: int | None
    #: The subprotocol that the application selected, or None.
    subprotocol: str | None
    #: The payload of each frame that has reached the client, in order: JSON text
    #: decoded, other text as ``str``, binary as ``bytes``.
    messages: list[Any]
    #: The code of Chromium's ``CloseEvent`` (RFC 6455 section 7.4): 1006 when the
    #: handshake failed, None while the connection is open.
    close_code: int | None
    #: The reason of Chromium's ``CloseEvent``: ``""`` when the handshake failed, None
    #: while the connection is open.
    close_reason: str | None


class Undeliverable(NamedTuple):
    """An event that some client does not receive as sent, or no client can send."""

    #: The ASGI event, as sent.
    event: Any
    #: What is wrong, and what the client of each server receives instead.
    outcome: str
    #: What to write instead. Empty for what is lost because of an earlier finding.
    remedy: str
    #: The line of the project that sent it, or else of a library, or None.
    place: Place | None = None


class UndeliverableWarning(UserWarning):
    """A test read a frame that reaches no client: it was sent before ``accept()``.

    Issued by ``connect()``, at the line that calls it. To ignore it, use the filter of
    pytest ``ignore::channels_closetest.UndeliverableWarning``, or
    ``warnings.simplefilter("ignore", UndeliverableWarning)``: the option ``-W`` of
    Python cannot name it. With ``strict``, ``connect()`` raises instead.
    """


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
    is_from_test: bool
    #: Whether the event arrives on each of the servers, and only a part of it is lost.
    is_partial: bool


#: What each of some servers does with an event.
_Effects = dict[str, Effect]


class Replay:
    """A recording, replayed on each of the servers. Each event is replayed once."""

    def __init__(self, servers: tuple[str, ...], client: Client) -> None:
        self.servers = servers
        #: The client before it has sent anything.
        self.client = client
        #: Everything undeliverable, but for what is lost because of an earlier finding.
        self.findings: list[Finding] = []
        self._consequences: list[Finding] = []
        self._connections = {server: Connection() for server in servers}
        self._client = client._replace(passed=Counter())
        self._records: Sequence[RawRecord] = ()
        #: Which event is the next, and which has started a denial response.
        self._position = 0
        self._denial = 0
        self._has_ended = False

    @property
    def connection(self) -> Connection:
        """What a client of the first server has received."""
        return self._connections[self.servers[0]]

    def client_view(self) -> ClientView:
        it = self.connection
        return ClientView(
            it.status, it.subprotocol, it.messages, it.close_code, it.close_reason
        )

    def undeliverable(self) -> list[Undeliverable]:
        return [finding.undeliverable for finding in self.all_findings()]

    def all_findings(self) -> list[Finding]:
        """Return everything undeliverable, as it is now, in the order of the events.

        A denial response that is not completed is among ``findings`` only once its end
        cannot come any more.
        """
        incomplete = [] if self._has_ended else self._incomplete_denial()
        found = self.findings + self._consequences + incomplete
        return sorted(found, key=lambda finding: finding.position)

    def advance(
        self, records: Sequence[RawRecord], until: int, ending: Ending | None
    ) -> None:
        """Replay the events before this position, and the ending if it came before."""
        self._records = records
        while self._position < until:
            self._end_if_reached(ending)
            self._process(records[self._position])
            self._position += 1
        self._end_if_reached(ending)

    def _end_if_reached(self, ending: Ending | None) -> None:
        if ending is None or self._has_ended or self._position < ending.position:
            return
        self.findings += self._incomplete_denial()
        self._has_ended = True
        if ending.is_interrupted:
            return  # a server does not cancel it: it would continue
        for server, connection in self._connections.items():
            if connection.phase in ENDINGS:
                raises, returns = ENDINGS[connection.phase]
                effects = raises if ending.outcome == "raised" else returns
                getattr(effects, server).apply(connection, {})

    def _process(self, record: RawRecord) -> None:
        direction, event, _, _, task = record
        kind = event_type(event)
        passed = self._client.passed
        # Data frames may be many, and no rule depends on how many.
        if kind not in ("websocket.receive", "websocket.send"):
            passed[direction, kind] += 1
        if direction == "receive" and kind == "websocket.disconnect":
            self._disconnect(event)
        # What follows a second connect is due to the test: no client connects twice.
        connects_again = passed["receive", "websocket.connect"] > 1
        found: dict[Rule, _Effects] = {}
        for server, connection in self._connections.items():
            if direction == "receive":
                rules = TEST_RULES.get(kind, ())
            elif connects_again or connection.phase == "client_left":
                continue  # the application cannot know that the client has left
            else:
                is_failed = task in connection.failed_tasks
                of_phase = RULES["task_failed" if is_failed else connection.phase]
                rules = of_phase.get(kind, of_phase[OTHER])
            had_ended = connection.has_ended
            # None stands for nothing here, but an application may send even that.
            rest: Event | None = {} if event is None else event
            for rule in rules:
                if rest is None or not self._applies(rule, rest):
                    continue
                effect: Effect = getattr(rule.effects, server)
                if effect.is_error and task:
                    connection.failed_tasks.add(task)
                    effect = failed_task
                before, rest = rest, effect.apply(connection, rest)
                if rest is not before and effect.outcome != sent.outcome:
                    found.setdefault(rule, {})[server] = effect
            if connection.has_ended and not had_ended and kind != "websocket.close":
                connection.phase = "lost"
            if rest is not None and direction == "send":
                connection.deliver(rest)
                if kind == "websocket.http.response.start":
                    self._denial = self._position
        for rule, effects in found.items():
            findings = self.findings if rule.remedy else self._consequences
            findings.append(self._finding(self._position, rule, effects))

    def _disconnect(self, event: Event) -> None:
        self.findings += self._incomplete_denial()
        for server, connection in self._connections.items():
            if connection.phase == "open":
                getattr(CLIENT_CLOSES, server).apply(connection, event)
            elif connection.close_code is None:
                connection.fail_handshake(connection.status)
            connection.phase = "client_left"

    def _applies(self, rule: Rule, event: Any) -> bool:
        try:
            return bool(rule.condition(event, self._client))
        except Exception:
            return False  # see the conditions in rules.py

    def _incomplete_denial(self) -> list[Finding]:
        [rule] = RULES["denial"][NO_END]
        effects: _Effects = {
            server: getattr(rule.effects, server)
            for server, connection in self._connections.items()
            if connection.phase == "denial"
        }
        return [self._finding(self._denial, rule, effects)] if effects else []

    def _finding(self, position: int, rule: Rule, effects: _Effects) -> Finding:
        direction, event, _, place, _ = self._records[position]
        remedy = rule.remedy if isinstance(rule.remedy, str) else rule.remedy(event)
        return Finding(
            position,
            Undeliverable(
                read_only(event), self._outcome(rule, effects), remedy, resolve(place)
            ),
            rule.description,
            tuple(effects),
            is_everywhere=len(effects) == len(self._connections),
            is_from_test=direction == "receive",
            is_partial=all(effect.is_partial for effect in effects.values()),
        )

    def _outcome(self, rule: Rule, effects: _Effects) -> str:
        if rule.verdict:
            where = "" if rule.remedy else self._where(effects)
            return f"{rule.description}: {rule.verdict}{where}"
        outcomes: dict[str, list[str]] = {}
        for server, effect in effects.items():
            outcomes.setdefault(effect.outcome, []).append(server)
        received = [f"{it}{self._where(servers)}" for it, servers in outcomes.items()]
        return f"{rule.description}: the client receives {', '.join(received)}"

    def _where(self, servers: Collection[str]) -> str:
        """Return the names of some of the servers, and nothing for all of them."""
        names = " and ".join(map(str.capitalize, servers))
        return "" if len(servers) == len(self._connections) else f" on {names}"

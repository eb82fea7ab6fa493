"""What is known of one conversation, between a test and the application under test."""

from __future__ import annotations

from typing import Any

from .recording import Recording
from .servers.connection import client_of
from .servers.replay import Replay


class Conversation(Recording):
    """The recording of a conversation, its replay, and what calls have done with it."""

    #: Whether a call has raised what the application has raised.
    crash_has_surfaced = False
    #: How many events had been received, and payloads kept, when connect() or
    #: wait_closed() began.
    taken_before = kept_before = 0
    _replay: Replay | None = None
    #: For ``strict``: how many findings have failed a call.
    failed_findings = 0

    def __init__(self) -> None:
        super().__init__()
        #: The payloads of data frames that connect() and wait_closed() have read past.
        self.pre_close_messages: list[Any] = []

    def begin_to_keep(self, taken: int) -> None:
        self.taken_before, self.kept_before = taken, len(self.pre_close_messages)

    def replay(
        self, servers: tuple[str, ...], scope: object, until: int | None = None
    ) -> Replay:
        """Return the replay of what has passed, or at least of the first events.

        Each event is replayed once, as long as neither the servers change nor the
        request.
        """
        client, records = client_of(scope), self.records
        replay = self._replay
        if replay is None or (servers, client) != (replay.servers, replay.client):
            self._replay = replay = Replay(servers, client)
        until = len(records) if until is None else until
        replay.advance(records, until, self.ending)
        return replay

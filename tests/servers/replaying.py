"""Replay events on the table of rules, without a communicator and without a server."""

from collections.abc import Sequence

from channels_closetest.recording import Outcome, Recording, event_type
from channels_closetest.servers.connection import Client
from channels_closetest.servers.replay import Replay
from channels_closetest.servers.rules import SERVERS
from tests.events import CONNECT
from tests.servers.running import Case

FROM_TEST = (
    "websocket.connect",
    "websocket.receive",
    "websocket.disconnect",
    "chat.message",
)
OUTCOMES: dict[str, Outcome | None] = {
    "wait": None,
    "return": "returned",
    "raise": "raised",
    "cancel": "cancelled itself",
}


def recorded(
    *events: object, ending: Outcome | None = None, task: int = 0
) -> Recording:
    """Return a recording of what the test and the application send."""
    recording = Recording()
    for event in events:
        direction = event_type(event) in FROM_TEST
        recording.add("receive" if direction else "send", event, task=task)
    if ending is not None:
        recording.end(ending)
    return recording


def advance(replayed: Replay, recording: Recording) -> Replay:
    replayed.advance(recording.records, len(recording.records), recording.ending)
    return replayed


def replay(
    *events: object,
    servers: Sequence[str] = SERVERS,
    client: Client = Client(()),
    ending: Outcome | None = None,
    task: int = 0,
) -> Replay:
    recording = recorded(*events, ending=ending, task=task)
    return advance(Replay(tuple(servers), client), recording)


def replay_case(case: Case, servers: Sequence[str] = SERVERS, task: int = 0) -> Replay:
    """Replay a case, of which all events come from one task."""
    return replay(
        CONNECT,
        *case.script.events,
        servers=servers,
        client=Client(tuple(case.subprotocols)),
        ending=OUTCOMES[case.script.ending],
        task=task,
    )

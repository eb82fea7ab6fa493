"""
``client_view`` and ``undeliverable`` agree with the real servers.

The servers first perform all cases of the selected tests concurrently, because many of
them take long.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from random import Random
from typing import Any, NamedTuple

import pytest
from django.utils.functional import Promise

from channels_closetest import (
    ClientView,
    DenialResponse,
    RecordingWebsocketCommunicator,
)
from channels_closetest.explain import replay_of
from channels_closetest.recording import BYTES_LIKE, payload
from channels_closetest.servers.rules import SERVERS
from tests.events import (
    BODY,
    CONNECT,
    DENIAL,
    DISCONNECT,
    FRAME,
    HEADERS,
    PART,
    Event,
    accept,
    close,
    send,
)
from tests.scripts import Boom, Kind, Script, scripted
from tests.servers.cases import (
    CLOSE_4000,
    CONSUMERS,
    EXTENSION,
    LATE_CASES,
    MALFORMED,
    MORE_CASES,
    ROWS,
    Ending,
    application,
    script,
)
from tests.servers.differences import CLIENT_VIEW_DIFFERS
from tests.servers.running import (
    Case,
    Observed,
    Server,
    observe,
    observe_all,
    selected,
    serving,
)

KINDS: list[Kind] = ["async", "tasks"]

# Sent by a task, these have successors of which no rule knows: see differences.py.
UNSENT_BY_UVICORN = [close(code=1005), close(code=3000, reason="r" * 124)]
# What a consumer may send, in any order.
EVENTS: list[list[Event]] = [
    *[[accept()]] * 3,
    *[[accept(subprotocol="x")], [accept(subprotocol="y")], [accept(headers=HEADERS)]],
    *[[FRAME]] * 2,
    *[[send(text=text)] for text in ('{"a": [1, null]}', "", "NaN", {"a": 1})],
    *[[send(text=text, bytes=b"b")] for text in (None, "t")],
    [send(bytes=b"\x00\x01")],
    *[[close()], [close()], [CLOSE_4000], [close(code=1008)]],
    *[[close(code=1011, reason="why")], *([it] for it in UNSENT_BY_UVICORN)],
    *[[DENIAL, BODY], [DENIAL, PART, BODY]],
]


def random_cases(count: int) -> Iterator[Case]:
    """Yield the same cases in every run."""
    random = Random(1)
    while count:
        events = sum(random.choices(EVENTS, k=random.randint(1, 6)), [])
        ending: Ending = random.choice(["wait", "return", "raise"])
        kind: Kind = random.choice(["async", "sync", "tasks", "task"])
        offered: tuple[str, ...] = random.choice([(), ("x", "z")])
        # What would spoil Daphne, but comes too late to do so, is spoiled by the rest.
        is_spoiled = Case(Script(tuple(events[1:])), kind, offered).spoils_daphne
        is_unknown = any(it in UNSENT_BY_UVICORN for it in events[:-1])
        if not is_spoiled and not (is_unknown and kind == "tasks"):
            count -= 1
            yield Case(Script(tuple(events), ending), kind, offered)


CASES = {
    **{
        f"{name} ({kind})": case._replace(kind=kind)
        for name, case in (ROWS | MORE_CASES).items()
        for kind in KINDS
    },
    **LATE_CASES,
    **{f"random {number}": case for number, case in enumerate(random_cases(150))},
    # Consumers that no script can stand for, and a path without a route.
    **{name: script()._replace(path=f"{name}/") for name in [*CONSUMERS, "nowhere"]},
}


#: By server and the name of a case.
Observations = dict[Server, dict[str, Observed]]


@pytest.fixture(scope="module")
def observations(request: pytest.FixtureRequest) -> Observations:
    needed: dict[Server, dict[str, Case]] = {}
    for parameters in selected(request):
        name = parameters["name"]
        for server in [parameters["server"]] if "server" in parameters else SERVERS:
            needed.setdefault(server, {})[name] = (CASES | MALFORMED)[name]
    with ExitStack() as stack:
        observing = [
            observe_all(stack.enter_context(serving(server)), cases)
            for server, cases in needed.items()
        ]

        async def observe_servers() -> list[dict[str, Observed]]:
            return await asyncio.wait_for(asyncio.gather(*observing), timeout=200)

        return dict(zip(needed, asyncio.run(observe_servers())))


class Prediction(NamedTuple):
    client_view: ClientView
    denial_response: DenialResponse | None
    #: The indexes of the undeliverable events among those that were sent.
    undeliverable: list[int]


async def predict(server: Server, case: Case) -> Prediction:
    """Return what the package predicts once the application is idle or has ended."""

    class Communicator(RecordingWebsocketCommunicator):
        servers = (server,)

    script = case.script._replace(late_pause=0.0)  # the pause is for the server
    communicator = Communicator(
        application if case.path else scripted(script, case.kind),
        f"/{case.path}",
        subprotocols=case.subprotocols,
    )
    if server != "daphne":
        communicator.scope["extensions"] = {EXTENSION: {}}
    await communicator.send_input(CONNECT)
    recording = communicator._application.conversation
    try:
        if case.path:
            while communicator.client_view.close_code is None:
                await asyncio.sleep(0.001)
        elif script.ending != "wait":
            await asyncio.wait([communicator.future])
        while len(recording.records) <= len(script.events) + len(script.late):
            await asyncio.sleep(0.001)
        if case.sends is not None:
            await communicator.send_to(case.sends)
        if case.leaves is not None:
            code, reason = case.leaves
            code = 1005 if code is None else code
            with suppress(Boom):
                await communicator.send_input(
                    {**DISCONNECT, "code": code, "reason": reason}
                )
        # The first record is of websocket.connect. What the client sends comes last.
        findings = replay_of(communicator).all_findings()
        positions = {it.position - 1 for it in findings if not it.is_from_test}
        return Prediction(
            communicator.client_view,
            communicator.denial_response,
            sorted(positions),
        )
    finally:
        communicator.stop(exceptions=False)
        await asyncio.wait([communicator.future])


def read(message: str | bytes) -> object:
    return payload({"bytes" if isinstance(message, bytes) else "text": message})


# What the application has sent, in a form that can be compared with what has arrived.


def meant(text: object) -> object:
    """Decode text as Python does, which accepts more JSON than a browser."""
    if isinstance(text, Promise):
        text = str(text)
    try:
        return json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        return text


def meaning(frame: Event) -> object:
    text, data = frame.get("text"), frame.get("bytes")
    if data is None:
        return meant(text)
    return [text, data] if text else data  # an empty text beside bytes is ignored


def has_headers(event: Event, got: Observed) -> bool:
    try:
        return {
            (
                name.lower().decode(),
                value if isinstance(value, str) else value.decode("latin-1"),
            )
            for name, value in event.get("headers", ())
        } <= set(got.headers)
    except (AttributeError, TypeError, ValueError):
        return False


def close_of(event: Event) -> object:
    code = event.get("code")
    return 1000 if code is None else meant(code), event.get("reason") or ""


def arrives(case: Case, got: Observed) -> bool:
    """Return whether the client has received all that was sent, and as it was sent."""
    accepts, frames, closes, starts, parts = sent = [
        [it for it in case.events if isinstance(it, dict) and it.get("type") == kind]
        for kind in (it["type"] for it in (accept(), FRAME, close(), DENIAL, BODY))
    ]
    if sum(map(len, sent)) < len(case.events):
        return False
    if got.status == 101:
        # The application sends neither the close that a server sends when it ends, nor
        # the answer to the client's, nor what Daphne sends if it receives too much.
        waits = case.script.ending == "wait" and not case.leaves and not case.sends
        is_closed = got.close_code is not None and bool(closes or waits)
        # 1006 stands for no close frame at all (RFC 6455 section 7.1.5).
        code = None if got.close_code == 1006 else got.close_code
        return (
            [(got.subprotocol, True)]
            == [(it.get("subprotocol"), has_headers(it, got)) for it in accepts]
            and list(map(meaning, frames)) == list(map(read, got.messages))
            and list(map(close_of, closes)) == [(code, got.close_reason)] * is_closed
            and not starts + parts
        )
    if starts:
        bodies: list[Any] = [it.get("body") for it in parts]
        return (
            [(got.status, True)]
            == [(it.get("status"), has_headers(it, got)) for it in starts]
            and [not it.get("more_body") for it in parts]
            == [False] * (len(parts) - 1) + [True]
            and all(isinstance(it, BYTES_LIKE) for it in bodies)
            and b"".join(bodies) == got.body
            and not accepts + frames + closes
        )
    keys = [(it.get("code"), it.get("reason") or "") for it in closes]
    return not accepts + frames + parts and keys == [(None, "")] * (got.status == 403)


def compare(server: Server, name: str, prediction: Prediction, got: Observed) -> None:
    case, view = CASES[name], prediction.client_view
    if got.status == 101 and case.subprotocols and got.subprotocol is None:
        got = Observed()  # to Chromium: see tests/servers/test_browser.py
    messages = list(map(read, got.messages))
    seen = ClientView(
        got.status, got.subprotocol, messages, got.close_code, got.close_reason
    )
    if view.status != 101 and view.close_code is None:
        # No handshake response yet. The client of the server has stopped waiting.
        view = view._replace(close_code=1006, close_reason="")
    shown = f"{server} {name}\n{case}\n{prediction}\n{got}"[:3000]
    is_exact = (server, name) not in CLIENT_VIEW_DIFFERS
    assert (view == seen) is is_exact, shown
    denial, undeliverable = prediction.denial_response, prediction.undeliverable
    if denial is not None and not undeliverable:
        assert (denial.status, denial.body) == (got.status, got.body), shown
    if case.path:
        return
    assert arrives(case, got) is not bool(undeliverable), shown
    lost = []
    for number, event in enumerate(case.events):
        match event:
            case {"type": "websocket.send"} if number in undeliverable:
                lost.append(meaning(event))
            case {"type": "websocket.send"}:
                assert meaning(event) in messages, shown
                messages.remove(meaning(event))
    # What is lost may arrive in part.
    assert [it for it in lost if it in messages] == [], shown


# Fifty clients at a time can be too slow for a server's timeouts. A case that fails is
# observed again, alone; but only a few, in case everything fails.
retries = iter(range(10))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("server", SERVERS)
async def test_client_view_and_undeliverable_agree_with_the_server(
    server: Server, name: str, observations: Observations
) -> None:
    prediction = await predict(server, CASES[name])
    try:
        compare(server, name, prediction, observations[server][name])
    except AssertionError:
        if next(retries, None) is None:
            raise
        with serving(server) as url:
            compare(server, name, prediction, await observe(url, CASES[name]))


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_event_does_not_arrive_on_some_server(
    name: str, observations: Observations
) -> None:
    got = [observations[server][name] for server in SERVERS]
    assert not all(arrives(MALFORMED[name], it) for it in got), (MALFORMED[name], got)

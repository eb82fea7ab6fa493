"""
``client_view`` and ``undeliverable`` agree with the real servers.

The servers first perform all cases of the selected tests concurrently, because many of
them take long.
"""

import asyncio
import json
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, NamedTuple

import pytest
from django.utils.functional import Promise
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from channels_closetest import (
    ClientView,
    DenialResponse,
    RecordingWebsocketCommunicator,
)
from channels_closetest.explain import replay_of
from channels_closetest.recording import payload
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

KINDS: list[Kind] = ["async", "sync", "tasks"]

# What a consumer may send, in any order.
EVENTS: list[list[Event]] = [
    *[[accept()]] * 3,
    *[[accept(subprotocol="x")], [accept(subprotocol="y")], [accept(headers=HEADERS)]],
    *[[FRAME]] * 2,
    *[[send(text=text)] for text in ('{"a": [1, null]}', "", "NaN", {"a": 1})],
    *[[send(text=text, bytes=b"b")] for text in (None, "t")],
    [send(bytes=b"\x00\x01")],
    *[[close()], [close()], [CLOSE_4000], [close(code=1008)], [close(code=1005)]],
    *[[close(code=1011, reason="why")], [close(code=3000, reason="r" * 124)]],
    *[[DENIAL, BODY], [DENIAL, PART, BODY]],
]


def random_cases(count: int) -> list[Case]:
    """Return the same cases in every run."""
    cases: list[Case] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
    )
    @given(
        st.lists(st.sampled_from(EVENTS), min_size=1, max_size=6),
        st.sampled_from(["wait", "return", "raise"]),
        st.sampled_from([*KINDS, "task"]),
        st.sampled_from([(), ("x", "z")]),
    )
    def draw(
        groups: list[list[Event]], ending: Ending, kind: Kind, offered: tuple[str, ...]
    ) -> None:
        events = sum(groups, [])
        # What would spoil Daphne, but comes too late to do so, is spoiled by the rest.
        assume(not Case(Script(tuple(events[1:])), kind, offered).spoils_daphne)
        # No rule knows what follows: see tests/servers/differences.py.
        closes = [event for event in events if event["type"] == "websocket.close"]
        assume(len(closes) < 2 or kind != "tasks")
        cases.append(Case(Script(tuple(events), ending), kind, offered))

    draw()
    return cases


CASES = {
    **{
        f"{name} ({kind})": case._replace(kind=kind)
        for name, case in ROWS.items()
        for kind in KINDS
    },
    **{
        f"{name} ({kind})": case._replace(kind=kind)
        for name, case in MORE_CASES.items()
        for kind in ("async", "tasks")
    },
    **LATE_CASES,
    **{f"random {number}": case for number, case in enumerate(random_cases(150))},
}


#: Consumers that no script can stand for, and a path without a route.
PATHS = {name: script()._replace(path=f"{name}/") for name in [*CONSUMERS, "nowhere"]}
ALL_CASES = CASES | MALFORMED | PATHS


#: By server and the name of a case.
Observations = dict[Server, dict[str, Observed]]


def served(server: Server) -> AbstractContextManager[str]:
    return serving(server, application="tests.servers.cases:application")


@pytest.fixture(scope="module")
def observations(request: pytest.FixtureRequest) -> Observations:
    needed: dict[Server, dict[str, Case]] = {}
    for parameters in selected(request):
        name = parameters["name"]
        for server in [parameters["server"]] if "server" in parameters else SERVERS:
            needed.setdefault(server, {})[name] = ALL_CASES[name]
    with ExitStack() as stack:
        observing = [
            observe_all(stack.enter_context(served(server)), cases)
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
    recording = communicator._application.conversation.recording
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


def show(*sides: object) -> str:
    return "\n".join(str(side)[:1000] for side in sides)


def as_chromium(case: Case, got: Observed) -> Observed:
    """Return what Chromium makes of it: see ``tests/servers/test_browser.py``."""
    if got.status == 101 and case.subprotocols and got.subprotocol is None:
        return Observed(None, (), b"", None, (), 1006, "")
    return got


def compare_views(server: Server, name: str, view: ClientView, got: Observed) -> None:
    seen = ClientView(
        got.status,
        got.subprotocol,
        [read(message) for message in got.messages],
        got.close_code,
        got.close_reason,
    )
    if view.status != 101 and view.close_code is None:
        # No handshake response yet. The client of the server has stopped waiting.
        view = view._replace(close_code=1006, close_reason="")
    is_exact = (server, name) not in CLIENT_VIEW_DIFFERS
    assert (view == seen) is is_exact, show(server, name, CASES.get(name), view, seen)


def read(message: str | bytes) -> object:
    return payload({"bytes" if isinstance(message, bytes) else "text": message})


# What the application sends and what a browser understands, in comparable tuples.

Word = tuple[Any, ...]


UNFINISHED = "a denial response of which there is more to come"


class SentWord(NamedTuple):
    word: Word
    #: The indexes of its events.
    events: list[int]


def words_of_events(case: Case) -> list[SentWord]:
    sent_words: list[SentWord] = []
    accepted = False
    for number, event in enumerate([*case.script.events, *case.script.late]):
        match event:
            case {"type": "websocket.accept", **keys}:
                accepted = True
                headers = as_text(keys.get("headers", ()))
                word: Word = ("accept", keys.get("subprotocol"), headers)
            case {"type": "websocket.send", **keys}:
                text, data = keys.get("text"), keys.get("bytes")
                # An empty text beside bytes is ignored.
                texts = (
                    [] if text is None or (text == "" and data is not None) else [text]
                )
                word = ("frame", *map(meant, texts), *([] if data is None else [data]))
            case {"type": "websocket.close", **keys}:
                code, reason = keys.get("code"), keys.get("reason")
                if code is None and accepted:
                    code = 1000
                word = ("close", meant(code), "" if reason is None else reason)
            case {"type": "websocket.http.response.start", **keys}:
                headers = as_text(keys.get("headers", ()))
                word = (UNFINISHED, keys.get("status"), headers, b"")
            case {"type": "websocket.http.response.body", "body": part, **keys} if any(
                word[0] == UNFINISHED for word, _ in sent_words
            ) and isinstance(part, (bytes, bytearray, memoryview)):
                # A task may have sent something between that does not end the response.
                [word, events] = [
                    started for started in sent_words if started.word[0] == UNFINISHED
                ][-1]
                sent_words.remove(SentWord(word, events))
                name = word[0] if keys.get("more_body") else "denial"
                word = (name, *word[1:-1], word[-1] + bytes(part))
                sent_words.append(SentWord(word, [*events, number]))
                continue
            case _:
                word = ("nonsense", event)
        sent_words.append(SentWord(word, [number]))
    return sent_words


def meant(text: object) -> object:
    """Decode text as Python does, which accepts more JSON than a browser."""
    if isinstance(text, Promise):
        text = str(text)
    try:
        return json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        return text


def as_text(headers: Any) -> list[tuple[str, str]]:
    try:
        return [
            (name.lower().decode(), value.decode("latin-1")) for name, value in headers
        ]
    except (AttributeError, TypeError, ValueError):
        return [("these are", "no headers")]


def understood_by_browser(case: Case, got: Observed) -> list[Word]:
    """Return what a browser understands of what it received."""
    sent = [saying.word for saying in words_of_events(case)]
    if got.status == 101 and got.headers:
        wanted: list[tuple[str, str]] = next(
            (word[2] for word in sent if word[0] == "accept"), []
        )
        headers = [header for header in wanted if header in got.headers]
        words: list[Word] = [("accept", got.subprotocol, headers)]
        words += [("frame", read(message)) for message in got.messages]
        # The application sends neither the close that a server sends when it ends, nor
        # the answer to that of the client.
        closes = any(word[0] == "close" for word in sent)
        # Nor what Daphne sends when it has received too much.
        waits = case.script.ending == "wait" and not case.leaves and not case.sends
        if got.close_code is not None and (closes or waits):
            # 1006 stands for no close frame at all (RFC 6455 section 7.1.5).
            is_dropped = got.close_code == 1006
            words.append(
                ("drop",) if is_dropped else ("close", got.close_code, got.close_reason)
            )
        return words
    for word in sent:
        if word[0] == "denial" and word[1] == got.status:
            headers = [header for header in word[2] if header in got.headers]
            return [("denial", got.status, headers, got.body)]
    return [("close", None, "")] if got.status == 403 else []


def compare_words(
    server: Server, name: str, prediction: Prediction, got: Observed
) -> None:
    sent_words = words_of_events(CASES[name])
    sent = [word for word, _ in sent_words]
    understood = understood_by_browser(CASES[name], got)
    undeliverable, denial = prediction.undeliverable, prediction.denial_response
    shown = show(server, name, sent_words, undeliverable, understood)
    if sent != understood:
        assert undeliverable, shown
    else:
        assert not undeliverable, shown
        if denial is not None:
            headers = as_text(denial.headers)
            assert [("denial", denial.status, headers, denial.body)] == sent, shown
    flagged = []
    for word, events in sent_words:
        if set(events) & set(undeliverable):
            flagged.append(word)
        else:
            assert word in understood, f"{word} is silently lost\n{shown}"
            understood.remove(word)
    for word in flagged:
        if word[0] == "frame":  # others may arrive in part, and equal another then
            assert word not in understood, f"{word} has arrived\n{shown}"


def compare(server: Server, name: str, prediction: Prediction, got: Observed) -> None:
    got = as_chromium(CASES[name], got)
    compare_views(server, name, prediction.client_view, got)
    compare_words(server, name, prediction, got)


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
        with served(server) as url:
            compare(server, name, prediction, await observe(url, CASES[name]))


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_event_does_not_arrive_on_some_server(
    name: str, observations: Observations
) -> None:
    case = MALFORMED[name]
    sent = [word for word, _ in words_of_events(case)]
    understood = [
        understood_by_browser(case, observations[server][name]) for server in SERVERS
    ]
    assert any(words != sent for words in understood), show(name, sent, *understood)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("server", SERVERS)
async def test_client_view_of_a_consumer_agrees_with_the_server(
    server: Server, name: str, observations: Observations
) -> None:
    prediction = await predict(server, PATHS[name])
    got = observations[server][name]
    compare_views(server, name, prediction.client_view, got)
    if prediction.denial_response is not None:
        assert prediction.denial_response.body == got.body

"""What is judged of what an application says, how, and how loudly."""

import asyncio
import inspect
import warnings
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_closetest import (
    ClientView,
    RecordingWebsocketCommunicator,
    Transcript,
    Undeliverable,
    UndeliverableWarning,
    client_view,
)
from channels_closetest.client_view import (
    DAPHNE_LARGEST_FRAME,
    ENDINGS,
    RULES,
    SERVERS,
    Rule,
)
from channels_closetest.transcript import Recording
from tests.cases import BORDERS, CLOSE_4000, ROWS, Ending, script
from tests.events import BODY, CONNECT, DENIAL, FRAME, PART, Event, accept, close, send
from tests.hostile import Hostile, UnhashableText
from tests.scripts import Boom, Kind, scripted
from tests.servers import Case

each_server = pytest.mark.parametrize("server", SERVERS)


def record(
    *events: object,
    servers: Sequence[str] = SERVERS,
    offered: Sequence[str] = (),
    ending: Ending = "wait",
) -> Transcript:
    """What there is of an application that has sent these events and then ended."""
    recording = Recording()
    for event in events:
        recording.add("send", event)
    if ending != "wait":
        end(recording, ending)
    return Transcript(recording, "/", tuple(servers), tuple(offered))


def end(recording: Recording, ending: str) -> None:
    exception = Boom("boom") if ending == "raise" else None
    recording.end(ending == "cancel", lambda: exception)


def communicate(
    case: Case, kind: Kind = "asgi", **attributes: object
) -> RecordingWebsocketCommunicator:
    """A communicator of a class that has these attributes."""
    communicator_class = type("Ours", (RecordingWebsocketCommunicator,), attributes)
    communicator: RecordingWebsocketCommunicator = communicator_class(
        scripted(case.script, kind), "/ws/", subprotocols=case.subprotocols
    )
    return communicator


# Which servers count.


async def test_client_view_speaks_for_the_first_server_and_undeliverable_for_any() -> (
    None
):
    policy = script(accept(), close(code=1008, reason="why"))
    for servers, code, reason, is_undeliverable in [
        (("daphne",), 1011, "", True),
        (("uvicorn",), 1008, "why", False),
        (["hypercorn", "uvicorn"], 1008, "why", False),
        (("uvicorn", "daphne"), 1008, "why", True),
        (("daphne", "uvicorn"), 1011, "", True),
        (SERVERS, 1011, "", True),
    ]:
        async with communicate(policy, servers=servers) as communicator:
            await communicator.connect()
            await communicator.wait_closed()
            assert communicator.client_view == (101, None, [], code, reason)
            assert bool(communicator.undeliverable) is is_undeliverable
            assert (communicator.close_code, communicator.close_reason) == (1008, "why")


async def test_servers_can_be_named_in_the_middle_of_a_test() -> None:
    async with communicate(script(accept(), close(code=1008))) as communicator:
        await communicator.connect()
        await communicator.wait_closed()
        assert communicator.client_view.close_code == 1011
        communicator.servers = ["uvicorn"]
        assert communicator.client_view.close_code == 1008
        assert communicator.undeliverable == []


@pytest.mark.parametrize(
    "servers",
    [(), [], "uvicorn", {"uvicorn"}, ("granian",), ("daphne", "Uvicorn"), None, ([],)],
)
async def test_servers_that_are_not_known_are_refused(servers: object) -> None:
    communicator = communicate(script(accept()), servers=servers)
    assert await communicator.connect() == (True, None)
    for name in ["client_view", "undeliverable", "transcript"]:
        with pytest.raises(ValueError) as refused:
            getattr(communicator, name)
        assert str(refused.value) == (
            f"servers is {servers!r}, but takes one or more of"
            " ('daphne', 'uvicorn', 'hypercorn')"
        )
    # An exception is explained all the same.
    with pytest.raises(asyncio.TimeoutError):
        await communicator.receive_output(0)


async def test_the_subprotocols_that_count_are_those_of_the_scope() -> None:
    async with communicate(script(accept(), offered=("x",))) as communicator:
        await communicator.connect()
        assert len(communicator.undeliverable) == 1
        communicator.scope["subprotocols"] = []
        assert communicator.undeliverable == []


# What is said of what is undeliverable.

NO_DENIAL = (
    "a denial response: the client gets nothing on Daphne",
    "Call close(), which is HTTP 403 everywhere, or deploy on a server that offers it",
)
SAYINGS: dict[str, tuple[Case, list[tuple[str, str]]]] = {
    "a frame before accept": (
        script(FRAME, close(code=4401)),
        [
            (
                "sent before accept(): the client gets HTTP 500",
                "Call accept() first, then send, then close()",
            ),
            (
                "sent when all was over: the client gets nothing",
                "Mend what ended it, or send no more",
            ),
        ],
    ),
    "a close code before accept": (
        script(close(code=4401, reason="why")),
        [
            (
                "closed with code or reason before accept(): the client gets HTTP 403",
                "Call accept(), then close() with them: only then do they arrive",
            )
        ],
    ),
    "a subprotocol that is not offered": (
        script(accept(subprotocol="x"), offered=("y",)),
        [
            (
                "selects a subprotocol that is not offered: the client gets no answer:"
                " the connection drops on Daphne and Hypercorn, an answer that it"
                " refuses on Uvicorn",
                "Select one of scope['subprotocols']",
            )
        ],
    ),
    "no subprotocol though some are offered": (
        script(accept(), offered=("x", "y")),
        [
            (
                "selects none of the subprotocols that are offered: the client gets an"
                " answer that browsers refuse",
                "Select one of scope['subprotocols']",
            )
        ],
    ),
    "headers": (
        script(accept(headers=[(b"x-why", b"because")])),
        [
            (
                "accepted with headers: the client gets no headers on Daphne",
                "Say it in a data frame, or deploy on a server that sends it",
            )
        ],
    ),
    "a denial response": (
        script(DENIAL, BODY),
        [
            NO_DENIAL,
            (
                "the body of a denial response that has not begun there: the client"
                " gets nothing on Daphne",
                "Answer the handshake once, and with the whole answer at a time",
            ),
        ],
    ),
    "an answer in the middle of another": (
        script(DENIAL, accept()),
        [
            NO_DENIAL,
            (
                "accepted within a denial response: the client gets no answer: the"
                " connection drops on Uvicorn, nothing of the first answer on"
                " Hypercorn",
                "Answer the handshake once, and with the whole answer at a time",
            ),
        ],
    ),
    "a denial response that begins twice": (
        script(DENIAL, DENIAL),
        [
            NO_DENIAL,
            NO_DENIAL,
            (
                "a second start of a denial response: the client gets no answer: the"
                " connection drops on Uvicorn, nothing of the first answer on"
                " Hypercorn",
                "Answer the handshake once, and with the whole answer at a time",
            ),
        ],
    ),
    "a second accept": (
        script(accept(), accept()),
        [
            (
                "a second accept(): the client gets close code 1011 on Daphne and"
                " Hypercorn, close code 1006 on Uvicorn",
                "Call accept() once",
            )
        ],
    ),
    "anything after close": (
        script(accept(), CLOSE_4000, FRAME),
        [
            (
                "sent when all was over: the client gets nothing",
                "Mend what ended it, or send no more",
            )
        ],
    ),
    "close(code=1008)": (
        script(accept(), close(code=1008)),
        [
            (
                "a close code for servers and libraries, 1001 to 1014: the client gets"
                " close code 1011 on Daphne",
                "Close with 1000 or a code from 3000 to 4999",
            )
        ],
    ),
    "a reason": (
        script(accept(), close(code=4000, reason="why")),
        [
            (
                "closed with a reason: the client gets no reason on Daphne",
                "Say it in a data frame, or deploy on a server that sends it",
            )
        ],
    ),
    "a reason over 123 bytes": (
        script(accept(), close(code=4000, reason="é" * 62)),
        [
            (
                "a reason of over 123 bytes: the client gets no reason on Daphne, close"
                " code 1006 on Uvicorn, the reason's first 123 bytes on Hypercorn",
                "Give a str of at most 123 bytes in UTF-8",
            )
        ],
    ),
    "an empty frame": (
        script(accept(), send(text="")),
        [
            (
                "an empty frame: the client gets nothing on Daphne",
                "Put something into it, or leave it out",
            )
        ],
    ),
    "NaN": (
        script(accept(), send(text='{"price": NaN}')),
        [
            (
                "NaN or Infinity, which are not JSON: the client gets text that"
                " JSON.parse() refuses",
                "Send null, or the number as a string",
            )
        ],
    ),
    "nothing": (
        script(accept(subprotocol="y"), FRAME, CLOSE_4000, offered=("x", "y")),
        [],
    ),
    "a refusal": (script(close()), []),
    "a crash": (script(accept(), FRAME, ending="raise"), []),
}


@pytest.mark.parametrize("name", SAYINGS)
def test_what_is_undeliverable_is_named_with_a_remedy(name: str) -> None:
    (events, ending), _, offered = SAYINGS[name][0]
    found = record(*events, offered=offered, ending=ending).undeliverable()
    assert [(each.outcome, each.remedy) for each in found] == SAYINGS[name][1]
    assert all(each.event in events for each in found)


def test_an_event_has_all_its_faults_named() -> None:
    event = accept(subprotocol="y", headers=[("a", "b")])
    assert record(event, servers=["daphne", "uvicorn"]).undeliverable() == [
        Undeliverable(
            event,
            "selects a subprotocol that is not offered: the client gets no answer: the"
            " connection drops on Daphne, an answer that it refuses on Uvicorn",
            "Select one of scope['subprotocols']",
        )
    ]
    event = close(code=1006, reason="r" * 124)
    outcomes = [found.outcome for found in record(accept(), event).undeliverable()]
    assert outcomes == [
        "a close code that no frame may carry: 1005, 1006, 1015: the client gets close"
        " code 1011 on Daphne, close code 1006 on Uvicorn, close code 1000 on"
        " Hypercorn",
        "a reason of over 123 bytes: the client gets the reason's first 123 bytes on"
        " Hypercorn",
    ]


def faults(*events: object) -> list[str]:
    return [
        found.outcome.partition(": the client gets")[0]
        for found in record(*events).undeliverable()
    ]


def test_close_codes_are_those_of_rfc_6455() -> None:
    """Section 7.4, and the registry of IANA that it has set up."""
    said = {
        "a close code that no frame may carry: 1005, 1006, 1015": {1005, 1006, 1015},
        "a close code for servers and libraries, 1001 to 1014": (
            {*range(1001, 1015)} - {1004, 1005, 1006, 1011}
        ),
    }
    free = {1000, 1011, *range(3000, 5000)}
    for code in {-1, *range(5100), 10**6} - free:
        what = [words for words, codes in said.items() if code in codes]
        expected = what or ["a close code that is not defined"]
        assert (code, faults(accept(), close(code=code))) == (code, expected)
    for code in free:
        assert (code, faults(accept(), close(code=code))) == (code, [])


@pytest.mark.parametrize(
    ("frame", "is_too_large"),
    [
        (send(text="x" * DAPHNE_LARGEST_FRAME), False),
        (send(text="x" * DAPHNE_LARGEST_FRAME + "x"), True),
        (send(text="é" * (DAPHNE_LARGEST_FRAME // 2)), False),
        (send(text="é" * (DAPHNE_LARGEST_FRAME // 2) + "x"), True),
        (send(bytes=b"x" * DAPHNE_LARGEST_FRAME), False),
        (send(bytes=b"x" * DAPHNE_LARGEST_FRAME + b"x"), True),
    ],
    ids=range(6),
)
def test_daphne_sends_frames_of_up_to_1_mib(frame: Event, is_too_large: bool) -> None:
    view = record(accept(), frame, servers=["daphne"]).client_view()
    assert view.close_code == (1011 if is_too_large else None)
    assert bool(faults(accept(), frame)) is is_too_large


def test_a_client_of_uvicorn_refuses_a_subprotocol_that_it_has_not_offered() -> None:
    transcript = record(accept(subprotocol="y"), servers=["uvicorn"], offered=["x"])
    assert transcript.client_view() == (101, None, [], 1006, "")


@pytest.mark.parametrize(
    ("text", "is_json_to_python_only"),
    [
        ("NaN", True),
        ("[-Infinity]", True),
        ('"NaN"', False),
        ("NaN, but no JSON", False),
        ("[Infinity", False),
    ],
)
def test_text_that_only_python_takes_for_json(
    text: str, is_json_to_python_only: bool
) -> None:
    assert bool(faults(accept(), send(text=text))) is is_json_to_python_only


async def test_an_undeliverable_event_is_shown_as_it_was_sent() -> None:
    event: dict[str, Any] = send(text="")
    async with communicate(script(accept(), event)) as communicator:
        await communicator.connect()
        received = await communicator.receive_output()
        assert received is event
        event["text"] = "changed"
        assert [found.event for found in communicator.undeliverable] == [send(text="")]


# How loud it is.


async def test_the_undeliverable_is_silent_but_for_frames_before_accept() -> None:
    for name, (case, _) in SAYINGS.items():
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            communicator = communicate(case)
            with suppress(Boom):
                await communicator.connect()
                while not await communicator.receive_nothing(0.01):
                    await communicator.receive_output()
                await communicator.disconnect()
        expected = [UndeliverableWarning] if name == "a frame before accept" else []
        assert (name, [each.category for each in warned]) == (name, expected)
        communicator.stop(exceptions=False)


async def talk(communicator: WebsocketCommunicator) -> list[object]:
    """All that a test may well do, to its end or its first failure."""
    done: list[object] = [await communicator.connect(0.05)]
    while not await communicator.receive_nothing(0.01, 0.001):
        done.append(await communicator.receive_output(0.05))
    await communicator.disconnect(timeout=0.05)
    return done


@pytest.mark.parametrize("name", [*ROWS, *BORDERS])
async def test_no_test_that_passes_with_the_parent_warns_or_fails(name: str) -> None:
    case = (ROWS | BORDERS)[name]
    application = scripted(case.script, "asgi")
    parent = WebsocketCommunicator(application, "/", subprotocols=case.subprotocols)
    try:
        done = await talk(parent)
    except BaseException:
        return  # It does not pass.
    finally:
        parent.stop(exceptions=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await talk(communicate(case)) == done


@pytest.mark.parametrize("kind", ["asgi", "async", "sync"])
async def test_frames_before_accept_are_warned_of_once_at_the_line_of_the_test(
    kind: Kind,
) -> None:
    case = script(send(text='{"type": "jwt-expired"}'), FRAME, FRAME, accept())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with communicate(case, kind) as communicator:
            answer, line = await communicator.connect(), line_number()
    assert answer == (True, None)
    [warning] = warned
    assert warning.category is UndeliverableWarning
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert str(warning.message) == (
        'send {"type": "jwt-expired"}\n'
        "  sent before accept(): the client gets HTTP 500.\n"
        "  Call accept() first, then send, then close()."
    )


def line_number() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


async def test_every_connect_warns_for_itself() -> None:
    for _ in range(2):
        async with communicate(script(FRAME, close())) as communicator:
            with pytest.warns(UndeliverableWarning):
                await communicator.connect()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert await communicator.wait_closed() == 1000


async def test_it_is_the_frame_that_is_warned_of() -> None:
    communicator = communicate(script(DENIAL, FRAME, BODY))
    with pytest.warns(UndeliverableWarning, match="^send hello\n"):
        assert await communicator.connect() == (False, 401)
    communicator.stop()


async def test_a_frame_after_accept_that_connect_reads_past_is_not_warned_of() -> None:
    communicator = communicate(script(accept(), FRAME, CLOSE_4000))
    await communicator.connect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await communicator.connect() == (False, 4000)
    assert communicator.pre_close_messages == ["hello"]


# Strict.

REFUSED = "strict: the application sent what not every client gets as it was sent.\n"
EMPTY = (
    "send ''\n"
    "  an empty frame: the client gets nothing on Daphne.\n"
    "  Put something into it, or leave it out."
)

Call = Callable[[RecordingWebsocketCommunicator], Coroutine[Any, Any, object]]

CALLS: dict[str, Call] = {
    "receive_output": lambda it: it.receive_output(),
    "receive_from": lambda it: it.receive_from(),
    "receive_json_from": lambda it: it.receive_json_from(),
    "receive_nothing": lambda it: it.receive_nothing(),
    "send_input": lambda it: it.send_input({"type": "websocket.receive", "text": "t"}),
    "send_to": lambda it: it.send_to(text_data="t"),
    "send_json_to": lambda it: it.send_json_to({}),
    "wait_closed": lambda it: it.wait_closed(),
    "disconnect": lambda it: it.disconnect(),
    "wait": lambda it: it.wait(),
    "async with": lambda it: it.__aexit__(None, None, None),
}


@pytest.mark.parametrize("name", CALLS)
async def test_strict_fails_the_call_that_comes_across_it(name: str) -> None:
    communicator = communicate(
        script(accept(), send(text="[]"), send(text=""), CLOSE_4000), strict=True
    )
    communicator.strict = False
    await communicator.connect()
    communicator.strict = True
    with pytest.raises(AssertionError) as refused:
        await CALLS[name](communicator)
    assert str(refused.value) == REFUSED + EMPTY
    # And no other: it has been said.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await communicator.__aexit__(None, None, None)


async def test_strict_fails_connect_and_does_not_warn() -> None:
    case = script(FRAME, accept(headers=[("a", "b")]), FRAME)
    communicator = communicate(case, strict=True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(AssertionError) as refused:
            await communicator.connect()
    assert warned == []
    assert str(refused.value).startswith(
        f"{REFUSED}send hello\n"
        "  sent before accept(): the client gets HTTP 500.\n"
        "  Call accept() first, then send, then close()."
    )
    assert communicator.pre_close_messages == ["hello"]
    communicator.stop()


async def test_strict_fails_one_call_for_each_undeliverable_event() -> None:
    async def application(scope: Any, receive: Any, send_: Any) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            await send_(accept() if not sent else send(text=""))
            sent.append(None)

    sent: list[None] = []
    communicator = RecordingWebsocketCommunicator(application, "/")
    communicator.strict = True
    await communicator.connect()
    for _ in range(3):
        await communicator.send_to(text_data="more")
        with pytest.raises(AssertionError) as refused:
            await communicator.receive_output()
        assert str(refused.value) == REFUSED + EMPTY
        assert await communicator.receive_nothing(0.01) is True
    await communicator.disconnect()


async def test_strict_is_content_with_what_every_server_delivers() -> None:
    for servers, case in [
        (SERVERS, script(accept(), FRAME, CLOSE_4000)),
        (SERVERS, script(close())),
        (["uvicorn"], script(accept(), close(code=1008, reason="why"))),
        (["hypercorn", "uvicorn"], script(DENIAL, PART, BODY)),
    ]:
        async with communicate(case, servers=servers, strict=True) as communicator:
            await communicator.connect()


async def test_strict_hides_no_failure() -> None:
    with pytest.raises(Boom):
        await communicate(script(FRAME, ending="raise"), strict=True).connect()
    with pytest.raises(asyncio.TimeoutError):
        await communicate(script(FRAME), strict=True).connect(0.01)
    with pytest.raises(KeyError):
        async with communicate(script(FRAME, close()), strict=True) as communicator:
            await communicator.send_input(CONNECT)
            await asyncio.wait([communicator.future], timeout=0.01)
            assert communicator.undeliverable != []
            raise KeyError


def test_it_is_judged_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_view, "RULES", {})
    case = script(accept(), send(text=""), CLOSE_4000, FRAME)

    async def test() -> None:
        async with communicate(case) as communicator:
            await communicator.connect()
            await communicator.receive_output()
            assert await communicator.wait_closed() == 4000
            with pytest.raises(KeyError):
                communicator.client_view

    asyncio.run(test())


# The client goes, and the application ends.


@pytest.mark.parametrize("code", [1000, 1001, 4000])
async def test_a_client_sees_the_close_code_it_has_sent_itself(code: int) -> None:
    communicator = communicate(script(accept(), FRAME))
    await communicator.connect()
    before = communicator.client_view
    assert before == ClientView(101, None, ["hello"], None, None)
    await communicator.disconnect(code=code)
    assert communicator.client_view == before._replace(close_code=code, close_reason="")
    assert communicator.undeliverable == []


@pytest.mark.parametrize(
    ("events", "view"),
    [
        ([], (None, None, [], 1006, "")),
        ([DENIAL], (None, None, [], 1006, "")),
        ([DENIAL, PART], (401, None, [], 1006, "")),
        ([accept()], (101, None, [], 1005, "")),
        ([accept(), FRAME, CLOSE_4000], (101, None, ["hello"], 4000, "")),
        ([close()], (403, None, [], 1006, "")),
        ([DENIAL, BODY], (401, None, [], 1006, "")),
    ],
)
def test_what_a_client_has_left_it_does_not_hear(
    events: list[object], view: object
) -> None:
    recording = Recording()
    for event in events:
        recording.add("send", event)
    recording.add("receive", {"type": "websocket.disconnect"})
    for event in [FRAME, CLOSE_4000, accept(), {}, None]:
        recording.add("send", event)
    end(recording, "raise")
    transcript = Transcript(recording, "/", ("hypercorn",), ())
    assert transcript.client_view() == view
    # Applications can't know.
    assert transcript.undeliverable() == []


@each_server
@pytest.mark.parametrize("ending", ["raise", "return", "cancel"])
@pytest.mark.parametrize(
    "events", [[close()], [accept(), CLOSE_4000], [FRAME], [accept(), accept()]]
)
def test_after_the_end_of_a_connection_that_of_the_application_shows_nowhere(
    events: list[object], ending: Ending, server: str
) -> None:
    before = record(*events, servers=[server])
    after = record(*events, servers=[server], ending=ending)
    assert after.client_view() == before.client_view()


@each_server
@pytest.mark.parametrize("events", [[], [DENIAL], [DENIAL, PART], [accept(), FRAME]])
def test_a_cancelled_application_has_not_ended_to_its_client(
    events: list[object], server: str
) -> None:
    before = record(*events, servers=[server])
    recording = Recording()
    for event in events:
        recording.add("send", event)
    end(recording, "cancel")
    after = Transcript(recording, "/", (server,), ())
    assert after.client_view() == before.client_view()


@pytest.mark.parametrize(
    ("events", "servers"),
    [([], SERVERS), ([DENIAL], SERVERS[1:]), ([DENIAL, PART], SERVERS[1:])],
)
@pytest.mark.parametrize("ending", ["raise", "return"])
def test_who_has_no_answer_yet_gets_none_once_the_application_has_ended(
    events: list[object], servers: tuple[str, ...], ending: Ending
) -> None:
    for server in servers:
        waiting = record(*events, servers=[server]).client_view()
        assert waiting.close_code is None
        ended = record(*events, servers=[server], ending=ending).client_view()
        assert (ended.close_code, ended.close_reason) == (1006, "")


@each_server
def test_an_end_without_close_is_no_event_and_nothing_undeliverable(
    server: str,
) -> None:
    for ending in ("raise", "return"):
        for events in ([], [accept()], [accept(), FRAME]):
            transcript = record(*events, servers=[server], ending=ending)
            assert transcript.undeliverable() == []


def test_what_comes_after_the_end_of_the_application_comes_too_late() -> None:
    recording = Recording()
    recording.add("send", accept())
    end(recording, "raise")
    recording.add("send", FRAME)
    transcript = Transcript(recording, "/", ("daphne",), ())
    assert transcript.client_view() == (101, None, [], 1011, "")
    assert [found.event for found in transcript.undeliverable()] == [FRAME]


# Judging holds against everything, and costs what the events cost.


class HostileMapping(dict[str, object]):
    def refuse(self, *args: object) -> Any:
        raise RuntimeError("hostile")

    get = __getitem__ = __contains__ = __iter__ = keys = items = refuse


VALUES: list[object] = [
    *[None, True, False, 0, 1, -1, 1.5, float("nan"), 1000, 1005, 4000, 10**5000],
    *["", "x", "NaN", "[" * 10_000, "\ud800", "r" * 124, UnhashableText("x")],
    *[b"", b"x", bytearray(b"x"), memoryview(b"x"), b"\xff" * 124],
    *[[], {}, (), [None], [("a",)], [(b"a", b"b")], [Hostile()], {"a": Hostile()}],
    Hostile(),
]
TYPES = [
    *["websocket.accept", "websocket.send", "websocket.close"],
    *["websocket.http.response.start", "websocket.http.response.body"],
    *["websocket.receive", "unknown", UnhashableText("websocket.send")],
]
KEYS = [
    *["subprotocol", "headers", "text", "bytes", "code", "reason"],
    *["status", "body", "more_body"],
]


def hostile_event(random: Random) -> object:
    keys = {random.choice(KEYS): random.choice(VALUES) for _ in range(3)}
    return random.choice(
        [
            {"type": random.choice(TYPES), **keys},
            random.choice([accept(), DENIAL, PART]),
            {"type": random.choice(VALUES)},
            random.choice(VALUES),
            HostileMapping(type="websocket.send"),
        ]
    )


@settings(max_examples=500, deadline=None)
@given(st.randoms(use_true_random=False))
def test_judging_raises_nothing(random: Random) -> None:
    events = [hostile_event(random) for _ in range(random.randrange(6))]
    transcript = record(
        *events,
        servers=[random.choice(SERVERS)],
        offered=random.choice([(), ("x", "y")]),
        ending=random.choice(["wait", "return", "raise"]),
    )
    assert isinstance(transcript.client_view(), ClientView)
    assert len({id(found.event) for found in transcript.undeliverable()}) <= len(events)
    assert isinstance(str(transcript), str)


@pytest.fixture
def rules_asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """Which rules are asked whether they apply, each time, and which of them do."""
    asked: list[tuple[str, str, str]] = []

    def listen(phase: str, kind: str, rule: Rule) -> Rule:
        def applies(event: Mapping[str, Any], offered: Sequence[str]) -> bool:
            does = rule.applies(event, offered)
            asked.append((phase, kind, rule.says if does else ""))
            return does

        return rule._replace(applies=applies)

    listening = {
        phase: {
            kind: [listen(phase, kind, rule) for rule in rules]
            for kind, rules in kinds.items()
        }
        for phase, kinds in RULES.items()
    }
    monkeypatch.setattr(client_view, "RULES", listening)
    return asked


def test_an_event_is_judged_once_however_often_one_asks(
    rules_asked: list[tuple[str, str, str]],
) -> None:
    events = [accept(), *[FRAME, send(text="")] * 1_000, CLOSE_4000, FRAME]
    at_once = record(*events)
    at_once.client_view()
    count = len(rules_asked)

    recording = Recording()
    bit_by_bit = Transcript(recording, "/", SERVERS, ())
    for event in events:
        recording.add("send", event)
        bit_by_bit.client_view()
    assert len(rules_asked) == 2 * count
    assert bit_by_bit.client_view() == at_once.client_view()
    assert bit_by_bit.undeliverable() == at_once.undeliverable()


# The tables.


def test_every_rule_is_met_by_a_case_that_the_servers_perform(
    rules_asked: list[tuple[str, str, str]],
) -> None:
    for (events, ending), _, offered in (ROWS | BORDERS).values():
        record(*events, offered=offered, ending=ending).client_view()
    recording = Recording()
    recording.add("receive", {"type": "websocket.disconnect"})
    recording.add("send", FRAME)
    Transcript(recording, "/", SERVERS, ()).client_view()
    rules = {
        (phase, kind, rule.says)
        for phase, kinds in RULES.items()
        for kind, rules in kinds.items()
        for rule in rules
    }
    assert rules - set(rules_asked) == set()


def test_the_first_events_can_be_judged_alone() -> None:
    recording = Recording()
    for event in [accept(), FRAME, FRAME]:
        recording.add("send", event)
    for count, messages in [(2, 1), (None, 2), (1, 2), (None, 2)]:
        judgement = recording.judge(SERVERS, (), count)
        assert len(judgement.connections["daphne"].view().messages) == messages


def test_every_ending_is_met_by_a_case_that_the_servers_perform() -> None:
    met = set()
    for (events, ending), _, offered in (ROWS | BORDERS).values():
        for server in SERVERS:
            recording = Recording()
            for event in events:
                recording.add("send", event)
            connection = recording.judge((server,), tuple(offered)).connections[server]
            met.add((connection.phase, ending))
    assert {(phase, "raise") for phase in ENDINGS} <= met
    assert {(phase, "return") for phase in ENDINGS} <= met


def test_every_rule_of_a_phase_says_something_else_and_has_a_remedy() -> None:
    for kinds in RULES.values():
        for rules in kinds.values():
            says = [rule.says for rule in rules]
            assert len(set(says)) == len(says)
            assert all(rule.says and rule.remedy for rule in rules)

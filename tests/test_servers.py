"""
What clients of the real servers get is what ``client_view`` and ``undeliverable`` say.

The servers perform all the cases first, side by side, since many take their time.
"""

import asyncio
import json
from contextlib import ExitStack, suppress
from typing import Any, Literal, NamedTuple

import pytest
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.urls import path
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from channels_closetest import (
    ClientView,
    DenialResponse,
    RecordingWebsocketCommunicator,
    Undeliverable,
)
from channels_closetest.client_view import payload
from tests import scripts
from tests.scripts import Kind, Script, scripted
from tests.servers import Case, Observed, Server, observe, observe_all, serving

SERVERS: list[Server] = ["daphne", "uvicorn", "hypercorn"]
KINDS: list[Kind] = ["async", "sync"]

Event = dict[str, object]
Ending = Literal["wait", "return", "raise"]


def accept(**keys: object) -> Event:
    return {"type": "websocket.accept", **keys}


def send(**keys: object) -> Event:
    return {"type": "websocket.send", **keys}


def close(**keys: object) -> Event:
    return {"type": "websocket.close", **keys}


def start(**keys: object) -> Event:
    return {"type": "websocket.http.response.start", **keys}


def body(**keys: object) -> Event:
    return {"type": "websocket.http.response.body", **keys}


def script(
    *events: object, ending: Ending = "wait", offered: tuple[str, ...] = ()
) -> Case:
    return Case(Script(events, ending), subprotocols=offered)


FRAME = send(text="hello")
BYE = close(code=4000)
WHY = [(b"x-why", b"because")]
DENIAL = start(status=401, headers=WHY)
BODY = body(body=b"no")
PART = body(body=b"a", more_body=True)
FLOOD = "accepts, sends 10,000 frames, closes"

# Every row of the README's "What real servers do", in its order.
ROWS: dict[str, Case] = {
    # Before the handshake is answered.
    "accepts": script(accept()),
    "closes": script(close()),
    "closes(1000)": script(close(code=1000)),
    "closes(4401, reason)": script(close(code=4401, reason="why")),
    "closes(reason)": script(close(reason="why")),
    "sends a frame, closes": script(FRAME, close(code=4401)),
    "sends a frame, accepts": script(FRAME, accept(), FRAME, BYE),
    "sends bytes, raises": script(send(bytes=b"\x00"), ending="raise"),
    "raises": script(ending="raise"),
    "returns": script(ending="return"),
    "never answers": script(),
    "accepts x of none": script(accept(subprotocol="x")),
    "accepts x of y": script(accept(subprotocol="x"), offered=("y",)),
    "accepts x of none, raises": script(accept(subprotocol="x"), ending="raise"),
    "accepts x of none, closes": script(accept(subprotocol="x"), BYE),
    "accepts y of x and y": script(
        accept(subprotocol="y"), FRAME, BYE, offered=("x", "y")
    ),
    "accepts none of x and y": script(accept(), FRAME, BYE, offered=("x", "y")),
    "accepts with headers": script(accept(headers=WHY)),
    "accepts with a cookie twice": script(
        accept(headers=[(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
    ),
    "accepts with str headers": script(accept(headers=[("x-a", "b")])),
    "closes, closes": script(close(), BYE),
    "closes, accepts, sends a frame": script(close(), accept(), FRAME),
    "closes, sends a frame": script(close(), FRAME),
    "denies": script(DENIAL, BODY),
    "denies in two parts": script(DENIAL, PART, BODY),
    "denies in three parts": script(DENIAL, PART, PART, body(body=b"", more_body=None)),
    "starts to deny": script(DENIAL),
    "starts to deny, returns": script(DENIAL, ending="return"),
    "starts to deny, raises": script(DENIAL, ending="raise"),
    "starts to deny, closes": script(DENIAL, close()),
    # After accept.
    "accepts, sends frames, closes(4401, reason)": script(
        accept(), FRAME, send(bytes=b"\x00\x01"), close(code=4401, reason="why")
    ),
    "accepts, sends frames": script(accept(), FRAME, send(text='{"a": [1]}')),
    "accepts, closes": script(accept(), close()),
    "accepts, closes(reason)": script(accept(), close(reason="why")),
    **{
        f"accepts, closes({code})": script(accept(), FRAME, close(code=code))
        for code in [
            *[-1, 0, 1, 999, 1000],
            *range(1001, 1018),
            *[1100, 2000, 2999, 3000, 3999, 4000, 4999],
            *[5000, 65535, 65536, 100000],
        ]
    },
    **{
        f"accepts, closes({code}, {described})": script(
            accept(), close(code=code, reason=reason)
        )
        for code in [4000, 1001, 1005, 2000]
        for described, reason in {
            "reason": "why",
            "123 bytes": "r" * 123,
            "124 bytes": "r" * 124,
            "123 bytes, 62 characters": "é" * 61 + "e",
            "124 bytes, 62 characters": "é" * 62,
            "124 bytes, 31 characters": "\U0001f600" * 31,
        }.items()
    },
    "accepts, accepts": script(accept(), accept()),
    "accepts, sends a frame, accepts": script(accept(), FRAME, accept()),
    "accepts, closes, sends a frame": script(accept(), BYE, FRAME),
    "accepts, closes, closes": script(accept(), BYE, close(code=4001)),
    "accepts, closes, accepts": script(accept(), BYE, accept()),
    "accepts, raises": script(accept(), ending="raise"),
    "accepts, sends frames, raises": script(accept(), *[FRAME] * 100, ending="raise"),
    "accepts, returns": script(accept(), ending="return"),
    "accepts, sends a frame, returns": script(accept(), FRAME, ending="return"),
    **{
        f"accepts, sends {keys}": script(accept(), send(**keys), BYE)
        for keys in [
            {"text": "t", "bytes": b"b"},
            {},
            {"text": None, "bytes": None},
            {"text": ""},
            {"bytes": b""},
            {"text": "t", "bytes": None},
            {"text": None, "bytes": b"b"},
            {"text": {"a": 1}},
            {"text": "a\ud800"},
            {"text": b"t"},
            {"bytes": "t"},
            {"bytes": bytearray(b"ba")},
            {"text": "NaN"},
            {"text": '{"a": [-Infinity]}'},
        ]
    },
    "accepts, sends an unknown event": script(accept(), {"type": "unknown"}, BYE),
    FLOOD: script(accept(), *[FRAME] * 10_000, BYE),
}

# What the rows leave open.
BORDERS: dict[str, Case] = {
    "has other keys": script(
        accept(foo=1, subprotocol=None, headers=[]), send(text="t", foo=1), BYE
    ),
    # Before the handshake is answered.
    "accepts Y of y": script(accept(subprotocol="Y"), offered=("y",)),
    "accepts '' of none": script(accept(subprotocol="")),
    "accepts '' of x": script(accept(subprotocol=""), offered=("x",)),
    "accepts b'y' of y": script(accept(subprotocol=b"y"), offered=("y",)),
    **{
        f"accepts with headers {headers!r}": script(accept(headers=headers), FRAME, BYE)
        for headers in [
            ((b"x-why", b"because"),),
            [[b"X-Why", b"because"]],
            [(b"x-a", "b")],
            None,
            {b"x-a": b"b"},
            [b"x"],
            [(b"x", 1)],
            [(b"x-a", b"b\r\nx-c: d")],
            [(b"x y", b"b")],
            [(b":x", b"b")],
            [(b"sec-websocket-accept", b"me")],
            [(b"sec-websocket-extensions", b"foo")],
            [(b"sec-websocket-protocol", b"y")],
        ]
    },
    "accepts y of y with a header": script(
        accept(headers=[(b"sec-websocket-protocol", b"y")]), offered=("y",)
    ),
    **{
        f"closes({keys})": script(close(**keys))
        for keys in [
            {"code": None},
            {"code": "4000"},
            {"code": -1},
            {"code": 4000, "reason": None},
            {"code": 4000, "reason": 7},
            {"code": 4000, "reason": "r" * 200},
        ]
    },
    "closes, denies": script(close(), DENIAL, BODY),
    "closes, returns": script(close(), ending="return"),
    "closes, raises": script(close(), ending="raise"),
    # Denial responses.
    "denies with an empty body": script(DENIAL, body(body=b"")),
    "denies with a bytearray": script(DENIAL, body(body=bytearray(b"no"))),
    "denies with a body of 1 MiB": script(DENIAL, body(body=b"x" * 1024 * 1024)),
    "denies with a cookie twice": script(
        start(status=401, headers=[[b"Set-Cookie", b"a=1"], [b"Set-Cookie", b"b=2"]]),
        BODY,
    ),
    "denies with content-length": script(
        start(status=401, headers=[(b"content-length", b"2")]), BODY
    ),
    **{
        f"denies, status {status!r}": script(start(status=status, headers=WHY), BODY)
        for status in [200, 302, 403, 404, 500, 503, 599, 600, 99, 0, -1, 1000]
    },
    **{
        f"denies, status {status!r}": script(start(status=status, headers=WHY), BODY)
        for status in ["401", None, True]
    },
    # HTTP gives these no body.
    **{
        f"denies, status {status}": script(
            start(status=status, headers=WHY), body(body=b"")
        )
        for status in [100, 101, 103, 204, 304]
    },
    "denies without status": script(start(headers=WHY), BODY),
    "denies without headers": script(start(status=401), BODY),
    **{
        f"denies with headers {headers!r}": script(
            start(status=401, headers=headers), BODY
        )
        for headers in [None, [], [("a", "b")], {b"a": b"b"}, [b"a"]]
    },
    "denies without body": script(DENIAL, body()),
    "denies without body at first": script(DENIAL, body(more_body=True), BODY),
    **{
        f"denies with body {wrong!r}": script(DENIAL, body(body=wrong))
        for wrong in ["no", None, {}]
    },
    "denies in part, then with a str": script(DENIAL, PART, body(body="no")),
    "denies in part, then without body": script(DENIAL, PART, body()),
    "denies in part": script(DENIAL, PART),
    "denies in part, returns": script(DENIAL, PART, ending="return"),
    "denies in part, raises": script(DENIAL, PART, ending="raise"),
    "denies, returns": script(DENIAL, BODY, ending="return"),
    "denies, raises": script(DENIAL, BODY, ending="raise"),
    **{
        f"{begins}, {goes_on}": script(*events, *more)
        for begins, events in {
            "starts to deny": [DENIAL],
            "denies in part": [DENIAL, PART],
            "denies": [DENIAL, BODY],
        }.items()
        for goes_on, more in {
            "closes anyway": [close()],
            "accepts": [accept()],
            "accepts, sends a frame, closes": [accept(), FRAME, BYE],
            "sends a frame": [FRAME],
            "denies anew": [start(status=418, headers=[]), BODY],
            "sends an unknown event, denies": [{"type": "unknown"}, BODY],
            "closes, denies": [close(), BODY],
            "accepts, denies": [accept(), BODY],
        }.items()
    },
    "denies without start": script(BODY),
    "denies without start, accepts": script(BODY, accept()),
    "denies without start, closes": script(BODY, close()),
    # After accept.
    **{
        f"accepts, closes({keys})": script(accept(), FRAME, close(**keys))
        for keys in [
            {"code": None},
            {"code": None, "reason": "why"},
            {"code": "4000"},
            {"code": "x"},
            {"code": 4001.5},
            {"code": True},
            {"code": [4000]},
            *(
                {"code": 4000, "reason": reason}
                for reason in [None, "", 0, [], 7, b"why", ["why"], "\ud800", "a\x00b"]
            ),
        ]
    },
    "accepts, accepts, sends a frame, closes": script(accept(), accept(), FRAME, BYE),
    "accepts, denies, sends a frame": script(accept(), DENIAL, BODY, FRAME, BYE),
    "accepts, closes, denies": script(accept(), BYE, DENIAL, BODY),
    "accepts, closes(1005), closes": script(accept(), close(code=1005), BYE),
    "accepts, closes(1001), sends a frame": script(accept(), close(code=1001), FRAME),
    "accepts, closes, returns": script(accept(), BYE, ending="return"),
    "accepts, closes, raises": script(accept(), BYE, ending="raise"),
    **{
        f"accepts, sends {str(keys):.50}": script(accept(), send(**keys), BYE)
        for keys in [
            {"text": None},
            {"bytes": None},
            *({"text": text} for text in [{}, 1, 0, False, b"", ["t"]]),
            *({"text": text} for text in [bytearray(b"t"), "\x00\U0001f600"]),
            *({"text": text} for text in ["NaN, but no JSON", "[" * 100_000]),
            *({"bytes": data} for data in ["", 1, 0, [1, 2], ["t"], {"a": 1}]),
            {"bytes": bytearray()},
            *({"text": "t", "bytes": data} for data in [b"", "b"]),
            *({"text": "", "bytes": data} for data in [b"b", b"", None]),
            {"text": None, "bytes": b""},
            {"text": b"t", "bytes": None},
        ]
    },
    # No close, at which Daphne may drop what is so large.
    "accepts, sends 1 MiB": script(accept(), send(text="x" * 1024 * 1024)),
    "accepts, sends over 1 MiB": script(accept(), send(text="x" * 1024 * 1024 + "x")),
    "accepts, sends over 1 MiB in UTF-8": script(
        accept(), send(text="é" * 512 * 1024 + "x")
    ),
    "accepts, sends over 1 MiB of bytes": script(
        accept(), send(bytes=b"x" * 1024 * 1024 + b"x")
    ),
    # What is no event, or none for an application to send.
    **{
        f"{name} {event!r}": script(*before, event, *after)
        for event in [
            {},
            None,
            "websocket.accept",
            [],
            {"text": "without type"},
            {"type": None},
            {"type": 1},
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": "t"},
            {"type": "websocket.disconnect", "code": 1000},
            {"type": "http.response.start", "status": 200, "headers": []},
        ]
        for name, before, after in [
            ("before accept:", [], [accept(), BYE]),
            ("before close:", [], [close()]),
            ("after accept:", [accept()], [FRAME, BYE]),
            ("after close:", [accept(), BYE], []),
            ("after refusal:", [close()], []),
        ]
    },
}

# What a consumer may well send, in any order.
EVENTS = [
    accept(),
    accept(),
    accept(),
    accept(subprotocol="x"),
    accept(subprotocol="y"),
    accept(headers=WHY),
    FRAME,
    FRAME,
    send(text='{"a": [1, null]}'),
    send(bytes=b"\x00\x01"),
    send(text=""),
    send(text=None, bytes=b"b"),
    send(text="t", bytes=b"b"),
    send(text="a\ud800"),
    send(text={"a": 1}),
    send(text="NaN"),
    send(),
    close(),
    close(),
    BYE,
    close(code=1008),
    close(code=1011, reason="why"),
    close(code=1005),
    close(code=3000, reason="r" * 124),
    DENIAL,
    PART,
    BODY,
    {"type": "unknown"},
    {},
]


def random_cases(count: int) -> list[Case]:
    """The same ones each time."""
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
        st.sampled_from(KINDS),
        st.sampled_from([(), ("x", "z")]),
    )
    def draw(
        events: list[Event], ending: Ending, kind: Kind, offered: tuple[str, ...]
    ) -> None:
        # What would spoil Daphne, but comes too late to do so, is spoiled by the rest.
        assume(not Case(Script(tuple(events[1:])), kind, offered).spoils_daphne)
        cases.append(Case(Script(tuple(events), ending), kind, offered))

    draw()
    return cases


CASES = {
    **{
        f"{name} ({kind})": case._replace(kind=kind)
        for name, case in ROWS.items()
        for kind in KINDS
    },
    **BORDERS,
    **{f"random {number}": case for number, case in enumerate(random_cases(150))},
}


# Consumers that answer the handshake in ways that no script has.


class Denying(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        raise DenyConnection


class SyncDenying(JsonWebsocketConsumer):
    def connect(self) -> None:
        raise DenyConnection


class Swallowing(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        with suppress(Exception):
            await self.send_json({"type": "jwt-expired"})
        await self.close(4401)


class SyncSwallowing(JsonWebsocketConsumer):
    def connect(self) -> None:
        with suppress(Exception):
            self.send_json({"type": "jwt-expired"})
        self.close(4401)


EXTENSION = "websocket.http.response"


class Polite(AsyncJsonWebsocketConsumer):
    """Says why, where that is possible."""

    async def connect(self) -> None:
        if EXTENSION in self.scope.get("extensions", {}):
            await AsyncConsumer.send(self, DENIAL)
            await AsyncConsumer.send(self, BODY)
        else:
            await self.close()


class SyncPolite(JsonWebsocketConsumer):
    def connect(self) -> None:
        if EXTENSION in self.scope.get("extensions", {}):
            SyncConsumer.send(self, DENIAL)
            SyncConsumer.send(self, BODY)
        else:
            self.close()


CONSUMERS: dict[str, Any] = {
    "denying-async": Denying.as_asgi(),
    "denying-sync": SyncDenying.as_asgi(),
    "swallowing-async": Swallowing.as_asgi(),
    "swallowing-sync": SyncSwallowing.as_asgi(),
    "polite-async": Polite.as_asgi(),
    "polite-sync": SyncPolite.as_asgi(),
    "foreign-async": OriginValidator(Polite.as_asgi(), ["elsewhere.example"]),
    "foreign-sync": OriginValidator(SyncPolite.as_asgi(), ["elsewhere.example"]),
}
PATHS = [*CONSUMERS, "nowhere"]

application = ProtocolTypeRouter(
    {
        "websocket": URLRouter(
            [
                path("", scripts.perform),
                *(path(f"{name}/", consumer) for name, consumer in CONSUMERS.items()),
            ]
        )
    }
)


class Observations(NamedTuple):
    """What the clients of one server got: of each case, and on each path."""

    cases: dict[str, Observed]
    paths: dict[str, Observed]


async def observe_everything(url: str) -> Observations:
    floods, others = [], []
    for name in CASES:
        (floods if name.startswith(FLOOD) else others).append(name)
    paths = [await observe(f"{url}/{name}", script()) for name in PATHS]
    observed = [await observe(url, CASES[name]) for name in floods]
    observed += await observe_all(url, [CASES[name] for name in others])
    return Observations(dict(zip(floods + others, observed)), dict(zip(PATHS, paths)))


@pytest.fixture(scope="module")
def observations() -> dict[Server, Observations]:
    async def observe_servers(urls: list[str]) -> list[Observations]:
        return await asyncio.wait_for(
            asyncio.gather(*map(observe_everything, urls)), timeout=100
        )

    with ExitStack() as stack:
        urls = [
            stack.enter_context(serving(server, application=f"{__name__}:application"))
            for server in SERVERS
        ]
        return dict(zip(SERVERS, asyncio.run(observe_servers(urls))))


class Prediction(NamedTuple):
    client_view: ClientView
    undeliverable: list[Undeliverable]
    denial_response: DenialResponse | None


async def predict(server: Server, case: Case, at: str = "/") -> Prediction:
    """What the package says when the application has come to rest."""

    class Communicator(RecordingWebsocketCommunicator):
        servers = (server,)

    events, ending = case.script
    communicator = Communicator(
        scripted(case.script, case.kind) if at == "/" else application,
        at,
        subprotocols=case.subprotocols,
    )
    if server != "daphne":
        communicator.scope["extensions"] = {EXTENSION: {}}
    await communicator.send_input({"type": "websocket.connect"})
    try:
        if at != "/":
            while communicator.client_view.close_code is None:
                await asyncio.sleep(0)
        elif ending == "wait":
            while len(communicator.transcript) <= len(events):
                await asyncio.sleep(0)
        else:
            await asyncio.wait([communicator.future])
        return Prediction(
            communicator.client_view,
            communicator.undeliverable,
            communicator.denial_response,
        )
    finally:
        communicator.stop(exceptions=False)
        await asyncio.wait([communicator.future])


# Where the table is not exact. That something is undeliverable, it says all the same.
_CONVERTED = "Hypercorn makes an int or bytes of it: no reason to write it"
INEXACT: dict[tuple[Server, str], str] = {
    ("hypercorn", "accepts, closes({'code': '4000'})"): _CONVERTED,
    ("hypercorn", "accepts, closes({'code': 4001.5})"): _CONVERTED,
    ("hypercorn", "accepts, sends {'bytes': 1}"): _CONVERTED,
    ("hypercorn", "accepts, sends {'bytes': 0}"): _CONVERTED,
    ("hypercorn", "accepts, sends {'bytes': [1, 2]}"): _CONVERTED,
    **{
        (server, f"swallowing-{kind}"): "what a consumer swallows is in no event"
        for server in SERVERS
        for kind in KINDS
    },
}
# Where undeliverable is not exact.
SILENT: dict[tuple[Server, str], str] = {}


def show(*sides: object) -> str:
    return "\n".join(str(side)[:1000] for side in sides)


def compare_views(server: Server, name: str, view: ClientView, got: Observed) -> None:
    seen = ClientView(
        got.status,
        got.subprotocol,
        [read(message) for message in got.messages],
        got.close_code,
        got.close_reason,
    )
    if view.status != 101 and view.close_code is None:
        # No answer yet. This client has given up in the end.
        view = view._replace(close_code=1006, close_reason="")
    is_exact = (server, name) not in INEXACT
    assert (view == seen) is is_exact, show(server, name, CASES.get(name), view, seen)


def compare_words(
    server: Server, name: str, foretold: Prediction, got: Observed
) -> None:
    told, understood = said(CASES[name]), heard(CASES[name], got)
    undeliverable, denial = foretold.undeliverable, foretold.denial_response
    is_exact = (server, name) not in SILENT
    assert ((undeliverable == []) is (told == understood)) is is_exact, show(
        server, name, undeliverable, told, understood
    )
    if denial is not None and told == understood:
        assert denial.body == got.body
        assert set(as_text(denial.headers)) <= set(got.headers)


def read(message: str | bytes) -> object:
    return payload({"bytes" if isinstance(message, bytes) else "text": message})


# What the application said, and what was understood of it, in the same words.

Word = tuple[Any, ...]


def said(case: Case) -> list[Word]:
    words: list[Word] = []
    accepted = False
    for event in case.script.events:
        match event:
            case {"type": "websocket.accept", **keys}:
                accepted = True
                headers = as_text(keys.get("headers", ()))
                words.append(("accept", keys.get("subprotocol") or None, headers))
            case {"type": "websocket.send", **keys}:
                text, data = keys.get("text"), keys.get("bytes")
                # An empty text beside bytes says nothing.
                if text or (text is not None and data is None):
                    words.append(("frame", meant(text)))
                if data is not None:
                    words.append(("frame", data))
                if text is data is None:
                    words.append(("nonsense", event))
            case {"type": "websocket.close", **keys}:
                code, reason = keys.get("code"), keys.get("reason")
                if code is None and accepted:
                    code = 1000
                words.append(("close", code, "" if reason is None else reason))
            case {"type": "websocket.http.response.start", **keys}:
                headers = as_text(keys.get("headers", ()))
                words.append(("denial", keys.get("status"), headers, b"", False))
            case {"type": "websocket.http.response.body", **keys} if is_unfinished(
                words
            ) and isinstance(keys.get("body", b""), (bytes, bytearray)):
                *denial, begun, _ = words[-1]
                is_finished = not keys.get("more_body")
                words[-1] = (*denial, begun + keys.get("body", b""), is_finished)
            case _:
                words.append(("nonsense", event))
    return words


def is_unfinished(words: list[Word]) -> bool:
    """Whether they end in a denial response of which there is more to come."""
    return bool(words) and words[-1][0] == "denial" and not words[-1][-1]


def meant(text: object) -> object:
    """What text means to Python, to which more is JSON than to a client."""
    try:
        return json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        return text


def as_text(headers: Any) -> list[tuple[str, str]]:
    try:
        return [(name.lower().decode(), value.decode()) for name, value in headers]
    except (AttributeError, TypeError, ValueError):
        return [("these are", "no headers")]


def heard(case: Case, got: Observed) -> list[Word]:
    """What a browser understands."""
    told = said(case)
    [wanted] = [word[2] for word in told if word[0] == "accept"][:1] or [[]]
    if got.status == 101 and got.headers:
        if case.subprotocols and got.subprotocol is None:
            return []
        headers = [header for header in wanted if header in got.headers]
        words: list[Word] = [("accept", got.subprotocol, headers)]
        words += [("frame", read(message)) for message in got.messages]
        # That the application has ended, however it shows, was said by nobody.
        closes = any(word[0] == "close" for word in told)
        if got.close_code is not None and (closes or case.script.ending == "wait"):
            # 1006 stands for no close frame at all (RFC 6455 section 7.1.5).
            code = None if got.close_code == 1006 else got.close_code
            words.append(("close", code, got.close_reason))
        return words
    for word in told:
        if word[0] == "denial" and word[1] == got.status:
            headers = [header for header in word[2] if header in got.headers]
            return [("denial", got.status, headers, got.body, True)]
    return [("close", None, "")] if got.status == 403 else []


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("server", SERVERS)
async def test_client_view_is_what_a_client_gets_and_undeliverable_what_it_does_not(
    server: Server, name: str, observations: dict[Server, Observations]
) -> None:
    case, got = CASES[name], observations[server].cases[name]
    foretold = await predict(server, case)
    compare_views(server, name, foretold.client_view, got)
    if not is_unfinished(said(case)):
        compare_words(server, name, foretold, got)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("server", SERVERS)
async def test_client_view_is_what_a_client_of_a_consumer_gets(
    server: Server, name: str, observations: dict[Server, Observations]
) -> None:
    foretold = await predict(server, script(), f"/{name}/")
    got = observations[server].paths[name]
    compare_views(server, name, foretold.client_view, got)

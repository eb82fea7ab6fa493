"""What applications send in the tests that compare with real servers."""

from contextlib import suppress
from enum import Enum, IntEnum
from http import HTTPStatus
from typing import Any, Literal

from channels.consumer import AsyncConsumer
from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.db.models import TextChoices
from django.urls import path
from django.utils.functional import lazystr
from django.utils.safestring import SafeString

from channels_closetest.servers.rules import DAPHNE_LARGEST_FRAME
from tests import scripts
from tests.events import (
    BODY,
    DENIAL,
    FRAME,
    HEADERS,
    PART,
    UNKNOWN,
    accept,
    body,
    close,
    send,
    start,
)
from tests.scripts import Script
from tests.servers.running import Case

Ending = Literal["wait", "return", "raise", "cancel"]
ENDINGS: list[Ending] = ["wait", "return", "raise", "cancel"]


def script(
    *events: object,
    ending: Ending = "wait",
    offered: tuple[str, ...] = (),
    late: tuple[object, ...] = (),
    leaves: tuple[int | None, str] | None = None,
    sends: str | None = None,
) -> Case:
    return Case(Script(events, ending, late), "async", offered, leaves, sends)


# What projects send, and what is not quite a str, bytes or an int.


class Code(IntEnum):
    NORMAL = 1000
    POLICY = 1008
    INTERNAL_ERROR = 1011
    UNDEFINED = 2000
    EXPIRED = 4401


class MixedIn(int, Enum):
    EXPIRED = 4401


class Protocol(str, Enum):
    Y = "y"


class ProtocolChoice(TextChoices):
    Y = "y"


class Blob(bytes):
    pass


class Name(str):
    pass


CLOSE_4000 = close(code=4000)
LARGE = "x" * DAPHNE_LARGEST_FRAME
UNDEFINED_CODES = [0, 403, 999, 1004, 1016, 2000, 2999, 5000, 65535]
#: What is no event.
NO_EVENTS: list[object] = [{}, None, "text", 5, {"type": None}]

INVALID_HEADERS: list[object] = [
    [(b"name", b"value", b"more")],
    [(b"name",)],
    [(b"name", b"value"), (b"name", b"value", b"more")],
    [("name", b"value")],
    [("name", "value")],
    [(b"name", "é")],
    [b"x"],
    {b"name": b"value"},
    None,
]
#: What neither HTTP nor ASGI allows in a header, and what they allow.
FORBIDDEN = [
    *[
        (b"x-a", value)
        for value in (b"b\r\nx-c: d", b"b\x00c", b"b\x7f", b" b", b"b\t")
    ],
    *[(name, b"b") for name in (b"x y", b":path", b"", b"x\xff")],
    *[(name, b"y") for name in (b"sec-websocket-protocol", b"Sec-WebSocket-Protocol")],
]
ALLOWED = [(b"x-a", value) for value in (b"b", b"", b"\xff", b"b\tc")]
COOKIES = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
VALID_HEADERS: list[object] = [
    *[*([it] for it in ALLOWED), ([b"X-A", b"b c"],), COOKIES, HEADERS]
]


def accepts(*headers: object) -> list[Case]:
    return [script(accept(headers=it), FRAME, CLOSE_4000) for it in headers]


def denies(*headers: object, status: object = 401) -> list[Case]:
    return [script(start(status=status, headers=it), BODY) for it in headers]


def sends(*events: object) -> list[Case]:
    return [script(accept(), event, FRAME, CLOSE_4000) for event in events]


def sends_large(*payloads: str | bytes) -> list[Case]:
    """Without a close: Daphne may drop such a large frame if a close follows it."""
    keys = ("text" if isinstance(it, str) else "bytes" for it in payloads)
    return [script(accept(), send(**{key: it})) for key, it in zip(keys, payloads)]


def closes(*codes: object) -> list[Case]:
    return [script(accept(), FRAME, close(code=code)) for code in codes]


def closes_with(*reasons: object) -> list[Case]:
    return [script(accept(), close(code=4000, reason=reason)) for reason in reasons]


MALFORMED_EVENT = "a malformed event"
#: Cases by the row of the table that is about an event of theirs: this row, and no
#: other. Without a row is what every server delivers.
BY_ROW: dict[str, list[Case]] = {
    # Before the handshake response.
    "sent before accept()": [
        script(FRAME, close(code=4401)),
        script(FRAME, accept(), FRAME, CLOSE_4000),
    ],
    "closed with a code or reason before accept()": [
        script(close(**keys))
        for keys in ({"code": 0}, {"code": 1000}, {"code": 4401}, {"reason": "why"})
    ],
    "accepted with headers that are not pairs of bytes": accepts(*INVALID_HEADERS),
    "accepted with a header whose value is a str": accepts(
        [(b"x-a", "b")], ([b"x-a", "b"], (b"x-c", b"d"))
    ),
    "accepted with a subprotocol that was not offered": [
        script(accept(subprotocol="x"), FRAME, CLOSE_4000, offered=offered)
        for offered in ((), ("y",))
    ],
    "accepted without any of the offered subprotocols": [
        script(accept(), FRAME, CLOSE_4000, offered=("x", "y"))
    ],
    "accepted with a (str, Enum) subprotocol": [
        script(accept(subprotocol=Protocol.Y), FRAME, CLOSE_4000, offered=("y",))
    ],
    "accepted with headers": accepts(*VALID_HEADERS),
    # After accept.
    "a second accept()": sends(accept()),
    "a frame with text and empty bytes": sends(
        *(send(text="t", bytes=make(b"")) for make in (bytes, bytearray, memoryview))
    ),
    "a frame with text and bytes": sends(
        *(send(text=text, bytes=b"b") for text in ("t", "NaN", "\ud800"))
    ),
    "a payload of the wrong type": sends(
        *(send(text=text) for text in ({"a": 1}, b"t", ["t"], 1)),
        *(send(bytes=data) for data in ("t", ["t"])),
    ),
    "a lazy string as text": sends(send(text=lazystr("lazy"))),
    "an empty frame": sends(
        *[send(text=""), send(text=Name("")), send(bytes=b"")],
        *(send(bytes=make(b"")) for make in (memoryview, Blob, bytearray)),
    ),
    "a bytearray, a memoryview or a subclass of bytes as bytes": sends(
        *(send(bytes=make(b"b")) for make in (memoryview, Blob, bytearray)),
        send(text="", bytes=bytearray(b"b")),
    ),
    "NaN or Infinity, which are not JSON": sends(
        *(send(text=text) for text in ("NaN", '{"a": [-Infinity]}', Name("NaN")))
    ),
    "a frame larger than 1 MiB": sends_large(
        LARGE + "x", "é" * (len(LARGE) // 2) + "x", LARGE.encode() + b"x"
    ),
    "a close code that is not an int": closes("4401", 4401.0),
    "a close code that no frame may contain: 1005, 1006 or 1015": closes(
        1005, 1006, 1015
    ),
    "a close code reserved for servers and libraries: 1001 to 1014": closes(
        *[1001, 1002, 1003, *range(1007, 1011), *range(1012, 1015), Code.POLICY]
    ),
    "an undefined close code": closes(*UNDEFINED_CODES, Code.UNDEFINED),
    "a close code of a subclass of int": closes(
        *[Code.NORMAL, Code.EXPIRED, MixedIn.EXPIRED]
    ),
    "a reason longer than 123 bytes": closes_with(
        *["r" * 124, "é" * 62, "\U0001f600" * 31, lazystr("r" * 124)]
    ),
    "closed with a reason": closes_with(
        *["why", "r" * 123, "é" * 61 + "e", "a\x00b"],
        *[make("why") for make in (SafeString, Name, lazystr)],
    ),
    "an event of unknown type": sends(UNKNOWN),
    # Afterwards.
    "sent after the connection had ended": [
        script(*events)
        for events in (
            (close(), CLOSE_4000),
            (close(), accept(), FRAME),
            (close(), FRAME),
            (close(), DENIAL, BODY),
            (accept(), CLOSE_4000, FRAME),
            (accept(), CLOSE_4000, close(code=4001)),
            (accept(), CLOSE_4000, accept()),
        )
    ],
    # Whether they raise or are lost depends on the server.
    MALFORMED_EVENT: [
        *(
            script(it, accept(), FRAME, CLOSE_4000)
            for it in (*NO_EVENTS, UNKNOWN, BODY)
        ),
        *accepts(*([header] for header in FORBIDDEN)),
        *denies(*INVALID_HEADERS, *([header] for header in FORBIDDEN)),
        *[denies([], status=status)[0] for status in ("401", 199, 600, None)],
        *[script(start(headers=[]), BODY), script(start(status=401), BODY)],
        *(
            script(DENIAL, *parts, event)
            for parts in ((), (PART,))
            for event in (body(), body(body="no"), close(), accept(), DENIAL, FRAME, {})
        ),
        *sends(*NO_EVENTS, send(), send(text=None, bytes=None), send(text="a\ud800")),
        *closes(*[None, "x", -1, 65536, True, False, float("nan"), float("inf")]),
        *closes_with("\ud800", b"why", 5),
    ],
    "": [
        *accepts([], ()),
        *(
            script(accept(subprotocol=name), FRAME, CLOSE_4000, offered=("x", "y"))
            for name in ("y", ProtocolChoice.Y, Name("y"), lazystr("y"))
        ),
        *(script(close(**keys)) for keys in ({}, {"code": None}, {"reason": ""})),
        *sends(
            *(send(text=it) for it in ('"NaN"', "NaN, no JSON", "[Infinity", "\x00é")),
            *(send(text=text, bytes=b"b") for text in (None, "")),
            *(
                send(text=make(text))
                for make in (SafeString, Name)
                for text in ("t", '{"a": [1]}')
            ),
            *[send(text="[" * 100_000), send(text="t", bytes=None)],
        ),
        *sends_large(LARGE, "é" * (len(LARGE) // 2), LARGE.encode()),
        *closes(*[1000, 1011, 3000, 3999, 4000, 4999, Code.INTERNAL_ERROR]),
        *closes_with(None, "", lazystr("")),
    ],
}


def by_row(*, is_malformed: bool) -> dict[str, Case]:
    return {
        f"{row or 'delivered'} {number}": case
        for row, of_row in BY_ROW.items()
        for number, case in enumerate(of_row)
        if (row == MALFORMED_EVENT) is is_malformed
    }


ROWS: dict[str, Case] = {
    **by_row(is_malformed=False),
    **{
        f"{name}, {ending}s": script(*events, ending=ending)
        for name, events in {
            "nothing": [],
            "closes": [close()],
            "starts to deny": [DENIAL],
            "denies in part": [DENIAL, PART],
            "denies": [DENIAL, BODY],
            "accepts": [accept()],
            "accepts, closes": [accept(), close()],
        }.items()
        for ending in ENDINGS
    },
    "denies in three parts": script(DENIAL, PART, PART, body(body=b"", more_body=None)),
    "denies, closes": script(DENIAL, BODY, close()),
    "accepts, sends frames, closes(4401, a reason)": script(
        *[accept(), FRAME, send(text='{"a": [1, null]}'), send(bytes=b"\x00\x01")],
        close(code=4401, reason="why"),
    ),
    "accepts, sends frames, raises": script(accept(), *[FRAME] * 100, ending="raise"),
}

# What the rows do not cover.
MORE_CASES: dict[str, Case] = {
    "accepts b'y' of y": script(accept(subprotocol=b"y"), offered=("y",)),
    "accepts '' of none": script(accept(subprotocol="")),
    "accepts x of none with str headers": script(
        accept(subprotocol="x", headers=[("x-a", "b")])
    ),
    **{
        f"denies with body {number}": script(DENIAL, body(body=it))
        for number, it in enumerate(
            [b"", LARGE.encode(), memoryview(b"no"), Blob(b"no"), bytearray(b"no")]
        )
    },
    **{
        f"denies with headers {number}": case
        for number, case in enumerate(
            denies(*VALID_HEADERS, [(b"content-length", b"2")])
        )
    },
    **{
        f"denies with status {status}": script(
            start(status=status, headers=HEADERS),
            # Some have no body (RFC 9110 section 6.4.1).
            body(body=b"" if status in (204, 304) else b"no"),
        )
        for status in [200, 204, 302, 304, 403, HTTPStatus.NOT_FOUND, 500, 503, 599]
    },
    "accepts, sends, closes with other keys": script(
        accept(foo=1, subprotocol=None, headers=[]), send(text="t", foo=1), close(foo=1)
    ),
    "accepts, closes(1005), closes": script(accept(), close(code=1005), CLOSE_4000),
    **{
        f"accepts, closes({code}, a reason)": script(
            accept(), close(code=code, reason="why")
        )
        for code in (1005, Code.EXPIRED)
    },
    **{
        f"accepts, sends lazy {text}": script(
            accept(), send(text=lazystr(text)), CLOSE_4000
        )
        for text in ['{"a": [1]}', "", "NaN"]
    },
    "accepts, sends text and a view": script(
        accept(), send(text="t", bytes=memoryview(b"b")), CLOSE_4000
    ),
    "accepts, sends a view of 2 MiB": script(
        accept(), send(bytes=memoryview(2 * LARGE.encode())), CLOSE_4000
    ),
    # The client leaves, or sends what Daphne does not receive.
    **{
        f"accepts, leaves with {leaves}": script(accept(), FRAME, leaves=leaves)
        for leaves in [
            *[(4000, "bye"), (4000, ""), (1000, ""), (1000, "bye"), (1001, "")],
            *[(None, ""), (1006, "")],
        ]
    },
    "accepts, receives 1 MiB": script(accept(), FRAME, sends=LARGE),
    "accepts, receives over 1 MiB": script(accept(), FRAME, sends=LARGE + "x"),
}
MALFORMED = by_row(is_malformed=True)

# What only a consumer with tasks of its own can perform.
LATE_CASES: dict[str, Case] = {
    f"{first}, {ending}s, then sends {late}": Case(
        Script(events, ending, late=late), "tasks"
    )
    for first, events in {
        "accepts": (accept(),),
        "accepts, closes": (accept(), CLOSE_4000),
    }.items()
    for ending in ENDINGS[1:]
    for late in ((FRAME,), (CLOSE_4000,))
}


# Cases that are undeliverable on some servers, and some in which all is delivered.
UNDELIVERABLE: dict[str, Case] = {
    "a frame before accept": script(FRAME, close(code=4401)),
    **{
        row: cases[0]
        for row, cases in list(BY_ROW.items())[1:]
        if row != MALFORMED_EVENT
    },
    "a denial response": script(DENIAL, BODY),
    "a crash": ROWS["accepts, sends frames, raises"],
}
# Consumers with handshake responses that no script can have.


class Raising(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        raise DenyConnection


class Suppressing(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        with suppress(Exception):
            await self.send_json({"type": "jwt-expired"})
        await self.close(4401)


EXTENSION = "websocket.http.response"


class Denying(AsyncJsonWebsocketConsumer):
    """Denies with a response where the server has the extension for it."""

    async def connect(self) -> None:
        if EXTENSION in (self.scope.get("extensions") or {}):
            await AsyncConsumer.send(self, DENIAL)
            await AsyncConsumer.send(self, BODY)
        else:
            await self.close()


CONSUMERS: dict[str, Any] = {
    "raising": Raising.as_asgi(),
    "suppressing": Suppressing.as_asgi(),
    "denying": Denying.as_asgi(),
    "foreign": OriginValidator(Denying.as_asgi(), ["elsewhere.example"]),
}
ROUTES: list[Any] = [
    path("", scripts.perform),  # type: ignore[arg-type]
    *(path(f"{name}/", consumer) for name, consumer in CONSUMERS.items()),
]
application = ProtocolTypeRouter({"websocket": URLRouter(ROUTES)})

"""What applications send in the tests that compare with real servers."""

from collections.abc import Callable
from contextlib import suppress
from enum import Enum, IntEnum
from http import HTTPStatus
from typing import Any, Literal

from channels.consumer import AsyncConsumer
from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.db.models import IntegerChoices, TextChoices
from django.urls import path
from django.utils.functional import lazystr
from django.utils.safestring import SafeString

from tests import scripts
from tests.events import (
    BODY,
    DENIAL,
    FRAME,
    HEADERS,
    PART,
    UNKNOWN,
    Event,
    accept,
    body,
    close,
    send,
    start,
)
from tests.scripts import Script
from tests.servers.running import Case

Ending = Literal["wait", "return", "raise", "cancel"]
ENDINGS: list[Ending] = ["return", "raise", "cancel"]


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


class Choice(IntegerChoices):  # type: ignore[metaclass,unused-ignore]
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


TEXTS: dict[str, Callable[[str], object]] = {
    "lazy": lazystr,
    "safe": SafeString,
    "name": Name,
}
BYTES_LIKE: dict[str, Callable[[bytes], object]] = {
    "view": memoryview,
    "blob": Blob,
    "array": bytearray,
}


CLOSE_4000 = close(code=4000)
LARGE = "x" * 1024 * 1024
REASONS = {
    "a reason": "why",
    "123 bytes": "r" * 123,
    "124 bytes": "r" * 124,
    "123 bytes, 62 characters": "é" * 61 + "e",
    "124 bytes, 62 characters": "é" * 62,
    "124 bytes, 31 characters": "\U0001f600" * 31,
}
UNDEFINED_CODES = [0, 403, 999, 1004, 1016, 2000, 2999, 5000, 65535]
FRAMES: list[Event] = [
    {"text": "t", "bytes": b"b"},
    {"text": {"a": 1}},
    {"text": b"t"},
    {"bytes": "t"},
    {"text": ""},
    {"bytes": b""},
    {"text": "t", "bytes": None},
    {"text": None, "bytes": b"b"},
    {"text": "NaN"},
    {"text": '{"a": [-Infinity]}'},
    {"text": "\x00\U0001f600"},
    {"text": "NaN, but no JSON"},
    {"text": ["t"]},
    {"text": 1},
    {"bytes": ["t"]},
    {"text": "", "bytes": b"b"},
]

# Every row of the table in the README of servers, in its order.
ROWS: dict[str, Case] = {
    # Before the handshake response.
    "accepts": script(accept()),
    "closes": script(close()),
    "closes(1000)": script(close(code=1000)),
    "raises": script(ending="raise"),
    "returns": script(ending="return"),
    "never responds": script(),
    "sends a frame, closes": script(FRAME, close(code=4401)),
    "sends a frame, accepts": script(FRAME, accept(), FRAME, CLOSE_4000),
    "sends bytes, raises": script(send(bytes=b"\x00"), ending="raise"),
    "closes(4401, a reason)": script(close(code=4401, reason="why")),
    "closes(a reason)": script(close(reason="why")),
    "accepts with str headers": script(accept(headers=[("x-a", "b")]), FRAME),
    "accepts x of none": script(accept(subprotocol="x")),
    "accepts x of y": script(accept(subprotocol="x"), FRAME, offered=("y",)),
    "accepts x of none, raises": script(accept(subprotocol="x"), ending="raise"),
    "accepts x of none, closes": script(accept(subprotocol="x"), CLOSE_4000),
    **{
        f"accepts {name!r} of y": script(
            accept(subprotocol=name), FRAME, CLOSE_4000, offered=("y",)
        )
        for name in [Protocol.Y, ProtocolChoice.Y]
    },
    "accepts y of x and y": script(
        accept(subprotocol="y"), FRAME, CLOSE_4000, offered=("x", "y")
    ),
    "accepts none of x and y": script(accept(), FRAME, CLOSE_4000, offered=("x", "y")),
    "accepts with headers": script(accept(headers=HEADERS), FRAME),
    "accepts with a cookie twice": script(
        accept(headers=[(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
    ),
    "closes, closes": script(close(), CLOSE_4000),
    "closes, accepts, sends a frame": script(close(), accept(), FRAME),
    "closes, sends a frame": script(close(), FRAME),
    # Denial responses.
    "denies": script(DENIAL, BODY),
    "denies in two parts": script(DENIAL, PART, BODY),
    "denies in three parts": script(DENIAL, PART, PART, body(body=b"", more_body=None)),
    "denies, closes": script(DENIAL, BODY, close()),
    "starts to deny": script(DENIAL),
    "denies in part": script(DENIAL, PART),
    **{
        f"{name}, {ending}s": script(*events, ending=ending)
        for name, events in {
            "starts to deny": [DENIAL],
            "denies in part": [DENIAL, PART],
            "denies": [DENIAL, BODY],
        }.items()
        for ending in ENDINGS
    },
    # After accept.
    "accepts, sends frames, closes(4401, a reason)": script(
        *[accept(), FRAME, send(text='{"a": [1, null]}'), send(bytes=b"\x00\x01")],
        close(code=4401, reason="why"),
    ),
    "accepts, sends frames": script(accept(), FRAME, send(text='{"a": [1]}')),
    "accepts, closes": script(accept(), close()),
    "accepts, closes(a reason)": script(accept(), close(reason="why")),
    "accepts, accepts": script(accept(), accept()),
    "accepts, sends a frame, accepts": script(accept(), FRAME, accept(), FRAME),
    **{
        f"accepts, sends {keys}": script(accept(), send(**keys), FRAME, CLOSE_4000)
        for keys in FRAMES
    },
    "accepts, sends a lazy string": script(
        accept(), send(text=lazystr("lazy")), FRAME, CLOSE_4000
    ),
    **{
        f"accepts, sends {name} {data!r}": script(
            accept(), send(bytes=make(data)), FRAME, CLOSE_4000
        )
        for name, make in BYTES_LIKE.items()
        for data in [b"b", b""]
    },
    # Without a close: Daphne may drop such a large frame if a close follows it.
    "accepts, sends over 1 MiB": script(accept(), send(text=LARGE + "x")),
    **{
        f"accepts, closes({code!r})": script(accept(), FRAME, close(code=code))
        for code in [
            *["4401", 4401.0],
            *[1005, 1006, 1015],
            *[1001, 1002, 1003, *range(1007, 1015)],
            *UNDEFINED_CODES,
            *[1000, 3000, 3999, 4000, 4999],
            *[*Code, Choice.EXPIRED, MixedIn.EXPIRED],
        ]
    },
    **{
        f"accepts, closes(4000, {name})": script(
            accept(), close(code=4000, reason=reason)
        )
        for name, reason in REASONS.items()
    },
    "accepts, sends an unknown event": script(accept(), UNKNOWN, CLOSE_4000),
    "accepts, raises": script(accept(), ending="raise"),
    "accepts, sends frames, raises": script(accept(), *[FRAME] * 100, ending="raise"),
    "accepts, returns": script(accept(), ending="return"),
    "accepts, sends a frame, returns": script(accept(), FRAME, ending="return"),
    # Afterwards.
    "accepts, closes, sends a frame": script(accept(), CLOSE_4000, FRAME),
    "accepts, closes, closes": script(accept(), CLOSE_4000, close(code=4001)),
    "accepts, closes, accepts": script(accept(), CLOSE_4000, accept()),
    "accepts, sends 10,000 frames, closes": script(
        accept(), *[FRAME] * 10_000, CLOSE_4000
    ),
}

# What the rows do not cover.
MORE_CASES: dict[str, Case] = {
    # Before the handshake response.
    "accepts Y of y": script(accept(subprotocol="Y"), offered=("y",)),
    "accepts b'y' of y": script(accept(subprotocol=b"y"), offered=("y",)),
    "accepts '' of none": script(accept(subprotocol="")),
    **{
        f"accepts {make.__name__} y of y": script(
            accept(subprotocol=make("y")), FRAME, CLOSE_4000, offered=("y",)
        )
        for make in (Name, lazystr)
    },
    **{
        f"accepts with headers {headers}": script(
            accept(headers=headers), FRAME, CLOSE_4000
        )
        for headers in [
            ((b"x-why", b"because"),),
            [[b"X-Why", b"because"]],
            [(b"x-a", b"\xff")],
            [(b"x-a", b"")],
            *[None, {b"x-a": b"b"}, [b"x"], [(b"x", 1)]],
        ]
    },
    "accepts x of none with str headers": script(
        accept(subprotocol="x", headers=[("x-a", "b")])
    ),
    "closes(Code.EXPIRED)": script(close(code=Code.EXPIRED)),
    "closes(lazy)": script(close(reason=lazystr("why"))),
    "closes, denies": script(close(), DENIAL, BODY),
    "closes, returns": script(close(), ending="return"),
    "closes, raises": script(close(), ending="raise"),
    "cancels itself": script(ending="cancel"),
    # Denial responses.
    "denies with an empty body": script(DENIAL, body(body=b"")),
    "denies with a body of 1 MiB": script(DENIAL, body(body=LARGE.encode())),
    **{
        f"denies with {name}": script(DENIAL, body(body=make(b"no")))
        for name, make in BYTES_LIKE.items()
    },
    "denies with a cookie twice": script(
        start(status=401, headers=[[b"Set-Cookie", b"a=1"], [b"Set-Cookie", b"b=2"]]),
        BODY,
    ),
    "denies with content-length": script(
        start(status=401, headers=[(b"content-length", b"2")]), BODY
    ),
    **{
        f"denies with status {status}": script(
            start(status=status, headers=HEADERS),
            # Some have no body (RFC 9110 section 6.4.1).
            body(body=b"" if status in (204, 304) else b"no"),
        )
        for status in [200, 204, 302, 304, 403, HTTPStatus.NOT_FOUND, 500, 503, 599]
    },
    # After accept.
    "accepts, sends, closes with other keys": script(
        accept(foo=1, subprotocol=None, headers=[]), send(text="t", foo=1), close(foo=1)
    ),
    "accepts, closes(1005), closes": script(accept(), close(code=1005), CLOSE_4000),
    "accepts, closes(1001), sends a frame": script(accept(), close(code=1001), FRAME),
    "accepts, closes(1011, a reason)": script(accept(), close(code=1011, reason="why")),
    "accepts, closes(1005, a reason)": script(accept(), close(code=1005, reason="why")),
    "accepts, closes(Code.EXPIRED, a reason)": script(
        accept(), close(code=Code.EXPIRED, reason="why")
    ),
    **{
        f"accepts, closes(4000, {type(reason).__name__} {str(reason)!r:.5})": script(
            accept(), close(code=4000, reason=reason)
        )
        for reason in [
            *[None, "", "a\x00b", SafeString("why"), Name("why")],
            *map(lazystr, ["why", "r" * 124, ""]),
        ]
    },
    "accepts, closes, returns": script(accept(), CLOSE_4000, ending="return"),
    "accepts, closes, raises": script(accept(), CLOSE_4000, ending="raise"),
    "accepts, cancels itself": script(accept(), FRAME, ending="cancel"),
    **{
        f"accepts, sends {name} {text}": script(
            accept(), send(text=make(text)), CLOSE_4000
        )
        for name, make in TEXTS.items()
        for text in ["hello", '{"a": [1]}', "", "NaN"]
    },
    "accepts, sends text and a view": script(
        accept(), send(text="t", bytes=memoryview(b"b")), CLOSE_4000
    ),
    "accepts, sends 100,000 brackets": script(
        accept(), send(text="[" * 100_000), CLOSE_4000
    ),
    "accepts, sends 1 MiB": script(accept(), send(text=LARGE)),
    "accepts, sends over 1 MiB in UTF-8": script(
        accept(), send(text="é" * 512 * 1024 + "x")
    ),
    "accepts, sends over 1 MiB of bytes": script(
        accept(), send(bytes=LARGE.encode() + b"x")
    ),
    "accepts, sends a view of 2 MiB": script(
        accept(), send(bytes=memoryview(2 * LARGE.encode())), CLOSE_4000
    ),
    # The client leaves, or sends what Daphne does not receive.
    **{
        f"accepts, leaves with {leaves}": script(accept(), FRAME, leaves=leaves)
        for leaves in [
            (4000, "bye"),
            (4000, ""),
            (1000, ""),
            (1000, "bye"),
            (1001, ""),
            (None, ""),
            (1006, ""),
        ]
    },
    "accepts, receives 1 MiB": script(accept(), FRAME, sends=LARGE),
    "accepts, receives over 1 MiB": script(accept(), FRAME, sends=LARGE + "x"),
}

# One row for each phase. Whether they raise or are lost depends on the server.
MALFORMED_STARTS: list[Event] = [
    {"headers": []},
    {"status": "401", "headers": []},
    {"status": 99, "headers": []},
    {"status": 600, "headers": []},
    {"status": 401},
    {"status": 401, "headers": [("a", "b")]},
    {"status": 401, "headers": [(b"x-a", b"b\r\nx-c: d")]},
]
MALFORMED_FRAMES: list[Event] = [
    {},
    {"text": None, "bytes": None},
    {"text": "a\ud800"},
]
MALFORMED_CLOSES: list[Event] = [
    {"code": None},
    {"code": "x"},
    {"code": -1},
    {"code": 65536},
    {"code": 4000, "reason": "\ud800"},
    {"code": 4000, "reason": b"why"},
]
MALFORMED: dict[str, Case] = {
    **{
        f"before accept: {event}": script(event, accept(), FRAME, CLOSE_4000)
        for event in ({}, None, UNKNOWN, BODY)
    },
    **{
        f"accepts with header {name!r}: {value!r}": script(
            accept(headers=[(name, value)]), FRAME, CLOSE_4000
        )
        for name, value in [
            (b"x-a", b"b\r\nx-c: d"),
            (b"x-a", b" b"),
            (b"x y", b"b"),
            (b"sec-websocket-protocol", b"y"),
        ]
    },
    **{f"denies with {keys}": script(start(**keys), BODY) for keys in MALFORMED_STARTS},
    **{
        f"{name}, then {event}": script(*events, event)
        for name, events in {
            "starts to deny": [DENIAL],
            "denies in part": [DENIAL, PART],
        }.items()
        for event in (body(), body(body="no"), close(), accept(), DENIAL, FRAME)
    },
    **{
        f"accepts, sends {keys}": script(accept(), send(**keys), FRAME, CLOSE_4000)
        for keys in MALFORMED_FRAMES
    },
    **{
        f"accepts, closes({keys})": script(accept(), FRAME, close(**keys))
        for keys in MALFORMED_CLOSES
    },
    "accepts, then {}": script(accept(), {}, FRAME, CLOSE_4000),
}

# What only a consumer with tasks of its own can perform.
LATE_CASES: dict[str, Case] = {
    f"{first}, {ending}s, then sends {late}": Case(
        Script(events, ending, late=late), "tasks"
    )
    for first, events in {
        "accepts": (accept(),),
        "accepts, closes": (accept(), CLOSE_4000),
    }.items()
    for ending in ENDINGS
    for late in ((FRAME,), (CLOSE_4000,))
}


# Cases that are undeliverable on some servers, and three in which all is delivered.
UNDELIVERABLE: dict[str, Case] = {
    "a frame before accept": ROWS["sends a frame, closes"],
    **{
        name: ROWS[name]
        for name in [
            *["closes(4401, a reason)", "accepts x of y", "accepts none of x and y"],
            *["accepts with headers", "denies", "starts to deny, returns"],
            *["accepts, accepts", "accepts, closes, sends a frame"],
            *["accepts, closes(1008)", "accepts, closes(4000, a reason)"],
            *["accepts, sends {'text': ''}", "accepts, sends {'text': 'NaN'}"],
            *["accepts y of x and y", "closes", "accepts, sends frames, raises"],
        ]
    },
}


# Consumers with handshake responses that no script can have.


class Raising(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        raise DenyConnection


class SyncRaising(JsonWebsocketConsumer):
    def connect(self) -> None:
        raise DenyConnection


class Suppressing(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        with suppress(Exception):
            await self.send_json({"type": "jwt-expired"})
        await self.close(4401)


class SyncSuppressing(JsonWebsocketConsumer):
    def connect(self) -> None:
        with suppress(Exception):
            self.send_json({"type": "jwt-expired"})
        self.close(4401)


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
    "raising-async": Raising.as_asgi(),
    "raising-sync": SyncRaising.as_asgi(),
    "suppressing-async": Suppressing.as_asgi(),
    "suppressing-sync": SyncSuppressing.as_asgi(),
    "denying": Denying.as_asgi(),
    "foreign": OriginValidator(Denying.as_asgi(), ["elsewhere.example"]),
}
ROUTES: list[Any] = [
    path("", scripts.perform),  # type: ignore[arg-type]
    *(path(f"{name}/", consumer) for name, consumer in CONSUMERS.items()),
]
application = ProtocolTypeRouter({"websocket": URLRouter(ROUTES)})

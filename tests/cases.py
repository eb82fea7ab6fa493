"""What applications send in the tests that compare with real servers."""

from collections.abc import Callable
from contextlib import suppress
from enum import Enum, IntEnum
from typing import Any, Literal

from channels.consumer import AsyncConsumer, SyncConsumer
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
    CONNECT,
    DENIAL,
    DISCONNECT,
    FRAME,
    HEADERS,
    PART,
    Event,
    accept,
    body,
    close,
    send,
    start,
)
from tests.scripts import Script
from tests.servers import Case

Ending = Literal["wait", "return", "raise", "cancel"]
ENDINGS: list[Ending] = ["return", "raise", "cancel"]


def script(
    *events: object,
    ending: Ending = "wait",
    offered: tuple[str, ...] = (),
    pause: float = 0.0,
    late: tuple[object, ...] = (),
    leaves: tuple[int | None, str] | None = None,
) -> Case:
    return Case(Script(events, ending, pause, late), "async", offered, leaves)


# What projects send, and what is not quite a str, bytes or an int.


class Code(IntEnum):
    NORMAL = 1000
    POLICY = 1008
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
FLOOD = "accepts, sends 10,000 frames, closes"

CODES = [
    *[-1, 0, 1, 999, 1000],
    *range(1001, 1018),
    *[1100, 2000, 2999, 3000, 3999, 4000, 4999],
    *[5000, 65535, 65536, 100000],
]
REASONS = {
    "a reason": "why",
    "123 bytes": "r" * 123,
    "124 bytes": "r" * 124,
    "123 bytes, 62 characters": "é" * 61 + "e",
    "124 bytes, 62 characters": "é" * 62,
    "124 bytes, 31 characters": "\U0001f600" * 31,
}
FRAMES: list[Event] = [
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

# Every row of the README's "What real servers do", in its order.
ROWS: dict[str, Case] = {
    # Before the handshake response.
    "accepts": script(accept()),
    "closes": script(close()),
    "closes(1000)": script(close(code=1000)),
    "closes(4401, a reason)": script(close(code=4401, reason="why")),
    "closes(a reason)": script(close(reason="why")),
    "sends a frame, closes": script(FRAME, close(code=4401)),
    "sends a frame, accepts": script(FRAME, accept(), FRAME, CLOSE_4000),
    "sends bytes, raises": script(send(bytes=b"\x00"), ending="raise"),
    "raises": script(ending="raise"),
    "returns": script(ending="return"),
    "never responds": script(),
    "accepts x of none": script(accept(subprotocol="x")),
    "accepts x of y": script(accept(subprotocol="x"), offered=("y",)),
    "accepts x of none, raises": script(accept(subprotocol="x"), ending="raise"),
    "accepts x of none, closes": script(accept(subprotocol="x"), CLOSE_4000),
    "accepts y of x and y": script(
        accept(subprotocol="y"), FRAME, CLOSE_4000, offered=("x", "y")
    ),
    "accepts none of x and y": script(accept(), FRAME, CLOSE_4000, offered=("x", "y")),
    "accepts with headers": script(accept(headers=HEADERS)),
    "accepts with a cookie twice": script(
        accept(headers=[(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
    ),
    "accepts with str headers": script(accept(headers=[("x-a", "b")])),
    "closes, closes": script(close(), CLOSE_4000),
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
    "accepts, sends frames, closes(4401, a reason)": script(
        accept(), FRAME, send(bytes=b"\x00\x01"), close(code=4401, reason="why")
    ),
    "accepts, sends frames": script(accept(), FRAME, send(text='{"a": [1]}')),
    "accepts, closes": script(accept(), close()),
    "accepts, closes(a reason)": script(accept(), close(reason="why")),
    **{
        f"accepts, closes({code})": script(accept(), FRAME, close(code=code))
        for code in CODES
    },
    **{
        f"accepts, closes({code}, {name})": script(
            accept(), close(code=code, reason=reason)
        )
        for code in [4000, 1001, 1005, 2000]
        for name, reason in REASONS.items()
    },
    "accepts, accepts": script(accept(), accept()),
    "accepts, sends a frame, accepts": script(accept(), FRAME, accept()),
    "accepts, closes, sends a frame": script(accept(), CLOSE_4000, FRAME),
    "accepts, closes, closes": script(accept(), CLOSE_4000, close(code=4001)),
    "accepts, closes, accepts": script(accept(), CLOSE_4000, accept()),
    "accepts, raises": script(accept(), ending="raise"),
    "accepts, sends frames, raises": script(accept(), *[FRAME] * 100, ending="raise"),
    "accepts, returns": script(accept(), ending="return"),
    "accepts, sends a frame, returns": script(accept(), FRAME, ending="return"),
    **{
        f"accepts, sends {keys}": script(accept(), send(**keys), CLOSE_4000)
        for keys in FRAMES
    },
    "accepts, sends an unknown event": script(
        accept(), {"type": "unknown"}, CLOSE_4000
    ),
    FLOOD: script(accept(), *[FRAME] * 10_000, CLOSE_4000),
}

ACCEPTED_HEADERS: list[object] = [
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
STATUSES: list[object] = [
    *[200, 302, 403, 404, 500, 503, 599],
    *[600, 99, 0, -1, 1000, "401", None, True],
]
DENIAL_HEADERS: list[object] = [None, [], [("a", "b")], {b"a": b"b"}, [b"a"]]
MALFORMED_STARTS: list[Event] = [
    {"headers": []},
    {"status": 600, "headers": []},
    {"status": 401},
    {"status": 401, "headers": [("a", "b")]},
]
MALFORMED_BODIES: list[object] = ["no", None, {}]
DENIALS: dict[str, list[object]] = {
    "starts to deny": [DENIAL],
    "denies in part": [DENIAL, PART],
    "denies": [DENIAL, BODY],
}
MALFORMED_CODES: list[object] = [None, "4000", "x", 4001.5, True, [4000]]
UNUSUAL_REASONS: list[object] = [
    None,
    "",
    "\ud800",
    "a\x00b",
    0,
    [],
    7,
    b"why",
    ["why"],
]
CLOSES: list[Event] = [
    *({"code": code} for code in MALFORMED_CODES),
    *({"code": 4000, "reason": reason} for reason in UNUSUAL_REASONS),
    {"code": None, "reason": "why"},
]
UNUSUAL_TEXTS: list[object] = [
    *[None, "\x00\U0001f600", "NaN, but no JSON"],
    *[b"", ["t"], bytearray(b"t"), {}, 1, 0, False],
]
UNUSUAL_BYTES: list[object] = [None, "", bytearray(), [1, 2], ["t"], {"a": 1}, 1, 0]
UNUSUAL_FRAMES: list[Event] = [
    *({"text": text} for text in UNUSUAL_TEXTS),
    *({"bytes": data} for data in UNUSUAL_BYTES),
    {"text": "t", "bytes": b""},
    {"text": "t", "bytes": "b"},
    {"text": "", "bytes": b"b"},
    {"text": "", "bytes": b""},
    {"text": "", "bytes": None},
    {"text": None, "bytes": b""},
    {"text": b"t", "bytes": None},
]
NOT_EVENTS: list[object] = [
    {},
    None,
    "websocket.accept",
    [],
    {"text": "without type"},
    {"type": None},
    {"type": 1},
    CONNECT,
    {"type": "websocket.receive", "text": "t"},
    DISCONNECT,
    {"type": "http.response.start", "status": 200, "headers": []},
]

# What the rows do not cover.
MORE_CASES: dict[str, Case] = {
    # Before the handshake response.
    "accepts Y of y": script(accept(subprotocol="Y"), offered=("y",)),
    "accepts '' of none": script(accept(subprotocol="")),
    "accepts '' of x": script(accept(subprotocol=""), offered=("x",)),
    "accepts '' of none, closes": script(accept(subprotocol=""), CLOSE_4000),
    "accepts b'y' of y": script(accept(subprotocol=b"y"), offered=("y",)),
    **{
        f"accepts with headers {headers}": script(
            accept(headers=headers), FRAME, CLOSE_4000
        )
        for headers in ACCEPTED_HEADERS
    },
    "accepts y of y in a header": script(
        accept(headers=[(b"sec-websocket-protocol", b"y")]), offered=("y",)
    ),
    **{f"closes({keys})": script(close(**keys)) for keys in CLOSES},
    "sends text and bytes, accepts": script(
        send(text="t", bytes=b"b"), accept(), FRAME, CLOSE_4000
    ),
    "sends neither text nor bytes, accepts": script(
        send(), accept(), FRAME, CLOSE_4000
    ),
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
        f"denies with status {status!r}": script(
            start(status=status, headers=HEADERS), BODY
        )
        for status in STATUSES
    },
    # These have no body (RFC 9110 section 6.4.1).
    **{
        f"denies with status {status}": script(
            start(status=status, headers=HEADERS), body(body=b"")
        )
        for status in [100, 101, 103, 204, 304]
    },
    "denies without status": script(start(headers=HEADERS), BODY),
    "denies without headers": script(start(status=401), BODY),
    **{
        f"denies with headers {headers}": script(
            start(status=401, headers=headers), BODY
        )
        for headers in DENIAL_HEADERS
    },
    "denies without body": script(DENIAL, body()),
    "denies without body at first": script(DENIAL, body(more_body=True), BODY),
    **{
        f"denies with body {wrong!r}": script(DENIAL, body(body=wrong))
        for wrong in MALFORMED_BODIES
    },
    "denies with a str, then with bytes": script(DENIAL, body(body="no"), BODY),
    "denies in part, then with a str": script(DENIAL, PART, body(body="no")),
    "denies in part, then with a str, then with bytes": script(
        DENIAL, PART, body(body="no"), BODY
    ),
    "denies in part, then without body, then with one": script(
        DENIAL, PART, body(more_body=True), BODY
    ),
    **{
        f"starts to deny with {keys}, closes": script(start(**keys), close())
        for keys in MALFORMED_STARTS
    },
    "denies in part, then without body": script(DENIAL, PART, body()),
    "denies in part, waits": script(DENIAL, PART),
    "denies in part, returns": script(DENIAL, PART, ending="return"),
    "denies in part, raises": script(DENIAL, PART, ending="raise"),
    "denies, returns": script(DENIAL, BODY, ending="return"),
    "denies, raises": script(DENIAL, BODY, ending="raise"),
    **{
        f"{name}, then {events}": script(*denial, *events)
        for name, denial in DENIALS.items()
        for events in (
            [close(code=4401)],
            [accept()],
            [accept(), FRAME, CLOSE_4000],
            [FRAME],
            [start(status=418, headers=[]), BODY],
            [{"type": "unknown"}, BODY],
            [close(), BODY],
            [accept(), BODY],
        )
    },
    "denies without start": script(BODY),
    "denies without start, accepts": script(BODY, accept()),
    "denies without start, closes": script(BODY, close()),
    # After accept.
    "accepts, sends, closes with other keys": script(
        accept(foo=1, subprotocol=None, headers=[]), send(text="t", foo=1), close(foo=1)
    ),
    **{
        f"accepts, closes({keys})": script(accept(), FRAME, close(**keys))
        for keys in CLOSES
    },
    "accepts, accepts, sends a frame, closes": script(
        accept(), accept(), FRAME, CLOSE_4000
    ),
    "accepts, denies, sends a frame": script(accept(), DENIAL, BODY, FRAME, CLOSE_4000),
    "accepts, closes, denies": script(accept(), CLOSE_4000, DENIAL, BODY),
    "accepts, closes(1005), closes": script(accept(), close(code=1005), CLOSE_4000),
    "accepts, closes(1001), sends a frame": script(accept(), close(code=1001), FRAME),
    "accepts, closes, returns": script(accept(), CLOSE_4000, ending="return"),
    "accepts, closes, raises": script(accept(), CLOSE_4000, ending="raise"),
    **{
        f"accepts, sends {keys}": script(accept(), send(**keys), CLOSE_4000)
        for keys in UNUSUAL_FRAMES
    },
    "accepts, sends 100,000 brackets": script(
        accept(), send(text="[" * 100_000), CLOSE_4000
    ),
    # Without a close: Daphne may drop such a large frame if a close follows it.
    "accepts, sends 1 MiB": script(accept(), send(text="x" * 1024 * 1024)),
    "accepts, sends over 1 MiB": script(accept(), send(text="x" * 1024 * 1024 + "x")),
    "accepts, sends over 1 MiB in UTF-8": script(
        accept(), send(text="é" * 512 * 1024 + "x")
    ),
    "accepts, sends over 1 MiB of bytes": script(
        accept(), send(bytes=b"x" * 1024 * 1024 + b"x")
    ),
    **{
        f"{name}: {event}": script(*before, event, *after)
        for event in NOT_EVENTS
        for name, before, after in (
            ("before accept", (), (accept(), CLOSE_4000)),
            ("before close", (), (close(),)),
            ("after accept", (accept(),), (FRAME, CLOSE_4000)),
            ("after close", (accept(), CLOSE_4000), ()),
            ("after rejection", (close(),), ()),
        )
    },
    "accepts x of none with str headers": script(
        accept(subprotocol="x", headers=[("x-a", "b")])
    ),
    "accepts x of none with a control character": script(
        accept(subprotocol="x", headers=[(b"x-a", b"b\nc")])
    ),
    # Values that are nearly a str, bytes or an int.
    **{
        f"accepts, closes({code!r})": script(accept(), FRAME, close(code=code))
        for code in [*Code, Choice.EXPIRED, MixedIn.EXPIRED]
    },
    "closes(Code.EXPIRED)": script(close(code=Code.EXPIRED)),
    "accepts, closes(Code.EXPIRED, a reason)": script(
        accept(), close(code=Code.EXPIRED, reason="why")
    ),
    **{
        f"accepts, closes(4000, lazy {len(reason)})": script(
            accept(), close(code=4000, reason=lazystr(reason))
        )
        for reason in ["why", "r" * 124, ""]
    },
    "accepts, closes(4000, safe)": script(
        accept(), close(code=4000, reason=SafeString("why"))
    ),
    "closes(lazy)": script(close(reason=lazystr("why"))),
    **{
        f"accepts, sends {name} {text}": script(
            accept(), send(text=make(text)), CLOSE_4000
        )
        for name, make in TEXTS.items()
        for text in ["hello", '{"a": [1]}', "", "NaN"]
    },
    **{
        f"accepts, sends {name} {data!r}": script(
            accept(), send(bytes=make(data)), CLOSE_4000
        )
        for name, make in BYTES_LIKE.items()
        for data in [b"b", b""]
    },
    "accepts, sends a view of 2 MiB": script(
        accept(), send(bytes=memoryview(b"x" * 2 * 1024 * 1024)), CLOSE_4000
    ),
    "accepts, sends text and a view": script(
        accept(), send(text="t", bytes=memoryview(b"b")), CLOSE_4000
    ),
    "denies with a view": script(DENIAL, body(body=memoryview(b"no"))),
    "denies with a blob": script(DENIAL, body(body=Blob(b"no"))),
    "denies with an enum": script(start(status=Code.NORMAL - 599, headers=[]), BODY),
    **{
        f"accepts {name!r} of y": script(
            accept(subprotocol=name), FRAME, CLOSE_4000, offered=("y",)
        )
        for name in [Protocol.Y, ProtocolChoice.Y]
    },
    "accepts a subclass of str of y": script(
        accept(subprotocol=Name("y")), FRAME, CLOSE_4000, offered=("y",)
    ),
    "accepts a lazy y of y": script(
        accept(subprotocol=lazystr("y")), FRAME, CLOSE_4000, offered=("y",)
    ),
    "accepts after 6 s": script(accept(), FRAME, CLOSE_4000, pause=6.5),
    "closes after 6 s": script(close(), pause=6.5),
    "sends after 6 s": script(FRAME, close(), pause=6.5),
    "denies after 6 s": script(DENIAL, BODY, pause=6.5),
    "raises after 6 s": script(ending="raise", pause=6.5),
    "returns after 6 s": script(ending="return", pause=6.5),
    "cancels itself": script(ending="cancel"),
    "accepts, cancels itself": script(accept(), FRAME, ending="cancel"),
    "starts to deny, cancels itself": script(DENIAL, ending="cancel"),
    "denies in part, cancels itself": script(DENIAL, PART, ending="cancel"),
    **{
        f"accepts, leaves with {leaves}": script(accept(), FRAME, leaves=leaves)
        for leaves in [
            (4000, "bye"),
            (4000, ""),
            (1000, ""),
            (1000, "bye"),
            (1001, ""),
            (None, ""),
        ]
    },
    "accepts, raises, leaves": script(
        accept(), FRAME, ending="raise", leaves=(4000, "bye")
    ),
    "accepts, returns, leaves": script(
        accept(), FRAME, ending="return", leaves=(4000, "bye")
    ),
    **{
        f"accepts {subprotocol} of {offered} with header {headers}": script(
            accept(subprotocol=subprotocol, headers=headers),
            FRAME,
            CLOSE_4000,
            offered=offered,
        )
        for subprotocol in (None, "y")
        for offered in ((), ("y",))
        for headers in (
            [(b"sec-websocket-protocol", b"y")],
            [(b"Sec-WebSocket-Protocol", b"y")],
        )
    },
    **{
        f"accepts with header {name!r}: {value!r}": script(
            accept(headers=[(name, value)]), FRAME, CLOSE_4000
        )
        for name, value in [
            (b"x-a", b" b"),
            (b"x-a", b"b "),
            (b"x-a", b"b\n"),
            (b"x-a", b"b\nc"),
            (b"x-a", b"b\r\nx-c: d"),
            (b"x-a", b"b\x00c"),
            (b"x-a", b"\tb"),
            (b"x-a", b""),
            (b"x-a", b"\xff"),
            (b"x-a", "\u20ac".encode()),
            (b"x-a", b"b\x01"),
            (b"x y", b"b"),
            (b":x", b"b"),
            (b"", b"b"),
            (b"x-\xff", b"b"),
            (b"content-length", b"5"),
            (b"upgrade", b"other"),
            (b"connection", b"close"),
            (b"sec-websocket-accept", b"me"),
            (b"sec-websocket-extensions", b"foo"),
            (b"server", b"me"),
            (b"date", b"now"),
        ]
    },
    **{
        f"denies with header {name!r}: {value!r}": script(
            start(status=401, headers=[(name, value)]), BODY
        )
        for name, value in [
            (b"x-a", b" b"),
            (b"x-a", b"b\n"),
            (b"x-a", b"b\r\nx-c: d"),
            (b"x y", b"b"),
            (b":x", b"b"),
        ]
    },
}
# The rows that only a consumer with tasks of its own can perform.
LATE_CASES: dict[str, Case] = {
    f"{first}, {ending}s, then sends {late}": Case(
        Script(events, ending, late=late), "tasks"
    )
    for first, events in {
        "connects": (),
        "accepts": (accept(),),
        "accepts, closes": (accept(), CLOSE_4000),
        "denies in part": (DENIAL, PART),
    }.items()
    for ending in ENDINGS
    for late in ((FRAME,), (CLOSE_4000,), (accept(),), (BODY,))
}


# Cases that are undeliverable on some servers, and three in which all is delivered.
UNDELIVERABLE: dict[str, Case] = {
    "a frame before accept": script(FRAME, close(code=4401)),
    "a close code before accept": script(close(code=4401, reason="why")),
    "a subprotocol that is not offered": script(
        accept(subprotocol="x"), offered=("y",)
    ),
    "no subprotocol though some are offered": script(accept(), offered=("x", "y")),
    "headers": script(accept(headers=[(b"x-why", b"because")])),
    "a denial response": script(DENIAL, BODY),
    "a second response within the first": script(DENIAL, accept()),
    "a denial response that begins twice": script(DENIAL, DENIAL),
    "a second accept": script(accept(), accept()),
    "anything after close": script(accept(), CLOSE_4000, FRAME),
    "close(code=1008)": script(accept(), close(code=1008)),
    "a reason": script(accept(), close(code=4000, reason="why")),
    "a reason over 123 bytes": script(accept(), close(code=4000, reason="é" * 62)),
    "an empty frame": script(accept(), send(text="")),
    "NaN": script(accept(), send(text='{"price": NaN}')),
    "nothing": script(accept(subprotocol="y"), FRAME, CLOSE_4000, offered=("x", "y")),
    "a rejection": script(close()),
    "a crash": script(accept(), FRAME, ending="raise"),
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


class SyncDenying(JsonWebsocketConsumer):
    def connect(self) -> None:
        if EXTENSION in (self.scope.get("extensions") or {}):
            SyncConsumer.send(self, DENIAL)
            SyncConsumer.send(self, BODY)
        else:
            self.close()


CONSUMERS: dict[str, Any] = {
    "raising-async": Raising.as_asgi(),
    "raising-sync": SyncRaising.as_asgi(),
    "suppressing-async": Suppressing.as_asgi(),
    "suppressing-sync": SyncSuppressing.as_asgi(),
    "denying-async": Denying.as_asgi(),
    "denying-sync": SyncDenying.as_asgi(),
    "foreign-async": OriginValidator(Denying.as_asgi(), ["elsewhere.example"]),
    "foreign-sync": OriginValidator(SyncDenying.as_asgi(), ["elsewhere.example"]),
}
ROUTES: list[Any] = [
    path("", scripts.perform),  # type: ignore[arg-type]
    *(path(f"{name}/", consumer) for name, consumer in CONSUMERS.items()),
]
application = ProtocolTypeRouter({"websocket": URLRouter(ROUTES)})

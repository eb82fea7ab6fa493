"""Whatever is sent, each event is shown on one short line, and nothing breaks."""

from collections import UserDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_closetest import RecordingWebsocketCommunicator
from channels_closetest.text.values import (
    VALUE_WIDTH,
    format_event,
    format_path,
    format_value,
)
from tests.events import ACCEPT, CLOSE, accept, body, close, send, start
from tests.failures.texts import lines_of
from tests.helpers import failure, having_sent, ignore_undeliverable, only_note
from tests.hostile import NESTED, Hostile, UnhashableText, deep

pytestmark = ignore_undeliverable

#: The width of a terminal, which an event fits into.
COLUMNS = 99
#: What stands before the type of an event.
MARGIN = len("     0.0 ms  ") + len("receive    ") - len("receive ")


async def test_a_shortened_payload_shows_its_length() -> None:
    payloads: dict[str | bytes, str] = {
        "x" * 64: "x" * 64,
        f"<{'y' * 63}>": f"<{'y' * 23}...{'y' * 23}> (65 in all)",
        b"<%s>" % (b"z" * 97): f"b'<{'z' * 17}'...b'{'z' * 17}>' (99 in all)",
        f"{'a' * 40} {'b' * 40}": f"{'a' * 24}...{'b' * 24} (81 in all)",
        f"<{' ' * 63}>": f"<{' ' * 23}...{' ' * 23}> (65 in all)",
    }
    for payload, shown in payloads.items():
        assert format_value(payload) == shown


@pytest.mark.parametrize(
    "offered", [["x" * 10_000], ["chat"] * 100, ["x" * 10_000] * 100]
)
async def test_the_line_of_connect_fits_into_a_terminal(offered: list[str]) -> None:
    communicator = await having_sent(subprotocols=offered)
    [line] = lines_of(communicator.transcript)
    assert len(line) + MARGIN <= COLUMNS


async def test_a_crash_takes_one_line_whatever_its_text() -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        raise ValueError("a\nb")

    communicator = RecordingWebsocketCommunicator(application, "/")
    error = await failure(communicator.receive_output())
    [line] = lines_of(only_note(error))
    assert line.startswith("the application raised ValueError: 'a\\nb', tests/")


@pytest.mark.parametrize(
    "scope", [None, {}, {"path": None, "query_string": "text"}, []]
)
async def test_a_scope_without_a_path_is_shown(scope: Any) -> None:
    communicator = await having_sent(ACCEPT)
    communicator.scope = scope
    path = "?" if not scope else "None"
    assert str(communicator.transcript).splitlines()[0] == path


# Objects that are huge, or that cannot be formatted, copied or compared.


class Lazy:
    """Like a lazy object of Django whose setup raises."""

    __class__ = property(Hostile.fail)


class Multiline:
    def __repr__(self) -> str:
        return "array([1,\n       2])"


class HostileMapping(UserDict[str, object]):
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("hostile")


def within_itself() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


VALUES: dict[str, Callable[[], Any]] = {
    "that supports no operation": Hostile,
    "without a readable class": Lazy,
    "whose repr has two lines": Multiline,
    "within itself": within_itself,
    "100,000 lists deep": deep,
    "of unhashable text": lambda: UnhashableText("websocket.send"),
    "of 100,000 brackets": lambda: NESTED,
    "of a lone surrogate": lambda: "\ud800",
    "NaN": lambda: float("nan"),
    "of more digits than int() takes": lambda: 10**5_000,
    "of more digits than json takes": lambda: "1" * 5_000,
    "of many lines": lambda: "a\n" * 10_000,
    "that is not printable": lambda: "\x1b" * 10_000,
    "of many bytes": lambda: b"\0" * 10_000,
    "of many headers": lambda: [(b"name" * 1_000, b"value" * 1_000)] * 1_000,
    "of many keys": lambda: {"key" * number: number for number in range(1_000)},
    "of long lists": lambda: [list(range(1_000))] * 100,
}


PLACES: dict[str, Callable[[Any], tuple[object, ...]]] = {
    "the event": lambda value: (value,),
    "type": lambda value: ({"type": value},),
    "subprotocol": lambda value: (accept(subprotocol=value),),
    "headers": lambda value: (accept(headers=value),),
    "text": lambda value: (send(text=value),),
    "bytes": lambda value: (send(bytes=value),),
    "text and bytes after accept": lambda value: (
        ACCEPT,
        send(text=value),
        send(bytes=value),
        send(text=value, bytes=value),
    ),
    "code": lambda value: (close(code=value),),
    "reason": lambda value: ({**CLOSE, "reason": value},),
    "code and reason after accept": lambda value: (
        ACCEPT,
        close(code=value, reason=value),
    ),
    "status": lambda value: (start(status=value), body()),
    "denial's headers": lambda value: (start(status=401, headers=value), body()),
    "body": lambda value: (start(status=401), body(body=value, more_body=True)),
    "more_body": lambda value: (start(status=401), body(more_body=value)),
    "unknown key": lambda value: ({"type": "websocket.unknown", "key": value},),
    "mapping": lambda value: (HostileMapping(send(text=value)),),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", VALUES)
async def test_no_object_that_is_sent_breaks_the_transcript(
    place: str, what: str
) -> None:
    value = VALUES[what]()
    events = PLACES[place](value)
    communicator = await having_sent(*events)
    lines = lines_of(communicator.transcript)
    assert len(lines) == 1 + len(events)
    assert max(map(len, lines)) + MARGIN <= COLUMNS
    str(communicator.transcript).encode()
    for name in ("client_view", "undeliverable", "denial_response"):
        getattr(communicator, name)
    assert len(repr(communicator)) <= 2 * COLUMNS
    for event in events:
        assert await communicator.receive_output() is event
    error = await failure(communicator.receive_output(0))
    assert isinstance(error, TimeoutError) and only_note(error)


# Whatever the value.


TEXTS = st.text() | st.text("'\"\\. \n\x1b\ud800\u2028\u202eaé", max_size=200)
BYTES = st.binary(max_size=200) | st.binary(max_size=200).map(bytearray)
ANY = st.recursive(
    TEXTS | BYTES | st.integers() | st.floats() | st.none() | st.booleans(),
    lambda values: (
        st.lists(values, max_size=20)
        | st.lists(values, max_size=20).map(tuple)
        | st.dictionaries(TEXTS, values, max_size=20)
        | st.dictionaries(TEXTS, values, max_size=20).map(UserDict)
    ),
    max_leaves=20,
)


def assert_one_short_line(shown: str, width: int) -> None:
    assert len(shown.splitlines()) == 1
    assert shown.isprintable()
    assert len(shown) <= width


def cut(value: Any, size: str) -> set[str]:
    """Return its start and its end, both plain or both quoted, however long."""
    ends = [(value[:end], value[-end:]) for end in range(1, (len(value) + 1) // 2)]
    plain = {f"{head}...{tail}{size}" for head, tail in ends if type(head) is str}
    return plain | {f"{head!r}...{tail!r}{size}" for head, tail in ends}


@settings(deadline=None, max_examples=300)
@given(TEXTS | BYTES, st.sampled_from([VALUE_WIDTH, VALUE_WIDTH // 2]))
def test_text_and_bytes_are_shown_whole_or_as_their_start_and_end(
    value: Any, width: int
) -> None:
    shown = format_value(value, width)
    size = f" ({len(value)} in all)"
    assert_one_short_line(shown, width + 2 * len("bytearray()") + len(f"...{size}"))
    is_plain = isinstance(value, str) and value.isprintable() and value.strip() == value
    if is_plain and 0 < len(value) <= width:
        assert shown == value
    else:
        assert shown in {repr(value), size.strip(), *cut(value, size)}


@settings(deadline=None, max_examples=300)
@given(ANY, ANY, st.sampled_from(sorted(PLACES)))
def test_any_value_event_and_path_is_shown_on_one_short_line(
    value: object, query: object, place: str
) -> None:
    longest = VALUE_WIDTH + 2 * len("bytearray()") + len("... (200 in all)")
    assert_one_short_line(format_value(value), longest)
    for event in PLACES[place](value):
        assert_one_short_line(format_event(event), 2 * COLUMNS)
        assert_one_short_line(format_event(event, column=10), 2 * COLUMNS)
    scope = {"path": value, "query_string": query}
    assert_one_short_line(format_path(scope), 2 * COLUMNS)
    assert_one_short_line(format_path({"path": value}), COLUMNS)

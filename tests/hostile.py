"""Objects that an application may send although they support no operation."""

from typing import Any

from tests.events import BODY


class Hostile:
    def fail(self, *args: object) -> Any:
        raise RuntimeError("hostile")

    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = fail
    __eq__ = __hash__ = __lt__ = fail
    __repr__ = __str__ = __format__ = __bytes__ = __int__ = __index__ = fail
    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = fail


class HostileMapping(dict[str, object]):
    def fail(self, *args: object) -> Any:
        raise RuntimeError("hostile")

    get = __getitem__ = __contains__ = __iter__ = keys = items = fail


class UnhashableText(str):
    __hash__ = None  # type: ignore[assignment]


HOSTILE = Hostile()
NESTED = "[" * 100_000 + "]" * 100_000

#: What is not a handshake response, and how connect() names it.
NOT_RESPONSES: dict[str, tuple[object, str]] = {
    "unknown type": ({"type": "websocket.unknown", "a": 1}, "'websocket.unknown'"),
    "an event for HTTP": ({"type": "http.response.start"}, "'http.response.start'"),
    "the body of a denial": (BODY, "denial body b'no'"),
    "a type of None": ({"type": None}, "{'type': None}"),
    "a type that is a number": ({"type": 5}, "{'type': 5}"),
    "no type": ({"text": "1"}, "{'text': '1'}"),
    "an empty dict": ({}, "{}"),
    "None": (None, "None"),
    "a string": ("a string", "a string"),
    "a list": ([], "[]"),
}


def deep() -> list[object]:
    """Return lists in lists, too deep for any recursion."""
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    return value

"""Whatever an application sends is received, and breaks no record."""

import pytest

from channels_closetest import RecordingWebsocketCommunicator
from tests.events import ACCEPT, CLOSE_WITH_REASON, Event, send
from tests.helpers import read_all_records, warning_if
from tests.hostile import HOSTILE, NESTED
from tests.scripts import Script, scripted

RELEASED = memoryview(b"payload")
RELEASED.release()

#: The keys of a frame, and its payload in pre_close_messages.
BAD_FRAMES: dict[str, tuple[dict[str, object], object]] = {
    "no JSON": ({"text": "{"}, "{"),
    "empty text": ({"text": ""}, ""),
    "empty bytes": ({"bytes": b""}, b""),
    "NaN": ({"text": "NaN"}, "NaN"),
    "NaN in JSON": ({"text": '{"price": NaN}'}, '{"price": NaN}'),
    "Infinity in JSON": ({"text": "[-Infinity]"}, "[-Infinity]"),
    "100,000 nested brackets": ({"text": NESTED}, NESTED),
    "a number too long for an int": ({"text": "9" * 5000}, "9" * 5000),
    "a lone surrogate": ({"text": "\ud800"}, "\ud800"),
    "a lone surrogate in JSON": ({"text": '"\\ud800"'}, "\ud800"),
    "text, and bytes of None": ({"text": "1", "bytes": None}, 1),
    "bytes, and text of None": ({"text": None, "bytes": b"1"}, b"1"),
    "both": ({"text": "1", "bytes": b"2"}, b"2"),
    "both None": ({"text": None, "bytes": None}, None),
    "neither": ({}, None),
    "text that is a number": ({"text": 5}, 5),
    "text that is a dict": ({"text": {"a": [1]}}, {"a": [1]}),
    "bytes that is text": ({"bytes": "1"}, "1"),
    "hostile text": ({"text": HOSTILE}, HOSTILE),
    "hostile bytes": ({"bytes": HOSTILE}, HOSTILE),
    "hostile extra": ({"text": "1", "extra": [HOSTILE]}, 1),
    "a memoryview that has been released": ({"bytes": RELEASED}, RELEASED),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
@pytest.mark.parametrize("before", [(), (ACCEPT,)], ids=["before accept", "after"])
async def test_a_malformed_frame_is_kept_in_pre_close_messages(
    name: str, before: tuple[Event, ...]
) -> None:
    keys, payload = BAD_FRAMES[name]
    script = Script((*before, send(**keys), CLOSE_WITH_REASON))
    async with RecordingWebsocketCommunicator(scripted(script, "asgi"), "/") as it:
        with warning_if(not before):
            await it.connect()
        assert await it.wait_closed() == 4401
        [kept] = it.pre_close_messages
        assert kept is payload or kept == payload
        read_all_records(it)

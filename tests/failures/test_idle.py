"""What a call says whose timeout expires while the application is idle."""

from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.security.websocket import OriginValidator
from django.test import override_settings

from channels_closetest import RecordingWebsocketCommunicator
from tests.failures.texts import lines_of, timed_out
from tests.helpers import message
from tests.virtual_time import run

HANDLED = "the application is idle: it has handled every event that it received\n"
ANSWER = "Send from one of its handlers, or send it an event that it answers."


class Chat(AsyncWebsocketConsumer):
    groups = ["lobby", "staff"]

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.send("one")
        await self.send("two")

    async def flooded(self, event: object) -> None:
        layer: Any = get_channel_layer()
        for _ in range(layer.capacity):
            await layer.send(self.channel_name, {"type": "ignored"})
        await self.pause()

    async def pause(self) -> None:
        await self.channel_layer.receive("nobody.sends")  # pauses


async def converse() -> str:
    communicator = RecordingWebsocketCommunicator(Chat.as_asgi(), "/ws/")
    await communicator.connect()
    await communicator.send_to("a")
    for text in ("one", "two"):
        assert await communicator.receive_from() == text
    return await message(communicator.receive_from(0.2))


def test_all_frames_have_been_read_and_the_groups() -> None:
    assert run(converse()) == timed_out(
        "receive_from",
        f"{HANDLED}It is in the groups lobby, staff: a message to another does not"
        " reach it.\nIt has sent 2 data frames, and the test has received all."
        f" {ANSWER}",
    )


async def flood() -> str:
    communicator = RecordingWebsocketCommunicator(Chat.as_asgi(), "/ws/")
    await communicator.connect()
    layer: Any = get_channel_layer()
    await layer.group_send("lobby", {"type": "flooded"})
    text = await message(communicator.receive_from(0.2))
    await layer.flush()
    return text


def test_its_channel_is_full() -> None:
    text = run(flood())
    assert "\nIts channel is full: it misses what is sent to its groups.\n" in text


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ([], "missing"),
        ([(b"origin", b"http://example.org:80")], "http://example.org:80"),
    ],
)
def test_an_origin_is_refused(headers: Any, origin: str) -> None:
    async def refuse() -> str:
        application = OriginValidator(Chat.as_asgi(), ["example.com", "localhost"])
        communicator = RecordingWebsocketCommunicator(
            application, "/ws/", headers=headers
        )
        assert await communicator.connect() == (False, 1000)
        assert lines_of(communicator.transcript)[-1] == refusal
        return await message(communicator.receive_from(0.2))

    allowed = "example.com, localhost"
    refusal = f"the origin header is {origin}, and OriginValidator allows {allowed}"
    assert run(refuse()) == timed_out(
        "receive_from",
        f"the application was not called: {refusal}\n"
        'Pass headers=[(b"origin", ...)] to the communicator.',
    )


@override_settings(CHANNEL_LAYERS={})
def test_an_origin_is_allowed_and_there_is_no_channel_layer() -> None:
    async def converse() -> str:
        application = OriginValidator(AsyncWebsocketConsumer.as_asgi(), ["*"])
        communicator = RecordingWebsocketCommunicator(application, "/ws/")
        await communicator.connect()
        return await message(communicator.receive_from(0.2))

    assert run(converse()) == timed_out("receive_from", f"{HANDLED}{ANSWER}")

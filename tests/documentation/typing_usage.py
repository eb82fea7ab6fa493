"""What type checkers report to users. Only mypy and pyright read this file."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

import asyncio
from typing import Any

from channels.testing import WebsocketCommunicator
from typing_extensions import assert_type

from channels_closetest import (
    ClientView,
    DenialResponse,
    Record,
    RecordingWebsocketCommunicator,
    Transcript,
    Undeliverable,
    UndeliverableWarning,
)
from tests.scripts import application


class Strict(RecordingWebsocketCommunicator):
    servers = ("uvicorn", "hypercorn", "daphne")
    strict = True
    timeout_factor = 2.5


class Unknown(RecordingWebsocketCommunicator):
    servers = ["nginx"]  # type: ignore[list-item]


class Override(RecordingWebsocketCommunicator):
    async def receive_from(self, timeout: float = 1) -> str | bytes:
        return await super().receive_from(timeout)

    async def receive_json_from(self, timeout: float = 1) -> Any:
        return await super().receive_json_from(timeout)


def is_the_parent(communicator: RecordingWebsocketCommunicator) -> None:
    parent: WebsocketCommunicator = communicator
    del parent
    Strict(application, "/", [(b"origin", b"http://example.org")], ["chat"], 2)
    Strict(application=application, path="/", headers=None, subprotocols=None)


def scope(communicator: RecordingWebsocketCommunicator, user: object) -> None:
    communicator.scope["user"] = user
    communicator.scope["url_route"] = {"args": (), "kwargs": {"room": "lobby"}}
    communicator.scope["extensions"] = {"websocket.http.response": {}}
    communicator.servers = ["uvicorn"]


async def calls(communicator: RecordingWebsocketCommunicator) -> None:
    assert_type(await communicator.connect(), tuple[bool, int | str | None])
    assert_type(await communicator.connect(timeout=None), tuple[bool, int | str | None])
    assert_type(await communicator.wait_closed(0.5), int)
    assert_type(
        await communicator.receive_until(lambda payload: payload == 1), list[Any]
    )
    assert_type(await communicator.receive_until(bool, timeout=None), list[Any])
    await communicator.wait_idle(timeout=None)
    assert_type(await communicator.receive_all(), list[Any])
    assert_type(await communicator.receive_output(1), dict[str, Any])
    assert_type(await communicator.receive_from(timeout=1), str | bytes)
    assert_type(await communicator.receive_json_from(), Any)
    assert_type(await communicator.receive_nothing(0.1, interval=0.01), bool)
    await communicator.send_input({"type": "websocket.connect"})
    await communicator.send_to(text_data="hello")
    await communicator.send_json_to({"type": "hello"})
    await communicator.send_json_to(["hello"])
    await communicator.disconnect(1001, timeout=1)
    await communicator.wait(timeout=1)
    communicator.stop(exceptions=False)
    async with Strict(application, "/") as strict:
        assert_type(strict, Strict)


def values(communicator: RecordingWebsocketCommunicator) -> None:
    assert_type(communicator.pre_close_messages, list[Any])
    assert_type(communicator.close_code, int | None)
    assert_type(communicator.close_reason, str | None)
    assert_type(communicator.denial_response, DenialResponse | None)
    assert_type(communicator.client_view, ClientView)
    assert_type(communicator.undeliverable, list[Undeliverable])
    assert_type(communicator.transcript, Transcript)
    assert_type(communicator.response_headers, list[tuple[bytes, bytes]] | None)
    assert_type(communicator.future, asyncio.Task[Any])


def records(
    transcript: Transcript, record: Record, warning: UndeliverableWarning
) -> None:
    assert_type(transcript.records, tuple[Record, ...])
    assert_type(record.event, Any)
    direction: str = record.direction
    category: type[Warning] = type(warning)
    del direction, category

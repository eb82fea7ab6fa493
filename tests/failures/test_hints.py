"""What the transcript says that the test has forgotten, where an application raises."""

import json
import traceback
from typing import Any

import pytest
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.testing import WebsocketCommunicator
from django.test import override_settings
from django.urls import path

from channels_closetest import RecordingWebsocketCommunicator
from tests.failures.texts import lines_of
from tests.helpers import failure, line_of, only_note
from tests.hostile import HOSTILE
from tests.virtual_time import run

HERE = "tests/failures/test_hints.py"
#: Each key that something adds to the scope: what does, and a value for a test.
KEYS = {
    "user": ("AuthMiddlewareStack", "user"),
    "session": ("SessionMiddlewareStack", "session"),
    "cookies": ("CookieMiddleware", "{}"),
    "url_route": ("URLRouter", '{"args": (), "kwargs": {}}'),
}


def read(consumer: Any, key: str) -> None:
    consumer.scope[key]  # reads


class WithKey:
    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key


class Reading(WithKey, AsyncWebsocketConsumer):
    async def connect(self) -> None:
        read(self, self.key)


class SyncReading(WithKey, WebsocketConsumer):
    def connect(self) -> None:
        read(self, self.key)


async def crash(application: Any, **scope: object) -> tuple[BaseException, list[str]]:
    """Return what it raises, and the transcript from there on."""
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    communicator.scope.update(scope)
    error = await failure(communicator.connect())
    before, *shown = lines_of(only_note(error))
    assert before == "-> connect"
    return error, shown


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("consumer", [Reading, SyncReading])
async def test_a_key_error_says_what_adds_the_key_to_the_scope(
    key: str, consumer: Any
) -> None:
    error, shown = await crash(consumer.as_asgi(key=key))
    assert type(error) is KeyError and error.args == (key,)
    source, value = KEYS[key]
    line = line_of("consumer.scope[key]  # reads", __file__)
    assert shown == [
        f"the application raised KeyError: {key!r}, {HERE}:{line}",
        f"the scope has no {key!r}, which {source} adds: use that, or set"
        f' communicator.scope["{key}"] = {value}',
    ]


async def test_a_key_of_the_projects_own_may_be_set_in_the_scope() -> None:
    error, shown = await crash(Reading.as_asgi(key="tenant"))
    assert type(error) is KeyError
    assert shown[1] == (
        "the scope has no 'tenant': set communicator.scope[\"tenant\"] = ..."
    )


class Raising(AsyncWebsocketConsumer):
    """Raises the exception that is in its scope."""

    async def connect(self) -> None:
        scope: Any = self.scope
        error = scope["error"]
        raise error  # raises


@pytest.mark.parametrize(
    ("error", "keys"),
    [
        (KeyError("user"), {"user": None}),
        (KeyError("url_route"), {"url_route": {}}),
        (KeyError("room"), {}),
        (KeyError("path"), {}),
        (KeyError(), {}),
        (KeyError(1), {}),
        (KeyError(["user"]), {}),
        (LookupError("user"), {}),
        (ValueError("user"), {}),
        (ValueError("No route found"), {}),
        (TypeError("user"), {}),
    ],
    ids=repr,
)
async def test_another_error_gets_no_hint(
    error: Exception, keys: dict[str, object]
) -> None:
    raised, shown = await crash(Raising.as_asgi(), error=error, **keys)
    assert raised is error
    as_in_traceback = traceback.format_exception_only(error)[0].strip()
    line = line_of("raise error  # raises", __file__)
    assert shown == [f"the application raised {as_in_traceback}, {HERE}:{line}"]


class InRoom(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.scope["url_route"]["kwargs"]["room"]


async def test_a_key_of_a_mapping_in_the_scope_gets_no_hint() -> None:
    raised, shown = await crash(InRoom.as_asgi(), url_route={"kwargs": {}})
    assert type(raised) is KeyError and raised.args == ("room",)
    assert len(shown) == 1


async def test_a_key_that_cannot_be_compared_gets_no_hint() -> None:
    raised, shown = await crash(Raising.as_asgi(), error=KeyError(HOSTILE))
    assert type(raised) is KeyError and raised.args == (HOSTILE,)
    assert len(shown) == 1 and shown[0].startswith("the application raised KeyError")


class TypeErrors:
    def __init__(self, scope: object) -> None:
        raise TypeError("its own")


class InGroup(AsyncWebsocketConsumer):
    groups = ["group"]


class Grouped(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.channel_layer.group_add("group", self.channel_name)


async def adding(scope: Any, receive: Any, send: Any) -> None:
    """Adds a key to the scope of another application, as middleware does."""
    inner: Any = {**scope, "user": None, "error": KeyError("user")}
    await Raising.as_asgi()(inner, receive, send)


IS_A_CLASS = [
    "RoomConsumer is a class, not an application: pass RoomConsumer.as_asgi()"
]
NO_LAYER = ["there is no channel layer: set CHANNEL_LAYERS in the settings"]
ROOMS: dict[str, Any] = {
    base.__name__: type("RoomConsumer", (base,), {})
    for base in (AsyncWebsocketConsumer, WebsocketConsumer, AsyncConsumer, SyncConsumer)
}
APPLICATIONS: dict[str, tuple[Any, list[str]]] = {
    **{name: (room, IS_A_CLASS) for name, room in ROOMS.items()},
    **{
        f"{name} behind a router": (URLRouter([path("ws/", room)]), IS_A_CLASS)
        for name, room in ROOMS.items()
    },
    "another class": (TypeErrors, []),
    "a group without a layer": (Grouped.as_asgi(), NO_LAYER),
    "groups without a layer": (InGroup.as_asgi(), NO_LAYER),
    "a key that middleware has added": (adding, []),
}


@pytest.mark.parametrize("name", APPLICATIONS)
@override_settings(CHANNEL_LAYERS={})
def test_what_is_wrong_with_the_application_is_a_hint(name: str) -> None:
    application, hint = APPLICATIONS[name]
    expected = run(failure(WebsocketCommunicator(application, "/ws/").connect()))
    error, shown = run(crash(application))
    assert (type(error), str(error)) == (type(expected), str(expected))
    assert shown[0].startswith("the application raised ")
    assert shown[1:] == hint


class Decoding(AsyncJsonWebsocketConsumer):
    async def receive(
        self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any
    ) -> None:
        if text_data == "answer":
            await self.send("no JSON")
        else:
            await super().receive(text_data)


@pytest.mark.parametrize(
    ("sent", "hint"),
    [
        ("{", "the test has sent text that is not JSON: {"),
        ("answer", "the application has sent text that is not JSON: no JSON"),
    ],
)
async def test_who_has_sent_what_cannot_be_decoded(sent: str, hint: str) -> None:
    communicator = RecordingWebsocketCommunicator(Decoding.as_asgi(), "/ws/")
    await communicator.connect()
    await communicator.send_to(sent)
    error = await failure(communicator.receive_json_from())
    assert type(error) is json.JSONDecodeError
    assert lines_of(only_note(error))[-1] == hint
    communicator.stop(exceptions=False)


async def test_the_routes_where_none_matches_the_path() -> None:
    consumer: Any = Reading.as_asgi()
    router = URLRouter([path("chat/<slug:room>/", consumer)])
    error, shown = await crash(ProtocolTypeRouter({"websocket": router}))
    assert str(error) == "No route found for path 'ws/'."
    assert shown[1] == "the routes are: chat/<slug:room>/"

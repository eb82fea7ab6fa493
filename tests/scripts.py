"""Applications that perform a script, for the tests and for real servers."""

import pickle
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal, NamedTuple
from zlib import compress, decompress

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
    WebSocketScope,
)
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter

Kind = Literal["asgi", "async", "sync"]


class Boom(ValueError):
    """What a script with the ending "raise" raises."""


class Script(NamedTuple):
    """
    ASGI events, sent unchanged as soon as ``websocket.connect`` is received, and
    what the application does then: wait for ``websocket.disconnect``, return or
    raise.
    """

    events: tuple[object, ...]
    ending: Literal["wait", "return", "raise"] = "wait"

    def end(self) -> None:
        if self.ending == "raise":
            raise Boom("boom")
        if self.ending == "return":
            raise StopConsumer


def scripted(script: Script, kind: Kind) -> ASGI3Application:
    if kind == "async":
        return AsyncScripted.as_asgi(script=script)
    if kind == "sync":
        return SyncScripted.as_asgi(script=script)

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        await receive()
        for event in script.events:
            await send(event)  # type: ignore[arg-type]
        try:
            script.end()
        except StopConsumer:
            return
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return application


# The send() of the generic consumers takes text or bytes. That of their base classes
# takes an event, and scripts also have events that ASGI's types do not allow.


class AsyncScripted(AsyncWebsocketConsumer):
    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script

    async def connect(self) -> None:
        for event in self.script.events:
            await AsyncConsumer.send(self, event)  # type: ignore[arg-type]
        self.script.end()


class SyncScripted(WebsocketConsumer):
    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script

    def connect(self) -> None:
        for event in self.script.events:
            SyncConsumer.send(self, event)  # type: ignore[arg-type]
        self.script.end()


def to_query_string(script: Script, kind: Kind) -> str:
    """
    Return the query string that makes ``application`` perform a script.

    It is a pickle, because a script holds what no other format preserves: lone
    surrogates, a ``bytearray``, a dict in place of text. Unpickling runs code, but the
    only client here is our own test, on loopback. It is compressed, because servers
    reject a URL over 8 KiB, and scripts hold thousands of equal frames.
    """
    return urlsafe_b64encode(compress(pickle.dumps((script, kind)))).decode()


async def perform(
    scope: WebSocketScope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    order: tuple[Script, Kind] = pickle.loads(
        decompress(urlsafe_b64decode(scope["query_string"]))
    )
    await scripted(*order)(scope, receive, send)


application = ProtocolTypeRouter({"websocket": perform})

"""Applications that perform a script, for the tests and for real servers."""

import asyncio
import copyreg
import pickle
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple
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

#: "tasks" is an async consumer that sends each event from a task of its own, and "task"
#: one that sends all of them from one task.
Kind = Literal["asgi", "async", "sync", "tasks", "task"]

# A memoryview refuses to be pickled.
copyreg.pickle(memoryview, lambda view: (memoryview, (bytes(view),)))


class Boom(ValueError):
    """What a script with the ending "raise" raises."""


class Script(NamedTuple):
    """
    ASGI events, sent unchanged as soon as ``websocket.connect`` is received, and
    what the application does then: wait for ``websocket.disconnect``, return, raise, or
    let a ``CancelledError`` out although nobody has cancelled it.
    """

    events: tuple[object, ...]
    ending: Literal["wait", "return", "raise", "cancel"] = "wait"
    #: What tasks of the application send after it has ended, and how many seconds
    #: later: Daphne notices within one second.
    late: tuple[object, ...] = ()
    late_pause: float = 1.5

    def end(self) -> None:
        if self.ending == "raise":
            raise Boom("boom")
        if self.ending == "return":
            raise StopConsumer
        if self.ending == "cancel":
            raise asyncio.CancelledError


def scripted(script: Script, kind: Kind) -> ASGI3Application:
    consumers = {
        "async": AsyncScripted,
        "sync": SyncScripted,
        "tasks": TasksScripted,
        "task": TaskScripted,
    }
    if kind in consumers:
        return consumers[kind].as_asgi(script=script)

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


class TasksScripted(AsyncWebsocketConsumer):
    """Sends each event from a task of its own, one after the other."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.ended = asyncio.Event()
        # The event loop holds no task that is waiting for an event.
        self.tasks: list[asyncio.Task[None]] = []

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:
            self.ended.set()

    async def connect(self) -> None:
        for event in self.script.late:
            self.tasks.append(asyncio.create_task(self.perform_late(event)))
        for event in self.script.events:
            await self.start(event)
        self.script.end()

    async def start(self, *events: object) -> None:
        """Send events from one task, and return when it has ended."""
        done = asyncio.Event()
        self.tasks.append(asyncio.create_task(self.perform(events, done)))
        # Not the task, because awaiting it would raise here what it raises.
        await done.wait()

    async def perform(self, events: Sequence[object], done: asyncio.Event) -> None:
        try:
            for event in events:
                await AsyncConsumer.send(self, event)  # type: ignore[arg-type]
        finally:
            done.set()

    async def perform_late(self, event: object) -> None:
        await self.ended.wait()
        await asyncio.sleep(self.script.late_pause)
        await AsyncConsumer.send(self, event)  # type: ignore[arg-type]


class TaskScripted(TasksScripted):
    """Sends all events from one task, which ends with the first that fails."""

    async def connect(self) -> None:
        await self.start(*self.script.events)
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

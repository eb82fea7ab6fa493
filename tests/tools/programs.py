"""The applications of the programs of ``tests.tools.driver``.

A program is a sequence of steps, which are tuples of plain values.
"""

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import anyio
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

Step = tuple[Any, ...]
Program = Sequence[Step]
#: The place of a step in its program.
Key = tuple[int, ...]


class Boom(Exception):
    """What applications raise."""


class Actor:
    """An application that performs steps.

    Of a consumer, ``connect()`` performs those before ``("echo",)``, and
    ``disconnect()`` those behind.
    """

    def __init__(
        self, log: Callable[..., None], name: int, kind: str, steps: Any
    ) -> None:
        self.log, self.name, self.kind = log, f"app {name}", kind
        end = steps.index(("echo",)) if ("echo",) in steps else len(steps)
        self.steps, self.farewell = steps[:end], steps[end:]
        #: The tasks that it has started and not awaited.
        self.tasks: weakref.WeakSet[asyncio.Task[None]] = weakref.WeakSet()
        #: The calls in progress, and those that were when the test disconnected.
        self.calls: dict[Key, str] = {}
        self.patient_calls: set[Key] = set()

    def effect(self, *what: object) -> None:
        self.log(self.name, what)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.effect("starts", " ".join(sorted(scope)))
        application: Any = self.asgi
        if self.kind == "async":
            application = Speaking.as_asgi(actor=self)
        try:
            await application(scope, receive, send)
        except BaseException as error:
            self.effect("raises", type(error).__name__)
            raise
        self.effect("returns")

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        await self.play([*self.steps, *self.farewell], send, receive)

    def events(self, *steps: Step) -> Iterator[Any]:
        """Perform steps that do not wait, and yield the events to send."""
        for step in steps:
            match step:
                case ("accept" | "send" | "close" as name, *keys):
                    values = dict(zip(keys[::2], keys[1::2]))
                    yield {"type": f"websocket.{name}", **values}
                case ("no event", value):
                    yield value
                case ("raise", text):
                    raise Boom(text)
                case ("cancelled",):
                    raise asyncio.CancelledError
            self.effect(*step)

    def say_soon(self, step: Step, send: Any) -> None:
        for event in self.events(step):
            with contextlib.suppress(StopIteration):
                send(event).send(None)

    def answer(self, event: Any) -> Any:
        self.effect("answers", event)
        return {**event, "type": "websocket.send"}

    async def play(self, steps: Iterable[Step], send: Any, receive: Any = None) -> None:
        def play(inner: Iterable[Step]) -> Any:
            return self.play(inner, send, receive)

        for step in steps:
            match step:
                case ("receive",):
                    self.effect("received", await receive())
                case ("echo",) if receive:
                    while (event := await receive())["type"] != "websocket.disconnect":
                        await send(self.answer(event))
                    self.effect("disconnected", event)
                case ("sleep", seconds):
                    await asyncio.sleep(seconds)
                case ("spawn", *inner):
                    self.tasks.add(asyncio.create_task(play(inner)))
                case ("soon", inner):
                    asyncio.get_running_loop().call_soon(self.say_soon, inner, send)
                case ("gather", *inner):
                    await asyncio.gather(*(play([it]) for it in inner))
                case ("wait_for", seconds, *inner):
                    await asyncio.wait_for(play(inner), seconds)
                case ("anyio", *inner):
                    with anyio.move_on_after(50):
                        # One task, because anyio cancels tasks in no certain order.
                        async with anyio.create_task_group() as group:
                            group.start_soon(play, inner)
                case ("thread",):
                    await sync_to_async(self.effect)("thread")
                case ("suppress", *inner):
                    try:
                        await play(inner)
                    except asyncio.CancelledError:
                        self.effect("suppresses")
                case ("finally", last, *inner):
                    try:
                        await play(inner)
                    finally:
                        await play([last])
                case _:
                    for event in self.events(step):
                        await send(event)


class Speaking(AsyncWebsocketConsumer):
    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.actor = actor

    async def connect(self) -> None:
        await self.actor.play(self.actor.steps, self.base_send)

    async def websocket_receive(self, message: Any) -> None:
        await self.base_send(self.actor.answer(message))

    async def disconnect(self, code: int) -> None:
        self.actor.effect("disconnected", code)
        await self.actor.play(self.actor.farewell, self.base_send)

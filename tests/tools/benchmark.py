"""
How fast the communicator is beside the one of Channels::

    python -m tests.tools.benchmark
    python -m tests.tools.benchmark --quick

Both run in one process, in turns, with garbage collection held while the clock runs.
The ratio is the median of those of all turns. Nothing here passes or fails: where the
ratio is above what it is meant to be, look at it twice, on a quiet machine.
"""

import argparse
import asyncio
import gc
import os
import platform
import time
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

import django
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning
from tests.scripts import Boom, Script, scripted

Drive = Callable[[WebsocketCommunicator], Awaitable[object]]

FRAME = {"type": "websocket.send", "text": '{"type": "notice", "number": 1}'}
CLOSE = {"type": "websocket.close", "code": 4401}
#: Seconds that the parent waits in vain for an application that has ended.
SHORT_TIMEOUT = 0.1


class Side(NamedTuple):
    """What one side of a comparison does, ``times`` times in a turn."""

    communicator_class: type[WebsocketCommunicator]
    application: ASGI3Application
    drive: Drive
    times: int

    async def run(self) -> float:
        """Seconds that a turn takes."""
        communicator_class, application, drive, times = self
        gc.collect()
        gc.disable()
        start = time.perf_counter()
        for _ in range(times):
            await drive(communicator_class(application, "/"))
        seconds = time.perf_counter() - start
        gc.enable()
        return seconds


class Comparison(NamedTuple):
    name: str
    at_most: float
    parent: Side
    ours: Side
    #: By what to divide the time of a turn, to have that of one of what is named.
    divisor: int

    async def run(self, turns: int) -> str:
        parents: list[float] = []
        ours: list[float] = []
        for turn in range(turns + 1):
            both = [(self.parent, parents), (self.ours, ours)]
            for side, seconds in both if turn % 2 else reversed(both):
                seconds.append(await side.run())
        # The first turn is for warming up.
        ratio = median(our / parent for our, parent in zip(ours[1:], parents[1:]))
        parent_time, our_time = (
            median(seconds[1:]) / self.divisor * 1e6 for seconds in (parents, ours)
        )
        verdict = "" if ratio <= self.at_most else "  <- above"
        return (
            f"{self.name:<40}{parent_time:>12.1f}{our_time:>12.1f}"
            f"{ratio:>9.4f}{self.at_most:>9.2f}{verdict}"
        )


def compare(
    name: str,
    at_most: float,
    application: ASGI3Application,
    drive: Drive,
    times: int,
    parent_drive: Drive | None = None,
) -> Comparison:
    """The same for both classes, as often as ``times`` in a turn."""
    return Comparison(
        name,
        at_most,
        Side(WebsocketCommunicator, application, parent_drive or drive, times),
        Side(RecordingWebsocketCommunicator, application, drive, times),
        times,
    )


async def answering(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    """Answers a text with as many frames as it says."""
    while True:
        event = await receive()
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        elif event["type"] == "websocket.receive":
            for _ in range(int(event["text"] or 0)):
                await send(FRAME)  # type: ignore[arg-type]
        else:
            return


class AsyncEcho(AsyncWebsocketConsumer):
    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        await self.send(text_data, bytes_data)


class SyncEcho(WebsocketConsumer):
    def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        self.send(text_data, bytes_data)


async def connect_and_disconnect(communicator: WebsocketCommunicator) -> None:
    await communicator.connect()
    await communicator.disconnect()


async def connect_in_vain(communicator: WebsocketCommunicator) -> None:
    with suppress(Boom, asyncio.TimeoutError):
        await communicator.connect(timeout=SHORT_TIMEOUT)


def exchange(*numbers: int) -> Drive:
    """Ask for so many frames at a time, and receive them."""

    async def drive(communicator: WebsocketCommunicator) -> None:
        await communicator.connect()
        for number in numbers:
            await communicator.send_to(text_data=str(number))
            for _ in range(number):
                await communicator.receive_from()
        await communicator.disconnect()

    return drive


async def connect(communicator: WebsocketCommunicator) -> None:
    await communicator.connect()


async def connect_event_by_event(communicator: WebsocketCommunicator) -> None:
    """What the parent needs in place of ``connect()``: a frame makes that fail."""
    await communicator.send_input({"type": "websocket.connect"})
    while (await communicator.receive_output())["type"] != "websocket.close":
        pass


def flood(frames: int) -> ASGI3Application:
    return scripted(Script((*[FRAME] * frames, CLOSE), "return"), "asgi")


def comparisons() -> list[Comparison]:
    return [
        compare(
            "accept and disconnect", 0.85, answering, connect_and_disconnect, times=100
        ),
        compare("rejection", 0.85, flood(0), connect, times=100),
        compare("20 echoes", 0.75, answering, exchange(*[1] * 20), times=10),
        compare("burst of 500 frames", 0.4, answering, exchange(500), times=1),
        compare(
            "async Channels consumer, 1 echo",
            1.0,
            AsyncEcho.as_asgi(),
            exchange(1),
            times=20,
        ),
        compare(
            "sync Channels consumer, 1 echo",
            1.0,
            SyncEcho.as_asgi(),
            exchange(1),
            times=10,
        ),
        *(
            compare(
                f"flood of {frames:,} frames before close",
                1.0,
                flood(frames),
                connect,
                times=1,
                parent_drive=connect_event_by_event,
            )
            for frames in (2_000, 20_000)
        ),
        Comparison(
            "a frame of 20,000 beside one of 2,000 *",
            1.1,
            Side(RecordingWebsocketCommunicator, flood(2_000), connect, 10),
            Side(RecordingWebsocketCommunicator, flood(20_000), connect, 1),
            20_000,
        ),
        *(
            compare(
                f"{name} in connect() **",
                0.01,
                scripted(script, "asgi"),
                connect_in_vain,
                times=1,
            )
            for name, script in (
                ("crash", Script((), "raise")),
                ("silent return", Script((), "return")),
            )
        ),
    ]


async def main(turns: int) -> None:
    versions = (f"{name} {version(name)}" for name in ("channels", "asgiref"))
    print(f"Python {platform.python_version()}, {', '.join(versions)}")
    print(f"{'microseconds':<40}{'parent':>12}{'ours':>12}{'ratio':>9}{'at most':>9}")
    for comparison in comparisons():
        print(await comparison.run(turns), flush=True)
    print("*  Both ours: of 10 times 2,000 frames, and of 20,000 frames at once.")
    print(f"** With a timeout of {SHORT_TIMEOUT} s, which the parent sits out.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    parser.add_argument("--quick", action="store_true", help="5 turns instead of 51")
    quick: bool = parser.parse_args().quick
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    warnings.simplefilter("ignore", UndeliverableWarning)
    asyncio.run(main(turns=5 if quick else 51))

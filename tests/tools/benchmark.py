"""
Compare the speed of the communicator with that of its parent in Channels::

    python -m tests.tools.benchmark
    python -m tests.tools.benchmark --quick

Both run in one process, in turns, and garbage is collected between turns only. A ratio
is the median over all turns. The floor, also a ratio to the parent, is the application
as a bare task with two queues: no communicator can be faster. No row passes or fails:
if a ratio is above its limit, repeat the measurement on a quiet machine.
"""

import argparse
import asyncio
import gc
import os
import platform
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from importlib.metadata import version
from statistics import median
from typing import Any, NamedTuple

import django
from asgiref.typing import ASGI3Application
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning
from tests.events import ACCEPT, CLOSE, CONNECT, DISCONNECT, JSON_FRAME, send
from tests.scripts import Boom, Script, scripted

#: What a turn does with a communicator, which is of one of three classes.
Drive = Callable[[Any], Awaitable[object]]

#: Seconds that the parent waits for an application that has already ended.
SHORT_TIMEOUT = 0.1


class Bare:
    """The floor: an application and two queues, without timeouts, checks or records."""

    def __init__(self, application: ASGI3Application, path: str) -> None:
        self.input_queue: asyncio.Queue[Any] = asyncio.Queue()
        self.output_queue: asyncio.Queue[Any] = asyncio.Queue()
        scope: Any = {"type": "websocket", "path": path, "headers": []}
        self.future = asyncio.ensure_future(
            application(scope, self.input_queue.get, self.output_queue.put)
        )

    async def connect(self) -> None:
        self.input_queue.put_nowait(CONNECT)
        while (await self.output_queue.get())["type"] == "websocket.send":
            pass

    async def send_to(self, text_data: str) -> None:
        self.input_queue.put_nowait({"type": "websocket.receive", "text": text_data})

    async def receive_from(self) -> Any:
        event = await self.output_queue.get()
        assert event["type"] == "websocket.send"
        return event["text"]

    async def disconnect(self) -> None:
        self.input_queue.put_nowait(DISCONNECT)
        await self.future


class Side(NamedTuple):
    """What one side of a comparison does, ``times`` times in a turn."""

    communicator_class: Callable[[ASGI3Application, str], Any]
    application: ASGI3Application
    drive: Drive
    times: int
    #: What to do with each communicator before the clock starts.
    prepare: Drive | None = None

    async def run(self) -> float:
        """Return the seconds that a turn takes."""
        communicators: Iterable[Any] = (
            self.communicator_class(self.application, "/") for _ in range(self.times)
        )
        if self.prepare is not None:
            communicators = list(communicators)
            for communicator in communicators:
                await self.prepare(communicator)
        gc.collect()
        gc.disable()
        start = time.perf_counter()
        for communicator in communicators:
            await self.drive(communicator)
        seconds = time.perf_counter() - start
        gc.enable()
        return seconds


class Comparison(NamedTuple):
    name: str
    #: The largest ratio that the row should have, if it has a limit.
    at_most: float | None
    parent: Side
    ours: Side
    #: Divides the time of a turn, to print the time of one item that the name names.
    divisor: int
    floor: Side | None = None

    async def run(self, turns: int) -> str:
        """Return the row of the table."""
        sides = [side for side in (self.parent, self.ours, self.floor) if side]
        seconds: list[list[float]] = [[] for _ in sides]
        for turn in range(turns + 1):
            order = list(zip(sides, seconds))
            for side, of_side in order if turn % 2 else reversed(order):
                of_side.append(await side.run())
        # The first turn is for warming up.
        parent, *others = (of_side[1:] for of_side in seconds)
        ratio, *floor = (median(o / p for o, p in zip(o_s, parent)) for o_s in others)
        parent_time, our_time = (
            median(of_side) / self.divisor * 1e6 for of_side in (parent, others[0])
        )
        above = self.at_most is not None and ratio > self.at_most
        return (
            f"{self.name:<40}{parent_time:>12.1f}{our_time:>12.1f}{ratio:>9.4f}"
            + (f"{floor[0]:>9.4f}" if floor else f"{'-':>9}")
            + f"{'-' if self.at_most is None else format(self.at_most, '.2f'):>9}"
            + ("  <- above" if above else "")
        )


def compare(
    name: str,
    at_most: float | None,
    application: ASGI3Application,
    drive: Drive,
    times: int,
    parent_drive: Drive | None = None,
    has_floor: bool = True,
) -> Comparison:
    """Return the comparison of the same drive, ``times`` times in a turn."""
    return Comparison(
        name,
        at_most,
        Side(WebsocketCommunicator, application, parent_drive or drive, times),
        Side(RecordingWebsocketCommunicator, application, drive, times),
        times,
        Side(Bare, application, drive, times) if has_floor else None,
    )


# Applications.


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Answer a frame with as many frames as the number in its text."""
    while (event := await receive())["type"] != "websocket.disconnect":
        if event["type"] == "websocket.connect":
            await send(ACCEPT)
        else:
            for _ in range(int(event["text"])):
                await send(JSON_FRAME)


class AsyncEcho(AsyncWebsocketConsumer):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.send(text_data, bytes_data)


class SyncEcho(WebsocketConsumer):
    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        self.send(text_data, bytes_data)


def sending(*events: object) -> ASGI3Application:
    return scripted(Script(events, "return"), "asgi")


def flood(frames: int) -> ASGI3Application:
    return sending(*[JSON_FRAME] * frames, CLOSE)


# Drives. One that takes only a WebsocketCommunicator is for rows without a floor.


async def connect(communicator: WebsocketCommunicator | Bare) -> None:
    await communicator.connect()


async def connect_and_fail(communicator: WebsocketCommunicator) -> None:
    with suppress(Boom, TimeoutError):
        await communicator.connect(timeout=SHORT_TIMEOUT)


async def connect_event_by_event(communicator: WebsocketCommunicator) -> None:
    """Replace ``connect()`` on the parent, where it fails on data frames."""
    await communicator.send_input(CONNECT)
    while (await communicator.receive_output())["type"] != "websocket.close":
        pass


def exchange(*numbers: int) -> Drive:
    """Return a drive that requests so many frames at a time, and receives them."""

    async def drive(communicator: WebsocketCommunicator | Bare) -> None:
        await communicator.connect()
        for number in numbers:
            await communicator.send_to(text_data=str(number))
            for _ in range(number):
                await communicator.receive_from()
        await communicator.disconnect()

    return drive


async def expect_assertion_error(communicator: WebsocketCommunicator | Bare) -> None:
    await communicator.connect()
    with suppress(AssertionError):
        await communicator.receive_from()


async def connect_strict(communicator: RecordingWebsocketCommunicator) -> None:
    """Have all findings reported by one call, so that later calls find nothing new."""
    communicator.strict = True
    with suppress(AssertionError):
        await communicator.connect()


#: Calls that find nothing new, in one turn.
STRICT_CALLS = 100


async def receive_strict(communicator: RecordingWebsocketCommunicator) -> None:
    for _ in range(STRICT_CALLS):
        await communicator.receive_from()


def strict_side(findings: int) -> Side:
    application = sending(ACCEPT, *[send(text="")] * findings)
    ours = RecordingWebsocketCommunicator
    return Side(ours, application, receive_strict, 1, connect_strict)


def comparisons() -> list[Comparison]:
    ours = RecordingWebsocketCommunicator
    closed, crash = sending(ACCEPT, CLOSE), scripted(Script((), "raise"), "asgi")
    return [
        compare("accept and disconnect", 0.9, answering, exchange(), 100),
        compare("rejection", 1.0, flood(0), connect, 100),
        compare("20 echoes", 0.7, answering, exchange(*[1] * 20), 10),
        compare("burst of 500 frames", 0.45, answering, exchange(500), 1),
        # The parent patches a function around each call, which takes time.
        compare("async consumer, 1 echo", 1.08, AsyncEcho.as_asgi(), exchange(1), 20),
        compare("sync consumer, 1 echo", 1.08, SyncEcho.as_asgi(), exchange(1), 10),
        *(
            compare(
                f"flood of {frames:,} frames before close",
                *(0.45, flood(frames), connect, 1, connect_event_by_event),
            )
            for frames in (2_000, 20_000)
        ),
        Comparison(
            "one frame of 20,000 vs one of 2,000 *",
            1.1,
            Side(ours, flood(2_000), connect, 10),
            Side(ours, flood(20_000), connect, 1),
            20_000,
        ),
        Comparison(
            "strict: 20,000 findings vs 2,500 *",
            *(1.1, strict_side(2_500), strict_side(20_000), STRICT_CALLS),
        ),
        compare(
            "AssertionError after a close", None, closed, expect_assertion_error, 50
        ),
        *(
            compare(name, 0.01, application, connect_and_fail, 1, has_floor=False)
            for name, application in (
                ("crash in connect() **", crash),
                ("silent return in connect() **", sending()),
            )
        ),
    ]


async def main(turns: int) -> None:
    versions = (f"{name} {version(name)}" for name in ("channels", "asgiref"))
    print(f"Python {platform.python_version()}, {', '.join(versions)}")
    clock = time.get_clock_info("perf_counter").implementation
    print(f"{turns} turns, elapsed time by time.perf_counter(), {clock}")
    print(
        f"{'microseconds':<40}{'parent':>12}{'ours':>12}"
        f"{'ratio':>9}{'floor':>9}{'at most':>9}"
    )
    for comparison in comparisons():
        print(await comparison.run(turns), flush=True)
    print(
        "*  Both columns are ours, the smaller number in the parent's column: per frame"
        "\n   in connect(), and per receive_from() that finds nothing new."
        f"\n** With a timeout of {SHORT_TIMEOUT} s. The parent waits until it expires."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    parser.add_argument("--quick", action="store_true", help="5 turns instead of 51")
    quick: bool = parser.parse_args().quick
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    warnings.simplefilter("ignore", UndeliverableWarning)
    asyncio.run(main(turns=5 if quick else 51))

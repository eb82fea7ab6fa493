"""
Compare the speed of the communicator with that of its parent in Channels::

    python -m tests.tools.benchmark
    python -m tests.tools.benchmark --quick

Both run in one process, in turns, and garbage is collected between turns only. A ratio
is the median over all turns. No row passes or fails: if a ratio is above its limit,
repeat the measurement on a quiet machine. That the cost grows linearly is in
``tests/calls/test_cost.py``.
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
from typing import Any, NamedTuple

import django
from asgiref.typing import ASGI3Application
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning
from tests.events import ACCEPT, CLOSE, CONNECT, JSON_FRAME
from tests.scripts import Boom, Script, scripted

#: What a turn does with a communicator.
Drive = Callable[[Any], Awaitable[object]]

#: Seconds that the parent waits for an application that has already ended.
SHORT_TIMEOUT = 0.1


class Comparison(NamedTuple):
    """Drives of the parent and of ours, each ``times`` times in a turn."""

    name: str
    #: The largest ratio that the row should have, if it has a limit.
    at_most: float | None
    application: ASGI3Application
    drive: Drive
    times: int
    #: What differs for the parent.
    parent_drive: Drive | None = None
    #: How many other applications run in the event loop.
    others: int = 0

    async def run_once(self, cls: type[WebsocketCommunicator], drive: Drive) -> float:
        """Return the microseconds that a drive takes."""
        gc.collect()
        gc.disable()
        start = time.perf_counter()
        for _ in range(self.times):
            await drive(cls(self.application, "/"))
        seconds = time.perf_counter() - start
        gc.enable()
        return seconds / self.times * 1e6

    async def run(self, turns: int) -> str:
        """Return the row of the table."""
        sides = [
            (WebsocketCommunicator, self.parent_drive or self.drive),
            (RecordingWebsocketCommunicator, self.drive),
        ]
        others = [
            RecordingWebsocketCommunicator(answering, "/") for _ in range(self.others)
        ]
        for other in others:
            await other.connect()
        times: list[list[float]] = [[], []]
        for turn in range(turns + 1):
            order = list(zip(sides, times))
            for side, of_side in order if turn % 2 else reversed(order):
                of_side.append(await self.run_once(*side))
        for other in others:
            await other.disconnect()
        # The first turn is for warming up.
        parent, ours = (of_side[1:] for of_side in times)
        ratio = median(our / its for our, its in zip(ours, parent))
        above = self.at_most is not None and ratio > self.at_most
        return (
            f"{self.name:<40}{median(parent):>12.1f}{median(ours):>12.1f}{ratio:>9.4f}"
            + f"{'-' if self.at_most is None else format(self.at_most, '.2f'):>9}"
            + ("  <- above" if above else "")
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


# Drives.


async def connect(communicator: WebsocketCommunicator) -> None:
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

    async def drive(communicator: WebsocketCommunicator) -> None:
        await communicator.connect()
        for number in numbers:
            await communicator.send_to(text_data=str(number))
            for _ in range(number):
                await communicator.receive_from()
        await communicator.disconnect()

    return drive


def receive_none(call: str) -> Drive:
    async def drive(communicator: WebsocketCommunicator) -> None:
        await communicator.connect()
        await getattr(communicator, call)()
        await communicator.disconnect()

    return drive


async def expect_assertion_error(communicator: WebsocketCommunicator) -> None:
    await communicator.connect()
    with suppress(AssertionError):
        await communicator.receive_from()


def comparisons() -> list[Comparison]:
    closed, crash = sending(ACCEPT, CLOSE), scripted(Script((), "raise"), "asgi")
    return [
        Comparison("accept and disconnect", 0.9, answering, exchange(), 100),
        Comparison("rejection", 1.0, flood(0), connect, 100),
        Comparison("20 echoes", 0.7, answering, exchange(*[1] * 20), 10),
        Comparison("burst of 500 frames", 0.45, answering, exchange(500), 1),
        # The parent patches a function around each call, which takes time.
        Comparison(
            "async consumer, 1 echo", 1.08, AsyncEcho.as_asgi(), exchange(1), 20
        ),
        Comparison("sync consumer, 1 echo", 1.08, SyncEcho.as_asgi(), exchange(1), 10),
        *(
            Comparison(
                f"flood of {frames:,} frames before close",
                *(0.45, flood(frames), connect, 1, connect_event_by_event),
            )
            for frames in (2_000, 20_000)
        ),
        Comparison(
            "AssertionError after a close", None, closed, expect_assertion_error, 50
        ),
        *(
            Comparison(
                f"receive_all(), {others} other applications **",
                *(0.01, answering, receive_none("receive_all"), 1),
                *(receive_none("receive_nothing"), others),
            )
            for others in (0, 20)
        ),
        *(
            Comparison(name, 0.01, application, connect_and_fail, 1)
            for name, application in (
                ("crash in connect() *", crash),
                ("silent return in connect() *", sending()),
            )
        ),
    ]


async def main(turns: int) -> None:
    versions = (f"{name} {version(name)}" for name in ("channels", "asgiref"))
    print(f"Python {platform.python_version()}, {', '.join(versions)}")
    clock = time.get_clock_info("perf_counter").implementation
    print(f"{turns} turns, elapsed time by time.perf_counter(), {clock}")
    print(
        f"{'microseconds':<40}{'parent':>12}{'ours':>12}" f"{'ratio':>9}{'at most':>9}"
    )
    for comparison in comparisons():
        print(await comparison.run(turns), flush=True)
    print(f"* With a timeout of {SHORT_TIMEOUT} s. The parent waits until it expires.")
    print("** The parent has receive_nothing().")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    parser.add_argument("--quick", action="store_true", help="5 turns instead of 51")
    quick: bool = parser.parse_args().quick
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    warnings.simplefilter("ignore", UndeliverableWarning)
    asyncio.run(main(turns=5 if quick else 51))

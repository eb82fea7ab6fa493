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
import json
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
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator, UndeliverableWarning
from tests.scripts import Boom, Script, scripted

#: What a turn does with a communicator, which is of one of three classes.
Drive = Callable[[Any], Awaitable[object]]

ACCEPT = {"type": "websocket.accept"}
FRAME = {"type": "websocket.send", "text": '{"type": "notice", "number": 1}'}
EMPTY_FRAME = {"type": "websocket.send", "text": ""}
CLOSE = {"type": "websocket.close", "code": 4401}
#: Seconds that the parent waits for an application that has already ended.
SHORT_TIMEOUT = 0.1


class Limits(NamedTuple):
    """The largest ratio to the parent that each row should have, if it has a limit."""

    accept: float
    rejection: float
    echoes: float
    burst: float
    json_burst: float
    consumer: float
    flood: float


#: The parent patches a function around each call, which takes time.
LIMITS = Limits(0.90, 1.00, 0.70, 0.45, 0.60, 1.08, 0.45)


class Bare:
    """The floor: an application and two queues, without timeouts, checks or records."""

    def __init__(self, application: ASGI3Application, path: str) -> None:
        self.input_queue: asyncio.Queue[Any] = asyncio.Queue()
        self.output_queue: asyncio.Queue[Any] = asyncio.Queue()
        scope: Any = {
            "type": "websocket",
            "path": path,
            "query_string": b"",
            "headers": [],
            "subprotocols": [],
        }
        self.future = asyncio.ensure_future(
            application(scope, self.input_queue.get, self.output_queue.put)
        )

    async def connect(self) -> None:
        self.input_queue.put_nowait({"type": "websocket.connect"})
        while (await self.output_queue.get())["type"] == "websocket.send":
            pass

    async def send_to(self, text_data: str) -> None:
        self.input_queue.put_nowait({"type": "websocket.receive", "text": text_data})

    async def send_json_to(self, data: object) -> None:
        await self.send_to(json.dumps(data))

    async def receive_from(self) -> Any:
        event = await self.output_queue.get()
        assert event["type"] == "websocket.send"
        return event["text"]

    async def receive_json_from(self) -> Any:
        return json.loads(await self.receive_from())

    async def disconnect(self) -> None:
        self.input_queue.put_nowait({"type": "websocket.disconnect", "code": 1000})
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
        times = (
            median(of_side) / self.divisor * 1e6 for of_side in (parent, others[0])
        )
        above = self.at_most is not None and ratio > self.at_most
        return (
            f"{self.name:<40}"
            + "".join(f"{microseconds:>12.1f}" for microseconds in times)
            + f"{ratio:>9.4f}"
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


async def answering(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    """Answer a frame with as many frames as the number in its text."""
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


class JsonEcho(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: object, **kwargs: object) -> None:
        await self.send_json(content)


# A drive that takes only a WebsocketCommunicator is for rows without a floor, or for
# one of the sides.


async def connect(communicator: WebsocketCommunicator | Bare) -> None:
    await communicator.connect()


async def connect_and_disconnect(communicator: WebsocketCommunicator | Bare) -> None:
    await communicator.connect()
    await communicator.disconnect()


async def connect_and_fail(communicator: WebsocketCommunicator) -> None:
    with suppress(Boom, TimeoutError):
        await communicator.connect(timeout=SHORT_TIMEOUT)


async def connect_event_by_event(communicator: WebsocketCommunicator) -> None:
    """Replace ``connect()`` on the parent, where it fails on data frames."""
    await communicator.send_input({"type": "websocket.connect"})
    while (await communicator.receive_output())["type"] != "websocket.close":
        pass


def exchange(*numbers: int, as_json: bool = False) -> Drive:
    """Return a drive that requests so many frames at a time, and receives them."""

    async def drive(communicator: WebsocketCommunicator | Bare) -> None:
        await communicator.connect()
        receive = (
            communicator.receive_json_from if as_json else communicator.receive_from
        )
        for number in numbers:
            await communicator.send_to(text_data=str(number))
            for _ in range(number):
                await receive()
        await communicator.disconnect()

    return drive


async def exchange_json(communicator: WebsocketCommunicator | Bare) -> None:
    await communicator.connect()
    await communicator.send_json_to({"type": "notice", "number": 1})
    await communicator.receive_json_from()
    await communicator.disconnect()


async def expect_assertion_error(communicator: WebsocketCommunicator | Bare) -> None:
    await communicator.connect()
    with suppress(AssertionError):
        await communicator.receive_from()


async def expect_timeout_error(communicator: WebsocketCommunicator) -> None:
    await communicator.connect()
    with suppress(TimeoutError):
        await communicator.receive_from(timeout=0)


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


def flood(frames: int) -> ASGI3Application:
    return scripted(Script((*[FRAME] * frames, CLOSE), "return"), "asgi")


def findings(number: int) -> ASGI3Application:
    """Return an application that sends frames that not every server delivers."""
    return scripted(Script((ACCEPT, *[EMPTY_FRAME] * number), "return"), "asgi")


def strict_side(number: int) -> Side:
    return Side(
        RecordingWebsocketCommunicator,
        findings(number),
        receive_strict,
        1,
        connect_strict,
    )


def comparisons() -> list[Comparison]:
    return [
        compare(
            "accept and disconnect",
            LIMITS.accept,
            answering,
            connect_and_disconnect,
            times=100,
        ),
        compare("rejection", LIMITS.rejection, flood(0), connect, times=100),
        compare("20 echoes", LIMITS.echoes, answering, exchange(*[1] * 20), times=10),
        compare("burst of 500 frames", LIMITS.burst, answering, exchange(500), times=1),
        compare(
            "burst of 500 frames, as JSON",
            LIMITS.json_burst,
            answering,
            exchange(500, as_json=True),
            times=1,
        ),
        compare(
            "async Channels consumer, 1 echo",
            LIMITS.consumer,
            AsyncEcho.as_asgi(),
            exchange(1),
            times=20,
        ),
        compare(
            "sync Channels consumer, 1 echo",
            LIMITS.consumer,
            SyncEcho.as_asgi(),
            exchange(1),
            times=10,
        ),
        compare(
            "200 small tests of a JSON consumer",
            None,
            JsonEcho.as_asgi(),
            exchange_json,
            times=200,
        )._replace(divisor=1),
        *(
            compare(
                f"flood of {frames:,} frames before close",
                LIMITS.flood,
                flood(frames),
                connect,
                times=1,
                parent_drive=connect_event_by_event,
            )
            for frames in (2_000, 20_000)
        ),
        Comparison(
            "one frame of 20,000 vs one of 2,000 *",
            1.1,
            Side(RecordingWebsocketCommunicator, flood(2_000), connect, 10),
            Side(RecordingWebsocketCommunicator, flood(20_000), connect, 1),
            20_000,
        ),
        Comparison(
            "strict: 20,000 findings vs 2,500 *",
            1.1,
            strict_side(2_500),
            strict_side(20_000),
            STRICT_CALLS,
        ),
        compare(
            "expected AssertionError, after a close",
            None,
            scripted(Script((ACCEPT, CLOSE), "return"), "asgi"),
            expect_assertion_error,
            times=50,
        ),
        compare(
            "expected TimeoutError, timeout=0",
            None,
            answering,
            expect_timeout_error,
            times=50,
            has_floor=False,
        ),
        *(
            compare(
                f"{name} in connect() **",
                0.01,
                scripted(script, "asgi"),
                connect_and_fail,
                times=1,
                has_floor=False,
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
    )
    print("   in connect(), and per receive_from() that finds nothing new.")
    print(f"** With a timeout of {SHORT_TIMEOUT} s. The parent waits until it expires.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    parser.add_argument("--quick", action="store_true", help="5 turns instead of 51")
    quick: bool = parser.parse_args().quick
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    warnings.simplefilter("ignore", UndeliverableWarning)
    asyncio.run(main(turns=5 if quick else 51))

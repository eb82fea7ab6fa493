"""
Run random programs with the communicator and with its parent, and report differences::

    python -m tests.tools.driver --seed 1 --programs 3000 --loop eager

A program is a sequence of steps, which are tuples of plain values: what a test does,
and in ``("open", name, kind, steps)`` what its application does. It runs with both
classes, in an event loop of ``tests.virtual_time``. What a test can observe is
compared: ``Seen``. What may differ is in ``INTENDED``. For each kind of difference, the
smallest program is printed: ``search()`` runs it again.
"""

import argparse
import asyncio
import contextlib
import gc
import inspect
import itertools
import logging
import math
import os
import pprint
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import AsyncMock, patch

import asgiref.testing
import channels.db
import django
from asgiref.sync import SyncToAsync
from channels.testing import WebsocketCommunicator

from channels_closetest import RecordingWebsocketCommunicator
from tests.tools.grammar import generate, smaller
from tests.tools.programs import Actor, Key, Program, Step
from tests.virtual_time import EAGER, LOOPS, VirtualTime, make_loop


class Entry(NamedTuple):
    """What a test, an application or an event loop has done."""

    seconds: float
    who: str
    what: object
    outcome: str = ""
    #: Of an exception; None if nothing was raised.
    text: str | None = None

    def __str__(self) -> str:
        text = str(self.text or "").split("\n")[0]
        shown = f"{self.who}: {self.what} {self.outcome} {text}".rstrip()
        return f"  {self.seconds:8.3f}  {shown}"


class Seen(NamedTuple):
    """All that a test can observe."""

    #: The effects of applications and the outcomes of calls, in order; then the tasks
    #: that are left and the state of the communicators.
    log: list[Entry]
    #: Warnings, and what asyncio and Python log, after garbage has been collected.
    logged: Counter[str]
    #: What is not as it was before: the task factory, attributes of channels.db.
    replaced: list[str]
    #: When each call ended: the time, and the turn of the loop since then.
    ends: dict[Key, tuple[float, int]]
    #: What asyncio need not log, because a call of ours has raised it, where the
    #: parent's was cancelled before.
    raised: Counter[str]
    #: When calls went on that had been held back.
    held: list[float]


#: Of two entries at the same time, after rounding.
AT_ONCE = 2 * VirtualTime.LATENESS
#: The end of a call that was cancelled.
NEVER = math.inf, 0


def normalized(text: object) -> str:
    """Return the text without what differs from run to run, and from class to class."""
    text = re.sub(r"0x[0-9a-f]+", "0x", str(text).replace("Recording", ""))
    text = re.sub(r"'\w+\.(?=\w+' was never)", "'", text)
    text = re.sub(r"(in callback \w+).*", r"\1", text)
    return re.sub(r"Task <.*> got Future <.*> att", "Task <> got Future <> att", text)


def channels_db() -> dict[str, object]:
    return {**vars(channels.db), **vars(channels.db.DatabaseSyncToAsync)}


class Run:
    """One run of a program with one class.

    What ends earlier than with the parent, as INTENDED allows, is held back until it
    ends with the parent, so that what follows can be compared.
    """

    def __init__(
        self, program: Program, cls: Any, loop_kind: str, parent: Seen | None = None
    ) -> None:
        self.program, self.cls, self.loop_kind = program, cls, loop_kind
        self.parent = parent
        self.log: list[Entry] = []
        self.logged: Counter[str] = Counter()
        self.ends: dict[Key, tuple[float, int]] = {}
        self.raised: Counter[str] = Counter()
        self.held: list[float] = []
        self.communicators: dict[int, Any] = {}
        self.actors: dict[int, Actor] = {}
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.loop: Any = None

    def add(self, who: str, what: object, outcome: str = "", text: Any = None) -> None:
        self.log.append(Entry(round(self.loop.time(), 3), who, what, outcome, text))

    def note(self, *message: object) -> None:
        self.logged[normalized(": ".join(map(str, message)))] += 1

    def note_unraisable(self, it: Any) -> None:
        if callable(it.object):  # and not a task or a coroutine, see Actor.effect()
            self.note("unraisable", repr(it.exc_value))

    def __call__(self) -> Seen:
        before, replaced = channels_db(), []
        handler = logging.Handler()
        # Not that a turn takes long: in virtual time, some do.
        handler.addFilter(lambda record: not record.msg.startswith("Executing %s"))
        setattr(handler, "emit", lambda record: self.note("log", record.getMessage()))
        logging.getLogger("asyncio").addHandler(handler)
        clock = SimpleNamespace(monotonic=lambda: self.loop.time())
        with (
            warnings.catch_warnings(),
            patch(
                "warnings.showwarning",
                lambda it, *_: self.note(type(it).__name__, str(it).split("\n")[0]),
            ),
            patch("sys.unraisablehook", self.note_unraisable),
            patch.object(asgiref.testing, "time", clock),
        ):
            warnings.simplefilter("always")
            self.run_loop()
            # A task that asyncio no longer runs keeps its place in the task factory.
            for held in (self.communicators, self.tasks, self.actors):
                held.clear()
            # The thread of asgiref holds the loop.
            SyncToAsync.single_thread_executor.submit(
                setattr, SyncToAsync.threadlocal, "main_event_loop", None
            ).result()
            gc.collect()
            factory = self.loop.get_task_factory()
            # anyio may hold a task that the event loop has abandoned.
            abandoned = [it() for it in getattr(factory, "origins", ())]
            if factory not in (None, EAGER) and not any(abandoned):
                replaced.append("the task factory")
            del self.loop
            gc.collect()
        logging.getLogger("asyncio").removeHandler(handler)
        replaced += [
            name for name, it in channels_db().items() if it is not before[name]
        ]
        if self.parent is None:  # Two calls of the parent at a time leave it.
            vars(channels.db).update(
                close_old_connections=before["close_old_connections"]
            )
        return Seen(self.log, self.logged, replaced, self.ends, self.raised, self.held)

    def run_loop(self) -> None:
        self.loop = loop = make_loop(self.loop_kind)
        loop.set_exception_handler(
            lambda _, it: self.note(it["message"], type(it.get("exception")).__name__)
        )
        stalled = loop.run(self.perform())
        tasks = sorted(asyncio.all_tasks(loop), key=lambda it: f"{it.get_name():>20}")
        # Python 3.13.0 names all tasks of a task factory "None".
        tasks.sort(key=coroutine_name)
        left = [*map(coroutine_name, tasks)]
        self.add("loop", "stalled" if stalled else "left", str(left))
        for name, communicator in self.communicators.items():
            self.add("loop", name, state_of(communicator))
        end = len(self.log)
        if tasks:
            for task in tasks:
                task.cancel()
            loop.run(asyncio.wait(tasks))
        # Their order differs with that in which the communicators wait.
        self.log[end:] = sorted(self.log[end:], key=str)
        tasks.clear()
        loop.close()

    async def perform(self) -> None:
        for number, step in enumerate(self.program):
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await self.attempt((number,), step)
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                return

    async def attempt(self, key: Key, step: Step) -> Any:
        """Perform a step, and log what it returns or raises."""
        who = "test " + ".".join(f"{number:2}" for number in key)
        try:
            result = self.do(key, step)
            if inspect.isawaitable(result):
                result = await result
        except (Exception, asyncio.CancelledError) as error:
            outcome = f"raised {type(error).__name__}"
            self.add(who, step[:2], outcome, normalized(error))
            raise
        self.add(who, step[:2], f"returned {result!r}")
        return result

    def do(self, key: Key, step: Step) -> Any:
        its = self.communicators
        match step:
            case ("open", name, kind, steps, *how):
                actor = self.actors[name] = Actor(self.add, name, kind, steps)
                cls = self.overriding() if how == ["overridden"] else self.cls
                it = its[name] = cls(actor, "/ws/")
                if how == ["mocked"]:
                    for method in ("send_input", "receive_output"):
                        mock = AsyncMock(wraps=getattr(it, method))
                        setattr(it, method, mock)
            case ("task", task, inner):
                coroutine = self.attempt((*key, 0), inner)
                self.tasks[task] = asyncio.create_task(coroutine)
            case ("join", task):
                return self.tasks.pop(task, None)
            case ("cancel", task) if task in self.tasks:
                self.tasks[task].cancel()
            case ("wait_for", seconds, inner):
                return asyncio.wait_for(self.attempt((*key, 0), inner), seconds)
            case ("gather", *inner):
                attempts = (self.attempt((*key, n), it) for n, it in enumerate(inner))
                return asyncio.gather(*attempts)
            case ("sleep", seconds):
                return asyncio.sleep(seconds)
            case (_, name, *_) if name not in its:
                return None
            case ("drop", name, *collect):
                del its[name]
                if collect:
                    gc.collect()
            case ("cycle", name):
                its[name].scope["communicator"] = its[name]
            case (method, name, *args):
                return self.call(key, name, method, args)

    def overriding(self) -> Any:
        """Return a class whose methods log that they are called."""
        add = self.add

        class Overriding(self.cls):  # type: ignore[misc, name-defined]
            async def send_input(self, message: Any) -> None:
                add("class", "send_input")
                await super().send_input(message)

            async def receive_output(self, timeout: Any = 1) -> Any:
                add("class", "receive_output")
                await asyncio.sleep(0)
                return await super().receive_output(timeout)

            async def wait(self, timeout: Any = 1) -> None:
                add("class", "wait")
                await super().wait(timeout)

        return Overriding

    async def call(self, key: Key, name: int, method: str, args: list[Any]) -> Any:
        communicator, actor = self.communicators[name], self.actors[name]
        future = communicator._future
        if future is None or not future.done():
            if method in ("disconnect", "wait") or "websocket.disconnect" in str(args):
                actor.patient_calls.update(actor.calls)
            if {"disconnect", "wait"}.intersection(actor.calls.values()):
                actor.patient_calls.add(key)
        del future
        actor.calls[key] = method
        end, loop = None, self.loop
        try:
            it = attrgetter(method)(communicator)
            result = it(*args) if callable(it) else it
            return await result if inspect.isawaitable(result) else result
        except asyncio.CancelledError:
            task: Any = asyncio.current_task(loop)
            if task.cancelling():
                end = NEVER
            raise
        except GeneratorExit:
            end = NEVER
            raise
        finally:
            if end is None:
                await self.hold(key, actor, communicator._future)
            del actor.calls[key]
            self.ends[key] = end or (loop.time(), loop.turn)

    async def hold(self, key: Key, actor: Actor, future: Any) -> None:
        """Hold a call back that may end earlier than with the parent."""
        if self.parent is None or future is None or not future.done():
            return
        if future._exception is None:
            runs_on = any(not task.done() for task in actor.tasks)
            if key in actor.patient_calls or runs_on and not future.cancelled():
                return
        seconds, turn = self.parent.ends.get(key, NEVER)
        if future._exception is not None and seconds == math.inf:
            name = type(future._exception).__name__
            self.raised[f"Task exception was never retrieved: {name}"] += 1
        if seconds - self.loop.time() > 0.5e-3:
            await asyncio.sleep(seconds - self.loop.time())
            self.held.append(round(seconds, 3))  # as in the log
        while self.loop.turn < turn:
            await asyncio.sleep(0)


def coroutine_name(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", "")


def drain(queue: Any) -> list[Any]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


def state_of(communicator: Any) -> str:
    state: list[object] = [drain(communicator.output_queue)]
    state += [drain(communicator.input_queue), len(communicator.scope)]
    if future := communicator._future:
        # Not future.exception(), which marks it as retrieved.
        state += [future._state, type(future._exception).__name__]
    return str([*state, getattr(communicator, "response_headers", "absent")])


# What may differ.


class Fork(NamedTuple):
    """Where the logs differ."""

    parent: Entry
    ours: Entry
    #: All up to there, and these two.
    before: list[Entry]
    whole_parent: list[Entry]
    whole_ours: list[Entry]
    #: When calls of ours went on that had been held back.
    held: list[float]


def is_connect(entry: Entry, *outcomes: str) -> bool:
    is_connect = isinstance(entry.what, tuple) and entry.what[0] == "connect"
    return is_connect and entry.outcome in outcomes


def reads_past_frames(fork: Fork) -> bool:
    """connect() reads past data frames, and takes a denial for an answer."""
    return any(
        is_connect(it, "raised AssertionError") and not it.text for it in fork.before
    )


def explains_events(fork: Fork) -> bool:
    """connect() explains an event that is not an answer to the handshake."""
    outcome = fork.parent.outcome
    return fork.ours.outcome == outcome and is_connect(
        fork.parent, "raised KeyError", "raised TypeError"
    )


def raises_at_once(fork: Fork) -> bool:
    """A call raises what the application raises, even if a task of it sends later.

    Or receive_nothing() says that there is nothing.
    """
    ours = [
        it
        for it in fork.whole_ours
        if it == fork.ours or is_same_step(it, fork.parent, AT_ONCE)
    ]
    raised: list[object]
    raised = [("raises", it.outcome.removeprefix("raised ")) for it in ours]
    if any(name_of(it) == "receive_nothing" for it in ours):
        raised = [it.what for it in fork.before if name_of(it) == "raises"]
    return any(
        it.what in raised and any(later.who == it.who for later in fork.before[n + 1 :])
        for n, it in enumerate(fork.before)
    )


def ends_in_time(fork: Fork) -> bool:
    """A call ends although the application suppresses its cancellation.

    So does wait_for() of Python 3.11 if it is cancelled just as its coroutine returns.
    """
    suppresses = any(it.what == ("suppresses",) for it in fork.before)
    return suppresses or fork.parent.what == "stalled"


def name_of(entry: Entry) -> object:
    return entry.what[0] if isinstance(entry.what, tuple) else entry.what


def is_same_step(one: Entry, other: Entry, seconds: float) -> bool:
    """Whether they are of the same step, and of about the same time."""
    return one[1:3] == other[1:3] and abs(one.seconds - other.seconds) <= seconds


def is_held_back(fork: Fork) -> bool:
    """A call that Run.hold() holds back continues in another order within its turn."""
    return any(abs(it - fork.ours.seconds) <= AT_ONCE for it in fork.held)


#: The differences that README and DESIGN have. Nothing behind one of these is compared.
#: Two more are elsewhere, because all behind them is: a call ends at once when nothing
#: more can come (Run.hold()), and has a text where the parent's has none (is_same()).
INTENDED = (
    reads_past_frames,
    explains_events,
    raises_at_once,
    ends_in_time,
    is_held_back,
)


def is_same(parent: Entry, ours: Entry) -> bool:
    if abs(parent.seconds - ours.seconds) < AT_ONCE:
        ours = ours._replace(seconds=parent.seconds)
    return parent == ours or (parent.text == "" and parent == ours._replace(text=""))


class Difference(NamedTuple):
    #: What shrinking must not change.
    kind: object
    text: str


def compare(
    program: Program, loop_kind: str, cls: Any = RecordingWebsocketCommunicator
) -> Difference | None:
    """Run the program with both classes, and return the first difference."""
    parent = Run(program, WebsocketCommunicator, loop_kind)()
    ours = Run(program, cls, loop_kind, parent)()
    found = compare_seen(parent, ours)
    if found is None and ours.replaced:
        return Difference(tuple(ours.replaced), f"  replaced: {ours.replaced}")
    return found


def compare_seen(parent: Seen, ours: Seen) -> Difference | None:
    missing = Entry(-1, "nobody", "nothing")
    pairs = itertools.zip_longest(parent.log, ours.log, fillvalue=missing)
    for number, (its, our) in enumerate(pairs):
        if is_same(its, our):
            continue
        before = [*parent.log[:number], its, our]
        fork = Fork(its, our, before, parent.log, ours.log, ours.held)
        if any(is_intended(fork) for is_intended in INTENDED):
            return None
        default = "order" if its.seconds == our.seconds else "time"
        kind: object = next(differing_outcomes(parent.log, ours.log), default)
        lines = ["  both:", *ours.log[:number], "  parent:", *parent.log[number:][:3]]
        lines += ["  ours:", *ours.log[number:][:3]]
        return Difference(kind, "\n".join(map(str, lines)))
    less, more = parent.logged - ours.logged, ours.logged - parent.logged
    less -= ours.raised
    if less or more:
        lines = [*ours.log, f"  only the parent logs {less}, only ours {more}"]
        return Difference((*less, "ours", *more), "\n".join(map(str, lines)))
    return None


def differing_outcomes(parent: list[Entry], ours: list[Entry]) -> Iterator[object]:
    """Yield steps with the start of their outcomes, which may end in any value."""
    outcomes = [
        {(it.who, str(it.what)): re.split(r"[\[{]", it.outcome)[0] for it in log}
        for log in (parent, ours)
    ]
    for step in [*outcomes[0], *outcomes[1]]:
        its, our = (it.get(step, "nothing") for it in outcomes)
        if its != our:
            who, what = step
            yield who[:4], what.split(",")[0], its, our


def shrink(program: Program, loop_kind: str, cls: Any, kind: object) -> Program:
    for candidate in smaller(program):
        found = compare(candidate, loop_kind, cls)
        if found is not None and found.kind == kind:
            return shrink(candidate, loop_kind, cls, kind)
    return program


def search(
    programs: Iterable[Program],
    loop_kind: str,
    cls: Any = RecordingWebsocketCommunicator,
) -> list[str]:
    """Return a text for each kind of difference, with the smallest program."""
    counts: Counter[object] = Counter()
    texts = []
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for program in programs:
            found = compare(program, loop_kind, cls)
            if found is not None:
                counts[found.kind] += 1
                if counts[found.kind] == 1:
                    program = shrink(program, loop_kind, cls, found.kind)
                    found = compare(program, loop_kind, cls) or found
                    texts.append(f"{pprint.pformat(program)}\n{found.text}")
    finally:
        gc.enable()
        gc.unfreeze()
    return [f"{count} programs:\n{it}\n" for count, it in zip(counts.values(), texts)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=int, default=3000)
    parser.add_argument("--loop", choices=LOOPS, default="plain")
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    programs = (generate((arguments.seed, it)) for it in range(arguments.programs))
    texts = search(programs, arguments.loop)
    print(*texts, f"{len(texts)} kinds of differences", sep="\n")
    return 1 if texts else 0


if __name__ == "__main__":
    sys.exit(main())

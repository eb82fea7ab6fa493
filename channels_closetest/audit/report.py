"""The report on a run of a test suite: for a terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from ..servers.rules import ServerName
from ..text.values import count

# The sections, in alphabetical order.
CRASH = "crashes that no test shows"
EVERYWHERE = "on every server"
SOMEWHERE = "on some servers"
PARTLY = "only a part is lost"
_HINT = " (use --servers to name the servers that you deploy on)"
#: How many tests of an entry are named.
_MAX_TESTS = 3


class Found(NamedTuple):
    """An undeliverable event, or a crash, or all of one kind at one line."""

    section: str
    #: The line that sent the event or raised. "" and 0 if there is none.
    file: str
    line: int
    #: What is wrong, what the client receives, and what to write instead.
    description: str
    outcome: str
    remedy: str
    #: The names of the servers that are concerned.
    servers: list[str]
    #: The event as a transcript shows it, or the exception as a traceback does. Of
    #: several, the first in alphabetical order.
    event: str
    #: The tests: node ids of pytest, or dotted names. Of one event, "" for none.
    tests: list[str]
    #: How often it was found.
    count: int = 1  # type: ignore[assignment] # tuple.count() is not used


class Report:
    """What has run, and what was found: of this process, or in the first one of all."""

    #: The working directory of the first process.
    root = ""
    #: The running test: a node id of pytest, a dotted name, or "" for none.
    test = ""

    def __init__(self, servers: Sequence[ServerName] | None) -> None:
        #: The servers that the command names. If it names none, communicators do.
        self.servers = servers
        #: The test of each communicator, or "" outside of all tests.
        self.communicators: list[str] = []
        #: The tests that have run in watched processes.
        self.tests: list[str] = []
        #: The tests that the runner of the first process has announced, wherever they
        #: run.
        self.announced: set[str] = set()
        #: The values of each ``Found``.
        self.findings: list[Iterable[object]] = []
        #: What ``watch.py`` knows of each application that may still send something.
        self.watched: list[Any] = []

    def begin(self, test: str) -> None:
        """Attribute to this test what happens, unless it is run by another test."""
        self.test = self.test or test
        self.add("tests", test)

    def end(self, test: str) -> None:
        """Add what was found since the last test has ended, and end this one."""
        for it in self.watched[:]:
            it.look(it.application())
        # The others can receive no more events.
        self.watched = [it for it in self.watched if it.queue() is not None]
        self.test = "" if test == self.test else self.test  # which has run this one

    def add(self, kind: str, value: Any) -> None:
        """Add a value to a list of the report."""
        getattr(self, kind).append(value)

    @property
    def unwatched_tests(self) -> set[str]:
        return self.announced.difference(self.tests)

    def entries(self) -> Iterator[Found]:
        """Yield what was found by line, in the same order for each run."""
        found = sorted(Found(*values) for values in self.findings)  # type: ignore
        for _, same in groupby(found, lambda it: it[: Found._fields.index("event")]):
            group = list(same)
            tests = sorted({test for it in group for test in it.tests} - {""})
            yield group[0]._replace(tests=tests, count=len(group))

    def as_json(self) -> str:
        report = {
            "version": 1,
            "servers": self.servers,
            "communicators": len(self.communicators),
            "tests": len({*self.communicators} - {""}),
            "unwatched_tests": len(self.unwatched_tests),
            "findings": [
                {**it._asdict(), "file": it.file or None, "line": it.line or None}
                for it in self.entries()
            ],
        }
        return json.dumps(report, indent=2)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        entries, found = list(self.entries()), "nothing found"
        if entries:
            found = f"{count(len(entries), 'finding')} in {_count_tests(entries)}"
        watched = f"{count(len(self.communicators), 'communicator')} watched"
        watched += f" in {count(len({*self.communicators} - {''}), 'test')}."
        if not self.communicators:
            found, watched = "nothing was watched", f"0 communicators. {self._cause()}"
        yield f"channels_closetest: {found}. {watched}"
        if self.unwatched_tests:
            tests = count(len(self.unwatched_tests), "test")
            yield f"{tests} not watched, in processes that could not join."
        for section, group in groupby(entries, lambda entry: entry.section):
            needs_servers = section in (SOMEWHERE, PARTLY) and not self.servers
            yield f"\n{section.capitalize()}{_HINT * needs_servers}:"
            is_short = needs_servers and section == PARTLY
            yield from (_short_lines if is_short else _entry_lines)(group)

    def _cause(self) -> str:
        if not self.tests and not self.announced:
            return "No test has run."
        tests = count(len({*self.tests}), "watched test")
        return (
            f"{tests} started no WebsocketCommunicator of channels.testing, or were"
            " async in a unittest.TestCase, which does not await them."
        )


def _count_tests(entries: Iterable[Found]) -> str:
    return count(len({test for entry in entries for test in entry.tests}), "test")


def _entry_lines(entries: Iterable[Found]) -> Iterator[str]:
    for entry in entries:
        place = f"{entry.file}:{entry.line}" if entry.file else "(no line)"
        yield f"\n  {place}  {entry.event}: {entry.outcome}"
        yield f"    {entry.description[0].upper()}{entry.description[1:]}."
        yield f"    {entry.remedy}."
        tests = entry.tests
        times = f", {count(entry.count, 'time')}" if entry.count > len(tests) else ""
        where = f"{count(len(tests), 'test')}{times}:" if tests else f"no test{times}"
        yield f"    {where}"
        yield from (f"      {test}" for test in tests[:_MAX_TESTS])
        if len(tests) > _MAX_TESTS:
            yield f"      and {len(tests) - _MAX_TESTS} more"


def _short_lines(entries: Iterable[Found]) -> Iterator[str]:
    groups: dict[str, list[Found]] = {}
    for entry in entries:
        groups.setdefault(f"{entry.description}: {entry.outcome}", []).append(entry)
    for text, group in sorted(groups.items()):
        yield f"\n  {text} ({count(len(group), 'line')}, {_count_tests(group)})"

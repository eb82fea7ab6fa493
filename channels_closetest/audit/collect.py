"""Collect the findings of all processes of a test run.

Imports neither Channels nor Django, because the suite decides when they are imported.
``watch.py`` does, and is imported after ``channels.testing``.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing.spawn
import os
import shutil
import sys
import tempfile
import unittest
from collections.abc import Sequence
from importlib.machinery import PathFinder
from io import open  # not the builtin, because tests patch that, and json.dumps, too
from json import dumps
from pathlib import Path
from typing import Any

from . import VARIABLE
from .report import Report

_MODULES = "channels.testing", "channels_closetest.communicator"

#: The audit of this process, if it has started one.
_audits: list[Audit] = []


class Audit:
    """Collects the findings of the processes of one run.

    The first process keeps its findings. Every other process appends them to a file of
    its own at once, because runners kill their workers.
    """

    def __init__(self, directory: str, process: int, root: str, servers: Any) -> None:
        self._directory, self._process = directory, process
        #: The working directory of the first process.
        self.root = root
        self.report = Report(servers)
        #: The test that is running, and the tests that it runs itself.
        self._running: list[str] = []
        #: What ``watch.py`` knows of each application that may still send something.
        self.watched: list[Any] = []

    def __reduce__(self) -> Any:
        # A process joins when it unpickles the audit, as one joins coverage.py.
        return join, ()

    @property
    def is_first(self) -> bool:
        """Whether this process has created the audit."""
        return self._process == os.getpid()

    @property
    def test(self) -> str:
        """The running test: a node id of pytest, a dotted name, or "" for none."""
        return self._running[0] if self._running else ""

    def begin(self, test: str) -> None:
        """Attribute to this test what happens, unless it is run by another test."""
        self._running.append(test)
        self.add("tests", test)

    def end(self) -> None:
        """End the test that has begun last."""
        self.look()
        del self._running[-1:]

    def look(self) -> None:
        """Add what was found since the last look."""
        for it in self.watched[:]:
            it.look(it.application())
        # The others can receive no more events.
        self.watched = [it for it in self.watched if it.queue() is not None]

    def add(self, kind: str, value: Any) -> None:
        """Add a value to a list of the report."""
        if self.is_first:
            getattr(self.report, kind).append(value)
            return
        # The first process has removed the directory if this one outlives it.
        with contextlib.suppress(FileNotFoundError):
            with open(f"{self._directory}/{os.getpid()}", "a") as file:
                file.write(f"{dumps((kind, value))}\n")

    def _add_those_of_others(self) -> None:
        # No file if the suite has emptied the directory for temporary files.
        for file in Path(self._directory).glob("*"):
            for line in file.read_text().splitlines():
                # The process may have been killed while it wrote the line.
                with contextlib.suppress(ValueError):
                    kind, value = json.loads(line)
                    getattr(self.report, kind).append(value)

    def finish(
        self, status: Any, show: Any, file: str | None, fail: bool, is_command: bool
    ) -> Any:
        """Show the report. Return the exit status, which is that of the suite.

        ``show`` is called with the text, and the JSON is written to ``file``.
        With ``fail``, return 1 for a suite that passes if something was found or could
        not be watched; for the command, which has no other purpose, also if there was
        no communicator.
        """
        self.look()
        self._add_those_of_others()
        report = self.report
        show(f"\n{report}")
        try:
            if file is not None:
                Path(file).write_text(f"{report.as_json()}\n")
        except OSError as error:
            print(f"\nchannels_closetest: {file}: {error}", file=sys.__stderr__)
            return 3
        missed = report.unwatched_tests or (is_command and not report.communicators)
        has_passed = status in (None, 0)
        return 1 if fail and has_passed and (report.findings or missed) else status

    def close(self) -> None:
        """Remove what processes have written. Some of them may still be writing."""
        shutil.rmtree(self._directory, ignore_errors=True)


def start(servers: Sequence[str] | None) -> Any:
    """Create an audit that other processes join, and join it."""
    directory = tempfile.mkdtemp(prefix="channels-closetest-")
    arguments = directory, os.getpid(), os.path.join(os.getcwd(), ""), servers
    os.environ[VARIABLE] = dumps(arguments)
    return join()


def join() -> Audit | None:
    """Join the audit announced in the environment, if there is one."""
    arguments = json.loads(os.environ.get(VARIABLE, "[]"))
    # The variable may have outlived the audit.
    if not _audits and arguments and os.path.isdir(arguments[0]):
        _audits.append(Audit(*arguments))
        _patch(_audits[0])
        if not sys.modules.keys().isdisjoint(_MODULES):
            _watch()
    if not _audits:
        return None
    # Before the assertion rewriter of pytest, which finds modules, too.
    sys.meta_path[:] = [_Finder, *(it for it in sys.meta_path if it is not _Finder)]
    return _audits[0]


def _watch() -> None:
    from .. import communicator

    # If the suite imports communicator first, that import may be in progress.
    if hasattr(communicator, "RecordingWebsocketCommunicator"):
        from .watch import watch

        watch(_audits[0])


class _Finder:
    """Watches once the modules have been imported."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        spec: Any = PathFinder.find_spec(name, path) if name in _MODULES else None
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                load(module)
                _watch()

            spec.loader.exec_module = exec_module
        return spec


def _patch(audit: Audit) -> None:
    """Name the tests of unittest, and join in the processes of multiprocessing."""
    # The class of all results, and not TestCase.run(), because a warning with a
    # stacklevel names a frame below the test.
    start_test, stop_test = unittest.TestResult.startTest, unittest.TestResult.stopTest
    # Of a process that is not forked from this one.
    get_preparation_data = multiprocessing.spawn.get_preparation_data

    def begin(self: unittest.TestResult, test: unittest.TestCase) -> None:
        audit.begin(test.id())
        start_test(self, test)

    def end(self: unittest.TestResult, test: unittest.TestCase) -> None:
        stop_test(self, test)
        audit.end()

    def with_audit(name: str) -> dict[str, Any]:
        return {**get_preparation_data(name), __package__: audit}

    setattr(unittest.TestResult, "startTest", begin)
    setattr(unittest.TestResult, "stopTest", end)
    setattr(multiprocessing.spawn, "get_preparation_data", with_audit)

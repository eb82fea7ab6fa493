"""Collect the findings of all processes of a test run: the first, and those it starts.

Imports neither Channels nor Django, because the suite decides when they are imported.
``watch.py`` does, and is imported after ``channels.testing``.
"""

from __future__ import annotations

import contextlib
import multiprocessing.spawn
import os
import shutil
import sys
import tempfile
import unittest
from importlib.machinery import PathFinder
from io import open  # not the builtin, because tests patch that, and json.dumps, too
from json import dumps, loads
from pathlib import Path
from typing import Any

from . import VARIABLE
from .report import Report

_MODULES = "channels.testing", "channels_closetest.communicator"


class Audit(Report):
    """Collects the findings of the processes of one run.

    The first process keeps its findings. Every other process appends them to a file of
    its own at once, because runners kill their workers.
    """

    def __init__(self, directory: str, process: int, root: str, servers: Any) -> None:
        super().__init__(servers)
        #: ``process`` has created the audit, and ``root`` is its working directory.
        self._directory, self.process, self.root = directory, process, root

    def __reduce__(self) -> Any:
        # A process joins when it unpickles the audit, as one joins coverage.py.
        return join, ()

    def add(self, kind: str, value: Any) -> None:
        if self.process == os.getpid():
            return super().add(kind, value)
        # The first process has removed the directory if this one outlives it.
        with contextlib.suppress(FileNotFoundError):
            with open(f"{self._directory}/{os.getpid()}", "a") as file:
                file.write(f"{dumps((kind, value))}\n")

    def collect(self) -> None:
        """Add what all processes have found."""
        self.end(self.test)  # which may have been interrupted
        # No file if the suite has emptied the directory for temporary files.
        for path in Path(self._directory).glob("*"):
            for line in path.read_text().splitlines():
                # The process may have been killed while it wrote the line.
                with contextlib.suppress(ValueError):
                    self.add(*loads(line))

    def finish(self, status: Any, file: str | None, fail: object) -> Any:
        """Write the JSON to ``file``. Return the exit status, which is the suite's.

        With ``fail``, return 1 for a suite that passes if something was found or could
        not be watched, or if there was no communicator.
        """
        try:
            if file is not None:
                Path(file).write_text(f"{self.as_json()}\n")
        except OSError as error:
            print(f"\nchannels_closetest: {file}: {error}", file=sys.__stderr__)
            return 3
        found = self.findings or self.unwatched_tests or not self.communicators
        return 1 if fail and found and status in (None, 0) else status

    def close(self) -> None:
        """Remove what processes have written. Some of them may still be writing."""
        shutil.rmtree(self._directory, ignore_errors=True)

    # How a process joins.

    def patch(self) -> None:
        """Name the tests of unittest, and join in the processes of multiprocessing."""
        # The class of all results, and not TestCase.run(), because a warning with a
        # stacklevel names a frame below the test.
        result: Any = unittest.TestResult
        start_test, stop_test = result.startTest, result.stopTest
        # Of a process that is not forked from this one.
        get_preparation_data = multiprocessing.spawn.get_preparation_data

        def begin(result: unittest.TestResult, test: unittest.TestCase) -> None:
            self.begin(test.id())
            start_test(result, test)

        def end(result: unittest.TestResult, test: unittest.TestCase) -> None:
            stop_test(result, test)
            self.end(test.id())

        def with_audit(name: str) -> dict[str, Any]:
            return {**get_preparation_data(name), __package__: self}

        result.startTest, result.stopTest = begin, end
        setattr(multiprocessing.spawn, "get_preparation_data", with_audit)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Watch once the modules have been imported (``sys.meta_path`` has this)."""
        spec: Any = PathFinder.find_spec(name, path) if name in _MODULES else None
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                load(module)
                self.watch()

            spec.loader.exec_module = exec_module
        return spec

    def watch(self) -> None:
        from .. import communicator

        # If the suite imports communicator first, that import may be in progress.
        if hasattr(communicator, "RecordingWebsocketCommunicator"):
            from .watch import watch

            watch(self)


#: The audit of this process, if it has started one.
_audits: list[Audit] = []


def start(servers: list[str] | None) -> Any:
    """Create an audit that other processes join, and join it."""
    directory = tempfile.mkdtemp(prefix="channels-closetest-")
    arguments = directory, os.getpid(), os.path.join(os.getcwd(), ""), servers
    os.environ[VARIABLE] = dumps(arguments)
    return join()


def join() -> Audit | None:
    """Join the audit announced in the environment, if there is one."""
    arguments = loads(os.environ.get(VARIABLE, "[]"))
    # The variable may have outlived the audit.
    if not _audits and arguments and os.path.isdir(arguments[0]):
        _audits.append(Audit(*arguments))
        _audits[0].patch()
        if not sys.modules.keys().isdisjoint(_MODULES):
            _audits[0].watch()
    # Before the assertion rewriter of pytest, which finds modules, too.
    sys.meta_path[:] = [*_audits, *(it for it in sys.meta_path if it not in _audits)]
    return _audits[0] if _audits else None

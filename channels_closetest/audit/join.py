"""Let a process join the audit of a test run: the first one, and those it starts.

Imports neither Channels nor Django, because the suite decides when they are imported.
``watch.py`` does, and is imported after ``channels.testing``.
"""

from __future__ import annotations

import json
import multiprocessing.spawn
import os
import sys
import tempfile
import unittest
from collections.abc import Sequence
from importlib.machinery import PathFinder
from json import dumps  # at import, because tests patch it
from typing import Any

from . import VARIABLE
from .collect import Audit

_MODULES = "channels.testing", "channels_closetest.communicator"

#: The audit of this process, if it has started one.
_audits: list[Audit] = []


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
        return {**get_preparation_data(name), __package__: _Join()}

    setattr(unittest.TestResult, "startTest", begin)
    setattr(unittest.TestResult, "stopTest", end)
    setattr(multiprocessing.spawn, "get_preparation_data", with_audit)


class _Join:
    """Joins in the process that unpickles it, as coverage.py does."""

    def __reduce__(self) -> Any:
        return join, ()

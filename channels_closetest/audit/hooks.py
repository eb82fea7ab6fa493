"""Hooks into the imports and into ``unittest``, by which a process joins an audit.

Imports neither Channels nor Django, because the suite decides when they are imported.
``watch.py`` does, and is imported after ``channels.testing``.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import unittest
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from .collect import VARIABLE, Audit

_TESTING, _COMMUNICATOR = "channels.testing", "channels_closetest.communicator"

#: The audit of this process, if it has started one.
_audits: list[Audit] = []


def start(audit: Audit) -> None:
    """Watch the communicators of this process, and name its tests."""
    _audits.append(audit)
    _name_tests_of_unittest(audit)

    def import_communicator() -> None:
        # Already begun if the suite imports it first, as it imports channels.testing.
        importlib.import_module(_COMMUNICATOR)

    def watch() -> None:
        from .watch import watch

        watch(audit)

    sys.meta_path.insert(
        0, _Finder({_TESTING: import_communicator, _COMMUNICATOR: watch})
    )
    if _COMMUNICATOR in sys.modules:
        watch()
    elif _TESTING in sys.modules:
        import_communicator()


def join() -> Audit | None:
    """Return the audit of this process, and start it if another process shares it."""
    if not _audits and VARIABLE in os.environ:
        start(Audit(*json.loads(os.environ[VARIABLE])))
    return _audits[0] if _audits else None


class _Finder:
    """Calls a function after a module has been imported."""

    def __init__(self, actions: dict[str, Callable[[], None]]) -> None:
        self._actions = actions

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        action = self._actions.get(name)
        spec = None if action is None else PathFinder.find_spec(name, path)
        if action is None or spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: object) -> None:
            execute(module)
            action()

        loader.exec_module = exec_module
        return spec


def _name_tests_of_unittest(audit: Audit) -> None:
    """Make the class of all test cases, and that of all results, name the test."""
    run, start_test = unittest.TestCase.run, unittest.TestResult.startTest

    @functools.wraps(run)
    def run_with_name(
        self: unittest.TestCase, result: unittest.TestResult | None = None
    ) -> unittest.TestResult | None:
        with audit.running(self.id()):
            return run(self, result)

    @functools.wraps(start_test)
    def announce(self: unittest.TestResult, test: unittest.TestCase) -> None:
        audit.announced.add(test.id())
        start_test(self, test)

    setattr(unittest.TestCase, "run", run_with_name)
    setattr(unittest.TestResult, "startTest", announce)

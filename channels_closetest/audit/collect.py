"""Collect the findings of all processes of a test run.

Imports neither Channels nor Django, because the suite decides when they are imported.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from io import open  # not the builtin, because tests patch that, and json.dumps, too
from json import dumps
from pathlib import Path
from typing import Any

from .report import Report


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

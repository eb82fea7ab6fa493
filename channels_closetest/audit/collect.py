"""What a run of a test suite has sent and received, in all of its processes.

Imports neither Channels nor Django, because the suite decides when they are imported.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from io import open  # not the builtin, because tests patch that, and json.dumps, too
from json import dumps
from pathlib import Path
from typing import Any

from .report import Found, Report

#: The environment variable by which another interpreter learns of the audit.
VARIABLE = "CHANNELS_CLOSETEST_AUDIT"


class Audit:
    """Collects what the processes of one run have seen.

    The first process keeps it. Every other process appends it to a file of its own at
    once, because many of them are ended without notice.
    """

    #: The test that is running in this process: a node id of pytest, or a dotted name.
    test: str | None = None

    def __init__(
        self, directory: str, process: int, servers: Sequence[str] | None
    ) -> None:
        self._directory = directory
        self._process = process
        #: The servers that the command names. If it names none, communicators do.
        self.servers = None if servers is None else tuple(servers)
        self._root = os.path.join(os.getcwd(), "")
        self._entries: list[tuple[str, Any]] = []
        #: The tests that the runner in this process has announced, wherever they run.
        self.announced: set[str] = set()

    @classmethod
    def create(cls, servers: Sequence[str] | None) -> Audit:
        directory = tempfile.mkdtemp(prefix="channels-closetest-")
        return cls(directory, os.getpid(), servers)

    def share(self) -> None:
        """Let the interpreters that this process starts ``join()``."""
        arguments = self._directory, self._process, self.servers
        os.environ[VARIABLE] = json.dumps(arguments)
        # In the workers of pytest-xdist, this loads the plugin before any other.
        options = f"-p {__package__}.pytest_plugin", os.environ.get("PYTEST_ADDOPTS")
        os.environ["PYTEST_ADDOPTS"] = " ".join(filter(None, options))

    @contextlib.contextmanager
    def running(self, test: str) -> Iterator[None]:
        """Attribute to this test what happens, unless it is run by another test."""
        outer = self.test
        self.test = outer or test
        self.add("test", test)
        try:
            yield
        finally:
            self.test = outer

    def add(self, kind: str, value: Any) -> None:
        if os.getpid() == self._process:
            self._entries.append((kind, value))
            return
        # The first process has removed the directory if this one outlives it.
        with contextlib.suppress(FileNotFoundError):
            with open(f"{self._directory}/{os.getpid()}", "a") as file:
                file.write(f"{dumps((kind, value))}\n")

    def report(self) -> Report:
        by_kind: dict[str, list[Any]] = {"test": [], "communicator": [], "finding": []}
        for kind, value in [*self._entries, *self._entries_of_others()]:
            by_kind[kind].append(value)
        return Report(
            self.servers,
            len(by_kind["communicator"]),
            len(set(by_kind["communicator"]) - {None}),
            len(self.announced.difference(by_kind["test"])),
            [self._found(*values) for values in by_kind["finding"]],
        )

    def _found(self, *values: Any) -> Found:
        found = Found(*values)
        return found._replace(file=found.file.removeprefix(self._root))

    def _entries_of_others(self) -> Iterator[tuple[str, Any]]:
        for path in Path(self._directory).iterdir():
            for line in path.read_text().splitlines():
                try:
                    kind, value = json.loads(line)
                except ValueError:
                    continue  # the process was ended while it wrote the line
                yield kind, value

    def finish(self, json_file: str | None) -> None:
        """Print the report, and write it to a file if there is one to write."""
        if os.getpid() != self._process:
            return  # the end of a process that was forked from the first one
        report = self.report()
        shutil.rmtree(self._directory)
        with contextlib.suppress(Exception):  # the suite may have closed it
            sys.stdout.flush()
        # Not what the suite may have put in its place.
        print(f"\n{report}", file=sys.__stderr__, flush=True)
        if json_file is not None:
            Path(json_file).write_text(report.as_json())

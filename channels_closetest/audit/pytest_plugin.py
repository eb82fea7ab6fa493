"""``pytest --closetest``, and the names of the tests that pytest runs.

An entry point: it imports neither Channels nor Django.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from . import OPTIONS, VARIABLE


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("channels_closetest")
    help = "report which events of WebSocket tests no client receives as sent"
    group.addoption("--closetest", action="store_true", help=help)
    for name, option in OPTIONS.items():
        group.addoption(f"--closetest-{name}", **option)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    options = early_config.known_args_namespace
    # A worker of pytest-xdist on another machine finds no audit to join.
    may_start = options.closetest and "PYTEST_XDIST_WORKER" not in os.environ
    if not may_start and VARIABLE not in os.environ:
        return
    from .collect import join, start

    joined = join()
    audit = joined or start(options.closetest_servers)
    if joined is None:
        early_config.add_cleanup(audit.close)
    early_config.pluginmanager.register(_Plugin(audit, early_config, joined is None))


class _Plugin:
    def __init__(self, audit: Any, config: pytest.Config, is_own: bool) -> None:
        self._audit, self._config = audit, config
        #: Whether pytest reports, and not the command.
        self._is_own = is_own

    def _name(self, nodeid: object) -> str:
        """Return a node id relative to the working directory, as pytest prints it."""
        path, *names = str(nodeid).split("::")
        here = self._config.invocation_params.dir
        path = os.path.relpath(self._config.rootpath / path, here)
        return "::".join([path, *names])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        self._audit.begin(self._name(item.nodeid))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._audit.end(self._name(nodeid))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        # Also of a test that a worker of pytest-xdist runs.
        self._audit.announced.add(self._name(nodeid))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if report.failed and call.excinfo and self._config.option.closetest:
            # If a call has raised the exception, a note of it has the transcript.
            notes = getattr(call.excinfo.value, "__notes__", ())
            lists = [getattr(note, "_transcripts", ()) for note in notes]
            shown = [transcript._recording for them in lists for transcript, _ in them]
            for it in self._audit.watched:
                if it.test == self._audit.test and it.recording not in shown:
                    report.sections.append(("channels_closetest", it.excerpt()))
        return report

    # When the workers of pytest-xdist have ended.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Any:
        result = yield
        if self._is_own:
            self._audit.collect()
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            getattr(reporter, "write_line", print)(f"\n{self._audit}")
            options = self._config.option
            file, fail = options.closetest_json, options.closetest_fail_on_findings
            # In addopts, the option is also there where no test has a communicator.
            fail = fail and (self._audit.communicators or self._audit.unwatched_tests)
            session.exitstatus = self._audit.finish(session.exitstatus, file, fail)
        return result

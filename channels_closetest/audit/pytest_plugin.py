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
    if not options.closetest and VARIABLE not in os.environ:
        return
    from .collect import join, start

    audit = join()
    # A worker of pytest-xdist on another machine finds none to join.
    is_own = audit is None and "PYTEST_XDIST_WORKER" not in os.environ
    if is_own:
        audit = start(options.closetest_servers)
        early_config.add_cleanup(audit.close)
    if audit is not None:
        early_config.pluginmanager.register(_Plugin(audit, early_config, is_own))


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
                    excerpt = it.transcript().excerpt()
                    report.sections.append(("channels_closetest", excerpt))
        return report

    # When the workers of pytest-xdist have ended.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Any:
        result = yield
        if self._is_own:
            options = self._config.option
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            show = getattr(reporter, "write_line", print)
            file, fail = options.closetest_json, options.closetest_fail_on_findings
            status = self._audit.finish(session.exitstatus, show, file, fail, False)
            session.exitstatus = status
        return result

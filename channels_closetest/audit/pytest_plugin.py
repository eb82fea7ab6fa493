"""Names the tests that pytest runs, also in the workers of pytest-xdist."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .hooks import join

#: None where the variables of the environment have outlived the audit.
_audit = join()


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if _audit is None:
        yield
        return
    with _audit.running(item.nodeid):
        yield


def pytest_runtest_logstart(nodeid: str) -> None:
    if _audit is not None:
        _audit.announced.add(nodeid)

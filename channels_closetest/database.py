"""Keeps the transaction of a test while an application under test runs.

Channels closes old database connections around every handler of a consumer. In
production that is right. In a Django ``TestCase`` the handler shares its connection
with the test, and closing it loses the test's transaction.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from types import FunctionType

from django.db.backends.base.base import BaseDatabaseWrapper

_METHOD = "close_if_unusable_or_obsolete"


def spare_transactions() -> None:
    """Let Django close no connection that is inside a transaction, from now on.

    Not undone: the thread of a cancelled application may outlive it, and no test wants
    to lose its transaction.
    """
    # Looking at all classes takes longer than the rest of an application's start, and a
    # new one comes with its module.
    _wrap_every_class(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _wrap_every_class(modules: int) -> None:
    classes = [BaseDatabaseWrapper]
    for cls in classes:  # which grows: a backend may define the method itself
        classes += cls.__subclasses__()
        close = cls.__dict__.get(_METHOD)
        if type(close) is FunctionType and close.__module__ != __name__:
            setattr(cls, _METHOD, _sparing_transactions(close))


def _sparing_transactions(
    close: Callable[[BaseDatabaseWrapper], None],
) -> Callable[[BaseDatabaseWrapper], None]:
    def close_outside_transactions(self: BaseDatabaseWrapper) -> None:
        if not self.in_atomic_block:
            # Where pytest-django blocks the database, that is a RuntimeError.
            with contextlib.suppress(RuntimeError):
                close(self)

    wraps = functools.wraps(close, ("__name__", "__qualname__", "__doc__"))
    return wraps(close_outside_transactions)

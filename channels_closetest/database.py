"""Keeps the database of the test open while an application under test runs.

Channels closes old database connections around every handler of a consumer. In
production that is right. In a Django ``TestCase`` the handler shares its connection
with the test, and closing it loses the test's transaction.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

import channels.db
from django import db

_channels_db: Any = channels.db  # whose stubs leave out what it imports
_DatabaseSyncToAsync: Any = channels.db.DatabaseSyncToAsync

#: What both attributes are when nobody has replaced them.
_djangos_function: Callable[..., None] = db.close_old_connections
_channels_handler: Callable[..., Any] = _DatabaseSyncToAsync.thread_handler

#: Reentrant, because a garbage collection inside it may release a guard.
_lock = threading.RLock()
#: The guards in force, and what the first of them has replaced.
_guards: set[weakref.ref[TransactionGuard]] = set()
_replaced = _djangos_function


class TransactionGuard:
    """Spares database connections inside a transaction, until it is released.

    While any guard is in force, ``channels.db.close_old_connections`` is replaced, and
    so is the method in which Channels calls it around a handler in a thread. A guard
    that is garbage-collected, with an event loop that never finished its application,
    is released.
    """

    def __init__(self) -> None:
        global _replaced
        with _lock:
            self._reference = weakref.ref(self, _release)
            # Before len() is read: a garbage collection in between may release the last
            # of the other guards.
            _guards.add(self._reference)
            current = _channels_db.close_old_connections
            # A replacement that the suite made since the first guard stays in place.
            if len(_guards) == 1 or current is _replaced:
                if current is not _close_old_connections:
                    _replaced = current
                _channels_db.close_old_connections = _close_old_connections
            if _DatabaseSyncToAsync.thread_handler is _channels_handler:
                _DatabaseSyncToAsync.thread_handler = _thread_handler

    def release(self) -> None:
        _release(self._reference)
        del self._reference  # and with it its callback, which would release again


def _release(reference: weakref.ref[TransactionGuard]) -> None:
    with _lock:
        _guards.discard(reference)
        if not _guards:
            _restore()


def _restore() -> None:
    if _channels_db.close_old_connections is _close_old_connections:
        _channels_db.close_old_connections = _replaced
    if _DatabaseSyncToAsync.thread_handler is _thread_handler:
        _DatabaseSyncToAsync.thread_handler = _channels_handler


def _close_old_connections(**kwargs: object) -> None:
    """Stand in for ``channels.db.close_old_connections``."""
    with _lock:
        in_force = bool(_guards)
        if not in_force:
            # The end of a patch by the suite has put this back after the last guard.
            _restore()
    if in_force:
        _close_outside_transactions(_replaced, **kwargs)
    else:
        _replaced(**kwargs)


def _close_outside_transactions(replaced: Callable[..., None], **kwargs: Any) -> None:
    if replaced is not _djangos_function:
        # The suite has a replacement of its own, which decides what to spare.
        return replaced(**kwargs)
    for connection in db.connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            # Where pytest-django forbids the database, that is a RuntimeError.
            with contextlib.suppress(RuntimeError):
                connection.close_if_unusable_or_obsolete()


def _thread_handler(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Stand in for the method of ``channels.db.DatabaseSyncToAsync``.

    Call the same function before and after, because the thread of a cancelled
    application may outlive the guard, and with it the replacement.
    """
    close_old_connections = _channels_db.close_old_connections
    if close_old_connections is _close_old_connections:
        close_old_connections = functools.partial(
            _close_outside_transactions, _replaced
        )
    close_old_connections()
    try:
        return super(_DatabaseSyncToAsync, self).thread_handler(*args, **kwargs)
    finally:
        close_old_connections()

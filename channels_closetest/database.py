"""Keeps the database of the test alive while an application under test runs.

Channels closes old database connections around every handler of a consumer. In
production that is right. In a Django ``TestCase`` the handler shares its connection
with the test, and to close it is to lose the test's transaction.
"""

import contextlib
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

import channels.db
from django import db

_channels_db: Any = channels.db  # whose stubs leave out what it imports

_lock = threading.RLock()  # reentrant: a garbage collection may release inside it
_running: "set[weakref.ref[object]]" = set()
_djangos: Callable[..., None] = db.close_old_connections
_original = _djangos
#: The handlers in threads that have begun and not ended, and what they share.
_handlers: dict[FrameType, list[Any]] = {}


def spare_transactions(application: object) -> Callable[[], None]:
    """Spare connections inside a transaction until ``application`` has ended.

    ``channels.db.close_old_connections`` is replaced while any application runs, and
    is the original again once each has ended: its caller has called what this returns,
    or ``application`` has been garbage collected with an event loop that never
    finished it.
    """
    global _original
    reference = weakref.ref(application, _release)
    with _lock:
        if not _running:
            if _channels_db.close_old_connections is not _close_old_connections:
                _original = _channels_db.close_old_connections
            _channels_db.close_old_connections = _close_old_connections
        _running.add(reference)
    return lambda: _release(reference)


def _release(reference: "weakref.ref[object]") -> None:
    with _lock:
        _running.discard(reference)
        if _running:
            return
        if _channels_db.close_old_connections is _close_old_connections:
            _channels_db.close_old_connections = _original
        # The thread of a cancelled application goes on, and will call the original.
        for connections in _handlers.values():
            for connection in connections:
                _spare_once(connection)
        _handlers.clear()


def _close_old_connections(**kwargs: object) -> None:
    if _original is not _djangos:
        # The suite has a replacement of its own: what it spares is its decision.
        return _original(**kwargs)
    connections = db.connections.all(initialized_only=True)
    for connection in connections:
        if not connection.in_atomic_block:
            # Where pytest-django forbids the database, that is a RuntimeError.
            with contextlib.suppress(RuntimeError):
                connection.close_if_unusable_or_obsolete()
    handler = sys._getframe(1)
    if handler.f_code is channels.db.DatabaseSyncToAsync.thread_handler.__code__:
        # It calls this when it begins, and again when it ends.
        with _lock:
            if _handlers.pop(handler, None) is None:
                _handlers[handler] = [it for it in connections if it.in_atomic_block]


def _spare_once(connection: Any) -> None:
    spared_before = vars(connection).get("close_if_unusable_or_obsolete")

    def close_if_unusable_or_obsolete() -> None:
        if spared_before is None:
            del connection.close_if_unusable_or_obsolete
        else:  # pragma: no cover - asgiref before 3.8 leaves threads within threads
            connection.close_if_unusable_or_obsolete = spared_before

    connection.close_if_unusable_or_obsolete = close_if_unusable_or_obsolete

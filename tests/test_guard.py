"""The guard of the database is released by whatever happens to garbage-collect it."""

import threading
from typing import Any

import channels.db
import pytest

from channels_closetest import database
from channels_closetest.database import TransactionGuard


def test_a_guard_may_be_garbage_collected_while_another_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forgotten: list[TransactionGuard] = []
    made: list[TransactionGuard] = []

    class Collecting(set[Any]):
        """Causes what any allocation may: the end of what is garbage."""

        def add(self, reference: Any) -> None:
            super().add(reference)
            forgotten.clear()

    original = getattr(channels.db, "close_old_connections")
    # A lock of the same kind: if it is not reentrant, the thread never ends.
    monkeypatch.setattr(database, "_lock", type(database._lock)())
    monkeypatch.setattr(database, "_guards", Collecting())
    forgotten.append(TransactionGuard())
    forgotten.append(TransactionGuard())  # and with it, the first is gone
    thread = threading.Thread(
        target=lambda: made.append(TransactionGuard()), daemon=True
    )
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    [guard] = made
    assert getattr(channels.db, "close_old_connections") is not original
    guard.release()
    assert getattr(channels.db, "close_old_connections") is original

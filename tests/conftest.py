from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async

# What fails in these modules is shown as in the modules of the tests.
pytest.register_assert_rewrite("tests.helpers", "tests.steps")


@pytest.fixture(autouse=True)
async def _threads_come_to_rest() -> AsyncIterator[None]:
    """
    Wait for the thread of a sync consumer before the test's event loop is closed.

    asgiref runs them all in one. If it sends just when the event loop stops, it waits
    for ever for an answer, and the next test that needs it waits, too.
    """
    yield
    await sync_to_async(lambda: None)()

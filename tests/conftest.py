import gc
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async

# pytest explains failing assertions in these modules, too.
pytest.register_assert_rewrite("tests.helpers", "tests.steps")


@pytest.fixture(autouse=True)
async def _wait_for_threads() -> AsyncIterator[None]:
    """
    Wait for the thread of a sync consumer before the test's event loop is closed.

    asgiref runs all sync consumers in one thread. If one sends just when the event loop
    stops, the thread waits forever, and so does the next test that needs it.
    """
    yield
    await sync_to_async(lambda: None)()


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the test itself logs: asyncio also logs what earlier tests have left."""
    gc.collect()
    caplog.clear()
    return caplog

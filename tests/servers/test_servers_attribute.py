"""The attribute ``servers``: which servers ``client_view`` and others are about."""

import pytest

from channels_closetest.servers.rules import SERVERS, ServerName
from tests.events import ACCEPT, close
from tests.helpers import client, having_sent


@pytest.mark.parametrize(
    ("servers", "code", "reason", "is_undeliverable"),
    [
        (("daphne",), 1011, "", True),
        (("uvicorn",), 1008, "why", False),
        (["hypercorn", "uvicorn"], 1008, "why", False),
        (("uvicorn", "daphne"), 1008, "why", True),
        (("daphne", "uvicorn"), 1011, "", True),
        (SERVERS, 1011, "", True),
    ],
)
async def test_client_view_is_about_the_first_server_and_undeliverable_about_all(
    servers: list[ServerName], code: int, reason: str, is_undeliverable: bool
) -> None:
    communicator = await having_sent(ACCEPT, close(code=1008, reason="why"))
    # They can be changed during a test.
    assert communicator.client_view.close_code == 1011
    communicator.servers = servers
    assert communicator.client_view == (101, None, [], code, reason)
    assert bool(communicator.undeliverable) is is_undeliverable
    assert (communicator.close_code, communicator.close_reason) == (1008, "why")


@pytest.mark.parametrize("error", [KeyError, None])
async def test_unknown_servers_leave_no_task_behind_a_block(
    error: type[Exception] | None,
) -> None:
    with pytest.raises(error or ValueError):
        async with client(ACCEPT) as communicator:
            await communicator.connect()
            communicator.servers = ("Daphne",)  # type: ignore[assignment]
            if error is not None:
                raise error
    assert communicator.future.done()

"""The attribute ``servers``: which servers ``client_view`` and others are about."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from channels_closetest.servers import replay
from channels_closetest.servers.rules import SERVERS, ServerName
from tests.events import ACCEPT, CLOSE, CONNECT, close, send
from tests.helpers import client, communicator_for, having_sent
from tests.servers.cases import script


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


@pytest.mark.parametrize(
    "servers",
    [(), [], "uvicorn", {"uvicorn"}, ("nginx",), ("daphne", "Uvicorn"), None, ([],)],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.connect(),
        lambda it: it.receive_output(),
        lambda it: it.receive_from(),
        lambda it: it.receive_nothing(),
        lambda it: it.send_input(CONNECT),
        lambda it: it.send_to("anything"),
        lambda it: it.wait_closed(),
        lambda it: it.disconnect(),
        lambda it: it.wait(),
    ],
)
async def test_unknown_servers_are_a_value_error_from_the_first_call(
    servers: object, call: Callable[[Any], Coroutine[Any, Any, object]]
) -> None:
    communicator = communicator_for(script(ACCEPT), servers=servers)
    with pytest.raises(ValueError) as raised:
        await call(communicator)
    assert str(raised.value) == (
        "servers must be a list or tuple with one or more of"
        f" ('daphne', 'uvicorn', 'hypercorn'), but is {servers!r}"
    )
    # The application has not been started.
    communicator.servers = ("daphne",)
    assert await communicator.connect() == (True, None)
    assert len(communicator.transcript.records) == 2
    await communicator.disconnect()


@pytest.mark.parametrize("name", ["transcript", "client_view", "undeliverable"])
async def test_unknown_servers_are_a_value_error_from_each_property(name: str) -> None:
    communicator = communicator_for(script(ACCEPT), servers=("nginx",))
    with pytest.raises(ValueError, match="servers must be a list or tuple .*'nginx'"):
        getattr(communicator, name)


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


async def test_events_are_judged_only_when_client_view_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "RULES", {})
    communicator = client(ACCEPT, send(text=""), CLOSE)
    await communicator.connect()
    assert await communicator.wait_closed() == 4401
    with pytest.raises(KeyError):
        communicator.client_view
    await communicator.disconnect()

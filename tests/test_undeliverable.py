"""``client_view`` and ``undeliverable``, and the servers that they are about."""

import asyncio
from typing import Any

import pytest

from channels_closetest import ClientView, RecordingWebsocketCommunicator, client_view
from channels_closetest.servers import SERVERS
from tests.cases import CLOSE_4000, script
from tests.events import FRAME, accept, close, send
from tests.helpers import communicator_for
from tests.scripts import Script, scripted

# The attribute servers.


async def test_client_view_is_about_the_first_server_and_undeliverable_about_all() -> (
    None
):
    policy = script(accept(), close(code=1008, reason="why"))
    for servers, code, reason, is_undeliverable in [
        (("daphne",), 1011, "", True),
        (("uvicorn",), 1008, "why", False),
        (["hypercorn", "uvicorn"], 1008, "why", False),
        (("uvicorn", "daphne"), 1008, "why", True),
        (("daphne", "uvicorn"), 1011, "", True),
        (SERVERS, 1011, "", True),
    ]:
        async with communicator_for(policy, servers=servers) as communicator:
            await communicator.connect()
            await communicator.wait_closed()
            assert communicator.client_view == (101, None, [], code, reason)
            assert bool(communicator.undeliverable) is is_undeliverable
            assert (communicator.close_code, communicator.close_reason) == (1008, "why")


async def test_servers_can_be_changed_during_a_test() -> None:
    async with communicator_for(script(accept(), close(code=1008))) as communicator:
        await communicator.connect()
        await communicator.wait_closed()
        assert communicator.client_view.close_code == 1011
        communicator.servers = ["uvicorn"]
        assert communicator.client_view.close_code == 1008
        assert communicator.undeliverable == []


@pytest.mark.parametrize(
    "servers",
    [(), [], "uvicorn", {"uvicorn"}, ("granian",), ("daphne", "Uvicorn"), None, ([],)],
)
async def test_unknown_servers_are_a_value_error(servers: object) -> None:
    communicator = communicator_for(script(accept()), servers=servers)
    assert await communicator.connect() == (True, None)
    for name in ["client_view", "undeliverable", "transcript"]:
        with pytest.raises(ValueError) as raised:
            getattr(communicator, name)
        assert str(raised.value) == (
            "servers must be a list or tuple with one or more of"
            f" ('daphne', 'uvicorn', 'hypercorn'), but is {servers!r}"
        )
    # An exception is explained nevertheless.
    with pytest.raises(asyncio.TimeoutError):
        await communicator.receive_output(0)


@pytest.mark.parametrize("servers", [(), ("nginx",), "daphne", None])
@pytest.mark.parametrize("name", ["transcript", "client_view", "undeliverable"])
def test_the_error_for_unknown_servers_names_them(servers: Any, name: str) -> None:
    class Elsewhere(RecordingWebsocketCommunicator):
        pass

    Elsewhere.servers = servers

    async def look() -> None:
        with pytest.raises(ValueError) as raised:
            getattr(Elsewhere(scripted(Script(()), "async"), "/ws/"), name)
        assert str(raised.value) == (
            "servers must be a list or tuple with one or more of"
            f" ('daphne', 'uvicorn', 'hypercorn'), but is {servers!r}"
        )

    asyncio.run(look())


# What is judged, and when.


async def test_the_subprotocols_offered_are_those_of_the_scope() -> None:
    async with communicator_for(script(accept(), offered=("x",))) as communicator:
        await communicator.connect()
        assert len(communicator.undeliverable) == 1
        communicator.scope["subprotocols"] = []
        assert communicator.undeliverable == []


async def test_undeliverable_has_the_event_as_sent() -> None:
    event: dict[str, Any] = send(text="")
    async with communicator_for(script(accept(), event)) as communicator:
        await communicator.connect()
        received = await communicator.receive_output()
        assert received is event
        event["text"] = "changed"
        assert [found.event for found in communicator.undeliverable] == [send(text="")]


def test_events_are_judged_only_when_client_view_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_view, "RULES", {})
    case = script(accept(), send(text=""), CLOSE_4000, FRAME)

    async def test() -> None:
        async with communicator_for(case) as communicator:
            await communicator.connect()
            await communicator.receive_output()
            assert await communicator.wait_closed() == 4000
            with pytest.raises(KeyError):
                communicator.client_view

    asyncio.run(test())


@pytest.mark.parametrize("code", [1000, 1001, 4000])
async def test_client_view_has_the_close_code_that_the_client_sent(code: int) -> None:
    communicator = communicator_for(script(accept(), FRAME))
    await communicator.connect()
    before = communicator.client_view
    assert before == ClientView(101, None, ["hello"], None, None)
    await communicator.disconnect(code=code)
    assert communicator.client_view == before._replace(close_code=code, close_reason="")
    assert communicator.undeliverable == []

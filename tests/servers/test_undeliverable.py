"""``client_view`` and ``undeliverable``, and the servers that they are about."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from channels_closetest import ClientView, RecordingWebsocketCommunicator
from channels_closetest.servers import replay
from channels_closetest.servers.rules import SERVERS
from tests.events import CONNECT, FRAME, accept, close, send
from tests.helpers import communicator_for, message
from tests.scripts import Script, scripted
from tests.servers.cases import CLOSE_4000, script

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
    servers: object, call: Any
) -> None:
    communicator = communicator_for(script(accept()), servers=servers)
    with pytest.raises(ValueError) as raised:
        await call(communicator)
    assert str(raised.value) == (
        "servers must be a list or tuple with one or more of"
        f" ('daphne', 'uvicorn', 'hypercorn'), but is {servers!r}"
    )


async def test_unknown_servers_do_not_start_the_application() -> None:
    communicator = communicator_for(script(accept()), servers=("Daphne",))
    with pytest.raises(ValueError):
        await communicator.connect()
    assert communicator._future is None
    communicator.servers = ("daphne",)
    assert await communicator.connect() == (True, None)
    assert len(communicator.transcript.records) == 2
    await communicator.disconnect()


@pytest.mark.parametrize("error", [KeyError, None])
async def test_unknown_servers_leave_no_task_behind_a_block(
    error: type[Exception] | None,
) -> None:
    with pytest.raises(error or ValueError):
        async with communicator_for(script(accept())) as communicator:
            await communicator.connect()
            communicator.servers = ("Daphne",)  # type: ignore[assignment]
            if error is not None:
                raise error
    assert communicator.future.done()


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
    monkeypatch.setattr(replay, "RULES", {})
    case = script(accept(), send(text=""), CLOSE_4000, FRAME)

    async def test() -> None:
        communicator = communicator_for(case)
        await communicator.connect()
        await communicator.receive_output()
        assert await communicator.wait_closed() == 4000
        with pytest.raises(KeyError):
            communicator.client_view
        await communicator.disconnect()

    asyncio.run(test())


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("code", [1000, 1001, 4000])
async def test_client_view_has_the_close_code_that_the_client_sent(
    code: int, server: str
) -> None:
    communicator = communicator_for(script(accept(), FRAME), servers=[server])
    await communicator.connect()
    before = communicator.client_view
    assert before == ClientView(101, None, ["hello"], None, None)
    await communicator.disconnect(code=code)
    echoed = 1000 if server == "daphne" else code
    assert communicator.client_view == before._replace(
        close_code=echoed, close_reason=""
    )
    assert communicator.undeliverable == []


# What the test does that no client can do.


ONE_CONNECTION = "A communicator is one connection: create another one"


class Connecting(AsyncWebsocketConsumer):
    """Responds with the events of its script to every ``websocket.connect``."""

    def __init__(self, events: Sequence[Any]) -> None:
        super().__init__()
        self.events = events

    async def connect(self) -> None:
        for event in self.events:
            await AsyncConsumer.send(self, event)


@pytest.mark.parametrize("response", [accept(), close()])
@pytest.mark.parametrize("strict", [False, True])
async def test_a_second_connect_is_a_fault_of_the_test(
    response: Any, strict: bool
) -> None:
    application = Connecting.as_asgi(events=[response])
    communicator = RecordingWebsocketCommunicator(application, "/ws/")
    first = await communicator.connect()
    assert communicator.undeliverable == []
    view = communicator.client_view
    communicator.strict = strict
    outcome = "a second websocket.connect: no client can send that"
    if strict:
        text = await message(communicator.connect())
        assert text.splitlines() == [
            "strict: the test sent something that no client can send.",
            "connect",
            f"  {outcome}.",
            f"  {ONE_CONNECTION}.",
        ]
    else:
        assert await communicator.connect() == first
    assert communicator.undeliverable == [(CONNECT, outcome, ONE_CONNECTION)]
    # What the test has done wrong changes nothing for a client.
    assert communicator.client_view == view
    communicator.strict = False
    await communicator.disconnect()


async def test_a_second_accept_is_a_fault_of_the_consumer() -> None:
    application = Connecting.as_asgi(events=[accept(), accept()])
    async with RecordingWebsocketCommunicator(application, "/ws/") as communicator:
        await communicator.connect()
        [found] = communicator.undeliverable
        assert found.outcome.startswith("a second accept(): the client receives ")
        assert found.remedy == "Call accept() once"

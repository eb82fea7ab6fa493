"""The first call or property raises ``ValueError`` for servers that are not known."""

from typing import Any

import pytest

from tests.calls.timing import ENDING, RECEIVING, call
from tests.events import ACCEPT, CONNECT
from tests.helpers import communicator_for, failure
from tests.servers.cases import script

WRONG: list[Any] = [
    *[(), [], "uvicorn", {"uvicorn"}, ("nginx",), ("daphne", "Uvicorn"), None],
    ([],),
]
ARGUMENTS: dict[str, list[Any]] = {
    "send_input": [CONNECT],
    "send_to": ["text"],
    "send_json_to": ["text"],
}


@pytest.mark.parametrize("servers", WRONG, ids=repr)
@pytest.mark.parametrize("name", [*RECEIVING, *ENDING, "receive_nothing", *ARGUMENTS])
async def test_unknown_servers_are_a_value_error_from_the_first_call(
    servers: Any, name: str
) -> None:
    communicator = communicator_for(script(ACCEPT), servers=servers)
    if name in ARGUMENTS:
        made = getattr(communicator, name)(*ARGUMENTS[name])
    else:
        made = call(communicator, name, 1)
    error = await failure(made)
    assert type(error) is ValueError
    assert str(error) == (
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

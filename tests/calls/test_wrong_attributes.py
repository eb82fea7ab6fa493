"""The first call or property raises ``ValueError`` for an attribute that is wrong."""

import math
from typing import Any

import pytest

from tests.calls.timing import ENDING, RECEIVING, call
from tests.events import ACCEPT, CONNECT
from tests.helpers import communicator_for, failure
from tests.servers.cases import script

WRONG: dict[str, list[Any]] = {
    "timeout_factor": [-1, -0.5, math.nan, math.inf, "5", None, 1j, [1]],
    "servers": [
        *[(), [], "uvicorn", {"uvicorn"}, ("nginx",), ("daphne", "Uvicorn"), None],
        ([],),
    ],
}
TEXTS = {
    "timeout_factor": "timeout_factor must be a number that is not negative, but is ",
    "servers": (
        "servers must be a list or tuple with one or more of"
        " ('daphne', 'uvicorn', 'hypercorn'), but is "
    ),
}
ARGUMENTS: dict[str, list[Any]] = {
    "send_input": [CONNECT],
    "send_to": ["text"],
    "send_json_to": ["text"],
}


@pytest.mark.parametrize(
    ("attribute", "value"),
    [(name, value) for name, values in WRONG.items() for value in values],
)
@pytest.mark.parametrize("name", [*RECEIVING, *ENDING, "receive_nothing", *ARGUMENTS])
async def test_the_first_call_raises_a_value_error(
    attribute: str, value: Any, name: str
) -> None:
    communicator = communicator_for(script(ACCEPT), **{attribute: value})
    if name in ARGUMENTS:
        made = getattr(communicator, name)(*ARGUMENTS[name])
    else:
        made = call(communicator, name, 1)
    error = await failure(made)
    assert type(error) is ValueError
    assert str(error) == f"{TEXTS[attribute]}{value!r}"
    # The application has not been started.
    communicator.timeout_factor, communicator.servers = 1, ("daphne",)
    assert await communicator.connect() == (True, None)
    assert len(communicator.transcript.records) == 2
    await communicator.disconnect()


@pytest.mark.parametrize("name", ["transcript", "client_view", "undeliverable"])
async def test_unknown_servers_are_a_value_error_from_each_property(name: str) -> None:
    communicator = communicator_for(script(ACCEPT), servers=("nginx",))
    with pytest.raises(ValueError, match="servers must be a list or tuple .*'nginx'"):
        getattr(communicator, name)

"""Applications that the tests of this folder use, and a connection to one of them."""

from collections.abc import Callable
from typing import Any

from asgiref.typing import ASGI3Application
from channels.testing import WebsocketCommunicator

from tests.events import ACCEPT, DISCONNECT, accept
from tests.helpers import LONG
from tests.scripts import Script, scripted


def sending(*events: object, ending: Any = "wait") -> ASGI3Application:
    return scripted(Script(events, ending), "asgi")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Accepts, and then sends back what it receives."""
    await receive()
    await send(ACCEPT)
    while (event := await receive()) != DISCONNECT:
        is_frame = isinstance(event, dict) and event.get("type") == "websocket.receive"
        await send({**event, "type": "websocket.send"} if is_frame else event)


async def scope_reader(scope: Any, receive: Any, send: Any) -> None:
    """Accepts with the user of the scope as subprotocol, and adds to the scope."""
    await receive()
    scope["keys"], scope["id"] = [*scope], id(scope)
    await send(accept(subprotocol=scope.get("user")))
    await receive()


async def connected(
    communicator_class: Callable[..., WebsocketCommunicator],
    application: ASGI3Application = echo,
) -> WebsocketCommunicator:
    communicator = communicator_class(application, "/")
    assert await communicator.connect(LONG) == (True, None)
    return communicator

"""Applications that report which ``websocket.disconnect`` a server has sent them."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

from tests.events import ACCEPT, BODY, DENIAL, Event, close
from tests.events import send as frame

#: What an application sends before it waits for the end of its connection. Where it has
#: accepted and does not close, the client closes with 1000. Where it has not responded,
#: the client leaves.
CONVERSATIONS: dict[str, list[Event]] = {
    "waits": [],
    "rejects": [close()],
    "rejects with 4401": [close(code=4401)],
    "denies": [DENIAL, BODY],
    "accepts": [ACCEPT],
    "closes": [ACCEPT, close()],
    "closes with 4401": [ACCEPT, close(code=4401, reason="why")],
}

#: What each conversation ended with, by the number that its client has chosen.
_ends: dict[str, "asyncio.Future[Event]"] = {}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Hold a conversation, or send how the one with the same number has ended."""
    if scope["type"] != "websocket":
        raise ValueError("only WebSockets")
    query = parse_qs(scope["query_string"].decode())
    end = _ends.setdefault(query["number"][0], asyncio.Future())
    await receive()
    if "name" in query:
        for event in CONVERSATIONS[query["name"][0]]:
            await send(event)
        end.set_result(await receive())
    else:
        await send(ACCEPT)
        await send(frame(text=json.dumps(await end)))
        await send(close())

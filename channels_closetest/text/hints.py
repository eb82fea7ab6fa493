"""What the test has forgotten, where an exception of the application tells."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from ..recording import RawRecord
from .values import format_value

#: The keys that middleware adds to the scope: which, and a value for a test.
SCOPE_KEYS = {
    "user": ("AuthMiddlewareStack", "user"),
    "session": ("SessionMiddlewareStack", "session"),
    "cookies": ("CookieMiddleware", "{}"),
    "url_route": ("URLRouter", '{"args": (), "kwargs": {}}'),
}


def format_hint(exception: BaseException, records: Sequence[RawRecord]) -> str:
    """Return what the test has forgotten, if that is why the application raised."""
    cls = type(exception)
    if cls.__name__ == "InvalidChannelLayerError" or (
        type(exception) is AttributeError
        and exception.obj is None
        and str(exception.name).startswith("group_")
    ):
        return "there is no channel layer: set CHANNEL_LAYERS in the settings"
    if issubclass(cls, json.JSONDecodeError):
        text = getattr(exception, "doc")
        for direction, event, *_ in reversed(records):
            if type(event) is dict and event.get("text") == text:
                who = "test" if direction == "receive" else "application"
                return f"the {who} has sent text that is not JSON: {format_value(text)}"
    if cls is TypeError:
        # Their functions call an application, which they name so.
        for names in _names_in(exception, "asgiref.compatibility", "channels.routing"):
            called: Any = names.get("application")
            if issubclass(type(called), type) and hasattr(called, "as_asgi"):
                name = called.__name__
                return f"{name} is a class, not an application: pass {name}.as_asgi()"
    if cls is ValueError and str(exception).startswith("No route found"):
        routers = [names["self"] for names in _names_in(exception, "channels.routing")]
        for router in routers[-1:]:  # the innermost
            routes = ", ".join(str(route.pattern) for route in router.routes)
            return f"the routes are: {format_value(routes)}"
    key = exception.args[0] if cls is KeyError and exception.args else None
    if type(key) is not str:
        return ""
    # Else the key may be one of another mapping.
    looked_up = rf"""scope\[(["']{re.escape(key)}["']|\w+)\]"""
    frames = traceback.extract_tb(exception.__traceback__)
    if not any(re.search(looked_up, it.line or "") for it in frames[-1:]):
        return ""
    source, example = SCOPE_KEYS.get(key, ("", "..."))
    adding = f", which {source} adds: use that, or set" if source else ": set"
    return (
        f"the scope has no {key!r}{adding}"
        f' communicator.scope["{format_value(key)}"] = {example}'
    )


def format_refusal(origin: str | None, allowed: Sequence[str]) -> str:
    """Return what OriginValidator has refused, and what it allows."""
    return (
        f"the origin header is {origin or 'missing'}, and OriginValidator allows"
        f" {format_value(', '.join(allowed))}"
    )


def _names_in(exception: BaseException, *modules: str) -> Iterator[dict[str, Any]]:
    """Yield the local names of the frames of some modules that raised it."""
    for frame, _ in traceback.walk_tb(exception.__traceback__):
        if frame.f_globals.get("__name__") in modules:
            yield frame.f_locals

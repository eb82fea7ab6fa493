"""Where the table differs from the servers, and why that is acceptable."""

from collections.abc import Sequence
from itertools import product

from channels_closetest.servers.rules import SERVERS
from tests.servers.running import Server

#: A server, and the name of a case.
Differences = set[tuple[Server, str]]


def on(server: Server, *names: str, kinds: Sequence[str] = ("async",)) -> Differences:
    """Return cases that differ on one server."""
    return {(server, f"{name} ({kind})") for name, kind in product(names, kinds)}


CLIENT_VIEW_DIFFERS: dict[str, Differences] = {
    "An exception that a consumer suppresses is in no event.": {
        (server, f"suppressing-{kind}")
        for server in SERVERS
        for kind in ("async", "sync")
    },
    "Uvicorn accepts with '' as without a subprotocol.": on(
        "uvicorn", "accepts '' of none", kinds=("async", "tasks")
    ),
    "A close that Uvicorn cannot send may be followed by that of another task.": on(
        "uvicorn", "accepts, closes(1005), closes", kinds=("tasks",)
    ),
}


def is_known(server: Server, name: str) -> bool:
    return any((server, name) in cases for cases in CLIENT_VIEW_DIFFERS.values())

"""Where the table differs from the servers, and why that is acceptable."""

from itertools import product

from channels_closetest.servers.rules import SERVERS
from tests.servers.running import Server

#: Servers, and the names of cases in which ``client_view`` differs from the server.
CLIENT_VIEW_DIFFERS: set[tuple[Server, str]] = {
    # An exception that a consumer suppresses is in no event.
    *product(SERVERS, ["suppressing"]),
    # Uvicorn accepts with '' as without a subprotocol.
    ("uvicorn", "accepts '' of none (async)"),
    ("uvicorn", "accepts '' of none (tasks)"),
    # A close that Uvicorn cannot send may be followed by that of another task.
    ("uvicorn", "accepts, closes(1005), closes (tasks)"),
}

"""Where the table differs from the servers, and why that is acceptable."""

from itertools import product

from tests.cases import MALFORMED_BODIES, MALFORMED_STARTS
from tests.servers import Server

#: A server, and the name of a case.
Differences = set[tuple[Server, str]]

TASKS = " (tasks)"


def on(
    server: Server, *names: str, kinds: tuple[str, ...] = ("", TASKS)
) -> Differences:
    """Return cases that differ on one server, by default also if tasks send them."""
    return {(server, f"{name}{kind}") for name, kind in product(names, kinds)}


ONLY_TASKS = (TASKS,)
NOT_TASKS = ("",)

NONE_IS_THE_END = on(
    "hypercorn",
    "before accept: None",
    "before close: None",
    "after accept: None",
    kinds=ONLY_TASKS,
)
IN_CAPITALS = on(
    "hypercorn",
    "accepts None of ('y',) with header [(b'Sec-WebSocket-Protocol', b'y')]",
)

CLIENT_VIEW_DIFFERS: dict[str, Differences] = {
    "An exception that a consumer suppresses is in no event.": {
        *on("daphne", "suppressing-async", "suppressing-sync", kinds=NOT_TASKS),
        *on("uvicorn", "suppressing-async", "suppressing-sync", kinds=NOT_TASKS),
        *on("hypercorn", "suppressing-async", "suppressing-sync", kinds=NOT_TASKS),
    },
    "Daphne notices within a second that the application has raised.": on(
        "daphne", "accepts, raises, leaves"
    ),
    # No consumer has a reason to send any of the following. It is undeliverable.
    "Hypercorn converts it; the table has it raise.": {
        *on(
            "hypercorn",
            "accepts, closes({'code': '4000'})",
            "accepts, closes({'code': 4001.5})",
            "accepts, sends {'bytes': 1}",
            "accepts, sends {'bytes': 0}",
            "accepts, sends {'bytes': [1, 2]}",
            "accepts with headers [(b'x-a', 'b')]",
            "denies with status 600",
            "denies with header b'x-a': b'b\\n'",
        ),
        *on("hypercorn", "accepts, closes({'code': True})", kinds=ONLY_TASKS),
    },
    "Hypercorn checks the start when the body is sent; the table does at once.": on(
        "hypercorn",
        *(f"starts to deny with {keys}, closes" for keys in MALFORMED_STARTS),
        kinds=NOT_TASKS,
    ),
    "Hypercorn sends the status before a body that is not bytes raises.": on(
        "hypercorn",
        *(f"denies with body {body!r}" for body in MALFORMED_BODIES),
        kinds=ONLY_TASKS,
    ),
    "To Hypercorn, None is the end of the application.": NONE_IS_THE_END,
    "Hypercorn finds the header in lower case only, as ASGI has it.": IN_CAPITALS,
    "Uvicorn treats it as no reason; the table has it raise.": on(
        "uvicorn",
        "accepts, closes({'code': 4000, 'reason': 0})",
        "accepts, closes({'code': 4000, 'reason': []})",
    ),
    "Uvicorn raises; in the table it sends no code.": on(
        "uvicorn", "accepts, closes({'code': None, 'reason': 'why'})"
    ),
    "A close that Uvicorn cannot send may be followed by that of another task.": on(
        "uvicorn", "accepts, closes(1005), closes", kinds=ONLY_TASKS
    ),
    "The client cannot read this response, of which a test sees the status.": on(
        "uvicorn",
        "denies with header b'x y': b'b'",
        "denies with header b':x': b'b'",
    ),
}
UNDELIVERABLE_DIFFERS: dict[str, Differences] = {
    "To the client, this is not a denial, but an acceptance that it rejects.": {
        *on("uvicorn", "denies with status 101"),
        *on("hypercorn", "denies with status 101"),
    },
    "To Hypercorn, None is the end of the application.": NONE_IS_THE_END,
    "Hypercorn finds the header in lower case only, as ASGI has it.": IN_CAPITALS,
    "The server drops the header, and sends an equal one of its own.": on(
        "daphne",
        *(
            f"accepts y of ('y',) with header [({name!r}, b'y')]"
            for name in (b"sec-websocket-protocol", b"Sec-WebSocket-Protocol")
        ),
    ),
    "Without the part that raised, the response is what was meant.": {
        *on("uvicorn", "denies without body at first", kinds=ONLY_TASKS),
        *on(
            "uvicorn",
            "denies in part, then without body, then with one",
            kinds=ONLY_TASKS,
        ),
    },
}


def is_known(differences: dict[str, Differences], server: Server, name: str) -> bool:
    return any((server, name) in cases for cases in differences.values())

"""The real servers, and what a real client gets from them."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Literal, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.http11 import Response
from websockets.typing import Subprotocol

from tests.scripts import Kind, Script, to_query_string

Server = Literal["daphne", "uvicorn", "hypercorn"]

COMMAND_LINES: dict[Server, str] = {
    "daphne": "daphne -b 127.0.0.1 -p {port} {application}",
    "uvicorn": "uvicorn --host 127.0.0.1 --port {port} {application}",
    "hypercorn": "hypercorn -b 127.0.0.1:{port} {application}",
}

# How long a client hears nothing before it takes it that nothing will come. Daphne
# reports a crash up to one second late.
PATIENCE = 10.0


class Case(NamedTuple):
    script: Script
    kind: Kind = "async"
    subprotocols: Sequence[str] = ()

    @property
    def spoils_daphne(self) -> bool:
        """
        Whether Daphne may tell no later client of a crash, until it is restarted.

        A subprotocol that was not offered leaves it between handshake and
        connection. When the application then raises, Daphne's check for crashed
        applications raises too, and is not run again.
        """
        return any(
            isinstance(event, dict)
            and event.get("subprotocol") is not None
            and event["subprotocol"] not in self.subprotocols
            for event in self.script.events
        )


class Observed(NamedTuple):
    """
    What a client got.

    ``status`` is that of the HTTP answer, also of a 101 the client then refused, and
    None if there was no answer. ``headers`` (names in lower case) and ``body`` are
    those of a complete answer that the client did not refuse. ``close_code`` and
    ``close_reason`` are those of a browser's ``CloseEvent``, and None if the
    connection stayed open.
    """

    status: int | None
    headers: tuple[tuple[str, str], ...]
    body: bytes
    subprotocol: str | None
    messages: tuple[str | bytes, ...]
    close_code: int | None
    close_reason: str | None


@contextmanager
def serving(
    server: Server, *options: str, application: str = "tests.scripts:application"
) -> Iterator[str]:
    """Run a server as in production, and give its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command_line = COMMAND_LINES[server].format(port=port, application=application)
    # How strict Python is with the tests is not how servers are run.
    environment = os.environ | {"PYTHONWARNINGS": "", "PYTHONDEVMODE": ""}
    environment.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command_line.split(), *options],
            cwd=Path(__file__).parents[1],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 60
            while not answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{server}: no answer\n{log.read().decode()}")
                time.sleep(0.05)
            yield f"ws://127.0.0.1:{port}"
        finally:
            # The whole group: Hypercorn serves from a process of its own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(port: int) -> bool:
    """Listening is not enough: Hypercorn listens before it loads the application."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()


class connect_without_redirects(connect):
    """Browsers follow no redirect that answers a WebSocket handshake."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def observe(url: str, case: Case) -> Observed:
    """Have the server perform a script, and listen until it has no more to say."""
    status_line = bytearray()

    class Connection(ClientConnection):
        # The library hides the status of an answer that it refuses or that breaks off.
        def data_received(self, data: bytes) -> None:
            status_line.extend(data[: len("HTTP/1.1 101") - len(status_line)])
            super().data_received(data)

    response: Response | None = None
    subprotocol: str | None = None
    messages: list[str | bytes] = []
    close_code: int | None = 1006
    close_reason: str | None = ""

    async def listen(connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in connection:
                messages.append(message)

    try:
        async with connect_without_redirects(
            f"{url}/?{to_query_string(case.script, case.kind)}",
            subprotocols=[Subprotocol(name) for name in case.subprotocols] or None,
            proxy=None,
            open_timeout=PATIENCE,
            close_timeout=1,
            max_size=None,
            ping_interval=None,
            create_connection=Connection,
        ) as connection:
            response = connection.response
            subprotocol = connection.subprotocol
            listening = asyncio.create_task(listen(connection))
            heard = -1
            while not listening.done() and heard < len(messages):
                heard = len(messages)
                await asyncio.wait([listening], timeout=PATIENCE)
            close_code = connection.close_code
            close_reason = connection.close_reason
    except InvalidStatus as refusal:
        response = refusal.response
    except (InvalidHandshake, asyncio.TimeoutError):
        pass
    headers = response.headers.raw_items() if response else ()
    return Observed(
        status=int(status_line[-3:]) if status_line.startswith(b"HTTP/1.1 ") else None,
        headers=tuple((name.lower(), value) for name, value in headers),
        body=bytes(response.body or b"") if response else b"",
        subprotocol=subprotocol,
        messages=tuple(messages),
        close_code=close_code,
        close_reason=close_reason,
    )


async def observe_all(url: str, cases: Sequence[Case]) -> list[Observed]:
    """
    Observe many cases side by side, as many take their time.

    Those that spoil Daphne come last. They don't see themselves that it is spoiled,
    but whoever uses the server after them does. A flood of frames keeps a server from
    answering anyone else: observe it alone.
    """
    observed: dict[int, Observed] = {}
    at_once = asyncio.Semaphore(50)

    async def observe_one(index: int) -> None:
        async with at_once:
            observed[index] = await observe(url, cases[index])

    for spoiling in (False, True):
        await asyncio.gather(
            *(
                observe_one(index)
                for index, case in enumerate(cases)
                if case.spoils_daphne is spoiling
            )
        )
    return [observed[index] for index in range(len(cases))]

"""Run the real servers, and observe what a real client receives from them."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
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

# Seconds without a frame after which a client stops waiting. Daphne reports a crash up
# to one second late.
TIMEOUT = 10.0


class Case(NamedTuple):
    script: Script
    kind: Kind = "async"
    subprotocols: Sequence[str] = ()
    #: The code and reason with which the client closes when it has received a frame.
    #: With 1006, it vanishes.
    leaves: tuple[int | None, str] | None = None
    #: What the client sends when it has received a frame.
    sends: str | None = None
    #: Where the application is that does not perform the script.
    path: str = ""

    @property
    def events(self) -> tuple[Any, ...]:
        return self.script.events + self.script.late

    @property
    def closes(self) -> bool:
        return "websocket.close" in str(self.script.events)

    @property
    def spoils_daphne(self) -> bool:
        """
        Whether Daphne may report no crash to any later client, until it is restarted.

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


def selected(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Return the parameters of the tests of this module that pytest is going to run."""
    return [
        item.callspec.params
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    ]


class Observed(NamedTuple):
    """
    What a client received.

    ``status`` is that of the HTTP response, and None if there was none, or a 101 that
    the client then rejected. ``headers`` (names in lower case) and
    ``body`` are those of a complete response that the client did not reject.
    ``close_code`` and ``close_reason`` are those of a browser's ``CloseEvent``, and
    None if the connection stayed open.
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    subprotocol: str | None = None
    messages: tuple[str | bytes, ...] = ()
    close_code: int | None = 1006
    close_reason: str | None = ""


def python_of(server: Server) -> str:
    return os.environ.get(f"CLOSETEST_{server.upper()}", sys.executable)


@contextmanager
def serving(
    server: Server, application: str = "tests.servers.cases:application"
) -> Iterator[str]:
    """
    Run a server as in production, and yield its URL.

    An environment variable like ``CLOSETEST_DAPHNE`` is the path of a Python that has
    another version of it.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command_line = COMMAND_LINES[server].format(port=port, application=application)
    # Servers are not run with the warnings and the mode that the tests are run with.
    environment = os.environ | {"PYTHONWARNINGS": "", "PYTHONDEVMODE": ""}
    environment.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [python_of(server), "-m", *command_line.split()],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 60
            while not is_responding(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{server}: no response\n{log.read().decode()}")
                time.sleep(0.05)
            yield f"ws://127.0.0.1:{port}"
        finally:
            # Kill the whole group: Hypercorn serves from a child process.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_responding(port: int) -> bool:
    """Return whether it responds. Hypercorn listens before it loads the application."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(TIMEOUT)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client.recv(1) != b""
    return False


class connect_without_redirects(connect):
    """Like browsers, follow no redirect in response to a WebSocket handshake."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def observe(url: str, case: Case) -> Observed:
    """Make the server perform a script, and receive until nothing more arrives."""
    status_line, close_frame = bytearray(), bytearray()

    class Connection(ClientConnection):
        # The library hides the status of a rejected or truncated response, and what is
        # in a close frame whose code RFC 6455 does not define. Browsers report that.
        def data_received(self, data: bytes) -> None:
            status_line.extend(data[: len("HTTP/1.1 101") - len(status_line)])
            last_frame = data[data.find(b"\x88") :]
            if len(last_frame) >= 4 and last_frame[1] == len(last_frame) - 2:
                close_frame[:] = last_frame
            super().data_received(data)

    got = Observed()
    messages: list[str | bytes] = []
    response: Response | None = None
    try:
        async with connect_without_redirects(
            f"{url}/{case.path}?{to_query_string(case.script, case.kind)}",
            subprotocols=[Subprotocol(name) for name in case.subprotocols] or None,
            proxy=None,
            open_timeout=TIMEOUT,
            close_timeout=1,
            max_size=None,
            ping_interval=None,
            create_connection=Connection,
        ) as connection:
            response = connection.response
            with suppress(ConnectionClosed, TimeoutError):
                while True:
                    messages.append(await asyncio.wait_for(connection.recv(), TIMEOUT))
                    if case.sends is not None:
                        await connection.send(case.sends)
                    if case.leaves == (1006, ""):
                        connection.transport.abort()
                    elif case.leaves is not None:
                        # Without a code, a browser's close() sends none.
                        await connection.close(*case.leaves)  # type: ignore[arg-type]
            code, reason = connection.close_code, connection.close_reason
            if code == 1006 and close_frame:
                code = int.from_bytes(close_frame[2:4], "big")
                reason = close_frame[4:].decode()
            got = Observed(101, (), b"", connection.subprotocol, (), code, reason)
    except InvalidStatus as rejection:
        response = rejection.response
    except (InvalidHandshake, TimeoutError):
        pass
    if response is not None:
        headers = [(name.lower(), it) for name, it in response.headers.raw_items()]
        got = got._replace(headers=tuple(headers), body=bytes(response.body or b""))
    # Of a response that is not complete, or that the client rejects, there is no more.
    status = int(status_line[-3:]) if status_line.startswith(b"HTTP/1.1 ") else None
    return got._replace(
        status=None if status == 101 and response is None else status,
        messages=tuple(messages),
    )


async def observe_all(url: str, cases: Mapping[str, Case]) -> dict[str, Observed]:
    """
    Observe many cases concurrently, because many of them take long.

    What takes longer than a second waits for what may never come, and keeps the server
    no longer busy: meanwhile, others begin. Those that spoil Daphne come last: they
    are not affected themselves, but later clients of the server are.
    """
    observed: dict[str, Observed] = {}
    busy = asyncio.Semaphore(50)

    async def observe_one(name: str) -> None:
        async with busy:
            observing = asyncio.create_task(observe(url, cases[name]))
            await asyncio.wait([observing], timeout=1)
        observed[name] = await observing

    # Those that close come last: they are quick.
    others = sorted(cases, key=lambda name: cases[name].closes)
    for spoiling in (False, True):
        names = [name for name in others if cases[name].spoils_daphne is spoiling]
        await asyncio.gather(*map(observe_one, names))
    return observed

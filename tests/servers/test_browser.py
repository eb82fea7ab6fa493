"""``client_view`` agrees with what JavaScript in a real browser gets from a server."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from channels_closetest.servers.rules import SERVERS
from tests.scripts import to_query_string
from tests.servers.cases import ROWS
from tests.servers.running import Server, selected, serving
from tests.servers.test_servers import predict

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Without a sandbox, which is not available to root.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

#: The rows that a browser may judge in another way than another client.
BROWSER_ROWS = (
    *["sent before accept()", "accepted with a subprotocol", "accepted with a (str"],
    *["accepted without any", "NaN or Infinity", "an undefined close code"],
    *["a close code that no frame may contain", "a close code reserved"],
)
CASES = {name: case for name, case in ROWS.items() if name.startswith(BROWSER_ROWS)} | {
    name: ROWS[name]
    for name in [
        *["accepts, sends frames, closes(4401, a reason)", "accepts, closes, waits"],
        *[
            "delivered 2",
            "closes, waits",
            "nothing, raises",
            "accepts, sends frames, raises",
        ],
    ]
}

# Opens all the WebSockets, and reports what they received when all are closed.
PAGE = """\
<!DOCTYPE html>
<script>
"use strict";
const reported = {};
for (const [name, url, subprotocols] of CASES) {
    const log = {messages: [], subprotocol: null};
    const socket = new WebSocket(url, subprotocols);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { log.subprotocol = socket.protocol || null; };
    socket.onmessage = ({data}) => { log.messages.push(read(data)); };
    socket.onclose = ({code, reason}) => {
        reported[name] = {...log, code, reason};
        if (Object.keys(reported).length === CASES.length) {
            const report = new WebSocket(REPORT);
            report.onopen = () => { report.send(JSON.stringify(reported)); };
        }
    };
}

function read(data) {
    if (typeof data !== "string") {
        return {bytes: Array.from(new Uint8Array(data))};
    }
    try {
        return JSON.parse(data);
    } catch {
        return data;
    }
}
</script>
"""


#: A server, and the name of a case.
Key = tuple[Server, str]


async def browse(keys: Collection[Key], folder: Path) -> dict[Key, Any]:
    """Return what a browser reports of these cases, performed by these servers."""
    report: asyncio.Future[str | bytes] = asyncio.Future()

    async def receive(connection: ServerConnection) -> None:
        report.set_result(await connection.recv())

    with ExitStack() as stack:
        urls = {server: stack.enter_context(serving(server)) for server in dict(keys)}
        cases = []
        for key in keys:
            url, (script, kind, subprotocols, *_) = urls[key[0]], CASES[key[1]]
            url = f"{url}/?{to_query_string(script, kind)}"
            cases.append((" ".join(key), url, subprotocols))
        async with serve(receive, "127.0.0.1", 0) as server:
            [listening] = server.sockets
            port = listening.getsockname()[1]
            constants = f"CASES = {json.dumps(cases)}, REPORT = 'ws://127.0.0.1:{port}'"
            page = folder / "page.html"
            page.write_text(f"<script>const {constants};</script>\n{PAGE}")
            browser = subprocess.Popen(
                [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder}", page.as_uri()],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                received = json.loads(await asyncio.wait_for(report, 60))
            finally:
                os.killpg(browser.pid, signal.SIGKILL)
                browser.wait()
    return {key: received[" ".join(key)] for key in keys}


@pytest.fixture(scope="module")
def reported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[Key, Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium, which on Debian is the package chromium")
    keys = {(params["server"], params["name"]) for params in selected(request)}
    return asyncio.run(browse(keys, tmp_path_factory.mktemp("profile")))


@pytest.mark.parametrize(
    ("server", "name"),
    [
        (server, name)
        for server in SERVERS
        for name, case in CASES.items()
        if server != "daphne" or not case.spoils_daphne
    ],
)
async def test_client_view_is_what_a_browser_receives(
    server: Server, name: str, reported: dict[Key, Any], tmp_path: Path
) -> None:
    view = (await predict(server, CASES[name])).client_view
    expected = {
        "subprotocol": view.subprotocol,
        "messages": [
            {"bytes": list(message)} if isinstance(message, bytes) else message
            for message in view.messages
        ],
        "code": view.close_code,
        "reason": view.close_reason,
    }
    # On a busy machine, Daphne drops a connection before the close frame has left. What
    # seems to be wrong is performed again, alone.
    received = reported[server, name]
    if received != expected:
        received = (await browse([(server, name)], tmp_path))[server, name]
    assert received == expected

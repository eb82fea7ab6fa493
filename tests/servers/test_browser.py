"""``client_view`` agrees with what JavaScript in a real browser gets from a server."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from channels_closetest.servers.rules import SERVERS
from tests.scripts import to_query_string
from tests.servers.cases import ROWS
from tests.servers.running import Server, selected, serving
from tests.servers.test_servers import predict

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",  # not available to root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

#: The rows that a browser may judge in another way than another client.
BROWSER_ROWS = (
    *["sent before accept()", "accepted with a subprotocol", "accepted with a (str"],
    *["accepted without any", "NaN or Infinity", "an undefined close code"],
    *["a close code that no frame may contain", "a close code reserved"],
)
CASES = {name: case for name, case in ROWS.items() if name.startswith(BROWSER_ROWS)} | {
    name: ROWS[name]
    for name in [
        *["accepts, sends frames, closes(4401, a reason)", "accepts, closes"],
        *["delivered 2", "closes", "raises", "accepts, sends frames, raises"],
    ]
}

# Opens all the WebSockets, and posts what they received when all are closed.
PAGE = """\
<!DOCTYPE html>
<script>
"use strict";
const reported = {};
let open = cases.length;
for (const [name, url, subprotocols] of cases) {
    const log = reported[name] = {messages: [], subprotocol: null};
    const socket = new WebSocket(url, subprotocols);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { log.subprotocol = socket.protocol || null; };
    socket.onmessage = ({data}) => { log.messages.push(read(data)); };
    socket.onclose = ({code, reason}) => {
        Object.assign(log, {code, reason});
        open -= 1;
        if (open === 0) {
            fetch("/", {method: "POST", body: JSON.stringify(reported)});
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


@contextmanager
def serving_page(page: str) -> Iterator[tuple[str, Queue[Any]]]:
    """Serve one page, and queue what it posts."""
    posts: Queue[Any] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def do_POST(self) -> None:
            posts.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", posts
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browsing(url: str, profile: Path) -> Iterator[None]:
    assert CHROMIUM is not None
    browser = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()


#: A server, and the name of a case.
Key = tuple[Server, str]


def browse(keys: Collection[Key], profile: Path) -> dict[Key, Any]:
    """Return what a browser reports of these cases, performed by these servers."""
    with ExitStack() as stack:
        urls = {server: stack.enter_context(serving(server)) for server in dict(keys)}
        cases = []
        for key in keys:
            url, (script, kind, subprotocols, *_) = urls[key[0]], CASES[key[1]]
            url = f"{url}/?{to_query_string(script, kind)}"
            cases.append((" ".join(key), url, subprotocols))
        page = f"<script>const cases = {json.dumps(cases)};</script>\n{PAGE}"
        url, posts = stack.enter_context(serving_page(page))
        stack.enter_context(browsing(url, profile))
        try:
            report = posts.get(timeout=60)
        except Empty:
            pytest.fail("Chromium has not reported within a minute")
        return {key: report[" ".join(key)] for key in keys}


@pytest.fixture(scope="module")
def reported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[Key, Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium, which on Debian is the package chromium")
    keys = {(params["server"], params["name"]) for params in selected(request)}
    return browse(keys, tmp_path_factory.mktemp("profile"))


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
        received = browse([(server, name)], tmp_path)[server, name]
    assert received == expected

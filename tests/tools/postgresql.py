"""
Run a command with a PostgreSQL server of its own, as it is in Debian's package::

    python -m tests.tools.postgresql python -m pytest tests/database/test_database.py

The server listens on a free port of the loopback interface, keeps its data in a
temporary directory, and is gone when the command has ended.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def find_binaries() -> Path:
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest = max(versions, key=lambda path: int(path.parent.name), default=None)
    if newest is None:
        sys.exit("No PostgreSQL server found: apt-get install postgresql")
    return newest


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def postgresql() -> Iterator[dict[str, str]]:
    """Run a server. Yields the environment variables that tell where it is."""
    pg_ctl = find_binaries() / "pg_ctl"
    # PostgreSQL refuses to run as root.
    is_root = os.geteuid() == 0
    as_server = ["runuser", "-u", "postgres", "--"] if is_root else []
    port = find_free_port()
    with tempfile.TemporaryDirectory(prefix="closetest-") as directory:
        if is_root:
            shutil.chown(directory, "postgres", "postgres")

        def control(action: str, *options: str, check: bool = True) -> None:
            data = f"--pgdata={directory}/data"
            command = [*as_server, str(pg_ctl), action, data, "--silent", *options]
            # Not a pipe: the server would hold it open.
            subprocess.run(command, check=check, cwd=directory, stdout=sys.stderr)

        control("init", "--options=--username=postgres --auth=trust --no-sync")
        try:
            control(
                "start",
                f"--options=-c listen_addresses=127.0.0.1 -c port={port}"
                f" -c unix_socket_directories={directory}"
                " -c fsync=off -c log_min_messages=fatal",
            )
            yield {
                "CLOSETEST_DATABASE": "postgresql",
                "PGHOST": "127.0.0.1",
                "PGPORT": str(port),
                "PGUSER": "postgres",
            }
        finally:
            # Not checked: there is no server if it did not start.
            control("stop", "--mode=immediate", check=False)


def main(command: Sequence[str]) -> int:
    if not command:
        sys.exit(__doc__)
    for number in (signal.SIGHUP, signal.SIGTERM):
        # So that the server is stopped then too.
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    with postgresql() as variables:
        code = subprocess.call(command, env={**os.environ, **variables})
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

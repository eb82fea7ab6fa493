"""``python -m channels_closetest`` and ``pytest --closetest``: what both share."""

import argparse
import os
from typing import Any

from ..servers.rules import SERVERS

#: The environment variable by which another interpreter learns of the audit.
VARIABLE = "CHANNELS_CLOSETEST_AUDIT"
_NAMES = ",".join(SERVERS)


def _servers(names: str) -> list[str]:
    servers = names.split(",")
    if not set(servers) <= set(SERVERS):
        raise argparse.ArgumentTypeError(f"expected some of {_NAMES}, not {names!r}")
    return servers


def _file(path: str) -> str:
    path = os.path.abspath(path)  # the suite may change the working directory
    if os.path.isdir(path) or not os.path.isdir(os.path.dirname(path)):
        raise argparse.ArgumentTypeError(f"{path} is no file in an existing directory")
    return path


OPTIONS: dict[str, dict[str, Any]] = {
    "servers": dict(metavar="NAMES", type=_servers, help=f"those of {_NAMES} you use"),
    "fail-on-findings": dict(action="store_true", help="exit with 1 for any finding"),
    "json": dict(metavar="FILE", type=_file, help="also write the report to a file"),
}

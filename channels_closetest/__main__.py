"""Run a test suite, and report which of its events no client receives as sent."""

from __future__ import annotations

import argparse
import atexit
import io
import os
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType

from .audit.collect import Audit
from .audit.hooks import start
from .servers.rules import SERVERS

_USAGE = """\
python -m channels_closetest [options] SCRIPT [arguments]
       python -m channels_closetest [options] -m MODULE [arguments]"""


def main(arguments: Sequence[str]) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    command: list[str] = options.command
    if not command:
        parser.error("a script or -m with a module is required")
    audit = Audit.create(options.servers)
    audit.share()
    start(audit)
    # When the interpreter exits, because it has printed a traceback by then.
    atexit.register(audit.finish, options.json)
    sys.argv[:] = command
    try:
        if options.is_module:
            runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        else:
            run_script(command[0])
    except SystemExit as exit:
        if exit.code not in (None, 0):
            raise
    if options.fail and audit.report().findings:
        sys.exit(1)


def run_script(path: str) -> None:
    """Run a script as ``python`` does, with the folder of it in ``sys.path``."""
    try:
        with io.open_code(os.path.abspath(path)) as file:
            source = file.read()
    except OSError as error:
        print(f"{sys.executable}: can't open file {path!r}: {error}", file=sys.stderr)
        sys.exit(2)
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    # Not runpy.run_path(), with which either __file__ is relative or sys.argv[0] is
    # absolute, and a file that runs no more is not __main__ when the process exits.
    module = sys.modules["__main__"] = ModuleType("__main__")
    module.__file__ = os.path.abspath(path)
    code = compile(source, module.__file__, "exec", dont_inherit=True)
    exec(code, vars(module))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m channels_closetest",
        usage=_USAGE,
        description="Run a test suite with RecordingWebsocketCommunicator in place of"
        " channels.testing.WebsocketCommunicator, then report which events no client"
        " receives as sent.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--servers",
        metavar="NAMES",
        type=_servers,
        help=f"the servers that you deploy on, of {','.join(SERVERS)}",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=_file, help="also write the report to a file"
    )
    parser.add_argument(
        "--fail",
        action="store_true",
        help="exit with 1 if the suite passes and there are findings",
    )
    parser.add_argument(
        "-m",
        dest="is_module",
        action="store_true",
        help="run a module, as python -m does",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _servers(names: str) -> tuple[str, ...]:
    servers = tuple(names.split(","))
    if not set(servers) <= set(SERVERS):
        raise argparse.ArgumentTypeError(
            f"expected names of {','.join(SERVERS)}, but was {names!r}"
        )
    return servers


def _file(path: str) -> str:
    path = os.path.abspath(path)  # the suite may change the working directory
    if not os.path.isdir(os.path.dirname(path)):
        raise argparse.ArgumentTypeError(f"there is no directory for {path}")
    return path


if __name__ == "__main__":
    main(sys.argv[1:])

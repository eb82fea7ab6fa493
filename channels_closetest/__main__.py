"""
Run a test suite with RecordingWebsocketCommunicator in place of
channels.testing.WebsocketCommunicator. Then report which events no client receives as
sent, and which crashes no test shows, to standard error. The exit status is that of the
suite. Options come before the script or -m.

examples:
  python -m channels_closetest manage.py test --parallel
  python -m channels_closetest --servers uvicorn,daphne -m pytest -n 2
"""

import argparse
import atexit
import contextlib
import importlib.metadata
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from .audit import OPTIONS
from .audit.collect import start


def main() -> None:
    parser = argparse.ArgumentParser(
        usage="python -m channels_closetest [options] (SCRIPT | -m MODULE) ...",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    for name, option in OPTIONS.items():
        parser.add_argument(f"--{name}", **option)
    parser.add_argument("-m", action="store_true", help="as python -m")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.version:
        sys.exit(print(importlib.metadata.version("channels-closetest")))
    if not options.command:
        parser.error("a script or -m with a module is required")
    path = options.command[0]
    if not options.m and not os.path.isfile(path):
        parser.error(f"can't open {path!r}. Is the suite to be run with -m {path}?")
    audit = start(options.servers)
    sys.argv[:] = options.command
    status: Any = None
    try:
        if options.m:
            runpy.run_module(path, run_name="__main__", alter_sys=True)
        else:
            run_script(path)
    except SystemExit as exit:
        status = exit.code
    finally:
        if audit.process == os.getpid():  # and not one that the suite has forked
            with contextlib.suppress(Exception):  # the suite may have closed it
                sys.stdout.flush()
            audit.collect()
            # When the interpreter exits, because it has printed a traceback by then.
            # The suite may have replaced sys.stderr.
            atexit.register(print, f"\n{audit}", file=sys.__stderr__)
            status = audit.finish(status, options.json, options.fail_on_findings)
            audit.close()
    sys.exit(status)


def run_script(path: str) -> None:
    """Run a script as ``python`` does, with the folder of it in ``sys.path``."""
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    # Not runpy.run_path(), with which either __file__ is relative or sys.argv[0] is
    # absolute, and which restores sys.modules["__main__"] before atexit handlers run.
    module = sys.modules["__main__"] = ModuleType("__main__")
    module.__file__ = os.path.abspath(path)
    source = Path(path).read_bytes()
    exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))


if __name__ == "__main__":  # pragma: no branch
    main()

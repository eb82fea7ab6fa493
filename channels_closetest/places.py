"""The line that sends an event, or that has raised an exception."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import os
import sysconfig
import traceback
from types import FrameType

from asgiref.sync import SyncToAsync
from channels.consumer import AsyncConsumer, SyncConsumer

from .recording import Place, RawPlace

#: What stands between a test and its application, wherever it is installed.
_PLUMBING = (
    *("asgiref", "channels", "django", __package__),
    *("pytest", "_pytest", "pluggy", "pytest_asyncio", "pytest_django", "anyio"),
)
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
#: The folders of installed packages: of an environment, of a user, or of Debian.
_INSTALLED = {"site-packages", "dist-packages"}
# The kinds of files: a line of the project is preferred to one of a library.
_OF_PLUMBING, _OF_LIBRARY, _OF_PROJECT = range(3)

# By identity, because the hash of code is computed each time.
#: A middleware that wraps the send() which this one calls has not sent the event.
_SENDS = {id(AsyncConsumer.send.__code__), id(SyncConsumer.send.__code__)}
#: What calls consumers and their handlers, and what runs tasks: nothing that calls
#: these has sent the event. (uvloop has no frames of its own.)
ENDS = {
    id(function.__code__)
    for function in (
        AsyncConsumer.__call__,
        AsyncConsumer.dispatch,
        SyncToAsync.thread_handler,
        asyncio.Handle._run,
        asyncio.Runner.run,
    )
}


def find_sender(frame: FrameType | None, is_test: bool) -> RawPlace | None:
    """Return the nearest line of the project on the stack, or else of a library.

    This runs for every event.
    """
    place, preference = None, _OF_PLUMBING
    #: Whether no middleware can stand between.
    is_sender = is_test
    while frame is not None:
        code = frame.f_code
        kind = _kinds[code.co_filename]
        if kind > preference:
            place, preference = (code, frame.f_lasti), kind
            if is_sender and kind == _OF_PROJECT:
                break
        elif kind == _OF_PLUMBING:
            if id(code) in ENDS:
                break
            if id(code) in _SENDS:
                place, preference, is_sender = None, _OF_PLUMBING, True
        frame = frame.f_back
    return place


def find_crash_place(exception: BaseException) -> Place | None:
    """Return the line of the project that raised an exception, or else a library's."""
    entries = traceback.walk_tb(exception.__traceback__)
    places = [Place(frame.f_code.co_filename, line) for frame, line in entries]
    own = [place for place in places if _kinds[place.file] == _OF_PROJECT]
    return next(reversed(own or places), None)


def is_plumbing(file: str) -> bool:
    return _kinds[file] == _OF_PLUMBING


class _Kinds(dict[str, int]):
    """The kinds of files, each decided once."""

    def __missing__(self, file: str) -> int:
        is_installed = not _INSTALLED.isdisjoint(file.split(os.sep))
        kind = _OF_LIBRARY if is_installed else _OF_PROJECT
        if file.startswith(_folders()) or (
            file.startswith((_STANDARD_LIBRARY, "<frozen")) and not is_installed
        ):
            kind = _OF_PLUMBING
        self[file] = kind
        return kind


_kinds = _Kinds()


@functools.cache
def _folders() -> tuple[str, ...]:
    """Return the folders of the plumbing, which may be in a ``--target`` of pip."""
    specs = map(importlib.util.find_spec, _PLUMBING)
    return tuple(
        os.path.join(folder, "")
        for spec in specs
        if spec is not None
        for folder in spec.submodule_search_locations or ()
    )

"""Which files are the project's own, and which are a library's."""

from __future__ import annotations

import functools
import importlib.util
import os
import sysconfig
import traceback
from types import CodeType

from .recording import Place

#: What stands between a test and its application, wherever it is installed.
_PLUMBING = (
    *("asgiref", "channels", "django", __package__),
    *("pytest", "_pytest", "pluggy", "pytest_asyncio", "pytest_django", "anyio"),
)
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
#: The folders of installed packages: of an environment, of a user, or of Debian.
_INSTALLED = {"site-packages", "dist-packages"}


def find_crash_place(exception: BaseException, code: CodeType | None) -> Place | None:
    """Return the line of the project that raised an exception, or else a library's.

    The frames of the application begin with that of ``code``. Above it are those of the
    calls that have raised the exception in the test.
    """
    entries = list(traceback.walk_tb(exception.__traceback__))
    codes = [frame.f_code for frame, _ in entries]
    if code in codes:
        del entries[: codes.index(code)]
    places = [Place(frame.f_code.co_filename, line) for frame, line in entries]
    own = [place for place in places if not is_library(place.file)]
    return next(reversed(own or places), None)


@functools.cache
def is_library(file: str) -> bool:
    """Return whether a file belongs to a library, and not to the project."""
    return file.startswith((_STANDARD_LIBRARY, "<frozen", *_folders())) or (
        not _INSTALLED.isdisjoint(file.split(os.sep))
    )


@functools.cache
def _folders() -> tuple[str, ...]:
    """Return the folders of the packages, which may be in a ``--target`` of pip."""
    specs = map(importlib.util.find_spec, _PLUMBING)
    return tuple(
        os.path.join(folder, "")
        for spec in specs
        if spec is not None
        for folder in spec.submodule_search_locations or ()
    )

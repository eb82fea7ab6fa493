"""Which files are the project's own, and which are a library's."""

from __future__ import annotations

import functools
import importlib.util
import os
import sysconfig

#: What stands between a test and its application, wherever it is installed.
_PLUMBING = (
    *("asgiref", "channels", "django", __package__),
    *("pytest", "_pytest", "pluggy", "pytest_asyncio", "pytest_django", "anyio"),
)
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
#: The folders of installed packages: of an environment, of a user, or of Debian.
_INSTALLED = {"site-packages", "dist-packages"}


@functools.cache
def is_library(file: str) -> bool:
    """Return whether a file belongs to a library, and not to the project."""
    return is_plumbing(file) or not _INSTALLED.isdisjoint(file.split(os.sep))


@functools.cache
def is_plumbing(file: str) -> bool:
    """Return whether a file is Python's, or of what runs tests and applications."""
    if not _INSTALLED.isdisjoint(file.split(os.sep)):
        return file.startswith(_folders())
    return file.startswith((_STANDARD_LIBRARY, "<frozen", *_folders()))


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

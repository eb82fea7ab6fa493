"""Files of libraries are known wherever the packages are installed."""

import os
import subprocess
import sys
from pathlib import Path

import asgiref
import pytest

#: In an interpreter of its own, because what is found is remembered.
PROGRAM = """
import asgiref.sync
from channels_closetest.places import is_plumbing
print(is_plumbing(asgiref.sync.__file__), is_plumbing({own!r}))
"""


@pytest.mark.parametrize(
    "folder", ["target", "lib/python/site-packages"], ids=["--target", "user site"]
)
def test_a_library_is_known_in_any_folder(folder: str, tmp_path: Path) -> None:
    target, own = tmp_path / folder, tmp_path / "project" / "consumers.py"
    target.mkdir(parents=True)
    installed = Path(asgiref.__file__).parent
    (target / "asgiref").symlink_to(installed, target_is_directory=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(own=str(own))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(target), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True False\n"

"""The class works in test runners, which are run as their users run them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DJANGO = ["django", "test", "--settings=tests.settings"]
PYTEST = ["pytest", "-p", "no:cacheprovider"]


def run(*command: str) -> tuple[int, str]:
    """Run a module, and return its exit code and its output."""
    environment = {
        name: value
        for name, value in os.environ.items()
        # The options of this run of pytest are not meant for another.
        if not name.startswith("PYTEST_")
    }
    process = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-m", *command],
        cwd=Path(__file__).parents[2],
        env={**environment, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return process.returncode, process.stdout


def test_unittest_without_django_test_runner() -> None:
    code, output = run("unittest", "tests.documentation.runners.test_asyncio")
    assert "\nRan 2 tests in" in output, output
    assert code == 0, output


def test_django_test_runner_in_parallel() -> None:
    code, output = run(
        *DJANGO, "--parallel=2", "tests.documentation.runners.test_django"
    )
    assert "\nRan 8 tests in" in output, output
    assert output.count("Cloning test database") == 2, output
    assert code == 0, output


def test_pytest_xdist() -> None:
    code, output = run(*PYTEST, "--numprocesses=2", "tests/documentation/runners")
    assert "= 13 passed in" in output, output
    assert "2 workers" in output, output
    assert code == 0, output


@pytest.mark.parametrize(
    "command",
    [
        [*DJANGO, "tests.documentation.runners.failing"],
        [*PYTEST, "tests/documentation/runners/failing.py"],
    ],
)
def test_a_failing_test_shows_the_transcript(command: list[str]) -> None:
    code, output = run(*command)
    assert code == 1, output
    assert "receive_json_from(timeout=0.01) timed out." in output
    assert "Transcript: /ws/echo/" in output
    assert "ms  -> connect" in output
    assert "ms  <- accept" in output
    assert "a client of Daphne sees: HTTP 101" in output
    # pytest shows the source of each frame, and hides those of the package.
    assert command[0] != "pytest" or "async def receive_output" not in output

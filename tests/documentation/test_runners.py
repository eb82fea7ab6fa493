"""The class works in test runners, which are run as their users run them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.failures.texts import UNANSWERED, timed_out, transcript
from tests.tools.readme import environment

DJANGO = ["django", "test", "--settings=tests.settings"]
PYTEST = ["pytest", "-p", "no:cacheprovider"]


def run(*command: str) -> tuple[int, str]:
    """Run a module, and return its exit code and its output."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-m", *command],
        cwd=Path(__file__).parents[2],
        env={**environment(), "DJANGO_SETTINGS_MODULE": "tests.settings"},
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


#: What a test prints that fails, after its traceback.
SHOWN = timed_out(
    "connect", UNANSWERED, "1 data frame, now in pre_close_messages", timeout=0.5
)
NOTE = transcript(
    "-> connect",
    '<- send {"type": "jwt-expired"}',
    "!! sent before accept(): the client receives HTTP 500",
    "the application was cancelled",
    sees="HTTP 500, then close code 1006",
    path="/rejects/",
)
#: The lines of the tests and of their application that the tracebacks show.
LINES = {
    "await communicator.connect(timeout=0.5)",
    "await communicator.connect()",
    "await communicator.connect()  # strictly",
    'async with communicator_for("/ends/") as communicator:',
    'await communicator.send_to(b"bytes")  # type: ignore[arg-type]',
    "communicator.stop()",
    'raise ValueError("boom")',
    'raise ValueError("at the end")',
}
FAILING = f"{__package__}.runners.failing"
FILE = "tests/documentation/runners/failing.py"


def unindented(text: str) -> str:
    """Return the lines without indentation, and without the mark of pytest."""
    return re.sub("^(E? +)", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    [
        [FAILING],
        ["unittest", FAILING],
        [*DJANGO, FAILING],
        [*PYTEST, FILE],
        [*PYTEST, "--tb=native", FILE],
        [*PYTEST, "--full-trace", FILE],
    ],
    ids=" ".join,
)
def test_a_failing_test_shows_its_transcript_and_no_frame_of_the_package(
    command: list[str],
) -> None:
    code, output = run(*command)
    assert code == 1, output
    is_script = command == [FAILING]
    text = unindented(f"TimeoutError: {SHOWN}\nTranscript: {NOTE}\n")
    timeless = re.sub(r"\d+\.\d ms", "0.0 ms", unindented(output))
    timeless = re.sub(r" +\S+/failing\.py:\d+$", "", timeless, flags=re.MULTILINE)
    assert timeless.count(text) == (1 if is_script else 2), output
    # On a busy machine, asyncio's debug mode logs slow steps, with their callbacks.
    lines = [it for it in output.splitlines() if "Executing <" not in it]
    assert [it for it in lines if "channels_closetest/" in it] == []
    shown = {re.sub("^>? +", "", it) for it in lines}
    assert is_script or LINES <= shown, output
    # asyncio has nothing to complain of.
    assert not re.search("never|destroyed|Warning", output), output

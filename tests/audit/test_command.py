"""``python -m channels_closetest`` and ``pytest --closetest``, run on ``suites``."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from channels_closetest.audit import VARIABLE
from tests.tools.readme import README, environment, start_project

SUITES = Path(__file__).with_name("suites")

COMMAND = ("-m", "channels_closetest")
#: How a suite is run. Each is completed by the names of modules, or of files.
DJANGO = ("manage.py", "test")
UNITTEST = ("-m", "unittest")
# Without pytest-asyncio, which some versions of it only keep quiet in a configuration.
PLUGINS = ("no:cacheprovider", "no:asyncio", "no:hypothesispytest")
PYTEST = ("-m", "pytest", *(f"-p{plugin}" for plugin in PLUGINS))
#: Outside of a project, where the package may not be installed.
WITHOUT_DJANGO = (*PYTEST, "-pno:django", "-pchannels_closetest.audit.pytest_plugin")
XDIST = (*PYTEST, "-n2", "--dist")
#: The options that select a test without findings.
CLEAN = ("-k", "nothing_is_lost")
#: Beside the project, in which nothing may change.
COVERAGE = ("-m", "coverage", "run", "--data-file=../of_the_suite")


class Result(NamedTuple):
    status: int
    stdout: str
    stderr: str

    @property
    def report(self) -> str:
        """The report, which is the end of what was printed to standard error."""
        _, _, report = self.stderr.partition("\nchannels_closetest: ")
        return report


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a project whose tests are the suites, with the package installed in it."""
    directory = tmp_path_factory.mktemp("project")
    start_project(directory)
    package = shutil.copytree(SUITES, directory / "tests" / "audit" / "suites")
    for parent in package.parents[:2]:
        (parent / "__init__.py").touch()
    (directory / "parallel.py").write_text(PARALLEL)
    setup = README.with_name("setup.cfg").read_text()
    [entry_point] = re.findall(r"\npytest11 =\s+(.+)", setup)
    installed = directory / "channels_closetest-0.dist-info"
    installed.mkdir()
    (installed / "entry_points.txt").write_text(f"[pytest11]\n{entry_point}\n")
    (installed / "METADATA").write_text("Name: channels-closetest\nVersion: 0\n")
    # pytest rewrites the assertions of what the distribution of a plugin contains.
    (installed / "RECORD").write_text("channels_closetest/__init__.py,,\n")
    return directory


PARALLEL = """\
import multiprocessing
import sys

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv.pop(1))
    from django.core.management import execute_from_command_line

    execute_from_command_line([*sys.argv, "--parallel=2"])
"""


def environment_of_command(path: Path) -> dict[str, str]:
    """Return an environment in which coverage measures the command, too."""
    variables = environment()
    variables |= {name: os.environ[name] for name in os.environ if "COVERAGE" in name}
    variables["DJANGO_SETTINGS_MODULE"] = "example.settings"
    # Where a test sees that nothing is left behind.
    variables |= {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(path)}
    # The console script of pytest does not put the working directory there.
    variables["PYTHONPATH"] += f"{os.pathsep}{path}"
    return variables


def run_python(directory: Path, *arguments: str, path: Path | None = None) -> Result:
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment_of_command(path or directory),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Result(process.returncode, process.stdout, process.stderr)


def run_command(directory: Path, *arguments: str, path: Path | None = None) -> Result:
    return run_python(directory, *COMMAND, *arguments, path=path)


def of_runner(runner: tuple[str, ...], *suites: str) -> list[str]:
    """Return the command that runs these suites."""
    if "pytest" in runner:
        return [*runner, *(f"tests/audit/suites/suite_{suite}.py" for suite in suites)]
    return [*runner, *(f"tests.audit.suites.suite_{suite}" for suite in suites)]


def read(path: Path) -> dict[str, Any]:
    """Return a report, with the names that ``unittest`` gives to the tests."""
    contents: dict[str, Any] = json.loads(path.read_text())
    for finding in contents["findings"]:
        finding["tests"] = [re.sub(r"\.py::|::|/", ".", it) for it in finding["tests"]]
    return contents


# What it finds.

#: The section, the line, how many tests, and how often.
FINDINGS = """\
crashes that no test shows | raise ValueError("crash") | 2 | 2
crashes that no test shows | raise KeyError("crash of a task") | 1 | 1
on every server | await self.close(4401) | 17 | 24
on every server | await self.send_json({"number": number}) | 1 | 1
on every server | await self.close(1005) | 1 | 1
on every server | await self.close(1015) | 1 | 1
on every server | await communicator.send_to("too early") | 1 | 1
on some servers | await self.send(text_data="") | 1 | 1
only a part is lost | await self.accept(headers=headers) | 1 | 1
only a part is lost | await self.close(4000, "done") | 1 | 1
"""


@pytest.fixture(scope="module")
def expected(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the report on a run with ``unittest``, the simplest."""
    report = tmp_path_factory.mktemp("expected") / "report.json"
    suites = of_runner(UNITTEST, "findings", "imports")
    result = run_command(project, "--json", str(report), *suites)
    assert result.status == 0, result
    return read(report)


def test_it_finds_every_line(project: Path, expected: Any) -> None:
    found = ""
    for finding in expected["findings"]:
        lines = (project / finding["file"]).read_text().splitlines()
        line = lines[finding["line"] - 1].partition("  #")[0].strip()
        numbers = f"{len(finding['tests'])} | {finding['count']}"
        found += f"{finding['section']} | {line} | {numbers}\n"
    assert found == FINDINGS
    assert [it["outcome"] for it in expected["findings"][:2]] == [
        "raised by the application",
        "raised by a task that the application started",
    ]
    assert "secret" not in str(expected)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((*COMMAND, *DJANGO, "--shuffle", "1"), id="Django, shuffled"),
        pytest.param((*COMMAND, "parallel.py", "fork", "test"), id="fork"),
        pytest.param((*COMMAND, "parallel.py", "spawn", "test"), id="spawn"),
        pytest.param((*COMMAND, "parallel.py", "forkserver", "test"), id="forkserver"),
        pytest.param((*COMMAND, *COVERAGE, *DJANGO), id="coverage inside"),
        pytest.param((*COVERAGE, *COMMAND, *DJANGO), id="coverage outside"),
        pytest.param((*COMMAND, *PYTEST, "--reuse-db"), id="pytest"),
        # The assertion rewriter of pytest finds channels.testing then.
        pytest.param((*COMMAND, *PYTEST, "-opython_files=*.py"), id="any file"),
        pytest.param(("-Werror", *COMMAND, *XDIST, "load", "-Werror"), id="load"),
        pytest.param((*PYTEST, "--closetest"), id="--closetest"),
        pytest.param((*XDIST, "loadscope", "-oaddopts=--closetest"), id="loadscope"),
        pytest.param((*XDIST, "worksteal", "--closetest"), id="worksteal"),
    ],
)
def test_it_finds_the_same_with_each_runner(
    project: Path, tmp_path: Path, expected: Any, command: tuple[str, ...]
) -> None:
    before = contents_of(project)
    report, runner = tmp_path / "report.json", of_runner(command, "imports", "findings")
    option = "--json" if COMMAND[1] in command else "--closetest-json"
    place = runner.index(COMMAND[1]) + 1 if option == "--json" else len(runner)
    runner[place:place] = [option, str(report)]
    result = run_python(project, *runner)
    assert result.status == 0, result
    assert read(report) == expected
    assert contents_of(project) == before


def contents_of(directory: Path) -> dict[Path, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    # Django 4.2 leaves the databases of spawned processes.
    return {it: it.read_bytes() for it in files if it.suffix != ".sqlite3"}


def test_ids_are_as_pytest_prints_them(project: Path) -> None:
    command = *PYTEST, "--closetest", "--closetest-servers=daphne"
    file = "audit/suites/suite_findings.py"
    printed = run_python(project / "tests", *command, file, path=project).stdout
    assert "\n  audit/suites/consumers.py:22  close 4401: " in printed
    assert f"\n      {file}::HelperTests::test_00\n" in printed
    # With the names of the servers, every line is shown.
    assert "\nOnly a part is lost:\n" in printed
    assert "  close 4000 done: the client receives no reason\n" in printed


# It changes nothing.

#: What a runner prints about each test, each warning and the run, and what is logged.
RESULTS = re.compile(
    r".* \.\.\. .*|[A-Z]+ tests/.*|=+ \d+ .*|Ran .*|FAILED.*"
    r"|.*Warning: .*|.* was never retrieved|ValueError: .*"
)


def results(output: str) -> list[str]:
    """Return what does not depend on the time, nor on the class of communicators."""
    # The time is also in the width of the lines that pytest draws.
    output = re.sub(r"={2,}", "==", re.sub(r"\d+\.\d+(?=s)", "0", output))
    output = output.replace("RecordingWebsocketCommunicator", "WebsocketCommunicator")
    return [line for line in output.splitlines() if RESULTS.fullmatch(line)]


@pytest.mark.parametrize(
    "runner", [(*DJANGO, "-v", "2"), (*PYTEST, "-ra")], ids=["Django", "pytest"]
)
@pytest.mark.parametrize(
    ("suite", "report", "least"),
    [
        ("failing", "2 findings in 2 tests. 4 communicators watched in 3 tests.", 16),
        ("crashing", "nothing was watched. 0 communicators. ", 0),
        ("interrupted", "1 finding in 1 test. 1 communicator watched in 1 test.", 0),
    ],
)
def test_status_results_and_warnings_are_as_without_the_command(
    project: Path, runner: tuple[str, ...], suite: str, report: str, least: int
) -> None:
    command = of_runner(runner, suite)
    plain, result = run_python(project, *command), run_command(project, *command)
    assert result.status == plain.status != 0
    assert result.report.startswith(report)
    own, _, _ = result.stderr.partition("\nchannels_closetest: ")
    expected = results(f"{plain.stdout}\n{plain.stderr}")
    assert results(f"{result.stdout}\n{own}") == expected
    assert len(expected) >= least


def test_a_suite_that_knows_the_package_keeps_its_warnings(project: Path) -> None:
    result = run_command(project, *of_runner(DJANGO, "direct"))
    assert result.status == 0, result
    assert result.report.startswith("1 finding in 1 test. 1 communicator watched")


@pytest.mark.parametrize(
    "statement",
    [
        "import channels.testing",
        "from channels_closetest import communicator",
        "import importlib.util; importlib.util.find_spec('channels.testing')",
    ],
)
def test_modules_that_are_imported_before(
    project: Path, tmp_path: Path, statement: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(statement)
    result = run_command(project, *of_runner(DJANGO, "imports"), path=tmp_path)
    assert result.report.startswith("1 finding in 4 tests. 11 communicators watched")


def test_the_plugin_imports_nothing_until_it_is_asked(tmp_path: Path) -> None:
    run = "import sys, pytest; pytest.main(sys.argv[1:]); print(*sys.modules)"
    arguments = *WITHOUT_DJANGO[2:], "--co", "-q"
    modules = run_python(tmp_path, "-c", run, *arguments).stdout.split()
    assert "channels_closetest.audit.pytest_plugin" in modules
    unwanted = {"channels", "channels_closetest.audit.collect", "django"}
    assert unwanted.isdisjoint(modules)


def test_a_failing_test_shows_its_transcripts(project: Path) -> None:
    command = *XDIST, "load", "--closetest", "-k", "test_failure or test_error"
    result = run_python(project, *of_runner(command, "failing"))
    assert result.status == 1
    _, dropped, kept = re.split(" channels_closetest -+\n", result.stdout)
    assert result.stdout.count(": /in-a-note\n") == 1
    assert re.match(r"/dropped\n.*-> connect .*\n.*<- close", dropped)
    assert re.match(r"/kept\n.*-> connect .*\n.*<- close", kept)


# It is never green because nothing was watched.


ASYNC = """\
import unittest


class Tests(unittest.TestCase):
    async def test_one(self): ...
"""
FAIL = (*COMMAND, "--fail-on-findings")
CLOSETEST = ("--closetest", "--closetest-fail-on-findings")
NOT_STARTED = "1 watched test started no WebsocketCommunicator"


@pytest.mark.parametrize(
    ("command", "status", "cause"),
    [
        ((*FAIL, *UNITTEST, "asynchronous"), 1, NOT_STARTED),
        ((*FAIL, *UNITTEST, "asynchronous", "-k", "x"), None, "No test has run"),
        ((*FAIL, *WITHOUT_DJANGO, "asynchronous.py", "-kx"), 5, "No test has run"),
        # In addopts, it also runs where no test has a communicator.
        ((*WITHOUT_DJANGO, "asynchronous.py", *CLOSETEST), 0, NOT_STARTED),
    ],
)
def test_nothing_watched(
    tmp_path: Path, command: tuple[str, ...], status: int | None, cause: str
) -> None:
    (tmp_path / "asynchronous.py").write_text(ASYNC)
    result = run_python(tmp_path, *command)
    expected = f"channels_closetest: nothing was watched. 0 communicators. {cause}"
    assert expected in result.stdout + result.stderr
    # Since Python 3.12, unittest has a status of its own if no test was run.
    assert result.status == (result.status or 1 if status is None else status)


def test_tests_of_processes_that_do_not_join_are_counted(project: Path) -> None:
    # As in a worker on another machine, which does not get the environment.
    unshare = f"import os\nos.environ.pop({VARIABLE!r}, None)\n"
    (project / "unshare.py").write_text(unshare)
    command = of_runner((*XDIST, "load", "-punshare", *CLOSETEST), "findings")
    result = run_python(project, *command, *CLEAN)
    assert "nothing was watched. 0 communicators. 0 watched tests" in result.stdout
    assert "\n1 test not watched, in processes that could not join.\n" in result.stdout
    assert result.status == 1


@pytest.mark.parametrize(("select", "status"), [([], 1), (CLEAN, 0)])
def test_fail_on_findings(project: Path, select: Sequence[str], status: int) -> None:
    for command in ((*FAIL, *DJANGO), (*PYTEST, *CLOSETEST)):
        suite = of_runner(command, "findings")
        assert run_python(project, *suite, *select).status == status


# The report is printed.


HOSTILE = f"""\
import io, json, os, shutil, sys

os.chdir(os.sep)
os.wait() if os.fork() else sys.exit()
directory, *_ = json.loads(os.environ[{VARIABLE!r}])
open(directory + "/1", "w").write('["communicators", "test"]\\n["communic')
if sys.argv[1:]:
    shutil.rmtree(directory)
sys.stdout.close()
sys.stderr = io.StringIO()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork()")
@pytest.mark.parametrize(
    ("argument", "report"),
    [
        ([], "nothing found. 1 communicator watched in 1 test.\n"),
        (["remove"], "nothing was watched. 0 communicators. No test has run"),
    ],
)
def test_the_report_is_printed_whatever_the_suite_does(
    tmp_path: Path, argument: list[str], report: str
) -> None:
    # A forked process that ends, which reports nothing, a stream that the suite has
    # closed, another standard error, another working directory, a process that was
    # killed while it wrote a line, and a directory that has gone.
    (tmp_path / "script.py").write_text(HOSTILE)
    result = run_command(tmp_path, "--json", "report.json", "script.py", *argument)
    assert (tmp_path / "report.json").exists()
    assert (result.status, result.report[: len(report)]) == (0, report), result
    assert result.stderr.count("channels_closetest") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_a_report_that_cannot_be_written(project: Path) -> None:
    sentence = "channels_closetest: /dev/full: [Errno 28] No space left on device\n"
    of_command = *COMMAND, "--json", "/dev/full", *DJANGO
    of_pytest = *PYTEST, "-pno:terminal", "--closetest", "--closetest-json=/dev/full"
    for command in (of_command, of_pytest):
        result = run_python(project, *of_runner(command, "findings"), *CLEAN)
        assert result.status == 3
        assert sentence in result.stderr
        assert "nothing found. 1 communicator watched in 1 " in "".join(result[1:])


# The command line.

SCRIPT = """\
import json
import sys

names = ["__file__", "__name__", "__package__", "__doc__"]
modules = [it for it in sys.modules if it.startswith(("django", "channels."))]
main = vars(sys.modules["__main__"])
values = [sys.argv, sys.path, modules, *[main.get(name) for name in names]]


def function(argument: int) -> None: ...


print(json.dumps(values), function.__annotations__)
"""


@pytest.mark.parametrize(
    "command",
    [
        ("script.py", "test", "--fail-on-findings", "-m", "x"),
        ("folder/script.py",),
        ("link.py",),
        ("-m", "script", "--json", "x"),
        ("-m", "folder.script"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("options", [(), ("-P",)], ids=["", "-P"])
def test_the_command_runs_as_python_runs_it(
    tmp_path: Path, command: tuple[str, ...], options: tuple[str, ...]
) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("script.py", "folder/script.py"):
        (tmp_path / name).write_text(SCRIPT)
    (tmp_path / "link.py").symlink_to("folder/script.py")
    plain = run_python(tmp_path, *options, *command)
    result = run_python(tmp_path, *options, *COMMAND, *command)
    assert result.stdout == plain.stdout
    assert result.status == plain.status


@pytest.mark.parametrize("end", ["exit()", "exit(3)", "exit('')", "exit('text')", "x"])
def test_the_exit_status_is_that_of_the_suite(tmp_path: Path, end: str) -> None:
    (tmp_path / "script.py").write_text(f"from sys import exit\n{end}\n")
    plain = run_python(tmp_path, "script.py")
    result = run_command(tmp_path, "script.py")
    assert result.status == plain.status
    assert result.report.startswith("nothing was watched. 0 communicators. ")
    # The frames of this package are above those of the script.
    for line in plain.stderr.splitlines():
        assert f"{line}\n" in result.stderr.partition("\nchannels_closetest: ")[0]


def test_help_and_version(project: Path) -> None:
    assert run_command(project, "--version").stdout == "0\n"
    shown = run_command(project, "--help").stdout
    assert shown.count("  python -m channels_closetest ") == 2
    of_pytest = run_python(project, *PYTEST, "--help").stdout
    for option in ("servers", "fail-on-findings", "json"):
        assert f"--{option}" in shown and f"--closetest-{option}" in of_pytest


SERVERS = "expected some of daphne,uvicorn,hypercorn, not 'daphne,nginx'"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "a script or -m with a module is required"),
        (["-m"], "a script or -m with a module is required"),
        (["--servers", "daphne,nginx", "script.py"], f"argument --servers: {SERVERS}"),
        (["--json", "nowhere/x.json", "script.py"], "argument --json: "),
        (["--json", ".", "script.py"], "argument --json: "),
        (["-mscript", "-m", "x"], "error: "),
        (["--fail", "script.py"], "unrecognized arguments: --fail"),
        (["pytest"], "can't open 'pytest'. Is the suite to be run with -m pytest?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], error: str) -> None:
    result = run_command(tmp_path, *arguments)
    assert (result.status, result.stdout) == (2, "")
    assert error in result.stderr

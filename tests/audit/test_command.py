"""``python -m channels_closetest``, run on the suites in ``tests/audit/suites``."""

import ast
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from channels_closetest.audit.collect import VARIABLE, Audit
from tests.tools.readme import environment, start_project

SUITES = Path(__file__).with_name("suites")

#: How a suite is run. Each is completed by the names of modules, or of files.
DJANGO = ("manage.py", "test")
PARALLEL = (*DJANGO, "--parallel=2")
UNITTEST = ("-m", "unittest")
# Without pytest-asyncio, which some versions of it only keep quiet in a configuration.
PYTEST = (
    "-m",
    "pytest",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:asyncio",
    "-p",
    "no:hypothesispytest",
)
XDIST = (*PYTEST, "-n", "2")
RUNNERS = {
    "unittest": UNITTEST,
    "django": DJANGO,
    "django-parallel": PARALLEL,
    "pytest": PYTEST,
    "pytest-xdist": XDIST,
}
each_runner = pytest.mark.parametrize(
    "runner",
    [
        pytest.param(
            runner,
            id=name,
            marks=pytest.mark.skipif(
                runner is PARALLEL and multiprocessing.get_start_method() != "fork",
                reason="Since Python 3.14, Django does not fork",
            ),
        )
        for name, runner in RUNNERS.items()
    ],
)


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
    directory = tmp_path_factory.mktemp("project")
    start_project(directory)
    package = directory / "tests" / "audit" / "suites"
    package.mkdir(parents=True)
    for parent in package.parents[:2]:
        (parent / "__init__.py").touch()
    for path in SUITES.glob("*.py"):
        shutil.copy(path, package / path.name.replace("suite_", "test_"))
    return directory


def environment_of_command(path: Path | None = None) -> dict[str, str]:
    """Return an environment in which coverage measures the command, too."""
    variables = environment()
    variables |= {name: os.environ[name] for name in os.environ if "COVERAGE" in name}
    variables["DJANGO_SETTINGS_MODULE"] = "example.settings"
    variables["PYTHONDONTWRITEBYTECODE"] = "1"
    if path is not None:
        variables["PYTHONPATH"] += f"{os.pathsep}{path}"
    return variables


def run_python(directory: Path, *arguments: str, path: Path | None = None) -> Result:
    process = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment_of_command(path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Result(process.returncode, process.stdout, process.stderr)


def run_command(directory: Path, *arguments: str, path: Path | None = None) -> Result:
    return run_python(directory, "-m", "channels_closetest", *arguments, path=path)


def of_runner(runner: tuple[str, ...], *suites: str) -> list[str]:
    """Return the command that runs these suites."""
    if "pytest" in runner:
        return [*runner, *(f"tests/audit/suites/test_{suite}.py" for suite in suites)]
    return [*runner, *(f"tests.audit.suites.test_{suite}" for suite in suites)]


class Finding(NamedTuple):
    test: str
    file: str
    line: int
    event: str


def expected_findings(suite: str, is_pytest: bool = False) -> list[Finding]:
    """Return what the comments in a suite say."""
    source = (SUITES / f"suite_{suite}.py").read_text()
    file = f"tests/audit/suites/test_{suite}.py"
    lines = source.splitlines()
    found = []
    for cls in ast.parse(source).body:
        for function in cls.body if isinstance(cls, ast.ClassDef) else []:
            for line in range(function.lineno, (function.end_lineno or 0) + 1):
                _, arrow, events = lines[line - 1].partition("# -> ")
                if not arrow:
                    continue
                assert isinstance(cls, ast.ClassDef)
                assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
                names = [file if is_pytest else file[:-3].replace("/", ".")]
                names += cls.name, function.name
                test = ("::" if is_pytest else ".").join(names)
                found += [Finding(test, file, line, it) for it in events.split(" and ")]
    return found


def read(path: Path) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads(path.read_text())
    return contents


def findings(path: Path) -> Counter[Finding]:
    """Return what is in a report: a denial, for example, is several findings."""
    return Counter(
        Finding(*(found[name] for name in Finding._fields))
        for found in read(path)["findings"]
    )


# What it finds.


@each_runner
def test_every_finding_is_at_the_line_of_the_call_once(
    project: Path, tmp_path: Path, runner: tuple[str, ...]
) -> None:
    report = tmp_path / "report.json"
    before = contents_of(project)
    suites = "imports", "findings", "clean", "patching"
    command = of_runner(runner, *suites)
    result = run_command(project, "--json", str(report), *command)
    assert result.status == 0, result
    assert findings(report) == Counter(
        finding
        for suite in suites
        for finding in expected_findings(suite, is_pytest="pytest" in runner)
    )
    numbers = read(report)
    assert numbers["unwatched_tests"] == 0
    assert (numbers["communicators"], numbers["tests"]) == (29, 26)
    assert contents_of(project) == before


def contents_of(directory: Path) -> dict[Path, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


REPORT = """\
8 findings in 5 tests. 7 communicators watched in 5 tests.

On every server:

  sent before accept() (1 test)
  Call accept() first, then send, then close().
    FindingTests.test_everything_is_lost_on_every_server
      test_findings.py:14: send "jwt-expired" on /: the client receives HTTP 500

  a frame before the handshake is accepted (1 test)
  Send it after connect() has returned (True, subprotocol).
    FindingTests.test_no_client_can_send_it
      test_findings.py:32: receive too early on /: no client can send that

  closed with a code or reason before accept() (1 test)
  Call accept() first, then close(): only then does the client receive them.
    FindingTests.test_two_communicators
      test_findings.py:38: close 4401 on /: the client receives HTTP 403
      test_findings.py:39: close 4401 on /: the client receives HTTP 403

On some servers (use --servers to name the servers that you deploy on):

  an empty frame (1 test)
  Send a payload, or no frame.
    FindingTests.test_everything_is_lost_on_some_servers
      test_findings.py:20: send '' on /: the client receives nothing on Daphne

Only a part is lost (use --servers to name the servers that you deploy on):

  accepted with headers (2 tests)
  Send it in a data frame, or deploy on a server that delivers it.
    FindingTests.test_a_part_is_lost
      test_findings.py:24: accept headers [(b'x-version', b'1')] on /: \
the client receives no headers on Daphne
    FindingTests.test_no_client_can_send_it
      test_findings.py:29: accept headers [(b'x-version', b'1')] on /: \
the client receives no headers on Daphne

  closed with a reason (1 test)
  Send it in a data frame, or deploy on a server that delivers it.
    FindingTests.test_everything_is_lost_on_some_servers
      test_findings.py:20: close 4000 done on /: the client receives no reason on Daphne
"""


def test_the_report(project: Path) -> None:
    result = run_command(project, *of_runner(DJANGO, "findings"))
    report = result.report.replace("tests.audit.suites.test_findings.", "")
    assert report.replace("tests/audit/suites/", "") == REPORT


@each_runner
def test_a_suite_without_findings_has_a_report_of_one_line(
    project: Path, runner: tuple[str, ...]
) -> None:
    result = run_command(project, "--fail", *of_runner(runner, "clean"))
    numbers = "nothing found. 2 communicators watched in 2 tests.\n"
    assert (result.status, result.report) == (0, numbers), result


def test_servers_that_the_command_names(project: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = "--servers", "uvicorn,daphne", "--json", str(report)
    run_command(project, *options, *of_runner(DJANGO, "findings"))
    contents = read(report)
    assert contents["servers"] == ["uvicorn", "daphne"]
    found = [
        (it["section"], it["event"], it["outcome"], it["servers"])
        for it in contents["findings"]
    ]
    both, daphne = ["uvicorn", "daphne"], ["daphne"]
    sections = "on every server", "on some servers", "only a part is lost"
    everywhere, some, part = sections
    headers = "accept headers [(b'x-version', b'1')]"
    no_headers = "the client receives no headers on Daphne"
    assert found == [
        (everywhere, 'send "jwt-expired"', "the client receives HTTP 500", both),
        (everywhere, "receive too early", "no client can send that", both),
        (everywhere, "close 4401", "the client receives HTTP 403", both),
        (everywhere, "close 4401", "the client receives HTTP 403", both),
        (some, "send ''", "the client receives nothing on Daphne", daphne),
        (part, headers, no_headers, daphne),
        (part, headers, no_headers, daphne),
        (part, "close 4000 done", "the client receives no reason on Daphne", daphne),
    ]


# It changes nothing.


#: What a runner prints about each test, each warning and the run, and what is logged.
RESULTS = re.compile(
    r".* \.\.\. .*|[A-Z]+ tests/.*|=+ \d+ .*|Ran .*|FAILED.*"
    r"|.*Warning: .*|.* was never retrieved|ValueError: .*"
)


def results(output: str) -> list[str]:
    """Return what does not depend on the time, nor on the class of communicators."""
    output = re.sub(r"\d+\.\d+(?=s)", "0", output)
    output = output.replace("RecordingWebsocketCommunicator", "WebsocketCommunicator")
    return [line for line in output.splitlines() if RESULTS.fullmatch(line)]


@pytest.mark.parametrize(
    "runner",
    [(*DJANGO, "-v", "2"), (*PYTEST, "-ra")],
    ids=["django", "pytest"],
)
def test_results_and_warnings_are_as_without_the_command(
    project: Path, runner: tuple[str, ...]
) -> None:
    suite = of_runner(runner, "failing")
    plain, result = run_python(project, *suite), run_command(project, *suite)
    assert result.status == plain.status == 1
    own, _, report = result.stderr.partition("\nchannels_closetest: ")
    assert report.startswith("1 finding in 1 test. 4 communicators watched in 4 tests.")
    expected = results(f"{plain.stdout}\n{plain.stderr}")
    assert results(f"{result.stdout}\n{own}") == expected
    assert len(expected) >= 6


def assert_finds(
    project: Path,
    report: Path,
    runner: tuple[str, ...],
    suite: str,
    path: Path | None = None,
) -> None:
    """Run a suite, and compare the report with the comments in it."""
    command = of_runner(runner, suite)
    result = run_command(project, "--json", str(report), *command, path=path)
    assert result.status == 0, result
    expected = expected_findings(suite, is_pytest="pytest" in runner)
    assert findings(report) == Counter(expected)


def test_a_suite_that_knows_the_package_keeps_its_warnings(
    project: Path, tmp_path: Path
) -> None:
    assert_finds(project, tmp_path / "report.json", DJANGO, "direct")


@pytest.mark.parametrize("runner", [UNITTEST, PYTEST], ids=["unittest", "pytest"])
def test_tasks_in_the_event_loop_of_a_test_case(
    project: Path, tmp_path: Path, runner: tuple[str, ...]
) -> None:
    assert_finds(project, tmp_path / "report.json", runner, "isolated")


def test_communicators_that_are_not_started(project: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    suite = of_runner(DJANGO, "unstarted")
    result = run_command(project, "--json", str(report), *suite)
    assert result.status == 0, result
    lines = sorted(finding.line for finding in findings(report))
    assert lines == sorted(finding.line for finding in expected_findings("unstarted"))


@pytest.mark.parametrize(
    "statement",
    ["import channels.testing", "from channels_closetest import communicator"],
)
def test_modules_that_are_imported_before(
    project: Path, tmp_path: Path, statement: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(statement)
    report = tmp_path / "report.json"
    assert_finds(project, report, DJANGO, "imports", path=tmp_path)


def test_a_suite_that_looks_for_the_module_before_it_imports_it(
    project: Path, tmp_path: Path
) -> None:
    look = "import importlib.util\nimportlib.util.find_spec('channels.testing')\n"
    (project / "look.py").write_text(look + (project / "manage.py").read_text())
    assert_finds(project, tmp_path / "report.json", ("look.py", "test"), "imports")


def test_the_plugin_does_nothing_without_the_command(project: Path) -> None:
    plugin = "-p", "channels_closetest.audit.pytest_plugin"
    suite = of_runner((*PYTEST, *plugin), "clean")
    result = run_python(project, *suite)
    assert (result.status, result.stderr) == (0, "")


@each_runner
def test_a_crash_at_import_has_the_same_status(
    project: Path, runner: tuple[str, ...]
) -> None:
    suite = of_runner(runner, "crashing")
    plain, result = run_python(project, *suite), run_command(project, *suite)
    assert result.status == plain.status != 0
    assert "crash at import, after Recording" in result.stdout + result.stderr
    assert result.report == "nothing found. 0 communicators watched in 0 tests.\n"


@pytest.mark.parametrize(
    ("runner", "status"),
    [(UNITTEST, -signal.SIGINT), (PYTEST, 2)],
    ids=["unittest", "pytest"],
)
def test_an_interrupted_suite_is_reported(
    project: Path, runner: tuple[str, ...], status: int
) -> None:
    waiting = project / "waiting"
    waiting.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "channels_closetest", *of_runner(runner, "interrupted")],
        cwd=project,
        env=environment_of_command(),
        # Ignored in a background job of a shell, and inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not waiting.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    waiting.unlink()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    assert "channels_closetest: 1 finding in 1 test. 1 communicator watched" in stderr


# Other processes.


def test_tests_in_spawned_processes_are_counted(project: Path) -> None:
    (project / "spawn.py").write_text(SPAWN)
    suite = of_runner(PARALLEL, "clean")[1:]
    result = run_command(project, "spawn.py", *suite)
    assert result.status == 0, result
    assert result.report == (
        "nothing found. 0 communicators watched in 0 tests.\n"
        "2 tests not watched, in processes that this one has not forked:"
        " run them in one process.\n"
    )


def test_tests_of_workers_that_do_not_join_are_counted(project: Path) -> None:
    # As in a worker on another machine, which does not get the environment.
    unshare = f"import os\nos.environ.pop({VARIABLE!r}, None)\n"
    (project / "unshare.py").write_text(unshare)
    result = run_command(project, *of_runner((*XDIST, "-p", "unshare"), "clean"))
    assert result.status == 0, result
    assert "0 communicators watched in 0 tests.\n2 tests not watched" in result.report


SPAWN = """\
import multiprocessing
import sys

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *sys.argv[1:]])
"""

FORK = """\
import os
import sys

if os.fork():
    os.wait()
else:
    sys.exit()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork()")
def test_a_forked_process_that_ends_reports_nothing(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(FORK)
    result = run_command(tmp_path, "script.py")
    assert result.stderr.count("channels_closetest") == 1


def test_a_line_that_a_process_has_not_completed_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in (VARIABLE, "PYTEST_ADDOPTS"):
        monkeypatch.setenv(variable, "")
    audit = Audit.create(None)
    audit.share()
    directory, *_ = json.loads(os.environ[VARIABLE])
    Path(directory, "1").write_text('["communicator", "test"]\n["communicator", "te')
    assert audit.report().communicators == 1
    audit.finish(None)
    assert not Path(directory).exists()


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
        ("script.py", "test", "--fail", "-m", "x"),
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
    result = run_python(tmp_path, *options, "-m", "channels_closetest", *command)
    assert result.stdout == plain.stdout
    assert result.status == plain.status


@pytest.mark.parametrize(
    "end", ["sys.exit()", "sys.exit(3)", "sys.exit('')", "sys.exit('text')", "1 / 0"]
)
@pytest.mark.parametrize("options", [(), ("--fail",)], ids=["", "--fail"])
def test_the_exit_status_is_that_of_the_suite(
    tmp_path: Path, end: str, options: tuple[str, ...]
) -> None:
    (tmp_path / "script.py").write_text(f"import sys\n{end}\n")
    plain = run_python(tmp_path, "script.py")
    result = run_command(tmp_path, *options, "script.py")
    assert result.status == plain.status
    assert result.report == "nothing found. 0 communicators watched in 0 tests.\n"
    # The frames of this package are above those of the script.
    for line in plain.stderr.splitlines():
        assert f"{line}\n" in result.stderr.partition("\nchannels_closetest: ")[0]


def test_the_report_is_printed_whatever_the_suite_does_to_the_streams(
    tmp_path: Path,
) -> None:
    script = "import io, sys\nsys.stdout.close()\nsys.stderr = io.StringIO()\n"
    (tmp_path / "script.py").write_text(script)
    # It cannot be written to a directory, which is found out after it was printed.
    result = run_command(tmp_path, "--json", str(tmp_path), "script.py")
    assert "nothing found. 0 communicators watched in 0 tests.\n" in result.report


@pytest.mark.parametrize(
    ("suite", "status"), [("findings", 1), ("clean", 0), ("failing", 1)]
)
def test_fail(project: Path, suite: str, status: int) -> None:
    assert run_command(project, "--fail", *of_runner(DJANGO, suite)).status == status


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "a script or -m with a module is required"),
        (["-m"], "a script or -m with a module is required"),
        (["--fail"], "a script or -m with a module is required"),
        (
            ["--servers", "daphne,nginx", "script.py"],
            "argument --servers: expected names of daphne,uvicorn,hypercorn,"
            " but was 'daphne,nginx'",
        ),
        (["--json", "nowhere/x.json", "script.py"], "argument --json: there is no"),
        (["-mscript", "-m", "x"], "python -m channels_closetest: error: "),
        (["--unknown", "script.py"], "unrecognized arguments: --unknown"),
        (["script.py"], "can't open file 'script.py': [Errno 2]"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], error: str) -> None:
    result = run_command(tmp_path, *arguments)
    assert (result.status, result.stdout) == (2, "")
    assert error in result.stderr

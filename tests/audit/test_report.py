"""What the report shows, and what it leaves out."""

import json
import random

from channels_closetest.audit import report as sections
from channels_closetest.audit.report import Found, Report

FOUND = Found(
    section=sections.EVERYWHERE,
    file="consumers.py",
    line=8,
    description="closed with a code",
    outcome="the client receives HTTP 403",
    remedy="Call accept() first",
    servers=["daphne", "uvicorn"],
    event="close 4401",
    tests=["tests.Tests.test_close"],
)


def report(*found: Found) -> Report:
    result = Report(None)
    result.communicators, result.findings = ["test"] * 3, list(found)
    return result


def lines(*found: Found) -> list[str]:
    return str(report(*found)).splitlines()


def test_ten_thousand_findings_of_a_line_are_one_entry() -> None:
    tests = [f"test_{number:04}" for number in range(5000)]
    events = ["close 4401", "close 4402"]
    found = [FOUND._replace(tests=[test], event=it) for test in tests for it in events]
    random.shuffle(found)
    assert lines(*found)[2:] == [
        "On every server:",
        "",
        "  consumers.py:8  close 4401: the client receives HTTP 403",
        "    Closed with a code.",
        "    Call accept() first.",
        "    5000 tests, 10000 times:",
        "      test_0000",
        "      test_0001",
        "      test_0002",
        "      and 4997 more",
    ]


def test_an_entry_without_a_line_or_a_test() -> None:
    _, _, _, _, entry, *_, tests = lines(FOUND._replace(file="", line=0, tests=[]))
    assert entry == "  (no line)  close 4401: the client receives HTTP 403"
    assert tests == "    no test, 1 time"


def test_sections_and_lines_have_an_order() -> None:
    found = [
        *(FOUND._replace(section=sections.PARTLY, line=line) for line in (8, 9)),
        FOUND._replace(section=sections.SOMEWHERE),
        FOUND._replace(section=sections.CRASH),
        *(FOUND._replace(line=line) for line in (10, 9)),
        FOUND._replace(file="a.py", line=99),
    ]
    random.shuffle(found)
    hint = " (use --servers to name the servers that you deploy on):"
    shown = [it.partition("  close ")[0] for it in lines(*found)[1:]]
    assert [it for it in shown if it and not it.startswith("    ")] == [
        "Crashes that no test shows:",
        "  consumers.py:8",
        "On every server:",
        "  a.py:99",
        "  consumers.py:9",
        "  consumers.py:10",
        f"On some servers{hint}",
        "  consumers.py:8",
        f"Only a part is lost{hint}",
        "  closed with a code: the client receives HTTP 403 (2 lines, 1 test)",
    ]
    assert json.loads(report(*found).as_json())["findings"][1]["file"] == "a.py"
    named = report(*found)
    named.servers = ("daphne",)
    assert hint not in str(named)
    assert str(named).count("\n  consumers.py:9  close 4401") == 2


def test_json() -> None:
    found = report(*[FOUND._replace(file="", line=0)] * 2)
    found.announced, found.tests = {"test", "two", "three"}, ["test"]
    assert json.loads(found.as_json()) == {
        "version": 1,
        "servers": None,
        "communicators": 3,
        "tests": 1,
        "unwatched_tests": 2,
        "findings": [{**FOUND._asdict(), "file": None, "line": None, "count": 2}],
    }

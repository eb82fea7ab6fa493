"""What the report of ``python -m channels_closetest`` shows, and what it leaves out."""

import json

from channels_closetest.audit.report import Found, Report

FOUND = Found(
    test="tests.Tests.test_close",
    file="tests.py",
    line=1,
    path="/ws/",
    event="close 4401",
    description="closed with a code",
    outcome="the client receives HTTP 403",
    remedy="Call accept() first",
    servers=["daphne"],
    is_on_every_server=True,
    is_partial=False,
)


def report(*findings: Found, unwatched_tests: int = 0) -> Report:
    return Report(None, 3, 2, unwatched_tests, findings)


def test_the_first_line_has_the_numbers() -> None:
    assert str(report()) == (
        "channels_closetest: nothing found. 3 communicators watched in 2 tests."
    )
    assert str(report(FOUND)).startswith(
        "channels_closetest: 1 finding in 1 test. 3 communicators watched in 2 tests.\n"
    )


def test_unwatched_tests_are_counted() -> None:
    assert str(report(unwatched_tests=1)).splitlines()[1:] == [
        "1 test not watched, in processes that this one has not forked:"
        " run them in one process."
    ]


def test_at_most_ten_tests_of_a_group_are_shown() -> None:
    findings = [FOUND._replace(test=f"test_{number}") for number in range(13)]
    *_, last, more = str(report(*findings)).splitlines()
    assert more == "    and 3 more tests, see --json"
    assert last == "      tests.py:1: close 4401 on /ws/: the client receives HTTP 403"
    assert "test_9" in str(report(*findings))
    assert "test_10" not in str(report(*findings))
    assert "more" not in str(report(*findings[:10]))


def test_at_most_three_lines_of_a_test_are_shown() -> None:
    findings = [FOUND._replace(line=number) for number in range(1, 6)]
    assert str(report(*findings)).splitlines()[-4:] == [
        "      tests.py:1: close 4401 on /ws/: the client receives HTTP 403",
        "      tests.py:2: close 4401 on /ws/: the client receives HTTP 403",
        "      tests.py:3: close 4401 on /ws/: the client receives HTTP 403",
        "      and 2 more",
    ]


def test_what_is_found_again_is_counted() -> None:
    line = "      tests.py:1: close 4401 on /ws/: the client receives HTTP 403"
    assert str(report(FOUND, FOUND, FOUND)).splitlines()[-1] == f"{line} (3 times)"


def test_a_communicator_outside_of_all_tests() -> None:
    assert str(report(FOUND._replace(test=None))).splitlines()[-2:] == [
        "    outside of all tests",
        "      tests.py:1: close 4401 on /ws/: the client receives HTTP 403",
    ]
    assert "1 finding in 0 tests." in str(report(FOUND._replace(test=None)))


def test_the_group_with_the_most_tests_is_first_in_its_section() -> None:
    other = FOUND._replace(description="sent too early")
    part = FOUND._replace(description="closed with a reason", is_partial=True)
    some = FOUND._replace(description="an empty frame", is_on_every_server=False)
    findings = [
        part,
        part._replace(test="other"),
        some,
        FOUND,
        FOUND,
        other,
        other._replace(test="other"),
    ]
    lines = str(report(*findings)).splitlines()
    headings = [line for line in lines if "(" in line and "remedy" not in line]
    assert [line for line in headings if line.endswith(("test)", "tests)", "):"))] == [
        "  sent too early (2 tests)",
        "  closed with a code (1 test)",
        "On some servers (use --servers to name the servers that you deploy on):",
        "  an empty frame (1 test)",
        "  closed with a reason (2 tests)",
    ]
    assert [
        found["description"]
        for found in json.loads(report(*findings).as_json())["findings"]
    ] == [
        "sent too early",
        "sent too early",
        "closed with a code",
        "closed with a code",
        "an empty frame",
        "closed with a reason",
        "closed with a reason",
    ]


def test_a_part_that_is_lost_on_some_servers_names_the_option() -> None:
    part = FOUND._replace(is_partial=True)
    assert "Only a part is lost:" in str(report(part)).splitlines()
    part = part._replace(is_on_every_server=False)
    hint = "(use --servers to name the servers that you deploy on)"
    assert f"Only a part is lost {hint}:" in str(report(part)).splitlines()
    named = report(part)._replace(servers=("daphne", "uvicorn"))
    assert hint not in str(named)

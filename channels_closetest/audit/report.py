"""The report on a run of a test suite: for a terminal, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..text.values import count

#: How many tests a group shows, and how many findings of a test.
MAX_TESTS, MAX_FINDINGS = 10, 3


class Found(NamedTuple):
    """An event that some client does not receive as sent, or no client can send."""

    #: The test: a node id of pytest, or a dotted name. None outside of all tests.
    test: str | None
    #: Where the test makes the call during which the event was sent.
    file: str
    line: int
    #: The path of the connection, and the event as a transcript shows it.
    path: str
    event: str
    #: What was sent, what the client receives instead, and what to write instead.
    description: str
    outcome: str
    remedy: str
    #: The servers that are concerned, and whether these are all that were asked about.
    servers: Sequence[str]
    is_on_every_server: bool
    #: Whether the event is received, and only a part of it is not.
    is_partial: bool


#: The sections, by how much is lost.
_EVERY_SERVER = "on every server"
_SOME_SERVERS = "on some servers"
_PARTIAL = "only a part is lost"
_NAME_SERVERS = "use --servers to name the servers that you deploy on"


class Report(NamedTuple):
    #: The servers that the command has named, if it has named any.
    servers: tuple[str, ...] | None
    #: How many communicators the suite has made, and in how many tests.
    communicators: int
    tests: int
    #: How many tests have run in processes that were not watched.
    unwatched_tests: int
    findings: Sequence[Found]

    def as_json(self) -> str:
        sections = self._sections().items()
        return json.dumps(
            {
                **self._asdict(),
                "findings": [
                    {"section": section, **found._asdict()}
                    for section, groups in sections
                    for group in groups
                    for found in group
                ],
            },
            indent=2,
        )

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        found = "nothing found"
        if self.findings:
            tests = count(_test_count(self.findings), "test")
            found = f"{count(len(self.findings), 'finding')} in {tests}"
        communicators = count(self.communicators, "communicator")
        tests_with = count(self.tests, "test")
        yield f"channels_closetest: {found}. {communicators} watched in {tests_with}."
        if self.unwatched_tests:
            yield (
                f"{count(self.unwatched_tests, 'test')} not watched, in processes that"
                " this one has not forked: run them in one process."
            )
        for section, groups in self._sections().items():
            all_found = [found for group in groups for found in group]
            is_everywhere = all(found.is_on_every_server for found in all_found)
            hint = "" if is_everywhere or self.servers else f" ({_NAME_SERVERS})"
            yield f"\n{section.capitalize()}{hint}:"
            for group in groups:
                yield from _group_lines(group)

    def _sections(self) -> dict[str, list[list[Found]]]:
        """Return the findings by section and by what to write instead."""
        sections: dict[str, dict[tuple[str, str], list[Found]]] = {
            section: {} for section in (_EVERY_SERVER, _SOME_SERVERS, _PARTIAL)
        }
        for found in self.findings:
            if found.is_partial:
                section = _PARTIAL
            else:
                section = _EVERY_SERVER if found.is_on_every_server else _SOME_SERVERS
            group = sections[section].setdefault((found.description, found.remedy), [])
            group.append(found)
        return {
            section: sorted(groups.values(), key=_test_count, reverse=True)
            for section, groups in sections.items()
            if groups
        }


def _test_count(group: Sequence[Found]) -> int:
    return len({found.test for found in group} - {None})


def _group_lines(group: Sequence[Found]) -> Iterator[str]:
    first = group[0]
    yield f"\n  {first.description} ({count(_test_count(group), 'test')})"
    yield f"  {first.remedy}."
    by_test: dict[str | None, Counter[str]] = {}
    for found in group:
        sent = f"{found.event} on {found.path}"
        line = f"{found.file}:{found.line}: {sent}: {found.outcome}"
        by_test.setdefault(found.test, Counter())[line] += 1
    for test, lines in list(by_test.items())[:MAX_TESTS]:
        yield f"    {test or 'outside of all tests'}"
        for line, times in list(lines.items())[:MAX_FINDINGS]:
            yield f"      {line}{f' ({times} times)' if times > 1 else ''}"
        if len(lines) > MAX_FINDINGS:
            yield f"      and {len(lines) - MAX_FINDINGS} more"
    if len(by_test) > MAX_TESTS:
        yield f"    and {count(len(by_test) - MAX_TESTS, 'more test')}, see --json"

"""Watch the table of rules."""

from collections.abc import Mapping
from typing import Any

import pytest

from channels_closetest.servers import replay
from channels_closetest.servers.connection import Client
from channels_closetest.servers.rules import RULES, Rule


@pytest.fixture
def rules_asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """Record each evaluation of a rule, and whether the rule applies."""
    asked: list[tuple[str, str, str]] = []

    def watch(phase: str, kind: str, rule: Rule) -> Rule:
        def applies(event: Mapping[str, Any], client: Client) -> object:
            does = rule.condition(event, client)
            asked.append((phase, kind, rule.description if does else ""))
            return does

        return rule._replace(condition=applies)

    watched = {
        phase: {
            kind: [watch(phase, kind, rule) for rule in rules]
            for kind, rules in kinds.items()
        }
        for phase, kinds in RULES.items()
    }
    monkeypatch.setattr(replay, "RULES", watched)
    return asked

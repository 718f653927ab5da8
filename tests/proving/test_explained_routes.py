"""The plan of an event, and why each leg of it is asked or not."""

from typing import Any

import pytest

from engine.policy.compile import PolicySource, compile_policies
from engine.policy.context import Catalogue
from engine.policy.given import complete_event
from engine.policy.trial import judge
from engine.proving.explain import legs

POLICY = """
version: 1
policy: own
rules:
  - {id: choose, phase: route, actions: [{route: "[max_context=10]a:m|b:m"}]}
  - {id: leave, phase: attempt, match: {backend: a}, actions: [{skip_leg: Not at night.}]}
"""
CATALOGUE = Catalogue(backends=("a", "b"), routes={"pool": "[weight=3]a:m^b:m"})


def explained(**given: Any) -> tuple[str, list[tuple[str, str, str]]] | None:
    compiled = compile_policies([PolicySource("own.yaml", POLICY)], CATALOGUE)
    assert compiled.ruleset is not None, compiled.diagnostics
    event = complete_event(given)
    found = legs(event, judge(compiled.ruleset, event), CATALOGUE)
    return None if found is None else (found[0], [(each.leg, each.fate, each.why) for each in found[1]])


@pytest.mark.parametrize(
    ("tokens", "first", "second"),
    [(5, ("a:m", "asked"), ("b:m", "not reached")), (50, ("a:m", "skipped"), ("b:m", "asked"))],
)
def test_a_chosen_route_says_what_would_become_of_its_legs(
    tokens: int, first: tuple[str, str], second: tuple[str, str]
) -> None:
    found = explained(phase="route", request={"input_tokens": tokens})
    assert found is not None
    assert [each[:2] for each in found[1]] == [first, second]


def test_what_became_of_legs_comes_before_what_would() -> None:
    told = {"leg": "a:m", "fate": "skipped", "why": "its breaker is open"}
    found = explained(phase="error", route={"plan": "a:m|b:m", "legs": [told]})
    assert found == ("a:m|b:m", [("a:m", "skipped", "its breaker is open")])


def test_a_leg_that_a_rule_skips_says_its_reason() -> None:
    found = explained(phase="attempt", route={"plan": "a:m|b:m"}, attempt={"backend": "a", "model": "m"})
    assert found is not None
    assert found[1][0] == ("a:m", "skipped", "Not at night.")


def test_a_named_route_is_looked_up() -> None:
    found = explained(phase="attempt", route={"plan": "@pool"})
    assert found == (
        "@pool",
        [
            ("a:m", "asked", "chance asks it first in 3 of 4 cases"),
            ("b:m", "asked", "chance asks it first in 1 of 4 cases"),
        ],
    )


def test_an_event_without_a_route_has_no_legs() -> None:
    assert explained(phase="request") is None

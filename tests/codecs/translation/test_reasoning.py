"""Effort in words and in tokens."""

from typing import Any

import pytest

from engine.codecs.translation.reasoning import budget_of, effort_of, nearest


@pytest.mark.parametrize(
    ("params", "effort", "budget"),
    [
        ({}, None, None),
        ({"reasoning_effort": "none"}, "none", 0),
        ({"reasoning_effort": "medium"}, "medium", 8_192),
        ({"reasoning_budget": 0}, "none", 0),
        ({"reasoning_budget": 1_024}, "minimal", 1_024),
        ({"reasoning_budget": 500}, "minimal", 500),
        ({"reasoning_budget": 10_000}, "medium", 10_000),
        ({"reasoning_budget": 10_000, "reasoning_effort": "low"}, "low", 10_000),
        ({"reasoning_effort": "extreme"}, "medium", 8_192),
    ],
)
def test_each_is_said_by_the_other(params: dict[str, Any], effort: str | None, budget: int | None) -> None:
    assert (effort_of(params), budget_of(params)) == (effort, budget)


def test_a_model_is_asked_for_no_more_than_was_said() -> None:
    assert nearest("xhigh", ("low", "medium", "high")) == "high"
    assert nearest("none", ("low", "medium")) == "low"

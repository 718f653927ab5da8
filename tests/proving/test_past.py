"""Decisions that happened, from their records."""

from typing import Any

import pytest

from engine.proving.past import is_masked, past_of


def record(**more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"outcome": "matched", "because": [], "patch": []}
    outcomes: list[dict[str, Any]] = [
        {"rule": "p/win", "mode": "enforce", "actions": ["block"], "verdict": "block", **plain},
        {"rule": "p/lose", "mode": "enforce", "actions": ["steer"], "verdict": "steer", **plain},
        {"rule": "p/shy", "mode": "shadow", "actions": ["block"], "verdict": "block", **plain},
        {"rule": "p/spent", "outcome": "limited", "mode": "enforce", "because": [], "actions": [], "patch": []},
        {"rule": "p/set", "outcome": "matched", "mode": "enforce", "actions": ["set"],
         "because": [{"expr": "request.model", "value": "mac:" + "0" * 32, "span": "p.yaml:4:11"}],
         "patch": [{"op": "replace", "path": "/request/model", "value": "o3"}]},
    ]  # fmt: skip
    return {
        "id": "x-1",
        "phase": "tool_call",
        "verdict": "block",
        "by": "p/win",
        "message": "No.",
        "outcomes": outcomes,
        **more,
    }


def test_each_rule_says_why_it_won_or_lost() -> None:
    assert {each.name: each.why for each in past_of(record()).rules} == {
        "p/win": "its block decided",
        "p/lose": "its steer lost to the stronger block of p/win",
        "p/shy": "it would have said block, but it was in shadow",
        "p/spent": "its limit was reached",
        "p/set": "it did set",
    }


def test_what_the_log_does_not_show_is_named() -> None:
    past = past_of(record(message="[14 characters]"))
    assert past.masked == (("p/set", "request.model"), ("p/win", "the message"))
    assert not past.whole
    assert past_of(record(outcomes=[])).whole


@pytest.mark.parametrize(
    "value", ["mac:" + "a" * 32, "[left out]", "[3 characters]", ["x", "a [secret] b"], {"a": "[left out]"}]
)
def test_masks_are_known(value: Any) -> None:
    assert is_masked(value)


@pytest.mark.parametrize("value", ["mac: x", "left out", 3, None, True, ["x"]])
def test_other_values_are_not_masked(value: Any) -> None:
    assert not is_masked(value)

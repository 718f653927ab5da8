"""A decision that happened, from its record in the audit log: what each rule said, who won, and what is masked. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

MASKED: Final = re.compile(r"mac:[0-9a-f]{32}|\[left out\]|\[\d+ characters\]|.*\[secret\].*", re.DOTALL)
"""How the audit log writes what it does not show: `audit.content`."""

_STRENGTHS: Final = ("allow", "respond", "drop", "steer", "hold", "block")


class PastRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a decision that happened. `because` are the parts of its conditions with the values that they had."""

    name: str
    outcome: str
    mode: str
    why: str
    because: tuple[tuple[str, Any, str], ...] = ()


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that happened. `masked` are the values that the log does not show: the rule, and which part."""

    record: Mapping[str, Any]
    rules: tuple[PastRule, ...]
    masked: tuple[tuple[str, str], ...]

    @property
    def whole(self) -> bool:
        """Whether everything that it rested on was recorded."""
        return not self.masked


def past_of(record: Mapping[str, Any]) -> Past:
    """What a record tells. Rules that were no candidates stand in no record."""
    rules = tuple(_rule(each, record) for each in record.get("outcomes", ()))
    masked = [(each.name, expression) for each in rules for expression, value, _ in each.because if is_masked(value)]
    masked += [
        (outcome["rule"], f"{op['op']} {op['path']}")
        for outcome in record.get("outcomes", ())
        for op in outcome.get("patch", ())
        if is_masked(op.get("value"))
    ]
    if is_masked(record.get("message", "")):
        masked.append((record.get("by", ""), "the message"))
    return Past(record=record, rules=rules, masked=tuple(masked))


def is_masked(value: Any) -> bool:
    """Whether a value stands for one that the log does not show."""
    match value:
        case str():
            return MASKED.fullmatch(value) is not None
        case dict():
            return any(is_masked(each) for each in value.values())
        case list():
            return any(is_masked(each) for each in value)
        case _:
            return False


def _rule(outcome: Mapping[str, Any], record: Mapping[str, Any]) -> PastRule:
    because = tuple((each["expr"], each["value"], each["span"]) for each in outcome.get("because", ()))
    return PastRule(
        name=outcome["rule"],
        outcome=outcome["outcome"],
        mode=outcome["mode"],
        why=_why(outcome, record),
        because=because,
    )


def _why(outcome: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    verdict, name = outcome.get("verdict", "allow"), outcome["rule"]
    match outcome["outcome"]:
        case "excepted":
            return "an exception held for this event"
        case "limited":
            return "its limit was reached"
        case "error":
            return str(outcome.get("error", ""))
        case "matched" if outcome["mode"] != "enforce":
            return f"it would have said {verdict}, but it was in shadow" if verdict != "allow" else "it was in shadow"
        case "matched" if name == record.get("by"):
            return f"its {verdict} decided"
        case "matched" if verdict == "allow":
            actions = outcome.get("actions", ())
            names = ", ".join(each if isinstance(each, str) else str(each) for each in actions)
            return f"it did {names}" if names else "it asked for nothing"
        case "matched":
            won = str(record.get("verdict", "allow"))
            if won in _STRENGTHS and verdict in _STRENGTHS and _STRENGTHS.index(won) > _STRENGTHS.index(verdict):
                return f"its {verdict} lost to the stronger {won} of {record.get('by')}"
            return f"its {verdict} lost to {record.get('by')}, which has the higher priority or stands before it"
        case _:
            return "its conditions said no"

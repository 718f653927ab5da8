"""A decision in short, as recordings keep it and replay compares it."""

from collections.abc import Sequence
from typing import Any, Final

from engine.model.decision import Decision, Mode, Outcome, OutcomeKind
from engine.model.effects import Block
from engine.model.phases import Phase
from engine.model.traffic import Decided

from .record import op_record

METERED: Final = frozenset({"rate_limited", "budget_exceeded", "over_budget", "price_unknown"})
"""Codes of refusals that rest on a counter, which no event shows."""

_ALLOWED: Final = Decided()


def summary(decision: Decision) -> Decided:
    """What was decided of one event."""
    if not decision.outcomes:
        return _ALLOWED
    return summary_of([decision])


def summary_of(decisions: Sequence[Decision]) -> Decided:
    """What was decided of one event, or of one text that was judged window by window: its strongest verdict."""
    if not decisions:
        return _ALLOWED
    strongest = max(decisions, key=lambda each: each.verdict)
    outcomes = {
        each.rule: each
        for decision in decisions
        for each in decision.outcomes
        if each.outcome in (OutcomeKind.MATCHED, OutcomeKind.ERROR)
    }
    enforced = [each for each in outcomes.values() if each.mode is Mode.ENFORCE]
    code = strongest.effect.code if isinstance(strongest.effect, Block) else ""
    return Decided(
        verdict=str(strongest.verdict),
        by=strongest.by,
        rules=tuple([each.rule for each in enforced]),
        shadow={each.rule: str(each.verdict) for each in outcomes.values() if each.mode is Mode.SHADOW},
        patch=None if len(decisions) > 1 and strongest.phase is Phase.TEXT else _patches(enforced),
        route=strongest.route.plan if strongest.route is not None else "",
        code=code,
        metered=code in METERED,
    )


def _patches(outcomes: Sequence[Outcome]) -> dict[str, list[dict[str, Any]]]:
    return {each.rule: [dict(op_record(op)) for op in each.patch] for each in outcomes if each.patch}

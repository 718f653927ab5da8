"""What rules cost: the time of decisions by phase, and of every rule by itself. The timer is given."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Final

import msgspec

from engine.model.decision import Facts
from engine.model.phases import Phase
from engine.policy.rule import Rule
from engine.policy.ruleset import Event, RuleSet
from engine.policy.trial import judge

from .replay import stand_in

REPEATS: Final = 5
"""Times that each decision is made; the fastest counts, because whatever else the machine did only adds."""

_FACTS: Final = Facts(seed="bench", placeholder=stand_in)


class RuleCost(msgspec.Struct, frozen=True, kw_only=True):
    """One rule alone, over the events of its phase: microseconds beyond a decision in which no rule is a candidate."""

    rule: Rule
    mean: float
    worst: float
    matched: int
    events: int


class PhaseCost(msgspec.Struct, frozen=True, kw_only=True):
    """The decisions of one phase, in microseconds."""

    phase: Phase
    rules: int
    events: int
    mean: float
    worst: float


class Cost(msgspec.Struct, frozen=True):
    """All that was measured; rules with the dearest first."""

    phases: tuple[PhaseCost, ...]
    rules: tuple[RuleCost, ...]


def measure(rules: RuleSet, events: Iterable[Event], timer: Callable[[], int], repeats: int = REPEATS) -> Cost:
    """Time the rules over events; `timer` gives nanoseconds."""
    by_phase: dict[Phase, list[Event]] = {}
    for event in events:
        by_phase.setdefault(Phase(event["phase"]), []).append(event)
    phases = []
    found: list[RuleCost] = []
    for phase in Phase:
        here = by_phase.get(phase, [])
        own = [rule for rule in rules.rules if rule.phase is phase]
        if not here:
            continue
        times = _times(rules, here, timer, repeats)
        phases.append(PhaseCost(phase=phase, rules=len(own), events=len(here), mean=fmean(times), worst=max(times)))
        floor = _times(RuleSet([]), here, timer, repeats)
        found += [_alone(rule, here, floor, timer, repeats) for rule in own]
    return Cost(tuple(phases), tuple(sorted(found, key=lambda each: -each.mean)))


def _alone(
    rule: Rule, events: Sequence[Event], floor: Sequence[float], timer: Callable[[], int], repeats: int
) -> RuleCost:
    alone = RuleSet([rule])
    times = _times(alone, events, timer, repeats)
    beyond = [max(time - least, 0.0) for time, least in zip(times, floor, strict=True)]
    matched = sum(rule.name in judge(alone, event, _FACTS).acted for event in events)
    return RuleCost(rule=rule, mean=fmean(beyond), worst=max(beyond), matched=matched, events=len(events))


def _times(rules: RuleSet, events: Sequence[Event], timer: Callable[[], int], repeats: int) -> list[float]:
    """The fastest of some decisions of each event, in microseconds."""
    found = []
    for event in events:
        best = None
        for _ in range(repeats):
            began = timer()
            judge(rules, event, _FACTS)
            took = timer() - began
            best = took if best is None or took < best else best
        found.append((best or 0) / 1000)
    return found

"""What can be wrong only between rules and files: names that are taken, rules that others make useless, too many to try."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from engine.diagnostics import Diagnostic, Where, error, suggestion, warning
from engine.language.globs import is_glob
from engine.model.phases import Phase
from engine.policy.commanding import command_table

from .brief import Brief, RuleBrief
from .normal import covers

STRENGTH: Final[Mapping[str, int]] = {"block": 5, "hold": 4, "steer": 3, "drop": 2, "respond": 1}
UNINDEXED: Final = 50
"""Rules of one phase that may be tried on every event."""


def judge_together(briefs: Sequence[Brief], require: Sequence[str], required_at: Where) -> Iterator[Diagnostic]:
    """All findings that need more than one file, or more than one rule."""
    yield from _taken_names(briefs)
    rules = {rule.name: rule for brief in briefs for rule in brief.rules}
    excepted = set()
    for brief in briefs:
        for each in brief.foreign:
            excepted.add(each.rule)
            rule = rules.get(each.rule)
            if rule is None:
                help = suggestion(each.rule, rules)
                yield error(403, f"the exception names no rule: '{each.rule}'", each.where, help)
            elif brief.policy not in rule.exceptable_by:
                help = f"the rule must say so: exceptable_by: [{brief.policy}]"
                message = f"rule '{each.rule}' of another file does not allow this exception"
                yield error(404, message, each.where, help)
            else:
                yield from each.findings[rule.phase.value]
    yield from command_table((each.commands, ()) for each in briefs)[1]
    enforced = {rule.name.partition("/")[0] for rule in rules.values() if rule.live}
    loaded = {each.policy for each in briefs}
    for name in require:
        if name not in enforced:
            message = (
                f"the required policy '{name}' is {'loaded, but enforces nothing' if name in loaded else 'not loaded'}"
            )
            yield error(420, message, required_at, "it stands under `require:` in the configuration")
    for phase in Phase:
        of_phase = sorted((rule for rule in rules.values() if rule.phase is phase), key=_order)
        yield from overshadowed([each for each in of_phase if each.name not in excepted])
        yield from unindexed(phase, of_phase)


def overshadowed(rules: Sequence[RuleBrief]) -> Iterator[Diagnostic]:
    """W446: another rule decides wherever this one matches, so that this one never decides anything.

    Verdicts: the strongest wins (block, hold, steer, drop, respond), and of equal ones the first. Choices: the highest
    priority wins, then the first. A rule of which all that it matches is matched by one that wins is dead: its message
    is never read, its route never taken.

    Example:
        rules:
          - {id: no-gpt, phase: request, match: {model: "gpt-*"}, actions: [block: "No GPT here."]}
          - {id: no-gpt-5, phase: request, match: {model: "gpt-5*"}, actions: [block: "Ask for gpt-4.1."]}  # <--

    Use instead:
        rules:
          - {id: no-gpt-5, phase: request, match: {model: "gpt-5*"}, actions: [block: "Ask for gpt-4.1."]}
          - {id: no-gpt, phase: request, match: {model: "gpt-*"}, actions: [block: "No GPT here."]}
    """
    index = _Index(rules)
    places = {rule.name: place for place, rule in enumerate(rules)}
    for rule in rules:
        for other in index.wider(rule):
            if rule.live and rule.only and rule.decides and all(
                _wins(other, rule, places, action) for action in rule.decides
            ):  # fmt: skip
                message = f"'{other.name}' decides wherever '{rule.name.partition('/')[2]}' matches"
                help = f"it stands at {other.where}; give this one a higher priority, or remove it"
                yield warning(446, message, rule.where, help)
                break
        else:
            yield from conflicting(rule, index.wider(rule), places)


def conflicting(rule: RuleBrief, wider: Iterable[RuleBrief], places: Mapping[str, int]) -> Iterator[Diagnostic]:
    """W464: two rules of equal priority write or choose different things for the same event.

    Which one has the last word then follows from the names of the policies and the order of the rules, which nobody
    reads as a decision: renaming a file changes the behaviour. Give one of them another priority.

    Example:
        rules:
          - {id: cool, phase: request, actions: [set: {path: request.params.temperature, value: 0}]}
          - {id: warm, phase: request, actions: [set: {path: request.params.temperature, value: 1}]}  # <--

    Use instead:
        rules:
          - {id: cool, phase: request, actions: [set: {path: request.params.temperature, value: 0}]}
          - {id: warm, phase: request, priority: 200, actions: [set: {path: request.params.temperature, value: 1}]}
    """
    for other in wider:
        if not (rule.live and other.live and rule.priority == other.priority):
            continue
        same_file = rule.name.partition("/")[0] == other.name.partition("/")[0]
        equal = rule.match == other.match and rule.conditions == other.conditions and rule.excluded == other.excluded
        if same_file and (not equal or places[rule.name] < places[other.name]):
            continue  # in one file a special case beside a general one is read from top to bottom
        both = [(f"'{field}'", value, other.writes.get(field)) for field, value in rule.writes.items()]
        both += [
            (f"`{action}`", value, other.decides.get(action))
            for action, value in rule.decides.items()
            if action not in STRENGTH
        ]
        for what, mine, theirs in both:
            if theirs is not None and mine != theirs:
                message = f"'{other.name}' at {other.where} gives {what} another value at the same priority"
                yield warning(464, message, rule.where, "give one of them another priority")
                return


def unindexed(phase: Phase, rules: Sequence[RuleBrief]) -> Iterator[Diagnostic]:
    """W601: so many rules of a phase are tried on every event that each event becomes slow.

    A rule whose `match` names a tool, model, caller or the like is found by that name; one without such a key, or with a
    glob as wide as `*`, is tried every time. Up to 50 of a phase are fine.
    """
    tried = [rule for rule in rules if not rule.indexed]
    if len(tried) > UNINDEXED:
        message = f"{len(tried)} rules of phase {phase} are tried on every event; {UNINDEXED} are fine"
        yield warning(
            601, message, tried[UNINDEXED].where, "give them a `match` with a name: tool, model, caller, team"
        )


def _order(rule: RuleBrief) -> tuple[int, str, int]:
    return (-rule.priority, rule.name.partition("/")[0], rule.position)


def _taken_names(briefs: Sequence[Brief]) -> Iterator[Diagnostic]:
    first: dict[str, Brief] = {}
    for each in briefs:
        other = first.setdefault(each.policy, each)
        if other is not each:
            message = f"policy '{each.policy}' is already in {other.where.file}"
            yield error(401, message, each.where, "rename one of them")


def _wins(other: RuleBrief, rule: RuleBrief, places: Mapping[str, int], action: str) -> bool:
    """Whether the other's word counts wherever both speak."""
    if not other.always:
        return False
    first = places[other.name] < places[rule.name]
    if action not in STRENGTH:
        return action in other.decides and first
    strongest = max((STRENGTH[each] for each in other.decides if each in STRENGTH), default=0)
    return strongest > STRENGTH[action] or (strongest == STRENGTH[action] and first)


class _Index:
    """Finds the rules that match whatever a given one matches, without trying every pair.

    A wider rule asks for nothing that the narrower does not ask for too, so that it is enough to keep each rule under
    the rarest thing that it asks for: one of its conditions, or the names of one of its keys.
    """

    def __init__(self, rules: Sequence[RuleBrief]) -> None:
        self._everything: list[RuleBrief] = []
        self._under: dict[tuple[str, ...], list[RuleBrief]] = {}
        common = Counter(each for rule in rules for each in _features(rule))
        for rule in rules:
            choices: list[list[tuple[str, ...]]] = [[(f"when:{one}",)] for one in rule.conditions]
            choices += [[_feature(key, name) for name in names] for key, names in _keys(rule).items()]
            best = min(choices, key=lambda each: sum(common[one] for one in each), default=None)
            if best is None:
                self._everything.append(rule)
            for feature in best or ():
                self._under.setdefault(feature, []).append(rule)

    def wider(self, rule: RuleBrief) -> Iterator[RuleBrief]:
        found = {other.name: other for other in self._everything}
        for condition in rule.conditions:
            found |= {other.name: other for other in self._under.get((f"when:{condition}",), ())}
        for key, names in _keys(rule).items():
            for name in names[:1]:
                begins = name.replace("?", "*").partition("*")[0]
                for feature in ((key, name), *((key, "*", begins[:length]) for length in range(len(begins) + 1))):
                    found |= {other.name: other for other in self._under.get(feature, ())}
        for other in found.values():
            if other is not rule and _covers(other, rule):
                yield other


def _keys(rule: RuleBrief) -> dict[str, tuple[str, ...]]:
    return {**rule.scope, **rule.match}


def _features(rule: RuleBrief) -> Iterator[tuple[str, ...]]:
    yield from ((f"when:{each}",) for each in rule.conditions)
    yield from (_feature(key, name) for key, names in _keys(rule).items() for name in names)


def _feature(key: str, name: str) -> tuple[str, ...]:
    """A name as it is found: a glob by what stands before its first wildcard."""
    return (key, "*", name.replace("?", "*").partition("*")[0]) if is_glob(name) else (key, name)


def _covers(wide: RuleBrief, narrow: RuleBrief) -> bool:
    if wide.excluded not in ("", narrow.excluded):
        return False
    if not set(wide.conditions) <= set(narrow.conditions):
        return False
    for asked in (wide.scope, wide.match):
        for key, names in asked.items():
            given = [each[key] for each in (narrow.match, narrow.scope) if key in each]
            if not any(covers(names, each, key) for each in given):
                return False
    return True

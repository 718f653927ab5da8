"""What two sets of policies decide differently, without traffic: rules added, removed, widened, narrowed or changed. Pure.

Widened and narrowed are said where they can be proved: by the values of `match` and `scope` that cover each other, and by the
conjuncts and alternatives of conditions. All else that differs is `changed`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from engine.diagnostics import Where
from engine.language import ConditionError, names_used, parse
from engine.model.decision import Decision, OutcomeKind
from engine.model.events import SECTIONS
from engine.policy.compile import CheckedPolicy
from engine.policy.given import complete_event
from engine.policy.match import KEYS, WITHOUT_CASE
from engine.policy.rule import Rule
from engine.policy.ruleset import Event, RuleSet
from engine.policy.spec import MatchSpec, PolicySpec, RuleSpec, ScopeSpec, SetReference
from engine.policy.trial import judge


class Kind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    WIDENED = "widened"
    NARROWED = "narrowed"
    CHANGED = "changed"


class Relation(StrEnum):
    """How what a part lets through now is related to what it let through before."""

    EQUAL = "equal"
    WIDER = "wider"
    NARROWER = "narrower"
    UNKNOWN = "unknown"


class Witness(msgspec.Struct, frozen=True):
    """An event that the two sets decide differently: as a test would give it, and what each makes of it."""

    given: Mapping[str, Any]
    before: str
    after: str


class RuleChange(msgspec.Struct, frozen=True):
    """One rule that is not what it was."""

    kind: Kind
    rule: str
    where: Where
    details: tuple[str, ...] = ()
    witness: Witness | None = None


class Side(msgspec.Struct, frozen=True):
    """One of the two sets."""

    checked: tuple[CheckedPolicy, ...]
    rules: RuleSet


_FLIPPED: Final = {Relation.WIDER: Relation.NARROWER, Relation.NARROWER: Relation.WIDER}
_TEMPLATE: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_SETTINGS: Final = ("phase", "mode", "priority", "rollout", "severity", "on_error", "delay", "window")


def semantic_diff(old: Side, new: Side) -> list[RuleChange]:
    """Every rule that differs, in the order of the new files; the removed ones last."""
    before, after = dict(_rules(old)), dict(_rules(new))
    givens = [*_givens(old), *_givens(new)]
    changes = []
    for name, (policy, rule) in after.items():
        if name not in before:
            kind, details = Kind.ADDED, _added(rule)
        else:
            found = compared(before[name], (policy, rule))
            if found is None:
                continue
            kind, details = found
        where = policy_place(new, name)
        witness = _witness(name, old.rules, new.rules, [*_made(rule), *givens])
        changes.append(RuleChange(kind, name, where, details, witness))
    for name, (_, rule) in before.items():
        if name not in after:
            witness = _witness(name, old.rules, new.rules, [*_made(rule), *givens])
            changes.append(RuleChange(Kind.REMOVED, name, policy_place(old, name), _added(rule), witness))
    return changes


def policy_place(side: Side, name: str) -> Where:
    rule = side.rules.by_name.get(name)
    return rule.where if rule is not None else Where("")


def _rules(side: Side) -> Iterator[tuple[str, tuple[PolicySpec, RuleSpec]]]:
    for each in side.checked:
        for rule in each.spec.rules:
            yield f"{each.spec.policy}/{rule.id}", (each.spec, rule)


def _givens(side: Side) -> Iterator[Mapping[str, Any]]:
    for each in side.checked:
        for case in each.spec.tests:
            yield from (given for _, given, _ in case.events)


def _added(rule: RuleSpec) -> tuple[str, ...]:
    return (f"{rule.phase.value}: {', '.join(name for step in rule.actions for name in step)}",)


# -- how two versions of a rule are related --


def compared(old: tuple[PolicySpec, RuleSpec], new: tuple[PolicySpec, RuleSpec]) -> tuple[Kind, tuple[str, ...]] | None:
    """What became of a rule, and in words why; None where it decides as before."""
    (before, was), (after, now) = old, new
    details = []
    relations = []
    for title, relation in (
        ("scope", _match_relation(_scope(before), _scope(after), before, after)),
        ("match", _match_relation(was.match, now.match, before, after)),
        ("when", _condition_relation(was.when, now.when, before, after)),
        ("unless", _flip(_condition_relation(was.unless, now.unless, before, after, absent=False))),
    ):
        if relation is not Relation.EQUAL:
            relations.append(relation)
            details.append(
                {Relation.UNKNOWN: f"`{title}` is another one"}.get(relation, f"`{title}` makes it {relation.value}")
            )
    others = list(_settings(before, was, after, now))
    if was.actions != now.actions:
        others.append("its actions are others")
    elif any(before.patterns.get(each) != after.patterns.get(each) for each in _texts(now.actions)):
        others.append("a pattern set that it uses is another one")
    elif not _means_the_same(list(_templates(was.actions)), list(_templates(now.actions)), before, after):
        others.append("what its templates use is another thing")
    if was.limit != now.limit:
        others.append("its limit is another one")
    lifted = [[each for each in spec.exceptions if each.rule.partition("/")[2] in (rule.id, "") or each.rule == rule.id]
              for spec, rule in (old, new)]  # fmt: skip
    if lifted[0] != lifted[1]:
        others.append("its exceptions are others")
    if not relations and not others:
        return None
    if others or len(set(relations)) > 1 or relations[0] is Relation.UNKNOWN:
        return Kind.CHANGED, (*details, *others)
    return (Kind.WIDENED if relations[0] is Relation.WIDER else Kind.NARROWED), tuple(details)


def _settings(before: PolicySpec, was: RuleSpec, after: PolicySpec, now: RuleSpec) -> Iterator[str]:
    for name in _SETTINGS:
        one, other = (
            getattr(rule, name) if getattr(rule, name) is not None else getattr(spec, name, None)
            for spec, rule in ((before, was), (after, now))
        )
        if one != other and name != "severity":
            yield f"{name}: {_plain(one)} -> {_plain(other)}"


def _plain(value: Any) -> str:
    return "unset" if value is None else str(getattr(value, "value", value))


def _scope(spec: PolicySpec) -> MatchSpec | None:
    scope = spec.scope
    return (
        MatchSpec(**{name: getattr(scope, name) for name in ScopeSpec.__struct_fields__}) if scope is not None else None
    )


def _flip(relation: Relation) -> Relation:
    return _FLIPPED.get(relation, relation)


def _united(relations: Sequence[Relation]) -> Relation:
    differing = {each for each in relations if each is not Relation.EQUAL}
    return Relation.EQUAL if not differing else differing.pop() if len(differing) == 1 else Relation.UNKNOWN


def _match_relation(old: MatchSpec | None, new: MatchSpec | None, before: PolicySpec, after: PolicySpec) -> Relation:
    old, new = old or MatchSpec(), new or MatchSpec()
    found = []
    for field, name in zip(old.__struct_fields__, old.__struct_encode_fields__, strict=True):
        one, other = getattr(old, field), getattr(new, field)
        if isinstance(one, MatchSpec) or isinstance(other, MatchSpec):
            # Several keys of `not` exclude what fits none of them: only one key turns around plainly.
            found.append(_excluded(one, other, before, after))
        elif one is None or other is None:
            found.append(
                Relation.EQUAL if one is other else Relation.NARROWER if one is None else Relation.WIDER
            )  # fmt: skip
        elif name in KEYS and name not in ("ip", "stream", "status"):
            found.append(_values_relation(_values(one, before), _values(other, after), name in WITHOUT_CASE))
        else:
            same = _values(one, before) == _values(other, after)
            same = same and (name != "pattern" or before.patterns == after.patterns)
            found.append(Relation.EQUAL if same else Relation.UNKNOWN)
    return _united(found)


def _excluded(one: MatchSpec | None, other: MatchSpec | None, before: PolicySpec, after: PolicySpec) -> Relation:
    if one is None or other is None:
        return Relation.NARROWER if one is None else Relation.WIDER
    return _flip(_match_relation(one, other, before, after)) if _keys(one) == _keys(other) and len(_keys(one)) == 1 else (
        Relation.EQUAL if one == other else Relation.UNKNOWN
    )  # fmt: skip


def _keys(match: MatchSpec) -> set[str]:
    return {name for name in match.__struct_fields__ if getattr(match, name) is not None}


def _values(written: Any, spec: PolicySpec) -> list[Any]:
    match written:
        case SetReference(set=name):
            return list(spec.sets.get(name, ()))
        case list():
            return written
        case _:
            return [written]


def _values_relation(old: Sequence[str], new: Sequence[str], ignore_case: bool) -> Relation:
    more, less = _cover(new, old, ignore_case), _cover(old, new, ignore_case)
    if more and less:
        return Relation.EQUAL
    return Relation.WIDER if more else Relation.NARROWER if less else Relation.UNKNOWN


def _cover(many: Sequence[str], few: Sequence[str], ignore_case: bool) -> bool:
    """Whether everything that fits one of `few` fits one of `many`, as far as names show it."""

    def fits(one: str, other: str) -> bool:
        one, other = (one.lower(), other.lower()) if ignore_case else (one, other)
        if one == other or other == "*":
            return True
        # A glob is covered by another where it fits it as a text: every character that `*` stands for fits `*`.
        return "?" not in one and "[" not in other and fnmatchcase(one, other)

    return all(any(fits(one, other) for other in many) for one in few)


def _condition_relation(old: Any, new: Any, before: PolicySpec, after: PolicySpec, *, absent: bool = True) -> Relation:
    """`absent` is the truth of a condition that is not there."""
    old, new = (absent if each is None else each for each in (old, new))
    if not _means_the_same(old, new, before, after):
        return Relation.UNKNOWN
    if old == new:
        return Relation.EQUAL
    if old is True or new is False:
        return Relation.NARROWER
    if new is True or old is False:
        return Relation.WIDER
    was, now = set(_parts(old, "all")), set(_parts(new, "all"))
    if was == now:
        return Relation.EQUAL
    if was > now:
        return Relation.WIDER
    if was < now:
        return Relation.NARROWER
    was, now = set(_parts(old, "any")), set(_parts(new, "any"))
    if was == now:
        return Relation.EQUAL
    return Relation.WIDER if was < now else Relation.NARROWER if was > now else Relation.UNKNOWN


_JOINED: Final = {"all": "and_expression", "any": "or_expression"}


def _parts(written: Any, kind: str) -> Iterator[str]:
    """What `all` or `any` joins, and `&&` or `||` within it, each as a text without needless spaces."""
    match written:
        case {"all": list(children)} if kind == "all":
            for child in children:
                yield from _parts(child, kind)
        case {"any": list(children)} if kind == "any":
            for child in children:
                yield from _parts(child, kind)
        case str():
            try:
                waiting = [parse(written)]
            except ConditionError:
                yield written
                return
            while waiting:
                node = waiting.pop()
                if node.kind == _JOINED[kind]:
                    waiting += node.children
                else:
                    yield " ".join(written[node.start : node.end].split())
        case _:
            yield msgspec.json.encode(written).decode()


def _means_the_same(old: Any, new: Any, before: PolicySpec, after: PolicySpec) -> bool:
    """Whether names that both use mean the same in both files."""
    known: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "definition": (before.definitions, after.definitions),
        "set": (before.sets, after.sets),
        "patterns": (before.patterns, after.patterns),
    }
    waiting = [text for each in (old, new) for text in _texts(each)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        for kind, name in set(_names(waiting.pop())) - seen:
            seen.add((kind, name))
            if kind not in known or known[kind][0].get(name) != known[kind][1].get(name):
                return False
            if kind == "definition" and name in before.definitions:
                waiting.append(before.definitions[name])
    return True


def _names(text: str) -> Iterator[tuple[str, str]]:
    try:
        yield from ((kind, name) for kind, name, _ in names_used(parse(text)))
    except ConditionError:
        return


def _texts(written: Any) -> Iterator[str]:
    match written:
        case str():
            yield written
        case dict():
            for each in written.values():
                yield from _texts(each)
        case list():
            for each in written:
                yield from _texts(each)
        case _:
            return


def _templates(actions: Any) -> Iterator[str]:
    """The expressions in the templates of actions."""
    for text in _texts(actions):
        yield from _TEMPLATE.findall(text)


# -- witnesses --


def _made(rule: RuleSpec) -> Iterator[Mapping[str, Any]]:
    """An event made of the names that the rule matches."""
    given: dict[str, Any] = {"phase": rule.phase.value}
    match = rule.match or MatchSpec()
    for field, name in zip(match.__struct_fields__, match.__struct_encode_fields__, strict=True):
        value = getattr(match, field)
        key = KEYS.get(name)
        if key is None or rule.phase not in key.paths or value is None or isinstance(value, SetReference):
            continue
        section, member = (str(each) for each in key.paths[rule.phase])
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, str):
            first = first.replace("*", "").replace("?", "x")
        default = getattr(SECTIONS[section](), member, None)
        given.setdefault(section, {})[member] = [first] if isinstance(default, list) else first
    yield given


def _witness(name: str, old: RuleSet, new: RuleSet, givens: Sequence[Mapping[str, Any]]) -> Witness | None:
    """The first event for which the rule does not act as it did, or the decision is another."""
    rule = new.by_name.get(name) or old.by_name.get(name)
    if rule is None:
        return None
    for given in givens:
        if given.get("phase", "request") != rule.phase.value:
            continue
        try:
            event = complete_event(given)
        except (msgspec.ValidationError, ValueError):
            continue
        before, after = (_acts(rules, rule, event) for rules in (old, new))
        if before != after:
            return Witness(given, before, after)
    return None


def _acts(rules: RuleSet, rule: Rule, event: Event) -> str:
    """What a set makes of the event, as far as the rule has to do with it."""
    decision: Decision = judge(rules, event)
    for outcome in decision.outcomes:
        if outcome.rule == rule.name and outcome.outcome is OutcomeKind.MATCHED:
            said = str(outcome.verdict) if outcome.verdict else ", ".join(outcome.actions)
            return said if outcome.mode.value == "enforce" else f"{said} in shadow"
    return "nothing"

"""Why a decision is as it is: for every rule the truth of each of its parts, on the event as that rule saw it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.actions import Pass
from engine.diagnostics import Where
from engine.language import ConditionError, Env, TruthNode, truth_tree
from engine.model.decision import Decision, Mode, Outcome, OutcomeKind
from engine.model.effects import VerdictKind, applied
from engine.model.legs import NO_CHANCES, Considered, outlook
from engine.model.phases import Phase
from engine.model.plan import Plan, PlanError, named, parse_plan, resolved
from engine.policy.compile import CheckedPolicy
from engine.policy.conditions import Branch, Constant, Leaf, Tree
from engine.policy.context import UNKNOWN, Catalogue
from engine.policy.match import KEYS, read
from engine.policy.matching import link_match
from engine.policy.names import FileNames
from engine.policy.rule import Exemption, Rule
from engine.policy.ruleset import Event, RuleSet
from engine.policy.spec import MatchSpec, ScopeSpec, SetReference
from engine.policy.trial import TEST_FACTS

NOTHING: Final = msgspec.UNSET
"""The value of a part that is only true or false."""


class Part(msgspec.Struct, frozen=True):
    """One line of a truth tree. `holds` is None where truth is not asked, or the part was not reached.

    `title` is the key of the policy file that the part stands under, where it begins there.
    """

    text: str
    title: str = ""
    holds: bool | None = None
    value: Any = NOTHING
    error: str = ""
    reached: bool = True
    children: tuple["Part", ...] = ()


class Explained(msgspec.Struct, frozen=True):
    """One rule: its outcome, its parts by the keys of the file (`match`, `when`, ...), and in words what decided."""

    rule: Rule
    outcome: Outcome
    parts: tuple[Part, ...]
    why: str


def explain(
    policies: Sequence[CheckedPolicy],
    rules: RuleSet,
    event: Event,
    decision: Decision,
    catalogue: Catalogue = UNKNOWN,
) -> list[Explained]:
    """Every rule of the decision's phase in the order of evaluation. `decision` is one with a trace of this event."""
    known = {each.spec.policy: each for each in policies}
    scopes = {name: _names(each, catalogue) for name, each in known.items()}
    found = []
    for outcome, seen in as_seen(rules, event, decision):
        rule = rules.by_name[outcome.rule]
        policy = known[rule.policy]
        parts = tuple(_parts(rule, policy, scopes[rule.policy], seen))
        found.append(Explained(rule, outcome, parts, _why(rule, outcome, parts, decision, rules)))
    return found


def _names(policy: CheckedPolicy, catalogue: Catalogue) -> FileNames:
    file = Where(policy.source.file)
    return FileNames(policy.spec, lambda _path: file, lambda _path, _start, _end: file, catalogue)


def as_seen(rules: RuleSet, event: Event, decision: Decision) -> Iterator[tuple[Outcome, Event]]:
    """Each outcome with the event as its rule saw it: rules that transform see the work of those before them."""
    current = event
    for outcome in decision.outcomes:
        rule = rules.by_name[outcome.rule]
        if rule.admission:
            yield outcome, event
        elif rule.pass_ is Pass.TRANSFORM:
            yield outcome, current
            if outcome.mode is Mode.ENFORCE and outcome.patch:
                current = applied(current, outcome.patch)
        else:
            yield outcome, decision.event or event


def legs(event: Event, decision: Decision, catalogue: Catalogue = UNKNOWN) -> tuple[str, Sequence[Considered]] | None:
    """The plan that an event is about, or that its decision chose, and why each leg is asked or not; None without one.

    What an event tells of legs is what became of them; else it is what would, as far as the event and the configuration
    can say. Breakers, rests and chance belong to a running server.
    """
    route = event.get("route", {})
    text = decision.route.plan if decision.route is not None else str(route.get("plan", ""))
    if not text:
        return None
    if route.get("legs"):
        return text, [Considered(each["leg"], each["fate"], each["why"]) for each in route["legs"]]
    routes = catalogue.routes or {}
    named_here = named(text)
    try:
        plan = resolved(parse_plan(routes.get(named_here, "") if named_here else text), _look_up(routes))
    except PlanError as wrong:
        return text, [] if named_here and named_here not in routes else [Considered(text, "skipped", str(wrong))]
    request = event["request"]
    first = not any(message["role"] == "assistant" for message in request["messages"])
    found = outlook(plan, NO_CHANCES, request["input_tokens"], first=first)
    if decision.skip is not None:
        attempt = event.get("attempt", {})
        target = f"{attempt.get('backend', '')}:{attempt.get('model', '')}"
        found = [
            Considered(each.leg, "skipped", decision.skip.reason) if each.leg == target else each for each in found
        ]
    return text, found


def _look_up(routes: Mapping[str, str]) -> Callable[[str], Plan | None]:
    return lambda name: parse_plan(routes[name], name) if name in routes else None


# -- the parts of a rule --


def _parts(rule: Rule, policy: CheckedPolicy, names: FileNames, event: Event) -> Iterator[Part]:
    spec = policy.spec.rules[rule.position]
    env = Env(event, TEST_FACTS.seed)
    for title, scope in (("scope", policy.spec.scope), ("granted scope", policy.source.grant.scope)):
        if scope is not None:
            yield _all(title, tuple(_keys(_as_match(scope), rule.phase, names, event)))
    if spec.match is not None:
        yield _all("match", tuple(_keys(spec.match, rule.phase, names, event)))
    for exemption in rule.exemptions:
        holds, error = _excepts(exemption, event, env)
        yield Part(exemption.reason, "exception", holds, error=error)
    for title, tree in (("when", rule.when), ("unless", rule.unless)):
        if tree is not None:
            yield msgspec.structs.replace(_condition(tree, event, env), title=title)


def _all(title: str, parts: tuple[Part, ...]) -> Part:
    return Part("", title, all(part.holds for part in parts), children=parts)


def _as_match(scope: ScopeSpec) -> MatchSpec:
    return MatchSpec(**{field: getattr(scope, field) for field in scope.__struct_fields__})


def _keys(match: MatchSpec, phase: Phase, names: FileNames, event: Event) -> Iterator[Part]:
    for field, name in zip(match.__struct_fields__, match.__struct_encode_fields__, strict=True):
        wanted = getattr(match, field)
        if wanted is None:
            continue
        if isinstance(wanted, MatchSpec):
            inner = tuple(_keys(wanted, phase, names, event))
            yield Part("", "not", not any(part.holds for part in inner), children=inner)
            continue
        tests = link_match(MatchSpec(**{field: wanted}), phase, (), names).tests
        key = KEYS.get(name)
        value = read(event, key.paths[phase]) if key is not None and phase in key.paths else NOTHING
        yield Part(_written(wanted), name, all(test(event) for test in tests), value)


def _written(wanted: Any) -> str:
    match wanted:
        case SetReference(set=name):
            return f"{{$set: {name}}}"
        case list():
            return f"[{', '.join(map(str, wanted))}]"
        case bool():
            return "true" if wanted else "false"
        case _:
            return str(wanted)


def _excepts(exemption: Exemption, event: Event, env: Env) -> tuple[bool, str]:
    try:
        holds = (
            event["now"]["epoch"] < exemption.until
            and (exemption.matches is None or exemption.matches(event))
            and (exemption.when is None or exemption.when.holds(event, env))
        )
    except ConditionError as wrong:
        return False, str(wrong)
    return bool(holds), ""


def _condition(tree: Tree, event: Event, env: Env) -> Part:
    match tree:
        case Constant(value=value):
            return Part("true" if value else "false", holds=value)
        case Leaf(condition=condition):
            return _truth(truth_tree(condition, event, env))
        case Branch(kind=kind, children=children):
            parts = tuple(_condition(child, event, env) for child in children)
            error = next((part.error for part in parts if part.error), "")
            truths = [part.holds is True for part in parts]
            holds = {"any": any(truths), "all": all(truths), "not": not truths[0]}[kind]
            return Part(_BRANCHES[kind], holds=None if error and not holds else holds, children=parts)


_BRANCHES: Final[Mapping[str, str]] = {"any": "any of", "all": "all of", "not": "not"}


def _truth(node: TruthNode) -> Part:
    text = " ".join(node.text.split())
    if not node.reached:
        return Part(text, reached=False)
    children = tuple(_truth(child) for child in node.children)
    if node.error:
        return Part(text, error=node.error, children=children)
    if isinstance(node.value, bool):
        return Part(text, holds=node.value, children=children)
    # A comparison or connective that is null does not hold; a mere field that is null says nothing by it.
    return Part(text, holds=False if children and node.value is None else None, value=node.value, children=children)


# -- why, in words --


_REFUSES: Final = {"scope": False, "granted scope": False, "match": False, "when": False, "unless": True}
"""The keys of a rule that can say no, each with the truth that does."""


def _why(rule: Rule, outcome: Outcome, parts: tuple[Part, ...], decision: Decision, rules: RuleSet) -> str:
    match outcome.outcome:
        case OutcomeKind.NO_MATCH:
            refusing = [part.title for part in parts if part.title in _REFUSES and part.holds is _REFUSES[part.title]]
            nulls = [part.title for part in parts if part.title == "when" and part.value is None]
            return f"its `{(*refusing, *nulls)[0]}` says no" if refusing or nulls else "it was not asked"
        case OutcomeKind.EXCEPTED:
            return "an exception holds for this event"
        case OutcomeKind.LIMITED:
            return "its limit is reached"
        case OutcomeKind.ERROR:
            return outcome.error
        case OutcomeKind.MATCHED:
            return _fate(rule, outcome, decision, rules)


def _fate(rule: Rule, outcome: Outcome, decision: Decision, rules: RuleSet) -> str:
    """What became of a rule that matched."""
    verdict = outcome.verdict
    if outcome.mode is Mode.SHADOW:
        said = f"it would say {verdict}" if verdict is not VerdictKind.ALLOW else "it would act"
        held = rule.mode is Mode.ENFORCE and rule.rollout is not None
        return f"{said}, but its rollout leaves this caller out" if held else f"{said}, but it is in shadow"
    if rule.name == decision.by:
        return f"its {verdict} decides"
    if verdict is VerdictKind.ALLOW:
        return f"it did {', '.join(outcome.actions)}" if outcome.actions else "it asks for nothing"
    winner = rules.by_name[decision.by]
    if decision.verdict > verdict:
        return f"its {verdict} loses to the stronger {decision.verdict} of {winner.name}"
    if winner.priority > rule.priority:
        return f"its {verdict} loses to {winner.name}: priority {winner.priority} over {rule.priority}"
    return f"its {verdict} loses to {winner.name}, which stands before it at the same priority"

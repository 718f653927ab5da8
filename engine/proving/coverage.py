"""Which parts of rules the tests have seen at work: outcomes, actions, and every leaf of a condition both true and false."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from engine.diagnostics import Where
from engine.documents import Document
from engine.language import Condition, ConditionError, Env, compile_node
from engine.language.nodes import Node
from engine.language.values import is_false
from engine.model.decision import Decision, OutcomeKind
from engine.policy.compile import CheckedPolicy
from engine.policy.conditions import Branch, Leaf, Tree
from engine.policy.read import read_policy
from engine.policy.rule import Rule
from engine.policy.ruleset import Event, RuleSet, Stage

from .explain import as_seen

Kind = Literal["outcome", "action", "condition"]
Key = tuple[str | int, ...]
_CONNECTIVES: Final = frozenset({"and_expression", "or_expression", "not_expression"})
KINDS: Final[tuple[Kind, ...]] = ("outcome", "action", "condition")


class Spot(msgspec.Struct, frozen=True):
    """One thing that a test can see: an outcome of a rule, a step of its actions, or one truth of a leaf."""

    kind: Kind
    rule: str
    what: str
    where: Where
    key: Key


class Covered(msgspec.Struct, frozen=True):
    """All spots of a rule set, in the order of the files, and which of them were seen."""

    spots: tuple[Spot, ...]
    seen: frozenset[Key]

    @property
    def missing(self) -> tuple[Spot, ...]:
        return tuple(each for each in self.spots if each.key not in self.seen)

    @property
    def percent(self) -> float:
        return share(self.spots, self.seen)

    def of(self, kind: Kind) -> tuple[int, int]:
        """How many of one kind were seen, of how many."""
        every = [each for each in self.spots if each.kind == kind]
        return sum(each.key in self.seen for each in every), len(every)

    def by_rule(self) -> dict[str, tuple[Spot, ...]]:
        found: dict[str, list[Spot]] = {}
        for each in self.spots:
            found.setdefault(each.rule, []).append(each)
        return {rule: tuple(spots) for rule, spots in found.items()}


def share(spots: Sequence[Spot], seen: frozenset[Key]) -> float:
    """How many of a hundred were seen; 100 where there is nothing to see."""
    return 100 * sum(each.key in seen for each in spots) / len(spots) if spots else 100.0


class Coverage:
    """Counts for one rule set. What cannot happen is no spot: a rule without conditions always matches."""

    def __init__(self, policies: Sequence[CheckedPolicy], rules: RuleSet) -> None:
        self._rules = rules
        self._documents = {
            each.source.file: read_policy(each.source.text, each.source.file).document for each in policies
        }
        order = {each.source.file: number for number, each in enumerate(policies)}
        known = sorted(rules.rules, key=lambda each: (order.get(each.source, 0), each.position))
        self._leaves = {rule.name: tuple(self._leaves_of(rule)) for rule in known}
        self._spots = tuple(spot for rule in known for spot in self._spots_of(rule))
        self._closures: dict[Key, Condition] = {}
        self._keys = frozenset(each.key for each in self._spots)
        self._seen: set[Key] = set()

    def met(self, event: Event, decision: Decision) -> None:
        """An event and the decision of it, made with a trace."""
        for outcome, seen in as_seen(self._rules, event, decision):
            rule = self._rules.by_name[outcome.rule]
            self._seen.add((rule.name, "outcome", outcome.outcome.value))
            if outcome.outcome is OutcomeKind.MATCHED:
                for number, step in enumerate(rule.steps):
                    if step.action.name in outcome.actions:
                        self._seen.add((rule.name, "action", number))
            if self._leaves[rule.name] and self._reaches(rule, seen):
                self._note_leaves(rule, seen)

    def result(self) -> Covered:
        return Covered(self._spots, frozenset(self._seen & self._keys))

    def _reaches(self, rule: Rule, event: Event) -> bool:
        """Whether the rule's conditions are looked at for this event."""
        table = self._rules.table(rule.phase, Stage.ADMISSION if rule.admission else Stage.MAIN)
        if table is None or rule not in (table.rules[order] for order in table.index.probe(event)):
            return False
        return rule.matches is None or rule.matches(event)

    def _note_leaves(self, rule: Rule, event: Event) -> None:
        env = Env(event, "test")
        for title, tree in (("when", rule.when), ("unless", rule.unless)):
            if tree is None:
                continue
            self._note(rule, tree, event, env)
            try:
                if title == "when" and not tree.holds(event, env):
                    return
            except ConditionError:
                return

    def _note(self, rule: Rule, tree: Tree, event: Event, env: Env) -> bool | None:
        """Note what is evaluated of a tree, as evaluation does: an `any` or `all` stops where it is decided."""
        match tree:
            case Leaf():
                return self._note_node(rule, tree, tree.condition.node, event, env)
            case Branch(kind=kind, children=children):
                held: bool | None = None
                for child in children:
                    held = self._note(rule, child, event, env)
                    if held is None or (kind == "any" and held) or (kind == "all" and not held):
                        break
                return (not held if kind == "not" else held) if held is not None else None
            case _:
                return tree.value

    def _note_node(self, rule: Rule, leaf: Leaf, node: Node, event: Event, env: Env) -> bool | None:
        """The truth of a part of an expression, None for an error; what a short circuit passes over is not noted."""
        match node.kind:
            case "and_expression" | "or_expression":
                left = self._note_node(rule, leaf, node.children[0], event, env)
                if left is None or left is (node.kind == "or_expression"):
                    return left
                return self._note_node(rule, leaf, node.children[1], event, env)
            case "not_expression":
                truth = self._note_node(rule, leaf, node.children[0], event, env)
                return None if truth is None else not truth
            case _:
                key: Key = (rule.name, "condition", *map(str, leaf.path), node.start, node.end)
                closure = self._closures.get(key)
                if closure is None:
                    condition = leaf.condition
                    closure = compile_node(condition.text, node, condition.names, condition.origin)
                    self._closures[key] = closure
                try:
                    truth = not is_false(closure(event, env))
                except ConditionError:
                    return None
                self._seen.add((*key, str(truth)))
                return truth

    # -- what there is to see --

    def _leaves_of(self, rule: Rule) -> Iterator[tuple[Leaf, Node]]:
        for tree in (rule.when, rule.unless):
            for leaf in tree.leaves() if tree is not None else ():
                for node in _booleans(leaf.condition.node):
                    if node.kind != "literal":
                        yield leaf, node

    def _spots_of(self, rule: Rule) -> Iterator[Spot]:
        document = self._documents.get(rule.source)
        outcomes = [OutcomeKind.MATCHED]
        if rule.matches is not None or rule.index is not None or rule.when is not None or rule.unless is not None:
            outcomes.append(OutcomeKind.NO_MATCH)
        if rule.exemptions:
            outcomes.append(OutcomeKind.EXCEPTED)
        if rule.limit is not None:
            outcomes.append(OutcomeKind.LIMITED)
        for outcome in outcomes:
            yield Spot("outcome", rule.name, outcome.value, rule.where, (rule.name, "outcome", outcome.value))
        for number, step in enumerate(rule.steps):
            where = document.value(("rules", rule.position, "actions", number)) if document is not None else rule.where
            yield Spot("action", rule.name, step.action.name, where, (rule.name, "action", number))
        for leaf, node in self._leaves[rule.name]:
            where = _inside(document, leaf, node)
            text = " ".join(leaf.condition.text[node.start : node.end].split())
            for truth in (True, False):
                key: Key = (
                    rule.name,
                    "condition",
                    *map(str, leaf.path),
                    node.start,
                    node.end,
                    str(truth),
                )
                yield Spot("condition", rule.name, f"{str(truth).lower()}: {text}", where, key)


def _inside(document: Document | None, leaf: Leaf, node: Node) -> Where:
    return document.inside(leaf.path, node.start, node.end) if document is not None else leaf.where


def _booleans(node: Node) -> Iterator[Node]:
    """The parts of an expression that connectives join."""
    if node.kind in _CONNECTIVES:
        for child in node.children:
            yield from _booleans(child)
    else:
        yield node

"""Why a condition is true or not: the value of each of its parts, for explanations and for coverage."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from engine.language.compile import Condition, compile_node
from engine.language.errors import ConditionError
from engine.language.nodes import Node
from engine.language.scope import Env, Names
from engine.language.values import is_false


class TruthNode(msgspec.Struct, frozen=True):
    """A part of a condition and its value.

    `reached` is false for what a short circuit passed over, whose `value` says nothing. `error` is what evaluating this
    part raised, and stands at every part above it too. Children are the operands of `&&`, `||`, `!`, of comparisons and
    pipes, and the arguments of calls; literals, `&` expressions and what stands inside a filter are not taken apart.
    """

    text: str
    start: int
    end: int
    value: Any = None
    children: tuple["TruthNode", ...] = ()
    reached: bool = True
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether it counts as true in JMESPath."""
        return self.reached and not self.error and not is_false(self.value)

    def leaves(self) -> Iterator["TruthNode"]:
        """The parts that are not made of others, in the order of the text."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


def truth_tree(condition: Condition, document: Any, env: Env | None = None) -> TruthNode:
    """The parts of a condition with their values for one document. Nothing is raised: an error is part of the answer.

    `env` is only read: the tree is evaluated with a budget, and remembered definitions, of its own.
    """
    mine = Env(document) if env is None else Env(env.root, env.seed, env.facts, env.budget)
    return _Explainer(condition, condition.names, mine).tree(condition.node, document)


class _Explainer:
    """Every part is compiled and evaluated on its own: slow, plain, and by the very closures that decide."""

    def __init__(self, condition: Condition, names: Names, env: Env) -> None:
        self._condition = condition
        self._names = names
        self._env = env

    def tree(self, node: Node, value: Any) -> TruthNode:
        match node.kind:
            case "and_expression":
                return self._short_circuit(node, value, goes_on=lambda left: left.holds)
            case "or_expression":
                return self._short_circuit(node, value, goes_on=lambda left: not left.holds)
            case "pipe":
                left = self.tree(node.children[0], value)
                right = self._skipped(node.children[1]) if left.error else self.tree(node.children[1], left.value)
                return self._made(node, (left, right), error=left.error or right.error, value=right.value)
            case "comparator" | "not_expression" | "function_expression":
                parts = tuple(self.tree(child, value) for child in node.children if _is_part(child))
                return self._evaluated(node, value, parts)
            case _:
                return self._evaluated(node, value, ())

    def _short_circuit(self, node: Node, value: Any, goes_on: Callable[[TruthNode], bool]) -> TruthNode:
        left = self.tree(node.children[0], value)
        if left.error or not goes_on(left):
            return self._made(node, (left, self._skipped(node.children[1])), error=left.error, value=left.value)
        right = self.tree(node.children[1], value)
        return self._made(node, (left, right), error=right.error, value=right.value)

    def _evaluated(self, node: Node, value: Any, parts: tuple[TruthNode, ...]) -> TruthNode:
        try:
            closure = compile_node(self._condition.text, node, self._names, self._condition.origin)
            return self._made(node, parts, value=closure(value, self._env))
        except ConditionError as wrong:
            return self._made(node, parts, error=wrong.message)

    def _skipped(self, node: Node) -> TruthNode:
        parts = tuple(self._skipped(child) for child in node.children if _is_part(child)) if _is_split(node) else ()
        return TruthNode(self._text(node), node.start, node.end, children=parts, reached=False)

    def _made(self, node: Node, parts: tuple[TruthNode, ...], value: Any = None, error: str = "") -> TruthNode:
        return TruthNode(self._text(node), node.start, node.end, None if error else value, parts, error=error)

    def _text(self, node: Node) -> str:
        return self._condition.text[node.start : node.end]


def _is_split(node: Node) -> bool:
    return node.kind in (
        "and_expression",
        "or_expression",
        "not_expression",
        "comparator",
        "function_expression",
        "pipe",
    )


def _is_part(node: Node) -> bool:
    return node.kind not in ("literal", "expref")

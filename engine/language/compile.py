"""Nodes to closures: everything that can be decided about an expression is decided once, when it is loaded."""

import functools
from typing import Any

from engine.language.calls import compile_call
from engine.language.closures import (
    MIRRORED,
    ORDERS,
    SHAPES,
    equal,
    field_is,
    fields,
    is_literal,
    ordered,
    ordered_literal,
    then,
)
from engine.language.errors import ConditionError
from engine.language.nodes import Node
from engine.language.parse import parse
from engine.language.reads import reads_of
from engine.language.scope import NO_NAMES, Env, Evaluate, Names, Path


class Condition:
    """A compiled expression: `condition(document)` is its value.

    `reads` are the paths of the document's root that it may read, through definitions too; each stands for all below
    it, and `()` for everything. `evaluate` is the bare closure, which goes on with the steps that its Env has left.
    `names` and `origin` are what it was compiled with.
    """

    __slots__ = ("evaluate", "names", "node", "origin", "reads", "text")

    def __init__(self, text: str, node: Node, names: Names = NO_NAMES, origin: str = "") -> None:
        self.text = text
        self.node = node
        self.names = names
        self.origin = origin
        self.evaluate: Evaluate = _Compiler(names, f"{origin}\x00{text}").closure(node)
        self.reads: frozenset[Path] = reads_of(node, names)

    def __call__(self, document: Any, env: Env | None = None) -> Any:
        """The value for a document. Raises ConditionError, with the specification's kind, where a call is an error."""
        if env is None:
            env = Env(document)
        else:
            env.steps = env.budget
        try:
            return self.evaluate(document, env)
        except (ConditionError, RecursionError, ArithmeticError, ValueError) as wrong:
            raise explained(wrong, self.node) from None

    def __repr__(self) -> str:
        return f"Condition({self.text!r})"


def compile_expression(text: str, names: Names = NO_NAMES, origin: str = "") -> Condition:
    """A text as a condition. Raises ConditionSyntaxError, or ConditionError for what is wrong whatever the document is.

    `origin` says where the expression stands (`policy/rule`): calls of `random()` in the same text at two origins draw
    numbers of their own.
    """
    return compile_node(text, parse(text), names, origin)


def compile_node(text: str, node: Node, names: Names = NO_NAMES, origin: str = "") -> Condition:
    """A condition from a tree that was parsed before, from the same text."""
    return Condition(text, node, names, origin)


def explained(wrong: Exception, node: Node) -> ConditionError:
    """An error of evaluation as a ConditionError with a span, the whole expression's where nothing narrower is known."""
    if isinstance(wrong, ConditionError):
        if not wrong.end:
            wrong.start, wrong.end = node.start, node.end
        return wrong
    if isinstance(wrong, RecursionError):
        return ConditionError("budget", "a value is nested too deeply to be looked at", node.start, node.end)
    return ConditionError("invalid-value", f"a number is out of range: {wrong}", node.start, node.end)


class _Compiler:
    def __init__(self, names: Names, salt: str) -> None:
        self._names = names
        self._salt = salt

    def closure(self, node: Node) -> Evaluate:
        match node.kind:
            case "function_expression":
                return compile_call(node, self._names, self._salt, self.closure)
            case "subexpression" | "index_expression" | "pipe":
                return self._chain(node)
            case "comparator":
                return self._comparison(node)
            case _:
                return SHAPES[node.kind](node, *(self.closure(each) for each in node.children))

    def _chain(self, node: Node) -> Evaluate:
        """`a.b.c` is one closure; other steps are applied one after the other."""
        path: list[str] = []
        closures: list[Evaluate] = []
        for step in _flattened(node):
            if step.kind == "field":
                path.append(step.value)
                continue
            if path:
                closures.append(fields(path))
                path = []
            closures.append(self.closure(step))
        if path:
            closures.append(fields(path))
        return functools.reduce(then, closures)

    def _comparison(self, node: Node) -> Evaluate:
        left, right = node.children
        name = node.value
        if left.kind == "literal" and right.kind != "literal":
            left, right, name = right, left, MIRRORED[name]
        if name not in ("eq", "ne"):
            order = ORDERS[name]
            if right.kind == "literal":
                return ordered_literal(self.closure(left), order, right.value)
            return ordered(self.closure(left), self.closure(right), order)
        equals = name == "eq"
        if right.kind == "literal" and not isinstance(right.value, (list, dict)):
            steps = _flattened(left)
            if isinstance(right.value, str) and all(step.kind == "field" for step in steps):
                return field_is([step.value for step in steps], right.value, equals)
            return is_literal(self.closure(left), right.value, equals)
        return equal(self.closure(left), self.closure(right), equals)


def _flattened(node: Node) -> list[Node]:
    """The steps of a chain, chains within it dissolved."""
    if node.kind not in ("subexpression", "index_expression", "pipe"):
        return [node]
    return [step for child in node.children for step in _flattened(child)]

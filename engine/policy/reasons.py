"""Why a rule matched: the values that its conditions compared, each with the place of its expression."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from engine.language import Condition, ConditionError, Env, compile_node
from engine.language.nodes import Node
from engine.model.decision import Because

from .conditions import Leaf, Tree

_TAKEN_APART: Final = frozenset(
    {"and_expression", "or_expression", "not_expression", "comparator", "function_expression"}
)
_SAYS_NOTHING: Final = frozenset({"literal", "expref"})


class Reasons:
    """The parts of a rule's conditions whose values are worth recording, compiled when they are first needed."""

    __slots__ = ("_parts", "_trees")

    def __init__(self, *trees: Tree | None) -> None:
        self._trees = tuple(tree for tree in trees if tree is not None)
        self._parts: tuple[tuple[str, str, Condition], ...] | None = None

    def of(self, event: Mapping[str, Any], env: Env) -> tuple[Because, ...]:
        """The value of each part for one event; a part that cannot be evaluated is left out."""
        if self._parts is None:
            self._parts = tuple(part for tree in self._trees for leaf in tree.leaves() for part in _parts(leaf))
        found: list[Because] = []
        for expression, span, condition in self._parts:
            try:
                found.append(Because(expression, condition(event, env), span))
            except ConditionError:
                continue
        return tuple(found)


def _parts(leaf: Leaf) -> Iterator[tuple[str, str, Condition]]:
    condition = leaf.condition
    for node in _telling(condition.node):
        text = condition.text[node.start : node.end]
        yield text, str(leaf.where), compile_node(text, node, condition.names, condition.origin)


def _telling(node: Node) -> Iterator[Node]:
    """The operands of comparisons, calls and connectives that are evaluated on the event itself."""
    if node.kind in _TAKEN_APART:
        for child in node.children:
            yield from _telling(child)
    elif node.kind not in _SAYS_NOTHING:
        yield node

"""The named expressions of a policy, compiled so that each finds those that it uses; and the names that a tree uses."""

import graphlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from engine.language.compile import Condition, compile_node
from engine.language.errors import ConditionError
from engine.language.nodes import Node
from engine.language.parse import parse
from engine.language.scope import Names

NameKind = Literal["set", "pattern set", "definition"]

_NAMING: Final[Mapping[str, tuple[int, NameKind]]] = {
    "set": (0, "set"),
    "def": (0, "definition"),
    "matches_any": (1, "pattern set"),
}


def names_used(node: Node) -> Iterator[tuple[NameKind, str, Node]]:
    """The sets, pattern sets and definitions that a tree names, each with the node of the name."""
    for each in node.walk():
        if each.kind == "function_expression" and each.value in _NAMING:
            place, kind = _NAMING[each.value]
            for named in each.children[place : place + 1]:
                if named.kind == "literal" and isinstance(named.value, str):
                    yield kind, named.value, named


def compile_definitions(
    texts: Mapping[str, str], names: Names
) -> tuple[dict[str, Condition], dict[str, ConditionError]]:
    """The definitions of one policy, which may use each other in any order, and the error of each that cannot be had.

    `names` gives the sets and pattern sets, and definitions from elsewhere. A definition that needs itself, through
    others or not, is an error of kind `cycle`; one that uses a wrong one is wrong too, and says so.
    """
    trees: dict[str, Node] = {}
    wrong: dict[str, ConditionError] = {}
    for name, text in texts.items():
        try:
            trees[name] = parse(text)
        except ConditionError as error:
            wrong[name] = error
    found: dict[str, Condition] = {}
    for name in _in_order(trees, wrong):
        if name in wrong:
            continue
        try:
            _refuse_wrong(trees[name], wrong)
            scope = msgspec.structs.replace(names, definitions={**names.definitions, **found})
            found[name] = compile_node(texts[name], trees[name], scope)
        except ConditionError as error:
            wrong[name] = error
    return found, wrong


def _in_order(trees: Mapping[str, Node], wrong: dict[str, ConditionError]) -> Iterator[str]:
    """Names, each after those that it uses; those on a cycle are put among the wrong."""
    uses = {
        name: {used: node for kind, used, node in names_used(tree) if kind == "definition" and used in trees}
        for name, tree in trees.items()
    }
    while True:
        try:
            yield from list(graphlib.TopologicalSorter(uses).static_order())
            return
        except graphlib.CycleError as cycle:
            # Each name in the cycle is used by the one after it.
            circle = list(reversed(cycle.args[1]))
            for name, needed in itertools.pairwise(circle):
                at = uses[name].pop(needed)
                wrong[name] = ConditionError(
                    "cycle", f"definition '{name}' needs itself: {' → '.join(circle)}", at.start, at.end
                )


def _refuse_wrong(tree: Node, wrong: Mapping[str, ConditionError]) -> None:
    for kind, name, node in names_used(tree):
        if kind == "definition" and name in wrong:
            raise ConditionError("unknown-name", f"definition '{name}' has an error itself", node.start, node.end)

"""Where the names of an expression are looked up, and what messages call its parts."""

from typing import NamedTuple

from engine.language.guards import NOTHING, Path, path_of
from engine.language.nodes import Node
from engine.language.types import Type


class Scope(NamedTuple):
    """Where names are looked up: the current value, what it is called, and which of its fields are not null."""

    current: Type
    label: str
    facts: frozenset[Path] = NOTHING
    at_root: bool = False
    each: bool = False
    """Inside a projection, where every step applies to each element."""

    def knowing(self, facts: frozenset[Path]) -> "Scope":
        return self._replace(facts=self.facts | facts)


def name_of(node: Node, scope: Scope) -> str:
    """What a message calls the value of a node."""
    path = path_of(node)
    if path:
        rooted = scope.at_root or " " in scope.label
        return ".".join(path if rooted else (scope.label, *path))
    if path == ():
        return scope.label
    match node.kind:
        case "filter_projection" | "projection" | "value_projection" | "index_expression" | "flatten":
            return name_of(node.children[0], scope)
        case "function_expression" if node.value == "def" and node.children:
            return f"def('{node.children[0].value}')"
        case "function_expression":
            return f"{node.value}()"
        case _:
            return "it"


def named(node: Node) -> str:
    path = path_of(node)
    if not path and node.kind == "function_expression":
        return f"{node.value}()"
    return ".".join(path) if path else "this"


def comparison_for(found: Type) -> str:
    if "number" in found.kinds:
        return "compare it, as in: > `0`"
    if "array" in found.kinds:
        return "ask with any(…), none(…) or count(…) > `0`"
    if "string" in found.kinds:
        return "compare it, as in: != ''"
    return "compare it with null, as in: != null" if "object" in found.kinds else ""

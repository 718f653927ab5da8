"""Which parts of an event an expression may read, so that only these are built, and only these wake it up again."""

from collections.abc import Iterable
from typing import Final

import msgspec

from engine.language.nodes import Node
from engine.language.scope import Names, Path

EVERYTHING: Final[frozenset[Path]] = frozenset({()})


class _Place(msgspec.Struct, frozen=True):
    """A part of the event that a value may be. `closed`: an element of it, so that fields lead to no path of their own."""

    path: Path
    closed: bool = False


_Places = frozenset[_Place]
_NOWHERE: Final[_Places] = frozenset()


def reads_of(node: Node, names: Names) -> frozenset[Path]:
    """Paths from the event's root; each stands for all below it, and none lies below another. `()` is everything."""
    found: set[Path] = set()
    reader = _Reader(names, found)
    reader.use(reader.visit(node, frozenset({_Place(())})))
    return topmost(found)


def topmost(paths: Iterable[Path]) -> frozenset[Path]:
    """The paths less those that lie below another."""
    found = set(paths)
    return frozenset(path for path in found if not any(path[:length] in found for length in range(len(path))))


class _Reader:
    def __init__(self, names: Names, found: set[Path]) -> None:
        self._names = names
        self._found = found

    def use(self, places: _Places) -> None:
        """The value itself counts, with everything in it."""
        self._found.update(place.path for place in places)

    def visit(self, node: Node, here: _Places) -> _Places:
        """Where the node's value may come from, when `here` is the value that it is applied to."""
        match node.kind:
            case "current" | "identity":
                return here
            case "field":
                return frozenset(each if each.closed else _Place((*each.path, node.value)) for each in here)
            case "literal":
                return _NOWHERE
            case "index" | "slice":
                return _closed(here)
            case "subexpression" | "index_expression" | "pipe":
                for child in node.children:
                    here = self.visit(child, here)
                return here
            case "flatten":
                return _closed(self.visit(node.children[0], here))
            case "projection" | "value_projection" | "filter_projection":
                return self._projection(node, here)
            case "or_expression" | "and_expression":
                left = self.visit(node.children[0], here)
                self.use(left)
                return left | self.visit(node.children[1], here)
            case "function_expression":
                return self._call(node, here)
            case _:  # comparisons, negation, multi-selects: a new value, made of the children
                for child in node.children:
                    self.use(self.visit(child, here))
                if node.kind.startswith("multi_select"):
                    self._use_null_test(here)
                return _NOWHERE

    def _use_null_test(self, here: _Places) -> None:
        """A multi-select asks whether what it is applied to is null, which the root never is."""
        self.use(frozenset(place for place in here if place.path))

    def _projection(self, node: Node, here: _Places) -> _Places:
        base = self.visit(node.children[0], here)
        self.use(base)
        elements = _closed(base)
        for test in node.children[2:]:
            self.use(self.visit(test, elements))
        return self.visit(node.children[1], elements)

    def _call(self, node: Node, here: _Places) -> _Places:
        literal = node.children[0].value if node.children and node.children[0].kind == "literal" else None
        if node.value == "def" and isinstance(literal, str) and literal in self._names.definitions:
            self._found.update(self._names.definitions[literal].reads)
        elif node.value == "var" and isinstance(literal, str):
            self._found.add(("session", "vars", literal))
        elements: _Places = _NOWHERE
        for child in node.children:
            if child.kind != "expref":
                value = self.visit(child, here)
                self.use(value)
                elements |= _closed(value)
        for child in node.children:
            if child.kind == "expref":
                self.use(self.visit(child.children[0], elements))
        return _NOWHERE


def _closed(places: _Places) -> _Places:
    return frozenset(_Place(place.path, closed=True) for place in places)

"""The calls of a condition before it runs: what each function takes, of what kind, and what it gives."""

from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

import msgspec

from engine.diagnostics import nearest
from engine.language.errors import unknown
from engine.language.functions import FUNCTIONS, Function
from engine.language.guards import is_null, path_of
from engine.language.inference import (
    UNKNOWN,
    disjoint,
    in_words,
    is_dynamic,
    items_of,
    listed_apart,
    type_of,
    union,
    value_of,
)
from engine.language.naming import Scope, name_of, named
from engine.language.nodes import Node
from engine.language.patterns import PatternError, compile_pattern
from engine.language.places import network
from engine.language.types import ANYTHING, EXPREF, STRING, Type

_FEW: Final = 12  # names that a message lists
_SCALARS: Final = Type.of("number", "string")
_NAMES: Final[Mapping[tuple[str, int], str]] = {
    ("set", 0): "set",
    ("def", 0): "definition",
    ("matches_any", 1): "pattern set",
}


class Known(msgspec.Struct, frozen=True):
    """The names that an expression may use: of sets, of pattern sets, and of definitions with the types of their values."""

    sets: Collection[str] = ()
    patterns: Collection[str] = ()
    definitions: Mapping[str, Type] = {}

    def names(self, what: str) -> Collection[str]:
        return {"set": self.sets, "definition": self.definitions, "pattern set": self.patterns}[what]


class Walk(Protocol):
    """The walk over the whole expression, of which calls are a part."""

    known: Known
    types: dict[int, Type]

    def visit(self, node: Node, scope: Scope) -> Type: ...

    def error(self, number: int, node: Node, message: str, help: str = "", instead: str = "") -> Type: ...

    def warn(self, number: int, node: Node, message: str, help: str = "", instead: str = "") -> None: ...

    def not_listed(self, literal: Node, values: tuple[Any, ...], always: str) -> None: ...


class Calls:
    """Judges the calls that a walk meets."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    def visit(self, node: Node, scope: Scope) -> Type:
        function = FUNCTIONS.get(node.value)
        name_span = msgspec.structs.replace(node, end=node.start + len(node.value))
        if function is None:
            for child in node.children:
                if child.kind != "expref":
                    self._walk.visit(child, scope)
            message, _, help = unknown("function", node.value, FUNCTIONS).partition("; ")
            return self._walk.error(209, name_span, message, help, nearest(node.value, FUNCTIONS))
        kinds = self._arguments(node, function, scope)
        if not function.takes(len(node.children)):
            return self._walk.error(
                210,
                node,
                f"{node.value}() takes {_count(function)}, and {len(node.children)} are given",
                f"write {function.signature}",
            )
        for index, (child, found) in enumerate(zip(node.children, kinds, strict=True)):
            self._argument(child, found, function, index)
        return self._answer(node, function, kinds)

    def _arguments(self, node: Node, function: Function, scope: Scope) -> tuple[Type, ...]:
        """The types of the arguments; an expression reference is evaluated on the elements of the list beside it."""
        kinds: dict[int, Type] = {}
        for index, child in enumerate(node.children):
            if child.kind != "expref":
                kinds[index] = UNKNOWN if _is_told_of(child, function, index) else self._walk.visit(child, scope)
        lists = [index for index, found in kinds.items() if "array" in found.kinds and found is not UNKNOWN]
        for index, child in enumerate(node.children):
            if child.kind == "expref":
                items = items_of(kinds[lists[0]]) if lists else ANYTHING
                label = f"an element of {name_of(node.children[lists[0]], scope)}" if lists else "an element"
                self._walk.types[id(child)] = self._walk.visit(child.children[0], Scope(items, label))
                kinds[index] = EXPREF
        return tuple(kinds[index] for index in range(len(node.children)))

    def _argument(self, node: Node, found: Type, function: Function, index: int) -> None:
        param = function.param(index)
        what = _NAMES.get((function.name, index))
        if param.literal:
            self._literal(node, function, index, what)
            return
        if param.type.kinds == {"expref"} or node.kind == "expref":
            self._reference(node, function, wanted=param.type.kinds == {"expref"})
            return
        takes = f"{function.name}() takes {in_words(param.type)}"
        if disjoint(found, param.type):
            if found.kinds == {"null"} and not is_null(node) and node.kind != "literal":
                return
            self._walk.error(211, node, f"{takes}, and this is {in_words(found)}", f"write {function.signature}")
        elif found.nullable and not param.type.nullable:
            self._walk.warn(
                302,
                node,
                f"{named(node)} may be null, and {function.name}() does not accept null",
                f"guard it with {named(node)} != null && …, or write default(…, …)"
                if path_of(node)
                else "write default(…, …)",
            )
        elif param.type.items is not None and found.items is not None and disjoint(found.items, param.type.items):
            self._walk.error(
                211, node, f"an element must be {in_words(param.type.items)}, and is {in_words(found.items)}"
            )

    def _reference(self, node: Node, function: Function, *, wanted: bool) -> None:
        if node.kind != "expref" or not wanted:
            message = "an expression is expected here" if wanted else "no expression is expected here"
            self._walk.error(
                211,
                node,
                message,
                f"write {function.signature}" + (", the expression with & before it" if wanted else ""),
            )
            return
        if function.name == "map":
            return
        found = self._walk.types[id(node)]
        if disjoint(found, _SCALARS):
            self._walk.error(
                211, node, f"{function.name}() orders by a number or a string, and this is {in_words(found)}"
            )
        elif found.nullable and not is_dynamic(found):
            self._walk.warn(
                302, node, f"this may be null, by which {function.name}() cannot order", "write default(…, …)"
            )

    def _literal(self, node: Node, function: Function, index: int, what: str | None) -> None:
        param = function.param(index)
        lists = "array" in param.type.kinds
        if lists and node.kind == "function_expression" and node.value == "set":
            return
        if node.kind != "literal":
            help = f"write {function.signature} with a text in single quotes"
            self._walk.error(212, node, f"{param.name} of {function.name}() must be a literal", help)
            return
        found = type_of(node.value)
        if disjoint(found, param.type):
            self._walk.error(
                211, node, f"{function.name}() takes {in_words(param.type)}, and this is {in_words(found)}"
            )
        elif what is not None and node.value not in self._walk.known.names(what):
            message, _, help = unknown(what, node.value, self._walk.known.names(what)).partition("; ")
            known = sorted(self._walk.known.names(what))
            if not help and known and len(known) <= _FEW:
                help = f"known: {', '.join(known)}"
            near = nearest(str(node.value), known)
            instead = f"'{near}'" if near else ""
            self._walk.error(213, node, message, help or f"the policy has no {what}s", instead)
        elif function.name == "matches":
            self._pattern(node)
        elif function.name == "cidr":
            self._networks(node)

    def _pattern(self, node: Node) -> None:
        try:
            compile_pattern("", node.value)
        except PatternError as wrong:
            if node.end - node.start == len(node.value) + 2:  # nothing in it is escaped
                node = msgspec.structs.replace(node, start=node.start + 1 + wrong.start, end=node.start + 1 + wrong.end)
            self._walk.error(501, node, f"not a pattern: {wrong.message}", wrong.help)

    def _networks(self, node: Node) -> None:
        for each in [node.value] if isinstance(node.value, str) else node.value:
            try:
                network(str(each))
            except ValueError as wrong:
                self._walk.error(218, node, f"not a network: {wrong}", "write '10.0.0.0/8'")

    def _answer(self, node: Node, function: Function, kinds: tuple[Type, ...]) -> Type:
        match function.name:
            case "def":
                name = node.children[0].value
                return self._walk.known.definitions.get(name, UNKNOWN) if isinstance(name, str) else UNKNOWN
            case "var" if len(kinds) == 2 and not kinds[1].nullable:
                return UNKNOWN
            case "map":
                return Type.array(self._walk.types.get(id(node.children[0]), ANYTHING))
            case "not_null":
                return _first_not_null(kinds)
            case "to_array":
                return kinds[0] if kinds[0].kinds == {"array"} else Type.array(kinds[0])
            case "values" if "object" in kinds[0].kinds:
                return Type.array(value_of(kinds[0]))
            case "contains":
                self._containment(node, *kinds)
        return function.returns if function.infer is None else _fitting(function, kinds)

    def _containment(self, node: Node, subject: Type, search: Type) -> None:
        """An element that no element can equal."""
        if subject.without_null().kinds == {"array"}:
            items = items_of(subject)
            if disjoint(items, search):
                self._walk.error(
                    205, node, f"the list holds {in_words(items)}, never {in_words(search)}: this is always false"
                )
            elif listed_apart(items, search) and node.children[1].kind == "literal":
                self._walk.not_listed(node.children[1], items.enum or (), "false")
            elif listed_apart(items, search):
                self._walk.error(206, node, "no element is a possible value: this is always false")
        elif subject.without_null().kinds == {"string"} and disjoint(search, STRING):
            self._walk.error(205, node, f"a string never contains {in_words(search)}: this is always false")


def _first_not_null(kinds: tuple[Type, ...]) -> Type:
    parts: list[Type] = []
    for found in kinds:
        parts.append(found.without_null())
        if not found.nullable:
            return union(parts)
    return union(parts).or_null()


def _fitting(function: Function, kinds: tuple[Type, ...]) -> Type:
    """What the function infers of arguments, of which only what it takes counts, and no single value."""
    taken = []
    for index, found in enumerate(kinds):
        wanted = function.param(index).type.kinds
        taken.append(msgspec.structs.replace(found, kinds=found.kinds & wanted or wanted, enum=None))
    assert function.infer is not None
    return function.infer(tuple(taken))


def _is_told_of(node: Node, function: Function, index: int) -> bool:
    """Whether an argument that is no literal, or no reference, stands where one is due: that is said, and no more."""
    if not function.params or node.kind == "function_expression":
        return False
    param = function.param(index)
    return param.type.kinds == {"expref"} or (param.literal and node.kind != "literal")


def _count(function: Function) -> str:
    least, most = function.least, function.most
    if most is None:
        return f"at least {_argument_count(least)}"
    return _argument_count(least) if least == most else f"{least} to {_argument_count(most)}"


def _argument_count(count: int) -> str:
    return f"{count} argument" + ("" if count == 1 else "s")

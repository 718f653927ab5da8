"""Nodes to closures: everything that can be decided about an expression is decided once, when it is loaded.

A closure is `(value, env) -> value`. The common shapes (a chain of fields, a comparison with a literal, a filter over
a list, a call with one or two arguments) have closures of their own, so that nothing is looked up by kind while it runs.
"""

# ruff: noqa: ARG001, ARG005 (every closure is called alike, and every shape is built alike)

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from engine.language.calls import compile_call
from engine.language.errors import ConditionError
from engine.language.nodes import Node
from engine.language.parse import parse
from engine.language.reads import reads_of
from engine.language.scope import NO_NAMES, Env, Evaluate, Names, Path, exhausted
from engine.language.values import is_false

_MISSING: Final = (KeyError, TypeError, IndexError)


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
                return _SHAPES[node.kind](node, *(self.closure(each) for each in node.children))

    def _chain(self, node: Node) -> Evaluate:
        """`a.b.c` is one closure; other steps are applied one after the other."""
        steps = _flattened(node)
        path: list[str | int] = []
        closures: list[Evaluate] = []
        for step in steps:
            if step.kind == "field":
                path.append(step.value)
                continue
            if path:
                closures.append(_fields(path))
                path = []
            closures.append(self.closure(step))
        if path:
            closures.append(_fields(path))
        return functools.reduce(_then, closures)

    def _comparison(self, node: Node) -> Evaluate:
        left, right = node.children
        name = node.value
        if left.kind == "literal" and right.kind != "literal":
            left, right, name = right, left, _MIRRORED[name]
        if name not in ("eq", "ne"):
            order = _ORDERS[name]
            if right.kind == "literal":
                return _ordered_literal(self.closure(left), order, right.value)
            return _ordered(self.closure(left), self.closure(right), order)
        equals = name == "eq"
        if right.kind == "literal" and not isinstance(right.value, (list, dict)):
            path = [step.value for step in _flattened(left)]
            plain = all(step.kind == "field" for step in _flattened(left))
            if plain and isinstance(right.value, str):
                return _field_is(path, right.value, equals)
            return _is(self.closure(left), right.value, equals)
        return _equal(self.closure(left), self.closure(right), equals)


def _flattened(node: Node) -> list[Node]:
    """The steps of a chain, chains within it dissolved."""
    if node.kind not in ("subexpression", "index_expression", "pipe"):
        return [node]
    return [step for child in node.children for step in _flattened(child)]


def _then(first: Evaluate, second: Evaluate) -> Evaluate:
    return lambda value, env: second(first(value, env), env)


# -- fields, indices, slices --


def _field(name: str) -> Evaluate:
    return lambda value, env: value.get(name) if isinstance(value, dict) else None


def _fields(path: list[Any]) -> Evaluate:
    """A miss is an exception, because on an event, whose fields all exist, it is rare."""
    match path:
        case [a]:
            return _field(a)
        case [a, b]:

            def two(value: Any, env: Env) -> Any:
                try:
                    return value[a][b]
                except _MISSING:
                    return None

            return two
        case [a, b, c]:

            def three(value: Any, env: Env) -> Any:
                try:
                    return value[a][b][c]
                except _MISSING:
                    return None

            return three

    def many(value: Any, env: Env) -> Any:
        try:
            for name in path:
                value = value[name]
        except _MISSING:
            return None
        return value

    return many


def _index(node: Node) -> Evaluate:
    place = node.value

    def index(value: Any, env: Env) -> Any:
        if isinstance(value, list):
            try:
                return value[place]
            except IndexError:
                return None
        return None

    return index


def _slice(node: Node) -> Evaluate:
    if node.value[2] == 0:
        raise ConditionError("invalid-value", "the step of a slice cannot be 0", node.start, node.end)
    part = slice(*node.value)

    def cut(value: Any, env: Env) -> Any:
        if not isinstance(value, list):
            return None
        env.spend(len(value))
        return value[part]

    return cut


def _current(node: Node) -> Evaluate:
    return lambda value, env: value


def _literal(node: Node) -> Evaluate:
    constant = node.value
    return lambda value, env: constant


# -- lists --


def _flatten(node: Node, base: Evaluate) -> Evaluate:
    def flatten(value: Any, env: Env) -> Any:
        outer = base(value, env)
        if not isinstance(outer, list):
            return None
        flat: list[Any] = []
        for element in outer:
            if isinstance(element, list):
                flat.extend(element)
                if len(flat) > env.steps:
                    raise exhausted()
            else:
                flat.append(element)
        env.spend(len(flat))
        return flat

    return flatten


def _projection(node: Node, base: Evaluate, each: Evaluate) -> Evaluate:
    if node.children[1].kind == "identity":

        def keep(value: Any, env: Env) -> Any:
            elements = base(value, env)
            if not isinstance(elements, list):
                return None
            env.spend(len(elements))
            return [element for element in elements if element is not None]

        return keep

    def project(value: Any, env: Env) -> Any:
        elements = base(value, env)
        if not isinstance(elements, list):
            return None
        env.spend(len(elements))
        found = []
        for element in elements:
            result = each(element, env)
            if result is not None:
                found.append(result)
        return found

    return project


def _value_projection(node: Node, base: Evaluate, each: Evaluate) -> Evaluate:
    def project(value: Any, env: Env) -> Any:
        fields = base(value, env)
        if not isinstance(fields, dict):
            return None
        env.spend(len(fields))
        results = [each(element, env) for element in fields.values()]
        return [result for result in results if result is not None]

    return project


def _filter(node: Node, base: Evaluate, each: Evaluate, test: Evaluate) -> Evaluate:
    whole = node.children[1].kind == "identity"

    def keep(value: Any, env: Env) -> Any:
        elements = base(value, env)
        if not isinstance(elements, list):
            return None
        env.steps -= len(elements)
        if env.steps < 0:
            raise exhausted()
        kept = []
        for element in elements:
            verdict = test(element, env)
            if verdict is True or (verdict is not False and not is_false(verdict)):
                result = element if whole else each(element, env)
                if result is not None:
                    kept.append(result)
        return kept

    return keep


# -- logic --


def _and(node: Node, left: Evaluate, right: Evaluate) -> Evaluate:
    def both(value: Any, env: Env) -> Any:
        first = left(value, env)
        if first is True:
            return right(value, env)
        if first is False or is_false(first):
            return first
        return right(value, env)

    return both


def _or(node: Node, left: Evaluate, right: Evaluate) -> Evaluate:
    def either(value: Any, env: Env) -> Any:
        first = left(value, env)
        if first is True:
            return True
        if first is False or is_false(first):
            return right(value, env)
        return first

    return either


def _not(node: Node, operand: Evaluate) -> Evaluate:
    def negation(value: Any, env: Env) -> bool:
        result = operand(value, env)
        return result is False or (result is not True and is_false(result))

    return negation


# -- comparisons --


def _field_is(path: list[Any], text: str, equals: bool) -> Evaluate:
    """A chain of fields against a string: no other type is equal to one, so that Python's comparison is the right one."""
    if len(path) == 1:
        name = path[0]
        if equals:
            return lambda value, env: isinstance(value, dict) and value.get(name) == text
        return lambda value, env: not (isinstance(value, dict) and value.get(name) == text)
    if len(path) == 2:
        a, b = path

        def two(value: Any, env: Env) -> bool:
            try:
                return (value[a][b] == text) is equals
            except _MISSING:
                return not equals

        return two
    field = _fields(path)
    return lambda value, env: (field(value, env) == text) is equals


def _is(left: Evaluate, literal: Any, equals: bool) -> Evaluate:
    """Against a string, a boolean, null or a number; only for the last can Python take a boolean for an equal."""
    if literal is None or isinstance(literal, bool):
        return lambda value, env: (left(value, env) is literal) is equals
    if isinstance(literal, str):
        return lambda value, env: (left(value, env) == literal) is equals

    def number(value: Any, env: Env) -> bool:
        found = left(value, env)
        return (found == literal and found is not True and found is not False) is equals

    return number


def _equal(left: Evaluate, right: Evaluate, equals: bool) -> Evaluate:
    return lambda value, env: env.equal(left(value, env), right(value, env)) is equals


def _ordered_literal(left: Evaluate, order: Callable[[Any, Any], bool], literal: Any) -> Evaluate:
    if type(literal) is not int and type(literal) is not float:

        def never(value: Any, env: Env) -> None:
            left(value, env)  # may be an error, which stays one

        return never

    def compare(value: Any, env: Env) -> bool | None:
        found = left(value, env)
        kind = type(found)
        return order(found, literal) if kind is int or kind is float else None

    return compare


def _ordered(left: Evaluate, right: Evaluate, order: Callable[[Any, Any], bool]) -> Evaluate:
    def compare(value: Any, env: Env) -> bool | None:
        first, second = left(value, env), right(value, env)
        kind = type(first)
        if kind is not int and kind is not float:
            return None
        kind = type(second)
        return order(first, second) if kind is int or kind is float else None

    return compare


# -- new values --


def _multi_list(node: Node, *items: Evaluate) -> Evaluate:
    return lambda value, env: None if value is None else [item(value, env) for item in items]


def _multi_dict(node: Node, *items: Evaluate) -> Evaluate:
    pairs = tuple(zip((pair.value for pair in node.children), items, strict=True))
    return lambda value, env: None if value is None else {name: item(value, env) for name, item in pairs}


def _pair(node: Node, item: Evaluate) -> Evaluate:
    return item


_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_MIRRORED: Final = {"lt": "gt", "lte": "gte", "gt": "lt", "gte": "lte", "eq": "eq", "ne": "ne"}
_SHAPES: Final[Mapping[str, Callable[..., Evaluate]]] = {
    "and_expression": _and,
    "current": _current,
    "field": lambda node: _field(node.value),
    "filter_projection": _filter,
    "flatten": _flatten,
    "identity": _current,
    "index": _index,
    "key_val_pair": _pair,
    "literal": _literal,
    "multi_select_dict": _multi_dict,
    "multi_select_list": _multi_list,
    "not_expression": _not,
    "or_expression": _or,
    "projection": _projection,
    "slice": _slice,
    "value_projection": _value_projection,
}

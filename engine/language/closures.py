"""The closures of conditions, `(value, env) -> value`, one maker for every kind of node and for every common shape.

A chain of fields, a comparison with a literal, a filter without a projection have closures of their own, so that nothing
is looked up by kind while they run.
"""

# ruff: noqa: ARG001, ARG005 (every closure is called alike, and every shape is built alike)

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from engine.language.errors import ConditionError
from engine.language.nodes import Node
from engine.language.scope import Env, Evaluate, exhausted
from engine.language.values import is_false

_MISSING: Final = (KeyError, TypeError, IndexError)


def then(first: Evaluate, second: Evaluate) -> Evaluate:
    return lambda value, env: second(first(value, env), env)


# -- fields, indices, slices --


def field_(name: str) -> Evaluate:
    return lambda value, env: value.get(name) if isinstance(value, dict) else None


def fields(path: list[Any]) -> Evaluate:
    """A miss is an exception, because on an event, whose fields all exist, it is rare."""
    match path:
        case [a]:
            return field_(a)
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


def index_(node: Node) -> Evaluate:
    place = node.value

    def index(value: Any, env: Env) -> Any:
        if isinstance(value, list):
            try:
                return value[place]
            except IndexError:
                return None
        return None

    return index


def slice_(node: Node) -> Evaluate:
    if node.value[2] == 0:
        raise ConditionError("invalid-value", "the step of a slice cannot be 0", node.start, node.end)
    part = slice(*node.value)

    def cut(value: Any, env: Env) -> Any:
        if not isinstance(value, list):
            return None
        env.spend(len(value))
        return value[part]

    return cut


def current(node: Node) -> Evaluate:
    return lambda value, env: value


def literal(node: Node) -> Evaluate:
    constant = node.value
    return lambda value, env: constant


# -- lists --


def flatten(node: Node, base: Evaluate) -> Evaluate:
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


def projection(node: Node, base: Evaluate, each: Evaluate) -> Evaluate:
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


def value_projection(node: Node, base: Evaluate, each: Evaluate) -> Evaluate:
    def project(value: Any, env: Env) -> Any:
        fields = base(value, env)
        if not isinstance(fields, dict):
            return None
        env.spend(len(fields))
        results = [each(element, env) for element in fields.values()]
        return [result for result in results if result is not None]

    return project


def filter_(node: Node, base: Evaluate, each: Evaluate, test: Evaluate) -> Evaluate:
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


def and_(node: Node, left: Evaluate, right: Evaluate) -> Evaluate:
    def both(value: Any, env: Env) -> Any:
        first = left(value, env)
        if first is True:
            return right(value, env)
        if first is False or is_false(first):
            return first
        return right(value, env)

    return both


def or_(node: Node, left: Evaluate, right: Evaluate) -> Evaluate:
    def either(value: Any, env: Env) -> Any:
        first = left(value, env)
        if first is True:
            return True
        if first is False or is_false(first):
            return right(value, env)
        return first

    return either


def not_(node: Node, operand: Evaluate) -> Evaluate:
    def negation(value: Any, env: Env) -> bool:
        result = operand(value, env)
        return result is False or (result is not True and is_false(result))

    return negation


# -- comparisons --


def field_is(path: list[Any], text: str, equals: bool) -> Evaluate:
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
    found = fields(path)
    return lambda value, env: (found(value, env) == text) is equals


def is_literal(left: Evaluate, literal: Any, equals: bool) -> Evaluate:
    """Against a string, a boolean, null or a number; only for the last can Python take a boolean for an equal."""
    if literal is None or isinstance(literal, bool):
        return lambda value, env: (left(value, env) is literal) is equals
    if isinstance(literal, str):
        return lambda value, env: (left(value, env) == literal) is equals

    def number(value: Any, env: Env) -> bool:
        found = left(value, env)
        return (found == literal and found is not True and found is not False) is equals

    return number


def equal(left: Evaluate, right: Evaluate, equals: bool) -> Evaluate:
    return lambda value, env: env.equal(left(value, env), right(value, env)) is equals


def ordered_literal(left: Evaluate, order: Callable[[Any, Any], bool], literal: Any) -> Evaluate:
    if type(literal) is not int and type(literal) is not float:

        def never(value: Any, env: Env) -> None:
            left(value, env)  # may be an error, which stays one

        return never

    def compare(value: Any, env: Env) -> bool | None:
        found = left(value, env)
        kind = type(found)
        return order(found, literal) if kind is int or kind is float else None

    return compare


def ordered(left: Evaluate, right: Evaluate, order: Callable[[Any, Any], bool]) -> Evaluate:
    def compare(value: Any, env: Env) -> bool | None:
        first, second = left(value, env), right(value, env)
        kind = type(first)
        if kind is not int and kind is not float:
            return None
        kind = type(second)
        return order(first, second) if kind is int or kind is float else None

    return compare


# -- new values --


def multi_list(node: Node, *items: Evaluate) -> Evaluate:
    return lambda value, env: None if value is None else [item(value, env) for item in items]


def multi_dict(node: Node, *items: Evaluate) -> Evaluate:
    pairs = tuple(zip((pair.value for pair in node.children), items, strict=True))
    return lambda value, env: None if value is None else {name: item(value, env) for name, item in pairs}


def pair(node: Node, item: Evaluate) -> Evaluate:
    return item


ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
MIRRORED: Final = {"lt": "gt", "lte": "gte", "gt": "lt", "gte": "lte", "eq": "eq", "ne": "ne"}
SHAPES: Final[Mapping[str, Callable[..., Evaluate]]] = {
    "and_expression": and_,
    "current": current,
    "field": lambda node: field_(node.value),
    "filter_projection": filter_,
    "flatten": flatten,
    "identity": current,
    "index": index_,
    "key_val_pair": pair,
    "literal": literal,
    "multi_select_dict": multi_dict,
    "multi_select_list": multi_list,
    "not_expression": not_,
    "or_expression": or_,
    "projection": projection,
    "slice": slice_,
    "value_projection": value_projection,
}

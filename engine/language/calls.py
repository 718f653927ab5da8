"""Calls of functions: checked once for what can be known, linked to the names they use, specialised by their arity."""

# ruff: noqa: ARG005 (every closure is called alike)

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from engine.language.errors import ConditionError, Refusal, unknown
from engine.language.functions import FUNCTIONS
from engine.language.nodes import Node
from engine.language.scope import Env, Evaluate, Names, Site
from engine.language.signatures import Function, Param
from engine.language.types import JSON_KINDS, Type
from engine.language.values import PYTHON_KINDS, kind_of

_NOT_LITERAL: Final = object()


class Check(NamedTuple):
    """What an argument may be. A value of one of the Python `sure` types is right; for any other `wrong` says what is
    wrong with it, or None when nothing is."""

    sure: frozenset[type]
    wrong: Callable[[Any], str | None]


def compile_call(node: Node, names: Names, salt: str, closure: Callable[[Node], Evaluate]) -> Evaluate:
    """The closure of one call. Raises ConditionError for an unknown function or name, a wrong arity, a bad literal."""
    function = _known(node)
    run = function.run
    given = list(zip((function.param(index) for index in range(len(node.children))), node.children, strict=True))
    if function.at_load:
        run = _linked(node, function, [each for each in given if each[0].literal], names, salt)
        given = [each for each in given if not each[0].literal]
    arguments = [_argument(child, closure) for _, child in given]
    checks = [_check(param.type) for param, _ in given]
    return _specialised(node, function, run, arguments, checks)


def literal_of(node: Node, names: Names) -> Any:
    """The value of a literal, or of a set that is named; what is neither raises LookupError."""
    if node.kind == "literal":
        return node.value
    if (
        node.kind == "function_expression"
        and node.value == "set"
        and [each.kind for each in node.children] == ["literal"]
    ):
        name = node.children[0].value
        if name not in names.sets:
            raise ConditionError("unknown-name", unknown("set", str(name), names.sets), node.start, node.end)
        return list(names.sets[name])
    raise LookupError


def _known(node: Node) -> Function:
    function = FUNCTIONS.get(node.value)
    if function is None:
        raise ConditionError("unknown-function", unknown("function", node.value, FUNCTIONS), node.start, node.end)
    count = len(node.children)
    if not function.takes(count):
        least, most = function.least, function.most
        wanted = f"at least {least}" if most is None else str(least) if most == least else f"{least} to {most}"
        plural = "argument" if wanted in ("1", "at least 1") else "arguments"
        message = f"{function.signature} takes {wanted} {plural}, got {count}"
        raise ConditionError("invalid-arity", message, node.start, node.end)
    return function


def _linked(
    node: Node, function: Function, given: list[tuple[Param, Node]], names: Names, salt: str
) -> Callable[..., Any]:
    literals = []
    for param, child in given:
        try:
            value = literal_of(child, names)
        except LookupError:
            message = (
                f"{param.name} of {function.name}() must be a literal, so that it can be checked when it is loaded"
            )
            raise ConditionError("invalid-type", message, child.start, child.end) from None
        if (wrong := _check(param.type).wrong(value)) is not None:
            raise ConditionError("invalid-type", f"{function.name}() {wrong}", child.start, child.end)
        literals.append(value)
    at = given[0][1] if given else node
    try:
        linked = function.run(Site(names, f"{salt}\x00{node.start}"), *literals)
    except Refusal as wrong:
        raise ConditionError(wrong.kind, wrong.message, at.start, at.end) from None
    return linked  # type: ignore[no-any-return]


def _argument(node: Node, closure: Callable[[Node], Evaluate]) -> Evaluate:
    if node.kind != "expref":
        return closure(node)
    inner = closure(node.children[0])
    return lambda value, env: inner


def _check(wanted: Type) -> Check:
    """A list whose elements have a type is never sure; a subclass (a string enum) is asked what it extends."""
    kinds, items = wanted.kinds, wanted.items
    types = frozenset(python for python, kind in PYTHON_KINDS.items() if kind in kinds)
    inner = frozenset() if items is None or items.kinds >= JSON_KINDS else items.kinds

    def wrong(value: Any) -> str | None:
        if (kind := kind_of(value)) not in kinds:
            return f"needs {_listed(kinds)}, got {_NAMES[kind]}"
        if inner and isinstance(value, list):
            for element in value:
                if (kind := kind_of(element)) not in inner:
                    return f"needs a list of {_listed(inner)} alone, got {_NAMES[kind]} in it"
        return None

    return Check(types - {list} if inner else types, wrong)


_NAMES: Final = {
    "null": "null",
    "boolean": "a boolean",
    "number": "a number",
    "string": "a string",
    "array": "a list",
    "object": "an object",
    "expref": "an expression (&…)",
}


def _listed(kinds: frozenset[Any]) -> str:
    *others, last = [name for kind, name in _NAMES.items() if kind in kinds]
    return f"{', '.join(others)} or {last}" if others else last


def _specialised(
    node: Node, function: Function, run: Callable[..., Any], arguments: list[Evaluate], checks: list[Check]
) -> Evaluate:
    name, sees_env = function.name, function.sees_env
    nodes = [each for index, each in enumerate(node.children) if not function.param(index).literal]
    # What is written in the condition itself is as small as the condition.
    paid = [function.costs and each.kind not in ("literal", "expref") for each in nodes]

    def wrong(index: int, what: str) -> ConditionError:
        return ConditionError("invalid-type", f"{name}() {what}", nodes[index].start, nodes[index].end)

    def refused(refusal: Refusal) -> ConditionError:
        return ConditionError(refusal.kind, refusal.message, node.start, node.end)

    if not arguments and not sees_env:
        constant = run()
        return lambda value, env: constant
    if len(arguments) == 1:
        (argument,), ((sure, check),), (pays,) = arguments, checks, paid

        def call_one(value: Any, env: Env) -> Any:
            given = argument(value, env)
            if type(given) not in sure and (what := check(given)) is not None:
                raise wrong(0, what)
            if pays:
                env.charge(given)
            try:
                return run(env, given) if sees_env else run(given)
            except Refusal as refusal:
                raise refused(refusal) from None

        return call_one
    if len(arguments) == 2:
        (first, second), (pays_first, pays_second) = arguments, paid
        (sure_first, check_first), (sure_second, check_second) = checks
        if nodes[1].kind == "literal" and type(constant := nodes[1].value) in sure_second:

            def call_with_literal(value: Any, env: Env) -> Any:
                given = first(value, env)
                if type(given) not in sure_first and (what := check_first(given)) is not None:
                    raise wrong(0, what)
                if pays_first:
                    env.charge(given)
                try:
                    return run(env, given, constant) if sees_env else run(given, constant)
                except Refusal as refusal:
                    raise refused(refusal) from None

            return call_with_literal

        def call_two(value: Any, env: Env) -> Any:
            left, right = first(value, env), second(value, env)
            if type(left) not in sure_first and (what := check_first(left)) is not None:
                raise wrong(0, what)
            if type(right) not in sure_second and (what := check_second(right)) is not None:
                raise wrong(1, what)
            if pays_first:
                env.charge(left)
            if pays_second:
                env.charge(right)
            try:
                return run(env, left, right) if sees_env else run(left, right)
            except Refusal as refusal:
                raise refused(refusal) from None

        return call_two

    def call(value: Any, env: Env) -> Any:
        given = [argument(value, env) for argument in arguments]
        for index, each in enumerate(given):
            sure, check = checks[index]
            if type(each) not in sure and (what := check(each)) is not None:
                raise wrong(index, what)
            if paid[index]:
                env.charge(each)
        try:
            return run(env, *given) if sees_env else run(*given)
        except Refusal as refusal:
            raise refused(refusal) from None

    return call

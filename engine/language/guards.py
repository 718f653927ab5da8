"""What a condition tells by its outcome: fields that are not null, and constraints that contradict each other."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

from engine.language.functions import FUNCTIONS
from engine.language.inference import written
from engine.language.nodes import Node
from engine.language.values import kind_of

Path = tuple[str, ...]
NOTHING: Final[frozenset[Path]] = frozenset()

_OPPOSITE: Final = {"eq": "ne", "ne": "eq", "lt": "gte", "lte": "gt", "gt": "lte", "gte": "lt"}
_MIRRORED: Final = {"eq": "eq", "ne": "ne", "lt": "gt", "lte": "gte", "gt": "lt", "gte": "lte"}
_SIGNS: Final = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def path_of(node: Node) -> Path | None:
    """The names of a chain of fields that starts at the current value; () for the value itself, None for all else."""
    match node.kind:
        case "current" | "identity":
            return ()
        case "field":
            return (node.value,)
        case "subexpression" if all(child.kind == "field" for child in node.children):
            return tuple(child.value for child in node.children)
        case _:
            return None


def is_null(node: Node) -> bool:
    """Whether the node is the null literal, or the bare name `null`, which no object has and which is null so."""
    return (node.kind == "literal" and node.value is None) or (node.kind == "field" and node.value == "null")


def present_if_true(node: Node) -> frozenset[Path]:
    """The fields that are not null where the condition counts as true."""
    match node.kind:
        case "and_expression":
            return present_if_true(node.children[0]) | present_if_true(node.children[1])
        case "or_expression":
            return present_if_true(node.children[0]) & present_if_true(node.children[1])
        case "not_expression":
            return present_if_false(node.children[0])
        case "comparator":
            return _present_by_comparison(node, holds=True)
        case "function_expression":
            return _present_by_call(node, holds=True)
        case _:
            return _prefixes(node)


def present_if_false(node: Node) -> frozenset[Path]:
    """The fields that are not null where the condition counts as false."""
    match node.kind:
        case "and_expression":
            return present_if_false(node.children[0]) & present_if_false(node.children[1])
        case "or_expression":
            return present_if_false(node.children[0]) | present_if_false(node.children[1])
        case "not_expression":
            return present_if_true(node.children[0])
        case "comparator":
            return _present_by_comparison(node, holds=False)
        case "function_expression":
            return _present_by_call(node, holds=False)
        case _:
            return NOTHING


def _prefixes(node: Node) -> frozenset[Path]:
    """A chain that is not null, and every part of it; of a projection, what it starts from."""
    path = _leading(node)
    return frozenset(path[:length] for length in range(len(path) + 1)) if path is not None else NOTHING


def _leading(node: Node) -> Path | None:
    """The fields that a value comes from: null if one of them is."""
    match node.kind:
        case "projection" | "filter_projection" | "value_projection" | "flatten" | "index_expression" | "pipe":
            return _leading(node.children[0])
        case "subexpression":
            path = _leading(node.children[0])
            for earlier, step in pairwise(node.children):
                if path is None or earlier.kind != "field":
                    break
                path += _leading(step) or ()
            return path
        case _:
            return path_of(node)


def below(facts: frozenset[Path], path: Path) -> frozenset[Path]:
    """What is known, as seen from the value at `path`."""
    return frozenset(fact[len(path) :] for fact in facts if fact[: len(path)] == path)


def _present_by_comparison(node: Node, *, holds: bool) -> frozenset[Path]:
    left, right = node.children
    if node.value not in ("eq", "ne"):
        # An ordering with null is null.
        return _prefixes(left) | _prefixes(right) if holds else NOTHING
    equal = (node.value == "eq") is holds
    present = NOTHING
    for one, other in ((left, right), (right, left)):
        against_null = is_null(other)
        against_value = other.kind == "literal" and not against_null
        if (equal and against_value) or (not equal and against_null):
            present |= _prefixes(one)
    return present


def _present_by_call(node: Node, *, holds: bool) -> frozenset[Path]:
    """What a call tells: its arguments are not null where it takes no null, whatever it answers."""
    function = FUNCTIONS.get(node.value)
    if function is None or not function.takes(len(node.children)):
        return NOTHING
    if (node.value in ("any", "has") and holds) or (node.value == "none" and not holds):
        return _prefixes(node.children[0])
    present = NOTHING
    for index, argument in enumerate(node.children):
        if not function.param(index).type.nullable and argument.kind != "expref":
            present |= _prefixes(argument)
    return present


class Constraint(NamedTuple):
    """A comparison of a field with a literal, where it stands, and what it says."""

    path: Path
    sign: str
    value: Any
    node: Node

    def __str__(self) -> str:
        return f"{'.'.join(self.path) or '@'} {_SIGNS[self.sign]} {written(self.value)}"


def conflicts(parts: Iterable[Node], *, negated: bool = False) -> Iterator[tuple[Constraint, Constraint]]:
    """Pairs of comparisons that cannot hold together; `negated` asks whether they cannot fail together."""
    seen: list[Constraint] = []
    for part in parts:
        constraint = _constraint(part)
        if constraint is None or (negated and constraint.sign not in ("eq", "ne")):
            continue
        for earlier in seen:
            if earlier.path == constraint.path and _apart(earlier, constraint, negated):
                yield earlier, constraint
                break
        seen.append(constraint)


def chain(node: Node, kind: str) -> Iterator[Node]:
    """The operands of a chain of one operator, from left to right."""
    if node.kind == kind:
        for child in node.children:
            yield from chain(child, kind)
    else:
        yield node


def _constraint(node: Node) -> Constraint | None:
    if node.kind == "not_expression":
        inner = _constraint(node.children[0])
        return inner and inner._replace(sign=_OPPOSITE[inner.sign], node=node) if _negatable(inner) else None
    if node.kind != "comparator":
        return None
    left, right = node.children
    sign = node.value
    if left.kind == "literal":
        left, right, sign = right, left, _MIRRORED[sign]
    path = path_of(left)
    if path is None or right.kind != "literal":
        return None
    return Constraint(path, sign, right.value, node)


def _negatable(constraint: Constraint | None) -> bool:
    """The opposite of an ordering holds for null too, so that only equality can be turned round."""
    return constraint is not None and constraint.sign in ("eq", "ne")


def _apart(left: Constraint, right: Constraint, negated: bool) -> bool:
    one = _OPPOSITE[left.sign] if negated else left.sign
    other = _OPPOSITE[right.sign] if negated else right.sign
    if {one, other} <= {"eq", "ne"}:
        same = kind_of(left.value) == kind_of(right.value) and left.value == right.value
        return not same if one == other == "eq" else same and one != other
    if not (_is_number(left.value) and _is_number(right.value)):
        return False
    return _empty(_interval(one, left.value), _interval(other, right.value))


class _Interval(NamedTuple):
    low: float
    low_open: bool
    high: float
    high_open: bool


def _interval(sign: str, value: float) -> _Interval:
    everything = float("inf")
    match sign:
        case "eq":
            return _Interval(value, False, value, False)
        case "lt" | "lte":
            return _Interval(-everything, True, value, sign == "lt")
        case "gt" | "gte":
            return _Interval(value, sign == "gt", everything, True)
        case _:
            return _Interval(-everything, True, everything, True)


def _empty(left: _Interval, right: _Interval) -> bool:
    low, low_open = max((left.low, left.low_open), (right.low, right.low_open))
    high, high_closed = min((left.high, not left.high_open), (right.high, not right.high_open))
    return low > high or (low == high and (low_open or not high_closed))


def _is_number(value: Any) -> bool:
    return kind_of(value) == "number"

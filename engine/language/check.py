"""The types of a condition before it runs: what no event can make true, what may be null, what was misspelt."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from engine.diagnostics import Severity, nearest
from engine.language.call_check import Calls, Known
from engine.language.errors import ConditionSyntaxError
from engine.language.findings import Checked, Finding, outermost_causes
from engine.language.guards import (
    NOTHING,
    Path,
    below,
    chain,
    conflicts,
    is_null,
    path_of,
    present_if_false,
    present_if_true,
)
from engine.language.inference import (
    UNKNOWN,
    disjoint,
    falsy,
    in_words,
    is_dynamic,
    is_open,
    items_of,
    listed_apart,
    truthy,
    type_from_schema,
    type_of,
    union,
    value_of,
    written,
)
from engine.language.naming import Scope, comparison_for, name_of, named
from engine.language.nodes import Node
from engine.language.parse import parse
from engine.language.types import ANYTHING, BOOLEAN, NULL, Type
from engine.language.values import is_false

__all__ = ["CONDITION", "NO_KNOWN", "Known", "check", "check_text", "type_from_schema"]

CONDITION: Final = BOOLEAN.or_null()
"""What `when` and `unless` expect."""

_FEW: Final = 12  # fields of an object that a message lists
_STEPS: Final = frozenset({"subexpression", "projection", "filter_projection", "value_projection", "flatten"})
_SIGNS: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


NO_KNOWN: Final = Known()


def check_text(
    text: str,
    root: Type,
    known: Known = NO_KNOWN,
    *,
    expect: Type | None = None,
    elsewhere: Mapping[str, tuple[str, ...]] | None = None,
    given: Iterable[Node] = (),
) -> Checked:
    """As `check`, of a text; a text that is not an expression is a finding like any other."""
    try:
        node = parse(text)
    except ConditionSyntaxError as wrong:
        message, _, help = wrong.message.partition("; ")
        return Checked(UNKNOWN, (Finding(201, Severity.ERROR, message, wrong.start, wrong.end, help, wrong.instead),))
    return check(node, root, known, expect=expect, elsewhere=elsewhere, given=given)


def check(
    node: Node,
    root: Type,
    known: Known = NO_KNOWN,
    *,
    expect: Type | None = None,
    elsewhere: Mapping[str, tuple[str, ...]] | None = None,
    given: Iterable[Node] = (),
) -> Checked:
    """The type of an expression on a document of type `root`, and its findings.

    `expect` is what its place takes (`CONDITION` for `when`); `elsewhere` says of the parts of the event that this
    phase does not have in which phases they exist; `given` are conditions that are true wherever this one is evaluated.
    """
    walk = _Walk(root, known, elsewhere or {})
    true_before = tuple(given)
    facts = NOTHING.union(*map(present_if_true, true_before))
    found = walk.visit(node, Scope(root, "the event", facts, at_root=True))
    walk.contradictions(node, true_before)
    if expect is not None:
        walk.place(node, found, expect)
    return Checked(found, outermost_causes(walk.findings))


_FROM_THE_ELEMENT: Final = (
    "names in brackets and after a dot start at the element or value there, "
    "not at the event, which only def('…') reaches"
)


class _Walk:
    """One expression, from the leaves up."""

    def __init__(self, root: Type, known: Known, elsewhere: Mapping[str, tuple[str, ...]]) -> None:
        self.root = root
        self.known = known
        self.elsewhere = elsewhere
        self.findings: list[Finding] = []
        self.types: dict[int, Type] = {}
        self._calls = Calls(self)

    def error(self, number: int, node: Node, message: str, help: str = "", instead: str = "") -> Type:
        self.findings.append(Finding(number, Severity.ERROR, message, node.start, node.end, help, instead))
        return UNKNOWN

    def warn(self, number: int, node: Node, message: str, help: str = "", instead: str = "") -> None:
        self.findings.append(Finding(number, Severity.WARNING, message, node.start, node.end, help, instead))

    def visit(self, node: Node, scope: Scope) -> Type:
        found = self._visit(node, scope)
        path = path_of(node)
        if path is not None and path in scope.facts:
            found = found.without_null()
        self.types[id(node)] = found
        return found

    def _visit(self, node: Node, scope: Scope) -> Type:
        if node.kind in _STEPS and node.children[0].kind == "not_expression":
            self.visit(node.children[0].children[0], scope)
            return self.error(
                219,
                node,
                "! binds to the first name alone, and the rest is taken of true or false",
                "write !(…) around all of it",
            )
        match node.kind:
            case "literal":
                return type_of(node.value)
            case "current" | "identity":
                return scope.current
            case "field":
                return self._field(node, scope)
            case "subexpression":
                return self._chain(node, scope)
            case "index_expression":
                return self._index_expression(node, scope)
            case "projection":
                return self._projection(node, scope)
            case "filter_projection":
                return self._filter(node, scope)
            case "value_projection":
                return self._values(node, scope)
            case "flatten":
                return self._flatten(node, scope)
            case "and_expression":
                return self._and(node, scope)
            case "or_expression":
                return self._or(node, scope)
            case "not_expression":
                self.visit(node.children[0], scope)
                self._truth(node.children[0])
                return BOOLEAN
            case "comparator":
                return self._comparator(node, scope)
            case "pipe":
                left = self.visit(node.children[0], scope)
                return self.visit(node.children[1], Scope(left, name_of(node.children[0], scope)))
            case "multi_select_list":
                return self._unless_null(
                    scope, Type.array(union([self.visit(child, scope) for child in node.children]))
                )
            case "multi_select_dict":
                fields = {pair.value: self.visit(pair.children[0], scope) for pair in node.children}
                return self._unless_null(scope, Type.closed_object(fields))
            case "function_expression":
                return self._calls.visit(node, scope)
            case _:
                for child in node.children:
                    self.visit(child, scope)
                return ANYTHING

    def _unless_null(self, scope: Scope, found: Type) -> Type:
        return found.or_null() if scope.current.nullable else found

    # -- fields --

    def _chain(self, node: Node, scope: Scope) -> Type:
        first, *steps = node.children
        found = self.visit(first, scope)
        label = name_of(first, scope)
        path = path_of(first)
        for step in steps:
            facts = below(scope.facts, path) if path is not None else NOTHING
            found = self.visit(step, Scope(found, label, facts, each=scope.each))
            label = f"{label}.{step.value}" if step.kind == "field" else "it"
            path = (*path, step.value) if path is not None and step.kind == "field" else None
        return found

    def _field(self, node: Node, scope: Scope) -> Type:
        name, holder = node.value, scope.current
        if name in holder.properties:
            found = holder.properties[name]
            return found if holder.kinds == {"object"} else found.or_null()
        if is_null(node):
            return NULL
        if "object" not in holder.kinds:
            if holder.kinds <= {"null"}:
                return NULL
            help = f"write [*].{name} for every element, [?...] for some" if "array" in holder.kinds else ""
            if not scope.at_root and name in self.root.properties:
                help = _FROM_THE_ELEMENT
            return self.error(204, node, f"{scope.label} is {in_words(holder)}, which has no fields", help)
        if is_open(holder):
            return value_of(holder).or_null()
        return self._missing(node, scope)

    def _missing(self, node: Node, scope: Scope) -> Type:
        name = node.value
        if _is_quoted(node):
            return self.error(
                214,
                node,
                f"double quotes name a field, and {scope.label} has none of this name",
                f"a string is written '{name}'",
                f"'{name}'",
            )
        if name in ("true", "false"):
            return self.error(
                202, node, f"'{name}' names a field, and there is none", f"the literal is written `{name}`", f"`{name}`"
            )
        if scope.at_root and name in self.elsewhere:
            phases = ", ".join(self.elsewhere[name])
            return self.error(203, node, f"'{name}' does not exist in this phase", f"it exists in: {phases}")
        fields = scope.current.properties
        near = nearest(name, fields)
        deeper = [f"{part}.{name}" for part, each in self.root.properties.items() if name in each.properties]
        if near:
            help = f"did you mean '{near}'?"
        elif scope.at_root and deeper:
            help = f"did you mean {' or '.join(map(repr, deeper[:3]))}?"
        elif not scope.at_root and name in self.root.properties:
            help = _FROM_THE_ELEMENT
        else:
            help = f"fields: {', '.join(fields)}" if len(fields) <= _FEW else ""
        return self.error(202, node, f"unknown field '{name}' of {scope.label}", help, near)

    # -- lists --

    def _index_expression(self, node: Node, scope: Scope) -> Type:
        first, *steps = node.children
        found = self.visit(first, scope)
        label = name_of(first, scope)
        for step in steps:
            if not self._is_list(step, found, label, scope):
                return UNKNOWN
            if step.kind == "index" and first.kind == "identity" and scope.each and is_dynamic(found.or_null()):
                self.warn(
                    216,
                    step,
                    "after a projection, this takes an element of each element, and not one of the list",
                    "end the projection with a pipe: list[?x] | [0]",
                )
            if step.kind == "slice":
                found = found if found.kinds <= {"array", "null"} else Type.array(items_of(found)).or_null()
            else:
                found = items_of(found).or_null()
        return found

    def _is_list(self, step: Node, found: Type, label: str, scope: Scope) -> bool:
        if "array" in found.kinds or found.kinds <= {"null"}:
            return True
        if scope.each:
            self.error(
                216,
                step,
                f"after a projection, this applies to each element, which is {in_words(found)}",
                "end the projection with a pipe: list[?x] | [0]",
            )
        else:
            self.error(215, step, f"{label} is {in_words(found)}, which has no elements")
        return False

    def _projected(self, left: Type, items: Type, right: Node, scope: Scope, facts: frozenset[Path]) -> Type:
        each = self.visit(right, scope._replace(current=items, facts=facts, at_root=False, each=True))
        made = Type.array(each.without_null())
        return made if left.kinds <= {"array"} else made.or_null()

    def _projection(self, node: Node, scope: Scope) -> Type:
        base, right = node.children
        left = self.visit(base, scope)
        label = name_of(base, scope)
        if not self._is_list(node, left, label, scope):
            return UNKNOWN
        inner = scope._replace(label=f"an element of {label}")
        return self._projected(left, items_of(left).without_null(), right, inner, NOTHING)

    def _filter(self, node: Node, scope: Scope) -> Type:
        base, right, condition = node.children
        left = self.visit(base, scope)
        label = name_of(base, scope)
        if not self._is_list(node, left, label, scope):
            return UNKNOWN
        items = items_of(left)
        inner = Scope(items, f"an element of {label}")
        self.visit(condition, inner)
        self._truth(condition)
        return self._projected(left, items, right, scope._replace(label=inner.label), present_if_true(condition))

    def _values(self, node: Node, scope: Scope) -> Type:
        base, right = node.children
        left = self.visit(base, scope)
        label = name_of(base, scope)
        if "object" not in left.kinds and not left.kinds <= {"null"}:
            return self.error(
                215, node, f"{label} is {in_words(left)}, which has no fields", "write [*] for the elements of a list"
            )
        inner = scope._replace(label=f"a field of {label}")
        made = self._projected(left, value_of(left).without_null(), right, inner, NOTHING)
        return made if left.kinds <= {"object"} else made.or_null()

    def _flatten(self, node: Node, scope: Scope) -> Type:
        base = node.children[0]
        left = self.visit(base, scope)
        if not self._is_list(node, left, name_of(base, scope), scope):
            return UNKNOWN
        items = items_of(left)
        if "array" in items.kinds and not is_dynamic(items):
            others = msgspec.structs.replace(items, kinds=items.kinds - {"array"})
            items = union([items_of(items), others])
        made = Type.array(items)
        return made if left.kinds <= {"array"} else made.or_null()

    # -- truth --

    def _and(self, node: Node, scope: Scope) -> Type:
        left = self.visit(node.children[0], scope)
        self._truth(node.children[0])
        right = self.visit(node.children[1], scope.knowing(present_if_true(node.children[0])))
        return union([falsy(left), right])

    def _or(self, node: Node, scope: Scope) -> Type:
        left = self.visit(node.children[0], scope)
        self._truth(node.children[0])
        right = self.visit(node.children[1], scope.knowing(present_if_false(node.children[0])))
        return union([truthy(left), right])

    def _truth(self, node: Node) -> None:
        """A value whose truth alone counts: not one that is always true."""
        found = self.types[id(node)]
        match node.kind:
            case "and_expression" | "or_expression":
                self._truth(node.children[1])  # its left side was seen when the node was
            case "literal":
                zero = "; 0 counts as true" if found.kinds == {"number"} and not node.value else ""
                always = "false" if is_false(node.value) else "true"
                self.warn(304, node, f"this literal is always {always}{zero}", "compare something with it")
            case _:
                closed = found.kinds == {"object"} and not is_open(found)
                if found.kinds == {"number"}:
                    self.warn(303, node, "a number always counts as true, 0 too", "compare it, as in: > `0`")
                elif closed:
                    self.warn(303, node, f"{named(node)} always exists, and counts as true")

    def place(self, node: Node, found: Type, expect: Type) -> None:
        """Whether the value fits where it stands; for a condition, every value that it may have."""
        if "boolean" in expect.kinds:
            self._result(node)
        elif disjoint(found, expect):
            self.error(217, node, f"{in_words(expect)} is expected here, and this is {in_words(found)}")
        elif found.nullable and not expect.nullable and not is_dynamic(found):
            self.warn(305, node, f"{in_words(expect)} is expected here, and this may be null")

    def _result(self, node: Node) -> None:
        """A condition's value is the value of one of its operands: each must be a boolean or null."""
        match node.kind:
            case "and_expression":
                self._leak(node.children[0], falsy(self.types[id(node.children[0])]), "where it is empty")
                self._result(node.children[1])
            case "or_expression":
                self._result(node.children[0])
                self._result(node.children[1])
            case _:
                found = self.types[id(node)]
                if disjoint(found, CONDITION):
                    self.error(
                        217,
                        node,
                        f"a condition must be true or false, and this is {in_words(found)}",
                        comparison_for(found),
                    )
                else:
                    self._leak(node, found, "here")

    def _leak(self, node: Node, values: Type, where: str) -> None:
        others = msgspec.structs.replace(values, kinds=values.kinds - {"boolean", "null"})
        if node.kind in ("and_expression", "or_expression") and where != "here":
            # A chain of || is false with the value of its last operand, one of && with that of any.
            for child in node.children if node.kind == "and_expression" else node.children[1:]:
                self._leak(child, falsy(self.types[id(child)]), where)
        elif others.kinds and not is_dynamic(self.types[id(node)]):
            self.warn(
                305,
                node,
                f"the condition has {in_words(others)} as its value {where}, which is neither true nor false",
                comparison_for(others),
            )

    def contradictions(self, node: Node, given: Iterable[Node] = ()) -> None:
        """Comparisons of one field that cannot hold together, or that cannot fail together."""
        for each in node.walk():
            if each.kind not in ("and_expression", "or_expression") and each is not node:
                continue
            either = each.kind == "or_expression"
            parts = [*chain(each, each.kind)] if each.kind in ("and_expression", "or_expression") else [each]
            if each is node and not either:
                parts = [part for one in given for part in chain(one, "and_expression")] + parts
            for earlier, later in conflicts(parts, negated=either):
                if either:
                    self.error(
                        208, later.node, f"together with {earlier} this is always true", "write && to exclude both"
                    )
                else:
                    self.error(208, later.node, f"this cannot be true together with {earlier}")

    # -- comparisons --

    def _comparator(self, node: Node, scope: Scope) -> Type:
        left, right = node.children
        kinds = self.visit(left, scope), self.visit(right, scope)
        if node.value not in ("eq", "ne"):
            return self._ordering(node, kinds)
        for side, other in ((left, right), (right, left)):
            if _is_quoted(side) and other.kind != "literal" and is_dynamic(scope.current) and not scope.at_root:
                self.warn(214, side, f'"{side.value}" names a field', f"a string is written '{side.value}'")
        if is_null(left) or is_null(right):
            # A guard may repeat what is known already.
            bare = scope._replace(facts=NOTHING)
            quiet = _Walk(self.root, self.known, self.elsewhere)
            kinds = quiet.visit(left, bare), quiet.visit(right, bare)
        return self._equality(node, *kinds)

    def _equality(self, node: Node, one: Type, other: Type) -> Type:
        left, right = node.children
        always = "false" if node.value == "eq" else "true"
        if disjoint(one, other):
            lists = "array" in one.kinds ^ other.kinds
            help = "ask whether a list holds something with contains(list, value) or any(list[?...])" if lists else ""
            if is_null(left) or is_null(right):
                message = f"{named(left if is_null(right) else right)} is never null: this is always {always}"
            else:
                message = f"{in_words(one)} never equals {in_words(other)}: this is always {always}"
            return self.error(205, node, message, help)
        if one.kinds & other.kinds <= {"string", "number", "boolean"} and listed_apart(one, other):
            literal, values = (left, other) if left.kind == "literal" else (right, one)
            self.not_listed(literal, values.enum or (), always)
        return BOOLEAN

    def not_listed(self, node: Node, values: tuple[Any, ...], always: str) -> None:
        if node.kind != "literal":
            self.error(206, node, f"the sides have no value in common: this is always {always}")
            return
        near = nearest(str(node.value), [str(value) for value in values])
        listed = f"possible values: {', '.join(map(written, values))}" if len(values) <= _FEW else ""
        help = f"did you mean '{near}'?" if near else listed
        instead = f"'{near}'" if near and isinstance(node.value, str) else ""
        self.error(206, node, f"{written(node.value)} is not a possible value: this is always {always}", help, instead)

    def _ordering(self, node: Node, kinds: tuple[Type, Type]) -> Type:
        for child, found in zip(node.children, kinds, strict=True):
            if "number" not in found.kinds:
                help = "turn it into one with to_number()" if "string" in found.kinds else ""
                if "array" in found.kinds or "object" in found.kinds:
                    help = "compare its length()"
                self.error(207, child, f"{_SIGNS[node.value]} compares numbers, and this is {in_words(found)}", help)
            elif found.nullable and not is_dynamic(found) and not _is_indexed(child):
                self.warn(
                    301,
                    child,
                    f"{named(child)} may be null, and the comparison is then null",
                    f"say what null means: {named(child)} != null && …, or default(…, `0`)"
                    if path_of(child)
                    else "say what null means: default(…, `0`)",
                )
        return BOOLEAN if all(each.kinds == {"number"} for each in kinds) else CONDITION


def _is_indexed(node: Node) -> bool:
    """Whether null means that a list is too short, which an ordering with it may well leave unanswered."""
    return any(each.kind == "index" for each in node.walk())


def _is_quoted(node: Node) -> bool:
    return node.kind == "field" and node.end - node.start > len(node.value)

"""Our compiler against the `jmespath` package, on generated expressions and documents.

Where the package breaks the specification, `Specified` puts it right first: each of its methods is one such place, and
says what the specification wants.
"""

import json
import operator
import re
from typing import Any

import jmespath.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jmespath import functions
from jmespath.parser import Parser
from jmespath.visitor import Options, TreeInterpreter

from engine.language import ConditionError, compile_expression

KINDS = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
INVALID_TYPE = jmespath.exceptions.JMESPathTypeError("", None, "", [])
package: Any = TreeInterpreter  # the package's type stubs leave out what is extended here
library: Any = functions.Functions


def same(left: Any, right: Any) -> bool:
    """Equality of JSON values, written out of step with ours: by the text of their JSON, numbers as floats."""
    return canonical(left) == canonical(right)


def canonical(value: Any) -> str:
    return (
        json.dumps(value, sort_keys=True, default=str)
        if not isinstance(value, (list, dict, float, int))
        else by_type(value)
    )


def by_type(value: Any) -> str:
    match value:
        case bool():
            return str(value)
        case int() | float():
            return f"n{float(value)}"
        case list():
            return f"[{','.join(map(canonical, value))}]"
        case _:
            return f"{{{','.join(f'{key!r}:{canonical(value[key])}' for key in sorted(value))}}}"


class SpecifiedFunctions(functions.Functions):  # type: ignore[misc, unused-ignore]
    @functions.signature({"types": ["array", "string"]}, {"types": []})
    def _func_contains(self, subject: Any, search: Any) -> bool:
        """Of a text, `contains` is false for what is no text (the package raises TypeError); in a list, true is not 1."""
        if isinstance(subject, str):
            return isinstance(search, str) and search in subject
        return any(same(each, search) for each in subject)

    @functions.signature({"types": []})
    def _func_to_number(self, value: Any) -> Any:
        """Only the JSON number production is read; the package takes what int() takes: blanks, `1_0`, `inf`."""
        if isinstance(value, str) and not re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", value, re.ASCII):
            return None
        return library._func_to_number(self, value)

    @functions.signature({"types": ["object"], "variadic": True})
    def _func_merge(self, *objects: Any) -> Any:
        """Every argument must be an object; the package checks only the first."""
        if not all(isinstance(each, dict) for each in objects):
            raise INVALID_TYPE
        return library._func_merge(self, *objects)

    @functions.signature({"types": []})
    def _func_to_string(self, value: Any) -> str:
        """The specification asks for JSON; the package escapes all beyond ASCII, which a reader does not search for."""
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    @functions.signature({"types": ["array"]}, {"types": ["expref"]})
    def _func_max_by(self, array: Any, expref: Any) -> Any:
        return self._homogeneous(library._func_max_by, array, expref)

    @functions.signature({"types": ["array"]}, {"types": ["expref"]})
    def _func_min_by(self, array: Any, expref: Any) -> Any:
        return self._homogeneous(library._func_min_by, array, expref)

    def _homogeneous(self, run: Any, array: Any, expref: Any) -> Any:
        """Numbers among texts are an invalid-type; the package lets Python's TypeError out."""
        try:
            return run(self, array, expref)
        except TypeError:
            raise INVALID_TYPE from None


class Specified(TreeInterpreter):  # type: ignore[misc, unused-ignore]
    def visit_comparator(self, node: Any, value: Any) -> Any:
        left, right = (package.visit(self, child, value) for child in node["children"])
        match node["value"]:
            case "eq":
                return same(left, right)
            case "ne":
                return not same(left, right)
            case name:
                return self.ordered(getattr(operator, {"lte": "le", "gte": "ge"}.get(name, name)), left, right)

    def ordered(self, order: Any, left: Any, right: Any) -> Any:
        """Only numbers have an order; anything else gives null. The package orders texts and raises on a mixture."""
        numbers = KINDS[type(left)] == KINDS[type(right)] == "number"
        return order(left, right) if numbers else None


def specified(text: str, document: Any) -> tuple[str, str]:
    interpreter: Any = Specified(Options(custom_functions=SpecifiedFunctions()))
    try:
        tree: Any = Parser().parse(text)
        return "value", canonical(interpreter.visit(tree.parsed, document))
    except jmespath.exceptions.JMESPathTypeError:
        return "error", "invalid-type"


def ours(text: str, document: Any) -> tuple[str, str]:
    try:
        return "value", canonical(compile_expression(text)(document))
    except ConditionError as wrong:
        return "error", wrong.kind


NAMES = st.sampled_from(["a", "b", "c", '"d e"'])
TEXTS = st.text(alphabet="ab1é ", max_size=3)
NUMBERS = st.one_of(st.integers(-3, 3), st.integers(-8, 8).map(lambda quarter: quarter / 4))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
KEYS = st.sampled_from(["a", "b", "c", "d e"])
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=14
)
LITERALS = st.one_of(TEXTS.map(lambda text: f"'{text}'"), DOCUMENTS.map(lambda value: f"`{json.dumps(value)}`"))
UNARY = re.findall(
    r"\w+",
    "abs avg ceil floor keys length max merge min not_null reverse sort sum to_array to_number to_string type values",
)
INDICES = st.integers(-3, 3)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Every production of the grammar over smaller expressions."""

    def form(pattern: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
        return st.tuples(*parts).map(lambda values: pattern.format(*values))

    comparators = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    unary = st.sampled_from(UNARY)
    binary = st.sampled_from(["contains", "ends_with", "join", "starts_with", "merge", "not_null"])
    by = st.sampled_from(["max_by", "min_by", "sort_by"])
    return st.one_of(
        form("({}).{}", inner, NAMES),
        form("{}.{}", NAMES, NAMES),
        form("({})[{}]", inner, INDICES),
        form("({})[{}:{}]", inner, INDICES, INDICES),
        form("({})[::{}]", inner, st.sampled_from([-2, -1, 1, 2])),
        form("({})[*].{}", inner, NAMES),
        form("({})[]", inner),
        form("({})[].{}", inner, NAMES),
        form("({}).*", inner),
        form("({}).*.{}", inner, NAMES),
        form("({})[?{}]", inner, inner),
        form("({})[?{}].{}", inner, inner, NAMES),
        form("{}[?{} {} {}]", NAMES, inner, comparators, inner),
        form("[{}, {}]", inner, inner),
        form('({}).{{a: {}, "d e": {}}}', inner, inner, inner),
        form("({} && {})", inner, inner),
        form("({} || {})", inner, inner),
        form("!({})", inner),
        form("({} | {})", inner, inner),
        form("({} {} {})", inner, comparators, inner),
        form("{}({})", unary, inner),
        form("{}({}, {})", binary, inner, inner),
        form("map(&({}), {})", inner, inner),
        form("{}({}, &({}))", by, inner, inner),
    )


EXPRESSIONS = st.recursive(st.one_of(NAMES, NAMES, st.just("@"), LITERALS), larger, max_leaves=6)


@settings(max_examples=1000, deadline=None, derandomize=True, database=None)
@given(EXPRESSIONS, DOCUMENTS)
def test_compiled_closures_agree_with_the_package_where_it_keeps_to_the_specification(text: str, document: Any) -> None:
    assert ours(text, document) == specified(text, document)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("`1` < 'a'", None),
        ("'a' < 'b'", None),
        ("`true` < `2`", None),
        ("`[true]` == `[1]`", False),
        ('`{"a": 0}` == `{"a": false}`', False),
        ("`1` == `1.0`", True),
        ("contains('a1', `1`)", False),
        ("contains(`[1]`, `true`)", False),
        ("to_number('1_0')", None),
        ("to_number(' 1')", None),
        ("to_number('nan')", None),
        ("to_number('-1.5e1')", -15.0),
    ],
)
def test_the_specification_wins_over_the_package(text: str, wanted: Any) -> None:
    """The places in which the package errs, one by one, against a value from the specification's text."""
    value = compile_expression(text)({})
    assert (value, type(value)) == (wanted, type(wanted))

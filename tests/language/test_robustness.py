"""Whatever the text and whatever the document: a value, or a ConditionError within the text, and nothing else."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.language import Condition, ConditionError, Names, Template, compile_expression, compile_template, truth_tree
from engine.language.functions import FUNCTIONS
from tests.language.test_oracle import DOCUMENTS, EXPRESSIONS

STEADY = settings(max_examples=500, deadline=None, derandomize=True, database=None)
# fmt: off
PIECES = st.sampled_from([
    "a", "b.c", "'", "''", '"', "`", "`1`", "\\", "[", "]", "[?", "[*]", "{", "}", "{{", "}}", "(", ")", "&", "&&", "|", "||",
    "!", "!=", "=", "==", "<", ">=", "-", "-1", "12", ".", "*", "@", ":", ",", " ", "\n", "é", "\ud800", "length(", "set(",
])
# fmt: on
TEXTS = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=20)
NAMES = Names(sets={"s": ("a", "b*")})
LITERALS = {
    "set": ["'s'"],
    "glob": ["'a*'", "set('s')"],
    "matches": ["'a+'"],
    "cidr": ["'10.0.0.0/8'"],
    "var": ["'a'"],
}


def outcome(run: Callable[[], Any]) -> Any:
    """What a call gives, or the ConditionError that it raises; any other exception fails the test."""
    try:
        return run()
    except ConditionError as wrong:
        return wrong


@STEADY
@given(TEXTS)
def test_any_text(text: str) -> None:
    found = outcome(lambda: compile_expression(text, NAMES))
    assert isinstance(found, Condition) or (found.message and 0 <= found.start <= found.end <= len(text))


@STEADY
@given(TEXTS)
def test_any_template(text: str) -> None:
    found = outcome(lambda: compile_template(text, NAMES))
    assert isinstance(found, (str, Template)) or 0 <= found.start <= found.end <= len(text)


@st.composite
def calls(draw: st.DrawFn) -> str:
    function = FUNCTIONS[draw(st.sampled_from(sorted(FUNCTIONS.keys() - {"def", "matches_any"})))]
    count = draw(st.integers(function.least, len(function.params)))
    arguments = []
    for index in range(count):
        if function.param(index).literal:
            arguments.append(draw(st.sampled_from(LITERALS[function.name])))
        else:
            arguments.append(draw(EXPRESSIONS | EXPRESSIONS.map(lambda text: f"&({text})")))
    return f"{function.name}({', '.join(arguments)})"


@STEADY
@given(calls(), DOCUMENTS)
def test_any_call_of_any_function(text: str, document: Any) -> None:
    condition = compile_expression(text, NAMES)
    found = outcome(lambda: condition(document))
    failed = isinstance(found, ConditionError)
    assert not callable(found)
    assert bool(truth_tree(condition, document).error) is failed
    assert not failed or 0 <= found.start < found.end <= len(text)

"""Spans of nodes, and what the parser says of mistakes."""

import pytest
from jmespath.parser import Parser

from engine.language import ConditionSyntaxError, parse
from engine.language.nodes import Node


def spans(text: str) -> list[tuple[str, str]]:
    """Kind and text of every node that has a width, parents first."""
    return [(node.kind, text[node.start : node.end]) for node in parse(text).walk() if node.end > node.start]


def test_every_node_has_the_span_of_its_text() -> None:
    assert spans("a.b == 'x' && length(c[0]) > `3`") == [
        ("and_expression", "a.b == 'x' && length(c[0]) > `3`"),
        ("comparator", "a.b == 'x'"),
        ("subexpression", "a.b"),
        ("field", "a"),
        ("field", "b"),
        ("literal", "'x'"),
        ("comparator", "length(c[0]) > `3`"),
        ("function_expression", "length(c[0])"),
        ("index_expression", "c[0]"),
        ("field", "c"),
        ("index", "[0]"),
        ("literal", "`3`"),
    ]


def test_projections_slices_and_multi_selects_have_spans_too() -> None:
    assert spans("a[?b].{c: d[1:]}") == [
        ("filter_projection", "a[?b].{c: d[1:]}"),
        ("field", "a"),
        ("multi_select_dict", "{c: d[1:]}"),
        ("key_val_pair", "c: d[1:]"),
        ("projection", "d[1:]"),
        ("index_expression", "d[1:]"),
        ("field", "d"),
        ("slice", "[1:]"),
        ("field", "b"),
    ]


@pytest.mark.parametrize("literal", ["'x'", "`1`", '"x"', "'é'", '`{"a": [1]}`'])
def test_a_literal_at_the_end_of_the_text_ends_there(literal: str) -> None:
    """The package measures these tokens one short at the end of a text, and gives lengths for ends elsewhere."""
    assert spans(f"a == {literal}")[-1][1] == literal
    assert spans(f"({literal} == a)")[1][1] == literal


def test_brackets_widen_what_they_are_part_of_and_not_what_they_hold() -> None:
    assert spans("(a || b).c")[:2] == [("subexpression", "(a || b).c"), ("or_expression", "a || b")]


def test_children_stay_within_their_parents() -> None:
    def check(node: Node) -> None:
        for child in node.children:
            assert node.start <= child.start <= child.end <= node.end
            check(child)

    check(parse("sort_by(a[*].b[].{x: @.y, z: [c, *]}, &(x | y))[-1].*.k || !d && e[::2]"))


def test_the_packages_cache_is_neither_filled_nor_read() -> None:
    text = "never.seen[?before == `1`]"
    parse(text)
    assert text not in vars(Parser)["_CACHE"]
    Parser().parse(text)
    assert parse(text) == parse(text)
    assert parse(text).end == len(text)


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("x > 3", "3", "a number is written between backticks: `3`"),
        ("x > 1.5", "1.5", "a number is written between backticks: `1.5`"),
        ("x = 'a'", "=", "write == to compare"),
        ("a and b", "and", "'and' is written &&"),
        ("a == 'b' or c", "or", "'or' is written ||"),
        ("a == 'it", "'", "never closed; in a YAML '...' scalar write ''"),
        ('a == "b', '"', "strings are written with single quotes"),
        ("a == `gpt-4o`", "`gpt-4o`", "a string is written 'gpt-4o'"),
        ("a == `1", "`", "never closed"),
        ("a == `NaN`", "`NaN`", "must be JSON"),
        ("a == ‘b’", "‘", "typographic quote"),
        ("$.a", "$", "'$' has no meaning here"),
        ("a + b", "+", "conditions do not calculate"),
        ("a ==", "", "something is missing after it"),
        ("(a", "", "')' is missing"),
        ("", "", "an expression is expected"),
        ("{{ a }}", "{", "'{{ }}' is for templates"),
    ],
)
def test_a_syntax_error_says_where_and_what_to_write(text: str, at: str, says: str) -> None:
    with pytest.raises(ConditionSyntaxError) as caught:
        parse(text)
    assert caught.value.kind == "syntax"
    assert says in caught.value.message
    assert text[caught.value.start : caught.value.end] == at


@pytest.mark.parametrize(
    "text",
    ["length(a b)", "length(a,)", "{a: b c: d}", "(length)(a)", "&a", "[&a]", "a[:1 2]", '"length"(a)', "a.b(c).`1`"],
)
def test_what_the_grammar_forbids_is_refused_though_the_package_lets_it_pass(text: str) -> None:
    with pytest.raises(ConditionSyntaxError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "a" + ")" * 5000,
        "!" * 5000 + "a",
        " || ".join(["a"] * 4000),
        "a" + "[*].a" * 3000,
        "a" + "[0]" * 6000 + ".b[*]" * 100,
        "`" + "[" * 9000 + "]" * 9000 + "`",
        "a[" + "1" * 9000 + "]",
        "a" * 20_001,
    ],
)
def test_a_text_that_is_too_long_or_too_deep_is_a_syntax_error(text: str) -> None:
    with pytest.raises(ConditionSyntaxError):
        parse(text)


def test_fifty_alternatives_in_one_expression_are_fine() -> None:
    assert parse(" || ".join(f"a{index} == 'b'" for index in range(50))).kind == "or_expression"

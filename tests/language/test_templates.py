"""Templates: values kept, texts put together, errors with their place."""

from typing import Any

import pytest

from engine.language import ConditionError, Env, Names, Template, compile_template

EVENT: dict[str, Any] = {
    "model": "gpt-4o",
    "n": 2,
    "half": 0.5,
    "on": True,
    "list": [1, "é"],
    "none": None,
    "evil": "{{ n }}",
}


def rendered(text: str) -> Any:
    template = compile_template(text)
    return template if isinstance(template, str) else template(EVENT)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ n }}", 2),
        ("{{list}}", [1, "é"]),
        ("{{ none }}", None),
        (" {{ n }}", " 2"),
        ("use {{ model }}, {{ n }} times", "use gpt-4o, 2 times"),
        ("{{ none }}-{{ on }}-{{ half }}-{{ list }}", '-true-0.5-[1,"é"]'),
        ("{{ {a: {b: n}} }}", {"a": {"b": 2}}),
        ("{{{a: n}}}", {"a": 2}),
        ("{{ '}}' }}", "}}"),
        ("{{ '{{' }}x", "{{x"),
        ("{{ 'it\\'s }}' }}", "it's }}"),
        ('{{ `"}}"` }}', "}}"),
        ('{{ {"}}": n} }}', {"}}": 2}),
        ("{{{{ n }}", "{{ n }}"),
        ("{{{{ {{ n }} }}", "{{ 2 }}"),
        ("{{ n }}}}", "2}}"),
        ("no pieces } {", "no pieces } {"),
        ("", ""),
    ],
)
def test_value(text: str, value: Any) -> None:
    found = rendered(text)
    assert (found, type(found)) == (value, type(value))


def test_what_a_piece_gives_is_never_compiled() -> None:
    assert rendered("{{ evil }}") == "{{ n }}"
    assert rendered("a {{ evil }}") == "a {{ n }}"


def test_a_single_piece_can_be_had_as_text() -> None:
    template = compile_template("{{ list }}")
    assert isinstance(template, Template)
    assert template.text(EVENT, Env(EVENT)) == '[1,"é"]'


def test_a_text_without_pieces_is_the_string_itself() -> None:
    assert compile_template("plain") == "plain"


@pytest.mark.parametrize(
    ("text", "kind", "at"),
    [
        ("a {{ b", "syntax", "{{"),
        ("a {{ 'b }}", "syntax", "'"),
        ("a {{  }} b", "syntax", "{{  }}"),
        ("a {{ b = c }}", "syntax", "="),
        ("a {{ b }} {{ lenght(b) }}", "unknown-function", "lenght(b)"),
    ],
)
def test_a_mistake_has_its_place_in_the_whole_text(text: str, kind: str, at: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_template(text)
    assert (caught.value.kind, text[caught.value.start : caught.value.end]) == (kind, at)


def test_an_error_while_running_has_its_place_in_the_whole_text() -> None:
    text = "count: {{ length(none) }}"
    with pytest.raises(ConditionError) as caught:
        rendered(text)
    assert (caught.value.kind, text[caught.value.start : caught.value.end]) == ("invalid-type", "none")


def test_a_text_that_would_explode_runs_into_the_budget() -> None:
    with pytest.raises(ConditionError) as caught:
        rendered("x {{ " + " | ".join(["@"] + ["[@, @]"] * 50) + " }}")
    assert caught.value.kind == "budget"


def test_pieces_know_their_span_and_what_they_read() -> None:
    template = compile_template("{{ request.model }} and {{set('s')}}", Names(sets={"s": ("x",)}))
    assert isinstance(template, Template)
    assert [template.source[piece.start : piece.end] for piece in template.pieces] == ["request.model", "set('s')"]
    assert template.reads == {("request", "model")}

"""Compiled conditions: values, errors with spans, the step budget, names."""

from enum import StrEnum
from typing import Any

import pytest

from engine.language import Condition, ConditionError, Env, Names, compile_expression, compile_node, parse

EVENT: dict[str, Any] = {
    "request": {"model": "gpt-4o", "messages": [{"role": "user", "text": "hi"}, {"role": "assistant", "text": ""}]},
    "caller": {"team": None, "roles": ["dev"]},
    "tool": {"shell": {"commands": [{"program": "git", "flags": ["f"]}, {"program": "ls", "flags": []}]}},
    "numbers": [0, 1, 2.5, True, "1", None],
}


def failure(text: str, document: Any = EVENT, names: Names | None = None) -> ConditionError:
    with pytest.raises(ConditionError) as caught:
        compile_expression(text, names or Names())(document)
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("request.model", "gpt-4o"),
        ("request.model == 'gpt-4o'", True),
        ("request.model != 'gpt-4o'", False),
        ("'gpt-4o' == request.model", True),
        ("request.nothing.at.all == 'x'", False),
        ("request.nothing.at.all != 'x'", True),
        ("request.model.deeper", None),
        ("numbers == 'x'", False),
        ("caller.team == `null`", True),
        ("numbers[?@ == `1`]", [1]),
        ("numbers[?@ == `true`]", [True]),
        ("numbers[?@ != `0`]", [1, 2.5, True, "1"]),
        ("numbers[?@ > `0`]", [1, 2.5]),
        ("`0` < numbers[1]", True),
        ("`2` >= `2`", True),
        ("numbers[0] < numbers[4]", None),
        ("!numbers[0]", False),
        ("!caller.team", None),  # the specification's parsers read (!caller).team
        ("!(caller.team)", True),
        ("numbers[0] && 'zero is true'", "zero is true"),
        ("caller.team || 'none'", "none"),
        ("request.messages[*].text", ["hi", ""]),
        ("request.messages[?text].role", ["user"]),
        ("tool.shell.commands[?program == 'git' && contains(flags, 'f')].program | [0]", "git"),
        ("tool.shell.commands[].flags[]", ["f"]),
        ("request.messages[-1:].{role: role, size: length(text)}", [{"role": "assistant", "size": 0}]),
        ("request.messages[5]", None),
        ("caller.*", [["dev"]]),
        ("nothing.{a: 'b'}", None),
        ("sort_by(request.messages, &role)[0].role", "assistant"),
        ("map(&text, request.messages)", ["hi", ""]),
    ],
)
def test_value(text: str, value: Any) -> None:
    found = compile_expression(text)(EVENT)
    assert (found, type(found)) == (value, type(value))


def test_a_string_enum_of_the_event_is_a_string() -> None:
    class Protocol(StrEnum):
        CHAT = "chat"

    document = {"protocol": Protocol.CHAT}
    assert compile_expression("protocol == 'chat' && starts_with(protocol, 'ch')")(document) is True
    assert compile_expression("type(protocol)")(document) == "string"


@pytest.mark.parametrize(
    ("text", "kind", "at"),
    [
        ("a && lenght(b)", "unknown-function", "lenght(b)"),
        ("a && length(b, c)", "invalid-arity", "length(b, c)"),
        ("a || merge()", "invalid-arity", "merge()"),
        ("a[::0]", "invalid-value", "[::0]"),
        ("matches(a, '(')", "invalid-value", "'('"),
        ("matches(a, b)", "invalid-type", "b"),
        ("glob(a, `1`)", "invalid-type", "`1`"),
        ("set('shels')", "unknown-name", "'shels'"),
        ("glob(a, set('shels'))", "unknown-name", "set('shels')"),
        ("def('x')", "unknown-name", "'x'"),
        ("matches_any(a, 'x')", "unknown-name", "'x'"),
        ("cidr(a, '10.0.0.1/8')", "invalid-value", "'10.0.0.1/8'"),
    ],
)
def test_what_is_wrong_for_every_document_is_found_when_compiling(text: str, kind: str, at: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_expression(text, Names(sets={"shells": ("bash",)}))
    assert (caught.value.kind, text[caught.value.start : caught.value.end]) == (kind, at)


def test_an_unknown_name_comes_with_the_one_that_was_meant() -> None:
    assert "did you mean 'length'?" in failure("lenght(a)").message
    assert "did you mean 'shells'?" in failure("set('shels')", names=Names(sets={"shells": ()})).message


@pytest.mark.parametrize(
    ("text", "kind", "at"),
    [
        ("a || length(caller.team)", "invalid-type", "caller.team"),
        ("sum(numbers)", "invalid-type", "numbers"),
        ("sort(numbers)", "invalid-type", "numbers"),
        ("max_by(numbers, &@)", "invalid-type", "max_by(numbers, &@)"),
        ("map(request, numbers)", "invalid-type", "request"),
        ("length(&a)", "invalid-type", "&a"),
        ("to_string(&a)", "invalid-type", "&a"),
        ("split('a', '')", "invalid-value", "split('a', '')"),
        ("matches(caller.team, 'a')", "invalid-type", "caller.team"),
    ],
)
def test_a_call_that_is_an_error_says_which_argument(text: str, kind: str, at: str) -> None:
    wrong = failure(text)
    assert (wrong.kind, text[wrong.start : wrong.end]) == (kind, at)


def test_what_a_short_circuit_passes_over_is_no_error() -> None:
    assert compile_expression("caller.team && length(caller.team)")(EVENT) is None


def test_a_loop_over_a_loop_runs_into_the_budget() -> None:
    document = {"a": list(range(1000))}
    text = "a[?contains(def('all'), @)]"
    names = Names(definitions={"all": compile_expression("a")})
    condition = compile_expression(text, names)
    assert condition(document, Env(document, budget=2_000_000)) == document["a"]
    with pytest.raises(ConditionError) as caught:
        condition(document, Env(document, budget=200_000))
    assert (caught.value.kind, caught.value.start, caught.value.end) == ("budget", 0, len(text))


@pytest.mark.parametrize(
    "text",
    [
        " | ".join(["@"] + ["[@, @]"] * 50 + ["to_string(@)"]),
        " | ".join(["{l: 'a', r: 'a'}"] + ["{l: [l, l], r: [r, r]}"] * 50 + ["l == r"]),
        " | ".join(["'aaaaaaaa'"] + ["join(@, [@, @])"] * 40),
        " | ".join(["[@]"] + ["[@, @][]"] * 50),
        " | ".join(["@"] + ["[@, @]"] * 50 + ["fingerprint(@)"]),
    ],
)
def test_a_value_that_doubles_itself_runs_into_the_budget(text: str) -> None:
    assert failure(text).kind == "budget"


def test_every_condition_has_the_whole_budget_to_itself() -> None:
    env = Env(EVENT, budget=10)
    condition = compile_expression("any(numbers)")
    assert [condition(EVENT, env) for _ in range(5)] == [True] * 5


def test_a_document_of_absurd_depth_or_size_is_a_condition_error() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert failure("to_string(a)", {"a": deep}).kind == "budget"
    assert failure("ceil(a)", {"a": float("inf")}).kind == "invalid-value"


def test_definitions_see_the_whole_event_and_are_evaluated_once() -> None:
    pushes = compile_expression("tool.shell.commands[?program == 'git']")
    condition = compile_expression("request.messages[?any(def('pushes'))].role", Names(definitions={"pushes": pushes}))
    env = Env(EVENT)
    assert condition(EVENT, env) == ["user", "assistant"]
    assert list(env.remembered.values()) == [[{"program": "git", "flags": ["f"]}]]


def test_definitions_of_one_name_in_two_policies_are_two() -> None:
    one, two = (
        compile_expression("def('x')", Names(definitions={"x": compile_expression(text)})) for text in ("`1`", "`2`")
    )
    env = Env({})
    assert (one({}, env), two({}, env)) == (1, 2)


def test_an_error_in_a_definition_stands_at_its_call() -> None:
    names = Names(definitions={"size": compile_expression("request.messages[*].text | length(nothing)")})
    text = "caller && def('size') > `1`"
    wrong = failure(text, names=names)
    assert (wrong.kind, text[wrong.start : wrong.end]) == ("invalid-type", "def('size')")
    assert wrong.message.startswith("in definition 'size': length() needs")


def test_a_condition_can_be_compiled_from_its_tree() -> None:
    text = "request.model == 'gpt-4o'"
    condition: Condition = compile_node(text, parse(text))
    assert condition(EVENT) is True
    assert (condition.text, condition.node) == (text, parse(text))


def test_evaluation_changes_nothing() -> None:
    document = {"a": [3, 1, 2], "o": {"k": "v"}}
    before = repr(document)
    compile_expression("[sort(a), reverse(a), merge(o, {k: 'w'}), a[], to_array(a)]")(document)
    assert repr(document) == before

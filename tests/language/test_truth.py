"""The truth tree: what decided a condition, part by part."""

from typing import Any

import pytest
from hypothesis import given, settings

from engine.language import ConditionError, Env, Names, TruthNode, compile_expression, truth_tree
from tests.language.test_oracle import DOCUMENTS, EXPRESSIONS

EVENT: dict[str, Any] = {"model": "gpt-4o", "messages": [1, 2], "team": None}


def told(node: TruthNode, depth: int = 0) -> list[str]:
    value = node.error or (repr(node.value) if node.reached else "-")
    return [f"{'  ' * depth}{node.text} = {value}", *(line for each in node.children for line in told(each, depth + 1))]


def test_every_operand_has_its_value() -> None:
    condition = compile_expression("model == 'gpt-4o' && length(messages) > `3`")
    assert told(truth_tree(condition, EVENT)) == [
        "model == 'gpt-4o' && length(messages) > `3` = False",
        "  model == 'gpt-4o' = True",
        "    model = 'gpt-4o'",
        "  length(messages) > `3` = False",
        "    length(messages) = 2",
        "      messages = [1, 2]",
    ]


def test_what_a_short_circuit_passed_over_is_marked() -> None:
    condition = compile_expression("model == 'x' && (team || length(team) > `1`)")
    assert told(truth_tree(condition, EVENT)) == [
        "model == 'x' && (team || length(team) > `1`) = False",
        "  model == 'x' = False",
        "    model = 'gpt-4o'",
        "  team || length(team) > `1` = -",
        "    team = -",
        "    length(team) > `1` = -",
        "      length(team) = -",
        "        team = -",
    ]


def test_an_error_stands_where_it_happened_and_above() -> None:
    condition = compile_expression("!team && length(team) > `1`")
    error = "length() needs a string, a list or an object, got null"
    assert told(truth_tree(condition, EVENT)) == [
        f"!team && length(team) > `1` = {error}",
        "  !team = True",
        "    team = None",
        f"  length(team) > `1` = {error}",
        f"    length(team) = {error}",
        "      team = None",
    ]


def test_a_pipe_goes_on_with_the_value_before_it() -> None:
    tree = truth_tree(compile_expression("messages | length(@) == `2`"), EVENT)
    assert told(tree) == [
        "messages | length(@) == `2` = True",
        "  messages = [1, 2]",
        "  length(@) == `2` = True",
        "    length(@) = 2",
        "      @ = [1, 2]",
    ]


def test_leaves_are_the_parts_that_are_not_made_of_others() -> None:
    tree = truth_tree(compile_expression("model == 'x' || any(messages[?@ > `1`])"), EVENT)
    assert [leaf.text for leaf in tree.leaves()] == ["model", "messages[?@ > `1`]"]
    assert tree.holds


def test_names_and_chance_are_those_of_the_condition() -> None:
    names = Names(sets={"s": ("x",)}, definitions={"d": compile_expression("model")})
    condition = compile_expression("contains(set('s'), def('d')) || random() < `0.5`", names, "policy/rule")
    env = Env(EVENT, seed="exchange")
    tree = truth_tree(condition, EVENT, env)
    assert tree.value == condition(EVENT, env)
    draw = next(node for node in tree.children[1].children if node.text == "random()")
    assert (draw.value < 0.5) == tree.value


def test_the_given_env_is_only_read() -> None:
    env = Env(EVENT, budget=100)
    truth_tree(compile_expression("length(sort(messages)) > `1`"), EVENT, env)
    assert (env.steps, env.remembered) == (100, {})


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(EXPRESSIONS, DOCUMENTS)
def test_the_tree_tells_what_the_condition_decides(text: str, document: Any) -> None:
    condition = compile_expression(text)
    tree = truth_tree(condition, document)
    if tree.error:
        with pytest.raises(ConditionError) as caught:
            condition(document)
        assert caught.value.message == tree.error
    else:
        assert repr(condition(document)) == repr(tree.value)

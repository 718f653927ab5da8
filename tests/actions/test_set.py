"""`set`, `default`, `unset`, `clamp`: one field of the request, of an attempt or of a tool call."""

from typing import Any

import pytest

from engine.model.phases import Phase

from .acting import act, after, error_of, refused


def params(step: dict[str, Any], **params: Any) -> Any:
    return after(step, {"request": {"params": params}})["request"]["params"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.2, 0.2),
        (None, None),
        ([1, "a"], [1, "a"]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        ("{{ caller.id }}!", "local!"),
    ],
)
def test_set_writes_any_value(value: Any, written: Any) -> None:
    assert params({"set": {"path": "request.params.x", "value": value}}, x=1) == {"x": written}


def test_a_value_that_is_one_template_keeps_the_type_of_its_result() -> None:
    step = {"set": {"path": "request.params.x", "value": {"list": "{{ request.params.y }}"}}}
    assert params(step, y=[1, 2])["x"] == {"list": [1, 2]}


def test_set_makes_the_objects_on_the_way() -> None:
    step = {"set": {"path": "request.params.a.b.c", "value": 1}}
    assert params(step) == {"a": {"b": {"c": 1}}}
    assert params(step, a={"x": 2}) == {"a": {"x": 2, "b": {"c": 1}}}
    assert params(step, a="text") == {"a": {"b": {"c": 1}}}
    assert params(step, a=None) == {"a": {"b": {"c": 1}}}


def test_set_of_what_is_there_already_changes_nothing() -> None:
    step = {"set": {"path": "request.params.x", "value": 1}}
    assert act(step, {"request": {"params": {"x": 1}}}).effects == ()
    assert act(step, {"request": {"params": {"x": True}}}).effects != ()


@pytest.mark.parametrize("value", ["", 3, None])
def test_a_model_is_a_text_and_not_empty(value: Any) -> None:
    assert [code for code, _ in refused({"set": {"path": "request.model", "value": value}})] == ["E411"]


def test_what_a_template_gives_is_a_model_or_an_error() -> None:
    step = {"set": {"path": "request.model", "value": "{{ request.params.nothing }}"}}
    assert "model's name" in error_of(step, {"request": {"model": "m"}})


def test_a_model_cannot_be_removed() -> None:
    assert [code for code, _ in refused({"unset": "request.model"})] == ["E418"]


@pytest.mark.parametrize(("given", "model"), [({}, "m"), ({"model": "own"}, "own")])
def test_default_names_a_model_where_the_client_names_none(given: dict[str, Any], model: str) -> None:
    step = {"default": {"path": "request.model", "value": "m"}}
    assert after(step, {"request": given})["request"]["model"] == model


@pytest.mark.parametrize(
    ("given", "value"), [({}, 9), ({"x": None}, 9), ({"x": 0}, 0), ({"x": False}, False), ({"x": ""}, "")]
)
def test_default_writes_only_what_is_left_out_or_null(given: dict[str, Any], value: Any) -> None:
    assert params({"default": {"path": "request.params.x", "value": 9}}, **given) == {"x": value}


def test_unset_removes_a_field_and_does_not_mind_that_it_is_not_there() -> None:
    assert params({"unset": "request.params.a.b"}, a={"b": 1, "c": 2}) == {"a": {"c": 2}}
    assert params({"unset": "request.params.a.b"}, a="text") == {"a": "text"}


@pytest.mark.parametrize(
    ("bounds", "value", "clamped"),
    [
        ({"max": 10}, 11, 10),
        ({"max": 10}, 10, 10),
        ({"max": 10.5}, 20, 10),
        ({"min": 1.5}, 1, 2),
        ({"min": 0, "max": 1}, 1.5, 1.0),
        ({"min": 0.5}, 0.1, 0.5),
        ({"max": 10}, True, True),
        ({"max": 10}, "99", "99"),
        ({"max": 10}, None, None),
    ],
)
def test_clamp_keeps_a_number_within_bounds_and_a_whole_number_whole(
    bounds: dict[str, Any], value: Any, clamped: Any
) -> None:
    result = params({"clamp": {"path": "request.params.x", **bounds}}, x=value)["x"]
    assert (result, type(result)) == (clamped, type(clamped))


def test_clamp_leaves_alone_what_is_not_there() -> None:
    assert params({"clamp": {"path": "request.params.x", "max": 1}}) == {}


@pytest.mark.parametrize(
    ("bounds", "message"),
    [({}, "clamp: missing parameter 'min' or 'max'"), ({"min": 2, "max": 1}, "clamp: 'min' 2.0 is above 'max' 1.0")],
)
def test_bounds_that_cannot_be_met_are_refused(bounds: dict[str, Any], message: str) -> None:
    assert refused({"clamp": {"path": "request.params.x", **bounds}}) == [("E411", message)]


@pytest.mark.parametrize(
    ("path", "phase"),
    [
        ("request.messages", Phase.REQUEST),
        ("request.params", Phase.REQUEST),
        ("caller.id", Phase.REQUEST),
        ("tool.args.x", Phase.REQUEST),
        ("request.model", Phase.ATTEMPT),
        ("tool.name", Phase.TOOL_CALL),
    ],
)
def test_other_fields_are_nobodys_to_write(path: str, phase: Phase) -> None:
    assert next(code for code, _ in refused({"set": {"path": path, "value": "x"}}, phase)) == "E418"


def test_in_tool_call_it_writes_arguments() -> None:
    given = {"phase": "tool_call", "tool": {"name": "bash", "args": {"command": "ls"}}}
    tool = after({"set": {"path": "tool.args.command", "value": "pwd"}}, given)["tool"]
    assert (tool["args"], tool["text"]) == ({"command": "pwd"}, '{"command":"pwd"}')

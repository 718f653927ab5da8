"""Operations on an event: what they write, what follows from it, and what they leave as it was."""

import copy
from typing import Any

import pytest

from engine.model.effects import STRENGTH, Op, VerdictEffect, VerdictKind, applied
from engine.model.events import complete

EVENT = complete(
    {
        "phase": "request",
        "request": {
            "tool_names": ["a", "b"],
            "messages": [
                {"role": "system", "text": "be kind"},
                {"role": "user", "text": "hello"},
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c", "name": "a", "args": {"x": "1"}, "text": '{"x":"1"}'}],
                },
            ],
        },
    }
)


@pytest.mark.parametrize(
    ("op", "field", "value"),
    [
        (Op("replace", ("request", "messages", 0, "parts", 0, "text"), "be brief"), "system", "be brief"),
        (Op("replace", ("request", "messages", 1, "parts", 0, "text"), "bye"), "last_user", "bye"),
        (Op("remove", ("request", "messages", 1)), "last_user", ""),
        (Op("remove", ("request", "messages", 0)), "system", ""),
        (Op("remove", ("request", "tools", 0)), "tool_names", ["b"]),
    ],
)
def test_what_follows_from_a_written_field_is_true_again(op: Op, field: str, value: Any) -> None:
    before = copy.deepcopy(EVENT)
    assert applied(EVENT, [op])["request"][field] == value
    assert before == EVENT


def test_arguments_are_written_as_text_too() -> None:
    op = Op("replace", ("request", "messages", 2, "tool_calls", 0, "args", "x"), "2")
    assert applied(EVENT, [op])["request"]["messages"][2]["tool_calls"][0]["text"] == '{"x":"2"}'


def test_an_argument_named_like_a_field_of_the_event_is_only_an_argument() -> None:
    event = complete({"phase": "tool_call", "tool": {"args": {"parts": ["a"], "text": "t", "args": {"b": 1}}}})
    event = applied(event, [Op("replace", ("tool", "args", "parts", 0), "b")])
    event = applied(event, [Op("replace", ("tool", "args", "args", "b"), 2)])
    assert event["tool"]["args"] == {"parts": ["b"], "text": "t", "args": {"b": 2}}
    assert event["tool"]["text"] == '{"parts":["b"],"text":"t","args":{"b":2}}'


def test_a_results_text_and_length_follow_its_parts() -> None:
    event = complete({"phase": "tool_result", "result": {"text": "secret"}})
    result = applied(event, [Op("replace", ("result", "parts", 0, "text"), "é")])["result"]
    assert (result["text"], result["bytes"]) == ("é", 2)


def test_parts_that_no_operation_touched_are_shared() -> None:
    changed = applied(EVENT, [Op("add", ("request", "params", "x"), 1)])
    assert changed["request"]["messages"][0] is EVENT["request"]["messages"][0]
    assert changed["caller"] is EVENT["caller"]


def test_a_path_is_a_json_pointer() -> None:
    assert Op("remove", ("tool", "args", "a/b~c", 0)).pointer == "/tool/args/a~1b~0c/0"


def test_every_verdict_has_its_strength() -> None:
    order = sorted(STRENGTH.values())
    assert order == [VerdictKind.RESPOND, VerdictKind.DROP, VerdictKind.STEER, VerdictKind.BLOCK]
    assert set(STRENGTH) == set(VerdictEffect.__args__)

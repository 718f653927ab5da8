"""JSON that a model wrote almost right, and what the action makes of the answer."""

import pytest

from engine.model.phases import Phase

from .acting import act, refused


@pytest.mark.parametrize(
    ("text", "after"),
    [('{"a": 1,}', '{"a":1}'), ('{ "a": 1 }', '{ "a": 1 }'), ("No JSON.", "No JSON."), ("Here: [1", "[1]")],
)
def test_the_answer_becomes_its_json(text: str, after: str) -> None:
    decision = act({"repair_json": {}}, {"phase": "response", "response": {"text": text}}, delay="all")
    assert decision.event is not None
    assert decision.event["response"]["text"] == after
    assert bool(decision.effects) is (text != after)


def test_it_needs_an_answer_that_waits() -> None:
    assert refused({"repair_json": {}}, Phase.RESPONSE) == [
        ("E422", "a change in phase response comes too late for an answer that was sent")
    ]
    assert refused({"repair_json": {}}, Phase.RESPONSE, delay="all") == []

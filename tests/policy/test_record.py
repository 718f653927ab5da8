"""The decision record as data."""

from typing import Any

import jsonschema
import msgspec

from engine.model.decision import Decision, Facts
from engine.model.effects import Op
from engine.policy.given import complete_event
from engine.policy.record import DecisionRecord, Subject, decision_schema, facts_record, op_record, record_of
from engine.policy.trial import judge

from .rules import rules

SUBJECT = Subject(caller="ann", session="s1", request="r1", protocol="openai-chat", model="gpt-4o", revision="abc")


def record(text: str, given: dict[str, Any], facts: Facts = Facts(seed="x")) -> DecisionRecord:
    decision: Decision = judge(rules(text), complete_event(given), facts)
    made = record_of(decision, id="d1", at="2026-11-22T00:00:00Z", subject=SUBJECT, facts=facts)
    plain: DecisionRecord = msgspec.json.decode(msgspec.json.encode(made))
    jsonschema.validate(plain, decision_schema())
    return plain


def test_a_block_says_who_refused_what_and_why() -> None:
    made = record(
        """
        - id: large
          phase: request
          when: request.params.max_tokens > `100`
          actions:
            - tag: {name: size, value: large}
            - block: {message: too large, code: size, status: 413}
        """,
        {"request": {"params": {"max_tokens": 500}}},
    )
    assert (made["verdict"], made["by"], made["phase"]) == ("block", "p/large", "request")
    assert (made["message"], made["code"], made["status"]) == ("too large", "size", 413)
    assert made["tags"] == {"size": "large"}
    assert (made["caller"], made["session"], made["request"], made["revision"]) == ("ann", "s1", "r1", "abc")
    (outcome,) = made["outcomes"]
    assert (outcome["rule"], outcome["outcome"], outcome["mode"]) == ("p/large", "matched", "enforce")
    assert outcome["actions"] == ["tag", "block"]
    assert outcome["verdict"] == "block"
    (because,) = outcome["because"]
    assert (because["expr"], because["value"]) == ("request.params.max_tokens", 500)
    assert because["span"].startswith("0.yaml:")


def test_a_patch_is_rfc_6902() -> None:
    made = record(
        "- {id: cap, phase: request, actions: [clamp: {path: request.params.max_tokens, max: 100}]}",
        {"request": {"params": {"max_tokens": 500}}},
    )
    assert made["outcomes"][0]["patch"] == [{"op": "replace", "path": "/request/params/max_tokens", "value": 100}]
    assert made["verdict"] == "allow"
    assert "message" not in made


def test_a_removal_has_no_value_and_pointers_are_escaped() -> None:
    assert op_record(Op("remove", ("request", "params", "a/b~c"))) == {
        "op": "remove",
        "path": "/request/params/a~1b~0c",
    }


def test_meters_stand_under_budget() -> None:
    made = record(
        "- {id: slow, phase: request, actions: [rate_limit: {key: caller.id, limit: 5, window: 1m}]}",
        {"caller": {"id": "ann"}},
    )
    (spend,) = made["budget"]
    assert (spend["rule"], spend["of"], spend["limit"], spend["window"]) == ("p/slow", "requests", 5, 60.0)


def test_facts_are_json_and_only_what_says_something() -> None:
    assert facts_record(Facts(seed="x")) == {}
    facts = Facts(seed="x", fired={("p/a", "s1"): 2}, steered={"p/b": 1}, acted=frozenset({"p/c"}), may_reask=False)
    assert facts_record(facts) == {
        "fired": [{"rule": "p/a", "key": "s1", "times": 2}],
        "steered": {"p/b": 1},
        "acted": ["p/c"],
        "may_reask": False,
    }

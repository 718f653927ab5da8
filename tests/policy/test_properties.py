"""What holds of any rules and any event: the index loses nothing, and a decision is a pure function that never raises."""

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.decision import Decision, Facts
from engine.model.phases import Phase
from engine.policy.compile import CheckedPolicy, Compiled, PolicySource, compile_policies, join, link_checked
from engine.policy.context import UNKNOWN
from engine.policy.given import complete_event
from engine.policy.matching import link_match, link_scope
from engine.policy.ruleset import RuleSet, Stage
from engine.policy.trial import rules_of

from .pool import events, policies

PHASES = st.sampled_from(list(Phase))
CASES = PHASES.flatmap(lambda phase: st.tuples(st.just(phase), policies(phase), events(phase)))
QUICK = settings(max_examples=40, deadline=None)


def compiled(policy: dict[str, Any]) -> Compiled:
    result = compile_policies([PolicySource("pool.yaml", msgspec.json.encode(policy).decode())])
    assert result.ruleset is not None, [each.message for each in result.diagnostics]
    return result


def without_keys(event: Any) -> dict[str, Any]:
    """The event without the marks by which `inject` finds what it put there before: they are no fields of an event."""
    plain: dict[str, Any] = copy.deepcopy(dict(event))
    for message in plain["request"]["messages"]:
        for part in message["parts"]:
            part.pop("key", None)
    return plain


@QUICK
@given(PHASES.flatmap(lambda phase: st.tuples(st.just(phase), policies(phase, actions=False), events(phase))))
def test_the_index_finds_every_rule_whose_match_is_true(case: tuple[Phase, dict[str, Any], dict[str, Any]]) -> None:
    phase, policy, partial = case
    event = complete_event(partial)
    made = compiled(policy)
    table = (made.ruleset or RuleSet([])).table(phase)
    if table is not None:
        spec, names = made.checked[0].spec, rules_of(made.checked[0])[1]
        # A rule keeps only the tests that its index leaves to it, so the whole `match` is linked here once more.
        whole = {f"{spec.policy}/{each.id}": link_match(each.match, phase, (), names).test for each in spec.rules}
        within = link_scope(spec.scope, (), names).test
        tests = [[test for test in (within, whole[rule.name]) if test is not None] for rule in table.rules]
        matching = {order for order, each in enumerate(tests) if all(test(event) for test in each)}
        candidates = list(table.index.probe(event))
        assert matching <= set(candidates)
        assert candidates == sorted(set(candidates))


@QUICK
@given(CASES, st.booleans())
def test_a_decision_is_pure_and_never_raises(case: tuple[Phase, dict[str, Any], dict[str, Any]], trace: bool) -> None:
    phase, policy, partial = case
    event = complete_event(partial)
    before = copy.deepcopy(event)
    rules = compiled(policy).ruleset
    assert rules is not None
    for stage in Stage:
        facts = Facts(seed="s", placeholder=lambda name, value: f"[{name}:{len(value)}]")
        first = rules.decide(phase, event, facts, stage=stage, trace=trace)
        assert event == before
        assert rules.decide(phase, event, facts, stage=stage, trace=trace) == first
        assert isinstance(first, Decision)
        assert first.event is not None
        complete_event(without_keys(first.event))
        list(rules.limits(phase, event, stage))


@QUICK
@given(CASES)
def test_rules_linked_from_a_checked_file_decide_as_the_compiled_ones(
    case: tuple[Phase, dict[str, Any], dict[str, Any]],
) -> None:
    phase, policy, partial = case
    event = complete_event(partial)
    result = compiled(policy)
    assert result.ruleset is not None
    sent = msgspec.msgpack.encode(result.checked)
    received = msgspec.msgpack.decode(sent, type=tuple[CheckedPolicy, ...])
    assert received == result.checked
    rules, wrong = join([link_checked(each, UNKNOWN) for each in received])
    assert wrong == []
    assert RuleSet(rules).decide(phase, event) == result.ruleset.decide(phase, event)


@pytest.mark.parametrize("phase", list(Phase))
def test_an_event_of_defaults_can_be_decided(phase: Phase) -> None:
    policy = {"version": 1, "policy": "p", "rules": [{"id": "r", "phase": phase.value, "actions": [{"tag": "t"}]}]}
    rules = compiled(policy).ruleset
    assert rules is not None
    decision = rules.decide(phase, complete_event({"phase": phase.value}))
    assert isinstance(decision, Decision)
    assert [each.rule for each in decision.outcomes] == ["p/r"]

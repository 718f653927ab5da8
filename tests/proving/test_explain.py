"""Why a decision is as it is, as data."""

from typing import Any

from engine.policy.compile import PolicySource, compile_policies
from engine.policy.given import complete_event
from engine.policy.trial import judge
from engine.proving.explain import Explained, explain

BEGIN = "version: 1\npolicy: p\nrules:\n"


def explained(rules: str, given: dict[str, Any]) -> dict[str, Explained]:
    compiled = compile_policies([PolicySource("p.yaml", BEGIN + rules)])
    assert compiled.ruleset is not None, compiled.diagnostics
    event = complete_event(given)
    decision = judge(compiled.ruleset, event, trace=True)
    return {each.rule.id: each for each in explain(compiled.checked, compiled.ruleset, event, decision)}


def test_a_rule_is_explained_on_the_event_as_it_saw_it() -> None:
    """The others run after the first has capped the value, and their trees show what they saw."""
    found = explained(
        "  - {id: cap, phase: request, priority: 1, when: request.params.n > `10`,\n"
        "     actions: [clamp: {path: request.params.n, max: 10}]}\n"
        "  - {id: unset, phase: request, priority: 2, when: request.params.n == `10`,\n"
        "     actions: [unset: request.params.n]}\n"
        "  - {id: stop, phase: request, when: \"has(request.params, 'n')\", actions: [block: no]}\n",
        {"request": {"params": {"n": 50}}},
    )
    (capped,) = found["cap"].parts
    (unset,) = found["unset"].parts
    (stopped,) = found["stop"].parts
    assert (capped.holds, capped.children[0].value) == (True, 50)
    assert (unset.holds, unset.children[0].value) == (True, 10)
    assert (stopped.holds, stopped.children[0].value) == (False, {})
    assert found["stop"].why == "its `when` says no"


def test_every_key_of_a_match_has_its_own_truth() -> None:
    found = explained(
        "  - {id: r, phase: request, match: {model: 'gpt-*', team: payments, not: {stream: true}}, actions: [log: x]}\n",
        {"request": {"model": "gpt-4o"}, "caller": {"team": "search"}},
    )
    (match,) = found["r"].parts
    assert match.holds is False
    assert [(each.title, each.text, each.holds, each.value) for each in match.children[:2]] == [
        ("team", "payments", False, "search"),
        ("model", "gpt-*", True, "gpt-4o"),
    ]
    assert (match.children[2].title, match.children[2].holds) == ("not", True)
    assert found["r"].why == "its `match` says no"


def test_trees_of_conditions_show_every_leaf() -> None:
    found = explained(
        "  - id: r\n    phase: request\n    actions: [log: x]\n"
        '    when: {any: [request.stream, {not: request.stream}, {all: [request.stream, "any(request.tools)"]}]}\n'
        "    unless: request.model == 'm'\n",
        {"request": {"model": "m"}},
    )
    when, unless = found["r"].parts
    assert (when.title, when.text, when.holds) == ("when", "any of", True)
    assert [each.holds for each in when.children] == [False, True, False]
    assert (unless.title, unless.holds) == ("unless", True)
    assert found["r"].why == "its `unless` says no"


def test_an_exception_says_its_reason() -> None:
    found = explained(
        "  - {id: r, phase: request, actions: [block: no]}\n"
        "exceptions:\n  - {rule: r, match: {caller: bot}, reason: OPS-7, expires: 2027-01-01}\n",
        {"caller": {"id": "bot"}},
    )
    (exception,) = found["r"].parts
    assert (exception.title, exception.text, exception.holds) == ("exception", "OPS-7", True)
    assert found["r"].why == "an exception holds for this event"


def test_losers_are_told_why_they_lost() -> None:
    found = explained(
        "  - {id: first, phase: tool_call, actions: [steer: one]}\n"
        "  - {id: second, phase: tool_call, actions: [steer: two]}\n"
        "  - {id: low, phase: tool_call, priority: 1, actions: [steer: three]}\n"
        "  - {id: weak, phase: tool_call, priority: 900, actions: [drop: {}]}\n"
        "  - {id: shadow, phase: tool_call, mode: shadow, actions: [block: five]}\n"
        "  - {id: rolled, phase: tool_call, rollout: 0, actions: [block: six]}\n",
        {"phase": "tool_call"},
    )
    assert {name: each.why for name, each in found.items()} == {
        "first": "its steer decides",
        "second": "its steer loses to p/first, which stands before it at the same priority",
        "low": "its steer loses to p/first: priority 100 over 1",
        "weak": "its drop loses to the stronger steer of p/first",
        "shadow": "it would say block, but it is in shadow",
        "rolled": "it would say block, but its rollout leaves this caller out",
    }

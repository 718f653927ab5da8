"""What a source of policies is granted, and whose exceptions hold: said outside of the file, and ANDed with it."""

import pytest

from engine.policy.context import Grant
from engine.policy.spec import ScopeSpec, SetReference

from .rules import decide, findings, outcomes, policy, ruleset

BLOCK = policy("- {id: r, phase: request, actions: [block: no]}")
PAYMENTS = Grant(ScopeSpec(team="payments"))


@pytest.mark.parametrize(
    ("team", "caller", "outcome"),
    [("payments", "ann", "matched"), ("payments", "bob", None), ("search", "ann", None), (None, "ann", None)],
)
def test_the_granted_scope_is_anded_with_the_files(team: str | None, caller: str, outcome: str | None) -> None:
    scoped = ruleset(policy("- {id: r, phase: request, actions: [block: no]}", "scope: {caller: ann}"), grant=PAYMENTS)
    assert outcomes(decide(scoped, {"caller": {"team": team, "id": caller}})).get("r") == outcome


def test_a_granted_scope_means_the_same_whatever_sets_a_file_has() -> None:
    text = policy("- {id: r, phase: request, actions: [block: no]}", "sets: {mine: ['*']}")
    found = findings(text, grant=Grant(ScopeSpec(team=SetReference("mine"))))
    assert [code for code, *_ in found] == ["E416"]


def test_a_priority_beyond_the_grant_does_not_load() -> None:
    text = policy("- {id: r, phase: request, priority: 60, actions: [block: no]}", "priority: 70")
    assert findings(text, grant=Grant(max_priority=50)) == [
        ("E416", 3, 11, "priority 70 is beyond the source's grant"),
        ("E416", 5, 39, "priority 60 is beyond the source's grant"),
    ]


def test_a_file_that_says_no_priority_has_the_most_that_it_is_granted() -> None:
    granted = ruleset(BLOCK, grant=Grant(max_priority=50))
    assert [granted.rules[0].priority, ruleset(BLOCK).rules[0].priority] == [50, 100]
    assert ruleset(BLOCK, grant=Grant(max_priority=500)).rules[0].priority == 100


NOTIFY = policy("- {id: r, phase: request, actions: [notify: {url: 'https://h.example.com/x'}]}")
GLOBAL = policy("- {id: r, phase: request, actions: [label: {name: x, in: global}]}")


@pytest.mark.parametrize("text", [NOTIFY, GLOBAL])
@pytest.mark.parametrize(
    ("grant", "loads"),
    [
        (Grant(), True),
        (PAYMENTS, False),
        (Grant(ScopeSpec(team="payments"), actions=("notify", "label", "global")), True),
        (Grant(max_priority=100), True),
    ],
)
def test_notify_and_global_state_are_off_for_scoped_sources_unless_granted(
    text: str, grant: Grant, loads: bool
) -> None:
    assert [code for code, *_ in findings(text, grant=grant)] == ([] if loads else ["E416"])


@pytest.mark.parametrize("state", ["remember: {key: k, value: 1", "forget: {key: k", "count: {key: k"])
def test_no_write_to_global_state_gets_around_the_grant(state: str) -> None:
    text = policy(f"- {{id: r, phase: request, actions: [{{{state}, in: global}}}}]}}")
    assert [(code, message) for code, _, _, message in findings(text, grant=PAYMENTS)] == [
        ("E416", "global state is not granted to this source")
    ]


def test_a_grant_for_guarded_actions_leaves_the_others_as_they_are() -> None:
    assert findings(BLOCK, grant=Grant(ScopeSpec(team="payments"), actions=("notify",))) == []
    assert [code for code, *_ in findings(NOTIFY, grant=Grant(actions=("ask",)))] == ["E416"]


# -- exceptions --

GUARD = policy("- {id: r, phase: tool_call, match: {tool: bash}, %sactions: [block: no]}", name="guard")
OPEN = GUARD % "exceptable_by: [ops], "
BASH = {"phase": "tool_call", "tool": {"name": "bash", "args": {"command": "ls"}}}


def exception(what: str, head: str = "") -> str:
    return (
        f"version: 1\npolicy: ops\n{head}\nexceptions:\n"
        f"  - {{rule: guard/r, {what}, reason: T-1, expires: 2027-01-31}}\n"
    )


def test_an_exception_to_a_rule_of_another_file_needs_that_rules_word() -> None:
    assert findings(GUARD % "", exception("match: {caller: bot}")) == [
        ("E404", 5, 12, "rule 'guard/r' of another file does not allow this exception")
    ]
    excepted = ruleset(OPEN, exception("match: {caller: bot}"))
    assert outcomes(decide(excepted, {**BASH, "caller": {"id": "bot"}})) == {"r": "excepted"}
    assert outcomes(decide(excepted, BASH)) == {"r": "matched"}


def test_an_exception_to_a_rule_that_is_not_there_is_said() -> None:
    found = findings(OPEN, exception("match: {caller: bot}").replace("guard/r", "guard/s"))
    assert found == [("E403", 5, 12, "the exception names no rule: 'guard/s'")]


def test_an_exception_looks_at_what_the_phase_of_its_rule_has() -> None:
    excepted = ruleset(OPEN, exception("match: {tool: bash}, when: \"tool.args.command == 'ls'\""))
    assert outcomes(decide(excepted, BASH)) == {"r": "excepted"}
    other = {**BASH, "tool": {"name": "bash", "args": {"command": "rm"}}}
    assert outcomes(decide(excepted, other)) == {"r": "matched"}
    assert ("tool", "args") in {path[:2] for path in excepted.rules[0].reads}


def test_an_exception_is_checked_against_the_phase_of_its_rule() -> None:
    found = findings(OPEN, exception("when: \"result.tool == 'x'\""))
    assert [(code, line) for code, line, *_ in found] == [("E203", 5)]


def test_an_exception_reaches_no_further_than_the_scope_of_its_file_and_source() -> None:
    def outcome(text: str, grant: Grant) -> dict[str, str]:
        return outcomes(decide(ruleset(OPEN, text, grant=grant), {**BASH, "caller": {"id": "bot", "team": "payments"}}))

    everybody = exception("match: {caller: '*'}")
    assert outcome(everybody, PAYMENTS) == {"r": "excepted"}
    assert outcome(exception("match: {caller: '*'}", "scope: {team: search}"), Grant()) == {"r": "matched"}


@pytest.mark.parametrize(
    ("expires", "code"), [("2027-02-30", "E405"), ("9999-12-31", ""), ("soon", "E134"), ("2027-1-1", "E134")]
)
def test_an_exceptions_last_day_is_a_day(expires: str, code: str) -> None:
    found = findings(OPEN, exception("match: {caller: bot}").replace("2027-01-31", expires))
    assert [each[0] for each in found] == ([code] if code else [])

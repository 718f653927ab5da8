"""The tests that stand in a policy file."""

from typing import Any

import pytest

from engine.policy.compile import PolicySource, check_file
from engine.policy.context import UNKNOWN, Grant
from engine.policy.spec import ScopeSpec
from engine.policy.trial import CaseResult, run_tests

from .rules import policy

RULES = """
- id: cap
  phase: request
  priority: 10
  actions: [clamp: {path: request.params.max_tokens, max: 100}]
- id: stop
  phase: request
  when: contains(request.last_user, def('word'))
  actions: [block: {message: "Not this.", code: word, status: 451}]
- id: watch
  phase: request
  mode: shadow
  actions: [tag: seen]
- id: slow
  phase: request
  actions: [rate_limit: {key: caller.id, limit: 5, window: 1m}]
- id: to
  phase: route
  actions: [route: "a:m"]
"""
HEAD = "definitions: {word: \"'bomb'\"}\n"


def results(tests: str, head: str = HEAD, **source: Any) -> list[CaseResult]:
    text = policy(RULES, head) + "tests:\n" + tests
    checked, _, found = check_file(PolicySource("p.yaml", text, **source), UNKNOWN)
    assert checked is not None, found
    return list(run_tests(checked))


def failures(given: str, expect: str) -> list[tuple[str, Any, Any]]:
    (result,) = results(f"  - {{name: t, given: {given}, expect: {expect}}}\n")
    assert result.error == ""
    return [(each.what, each.expected, each.got) for each in result.mismatches]


BOMB = '{request: {last_user: "a bomb", params: {max_tokens: 500}}}'


@pytest.mark.parametrize(
    "expect",
    [
        "{verdict: block}",
        "{by: stop}",
        "{by: p/stop}",
        "{rules: [cap, stop, slow]}",
        "{rules: [p/slow, p/cap, stop]}",
        "{shadow: [watch]}",
        "{outcomes: {cap: matched, watch: matched}}",
        '{message: "Not this.", code: word, status: 451}',
        "{event: {request.params.max_tokens: 100, \"def('word')\": bomb}}",
        "{patch: [{op: replace, path: /request/params/max_tokens, value: 100}]}",
        "{}",
    ],
)
def test_what_is_as_expected_passes(expect: str) -> None:
    assert failures(BOMB, expect) == []


@pytest.mark.parametrize(
    ("expect", "wrong"),
    [
        ("{verdict: allow}", ("verdict", "allow", "block")),
        ("{by: cap}", ("by", "p/cap", "p/stop")),
        ("{shadow: []}", ("shadow", [], ["p/watch"])),
        ("{outcomes: {stop: no_match}}", ("outcome of stop", "no_match", "matched")),
        ("{outcomes: {to: no_match}}", ("outcome of to", "no_match", "of another phase")),
        ("{outcomes: {nix: matched}}", ("outcome of nix", "matched", "unknown rule")),
        ("{message: Not}", ("message", "Not", "Not this.")),
        ("{code: x}", ("code", "x", "word")),
        ("{status: 400}", ("status", 400, 451)),
        ("{route: 'a:m'}", ("route", "a:m", None)),
        ("{event: {request.params.max_tokens: 500}}", ("event request.params.max_tokens", 500, 100)),
        ("{event: {request.stream: 0}}", ("event request.stream", 0, False)),
    ],
)
def test_what_is_otherwise_is_said(expect: str, wrong: tuple[str, Any, Any]) -> None:
    assert failures(BOMB, expect) == [wrong]


def test_all_matched_and_enforced_rules_must_be_named() -> None:
    ((what, expected, got),) = failures(BOMB, "{rules: [stop]}")
    assert (what, expected, sorted(got)) == ("rules", ["p/stop"], ["p/cap", "p/slow", "p/stop"])


def test_a_wrong_expression_fails_the_test() -> None:
    ((what, _, got),) = failures(BOMB, "{event: {'request.(': 1}}")
    assert what == "event request.("
    assert got.startswith("error: ")


def test_a_route_is_expected_in_its_phase() -> None:
    assert failures("{phase: route}", "{route: 'a:m', verdict: allow}") == []


def test_a_field_that_no_event_has_is_an_error() -> None:
    (result,) = results("  - {name: t, given: {request: {modle: x}}, expect: {}}\n")
    assert not result.passed
    assert "modle" in result.error


def test_results_know_where_their_tests_stand() -> None:
    found = results("  - {name: one, given: {}, expect: {}}\n  - {name: two, given: {}, expect: {}}\n")
    assert [each.name for each in found] == ["one", "two"]
    assert found[1].where.line == found[0].where.line + 1


def test_what_the_configuration_overrides_and_grants_does_not_count() -> None:
    tests = "  - {name: t, given: " + BOMB + ", expect: {verdict: block}}\n"
    (shadowed,) = results(tests, overrides={"mode": "shadow"})
    (scoped,) = results(tests, grant=Grant(scope=ScopeSpec(team="payments")))
    assert shadowed.passed
    assert scoped.passed


def test_a_file_that_is_off_has_nothing_to_test() -> None:
    assert results("  - {name: t, given: {}, expect: {verdict: block}}\n", HEAD + "mode: 'off'\n") == []

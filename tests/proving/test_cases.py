"""Sets of policy files, proved by their own tests."""

from engine.policy.compile import PolicySource
from engine.policy.sources import PolicySet
from engine.proving.cases import prove

GOOD = """\
version: 1
policy: good
rules:
  - {id: stop, phase: request, when: request.stream, actions: [block: no]}
  - {id: other, phase: request, actions: [log: x]}
tests:
  - {name: stops, given: {request: {stream: true}}, expect: {verdict: block, by: stop}}
"""
BAD = GOOD.replace("policy: good", "policy: bad").replace("verdict: block", "verdict: steer")


def a_set(*texts: str) -> PolicySet:
    return PolicySet(sources=tuple(PolicySource(f"{number}.yaml", text) for number, text in enumerate(texts)))


def test_a_set_whose_tests_pass_holds() -> None:
    proof = prove([a_set(GOOD)])
    assert proof.holds
    assert [each.name for each in proof.results] == ["stops"]


def test_a_failure_comes_with_the_rules_that_it_is_about_alone() -> None:
    proof = prove([a_set(GOOD, BAD)])
    assert not proof.holds
    assert [each.passed for each in proof.results] == [True, False]
    (failure,) = proof.failures
    assert [each.rule.name for each in failure.explained] == ["bad/stop"]


def test_a_file_is_tested_against_its_own_rules_alone() -> None:
    """`bad` would refuse what `good` expects to pass, but they do not meet."""
    passing = GOOD.replace("given: {request: {stream: true}}, expect: {verdict: block, by: stop}",
                           "given: {}, expect: {verdict: allow}")  # fmt: skip
    refusing = passing.replace("policy: good", "policy: bad").replace("when: request.stream, ", "")
    refusing = refusing.partition("tests:")[0]
    assert prove([a_set(passing, refusing)]).holds


def test_a_file_with_errors_does_not_hold() -> None:
    proof = prove([a_set(GOOD.replace("request.stream", "request.strem"))])
    assert not proof.holds
    assert [each.code for each in proof.diagnostics] == ["E202"]
    assert proof.results == ()


def test_a_file_of_two_sets_is_tested_once() -> None:
    assert len(prove([a_set(GOOD), a_set(GOOD)]).results) == 1

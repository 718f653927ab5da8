"""What is asked of every shipped pack, whatever it is about."""

from datetime import date

import pytest

from engine.policy.lint import examine
from engine.policy.sources import PolicySet
from engine.policy.trial import run_tests
from tests.policies.packs import PACKS, source

TODAY = date(2026, 11, 22)


def alone(name: str) -> PolicySet:
    return PolicySet(sources=(source(name),))


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_has_no_findings_even_of_the_strict_lint(name: str) -> None:
    examined = examine(alone(name), TODAY, strict=True)
    assert [f"{each.where.line}: {each.message}" for each in examined.diagnostics] == []


@pytest.mark.parametrize("name", PACKS)
def test_the_tests_of_a_pack_pass(name: str) -> None:
    (policy,) = examine(alone(name), TODAY).compiled.checked
    results = run_tests(policy)
    failed = [f"{each.name}: {each.error or each.mismatches}" for each in results if not each.passed]
    assert failed == []
    assert len(results) >= 10


@pytest.mark.parametrize("name", PACKS)
def test_every_rule_of_a_pack_matches_in_one_of_its_tests_and_not_in_another(name: str) -> None:
    (policy,) = examine(alone(name), TODAY).compiled.checked
    seen: dict[str, set[bool]] = {f"{policy.spec.policy}/{rule.id}": set() for rule in policy.spec.rules}
    for result in run_tests(policy):
        assert result.decision is not None
        for outcome in result.decision.outcomes:
            seen[outcome.rule].add(outcome.outcome.value == "matched")
    assert {rule: outcomes for rule, outcomes in seen.items() if outcomes != {True, False}} == {}


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_says_what_it_is_for_and_whom_to_ask(name: str) -> None:
    (policy,) = examine(alone(name), TODAY).compiled.checked
    assert policy.spec.policy == name
    assert len(policy.spec.description) > 80
    assert policy.spec.owner
    assert all(rule.description for rule in policy.spec.rules)

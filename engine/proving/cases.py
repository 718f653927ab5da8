"""Proves a set of policy files by their own tests."""

from collections.abc import Iterable

import msgspec

from engine.diagnostics import Diagnostic
from engine.policy.compile import CheckedPolicy, PolicySource, check_file
from engine.policy.sources import PolicySet
from engine.policy.trial import CaseResult, rules_of, run_tests

from .explain import Explained, explain


class Failure(msgspec.Struct, frozen=True):
    """A failed test with the explanation of each rule that it is about."""

    result: CaseResult
    explained: tuple[Explained, ...]


class Proof(msgspec.Struct, frozen=True):
    """The results of all tests of a set of files; `diagnostics` are errors of files whose tests could not be run."""

    results: tuple[CaseResult, ...]
    failures: tuple[Failure, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def holds(self) -> bool:
        return not self.failures and not self.diagnostics


def prove(sets: Iterable[PolicySet]) -> Proof:
    """Run the tests of every file, each once, however many sets it is in."""
    results: list[CaseResult] = []
    failures: list[Failure] = []
    diagnostics: list[Diagnostic] = []
    seen: set[str] = set()
    for policies in sets:
        diagnostics += [each for each in policies.diagnostics if each.stops_loading]
        for source in policies.sources:
            if source.file in seen:
                continue
            seen.add(source.file)
            checked, _, found = check_file(PolicySource(source.file, source.text), policies.catalogue)
            diagnostics += [each for each in found if each.stops_loading]
            if checked is None:
                continue
            of_file = run_tests(checked, policies.catalogue, policies.shell_tools)
            results += of_file
            failures += [_explained(each, checked, policies) for each in of_file if not each.passed]
    return Proof(tuple(results), tuple(failures), tuple(diagnostics))


def _explained(result: CaseResult, checked: CheckedPolicy, policies: PolicySet) -> Failure:
    if result.event is None or result.decision is None:
        return Failure(result, ())
    rules, _ = rules_of(checked, policies.catalogue)
    concerned = {name for mismatch in result.mismatches for name in mismatch.rules}
    found = explain([checked], rules, result.event, result.decision, policies.catalogue)
    return Failure(result, tuple(each for each in found if each.rule.name in concerned))

"""Proves a set of policy files by their own tests, and by those in the folder `cases/` beside them."""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from engine.diagnostics import Diagnostic, Where
from engine.language import NO_NAMES, Names
from engine.model.decision import Decision, Mode
from engine.model.traffic import events_of
from engine.policy.compile import CheckedPolicy, PolicySource, check_file, compile_policies
from engine.policy.ruleset import RuleSet
from engine.policy.sources import PolicySet
from engine.policy.spec import CaseSpec
from engine.policy.summary import summary
from engine.policy.trial import CaseResult, Mismatch, as_written, judge, rules_of, run_case

from .casefiles import CaseFile
from .coverage import Coverage, Covered, Spot
from .explain import Explained, explain
from .replay import facts_of
from .transcripts import Played, open_stage, play

Run = Callable[[Coroutine[Any, Any, Played]], Played]
"""Runs a conversation to its end: `asyncio.run`."""

Snapshots = Mapping[str, Mapping[str, Any]]
"""What came out of tests, by file and name."""

NO_SNAPSHOTS: Final[Snapshots] = {}


class Failure(msgspec.Struct, frozen=True):
    """A failed test with the explanation of each rule that it is about."""

    result: CaseResult
    explained: tuple[Explained, ...]


class Proof(msgspec.Struct, frozen=True):
    """The results of all tests of a set of files; `diagnostics` are errors of files whose tests could not be run."""

    results: tuple[CaseResult, ...]
    failures: tuple[Failure, ...]
    diagnostics: tuple[Diagnostic, ...]
    covered: Covered | None = None
    snapshots: Snapshots = {}
    """What came out of the tests that are compared with a snapshot."""

    @property
    def holds(self) -> bool:
        return not self.failures and not self.diagnostics


class Prover:
    """Runs tests. `kept` are the snapshots of earlier runs; with `updates` they are made anew and not compared.

    Without `run` conversations are left out. `covers` counts what of the rules the tests see.
    """

    def __init__(
        self, *, run: Run | None = None, kept: Snapshots = NO_SNAPSHOTS, updates: bool = False, covers: bool = False
    ) -> None:  # fmt: skip
        self._run = run
        self._kept = kept
        self._updates = updates
        self._covers = covers
        self._results: list[CaseResult] = []
        self._failures: list[Failure] = []
        self._diagnostics: list[Diagnostic] = []
        self._snapshots: dict[str, dict[str, Any]] = {}
        self._spots: dict[tuple[str | int, ...], Spot] = {}
        self._seen: set[tuple[str | int, ...]] = set()

    def files(self, policies: PolicySet, done: set[str]) -> None:
        """The tests that stand in the files of a set, of each file by its own rules alone, but for those in `done`."""
        self._diagnostics += [each for each in policies.diagnostics if each.stops_loading]
        for source in policies.sources:
            if source.file in done:
                continue
            done.add(source.file)
            checked, _, found = check_file(PolicySource(source.file, source.text), policies.catalogue)
            self._diagnostics += [each for each in found if each.stops_loading]
            plain = as_written(checked, policies.catalogue) if checked is not None else None
            if plain is None or plain.spec.mode is Mode.OFF:
                continue
            rules, names = rules_of(plain, policies.catalogue)
            places = [plain.places.get(f"tests/{index}", Where(source.file)) for index in range(len(plain.spec.tests))]
            cases = zip(plain.spec.tests, places, strict=True)
            self._cases(plain.spec.policy, source.file, cases, rules, [plain], policies, names.scope)

    def beside(self, policies: PolicySet, files: Iterable[CaseFile]) -> None:
        """The tests of files in `cases/`, by all rules of the set together."""
        files = list(files)
        if not files:
            return
        compiled = compile_policies(policies.sources, policies.catalogue)
        self._diagnostics += [each for each in compiled.diagnostics if each.stops_loading]
        for file in files:
            self._diagnostics += file.diagnostics
            if compiled.ruleset is not None:
                cases = zip(file.tests, file.places, strict=True)
                self._cases("", file.file, cases, compiled.ruleset, compiled.checked, policies, NO_NAMES)

    def _cases(
        self,
        policy: str,
        file: str,
        cases: Iterable[tuple[CaseSpec, Where]],
        rules: RuleSet,
        checked: Iterable[CheckedPolicy],
        policies: PolicySet,
        names: Names,
    ) -> None:
        checked = list(checked)
        coverage = Coverage(checked, rules) if self._covers else None
        if coverage is not None:
            self._spots.update({spot.key: spot for spot in coverage.result().spots})

        def scope() -> Names:
            return names

        for case, where in cases:
            came: dict[str, Any]
            if case.turns:
                if self._run is None:
                    continue
                blank = CaseResult(policy, case.name, where)
                stage = lambda: open_stage(rules, policies.catalogue, policies.shell_tools)  # noqa: E731
                played = self._run(play(case, stage, blank, scope))
                result = played.result
                came = dict(played.got)
                if coverage is not None:
                    for exchange in played.exchanges:
                        for recorded, event in events_of(exchange):
                            coverage.met(event, judge(rules, event, facts_of(recorded), trace=True))
            else:
                result = run_case(policy, rules, case, where, scope, policies.shell_tools)
                came = {str(number): _short(each) for number, (_, each) in enumerate(result.seen, 1)}
                if coverage is not None:
                    for met, decision in result.seen:
                        coverage.met(met, decision)
            if case.snapshot:
                self._snapshots.setdefault(file, {})[case.name] = came
                result = self._compared(result, file, came)
            self._results.append(result)
            if not result.passed:
                self._failures.append(_explained(result, checked, rules, policies))
        if coverage is not None:
            self._seen |= coverage.result().seen

    def _compared(self, result: CaseResult, file: str, came: Mapping[str, Any]) -> CaseResult:
        if self._updates or result.error:
            return result
        kept = self._kept.get(file, {}).get(result.name)
        none = [Mismatch("snapshot", "one; --update keeps it", None)]
        found = list(differences(kept, msgspec.to_builtins(came))) if kept is not None else none
        return msgspec.structs.replace(result, mismatches=(*result.mismatches, *found))

    def proof(self) -> Proof:
        """All of it."""
        covered = Covered(tuple(self._spots.values()), frozenset(self._seen)) if self._covers else None
        return Proof(
            tuple(self._results), tuple(self._failures), tuple(self._diagnostics), covered, self._snapshots
        )  # fmt: skip


def prove(sets: Iterable[PolicySet], *, run: Run | None = None) -> Proof:
    """Run the tests of every file, each once, however many sets it is in; conversations only where `run` can."""
    prover = Prover(run=run)
    done: set[str] = set()
    for policies in sets:
        prover.files(policies, done)
    return prover.proof()


def differences(kept: Any, came: Any, path: str = "snapshot") -> Iterator[Mismatch]:
    """Where two JSON values differ, as deep as they are alike."""
    match kept, came:
        case dict(), dict():
            for name in dict.fromkeys((*kept, *came)):
                yield from differences(kept.get(name), came.get(name), f"{path} {name}")
        case list(), list() if len(kept) == len(came):
            for number, (one, other) in enumerate(zip(kept, came, strict=True)):
                yield from differences(one, other, f"{path}[{number}]")
        case _ if kept != came:
            yield Mismatch(path, kept, came)
        case _:
            return


def _short(decision: Decision) -> Any:
    said = summary(decision)
    message = getattr(decision.effect, "message", "")
    return {**msgspec.to_builtins(said), **({"message": message} if message else {})}


def _explained(result: CaseResult, checked: list[CheckedPolicy], rules: RuleSet, policies: PolicySet) -> Failure:
    if result.event is None or result.decision is None:
        return Failure(result, ())
    concerned = {name for mismatch in result.mismatches for name in mismatch.rules}
    found = explain(checked, rules, result.event, result.decision, policies.catalogue)
    return Failure(result, tuple(each for each in found if each.rule.name in concerned))

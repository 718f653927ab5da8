"""Runs the tests that stand in a policy file, against the rules of that file alone. Pure: nothing is read or asked."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from engine.actions.params import seconds
from engine.diagnostics import LexgateError, Where
from engine.language import ConditionError, Env, Names, compile_expression
from engine.language.shell import DEFAULT_TOOLS, ShellTools
from engine.model.decision import Decision, Facts, Mode, Needs, OutcomeKind
from engine.model.effects import Block, Patch
from engine.model.phases import Phase

from .compile import CheckedPolicy, PolicySource, check_file, join, link_checked
from .context import UNKNOWN, UNLIMITED, Catalogue
from .given import complete_event, misfit_in_words
from .names import FileNames
from .record import RECOVERIES, op_record
from .ruleset import Event, RuleSet, Stage
from .spec import CaseSpec, ExpectSpec, StepSpec
from .standing import Standing

TEST_FACTS: Final = Facts(seed="test")


class TrialError(LexgateError):
    """An event cannot be decided without asking somebody."""


class Mismatch(msgspec.Struct, frozen=True):
    """One thing that the decision should have been, and was not. `rules` are the full names of those concerned."""

    what: str
    expected: Any
    got: Any
    rules: tuple[str, ...] = ()


class CaseResult(msgspec.Struct, frozen=True):
    """What became of one test. `error` says why its event could not be decided at all."""

    policy: str
    name: str
    where: Where
    mismatches: tuple[Mismatch, ...] = ()
    error: str = ""
    event: Event | None = None
    decision: Decision | None = None
    seen: tuple[tuple[Event, Decision], ...] = ()
    """Every event of the test and what was decided of it; `event` and `decision` are the last of them."""

    @property
    def passed(self) -> bool:
        return not self.mismatches and not self.error


def run_tests(
    policy: CheckedPolicy, catalogue: Catalogue = UNKNOWN, shell_tools: ShellTools = DEFAULT_TOOLS
) -> tuple[CaseResult, ...]:
    """The results of a file's tests, in its order. The tests are of the file as it is written: what the configuration
    grants or overrides does not count. A file that is off has no rules to test, and so no results."""
    plain = as_written(policy, catalogue)
    if plain is None or plain.spec.mode is Mode.OFF:
        return ()
    rules, names = rules_of(plain, catalogue)

    def scope() -> Names:
        return names.scope

    file = Where(plain.source.file)
    return tuple(
        run_case(plain.spec.policy, rules, case, plain.places.get(f"tests/{index}", file), scope, shell_tools)
        for index, case in enumerate(plain.spec.tests)
        if not case.turns  # a conversation needs the whole proxy: `policy test` plays it
    )


def as_written(policy: CheckedPolicy, catalogue: Catalogue = UNKNOWN) -> CheckedPolicy | None:
    """The file without grants and overrides; None where it is wrong without them."""
    source = policy.source
    if not source.overrides and source.grant == UNLIMITED:
        return policy
    return check_file(PolicySource(source.file, source.text), catalogue)[0]


def rules_of(policy: CheckedPolicy, catalogue: Catalogue = UNKNOWN) -> tuple[RuleSet, FileNames]:
    """The rules of one checked file alone, and its names; its exceptions to rules of other files mean nothing here."""
    rules, _ = join([link_checked(policy, catalogue)])
    file = Where(policy.source.file)
    names = FileNames(policy.spec, lambda _path: file, lambda _path, _start, _end: file, catalogue)
    return RuleSet(rules, policy.source.digest[:12], [policy.spec.policy]), names


def judge(rules: RuleSet, event: Event, facts: Facts = TEST_FACTS, *, trace: bool = False) -> Decision:
    """Decide one event as traffic does: a request meets its rate limits first, and what they refuse goes no further.

    Raises TrialError where the rules ask for what only I/O can tell.
    """
    phase = Phase(event["phase"])
    decision = _decided(rules, phase, event, facts, Stage.MAIN, trace)
    if rules.table(phase, Stage.ADMISSION) is None:
        return decision
    admission = _decided(rules, phase, event, facts, Stage.ADMISSION, trace)
    if admission.refused:
        return admission
    return msgspec.structs.replace(
        decision,
        outcomes=admission.outcomes + decision.outcomes,
        spends=admission.spends + decision.spends,
        fires=admission.fires + decision.fires,
        changes=admission.changes + decision.changes,
        observations=admission.observations + decision.observations,
    )


def _decided(rules: RuleSet, phase: Phase, event: Event, facts: Facts, stage: Stage, trace: bool) -> Decision:
    match rules.decide(phase, event, facts, stage=stage, trace=trace):
        case Decision() as decision:
            return decision
        case Needs(questions=questions):
            raise TrialError(f"the rules ask {len(questions)} question(s) that the event does not answer")


def run_case(
    policy: str,
    rules: RuleSet,
    case: CaseSpec,
    where: Where,
    scope: Callable[[], Names],
    shell_tools: ShellTools,
) -> CaseResult:
    """The result of a test that is no conversation; `policy` is whose rules may be named short."""
    result = CaseResult(policy, case.name, where)
    if not case.steps:
        given = case.given if isinstance(case.given, dict) else {}
        return _met(result, rules, StepSpec(given=given, expect=case.expect), scope, shell_tools, None)
    standing = Standing()
    for number, step in enumerate(case.steps, 1):
        standing.now += lapse(step.after)
        for time in range(step.times):
            result = _met(result, rules, step, scope, shell_tools, standing)
            if not result.passed:
                again = f", time {time + 1}" if step.times > 1 else ""
                return _at_step(result, f"step {number}{again}: ")
    return result


def lapse(after: float | str) -> float:
    """How long something takes, in seconds; 0 is no time. Raises LinkError."""
    return float(after) if isinstance(after, int | float) and after == 0 else seconds(after)


def _met(
    result: CaseResult,
    rules: RuleSet,
    step: StepSpec,
    scope: Callable[[], Names],
    shell_tools: ShellTools,
    standing: Standing | None,
) -> CaseResult:
    """The result with one more event decided; where there is a standing, with what it remembers."""
    try:
        event = complete_event(step.given, shell_tools)
    except (msgspec.ValidationError, ValueError) as wrong:
        return msgspec.structs.replace(result, error=misfit_in_words(wrong))
    facts = TEST_FACTS
    if standing is not None:
        event = standing.met(event, step.given)
        facts = standing.facts(rules, event, f"test/{len(result.seen)}")
    try:
        decision = judge(rules, event, facts, trace=True)
    except TrialError as wrong:
        return msgspec.structs.replace(result, error=str(wrong), event=event)
    if standing is not None:
        decision = standing.settled(decision, event)
    found = tuple(mismatches(step.expect, decision, result.policy, rules, scope))
    seen = (*result.seen, (event, decision))
    return msgspec.structs.replace(result, mismatches=found, event=event, decision=decision, seen=seen)


def _at_step(result: CaseResult, which: str) -> CaseResult:
    return msgspec.structs.replace(
        result,
        error=which + result.error if result.error else "",
        mismatches=tuple(msgspec.structs.replace(each, what=which + each.what) for each in result.mismatches),
    )


def mismatches(
    expect: ExpectSpec, decision: Decision, policy: str, rules: RuleSet, scope: Callable[[], Names]
) -> Iterator[Mismatch]:
    """Everything that the test expects and the decision is not. Rules may be named short or in full."""

    def full(name: str) -> str:
        return name if "/" in name or not name else f"{policy}/{name}"

    effect = decision.effect
    by = (decision.by,) if decision.by else ()
    if expect.verdict is not None and expect.verdict != str(decision.verdict):
        wanted = (full(expect.by),) if expect.by else ()
        yield Mismatch("verdict", expect.verdict, str(decision.verdict), (*wanted, *by))
    if expect.by is not None and full(expect.by) != decision.by:
        yield Mismatch("by", full(expect.by), decision.by, tuple(filter(None, (full(expect.by), decision.by))))
    for what, names, mode in (("rules", expect.rules, Mode.ENFORCE), ("shadow", expect.shadow, Mode.SHADOW)):
        if names is not None:
            matched = [
                each.rule for each in decision.outcomes if each.outcome is OutcomeKind.MATCHED and each.mode is mode
            ]
            yield from _same_rules(what, [full(each) for each in names], matched)
    outcomes = {each.rule: each.outcome.value for each in decision.outcomes}
    for name, outcome in (expect.outcomes or {}).items():
        got = outcomes.get(full(name), "unknown rule" if full(name) not in rules.by_name else "of another phase")
        if got != outcome:
            yield Mismatch(f"outcome of {name}", outcome, got, (full(name),))
    said = (
        ("message", expect.message, getattr(effect, "message", None)),
        ("code", expect.code, effect.code if isinstance(effect, Block) else None),
        ("status", expect.status, effect.status if isinstance(effect, Block) else None),
        ("route", expect.route, decision.route.plan if decision.route is not None else None),
        ("recovery", expect.recovery, [RECOVERIES[type(each)] for each in decision.recovery]),
        ("skips", expect.skips, decision.skip is not None),
    )
    for what, wanted_value, got_value in said:
        if wanted_value is not None and wanted_value != got_value:
            yield Mismatch(what, wanted_value, got_value, by)
    for text, value in (expect.event or {}).items():
        got_value = _evaluated(text, decision.event or {}, scope())
        if not _same(got_value, value):
            yield Mismatch(f"event {text}", value, got_value, tuple(_changing(decision)))
    if expect.patch is not None:
        patch = [dict(op_record(op)) for each in decision.effects if isinstance(each, Patch) for op in each.ops]
        if not _same(patch, expect.patch):
            yield Mismatch("patch", expect.patch, patch, tuple(_changing(decision)))


def _same_rules(what: str, expected: list[str], got: list[str]) -> Iterator[Mismatch]:
    if sorted(expected) != sorted(got):
        concerned = [each for each in (*expected, *got) if (each in expected) != (each in got)]
        yield Mismatch(what, expected, got, tuple(concerned))


def _changing(decision: Decision) -> Iterable[str]:
    return dict.fromkeys(each.rule for each in decision.outcomes if each.patch)


def _evaluated(text: str, event: Mapping[str, Any], names: Names) -> Any:
    try:
        return compile_expression(text, names)(event, Env(event))
    except ConditionError as wrong:
        return f"error: {wrong}"


def _same(left: Any, right: Any) -> bool:
    """Equality by JSON type: `true` is not 1."""
    return Env(None).equal(left, right)

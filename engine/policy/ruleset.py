"""The compiled set, and `decide`: the pure function that says what an event means under it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from time import perf_counter_ns
from typing import Any, Final

import msgspec

from engine.actions import Moment, Pass
from engine.actions.registry import ActionError
from engine.language import ConditionError, Env
from engine.model.decision import (
    NO_FACTS,
    Because,
    Decision,
    Facts,
    Fire,
    Mode,
    Needs,
    Outcome,
    OutcomeKind,
    Spend,
)
from engine.model.effects import (
    STRENGTH,
    Block,
    ChooseRoute,
    Conceal,
    Count,
    Drop,
    Effect,
    Forget,
    Label,
    Log,
    Metric,
    Notify,
    Op,
    Patch,
    Remember,
    Respond,
    SetHeader,
    Steer,
    Tag,
    Take,
    VerdictEffect,
    VerdictKind,
    applied,
)
from engine.model.phases import Phase

from .index import Index
from .rule import PASS_ORDER, Limit, Rule

Event = Mapping[str, Any]

POLICY_ERROR: Final = "policy_error"


class Stage(StrEnum):
    """Phase `request` is met twice: its rate limits first, on the event as it came; then everything else."""

    ADMISSION = "admission"
    MAIN = "main"


class LimitRead(msgspec.Struct, frozen=True):
    """A counter that must be known before an event is decided: how often the rule acted for `key` within `every`."""

    rule: str
    key: str
    every: float
    max: int


class Table:
    """The rules of one phase and stage, in the order in which they run: lowest priority first."""

    __slots__ = ("by_pass", "index", "limited", "reads", "rules", "transforms", "waits_for")

    def __init__(self, phase: Phase, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.index = Index(phase, rules)
        self.reads = frozenset(path for rule in rules for path in rule.reads) | {
            tuple(map(str, path)) for path in self.index.reads
        }
        self.transforms = any(rule.pass_ is Pass.TRANSFORM for rule in rules)
        self.limited = any(rule.limit is not None for rule in rules)
        self.waits_for = {path[:2] for path in self.reads if path} | ({()} if () in self.reads else set())

    def touched(self, ops: Iterable[Op]) -> bool:
        """Whether operations write what the index or a condition reads."""
        return () in self.waits_for or any(tuple(map(str, op.path[:2])) in self.waits_for for op in ops)


def run_order(rule: Rule) -> tuple[int, str, int]:
    """Lowest priority first; at equal priority by policy name, then by position, so that the earlier one runs first."""
    return (rule.priority, rule.policy, rule.position)


class RuleSet:
    """A frozen, indexed set of rules. `revision` is the digest of the sources that it was compiled from."""

    def __init__(self, rules: Iterable[Rule], revision: str = "", policies: Sequence[str] = ()) -> None:
        ordered = sorted((rule for rule in rules if rule.mode is not Mode.OFF), key=run_order)
        self.rules: tuple[Rule, ...] = tuple(ordered)
        self.by_name: Mapping[str, Rule] = {rule.name: rule for rule in ordered}
        self.revision = revision
        self.policies = tuple(policies)
        self._tables: dict[tuple[Phase, Stage], Table] = {}
        for phase in Phase:
            here = [rule for rule in ordered if rule.phase is phase]
            for stage in Stage:
                chosen = [rule for rule in here if rule.admission is (stage is Stage.ADMISSION)]
                if chosen:
                    self._tables[phase, stage] = Table(phase, chosen)

    def table(self, phase: Phase, stage: Stage = Stage.MAIN) -> Table | None:
        """The rules of a phase; None where there are none, so that nothing need be built for it."""
        return self._tables.get((phase, stage))

    def reads(self, phase: Phase, stage: Stage = Stage.MAIN) -> frozenset[tuple[str, ...]]:
        """The fields of the phase's event that its rules read; `()` stands for all of them."""
        table = self._tables.get((phase, stage))
        return table.reads if table is not None else frozenset()

    def limits(self, phase: Phase, event: Event, stage: Stage = Stage.MAIN) -> Iterator[LimitRead]:
        """The counters that `decide` will want to know of this event."""
        table = self._tables.get((phase, stage))
        if table is None or not table.limited:
            return
        env = Env(event)
        for order in range(len(table.rules)):
            rule = table.rules[order]
            if rule.limit is not None:
                key = _limit_key(rule.limit, event, env)
                if key is not None:
                    yield LimitRead(
                        counter_name(rule, rule.mode_for(event["caller"]["id"])), key, rule.limit.every, rule.limit.max
                    )

    def decide(
        self,
        phase: Phase,
        event: Event,
        facts: Facts = NO_FACTS,
        *,
        stage: Stage = Stage.MAIN,
        trace: bool = False,
    ) -> Decision | Needs:
        """What the rules say of one event. Pure: the same arguments give the same decision, in traffic, test and replay.

        With `trace` the outcomes hold every rule of the phase, those that were no candidates included.
        """
        table = self._tables.get((phase, stage))
        if table is None:
            return Decision(phase=phase, event=event)
        return _Evaluation(table, phase, event, facts, trace).run()


def counter_name(rule: Rule, mode: Mode) -> str:
    """A shadowed rule counts for itself, so that it takes nothing from what it would do if enforced."""
    return rule.name if mode is Mode.ENFORCE else f"{rule.name}#shadow"


def _limit_key(limit: Limit, event: Event, env: Env) -> str | None:
    try:
        value = limit.per(event, env)
    except ConditionError:
        return None
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class _Evaluation:
    """One event on its way through the three passes."""

    def __init__(self, table: Table, phase: Phase, event: Event, facts: Facts, trace: bool) -> None:
        self.table = table
        self.phase = phase
        self.event = event
        self.facts = facts
        self.trace = trace
        self.caller: str = event["caller"]["id"]
        self.env = Env(event, facts.seed)
        self.outcomes: list[Outcome] = []
        self.verdicts: list[tuple[VerdictKind, Rule, VerdictEffect]] = []
        self.routes: list[tuple[Rule, ChooseRoute]] = []
        self.effects: list[Patch | SetHeader | Conceal] = []
        self.spends: list[Spend] = []
        self.fires: list[Fire] = []
        self.changes: list[Remember | Forget | Count | Label] = []
        self.observations: list[tuple[str, Log | Tag | Metric | Notify]] = []
        self.waiting: list[tuple[Rule, Mode, int]] = []
        """Matched rules of the transform pass whose later actions are still to run, with their outcome's place."""

    def run(self) -> Decision:
        candidates = self.table.index.probe(self.event)
        if self.table.transforms:
            candidates = self._transform(candidates)
        for rule, mode, place in self.waiting:
            self._act(rule, mode, place, after=Pass.TRANSFORM)
        for order in candidates:
            rule = self.table.rules[order]
            if rule.pass_ is not Pass.TRANSFORM:
                self._judge(rule)
        if self.trace:
            self._add_those_that_were_no_candidates()
        return self._concluded()

    def _transform(self, candidates: Sequence[int]) -> Sequence[int]:
        """The transform pass; answers the candidates of the event as it is afterwards."""
        done = -1
        while True:
            again = False
            for order in candidates:
                if order <= done:
                    continue
                done = order
                rule = self.table.rules[order]
                if rule.pass_ is Pass.TRANSFORM and self._judge(rule):
                    candidates = self.table.index.probe(self.event)
                    again = True
                    break
            if not again:
                return candidates

    def _judge(self, rule: Rule) -> bool:
        """Evaluate one rule and let it act; answers whether it changed what the index or a condition reads."""
        began = perf_counter_ns()
        mode = rule.mode_for(self.caller)
        kind, error = self._outcome(rule, mode)
        if kind is OutcomeKind.NO_MATCH and not self.trace:
            return False
        reasons: tuple[Because, ...] = ()
        if kind is not OutcomeKind.EXCEPTED or self.trace:
            reasons = rule.reasons.of(self.event, self.env)
        self.outcomes.append(
            Outcome(
                rule=rule.name,
                outcome=kind,
                mode=mode,
                because=reasons,
                error=error,
                latency_us=(perf_counter_ns() - began) / 1000,
            )
        )
        place = len(self.outcomes) - 1
        match kind:
            case OutcomeKind.MATCHED:
                if rule.limit is not None:
                    self._count_fire(rule, mode)
                if rule.pass_ is Pass.TRANSFORM:
                    self.waiting.append((rule, mode, place))
                    return self._act(rule, mode, place, only=Pass.TRANSFORM)
                self._act(rule, mode, place)
            case OutcomeKind.ERROR:
                self._failed(rule, mode, place, error)
            case OutcomeKind.LIMITED if rule.limit is not None and rule.limit.beyond_blocks:
                self._add_verdict(rule, mode, place, Block(f"The limit of rule {rule.name} is reached.", 429))
            case _:
                pass
        return False

    def _outcome(self, rule: Rule, mode: Mode) -> tuple[OutcomeKind, str]:
        """The first of match, exceptions, when, unless and limit that says no."""
        event, env = self.event, self.env
        try:
            if rule.matches is not None and not rule.matches(event):
                return OutcomeKind.NO_MATCH, ""
            for exemption in rule.exemptions:
                if (
                    event["now"]["epoch"] < exemption.until
                    and (exemption.matches is None or exemption.matches(event))
                    and (exemption.when is None or exemption.when.holds(event, env))
                ):
                    return OutcomeKind.EXCEPTED, ""
            if rule.when is not None and not rule.when.holds(event, env):
                return OutcomeKind.NO_MATCH, ""
            if rule.unless is not None and rule.unless.holds(event, env):
                return OutcomeKind.NO_MATCH, ""
            if rule.limit is not None and self._is_spent(rule, rule.limit, mode):
                return OutcomeKind.LIMITED, ""
        except ConditionError as wrong:
            return OutcomeKind.ERROR, str(wrong)
        return OutcomeKind.MATCHED, ""

    def _is_spent(self, rule: Rule, limit: Limit, mode: Mode) -> bool:
        if rule.name in self.facts.acted:
            return False
        key = _limit_key(limit, self.event, self.env)
        if key is None:
            raise ConditionError("invalid-value", "the limit's `per` cannot be evaluated")
        return self.facts.fired.get((counter_name(rule, mode), key), 0) >= limit.max

    def _count_fire(self, rule: Rule, mode: Mode) -> None:
        if rule.limit is None or rule.name in self.facts.acted:
            return
        key = _limit_key(rule.limit, self.event, self.env) or ""
        self.fires.append(Fire(counter_name(rule, mode), key, rule.limit.every, rule.limit.max))

    def _act(self, rule: Rule, mode: Mode, place: int, *, only: Pass | None = None, after: Pass | None = None) -> bool:
        """Run the rule's actions, each in the pass of its kind; answers whether what others read has changed."""
        changed = False
        for step in rule.steps:
            its = step.action.pass_
            if (only is not None and its is not only) or (after is not None and PASS_ORDER[its] <= PASS_ORDER[after]):
                continue
            moment = Moment(self.phase, self.event, self.env, rule.name, self.facts.placeholder)
            try:
                effects = list(step.action.run(step.params, moment))
            except (ConditionError, ActionError) as wrong:
                self._note(place, OutcomeKind.ERROR, f"{step.action.name}: {wrong}")
                self._failed(rule, mode, place, str(wrong))
                continue
            for effect in effects:
                changed |= self._take(rule, mode, place, effect)
            self._note_action(place, step.action.name)
        return changed

    def _take(self, rule: Rule, mode: Mode, place: int, effect: Effect) -> bool:
        """One effect: applied or collected where the rule is enforced, only recorded where it is shadowed."""
        enforced = mode is Mode.ENFORCE
        match effect:
            case Patch(ops):
                outcome = self.outcomes[place]
                self.outcomes[place] = msgspec.structs.replace(outcome, patch=(*outcome.patch, *ops))
                if enforced:
                    self.effects.append(effect)
                    self.event = applied(self.event, ops)
                    self.env = Env(self.event, self.facts.seed)
                    return self.table.touched(ops)
            case SetHeader() | Conceal():
                if enforced:
                    self.effects.append(effect)
            case Block() | Respond() | Drop() | Steer():
                self._add_verdict(rule, mode, place, effect)
            case ChooseRoute():
                if enforced:
                    self.routes.append((rule, effect))
            case Take():
                if enforced:
                    self.spends.append(Spend(rule.name, effect))
            case Remember() | Forget() | Count() | Label():
                if enforced:
                    self.changes.append(effect)
            case Log() | Tag() | Metric() | Notify():
                if enforced:
                    self.observations.append((rule.name, effect))
        return False

    def _add_verdict(self, rule: Rule, mode: Mode, place: int, effect: VerdictEffect) -> None:
        final = self._after_attempts(rule, effect)
        if final is None:
            return
        kind = STRENGTH[type(final)]
        outcome = self.outcomes[place]
        self.outcomes[place] = msgspec.structs.replace(outcome, verdict=max(outcome.verdict, kind))
        if mode is Mode.ENFORCE:
            self.verdicts.append((kind, rule, final))

    def _after_attempts(self, rule: Rule, effect: VerdictEffect) -> VerdictEffect | None:
        """A steer whose re-asks are used up, or that cannot be re-asked, becomes what its `then` says."""
        if not isinstance(effect, Steer) or effect.mode == "reply":
            return effect
        if self.facts.may_reask and self.facts.steered.get(rule.name, 0) < effect.attempts:
            return effect
        match effect.then:
            case "block":
                return Block(effect.message)
            case "reply":
                return msgspec.structs.replace(effect, mode="reply")
            case "allow":
                return None

    def _failed(self, rule: Rule, mode: Mode, place: int, _error: str) -> None:
        """What an error in a rule means: refuse, or go on without the rule."""
        if rule.denies_on_error:
            message = f"The policy rule {rule.name} could not be evaluated, so the request is refused."
            self._add_verdict(rule, mode, place, Block(message, 500, POLICY_ERROR))

    def _note(self, place: int, kind: OutcomeKind, error: str) -> None:
        self.outcomes[place] = msgspec.structs.replace(self.outcomes[place], outcome=kind, error=error)

    def _note_action(self, place: int, name: str) -> None:
        outcome = self.outcomes[place]
        self.outcomes[place] = msgspec.structs.replace(outcome, actions=(*outcome.actions, name))

    def _add_those_that_were_no_candidates(self) -> None:
        seen = {outcome.rule for outcome in self.outcomes}
        for rule in self.table.rules:
            if rule.name not in seen:
                mode = rule.mode_for(self.caller)
                self.outcomes.append(Outcome(rule=rule.name, outcome=OutcomeKind.NO_MATCH, mode=mode))

    def _concluded(self) -> Decision:
        verdict, by, effect = VerdictKind.ALLOW, "", None
        if self.verdicts:
            # The strongest wins; of equals the highest priority, then the one that stands first.
            verdict, rule, effect = min(self.verdicts, key=lambda each: (-each[0], *_choice_order(each[1])))
            by = rule.name
        route = None
        if self.routes:
            route = min(self.routes, key=lambda each: _choice_order(each[0]))[1]
        return Decision(
            phase=self.phase,
            verdict=verdict,
            by=by,
            effect=effect,
            outcomes=tuple(self.outcomes),
            effects=tuple(self.effects),
            route=route,
            spends=tuple(self.spends),
            fires=tuple(self.fires),
            changes=tuple(self.changes),
            observations=tuple(self.observations),
            event=self.event,
        )


def _choice_order(rule: Rule) -> tuple[int, str, int]:
    """Of several that would decide, the highest priority comes first, then the one that stands first."""
    return (-rule.priority, rule.policy, rule.position)

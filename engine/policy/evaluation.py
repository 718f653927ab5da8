"""One event on its way through the three passes: transform, decide, observe. Pure: nothing is read, nothing is asked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.actions import Moment, Pass
from engine.actions.registry import ActionError
from engine.language import ConditionError, Env
from engine.language.shell import DEFAULT_TOOLS
from engine.language.shell.tools import ARGUMENTS
from engine.model.decision import Because, Decision, Facts, Fire, Mode, Outcome, OutcomeKind, Spend
from engine.model.effects import (
    STRENGTH,
    Block,
    Budget,
    ChooseRoute,
    Conceal,
    Count,
    Effect,
    FailOver,
    Forget,
    Label,
    Log,
    Metric,
    Notify,
    ObserveEffect,
    Op,
    Patch,
    Record,
    Recovery,
    Remember,
    Retry,
    SetHeader,
    SkipLeg,
    Steer,
    Surface,
    Tag,
    Take,
    VerdictEffect,
    VerdictKind,
    Wait,
    applied,
)
from engine.model.phases import Phase

from .given import tool_section
from .rule import Limit, Rule, Step
from .table import Table

Event = Mapping[str, Any]
Timer = Callable[[], int]

POLICY_ERROR: Final = "policy_error"

_WRONG: Final = (ConditionError, RecursionError, ArithmeticError, ValueError)
"""What a bare closure of a condition raises where the condition is an error."""

_NO_MATCH: Final = (OutcomeKind.NO_MATCH, "")
_EXCEPTED: Final = (OutcomeKind.EXCEPTED, "")
_LIMITED: Final = (OutcomeKind.LIMITED, "")
_MATCHED: Final = (OutcomeKind.MATCHED, "")


class _Found:
    """What one rule said, while its actions are still adding to it."""

    __slots__ = ("actions", "because", "error", "kind", "mode", "patch", "rule", "took", "verdict")

    def __init__(self, rule: Rule, mode: Mode, kind: OutcomeKind, error: str, because: tuple[Because, ...]) -> None:
        self.rule = rule
        self.mode = mode
        self.kind = kind
        self.error = error
        self.because = because
        self.actions: list[str] = []
        self.patch: list[Op] = []
        self.verdict = VerdictKind.ALLOW
        self.took = 0

    def outcome(self) -> Outcome:
        return Outcome(
            rule=self.rule.name,
            outcome=self.kind,
            mode=self.mode,
            because=self.because,
            actions=tuple(self.actions),
            patch=tuple(self.patch),
            verdict=self.verdict,
            error=self.error,
            latency_us=self.took / 1000,
        )


class Evaluation:
    """One event under the rules of its phase."""

    def __init__(
        self, table: Table, phase: Phase, event: Event, facts: Facts, trace: bool = False, timer: Timer | None = None
    ) -> None:
        self.table = table
        self.phase = phase
        self.event = event
        self.facts = facts
        self.trace = trace
        self.timer = timer
        self.caller: str = event["caller"]["id"]
        self.env = Env(event, facts.seed)
        self.found: list[_Found] = []
        self.waiting: list[tuple[_Found, int]] = []
        """Matched rules of the transform pass, whose later actions are still to run."""
        self.verdicts: list[tuple[VerdictKind, Rule, VerdictEffect]] = []
        self.routes: list[tuple[Rule, ChooseRoute]] = []
        self.recoveries: list[tuple[Rule, Recovery]] = []
        self.skips: list[tuple[Rule, SkipLeg]] = []
        self.effects: list[Patch | SetHeader | Conceal] = []
        self.spends: list[Spend] = []
        self.shadow_spends: list[Spend] = []
        self.fires: list[Fire] = []
        self.changes: list[Remember | Forget | Count | Label] = []
        self.observations: list[tuple[str, ObserveEffect]] = []

    def run(self) -> Decision:
        table = self.table
        candidates = table.index.probe(self.event)
        if table.transforms:
            candidates = self._transform(candidates)
            for found, order in self.waiting:
                if later := table.later[order]:
                    self._timed(found, self._act, found, later)
            candidates = [order for order in candidates if not table.transforming[order]]
        if self.trace:
            for order in candidates:
                self._judge(order, began=self._now())
            self._add_those_that_were_no_candidates()
        else:
            self._screen(candidates)
        return self._concluded()

    def _screen(self, candidates: Iterable[int]) -> None:
        """Judge the candidates that are not turned away at once, as nearly all are: for those nothing is called that
        need not be. Whatever is no plain yes or no is judged in full, so that its error is said there."""
        screens, timer = self.table.screens, self.timer
        for order in candidates:
            began = timer() if timer is not None else 0
            passed = False
            if (screen := screens[order]) is not None:
                matches, holds = screen
                env = self.env
                try:
                    if matches is not None and not matches(self.event):
                        continue
                    if holds is None:
                        passed = True
                    else:
                        env.steps = env.budget
                        value = holds(self.event, env)
                        if value is False or value is None:
                            continue
                        passed = value is True
                except _WRONG:
                    pass
            self._judge(order, passed=passed, began=began)

    def _transform(self, candidates: Sequence[int]) -> Sequence[int]:
        """The transform pass; answers the candidates of the event as it is afterwards."""
        transforming = self.table.transforming
        done = -1
        while True:
            for order in candidates:
                if order <= done or not transforming[order]:
                    continue
                done = order
                if self._judge(order, transforms=True, began=self._now()):
                    candidates = self.table.index.probe(self.event)
                    break
            else:
                return candidates

    def _judge(self, order: int, *, transforms: bool = False, passed: bool = False, began: int = 0) -> bool:
        """Evaluate one rule and let it act; answers whether it changed what the index looks at.

        `passed`: it is known that scope and match fit, that nothing excepts it, and that `when` holds.
        """
        rule = self.table.rules[order]
        kind, error = _MATCHED if passed and rule.unless is None and rule.limit is None else self._outcome(rule, passed)
        if kind is OutcomeKind.NO_MATCH and not self.trace:
            return False
        reasons: tuple[Because, ...] = ()
        if kind is not OutcomeKind.EXCEPTED or self.trace:
            reasons = rule.reasons.of(self.event, self.env)
        found = _Found(rule, rule.mode_for(self.caller), kind, error, reasons)
        self.found.append(found)
        moved = False
        if kind is OutcomeKind.MATCHED:
            if rule.limit is not None:
                self._count_fire(found, rule.limit)
            if transforms:
                self.waiting.append((found, order))
                moved = self._act(found, self.table.first[order])
            else:
                self._act(found, self.table.later[order])
        elif kind is OutcomeKind.ERROR:
            self._failed(found)
        elif kind is OutcomeKind.LIMITED and rule.limit is not None and rule.limit.beyond_blocks:
            self._add_verdict(found, Block(f"The limit of rule {rule.name} is reached.", 429))
        if self.timer is not None:
            found.took = self.timer() - began
        return moved

    def _now(self) -> int:
        return self.timer() if self.timer is not None else 0

    def _timed(self, found: _Found, run: Callable[..., object], *args: object) -> None:
        if self.timer is None:
            run(*args)
            return
        began = self.timer()
        run(*args)
        found.took += self.timer() - began

    def _outcome(self, rule: Rule, passed: bool) -> tuple[OutcomeKind, str]:
        """The first of scope and match, exceptions, when, unless and limit that says no; an error is an answer too."""
        event, env = self.event, self.env
        try:
            if not passed:
                if rule.matches is not None and not rule.matches(event):
                    return _NO_MATCH
                if rule.exemptions and self._is_excepted(rule):
                    return _EXCEPTED
                if rule.when is not None and not rule.when.holds(event, env):
                    return _NO_MATCH
            if rule.unless is not None and rule.unless.holds(event, env):
                return _NO_MATCH
            if rule.limit is not None and self._is_spent(rule, rule.limit):
                return _LIMITED
        except ConditionError as wrong:
            return OutcomeKind.ERROR, str(wrong)
        return _MATCHED

    def _is_excepted(self, rule: Rule) -> bool:
        event, env = self.event, self.env
        return any(
            event["now"]["epoch"] < exemption.until
            and (exemption.matches is None or exemption.matches(event))
            and (exemption.when is None or exemption.when.holds(event, env))
            for exemption in rule.exemptions
        )

    # -- limits --

    def _is_spent(self, rule: Rule, limit: Limit) -> bool:
        """Whether the rule has acted as often as it may. What it did earlier in this exchange counts as one."""
        key = limit_key(limit, self.event, self.env)
        if rule.name in self.facts.acted:
            return False
        return self.facts.fired.get((counter_name(rule, rule.mode_for(self.caller)), key), 0) >= limit.max

    def _count_fire(self, found: _Found, limit: Limit) -> None:
        rule = found.rule
        if rule.name not in self.facts.acted:
            key = limit_key(limit, self.event, self.env)
            self.fires.append(Fire(counter_name(rule, found.mode), key, limit.every, limit.max))

    # -- actions --

    def _act(self, found: _Found, steps: Sequence[Step]) -> bool:
        """Run steps of the rule: its transforms, or all its other actions; answers whether the index is touched.

        A rule in shadow sees its own changes as it would if enforced; nobody else does.
        """
        moved = False
        rule, facts = found.rule, self.facts
        moment = Moment(self.phase, self.event, self.env, rule.name, facts.placeholder)
        for step in steps:
            action = step.action
            if self.phase is Phase.TEXT and self._was_observed(rule, action.pass_):
                continue
            try:
                effects = list(action.run(step.params, moment))
            except (ConditionError, ActionError) as wrong:
                found.kind, found.error = OutcomeKind.ERROR, f"{action.name}: {wrong}"
                self._failed(found)
                continue
            found.actions.append(action.name)
            if not effects:
                continue
            ops = [op for effect in effects if type(effect) is Patch for op in effect.ops]
            if ops:
                found.patch += ops
                event = self._patched(moment.event, ops)
                moment = Moment(self.phase, event, Env(event, facts.seed), rule.name, facts.placeholder)
                if found.mode is Mode.ENFORCE:
                    self.event, self.env = event, moment.env
                    moved = moved or self.table.moved_by(ops)
            for effect in effects:
                self._take(found, effect)
        return moved

    def _was_observed(self, rule: Rule, its: Pass) -> bool:
        """In a stream one match is seen in several windows; it is counted and told once."""
        return its is Pass.OBSERVE and rule.name in self.facts.acted

    def _patched(self, event: Event, ops: Sequence[Op]) -> Event:
        changed = applied(event, ops)
        if any(op.path[:2] == ("tool", "args") for op in ops):
            changed["tool"] = _with_derived(changed["tool"], self.table.derived)
        return changed

    def _take(self, found: _Found, effect: Effect) -> None:
        """One effect: collected where the rule is enforced. Of a shadowed one the verdict is noted, and what it meters."""
        rule = found.rule
        if type(effect) in STRENGTH:
            self._add_verdict(found, effect)  # type: ignore[arg-type]
            return
        if found.mode is not Mode.ENFORCE:
            if isinstance(effect, Take | Budget):
                self.shadow_spends.append(Spend(rule.name, effect))
            return
        match effect:
            case Tag() | Log() | Metric() | Notify() | Record():
                self.observations.append((rule.name, effect))
            case Patch() | SetHeader() | Conceal():
                self.effects.append(effect)
            case ChooseRoute():
                self.routes.append((rule, effect))
            case Wait() | Retry() | FailOver() | Surface():
                self.recoveries.append((rule, effect))
            case SkipLeg():
                self.skips.append((rule, effect))
            case Take() | Budget():
                self.spends.append(Spend(rule.name, effect))
            case Remember() | Forget() | Count() | Label():
                self.changes.append(effect)

    def _add_verdict(self, found: _Found, effect: VerdictEffect) -> None:
        final = self._after_attempts(found.rule, effect)
        if final is None:
            return
        kind = STRENGTH[type(final)]
        found.verdict = max(found.verdict, kind)
        if found.mode is Mode.ENFORCE:
            self.verdicts.append((kind, found.rule, final))

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

    def _failed(self, found: _Found) -> None:
        """What an error in a rule means: refuse, or go on without the rule."""
        if found.rule.denies_on_error:
            message = f"The policy rule {found.rule.name} could not be evaluated, so the request is refused."
            self._add_verdict(found, Block(message, 500, POLICY_ERROR))

    # -- the end --

    def _add_those_that_were_no_candidates(self) -> None:
        seen = {found.rule.name for found in self.found}
        self.found += [
            _Found(rule, rule.mode_for(self.caller), OutcomeKind.NO_MATCH, "", ())
            for rule in self.table.rules
            if rule.name not in seen
        ]

    def _concluded(self) -> Decision:
        if not self.found:
            return Decision(phase=self.phase, event=self.event)
        verdict, by, effect = VerdictKind.ALLOW, "", None
        if self.verdicts:
            # The strongest wins; of equals the highest priority, then the one that stands first.
            verdict, rule, effect = min(self.verdicts, key=lambda each: (-each[0], *_choice_order(each[1])))
            by = rule.name
        route = None
        if self.routes:
            route = min(self.routes, key=lambda each: _choice_order(each[0]))[1]
        recovery: tuple[Recovery, ...] = ()
        if self.recoveries:
            chosen = min((rule for rule, _ in self.recoveries), key=_choice_order)
            recovery = tuple(each for rule, each in self.recoveries if rule is chosen)
        return Decision(
            phase=self.phase,
            verdict=verdict,
            by=by,
            effect=effect,
            outcomes=tuple([found.outcome() for found in self.found]),
            effects=tuple(self.effects),
            route=route,
            recovery=recovery,
            skip=min(self.skips, key=lambda each: _choice_order(each[0]))[1] if self.skips else None,
            spends=tuple(self.spends),
            shadow_spends=tuple(self.shadow_spends),
            fires=tuple(self.fires),
            changes=tuple(self.changes),
            observations=tuple(self.observations),
            event=self.event,
        )


def counter_name(rule: Rule, mode: Mode) -> str:
    """A shadowed rule counts for itself, so that it takes nothing from what it would do if enforced."""
    return rule.name if mode is Mode.ENFORCE else f"{rule.name}#shadow"


def limit_key(limit: Limit, event: Event, env: Env) -> str:
    """What a limit counts apart, as text. Raises ConditionError."""
    value = limit.per(event, env)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _choice_order(rule: Rule) -> tuple[int, str, int]:
    """Of several that would decide, the highest priority comes first, then the one that stands first."""
    return (-rule.priority, rule.policy, rule.position)


def _with_derived(tool: Mapping[str, Any], want: frozenset[str]) -> dict[str, Any]:
    """A tool call whose arguments were written, with the command line and paths that they now carry."""
    want = want.union(field for field in ("paths", "shell") if tool[field])
    name, shells = tool["name"], DEFAULT_TOOLS
    if tool["shell"] is not None and shells.find(name) is None:
        # Known to carry a command from its schema or the configuration: its argument is one of the usual names.
        shells = shells.extended({name: ARGUMENTS})
    made = tool_section(tool["id"], name, tool["args"], tool["text"], tool["offered"], None, shells, want)
    return {**tool, **{field: made[field] for field in want}}

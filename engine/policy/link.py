"""From what a file says to rules that run: conditions compiled, actions with their parameters, limits, exceptions."""

import functools
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final

import msgspec

from engine.actions import ACTIONS, Kind
from engine.actions.params import Expression, LinkError, Patterns, Plan, Text, Value, WrongParams, link, seconds
from engine.actions.rate_limit import RateLimitParams
from engine.actions.registry import DENIES_ON_ERROR
from engine.actions.set import MODEL, MODEL_NAME, WRITABLE, ClampParams, PathParams, SetParams, is_model_name
from engine.actions.state import CountParams, ForgetParams, LabelParams, RememberParams
from engine.diagnostics import Diagnostic, Where
from engine.language import Env
from engine.language.patterns import PatternSet
from engine.model.effects import Scope
from engine.model.phases import Phase

from .commanding import link_commands
from .commands import Command
from .conditions import Tree, compile_tree
from .context import UNLIMITED, Grant
from .match import all_of
from .matching import Matching, Reads, link_match, link_scope
from .names import FileNames, Path
from .reasons import Reasons
from .rule import Exemption, Limit, Rule, Step
from .spec import ExceptionSpec, PolicySpec, RuleSpec, ScopeSpec, SetReference
from .typecheck import check_uses

DEFAULT_PRIORITY: Final = 100

_ALWAYS_READ: Final[Reads] = frozenset({("caller", "id"), ("now", "epoch")})
"""Rollout needs the caller, exceptions the time."""


class Bound(msgspec.Struct, frozen=True):
    """An exception linked for the phase of its rule; `exemption` is None where it is wrong there."""

    exemption: Exemption | None
    reads: Reads
    diagnostics: tuple[Diagnostic, ...]


class Foreign(msgspec.Struct, frozen=True):
    """An exception that `policy` makes to a rule of another file, by its full name.

    What it may look at depends on that rule's phase, so it is bound when the rule is known. With `judge` its conditions
    are type-checked too.
    """

    policy: str
    rule: str
    bind: Callable[[Phase, bool], Bound]
    where: Where


class Linked(msgspec.Struct, frozen=True):
    """The rules of one file, its exceptions to rules of others, its commands, and what is wrong with it."""

    rules: tuple[Rule, ...]
    foreign: tuple[Foreign, ...]
    diagnostics: tuple[Diagnostic, ...]
    commands: tuple[Command, ...] = ()
    ignores: tuple[PatternSet, ...] = ()
    """Text that is no command."""


class FileLinker:
    """Links the rules of one policy file."""

    def __init__(self, spec: PolicySpec, source: str, names: FileNames, grant: Grant = UNLIMITED) -> None:
        self.spec = spec
        self.source = source
        self.names = names
        self.grant = grant
        own, granted = link_scope(spec.scope, ("scope",), names), link_scope(self._granted_scope(), ("scope",), names)
        self.scope = msgspec.structs.replace(own, tests=own.tests + granted.tests, reads=own.reads | granted.reads)
        most = DEFAULT_PRIORITY if grant.max_priority is None else min(DEFAULT_PRIORITY, grant.max_priority)
        self.priority = most if spec.priority is None else spec.priority

    def link(self) -> Linked:
        """All rules of the file with its exceptions; a rule that cannot be linked is left out and said."""
        steps = self.stepwise()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                linked: Linked = done.value
                return linked

    def stepwise(self) -> Generator[None, None, Linked]:
        """The same, pausing after each rule."""
        self._check_grant()
        rules: dict[str, Rule] = {}
        for index, spec in enumerate(self.spec.rules):
            path: Path = ("rules", index)
            self.names.origin = f"{self.spec.policy}/{spec.id}"
            self.names.phase = spec.phase
            if self.names.origin in rules:
                self.names.wrong(402, f"the file has two rules '{spec.id}'", (*path, "id"), "rename one of them")
            rule = self._rule(spec, path, index)
            if rule is not None:
                rules[self.names.origin] = rule
            yield
        foreign = self._exceptions(rules)
        commands, ignores = link_commands(self.spec, self.names)
        return Linked(tuple(rules.values()), tuple(foreign), tuple(self.names.diagnostics), commands, ignores)

    def _granted_scope(self) -> ScopeSpec | None:
        """The source's scope as the configuration says it; the sets of a file must not say what it means."""
        scope = self.grant.scope
        if scope is not None and any(isinstance(getattr(scope, key), SetReference) for key in scope.__struct_fields__):
            message = "the scope that this source is granted names a set, and sets belong to files"
            self.names.wrong(416, message, ("policy",), "write the names into the configuration")
            return None
        return scope

    def _check_grant(self) -> None:
        limit = self.grant.max_priority
        if limit is None:
            return
        places: list[tuple[int, Path]] = [(self.spec.priority, ("priority",))] if self.spec.priority is not None else []
        places += [
            (rule.priority, ("rules", index, "priority"))
            for index, rule in enumerate(self.spec.rules)
            if rule.priority is not None
        ]
        for priority, path in places:
            if priority > limit:
                help = f"the configuration grants this source a priority of at most {limit}"
                self.names.wrong(416, f"priority {priority} is beyond the source's grant", path, help)

    def _rule(self, spec: RuleSpec, path: Path, position: int) -> Rule | None:
        before = sum(each.stops_loading for each in self.names.diagnostics)
        steps = [
            step
            for number, each in enumerate(spec.actions)
            if (step := self._step(spec, each, (*path, "actions", number)))
        ]
        when = self._tree(spec.when, (*path, "when"))
        unless = self._tree(spec.unless, (*path, "unless"))
        matching = link_match(spec.match, spec.phase, (*path, "match"), self.names)
        limit = self._limit(spec, steps, path)
        self._check_shape(spec, steps, matching, tree_reads(when, unless), path)
        if sum(each.stops_loading for each in self.names.diagnostics) > before or not steps:
            return None
        kinds = {step.action.kind for step in steps}
        denies = spec.on_error == "deny" if spec.on_error else bool(kinds & DENIES_ON_ERROR)
        rollout = spec.rollout if spec.rollout is not None else self.spec.rollout
        reads = _ALWAYS_READ | matching.reads | self.scope.reads
        reads |= tree_reads(when) | tree_reads(unless)
        reads = reads.union(*(step_reads(step, spec.phase) for step in steps))
        if limit is not None:
            reads |= limit.per.condition.reads
        return Rule(
            name=self.names.origin,
            policy=self.spec.policy,
            id=spec.id,
            phase=spec.phase,
            description=spec.description,
            severity=spec.severity,
            mode=spec.mode or self.spec.mode,
            priority=self.priority if spec.priority is None else spec.priority,
            position=position,
            where=self.names.locate(path),
            source=self.source,
            index=matching.index,
            matches=all_of([*self.scope.tests, *matching.unindexed]),
            blind=all_of([*self.scope.tests, *matching.blind]),
            exemptions=(),
            when=when,
            unless=unless,
            reasons=Reasons(when, unless),
            limit=limit,
            rollout=rollout,
            denies_on_error=denies,
            steps=tuple(steps),
            reads=reads,
            admission=spec.phase is Phase.REQUEST and Kind.METER in kinds,
            delay=spec.delay,
            window=spec.window or matching.width,
            exceptable_by=tuple(spec.exceptable_by),
            patterns=(*matching.patterns, *pattern_sets(steps)),
        )

    def _tree(self, written: Any, path: Path) -> Tree | None:
        if written is None:
            return None
        return compile_tree(written, path, self.names.expression, self.names.locate)

    def _step(self, rule: RuleSpec, written: Mapping[str, Any], path: Path) -> Step | None:
        if len(written) != 1:
            self.names.wrong(137, "a step names one action", path, "begin a new step with '- ' for the second")
            return None
        name, value = next(iter(written.items()))
        at: Path = (*path, name)
        action = ACTIONS.get(name)
        if action is None:
            self.names.unknown(411, "action", name, ACTIONS, at)
            return None
        if rule.phase not in action.phases:
            fitting = ", ".join(phase.value for phase in Phase if phase in action.phases)
            self.names.wrong(409, f"'{name}' is no action of phase {rule.phase}", at, f"its phases are {fitting}")
            return None
        if not self.grant.allows(name):
            help = "the configuration may grant it: policies: [{path: ..., actions: [...]}]"
            self.names.wrong(416, f"'{name}' is not granted to this source", at, help)
            return None
        try:
            params = link(action.params, value, at, self.names)
        except WrongParams as wrongs:
            for wrong in wrongs.errors:
                self.names.wrong(411, f"{name}: {wrong}", wrong.path or at, wrong.help)
            return None
        step = Step(action, params, self.names.locate(at))
        self._check_step(step, rule, at)
        return step

    def _check_step(self, step: Step, rule: RuleSpec, path: Path) -> None:
        match step.params:
            case SetParams(path=field, value=value) if field.steps == MODEL and not (
                value.templates or is_model_name(value({}, Env({})))
            ):
                self.names.wrong(411, f"{step.action.name}: {MODEL_NAME}", (*path, "value"))
            case ClampParams(path=field) if field.steps == MODEL:
                self.names.wrong(418, f"'{field}' is no number", (*path, "path"), "write another model with `set`")
            case PathParams(path=field) if field.steps == MODEL:
                help = "every request names a model: write another one with `set`"
                self.names.wrong(418, f"'{field}' cannot be removed", (*path, "path"), help)
            case SetParams(path=field) | PathParams(path=field) | ClampParams(path=field):
                writable = WRITABLE[rule.phase]
                if not any(re.fullmatch(each.replace(".", r"\.").replace("*", r".+"), str(field)) for each in writable):
                    help = f"in phase {rule.phase} it may write {' and '.join(writable)}"
                    self.names.wrong(418, f"'{field}' cannot be written here", (*path, "path"), help)
            case (
                RememberParams(in_=Scope.GLOBAL)
                | ForgetParams(in_=Scope.GLOBAL)
                | CountParams(in_=Scope.GLOBAL)
                | LabelParams(in_=Scope.GLOBAL)
            ) if not self.grant.allows_global_state:
                help = "the configuration may grant it: policies: [{path: ..., actions: [..., global]}]"
                self.names.wrong(416, "global state is not granted to this source", (*path, "in"), help)
            case RateLimitParams(of="tokens" | "concurrency") if rule.phase is Phase.REQUEST:
                help = "in `request` only requests are counted; tokens and concurrency belong to an attempt"
                self.names.wrong(419, f"a limit of {step.params.of} belongs in phase attempt", (*path, "of"), help)
            case RateLimitParams(of="requests") if rule.phase is Phase.ATTEMPT:
                help = "an attempt takes `of: tokens` or `of: concurrency`; requests are counted in phase request"
                self.names.wrong(419, "a limit of requests belongs in phase request", path, help)
            case _:
                pass

    def _check_shape(self, rule: RuleSpec, steps: Sequence[Step], matching: Matching, reads: Reads, path: Path) -> None:
        kinds = {step.action.kind for step in steps}
        if rule.delay is not None and rule.phase is not Phase.RESPONSE:
            self.names.wrong(419, "'delay' belongs to phase response", (*path, "delay"))
        if rule.window is not None and rule.phase is not Phase.TEXT:
            self.names.wrong(419, "'window' belongs to phase text", (*path, "window"))
        if rule.phase is Phase.RESPONSE and kinds & {Kind.VERDICT, Kind.TRANSFORM} and rule.delay != "all":
            help = "say `delay: all`: the whole answer waits until it is judged"
            what = "verdict" if Kind.VERDICT in kinds else "change"
            self.names.wrong(
                422, f"a {what} in phase response comes too late for an answer that was sent", (*path, "id"), help
            )
        if rule.phase is Phase.REQUEST and Kind.METER in kinds and kinds & {Kind.PROTECT, Kind.TRANSFORM, Kind.VERDICT}:
            help = "a rate limit is taken before everything else, on the request as it came: write a rule of its own"
            self.names.wrong(
                421, "a rate limit cannot share a rule with transforms and verdicts", (*path, "actions"), help
            )
        if rule.phase is Phase.DONE and rule.on_error == "deny":
            self.names.wrong(
                419, "nothing can be refused in phase done", (*path, "on_error"), "leave it out: errors are skipped"
            )
        if rule.phase is Phase.TEXT:
            self._check_widths(rule, steps, matching, reads, path)

    def _check_widths(
        self, rule: RuleSpec, steps: Sequence[Step], matching: Matching, reads: Reads, path: Path
    ) -> None:
        """A stream is held back only as far as a match can reach, so that must be known."""
        for each in (*matching.patterns, *pattern_sets(steps)):
            for pattern in each.unbounded:
                help = "say how wide a match may be: {re2: '...', max_width: 200}"
                message = (
                    f"pattern '{pattern.name}' can match without bound, and rule '{rule.id}' looks for it in a stream, "
                    "which cannot wait"
                )
                self.names.wrong(502, message, self.names.pattern_places.get(pattern, (*path, "actions")), help)
        looks = any(path in ((), ("text",)) or path[:2] == ("text", "window") for path in reads)
        if rule.window is None and looks:
            help = "add `window: 200`: so many code points are held back, and stand in `text.window`"
            self.names.wrong(503, "a condition on flowing text needs to know how far it looks", (*path, "id"), help)

    def _limit(self, rule: RuleSpec, steps: Sequence[Step], path: Path) -> Limit | None:
        spec = rule.limit
        if spec is None:
            return None
        at: Path = (*path, "limit")
        kinds = {step.action.kind for step in steps}
        if kinds & {Kind.METER, Kind.PROTECT, Kind.TRANSFORM}:
            help = "a meter has a limit of its own; a transform must give the same bytes on every turn"
            self.names.wrong(415, "a limit cannot stand on a meter or a transform of content", at, help)
        if Kind.VERDICT not in kinds and spec.beyond is not None:
            help = "leave it out: beyond its limit the rule does nothing"
            self.names.wrong(415, "'beyond' belongs to a limit on a verdict", (*at, "beyond"), help)
        if Kind.VERDICT in kinds and spec.beyond is None:
            help = "say `beyond: allow` or `beyond: block`"
            self.names.wrong(415, "a limit on a verdict must say what happens beyond it", at, help)
        if Kind.VERDICT in kinds and spec.beyond == "allow" and rule.severity in ("high", "critical"):
            help = "a guard of this severity must not wear out: `beyond: block`"
            self.names.wrong(415, f"`beyond: allow` is refused at severity {rule.severity}", (*at, "beyond"), help)
        try:
            every = seconds(spec.every)
        except LinkError as wrong:
            self.names.wrong(415, str(wrong), (*at, "every"), wrong.help)
            return None
        return Limit(spec.max, every, Expression(self.names.expression(spec.per, (*at, "per"))), spec.beyond == "block")

    def _exceptions(self, rules: dict[str, Rule]) -> list[Foreign]:
        foreign: list[Foreign] = []
        for index, spec in enumerate(self.spec.exceptions):
            path: Path = ("exceptions", index)
            name = spec.rule if "/" in spec.rule else f"{self.spec.policy}/{spec.rule}"
            rule = rules.get(name)
            own = name.startswith(f"{self.spec.policy}/")
            if rule is None and own:
                if any(each.id == name.partition("/")[2] for each in self.spec.rules):
                    continue
                ids = [each.id for each in self.spec.rules]
                self.names.unknown(403, "rule", name.partition("/")[2], ids, (*path, "rule"))
                continue
            until = self._until(spec, path)
            if until is None:
                continue
            self.names.origin = f"{self.spec.policy}/exceptions/{index}"
            if rule is not None:
                exemption, reads = self._exemption(spec, rule.phase, until, path)
                exemptions = (*rule.exemptions, exemption)
                rules[name] = msgspec.structs.replace(rule, exemptions=exemptions, reads=rule.reads | reads)
            else:
                bind = functools.partial(self._bound, spec, until, path)
                foreign.append(Foreign(self.spec.policy, name, bind, self.names.locate((*path, "rule"))))
        return foreign

    def _until(self, spec: ExceptionSpec, path: Path) -> float | None:
        """The end of its last day, in seconds since 1970."""
        try:
            last = date.fromisoformat(spec.expires)
            return datetime.combine(last, time(), UTC).timestamp() + 86_400
        except ValueError:
            self.names.wrong(405, f"'{spec.expires}' is not a day", (*path, "expires"), "write it as 2027-01-31")
            return None

    def _exemption(self, spec: ExceptionSpec, phase: Phase, until: float, path: Path) -> tuple[Exemption, Reads]:
        """An exception reaches no further than the scope of its file and of its source."""
        self.names.phase = phase
        matching = link_match(spec.match, phase, (*path, "match"), self.names)
        when = self._tree(spec.when, (*path, "when"))
        reads = self.scope.reads | matching.reads | tree_reads(when)
        return Exemption(all_of([*self.scope.tests, *matching.tests]), when, until, spec.reason), reads

    def _bound(self, spec: ExceptionSpec, until: float, path: Path, phase: Phase, judge: bool) -> Bound:
        names = self.names
        said, used = len(names.diagnostics), len(names.uses)
        names.origin = f"{self.spec.policy}/{'/'.join(map(str, path))}"
        exemption, reads = self._exemption(spec, phase, until, path)
        found, uses = names.diagnostics[said:], names.uses[used:]
        if judge and not found:
            found = list(check_uses(uses, names))
        del names.diagnostics[said:], names.uses[used:]
        wrong = any(each.stops_loading for each in found)
        return Bound(None if wrong else exemption, reads, tuple(found))


def pattern_sets(steps: Iterable[Step]) -> list[PatternSet]:
    """The pattern sets that the steps look for."""
    return [
        value.set
        for step in steps
        for name in step.params.__struct_fields__
        if isinstance(value := getattr(step.params, name), Patterns)
    ]


def step_reads(step: Step, phase: Phase) -> Reads:
    """The fields of the event that one step reads: by itself, and in its templates and expressions."""
    reads: set[tuple[str, ...]] = set(step.action.reads.get(phase, frozenset()))
    for name in step.params.__struct_fields__:
        match getattr(step.params, name):
            case Text() | Value() as linked:
                for template in linked.templates:
                    reads |= template.reads
            case Plan(text=text):
                for template in text.templates:
                    reads |= template.reads
            case Expression(condition=condition):
                reads |= condition.reads
            case _:
                pass
    match step.params:
        case SetParams(path=field) | PathParams(path=field) | ClampParams(path=field):
            reads.add(field.steps[:2])
        case _:
            pass
    return frozenset(reads)


def tree_reads(*trees: Tree | None) -> Reads:
    """The fields that conditions read."""
    return frozenset(
        path for tree in trees if tree is not None for leaf in tree.leaves() for path in leaf.condition.reads
    )

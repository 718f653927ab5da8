"""What a rule set reads of an exchange, worked out once when the set goes live, so that nothing else is done for it."""

import copy
import functools
from collections.abc import Mapping
from typing import Final

from engine.actions import Kind, Pass
from engine.actions.params import Patterns
from engine.actions.redact import RedactParams
from engine.language.globs import any_glob_matcher
from engine.language.patterns import Pattern, PatternSet
from engine.model.exchange import Exchange
from engine.model.phases import Phase
from engine.passage.view import Fields, wanted_fields
from engine.policy.rule import Rule
from engine.policy.ruleset import RuleSet, Stage

_GOVERNING: Final = frozenset({Kind.VERDICT, Kind.PROTECT, Kind.TRANSFORM})
EVERYTHING: Final[frozenset[tuple[str, ...]]] = frozenset({()})
STATE: Final = frozenset({("session",), ("session", "vars"), ("session", "labels"), ()})


class Reading:
    """The plan of one rule set: which events are built, how much of them, and how streams are held."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.wanted: dict[tuple[Phase, Stage], Fields] = {
            (phase, stage): wanted_fields(phase, rules.reads(phase, stage))
            for phase in Phase
            for stage in Stage
            if rules.table(phase, stage) is not None
        }
        self.phases = _main(self.wanted)
        self.is_recording = False
        all_reads = {path for key in self.wanted for path in rules.reads(*key)}
        steps = [step for rule in rules.rules for step in rule.steps]
        self.reads_state = any(path[:2] in STATE for path in all_reads)
        self.records = any(step.action.name == "record" for step in steps)
        self.restores = any(isinstance(step.params, RedactParams) and step.params.restore for step in steps)
        self.needs_session = (
            self.restores
            or self.records
            or any(path[:1] in ((), ("session",)) for path in all_reads)
            or any(step.action.kind is Kind.STATE for step in steps)
            or any(rule.limit is not None for rule in rules.rules)
        )
        self.reads_headers = self.needs_session or any(
            path in ((), ("request",)) or path[:2] == ("request", "headers") for path in all_reads
        )
        self.admits = (Phase.REQUEST, Stage.ADMISSION) in self.wanted
        self.governs_requests = bool(
            {(Phase.REQUEST, Stage.MAIN), (Phase.TOOL_RESULT, Stage.MAIN)} & self.wanted.keys()
        )
        self.commands = bool(rules.commands)
        self.limits = any(rule.limit is not None for rule in rules.rules)
        self.steers = any(step.action.name == "steer" for step in steps)
        self.text = TextPlan([rule for rule in rules.rules if rule.phase is Phase.TEXT])
        self.calls = CallPlan([rule for rule in rules.rules if rule.phase is Phase.TOOL_CALL])
        responses = [rule for rule in rules.rules if rule.phase is Phase.RESPONSE]
        self.delays_all = any(rule.live and rule.delay == "all" for rule in responses)
        self.delays_end = any(rule.live and rule.delay == "end" for rule in responses)
        finished = rules.reads(Phase.RESPONSE) | rules.reads(Phase.DONE)
        self.reads_answer = bool(responses) or any(path[:1] in ((), ("response",)) for path in finished)
        self.reads_usage = any(path[:2] in ((), ("response",), ("response", "usage")) for path in finished)
        self.meters_tokens = any(
            rule.phase is Phase.ATTEMPT and step.action.kind is Kind.METER
            for rule in rules.rules
            for step in rule.steps
        )

    @functools.cached_property
    def recording(self) -> "Reading":
        """The plan for an exchange that is recorded: every event is built, whole, and the answer is read to its end."""
        plan = copy.copy(self)
        plan.wanted = {(phase, Stage.MAIN): wanted_fields(phase, EVERYTHING) for phase in Phase}
        if (Phase.REQUEST, Stage.ADMISSION) in self.wanted:
            plan.wanted[Phase.REQUEST, Stage.ADMISSION] = plan.wanted[Phase.REQUEST, Stage.MAIN]
        plan.phases = _main(plan.wanted)
        plan.is_recording = True
        plan.records = plan.reads_answer = plan.reads_headers = plan.needs_session = plan.reads_state = True
        return plan

    @functools.cached_property
    def masks(self) -> PatternSet | None:
        """What the rules redact anywhere: it is masked in recordings too."""
        found = dict.fromkeys(
            pattern
            for rule in self.rules.rules
            for step in rule.steps
            if isinstance(step.params, RedactParams)
            for pattern in step.params.patterns.set.patterns
        )
        return PatternSet("masks", found) if found else None

    @property
    def judges_attempts(self) -> bool:
        """Whether events are built of attempts, one at a time."""
        return Phase.ATTEMPT in self.phases or Phase.ERROR in self.phases

    @property
    def reads_calls_alone(self) -> bool:
        """Whether an answer matters for nothing but the tool calls in it: without one it goes on as the bytes that came."""
        return not (self.text.rules or self.reads_answer or self.restores or self.meters_tokens or self.needs_session)

    def reads_stream(self, exchange: Exchange, inferred: bool = False) -> bool:
        """Whether an answer must be looked into; one that no rule reads goes on as the bytes that came.

        An inferred session is known again by the answers that it was given, so that these are read where rules need it.
        """
        return (
            bool(self.text.rules)
            or (bool(self.calls.rules) and (bool(exchange.tools) or self.calls.catches_unoffered))
            or self.reads_answer
            or self.restores
            or self.meters_tokens
            or (inferred and self.needs_session)
        )


def _main(wanted: Mapping[tuple[Phase, Stage], Fields]) -> frozenset[Phase]:
    """The phases that have rules at all, but for those of admission."""
    return frozenset(phase for phase, stage in wanted if stage is Stage.MAIN)


class TextPlan:
    """How flowing text is held back: for the patterns and windows of the enforced rules, and no further."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = tuple(rules)
        live = [rule for rule in rules if rule.live]
        self.held_for = _united(live)
        self.window = max((rule.window or 0 for rule in live), default=0)
        self.only_patterns = all(
            rule.patterns and rule.window is None and rule.pass_ is Pass.TRANSFORM and _reads_patterns_alone(rule)
            for rule in rules
        )
        """Where no pattern hits, no rule can match: then there is nothing to decide."""
        self.looked_for = _united(rules)
        self._may_be_quiet = self.only_patterns and not self.window and self.looked_for is self.held_for

    def passes(self, before: str, text: str) -> bool:
        """Whether text of which nothing in front is held concerns no rule, now or with what follows: it may go on."""
        return not self.rules or (self._may_be_quiet and self.held_for.is_quiet(before, text))


def _united(rules: list[Rule]) -> PatternSet:
    """All that some rules look for as one set, each pattern once: one search finds out that there is nothing."""
    found = dict.fromkeys(pattern for rule in rules for each in rule.patterns for pattern in each.patterns)
    return _set_of(tuple(found))


@functools.lru_cache(maxsize=4)
def _set_of(patterns: tuple[Pattern, ...]) -> PatternSet:
    """Kept from one rule set to the next: a reload that touches none of the patterns compiles none of them again."""
    found = PatternSet("text", patterns)
    found.prepare_for_streams()
    return found


def _reads_patterns_alone(rule: Rule) -> bool:
    """Every step of the rule does nothing unless one of its patterns is found."""
    return all(any(isinstance(getattr(s.params, f), Patterns) for f in s.params.__struct_fields__) for s in rule.steps)


class CallPlan:
    """Which tool calls must be held until they are decided, by the tool's name."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = tuple(rules)
        self._governing = tuple(
            any_glob_matcher(rule.index.names) if rule.index is not None and rule.index.key == "tool" else None
            for rule in rules
            if rule.live and (rule.denies_on_error or any(step.action.kind in _GOVERNING for step in rule.steps))
        )
        self.catches_unoffered = bool(self._governing)
        self._known: dict[str, bool] = {}

    def governs(self, name: str) -> bool:
        """Whether an enforced rule that can change or refuse a call could match a tool of this name."""
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= 4096:
                self._known.clear()
            known = self._known[name] = any(fits is None or fits(name) for fits in self._governing)
        return known

    def holds_all(self, exchange: Exchange) -> bool:
        """Whether any tool that the request offers is governed: then all calls of a choice wait for its last one."""
        return any(self.governs(tool.name) for tool in exchange.tools)


@functools.lru_cache(maxsize=8)
def reading_of(rules: RuleSet) -> Reading:
    """The plan of a rule set; made once for each."""
    return Reading(rules)

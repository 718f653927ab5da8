"""The compiled set, and `decide`: the pure function that says what an event means under it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec

from engine.language import ConditionError, Env
from engine.model.decision import NO_FACTS, Decision, Facts, Mode, Needs
from engine.model.phases import Phase

from .commands import NO_COMMANDS, CommandTable
from .evaluation import POLICY_ERROR, Evaluation, Event, Timer, counter_name, limit_key
from .rule import Rule
from .table import Table


class Stage(StrEnum):
    """Phase `request` is met twice: its rate limits first, on the event as it came; then everything else."""

    ADMISSION = "admission"
    MAIN = "main"

    __hash__ = str.__hash__  # looked up for every event; an enumeration's own is a call of Python code


class LimitRead(msgspec.Struct, frozen=True):
    """A counter that must be known before an event is decided: how often the rule acted for `key` within `every`."""

    rule: str
    key: str
    every: float
    max: int


def run_order(rule: Rule) -> tuple[int, str, int]:
    """Lowest priority first; at equal priority by policy name, then by position, so that the earlier one runs first."""
    return (rule.priority, rule.policy, rule.position)


class RuleSet:
    """A frozen, indexed set of rules. `revision` is the digest of the sources that it was compiled from."""

    def __init__(
        self,
        rules: Iterable[Rule],
        revision: str = "",
        policies: Sequence[str] = (),
        commands: CommandTable = NO_COMMANDS,
    ) -> None:
        ordered = sorted((rule for rule in rules if rule.mode is not Mode.OFF), key=run_order)
        self.rules: tuple[Rule, ...] = tuple(ordered)
        self.by_name: Mapping[str, Rule] = {rule.name: rule for rule in ordered}
        self.revision = revision
        self.policies = tuple(policies)
        self.commands = commands
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
        caller = event["caller"]["id"]
        for rule in table.limited_candidates(event):
            assert rule.limit is not None
            try:
                key = limit_key(rule.limit, event, env)
            except ConditionError:
                continue  # the rule's outcome will be an error, whatever was counted
            yield LimitRead(counter_name(rule, rule.mode_for(caller)), key, rule.limit.every, rule.limit.max)

    def decide(
        self,
        phase: Phase,
        event: Event,
        facts: Facts = NO_FACTS,
        *,
        stage: Stage = Stage.MAIN,
        trace: bool = False,
        timer: Timer | None = None,
    ) -> Decision | Needs:
        """What the rules say of one event. Pure: the same arguments give the same decision, in traffic, test and replay.

        With `trace` the outcomes hold every rule of the phase, those that were no candidates included. `timer`
        (nanoseconds, from any start) is read for the outcomes' latency and for nothing else; without it that is 0.
        """
        table = self._tables.get((phase, stage))
        if table is None:
            return Decision(phase=phase, event=event)
        return Evaluation(table, phase, event, facts, trace, timer).run()


__all__ = ["POLICY_ERROR", "Event", "LimitRead", "RuleSet", "Stage", "Table", "counter_name", "run_order"]

"""The rules of one phase, ready to be evaluated: in the order in which they run, indexed, with what they read."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from engine.actions import Pass
from engine.language.scope import Evaluate
from engine.model.effects import Op, Path
from engine.model.phases import Phase

from .conditions import Branch, Constant
from .index import Index
from .rule import Rule, Step, Test

_WRITTEN_FOR: Final[dict[Path, Path]] = {("request", "tool_names"): ("request", "tools")}
"""Fields that the index looks at, and that follow from another one, which is what rules write."""

_DERIVED: Final = ("paths", "shell")

Screen = tuple[Test | None, Evaluate | None]


class Table:
    """The rules of one phase and stage. `rules[i]` runs before `rules[i + 1]`: lowest priority first."""

    __slots__ = (
        *("_movers", "_moving", "derived", "first", "index", "later", "limited", "reads", "rules", "screens"),
        *("transforming", "transforms"),
    )

    def __init__(self, phase: Phase, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.index = Index(phase, rules)
        self.reads = frozenset(path for rule in rules for path in rule.reads) | {
            tuple(map(str, path)) for path in self.index.reads
        }
        self.transforming = tuple(rule.pass_ is Pass.TRANSFORM for rule in rules)
        self.transforms = any(self.transforming)
        self.first = tuple(_steps(rule, transforms=True) for rule in rules)
        """Of each rule the steps of the transform pass."""
        self.later = tuple(_steps(rule, transforms=False) for rule in rules)
        """Of each rule the other steps, in their order."""
        self.screens = tuple(_screen(rule) for rule in rules)
        self.limited = frozenset(order for order, rule in enumerate(rules) if rule.limit is not None)
        fields = {path[:2] for path in self.reads} if phase is Phase.TOOL_CALL else set()
        self.derived = frozenset(each for each in _DERIVED if fields & {(), ("tool",), ("tool", each)})
        """The fields of `tool` that follow from its arguments and that somebody reads."""
        self._movers = frozenset(_WRITTEN_FOR.get(path, path) for path in self.index.reads)
        self._moving = self.transforms and any(path[0] in ("request", "tool") for path in self._movers)

    def moved_by(self, ops: Iterable[Op]) -> bool:
        """Whether operations write what the index looks at, so that it must be asked again."""
        return any(op.path[:2] in self._movers for op in ops)

    def limited_candidates(self, event: Any) -> Iterator[Rule]:
        """The rules with a limit that an event can concern; all of them where a transform may make it concern others."""
        if not self.limited:
            return
        orders = self.limited if self._moving else self.limited.intersection(self.index.probe(event))
        for order in sorted(orders):
            yield self.rules[order]


def _screen(rule: Rule) -> Screen | None:
    """What turns most candidates away: scope and match, then the bare closure of `when`. None where an exception may
    speak before `when` does, and where that is no single condition."""
    if rule.exemptions or isinstance(rule.when, Branch | Constant):
        return None
    return rule.matches, rule.when.condition.evaluate if rule.when is not None else None


def _steps(rule: Rule, *, transforms: bool) -> tuple[Step, ...]:
    return tuple(step for step in rule.steps if (step.action.pass_ is Pass.TRANSFORM) is transforms)

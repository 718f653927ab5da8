"""One compiled rule: what it waits for, what it does, and how far it may go; nothing of the file's names is left in it."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from engine.actions import Action, Pass
from engine.actions.params import Expression, Params
from engine.diagnostics import Where
from engine.language.patterns import PatternSet
from engine.model.decision import Mode
from engine.model.phases import Phase

from .conditions import Tree
from .reasons import Reasons

Event = Mapping[str, Any]
Test = Callable[[Event], bool]

PASS_ORDER: Final[Mapping[Pass, int]] = {Pass.TRANSFORM: 0, Pass.DECIDE: 1, Pass.OBSERVE: 2}


class Step(msgspec.Struct, frozen=True):
    """One action of a rule with its linked parameters."""

    action: Action
    params: Params
    where: Where


class Limit(msgspec.Struct, frozen=True):
    """The rule acts at most `max` times in `every` seconds for one value of `per`."""

    max: int
    every: float
    per: Expression
    beyond_blocks: bool = False


class Exemption(msgspec.Struct, frozen=True):
    """An exception: for whom the rule does not hold, until a moment (seconds since 1970)."""

    matches: Test | None
    when: Tree | None
    until: float
    reason: str


class IndexKey(msgspec.Struct, frozen=True):
    """Under which `match` key the rule is found, and with which names."""

    key: str
    names: tuple[str, ...]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled rule. `order` is its place in the set: rules run by priority, then by policy name and position."""

    name: str
    policy: str
    id: str
    phase: Phase
    description: str
    severity: str
    mode: Mode
    priority: int
    position: int
    where: Where
    source: str
    index: IndexKey | None
    matches: Test | None
    """Scope and match, without the key of `index`: a candidate of the index has passed that."""
    blind: Test | None
    """Scope and match, all of it but labels: whether the rule could concern an event whose labels cannot be read."""
    exemptions: tuple[Exemption, ...]
    when: Tree | None
    unless: Tree | None
    reasons: Reasons
    limit: Limit | None
    rollout: float | None
    denies_on_error: bool
    steps: tuple[Step, ...]
    reads: frozenset[tuple[str, ...]]
    admission: bool
    delay: str | None
    window: int | None
    exceptable_by: tuple[str, ...] = ()
    patterns: tuple[PatternSet, ...] = ()
    """What the rule looks for in the phase's text: in a stream it decides how much is held back."""

    @property
    def pass_(self) -> Pass:
        """The pass of its earliest action, in which it is evaluated."""
        return min((step.action.pass_ for step in self.steps), key=PASS_ORDER.__getitem__)

    @property
    def live(self) -> bool:
        """Whether it can be enforced for anybody."""
        return self.mode is Mode.ENFORCE and self.rollout != 0

    def mode_for(self, caller: str) -> Mode:
        """Enforced or shadowed: rollout takes a stable share of callers."""
        if self.rollout is None or self.mode is not Mode.ENFORCE:
            return self.mode
        share = zlib.crc32(f"{caller}\0{self.name}".encode()) % 10_000
        return Mode.ENFORCE if share < self.rollout * 100 else Mode.SHADOW

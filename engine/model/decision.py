"""What evaluation says, as data: one outcome for each rule, one verdict, and everything that is to be done."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from .effects import (
    ChooseRoute,
    Conceal,
    Meter,
    ObserveEffect,
    Op,
    Patch,
    Recovery,
    SetHeader,
    SkipLeg,
    StateEffect,
    VerdictEffect,
    VerdictKind,
)
from .phases import Phase


class OutcomeKind(StrEnum):
    """How the evaluation of one rule ended; the first of scope, match, exceptions, when, unless, limit to say no decides."""

    NO_MATCH = "no_match"
    EXCEPTED = "excepted"
    LIMITED = "limited"
    MATCHED = "matched"
    ERROR = "error"


class Mode(StrEnum):
    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


class Because(msgspec.Struct, frozen=True):
    """One leaf of a condition and the value that it had. `span` is `file:line:column`."""

    expr: str
    value: Any
    span: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule said of one event."""

    rule: str
    outcome: OutcomeKind
    mode: Mode = Mode.ENFORCE
    because: tuple[Because, ...] = ()
    actions: tuple[str, ...] = ()
    patch: tuple[Op, ...] = ()
    verdict: VerdictKind = VerdictKind.ALLOW
    error: str = ""
    latency_us: float = 0.0


class Spend(msgspec.Struct, frozen=True):
    """A meter that the commit must take from, and the rule whose meter it is.

    In the meter's unit (requests, tokens, nano-dollars): `held` is what the commit took or set aside, None as long as
    there was none; `used` is what an attempt was settled on in the end.
    """

    rule: str
    take: Meter
    held: int | None = None
    used: int | None = None


class Fire(msgspec.Struct, frozen=True):
    """A rule with a `limit` acted: counted in the commit, once an exchange."""

    rule: str
    key: str
    every: float
    max: int


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one event. `effects` are in the order in which they are to be folded into the exchange."""

    phase: Phase
    verdict: VerdictKind = VerdictKind.ALLOW
    by: str = ""
    effect: VerdictEffect | None = None
    outcomes: tuple[Outcome, ...] = ()
    effects: tuple[Patch | SetHeader | Conceal, ...] = ()
    route: ChooseRoute | None = None
    recovery: tuple[Recovery, ...] = ()
    """What becomes of a failed attempt: the steps of one rule, of which the first that is possible is taken."""
    skip: SkipLeg | None = None
    spends: tuple[Spend, ...] = ()
    shadow_spends: tuple[Spend, ...] = ()
    """What meters in shadow would take; each has a counter of its own, and refuses nobody."""
    fires: tuple[Fire, ...] = ()
    changes: tuple[StateEffect, ...] = ()
    observations: tuple[tuple[str, ObserveEffect], ...] = ()
    event: Mapping[str, Any] | None = None
    """The event after the transform pass."""

    @property
    def refused(self) -> bool:
        return self.verdict is not VerdictKind.ALLOW

    @property
    def acted(self) -> frozenset[str]:
        """The rules that matched; for the rest of the exchange they stand in `facts.acted`."""
        return frozenset(each.rule for each in self.outcomes if each.outcome is OutcomeKind.MATCHED)


class Needs(msgspec.Struct, frozen=True):
    """Questions that only I/O can answer; the driver asks and calls `decide` again with the answers in `facts`."""

    questions: tuple[Any, ...]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was read from the world before the event was evaluated; part of the decision record.

    `fired` is how often a limited rule has acted within its window, by rule and key. `acted` are the rules that matched
    earlier in this exchange: a limit counts them once, and in a stream they are observed once. `steered` is how often
    each rule has already steered in this exchange; `may_reask` is false where the model cannot be asked again (the
    exchange's budget of re-asks is spent, `n > 1`).
    """

    seed: str = ""
    fired: Mapping[tuple[str, str], int] = msgspec.field(default_factory=dict)
    steered: Mapping[str, int] = msgspec.field(default_factory=dict)
    acted: frozenset[str] = frozenset()
    may_reask: bool = True
    answers: Mapping[str, Any] = msgspec.field(default_factory=dict)
    placeholder: Callable[[str, str], str] | None = None
    """Names a redacted value by a stand-in, (pattern, value) -> placeholder; its key is in no record."""


NO_FACTS: Final = Facts()

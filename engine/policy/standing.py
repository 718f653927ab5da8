"""State between the events of a test: variables, labels, limits and counters, on a clock that the test moves. Pure."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from engine.model.decision import Decision, Facts
from engine.model.effects import Block, Count, Forget, Label, Remember, Scope, StateEffect, Take, VerdictKind
from engine.model.phases import Phase

from .ruleset import Event, RuleSet, Stage

START: Final = 1_767_225_600.0
"""2026-01-01, 00:00 UTC: when a test with several steps begins, unless its first event says otherwise."""

_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Standing:
    """What one event leaves for the next. A window counts what was taken within it, to the second.

    Counted are limits of rules and rate limits of requests; what a model uses (tokens, money) is known of no test.
    """

    def __init__(self) -> None:
        self.now = START
        self._values: dict[tuple[str, str, str], tuple[Any, float]] = {}
        self._taken: dict[tuple[str, str], list[float]] = {}

    def met(self, event: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """The event at this moment, with what is remembered; what the test itself says of time and session stays."""
        written = given.get("session", {})
        if "epoch" in given.get("now", {}):
            self.now = event["now"]["epoch"]
        if "now" not in given:
            event["now"] = _moment(self.now)
        session = event["session"]
        held = {space: dict(self._held(space, event)) for space in ("vars", "labels")}
        session["vars"] = {**held["vars"], **session["vars"]}
        if "labels" not in written:
            session["labels"] = sorted(held["labels"])
        return event

    def facts(self, rules: RuleSet, event: Event, seed: str) -> Facts:
        """How often limited rules have acted."""
        phase = Phase(event["phase"])
        fired = {
            (read.rule, read.key): self._count(f"limit {read.rule}", read.key, read.every)
            for stage in Stage
            for read in rules.limits(phase, event, stage)
        }
        return Facts(seed=seed, fired=fired)

    def settled(self, decision: Decision, event: Event) -> Decision:
        """The decision after its commit: refused where a rate limit has no room; else what it writes is kept."""
        for spend in decision.spends:
            take = spend.take
            if not isinstance(take, Take) or take.of != "requests":
                continue
            if self._count(f"rate {spend.rule}", take.key, take.window) >= (take.burst or take.limit):
                message = f"The rate limit of {take.limit} {take.of} in {take.window:g} s is reached ({spend.rule})."
                return msgspec.structs.replace(
                    decision, verdict=VerdictKind.BLOCK, by=spend.rule, effect=Block(message, 429, "rate_limited"),
                    effects=(), spends=(), fires=(), changes=(), observations=(),
                )  # fmt: skip
        for spend in decision.spends:
            if isinstance(spend.take, Take):
                self._taken.setdefault((f"rate {spend.rule}", spend.take.key), []).append(self.now)
        for fire in decision.fires:
            self._taken.setdefault((f"limit {fire.rule}", fire.key), []).append(self.now)
        for change in decision.changes:
            self._write(change, event)
        return decision

    def _count(self, name: str, key: str, window: float) -> int:
        return sum(self.now - window < at <= self.now for at in self._taken.get((name, key), ()))

    def _write(self, change: StateEffect, event: Event) -> None:
        owner = _owner(change.scope, event)
        match change:
            case Remember(key=key, value=value, ttl=ttl):
                self._values["vars", owner, key] = (value, self.now + ttl)
            case Forget(key=key):
                self._values.pop(("vars", owner, key), None)
            case Count(key=key, by=by, ttl=ttl):
                value, until = self._values.get(("vars", owner, key), (0, 0.0))
                before = value if until > self.now and isinstance(value, int | float) else 0
                self._values["vars", owner, key] = (before + by, self.now + ttl)
            case Label(name=name, ttl=ttl):
                self._values["labels", owner, name] = (True, self.now + ttl)

    def _held(self, space: str, event: Event) -> Iterator[tuple[str, Any]]:
        """What is kept for anybody whom the event concerns; the nearer one comes last, and wins."""
        for scope in (Scope.GLOBAL, Scope.TEAM, Scope.CALLER, Scope.SESSION):
            owner = _owner(scope, event)
            for (kept, whose, key), (value, until) in self._values.items():
                if kept == space and whose == owner and until > self.now:
                    yield key, value


def _owner(scope: Scope, event: Event) -> str:
    caller = event["caller"]
    match scope:
        case Scope.SESSION:
            return f"session/{caller['id']}/{event['session']['id']}"
        case Scope.TEAM if caller["team"]:
            return f"team/{caller['team']}"
        case Scope.CALLER | Scope.TEAM:
            return f"caller/{caller['id']}"
        case Scope.GLOBAL:
            return "global"


def _moment(now: float) -> dict[str, Any]:
    at = datetime.fromtimestamp(now, UTC)
    return {
        "iso": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "epoch": now, "weekday": _WEEKDAYS[at.weekday()], "hour": at.hour,
    }  # fmt: skip

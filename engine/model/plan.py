"""The routing grammar: which backends are tried, in which order, for which model.

`a:m|b:m` tries one after the other, `[weight=3]a:m^b:m` chooses one by weight, `@name` is a named route. A leg without a
model (`openai:`) keeps the model that the client asked for.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from engine.diagnostics import LexgateError

_LEG: Final = re.compile(r"(?:\[([^\]]*)\])?\s*([A-Za-z0-9_.-]+):([^\[\]|^!?]*)(?:\?(.*))?", re.DOTALL)
_NAMED: Final = re.compile(r"@([A-Za-z0-9][A-Za-z0-9_.-]*)")


class Leg(msgspec.Struct, frozen=True):
    """One backend of a plan; `model` "" keeps the client's."""

    backend: str
    model: str = ""
    weight: float = 1.0

    def __str__(self) -> str:
        weight = f"[weight={self.weight:g}]" if self.weight != 1 else ""
        return f"{weight}{self.backend}:{self.model}"


class Plan(msgspec.Struct, frozen=True):
    """Legs and how they are used; `name` is that of the named route that the plan came from."""

    kind: Literal["failover", "weighted"]
    legs: tuple[Leg, ...]
    name: str = ""

    def __str__(self) -> str:
        return ("^" if self.kind == "weighted" else "|").join(map(str, self.legs))


class PlanError(LexgateError):
    """A route is not written as the grammar wants it; `start` and `end` are offsets in its text."""

    def __init__(self, message: str, start: int = 0, end: int = 0, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.help = help


def named(text: str) -> str | None:
    """The name of `@name`; None where the text is a plan."""
    found = _NAMED.fullmatch(text.strip())
    return found[1] if found else None


def parse_plan(text: str, name: str = "") -> Plan:
    """A plan from its compact text. Raises PlanError."""
    failover, weighted = "|" in text, "^" in text
    if failover and weighted:
        at = text.index("^")
        raise PlanError("'|' and '^' do not mix in one route", at, at + 1, "name one of the two as a route: @name")
    legs: list[Leg] = []
    at = 0
    for piece in re.split(r"[|^]", text):
        legs.append(_leg(piece, at))
        at += len(piece) + 1
    if not weighted and len(legs) > 1 and any(leg.weight != 1 for leg in legs):
        raise PlanError(
            "a weight means nothing in a failover", 0, len(text), "join the legs by '^' to choose by weight"
        )
    return Plan("weighted" if weighted else "failover", tuple(legs), name)


def _leg(piece: str, at: int) -> Leg:
    found = _LEG.fullmatch(piece.strip())
    start, end = at, at + max(1, len(piece))
    if found is None:
        raise PlanError(
            f"'{piece.strip()}' is not a leg", start, end, "a leg is backend:model, or backend: for the client's"
        )
    if found[4] is not None:
        raise PlanError("a leg's parameters are not supported", start, end, "set them by a rule: `set: {path, value}`")
    weight = 1.0
    for note in filter(None, (each.strip() for each in (found[1] or "").split(","))):
        key, _, value = note.partition("=")
        if key.strip() != "weight":
            raise PlanError(f"unknown annotation '{key.strip()}'", start, end, "a leg takes [weight=3]")
        try:
            weight = float(value)
        except ValueError:
            weight = 0.0
        if not 0 < weight < 1e6:
            raise PlanError(f"'{value.strip()}' is not a weight", start, end, "a weight is a number above 0")
    return Leg(found[2], found[3].strip(), weight)


def plan_text(written: str | Mapping[str, Any]) -> str:
    """A route as it stands in a file, as compact text: the mapping `{failover: [a:m, b:m]}` or `{weighted: {a:m: 3}}`."""
    match written:
        case str():
            return written
        case {"failover": list(legs)}:
            return "|".join(map(str, legs))
        case {"weighted": dict(legs)}:
            return "^".join(f"[weight={weight}]{leg}" for leg, weight in legs.items())
        case _:
            raise PlanError(
                "a route is a text, {failover: [backend:model, ...]} or {weighted: {backend:model: 3, ...}}"
            )

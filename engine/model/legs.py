"""Which legs of a plan are asked, in which order, and why the others are not. Pure: chance, turns and prices are given."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from .plan import Leg, Plan

Fate = Literal["asked", "answered", "failed", "skipped", "lost", "not reached"]
Stage = tuple[Leg, ...]
"""Legs that are asked at the same time: one, or those of a race."""


class Considered(msgspec.Struct, frozen=True):
    """What became of one leg, and why."""

    leg: str
    fate: Fate
    why: str = ""


class Chances(msgspec.Struct, frozen=True):
    """What orders legs beside their plan. `random` is from 0 to below 1; `turn` counts the uses of a plan, from 0;
    `price` is what a leg would cost, None where nobody knows."""

    random: float = 0.0
    turn: Callable[[str], int] = lambda _plan: 0
    price: Callable[[Leg], float | None] = lambda _leg: None


NO_CHANCES = Chances()


def stages(plan: Plan, chances: Chances = NO_CHANCES) -> Iterator[Stage]:
    """The legs in the order in which they are tried, thinkers left out; named routes within it are gone through in place.

    Of a choice by weight one by its weight, then of the rest, as long as one fails.
    """
    if plan.kind == "race":
        yield tuple(_inherited(leg, each) for leg in plan.legs for each in _racers(leg))
        return
    for leg in _ordered(plan, chances):
        if leg.plan is None:
            yield (leg,)
        else:
            for stage in stages(leg.plan, chances):
                yield tuple(_inherited(leg, each) for each in stage)


def _racers(leg: Leg) -> Iterator[Leg]:
    if leg.plan is None:
        yield leg
    else:
        for each in leg.plan.legs:
            yield from (_inherited(each, inner) for inner in _racers(each))


def _inherited(outer: Leg, inner: Leg) -> Leg:
    """A leg of a named route under what was said of that route: the tighter bound holds."""
    if not outer.route or not (outer.max_context or outer.first):
        return inner
    bounds = [each for each in (outer.max_context, inner.max_context) if each]
    return msgspec.structs.replace(inner, max_context=min(bounds, default=0), first=outer.first or inner.first)


def _ordered(plan: Plan, chances: Chances) -> Iterator[Leg]:
    legs = [leg for leg in plan.legs if not leg.thinker]
    match plan.kind:
        case "weighted":
            yield from _rolled(legs, chances.random)
        case "round_robin":
            first = chances.turn(str(plan)) % len(legs)
            yield from legs[first:] + legs[:first]
        case "cheapest":
            yield from sorted(legs, key=lambda leg: _rank(_price(leg, chances)))
        case _:
            yield from legs


def _rolled(rest: list[Leg], random: float) -> Iterator[Leg]:
    while rest:
        total = sum(leg.weight for leg in rest)
        point = random * total
        for leg in rest:
            point -= leg.weight
            if point < 0:
                break
        rest.remove(leg)
        yield leg
        random = (random * 7919) % 1


def _price(leg: Leg, chances: Chances) -> float | None:
    """Of a named route the price of its cheapest leg."""
    if leg.plan is None:
        return chances.price(leg)
    known = [price for each in leg.plan.leaves if (price := chances.price(each)) is not None]
    return min(known, default=None)


def _rank(price: float | None) -> tuple[bool, float]:
    """What has no known price comes last."""
    return (price is None, price or 0.0)


def unfit(leg: Leg, input_tokens: Callable[[], int], *, first: bool) -> str:
    """Why a leg is not for this request; "" where it is."""
    if leg.first and not first:
        return "it is for the first request of a conversation alone"
    if leg.max_context and (tokens := input_tokens()) > leg.max_context:
        return f"the request has about {tokens} tokens, and the leg takes {leg.max_context}"
    return ""


def outlook(plan: Plan, chances: Chances, input_tokens: int, *, first: bool) -> list[Considered]:
    """What would become of the legs if the first that fits answered: for explanations, where nothing is asked."""
    found = [Considered(leg.target, "asked", "its thoughts are given to the leg that answers") for leg in plan.thinkers]
    if chances is NO_CHANCES and plan.kind in _OPEN:
        return found + [_open(plan, leg, input_tokens, first=first) for leg in plan.legs]
    taken: Sequence[Leg] = ()
    for place, stage in enumerate(stages(plan, chances)):
        for leg in stage:
            if why := unfit(leg, lambda: input_tokens, first=first):
                found.append(Considered(leg.target, "skipped", why))
            elif taken and leg not in taken:
                found.append(Considered(leg.target, "not reached", _not_reached(plan, taken[0])))
            else:
                taken = taken or tuple(each for each in stage if not unfit(each, lambda: input_tokens, first=first))
                found.append(Considered(leg.target, "asked", reason(plan, leg, place, racing=len(stage) > 1)))
    return found


_OPEN: Final[Mapping[str, str]] = {
    "weighted": "chance asks it first in {weight:g} of {total:g} cases",
    "round_robin": "it is asked when it is its turn",
    "cheapest": "what costs least is asked first",
}
"""Kinds of plan whose order is known only when they are used, and what decides it."""


def _open(plan: Plan, leg: Leg, input_tokens: int, *, first: bool) -> Considered:
    if why := unfit(leg, lambda: input_tokens, first=first):
        return Considered(leg.target, "skipped", why)
    total = sum(each.weight for each in plan.legs)
    return Considered(leg.target, "asked", _OPEN[plan.kind].format(weight=leg.weight, total=total))


def reason(plan: Plan, leg: Leg, place: int, *, racing: bool) -> str:
    """Why a leg is asked."""
    if racing:
        return f"it races, {leg.handicap:g} s behind" if leg.handicap else "it races"
    if place:
        return "none before it answers" if plan.kind != "weighted" else "it won the roll of those that were left"
    match plan.kind:
        case "weighted":
            total = sum(each.weight for each in plan.legs)
            return f"it won the roll of weights: {leg.weight:g} of {total:g}"
        case "round_robin":
            return "it is its turn"
        case "cheapest":
            return "it costs least, as far as prices are known"
        case _:
            return "it stands first"


def _not_reached(plan: Plan, taken: Leg) -> str:
    match plan.kind:
        case "weighted":
            return f"it lost the roll of weights to {taken.target}; it is asked if that one fails"
        case _:
            return f"it is asked if {taken.target} fails"

"""Which legs are asked, in which order, and why not the others."""

import pytest

from engine.model.legs import NO_CHANCES, Chances, Considered, outlook, stages, unfit
from engine.model.plan import Leg, Plan, parse_plan, resolved

ROUTES = {
    name: parse_plan(text, name) for name, text in {"pool": "a:1^b:1", "fast": "a:1!b:1", "cheap": "a:1|b:1"}.items()
}


def plan(text: str) -> Plan:
    return resolved(parse_plan(text), ROUTES.get)


def order(text: str, chances: Chances | None = None) -> list[list[str]]:
    return [[leg.target for leg in stage] for stage in stages(plan(text), chances or Chances())]


def test_a_failover_is_tried_as_it_is_written() -> None:
    assert order("a:1|b:1|c:1", Chances(random=0.9)) == [["a:1"], ["b:1"], ["c:1"]]


def test_a_race_is_one_stage() -> None:
    assert order("a:1!b:1") == [["a:1", "b:1"]]
    assert order("@fast|c:1") == [["a:1", "b:1"], ["c:1"]]
    assert order("@fast!c:1") == [["a:1", "b:1", "c:1"]]


def test_weights_are_rolled_within_a_route_that_is_a_leg() -> None:
    assert order("@pool|c:1", Chances(random=0.7)) == [["b:1"], ["a:1"], ["c:1"]]


@pytest.mark.parametrize(("turn", "first"), [(0, "a:1"), (1, "b:1"), (2, "c:1"), (3, "a:1")])
def test_turns_begin_with_the_next_leg(turn: int, first: str) -> None:
    found = order("round_robin(a:1|b:1|c:1)", Chances(turn=lambda _plan: turn))
    assert found[0] == [first]
    assert len(found) == 3


def test_cost_orders_and_what_nobody_knows_is_last() -> None:
    prices = {"a": None, "b": 2.0, "c": 1.0}
    assert order("cheapest(a:1|b:1|c:1)", Chances(price=lambda leg: prices[leg.backend])) == [["c:1"], ["b:1"], ["a:1"]]


def test_a_route_costs_what_its_cheapest_leg_does() -> None:
    prices = {"a": 5.0, "b": 1.0, "c": 2.0}
    found = order("cheapest(c:1|@cheap)", Chances(price=lambda leg: prices[leg.backend]))
    assert found == [["a:1"], ["b:1"], ["c:1"]]


def test_a_thinker_is_no_stage() -> None:
    assert order("[thinker]a:1|b:1") == [["b:1"]]


def test_what_is_said_of_a_route_holds_for_its_legs() -> None:
    legs = [leg for stage in stages(plan("[max_context=9,first]@cheap|c:1")) for leg in stage]
    assert [(leg.max_context, leg.first) for leg in legs] == [(9, True), (9, True), (0, False)]


@pytest.mark.parametrize(
    ("leg", "tokens", "first", "why"),
    [
        (Leg("a", max_context=10), 10, True, ""),
        (Leg("a", max_context=10), 11, True, "the request has about 11 tokens, and the leg takes 10"),
        (Leg("a", first=True), 0, True, ""),
        (Leg("a", first=True), 0, False, "it is for the first request of a conversation alone"),
    ],
)
def test_a_leg_that_is_not_for_the_request_says_why(leg: Leg, tokens: int, first: bool, why: str) -> None:
    assert unfit(leg, lambda: tokens, first=first) == why


def told(text: str, tokens: int = 0, *, first: bool = True, chances: Chances | None = None) -> list[tuple[str, str]]:
    found = outlook(plan(text), chances or Chances(), tokens, first=first)
    assert all(each.why for each in found)
    return [(each.leg, each.fate) for each in found]


def test_the_outlook_says_of_each_leg_what_would_become_of_it() -> None:
    assert told("[max_context=9]a:1|b:1|c:1", 10) == [("a:1", "skipped"), ("b:1", "asked"), ("c:1", "not reached")]
    assert told("[first]a:1|b:1", first=False) == [("a:1", "skipped"), ("b:1", "asked")]
    assert told("a:1![handicap=2]b:1") == [("a:1", "asked"), ("b:1", "asked")]
    assert told("[thinker]a:1|b:1") == [("a:1", "asked"), ("b:1", "asked")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[weight=3]a:1^b:1", "chance asks it first in 3 of 4 cases"),
        ("round_robin(a:1|b:1)", "it is asked when it is its turn"),
        ("cheapest(a:1|b:1)", "what costs least is asked first"),
    ],
)
def test_without_chances_the_outlook_says_what_decides(text: str, why: str) -> None:
    assert outlook(plan(text), NO_CHANCES, 0, first=True)[0] == Considered("a:1", "asked", why)


def test_who_lost_the_roll_is_told_so() -> None:
    found = outlook(plan("[weight=3]a:1^b:1"), Chances(random=0.9), 0, first=True)
    assert found == [
        Considered("b:1", "asked", "it won the roll of weights: 1 of 4"),
        Considered("a:1", "not reached", "it lost the roll of weights to b:1; it is asked if that one fails"),
    ]

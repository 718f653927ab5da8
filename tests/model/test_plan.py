"""The grammar of routes: what it reads, what it refuses and where."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.plan import Leg, Plan, PlanError, named, parse_plan, plan_text, resolved

NAME = st.text("abcXYZ019_.-", min_size=1, max_size=8)
MODEL = st.text("abz019:/._- *", max_size=8).map(str.strip)
SECONDS = st.sampled_from([0.0, 0.5, 12.0])
VALUE = st.one_of(st.booleans(), st.integers(-9, 9), st.text('aZ 0.|&=%ä"{', max_size=6), st.none())
PARAMS = st.lists(st.tuples(st.sampled_from(["temperature", "reasoning.effort", "x-y"]), VALUE), max_size=2).map(tuple)
WEIGHTED = st.builds(Leg, NAME, MODEL, st.sampled_from([1.0, 2.5, 300.0]), params=PARAMS)
RACING = st.builds(Leg, NAME, MODEL, max_context=st.sampled_from([0, 32000]), handicap=SECONDS, ttft_timeout=SECONDS)
ONE = Leg("a", "m")
TWO = Leg("b", "m")


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("a:m", Plan("failover", (ONE,))),
        ("a:", Plan("failover", (Leg("a", ""),))),
        ("local:llama3:8b", Plan("failover", (Leg("local", "llama3:8b"),))),
        (" a:m | b:n ", Plan("failover", (ONE, Leg("b", "n")))),
        ("[weight=3]a:m^b:m", Plan("weighted", (Leg("a", "m", 3.0), TWO))),
        ("[ weight = 0.5 ] a:m ^ b:m", Plan("weighted", (Leg("a", "m", 0.5), TWO))),
        ("a:m!b:m", Plan("race", (ONE, TWO))),
        ("a:m![handicap=500ms]b:m", Plan("race", (ONE, Leg("b", "m", handicap=0.5)))),
        ("[max_context=32k,first]a:m|b:m", Plan("failover", (Leg("a", "m", max_context=32000, first=True), TWO))),
        ("[thinker]a:m|[ttft_timeout=2]b:m", Plan("failover", (Leg("a", "m", thinker=True), Leg("b", "m", ttft_timeout=2)))),
        ("[first=false]a:m", Plan("failover", (ONE,))),
        ("a:m?temperature=0.2&stop=end", Plan("failover", (Leg("a", "m", params=(("temperature", 0.2), ("stop", "end"))),))),
        ("@coding|a:m", Plan("failover", (Leg("", route="coding"), ONE))),
        ("round_robin(a:m|b:m)", Plan("round_robin", (ONE, TWO))),
        (" cheapest( a:m | @x ) ", Plan("cheapest", (ONE, Leg("", route="x")))),
    ],
)  # fmt: skip
def test_a_route_is_read(text: str, plan: Plan) -> None:
    assert parse_plan(text) == plan


@pytest.mark.parametrize(
    ("text", "start", "message"),
    [
        ("a:m|b:m^c:m", 7, "'|' and '^' do not mix"),
        ("a:m!b:m|c:m", 7, "'!' and '|' do not mix"),
        ("", 0, "'' is not a leg"),
        ("a:m|", 4, "'' is not a leg"),
        ("a:m|gpt", 4, "'gpt' is not a leg"),
        ("a:m?temperature", 0, "'temperature' is no list of parameters"),
        ("a:m|b:m?1=2", 4, "'1' is no name of a parameter"),
        ("[last]a:m^b:m", 0, "unknown annotation 'last'"),
        ("[first,first]a:m|b:m", 0, "'first' stands twice"),
        ("[first=no]a:m|b:m", 0, "'no' is neither"),
        ("[weight=x]a:m^b:m", 0, "'x' is not a weight"),
        ("[weight=0]a:m^b:m", 0, "'0' is not a weight"),
        ("[weight=nan]a:m^b:m", 0, "'nan' is not a weight"),
        ("[weight=3]a:m|b:m", 0, "a weight means nothing in a failover"),
        ("a:m|[handicap=1]b:m", 4, "a handicap means nothing in a failover"),
        ("[thinker]a:m!b:m", 0, "a thinker has no place in a race"),
        ("[max_context=many]a:m", 0, "'many' is not a number of tokens"),
        ("[ttft_timeout=0]a:m", 0, "'0' is not a length of time"),
        ("[ttft_timeout=2]@x|a:m", 0, "a route as a leg takes no 'ttft_timeout'"),
        ("[first]a:m|[first]b:m", 0, "no leg is left for later requests"),
        ("[thinker]a:m", 0, "a thinker needs a leg that answers"),
        ("round_robin(a:m^b:m)", 15, "'round_robin' takes legs that are joined by '|'"),
        ("cheapest(a:m|b)", 13, "'b' is not a leg"),
    ],
)
def test_what_is_no_route_is_refused_at_its_place(text: str, start: int, message: str) -> None:
    with pytest.raises(PlanError) as found:
        parse_plan(text)
    assert message in found.value.message
    assert found.value.start == start
    assert found.value.end > start


@given(st.sampled_from(["weighted", "race"]), st.data())
def test_a_plan_reads_what_it_writes(kind: Any, data: st.DataObject) -> None:
    legs = data.draw(st.lists(WEIGHTED if kind == "weighted" else RACING, min_size=2, max_size=4))
    plan = Plan(kind, tuple(legs))
    assert parse_plan(str(plan)) == plan


@pytest.mark.parametrize("text", ["round_robin(a:m|b:m)", "cheapest(a:m|@x)", "[max_context=9,first]@x|a:m"])
def test_a_plan_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_plan(text)) == text


@pytest.mark.parametrize(("text", "name"), [("@coding", "coding"), (" @a.b ", "a.b"), ("@", None), ("a:m", None)])
def test_a_named_route_is_told_from_a_plan(text: str, name: str | None) -> None:
    assert named(text) == name


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ({"failover": ["a:m", "b:"]}, "a:m|b:"),
        ({"weighted": {"a:m": 3, "b:m": 1}}, "[weight=3]a:m^[weight=1]b:m"),
        ({"weighted": [{"leg": "a:m", "weight": 3}, "b:m"]}, "[weight=3]a:m^b:m"),
        ({"race": ["a:m", {"leg": "b:m", "handicap": "1s"}]}, "a:m![handicap=1s]b:m"),
        ({"round_robin": ["a:m", "b:m"]}, "round_robin(a:m|b:m)"),
        ({"cheapest": ["a:m", "@x"]}, "cheapest(a:m|@x)"),
        ({"failover": [{"leg": "a:m", "first": True, "params": {"temperature": 0.2, "x": "0.2"}}, "b:m"]},
         "[first=true]a:m?temperature=0.2&x=%220.2%22|b:m"),
    ],
)  # fmt: skip
def test_a_route_may_be_written_as_a_mapping(written: Mapping[str, Any], text: str) -> None:
    assert plan_text(written) == text
    parse_plan(text)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"races": ["a:m"]}, "a route is a text, or one of"),
        ({"race": ["a:m"], "failover": ["b:m"]}, "a route is a text, or one of"),
        ({"race": [3]}, "3 is not a leg"),
        ({"race": [{"leg": "a:m", "late": 1}]}, "unknown key 'late' of a leg"),
        ({"race": [{"leg": "a:m", "params": 1}]}, "the params of a leg are a mapping"),
    ],
)
def test_a_mapping_that_is_no_route_is_refused(written: Mapping[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan_text(written)


# --- routes as legs --------------------------------------------------------------------------------------------------

ROUTES = {
    name: parse_plan(text, name)
    for name, text in {
        "pool": "[weight=3]a:m^b:m",
        "fast": "a:m!b:m",
        "one": "a:m",
        "self": "a:m|@self",
        "ping": "@pong|a:m",
        "pong": "@ping|a:m",
        "pair": "[thinker]a:m|b:m",
    }.items()
}


def test_a_route_is_a_leg_of_another_one() -> None:
    plan = resolved(parse_plan("@pool|c:m"), ROUTES.get)
    assert [str(leg) for leg in plan.leaves] == ["[weight=3]a:m", "b:m", "c:m"]
    assert str(plan) == "@pool|c:m"


@pytest.mark.parametrize("text", ["@fast!c:m", "@one!c:m"])
def test_a_race_and_a_single_leg_may_race(text: str) -> None:
    assert resolved(parse_plan(text), ROUTES.get).kind == "race"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@nope|a:m", "unknown route '@nope'"),
        ("@self", "the route '@self' needs itself"),
        ("@ping|a:m", "needs itself"),
        ("@pool!c:m", "'@pool' cannot race"),
        ("@pair|c:m", "'@pair' has a thinker"),
    ],
)
def test_a_route_that_cannot_be_a_leg_is_refused(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        resolved(parse_plan(text), ROUTES.get)

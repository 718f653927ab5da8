"""The grammar of routes: what it reads, what it refuses and where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.plan import Leg, Plan, PlanError, named, parse_plan, plan_text

NAME = st.text("abcXYZ019_.-", min_size=1, max_size=8)
MODEL = st.text("abz019:/._- *", max_size=8).map(str.strip)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("a:m", Plan("failover", (Leg("a", "m"),))),
        ("a:", Plan("failover", (Leg("a", ""),))),
        ("local:llama3:8b", Plan("failover", (Leg("local", "llama3:8b"),))),
        (" a:m | b:n ", Plan("failover", (Leg("a", "m"), Leg("b", "n")))),
        ("[weight=3]a:m^b:m", Plan("weighted", (Leg("a", "m", 3.0), Leg("b", "m")))),
        ("[ weight = 0.5 ] a:m ^ b:m", Plan("weighted", (Leg("a", "m", 0.5), Leg("b", "m")))),
    ],
)
def test_a_route_is_read(text: str, plan: Plan) -> None:
    assert parse_plan(text) == plan


@pytest.mark.parametrize(
    ("text", "start", "message"),
    [
        ("a:m|b:m^c:m", 7, "do not mix"),
        ("a:m!b:m", 0, "is not a leg"),
        ("", 0, "'' is not a leg"),
        ("a:m|", 4, "'' is not a leg"),
        ("a:m|gpt", 4, "'gpt' is not a leg"),
        ("@coding|a:m", 0, "'@coding' is not a leg"),
        ("a:m?temperature=0.2", 0, "parameters are not supported"),
        ("[first]a:m^b:m", 0, "unknown annotation 'first'"),
        ("[weight=x]a:m^b:m", 0, "'x' is not a weight"),
        ("[weight=0]a:m^b:m", 0, "'0' is not a weight"),
        ("[weight=nan]a:m^b:m", 0, "'nan' is not a weight"),
        ("[weight=3]a:m|b:m", 0, "a weight means nothing in a failover"),
    ],
)
def test_what_is_no_route_is_refused_at_its_place(text: str, start: int, message: str) -> None:
    with pytest.raises(PlanError, match=message.replace("?", r"\?")) as found:
        parse_plan(text)
    assert found.value.start == start
    assert found.value.end > start


@given(st.lists(st.builds(Leg, NAME, MODEL, st.sampled_from([1.0, 2.5, 300.0])), min_size=2, max_size=4))
def test_a_plan_reads_what_it_writes(legs: list[Leg]) -> None:
    plan = Plan("weighted", tuple(legs))
    assert parse_plan(str(plan)) == plan


@pytest.mark.parametrize(("text", "name"), [("@coding", "coding"), (" @a.b ", "a.b"), ("@", None), ("a:m", None)])
def test_a_named_route_is_told_from_a_plan(text: str, name: str | None) -> None:
    assert named(text) == name


def test_a_route_may_be_written_as_a_mapping() -> None:
    assert plan_text({"failover": ["a:m", "b:"]}) == "a:m|b:"
    assert plan_text({"weighted": {"a:m": 3, "b:m": 1}}) == "[weight=3]a:m^[weight=1]b:m"
    with pytest.raises(PlanError):
        plan_text({"race": ["a:m"]})

"""Names and ids that the other provider takes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codecs.translation.names import LIMITS, fitted, fitted_id, tool_names
from engine.model.exchange import Exchange, Message, Protocol, Tool, ToolCall

ANTHROPIC, CHAT = LIMITS[Protocol.ANTHROPIC], LIMITS[Protocol.OPENAI_CHAT]
targets = pytest.mark.parametrize("target", LIMITS, ids=str)


def asking(*messages: Message, tools: tuple[str, ...] = (), **params: object) -> Exchange:
    return Exchange(
        id="x",
        protocol=Protocol.OPENAI_CHAT,
        model="m",
        stream=False,
        messages=messages,
        tools=tuple(Tool(name=name) for name in tools),
        params=params,
    )


def called(*calls: tuple[str, str]) -> Message:
    return Message(role="assistant", tool_calls=tuple(ToolCall(id=id, name=name) for id, name in calls))


def result(id: str) -> Message:
    return Message(role="tool", tool_call_id=id)


def ids(exchange: Exchange) -> list[list[str]]:
    """The ids of each message: of its calls, or of the call that it answers."""
    return [[call.id for call in message.tool_calls] or [message.tool_call_id] for message in exchange.messages]


def test_a_name_that_is_taken_stays() -> None:
    assert tool_names(["bash", "read_file-2"], ANTHROPIC).there == {}


@targets
@given(names=st.lists(st.text(max_size=150), max_size=6))
def test_every_name_comes_back(target: Protocol, names: list[str]) -> None:
    limits = LIMITS[target]
    mapped = tool_names(names, limits)
    there = [mapped.outward(name) for name in names if name]
    assert all(limits.name.fullmatch(name) and len(name) <= limits.name_length for name in there)
    assert len(set(there)) == len({name for name in names if name})
    assert [mapped.inward(name) for name in there] == [name for name in names if name]


def test_a_stand_in_does_not_depend_on_the_other_tools() -> None:
    alone = tool_names(["fs.read"], CHAT).outward("fs.read")
    assert tool_names(["fs.read", "fs_read", "a.b"], CHAT).outward("fs.read") == alone
    assert re.fullmatch("fs_read_[0-9a-f]{8}", alone)


def test_a_stand_in_makes_way_for_a_tool_of_that_name() -> None:
    taken = tool_names(["fs.read"], CHAT).outward("fs.read")
    mapped = tool_names(["fs.read", taken], CHAT)
    assert mapped.outward(taken) == taken
    assert mapped.outward("fs.read") != taken


def test_names_are_fitted_in_tools_calls_and_the_choice() -> None:
    choice = {"type": "function", "function": {"name": "a.b"}}
    exchange, names = fitted(asking(called(("1", "a.b")), tools=("a.b",), tool_choice=choice), ANTHROPIC)
    there = names.outward("a.b")
    assert [tool.name for tool in exchange.tools] == [there]
    assert exchange.messages[0].tool_calls[0].name == there
    assert exchange.params["tool_choice"]["function"]["name"] == there


@targets
@given(id=st.text(max_size=200))
def test_every_id_fits(target: Protocol, id: str) -> None:
    limits = LIMITS[target]
    fits = fitted_id(id, limits)
    assert len(fits) <= limits.id_length
    assert limits.id.fullmatch(fits)
    assert fitted_id(fits, limits) == fits


def test_calls_and_their_results_keep_together() -> None:
    long = "toolu_" + "x" * 80
    exchange, _ = fitted(asking(called((long, "a"), ("b:1", "b")), result(long), result("b:1")), ANTHROPIC)
    calls, first, second = ids(exchange)
    assert [*first, *second] == calls
    assert calls[0] != long


def test_an_id_that_is_used_again_later_is_another() -> None:
    """Some servers number the calls of each answer from nought; Anthropic wants ids that are unique."""
    exchange, _ = fitted(asking(called(("0", "a")), result("0"), called(("0", "a")), result("0")), ANTHROPIC)
    first, answered, second, again = ids(exchange)
    assert first == answered == ["0"]
    assert second == again != first


def test_calls_without_ids_are_answered_in_their_order() -> None:
    exchange, _ = fitted(asking(called(("", "a"), ("", "b")), result(""), result("")), ANTHROPIC)
    calls, first, second = ids(exchange)
    assert [*first, *second] == calls
    assert len(set(calls)) == 2


def test_ids_are_the_same_on_the_next_turn() -> None:
    turn = (called(("x" * 90, "a")), result("x" * 90))
    before, _ = fitted(asking(*turn), CHAT)
    after, _ = fitted(asking(*turn, called(("y", "a")), result("y")), CHAT)
    assert ids(after)[:2] == ids(before)

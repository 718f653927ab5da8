"""The governor of one answer, fed with chunks: what it lets go, and when."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest

from engine.language.shell import DEFAULT_TOOLS
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Chunk,
    Closed,
    Exchange,
    Finished,
    Other,
    Protocol,
    TextDelta,
    Tool,
    UsageReported,
)
from engine.model.exchange import Usage as Tokens
from engine.opening import open_house
from engine.passage.governor import NOT_EXECUTED, Governor
from engine.passage.judging import Judge
from engine.passage.reading import Reading
from engine.passage.view import Caller, View
from engine.settings.model import Audit, Settings
from tests.policy.rules import rules

WORDS = "patterns: {words: {falcon: bluefalcon}, long: {tail: 'x[a-z]{0,8}y'}}"
REDACT = "- {id: redact, phase: text, actions: [{redact: {patterns: words}}]}"
LONG = "- {id: long, phase: text, actions: [{redact: {patterns: long}}]}"
STEER = "- {id: no-bash, phase: tool_call, match: {tool: bash}, actions: [{steer: No.}]}"
EXCHANGE = Exchange(
    id="1", protocol=Protocol.OPENAI_CHAT, model="m", stream=True, tools=(Tool(name="bash"), Tool(name="read"))
)
STOP = Finished(0, "stop")


def text(said: str, choice: int = 0) -> TextDelta:
    return TextDelta(choice, "answer", said)


def call(index: int, name: str, *fragments: str) -> list[Chunk]:
    return [CallOpened(0, index, f"c{index}", name), *(CallDelta(0, index, each) for each in fragments)]


def governed(policy: str, *feeds: Sequence[Chunk], choices: int = 1) -> tuple[list[list[Chunk]], Governor]:
    """What came out for each feed, and the governor afterwards."""

    async def run() -> tuple[list[list[Chunk]], Governor]:
        house = await open_house(Settings(audit=Audit(path="")))
        try:
            view = View(EXCHANGE, Caller(), 0.0, DEFAULT_TOOLS)
            governor = Governor(Judge(Reading(rules(policy, WORDS)), view, house.world), choices=choices)
            return [list(await governor.feed(each)) for each in feeds], governor
        finally:
            await house.world.aclose()

    return asyncio.run(run())


def test_what_may_all_go_is_the_same_object() -> None:
    """By that a writer sees that the frame's bytes can go on as they came."""

    async def run() -> None:
        house = await open_house(Settings(audit=Audit(path="")))
        view = View(EXCHANGE, Caller(), 0.0, DEFAULT_TOOLS)
        governor = Governor(Judge(Reading(rules(REDACT, WORDS)), view, house.world))
        chunks: tuple[Chunk, ...] = (text("Hello"), Other(), UsageReported(Tokens(input=1)))
        assert await governor.feed(chunks) is chunks
        await house.world.aclose()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("feeds", "out"),
    [
        (["see blue", "fox"], ["see ", "bluefox"]),
        (["see blue", "falcon!"], ["see ", "[falcon]!"]),
        (["b", "l", "u", "e", "f", "alco", "n.", "b"], ["", "", "", "", "", "", "[falcon].", ""]),
        (["bluefalconbluefalcon."], ["[falcon][falcon]."]),
        (["blueblue", "falcon."], ["blue", "[falcon]."]),
    ],
)
def test_held_is_the_suffix_that_can_still_become_a_match_and_no_more(feeds: list[str], out: list[str]) -> None:
    passed, _ = governed(REDACT, *([text(each)] for each in feeds))
    assert ["".join(each.text for each in chunks if isinstance(each, TextDelta)) for chunks in passed] == out


def test_never_more_is_held_than_the_widest_match() -> None:
    said = "xabcdefghijklmnop"
    passed, governor = governed(LONG, *([text(each)] for each in said))
    lengths = [len("".join(c.text for c in chunks if isinstance(c, TextDelta))) for chunks in passed]
    out = 0
    for index, length in enumerate(lengths, start=1):
        out += length
        assert index - out < 10
    assert governor.text() == said


def test_held_text_is_let_go_at_the_end_of_its_choice() -> None:
    passed, governor = governed(REDACT, [text("blue", 0), text("bluef", 1)], [STOP], [Finished(1, "stop")], choices=2)
    assert passed == [[], [text("blue"), STOP], [text("bluef", 1), Finished(1, "stop")]]
    assert governor.complete


def test_a_stream_that_only_closes_loses_nothing() -> None:
    passed, _ = governed(REDACT, [text("blue")], [Closed()])
    assert passed[1] == [text("blue"), STOP, Closed()]


def test_calls_are_held_together_and_let_go_whole() -> None:
    policy = STEER.replace("{tool: bash}", "{tool: bash, not: {tool: b*}}")
    passed, governor = governed(
        policy, call(0, "read", "{", "}"), call(1, "bash", "{", "}"), [Finished(0, "tool_calls")]
    )
    assert passed[:2] == [[], []]
    assert passed[2] == [*call(0, "read", "{}"), *call(1, "bash", "{}"), Finished(0, "tool_calls")]
    assert [each.id for each in governor.went_out] == ["c0", "c1"]


def test_a_refused_call_asks_for_another_answer_and_lets_nothing_go() -> None:
    passed, governor = governed(STEER, call(0, "read", "{}"), call(1, "bash", "{}"), [Finished(0, "tool_calls")])
    assert passed == [[], [], []]
    assert governor.refusal is not None
    assert [(made.name, told) for made, told in governor.refusal.results] == [("read", NOT_EXECUTED), ("bash", "No.")]
    assert governor.refusal.rules == ("p/no-bash",)


def test_a_server_side_tool_that_already_ran_cannot_be_asked_again() -> None:
    ran = CallOpened(0, 0, "s", "web_search", kind="server")
    passed, governor = governed(STEER, [ran], call(1, "bash", "{}"), [Finished(0, "tool_calls")])
    assert governor.refusal is None
    assert passed[-1][-2:] == [text("No."), STOP]


def test_text_flows_while_calls_are_held() -> None:
    passed, _ = governed(STEER, call(0, "bash", "{"), [text("still talking")])
    assert passed == [[], [text("still talking")]]


def test_every_cut_of_a_text_gives_the_same_text() -> None:
    said = "a bluefalcon xay bluefalco"
    for first, second in pairwise(sorted({0, *range(len(said))})):
        feeds = [said[:first], said[first:second], said[second:]]
        _, governor = governed(f"{REDACT}\n{LONG}", *([text(each)] for each in feeds if each), [STOP])
        assert governor.text() == "a [falcon] [tail] bluefalco"

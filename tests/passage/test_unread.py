"""What is kept of a stream that nobody reads."""

import json

import pytest

from engine.codecs import CODECS
from engine.model.exchange import Protocol
from engine.passage.unread import FIRST, TAIL, Unread
from tests.support import anthropic_mock, openai_mock

CHAT, ANTHROPIC = CODECS[Protocol.OPENAI_CHAT], CODECS[Protocol.ANTHROPIC]
ASKED = {"model": "m", "stream_options": {"include_usage": True, "include_obfuscation": False}}


def chat(text: str) -> list[bytes]:
    return list(openai_mock.stream(openai_mock.Reply(text=text), ASKED, 1))


def messages(text: str) -> list[bytes]:
    said = anthropic_mock.reply(anthropic_mock.Text(text), late_input=False, usage=(900, 12, 50, 0))
    return list(anthropic_mock.stream(said, ASKED, 1))


@pytest.mark.parametrize("size", [1, 3_000, TAIL, 5 * TAIL])
def test_anthropics_input_is_known_however_long_the_answer_was(size: int) -> None:
    """It stands in the first event alone, and the output's length in the last but one."""
    unread = Unread(ANTHROPIC)
    for event in messages("word " * (size // 5 + 1)):
        unread.add(event)
    usage = unread.usage()
    assert usage is not None
    assert (usage.input, usage.cached, usage.output) == (950, 50, 12)


@pytest.mark.parametrize("at", [1, 100, 5_000])
def test_it_does_not_matter_where_the_network_cut(at: int) -> None:
    whole = b"".join(messages("word " * 4_000))
    unread = Unread(ANTHROPIC)
    for start in range(0, len(whole), at * 7):
        unread.add(whole[start : start + at * 7])
    usage = unread.usage()
    assert usage is not None
    assert usage.input == 950


def test_what_did_not_go_by_yet_counts_too() -> None:
    *events, usage, done = chat("Hello.")
    unread = Unread(CHAT)
    for event in events:
        unread.add(event)
    assert unread.usage() is None
    assert unread.usage(usage + done) is not None


def test_a_short_stream_that_was_broken_off_is_measured_by_what_it_said() -> None:
    unread = Unread(CHAT)
    for event in chat("Twenty five characters...")[:-3]:
        unread.add(event)
    assert unread.said() == 25


@pytest.mark.parametrize(("codec", "events"), [(CHAT, chat("word " * 4_000)), (ANTHROPIC, messages("word " * 4_000))])
def test_a_long_one_is_measured_by_its_end(codec: object, events: list[bytes]) -> None:
    unread = Unread(codec)  # type: ignore[arg-type]
    for event in events[:-4]:
        unread.add(event)
    assert 20_000 / 2 < unread.said() < 20_000 * 2


def test_a_stream_of_which_nothing_came_said_nothing() -> None:
    assert Unread(CHAT).said() == 0


def test_what_is_kept_has_a_bound() -> None:
    unread = Unread(CHAT)
    for _ in range(200):
        unread.add(b"data: " + json.dumps("x" * 1_000).encode() + b"\n\n")
    assert len(unread._first) + sum(map(len, unread._last)) <= FIRST + 2 * TAIL

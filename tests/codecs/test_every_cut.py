"""A stream says the same however the network cut it, and whether its events come one by one or all at once."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codecs import CODECS
from engine.model.exchange import CallDelta, Chunk, Protocol, TextDelta, UsageReported
from tests.support import anthropic_mock, gemini_mock, openai_mock, responses_mock

ARGUMENTS = '{"command":"echo \\"gr\u00fc\u00df\\" \U0001f600"}'
CUTS = 250
"""Places of one cut that are tried; that every byte may be the last one shows where they come one by one."""
TEXT = "Sch\u00f6n \U0001f600, data: \\n\u2028 so."


def chat() -> list[bytes]:
    calls = (openai_mock.Call("bash", ARGUMENTS), openai_mock.Call("read"))
    reply = openai_mock.Reply(text=TEXT, reasoning="Hm.", calls=calls, fragment=5)
    return list(openai_mock.stream(reply, {"model": "m", "stream_options": {"include_usage": True}}, 1))


def responses() -> list[bytes]:
    content = (responses_mock.Text(TEXT), responses_mock.Call("bash", ARGUMENTS))
    reply = responses_mock.reply(*content, piece=20, fragment=30, obfuscates=False)
    return list(responses_mock.stream(reply, {"model": "m"}, 1))


def messages() -> list[bytes]:
    content = (anthropic_mock.Thinking("Hm."), anthropic_mock.Text(TEXT), anthropic_mock.Call("bash", ARGUMENTS))
    return list(anthropic_mock.stream(anthropic_mock.reply(*content), {"model": "m"}, 1))


def google() -> list[bytes]:
    content = (gemini_mock.Thinking("Hm."), gemini_mock.Text(TEXT), gemini_mock.Call("bash", ARGUMENTS, "c1"))
    frames = gemini_mock.frames(gemini_mock.reply(*content), "m", 1)
    return [b"data: " + json.dumps(frame, ensure_ascii=False).encode() + b"\r\n\r\n" for frame in frames]


STREAMS = {
    Protocol.OPENAI_CHAT: chat(),
    Protocol.OPENAI_RESPONSES: responses(),
    Protocol.ANTHROPIC: messages(),
    Protocol.GEMINI: google(),
}
every = pytest.mark.parametrize("protocol", STREAMS, ids=lambda protocol: protocol.value)


def heard(protocol: Protocol, pieces: Iterable[bytes]) -> list[Chunk]:
    """What the pieces say; what is said of one thing in several pieces is one."""
    reader = CODECS[protocol].reader()
    frames = [frame for piece in pieces for frame in reader.feed(piece)] + reader.close()
    said: list[Any] = []
    used: list[Chunk] = []
    for _, chunks in frames:
        for chunk in chunks:
            match said[-1] if said else None, chunk:
                case TextDelta(choice, channel, text), TextDelta(c, k, more) if (choice, channel) == (c, k):
                    said[-1] = TextDelta(choice, channel, text + more)
                case CallDelta(choice, index, text), CallDelta(c, i, more) if (choice, index) == (c, i):
                    said[-1] = CallDelta(choice, index, text + more)
                case _, UsageReported():
                    used = [chunk]  # Gemini counts in every event
                case _:
                    said.append(chunk)
    assert reader.complete
    return [*said, *used]


@every
def test_a_stream_may_be_cut_anywhere(protocol: Protocol) -> None:
    wire = b"".join(STREAMS[protocol])
    whole = heard(protocol, [wire])
    assert any(isinstance(chunk, TextDelta) and chunk.text == TEXT for chunk in whole)
    for cut in range(1, len(wire), max(1, len(wire) // CUTS)):
        assert heard(protocol, [wire[:cut], wire[cut:]]) == whole, cut


@every
def test_bytes_may_come_one_by_one(protocol: Protocol) -> None:
    wire = b"".join(STREAMS[protocol])
    assert heard(protocol, [bytes([byte]) for byte in wire]) == heard(protocol, [wire])


def grouped(events: Sequence[bytes], sizes: Sequence[int]) -> list[bytes]:
    groups, start = [], 0
    for size in sizes:
        groups.append(b"".join(events[start : start + size]))
        start += size
    return [*groups, b"".join(events[start:])]


@every
@given(st.lists(st.integers(0, 6), max_size=12))
@settings(max_examples=25, deadline=None)
def test_events_may_come_together(protocol: Protocol, sizes: list[int]) -> None:
    events = STREAMS[protocol]
    assert heard(protocol, grouped(events, sizes)) == heard(protocol, events)


@every
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_number_of_cuts_says_the_same(protocol: Protocol, data: st.DataObject) -> None:
    wire = b"".join(STREAMS[protocol])
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=9)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert heard(protocol, pieces) == heard(protocol, [wire])

"""Streams are read to chunks, however the network cut them, and none that was cut is taken for whole."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codecs.anthropic.stream_reader import Reader
from engine.codecs.base import BadAnswer
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Closed,
    Failed,
    Finished,
    Other,
    TextDelta,
    Usage,
    UsageReported,
)
from tests.support.anthropic_mock import Call, Redacted, Reply, Search, Text, Thinking, reply, whole
from tests.support.anthropic_refusals import signature_of

from .streams import REPLIES, chunks_of, heard, wire_of

EVERYTHING = reply(
    *(Thinking("Hm."), Redacted(), Text("Look:"), Search("q"), Text("It rains.", citations=1)),
    *(Call("bash", '{"a":1}'), Call("read")),
    piece=20,
    fragment=20,
    usage=(7, 3, 2, 1),
)
START = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}
STOP = {"type": "message_stop"}


def event(data: Any) -> bytes:
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + json.dumps(data).encode() + b"\n\n"


def block(index: int, wire: Any, *deltas: Any) -> bytes:
    said = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    start = {"type": "content_block_start", "index": index, "content_block": wire}
    return b"".join(map(event, (start, *said, {"type": "content_block_stop", "index": index})))


def test_every_block_becomes_chunks() -> None:
    opened = {"type": "tool_use", "id": "toolu_1_5", "name": "bash", "input": {}}
    chunks = chunks_of(wire_of(EVERYTHING))
    usage = chunks[-2]
    assert isinstance(usage, UsageReported)
    assert [chunk for chunk in chunks if not isinstance(chunk, Other)] == [
        TextDelta(0, "reasoning", "Hm."),
        TextDelta(0, "answer", "Look:"),
        CallOpened(
            *(0, 0, "srvtoolu_1_3", "web_search", "server"),
            {"type": "server_tool_use", "id": "srvtoolu_1_3", "name": "web_search", "input": {}},
        ),
        CallDelta(0, 0, '{"query": "q"}'),
        TextDelta(0, "answer", "It rains."),
        CallOpened(0, 1, "toolu_1_5", "bash", "function", opened),
        CallDelta(0, 1, '{"a":1}'),
        CallOpened(0, 2, "toolu_1_6", "read", "function", {**opened, "id": "toolu_1_6", "name": "read"}),
        Finished(0, "tool_calls"),
        usage,
        Closed(),
    ]


@pytest.mark.parametrize("late", [True, False])
def test_usage_is_that_of_the_beginning_as_the_end_leaves_it(late: bool) -> None:
    (usage,) = [
        chunk.usage
        for chunk in chunks_of(wire_of(Reply(usage=(7, 3, 2, 1), late_input=late)))
        if isinstance(chunk, UsageReported)
    ]
    assert (usage.input, usage.output, usage.cached, usage.cache_write) == (10, 3, 2, 1)
    assert usage.wire["service_tier"] == "standard"


def test_every_frame_knows_what_was_read_from_it() -> None:
    for frame, said in heard(wire_of(EVERYTHING)):
        assert frame.said is said


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_stream_does_not_care_where_the_bytes_were_cut(end: bytes) -> None:
    wire = (b": hello\n\n" + wire_of(EVERYTHING)).replace(b"\n", end)
    expected = heard(wire)
    for cut in range(1, len(wire)):
        reader = Reader()
        assert [*reader.feed(wire[:cut]), *reader.feed(wire[cut:]), *reader.close()] == expected
    reader = Reader()
    single = [said for place in range(len(wire)) for said in reader.feed(wire[place : place + 1])]
    assert [*single, *reader.close()] == expected
    assert b"".join(frame.raw for frame, _ in expected) == wire


@given(REPLIES, st.integers(1, 50))
def test_pieces_of_any_size_say_the_same(scripted: Reply, size: int) -> None:
    wire = wire_of(scripted)
    reader = Reader()
    said = [each for start in range(0, len(wire), size) for each in reader.feed(wire[start : start + size])]
    assert [*said, *reader.close()] == heard(wire)
    assert reader.complete


@given(REPLIES)
def test_a_stream_says_what_the_whole_answer_says(scripted: Reply) -> None:
    chunks = chunks_of(wire_of(scripted))
    content = whole(scripted, {"model": "m"}, 1)["content"]
    for channel, kind, field in (("answer", "text", "text"), ("reasoning", "thinking", "thinking")):
        said = "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta) and chunk.channel == channel)
        assert said == "".join(block[field] for block in content if block["type"] == kind)
    arguments: dict[int, str] = {chunk.index: "" for chunk in chunks if isinstance(chunk, CallOpened)}
    for chunk in chunks:
        if isinstance(chunk, CallDelta):
            arguments[chunk.index] += chunk.arguments
    inputs = [block["input"] for block in content if block["type"].endswith("tool_use")]
    assert [json.loads(text or "{}") for text in arguments.values()] == inputs


def test_thoughts_are_kept_with_their_signatures() -> None:
    reader = Reader()
    reader.feed(wire_of(EVERYTHING))
    assert [part.wire for part in reader.thoughts] == [
        {"type": "thinking", "thinking": "Hm.", "signature": signature_of("Hm.")},
        {"type": "redacted_thinking", "data": Redacted().data},
    ]


def test_a_stream_without_its_end_was_cut() -> None:
    frames = heard(wire_of(EVERYTHING))
    for count in range(len(frames) - 1):
        reader = Reader()
        reader.feed(b"".join(frame.raw for frame, _ in frames[: count + 1]))
        with pytest.raises(BadAnswer, match="was cut"):
            reader.close()


def test_an_error_event_has_the_status_of_its_type_and_ends_the_stream() -> None:
    chunks = chunks_of(wire_of(reply(Text("Hello"), fails_after=3)))
    assert chunks[-1] == Failed(529, "overloaded_error", "Overloaded")
    assert chunks_of(event({"type": "error", "error": {"type": "new_error"}}))[0] == Failed(
        502, "new_error", "the provider reported an error without a message"
    )
    assert chunks_of(event({"type": "error"}))[0].status == 502  # type: ignore[union-attr]


def test_input_with_which_a_call_opens_counts_where_no_delta_follows() -> None:
    wire = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
    delta = {"type": "input_json_delta", "partial_json": '{"y":2}'}
    assert [chunk for chunk in chunks_of(block(0, wire) + event(STOP)) if isinstance(chunk, CallDelta)] == [
        CallDelta(0, 0, '{"x":1}')
    ]
    assert [chunk for chunk in chunks_of(block(0, wire, delta) + event(STOP)) if isinstance(chunk, CallDelta)] == [
        CallDelta(0, 0, '{"y":2}')
    ]


def test_text_with_which_a_block_opens_is_said() -> None:
    said = block(0, {"type": "text", "text": "a"}) + block(1, {"type": "thinking", "thinking": "b"})
    assert [chunk for chunk in chunks_of(said + event(STOP)) if isinstance(chunk, TextDelta)] == [
        TextDelta(0, "answer", "a"),
        TextDelta(0, "reasoning", "b"),
    ]


def test_what_is_unknown_says_nothing() -> None:
    wire = (
        event({"type": "surprise"}) + block(0, {"type": "hologram"}, {"type": "light_delta", "text": 3}) + event(STOP)
    )
    assert all(isinstance(chunk, Other | Closed) for chunk in chunks_of(wire))


def test_usage_that_nobody_reported_is_none() -> None:
    end = {"type": "message_delta", "delta": {"stop_reason": "pause_turn"}}
    assert chunks_of(event({"type": "message_start"}) + event(end) + event(STOP)) == [
        Other(),
        Finished(0, "pause_turn"),
        Closed(),
    ]
    assert chunks_of(event(START) + event({"type": "message_delta"}) + event(STOP))[1] == UsageReported(
        Usage(input=5, output=1, wire={"input_tokens": 5, "output_tokens": 1})
    )


@pytest.mark.parametrize(
    "wire",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        event({"type": "content_block_start", "index": 0}),
        event({"type": "content_block_delta", "index": 0}),
        event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}),
        event({"type": "content_block_stop", "index": 0}),
        block(0, {"type": "text", "text": ""}, {"type": "input_json_delta", "partial_json": "{"}),
    ],
)
def test_what_cannot_be_read_is_the_upstreams_fault_after_what_came_before(wire: bytes) -> None:
    reader = Reader()
    said = reader.feed(event(START) + wire)
    assert said[0][0].data == START
    with pytest.raises(BadAnswer):
        reader.feed(b"")
    with pytest.raises(BadAnswer):
        reader.close()


def test_a_character_that_was_cut_in_two_is_whole_again() -> None:
    halves = [
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\\ud83d"}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\ude00b"}}',
    ]
    opened = event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    wire = opened + b"".join(b"event: content_block_delta\ndata: " + half + b"\n\n" for half in halves)
    frames = heard(wire + event({"type": "content_block_stop", "index": 0}) + event(STOP))
    assert [chunk for _, said in frames for chunk in said if isinstance(chunk, TextDelta)] == [
        TextDelta(0, "answer", "a"),
        TextDelta(0, "answer", "\N{GRINNING FACE}b"),
    ]
    assert all(frame.raw.decode() for frame, _ in frames)


def test_half_a_character_at_the_end_of_a_block_is_left_out() -> None:
    half = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\\ud83d"}}'
    opened = event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    wire = opened + b"data: " + half + b"\n\n" + event({"type": "content_block_stop", "index": 0}) + event(STOP)
    assert [chunk for chunk in chunks_of(wire) if isinstance(chunk, TextDelta)] == [TextDelta(0, "answer", "a")]

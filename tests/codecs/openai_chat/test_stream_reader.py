"""Streams are read as OpenAI sends them and as compatible servers do, wherever the network cuts them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codecs.base import BadAnswer
from engine.codecs.openai_chat.stream_reader import Reader
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Chunk,
    Closed,
    Failed,
    Finished,
    Other,
    TextDelta,
    Usage,
    UsageReported,
)
from tests.support.openai_mock import Call, Reply, stream

DONE = b"data: [DONE]\n\n"


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def delta(said: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    return event({"id": "c", "choices": [{"index": index, "delta": said, "finish_reason": finish}], **more})


def calls(*items: dict[str, Any]) -> bytes:
    return delta({"tool_calls": list(items)})


def read(*frames: bytes) -> list[Chunk]:
    """What an open stream has said so far."""
    reader = Reader()
    return [chunk for data in frames for _, said in reader.feed(data) for chunk in said]


def read_whole(*frames: bytes) -> list[Chunk]:
    reader = Reader()
    heard = [pair for data in frames for pair in reader.feed(data)] + reader.close()
    assert reader.complete
    return [chunk for _, said in heard for chunk in said]


def test_the_documented_sequence() -> None:
    reply = Reply(text="Hello", piece=3, calls=(Call("bash", '{"a":1}', id="call_1"),), fragment=4)
    request = {"model": "m", "stream_options": {"include_usage": True}}
    chunks = read_whole(b"".join(stream(reply, request, 1)))
    usage = chunks[-2]
    assert chunks == [
        Other(),
        TextDelta(0, "answer", "Hel"),
        TextDelta(0, "answer", "lo"),
        CallOpened(0, 0, "call_1", "bash"),
        CallDelta(0, 0, '{"a"'),
        CallDelta(0, 0, ":1}"),
        Finished(0, "tool_calls"),
        usage,
        Closed(),
    ]
    assert isinstance(usage, UsageReported)
    assert (usage.usage.input, usage.usage.output) == (9, 12)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_it_does_not_matter_where_the_bytes_were_cut(end: str) -> None:
    reply = Reply(text="Grüße 😀", reasoning="hm", calls=(Call("f"), Call("g", "x", kind="custom")), fragment=1)
    wire = b": OPENROUTER PROCESSING\n\n" + b"".join(stream(reply, {"model": "m"}, 1))
    wire = wire.replace(b"\n", end.encode())
    expected = read_whole(wire)
    for cut in range(0, len(wire), 3):
        assert read_whole(wire[:cut], wire[cut:]) == expected
    assert read_whole(*(wire[i : i + 1] for i in range(len(wire)))) == expected


def test_one_frame_may_say_everything() -> None:
    said = {
        "role": "assistant",
        "content": "Hi",
        "reasoning": "hm",
        "refusal": "no",
        "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    assert read(delta(said, "tool_calls", usage=usage)) == [
        TextDelta(0, "reasoning", "hm"),
        TextDelta(0, "answer", "Hi"),
        TextDelta(0, "refusal", "no"),
        CallOpened(0, 0, "c", "f"),
        CallDelta(0, 0, "{}"),
        Finished(0, "tool_calls"),
        UsageReported(Usage(input=1, output=2, wire=usage)),
    ]


@pytest.mark.parametrize(
    "said",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning": "hm", "reasoning_content": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
    ],
)
def test_reasoning_is_read_where_servers_put_it_and_once(said: dict[str, Any]) -> None:
    assert read(delta(said)) == [TextDelta(0, "reasoning", "hm")]


@pytest.mark.parametrize(
    "said", [{}, {"role": "assistant", "content": ""}, {"content": None, "tool_calls": None}, {"audio": {"id": "a"}}]
)
def test_a_frame_without_text_says_something_else(said: dict[str, Any]) -> None:
    assert read(delta(said)) == [Other()]


def test_unknown_content_beside_text_is_not_forgotten() -> None:
    assert read(delta({"content": "a", "audio": {"data": "=="}})) == [TextDelta(0, "answer", "a"), Other()]
    assert read(delta({"content": "a", "audio": None})) == [TextDelta(0, "answer", "a")]


@pytest.mark.parametrize(
    "frame",
    [
        b": OPENROUTER PROCESSING\n\n",
        b"data: \n\n",
        b"retry: 3\n\n",
        event({"choices": [], "prompt_filter_results": []}),
    ],
)
def test_a_ping_says_something_else(frame: bytes) -> None:
    assert read(frame) == [Other()]


# --- calls -----------------------------------------------------------------------------------------------------------


def function(name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


def test_id_and_name_that_are_repeated_open_one_call() -> None:
    frames = [calls({"index": 0, "id": "c", **function("f", text)}) for text in ("{", "}")]
    assert read(*frames) == [CallOpened(0, 0, "c", "f"), CallDelta(0, 0, "{"), CallDelta(0, 0, "}")]


def test_several_calls_in_one_frame_and_fragments_by_index() -> None:
    assert read(
        calls({"index": 0, "id": "a", **function("f", "")}, {"index": 1, "id": "b", **function("g", "")}),
        calls({"index": 1, **function(None, "2")}, {"index": 0, **function(None, "1")}),
    ) == [CallOpened(0, 0, "a", "f"), CallOpened(0, 1, "b", "g"), CallDelta(0, 1, "2"), CallDelta(0, 0, "1")]


def test_calls_without_index_are_told_apart_by_id_and_go_on_with_the_last() -> None:
    assert read(
        calls({"id": "a", **function("f", "{}")}),
        calls({"id": "b", "index": None, **function("f", "{")}),
        calls(function(None, "}")),
    ) == [
        CallOpened(0, 0, "a", "f"),
        CallDelta(0, 0, "{}"),
        CallOpened(0, 1, "b", "f"),
        CallDelta(0, 1, "{"),
        CallDelta(0, 1, "}"),
    ]


def test_a_call_without_index_goes_on_under_its_id() -> None:
    assert read(
        calls({"id": "a", **function("f", "1")}),
        calls({"id": "b", **function("g", "2")}),
        calls({"id": "a", **function(None, "3")}),
    )[-1] == CallDelta(0, 0, "3")


def test_parallel_calls_that_all_say_index_0_are_several() -> None:
    assert read(
        calls({"index": 0, "id": "a", **function("f", "1")}),
        calls({"index": 0, "id": "b", **function("g", "2")}),
        calls({"index": 0, **function(None, "3")}),
    ) == [
        CallOpened(0, 0, "a", "f"),
        CallDelta(0, 0, "1"),
        CallOpened(0, 1, "b", "g"),
        CallDelta(0, 1, "2"),
        CallDelta(0, 1, "3"),
    ]


def test_a_call_opens_when_its_name_is_known() -> None:
    assert read(
        calls({"index": 0, "id": 7, "function": {"arguments": "{"}}), calls({"index": 0, **function("f", {"a": 1})})
    ) == [Other(), CallOpened(0, 0, "7", "f"), CallDelta(0, 0, "{"), CallDelta(0, 0, '{"a":1}')]


def test_a_call_whose_name_never_came_is_seen_at_the_end() -> None:
    frames = [calls({"index": 0, "id": "c", "function": {"arguments": "{}"}}), delta({}, "tool_calls")]
    assert read(*frames)[1:] == [CallOpened(0, 0, "c", ""), CallDelta(0, 0, "{}"), Finished(0, "tool_calls")]


def test_a_call_that_changes_its_name_is_refused() -> None:
    with pytest.raises(BadAnswer, match="renamed the tool call 'ba' to 'sh'"):
        read(calls({"index": 0, "id": "c", **function("ba")}), calls({"index": 0, **function("sh")}))


def test_custom_and_deprecated_calls() -> None:
    assert read(
        calls({"index": 0, "id": "c", "type": "custom", "custom": {"name": "note", "input": ""}}),
        calls({"index": 0, "custom": {"input": "free"}}),
    ) == [CallOpened(0, 0, "c", "note", "custom"), CallDelta(0, 0, "free")]
    assert read(
        delta({"function_call": {"name": "f", "arguments": ""}}),
        delta({"function_call": {"arguments": "{}"}}),
        delta({}, "function_call"),
    ) == [CallOpened(0, 0, "f", "f", wire={"name": "f"}), CallDelta(0, 0, "{}"), Finished(0, "tool_calls")]


def test_unknown_fields_of_a_call_come_with_it() -> None:
    extra = {"extra_content": {"google": {"thought_signature": "sig"}}}
    assert read(calls({"index": 0, "id": "c", **function("f"), **extra})) == [
        CallOpened(0, 0, "c", "f", "function", extra)
    ]


def test_choices_are_told_apart() -> None:
    both = event({"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]})
    assert read(both) == [TextDelta(1, "answer", "b"), TextDelta(0, "answer", "a")]


# --- how streams end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"error": {"message": "over", "type": "server_error"}}, Failed(500, "server_error", "over")),
        ({"error": {"message": "slow", "code": 429}}, Failed(429, "rate_limit_error", "slow")),
        ({"error": "boom"}, Failed(502, "server_error", "boom")),
        (
            {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400},
            Failed(400, "BadRequestError", "bad"),
        ),
    ],
)
def test_an_error_inside_a_stream_is_a_failure_and_not_a_cut(error: dict[str, Any], expected: Failed) -> None:
    reader = Reader()
    assert [chunk for _, said in reader.feed(event(error)) for chunk in said] == [expected]
    assert reader.close() == []
    assert not reader.complete


def test_what_stands_beside_text_is_not_overlooked() -> None:
    usage = {"prompt_tokens": 1}
    reported = UsageReported(Usage(input=1, wire=usage))
    begin, text = delta({"content": "a"}), TextDelta(0, "answer", "b")
    failed = Failed(503, "overloaded_error", "x")
    assert read(begin, delta({"content": "b"}, error={"message": "x", "type": "overloaded_error"}))[1:] == [
        failed,
        text,
    ]
    assert read(begin, delta({"content": "b"}, x_groq={"usage": usage}))[1:] == [text, reported]
    assert read(begin, delta({"content": "b"}, usage=usage))[1:] == [text, reported]
    assert read(begin, delta({"content": "b"}, "length"))[1:] == [text, Finished(0, "length")]


@pytest.mark.parametrize("tail", [DONE, b"data: [DONE]", b"data:[DONE]\r\n", b""])
def test_a_stream_is_whole_with_done_or_when_every_choice_has_finished(tail: bytes) -> None:
    chunks = read_whole(delta({"content": "a"}), delta({}, "stop"), tail)
    assert Finished(0, "stop") in chunks


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [delta({"content": "a"})],
        [delta({}, "stop"), delta({"content": "b"}, index=1)],
        [delta({"content": "a"}, "")],
        [delta({}, "stop"), b'data: {"choi'],
        [b": ping\n\n"],
    ],
)
def test_what_ends_before_is_cut(frames: list[bytes]) -> None:
    reader = Reader()
    for frame in frames:
        reader.feed(frame)
    with pytest.raises(BadAnswer):
        reader.close()
    assert not reader.complete


@pytest.mark.parametrize(
    "frame", [b"data: nonsense\n\n", b"data: [1]\n\n", event({"choices": [1]}), b"data: " + b"{" * 90_000 + b"\n\n"]
)
def test_what_cannot_be_read_is_the_upstreams_fault(frame: bytes) -> None:
    with pytest.raises(BadAnswer):
        read(frame)


def test_what_came_before_it_is_said_first() -> None:
    reader = Reader()
    ((_, said),) = reader.feed(delta({"content": "a"}, "stop") + b"data: nonsense\n\n" + DONE)
    assert said[0] == TextDelta(0, "answer", "a")
    with pytest.raises(BadAnswer):
        reader.feed(b"")
    with pytest.raises(BadAnswer):
        reader.close()
    assert not reader.complete


@pytest.mark.parametrize("index", [None, [], "0", -1, 10**30])
def test_strange_indices_break_nothing(index: Any) -> None:
    frame = event({"choices": [{"index": index, "delta": {"content": "a", "tool_calls": [{"index": index}]}}]})
    assert TextDelta in {type(chunk) for chunk in read(frame, frame)}


# --- characters that the server cut ----------------------------------------------------------------------------------


def test_a_surrogate_pair_split_between_frames_is_joined() -> None:
    frames = [
        event(b'{"choices":[{"index":0,"delta":{"content":"a\\ud83d"}}]}'),
        event(b'{"choices":[{"index":0,"delta":{"content":"\\ude00b"}}]}'),
    ]
    assert read(*frames) == [TextDelta(0, "answer", "a"), TextDelta(0, "answer", "😀b")]


def test_a_pair_split_in_arguments_is_joined_past_another_frame() -> None:
    frames = [
        event(
            b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"\\ud83d"}}]}}]}'
        ),
        delta({"content": "x"}),
        event(b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\\ude00"}}]}}]}'),
    ]
    assert read(*frames)[1:] == [TextDelta(0, "answer", "x"), CallDelta(0, 0, "😀")]


def test_half_a_pair_that_stays_alone_is_replaced() -> None:
    frames = [event(b'{"choices":[{"index":0,"delta":{"content":"a\\ud83d"}}]}'), delta({}, "stop")]
    assert read(*frames) == [TextDelta(0, "answer", "a"), TextDelta(0, "answer", "\ufffd"), Finished(0, "stop")]


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    assert read(event(b'{"choices":[{"index":0,"delta":{"content":"a\xff"}}]}')) == [TextDelta(0, "answer", "a\ufffd")]


# --- properties ------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
REPLIES = st.builds(
    Reply,
    text=TEXTS,
    reasoning=TEXTS,
    refusal=TEXTS,
    calls=st.lists(st.builds(Call, st.just("f"), TEXTS, kind=st.sampled_from(["function", "custom"])), max_size=3).map(
        tuple
    ),
    piece=st.integers(1, 4),
    fragment=st.integers(1, 4),
)


@given(REPLIES, st.booleans(), st.lists(st.integers(1, 400), max_size=8))
def test_what_was_said_is_heard_however_it_was_cut(reply: Reply, usage: bool, cuts: list[int]) -> None:
    request = {"model": "m", "stream_options": {"include_usage": usage}}
    wire = b"".join(stream(reply, request, 1))
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(wire[start : start + cut])
        start += cut
    chunks = read_whole(*pieces, wire[start:])
    assert chunks == read_whole(wire)
    for channel, text in (("answer", reply.text), ("reasoning", reply.reasoning), ("refusal", reply.refusal)):
        assert "".join(c.text for c in chunks if isinstance(c, TextDelta) and c.channel == channel) == text
    for place, call in enumerate(reply.calls):
        arguments = "".join(c.arguments for c in chunks if isinstance(c, CallDelta) and c.index == place)
        assert arguments == call.arguments
    assert len([c for c in chunks if isinstance(c, CallOpened)]) == len(reply.calls)

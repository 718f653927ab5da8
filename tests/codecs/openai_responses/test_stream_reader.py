"""Streams are read to chunks, however the network cut them, and none that was cut is taken for whole."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codecs.base import BadAnswer
from engine.codecs.openai_responses.stream_reader import Reader
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Closed,
    Failed,
    Finished,
    Other,
    TextDelta,
    UsageReported,
)
from tests.support.responses_mock import Call, Custom, Refused, Reply, Search, Shell, Text, Thought, reply

from .streams import REPLIES, chunks_of, heard, wire_of

EVERYTHING = reply(
    *(Thought(("Hm.",)), Text("Look:"), Search("q"), Refused("No.")),
    *(Call("bash", '{"a":1}'), Custom("patch", "*** Begin"), Shell(("ls",))),
    piece=20,
    fragment=20,
    usage=(7, 2, 3, 1),
)
ADDED: dict[str, Any] = {
    "type": "response.output_item.added",
    "output_index": 0,
    "item": {"id": "msg_1", "type": "message", "role": "assistant", "content": []},
}
CALL: dict[str, Any] = {"id": "fc_1", "type": "function_call", "call_id": "a", "name": "bash", "arguments": ""}


def event(data: Any) -> bytes:
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + json.dumps(data).encode() + b"\n\n"


def said(*events: Any) -> list[Any]:
    reader = Reader()
    found = [chunk for each in events for _, chunks in reader.feed(event(each)) for chunk in chunks]
    return [chunk for chunk in found if not isinstance(chunk, Other)]


def done(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": 0, "item": item}


def completed(*output: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": list(output)}}


def test_every_item_becomes_chunks() -> None:
    chunks = [chunk for chunk in chunks_of(wire_of(EVERYTHING)) if not isinstance(chunk, Other)]
    assert [
        (chunk.kind, chunk.id, chunk.name) if isinstance(chunk, CallOpened) else chunk
        for chunk in chunks
        if not isinstance(chunk, UsageReported)
    ] == [
        TextDelta(0, "reasoning", "Hm."),
        TextDelta(0, "answer", "Look:"),
        ("server", "ws_1_2", "web_search"),
        CallDelta(0, 0, '{"type":"search","query":"q"}'),
        TextDelta(0, "refusal", "No."),
        ("function", "call_1_4", "bash"),
        CallDelta(0, 1, '{"a":1}'),
        ("custom", "call_1_5", "patch"),
        CallDelta(0, 2, "*** Begin"),
        ("function", "call_1_6", "shell"),
        CallDelta(0, 3, '{"commands":["ls"],"timeout_ms":null,"max_output_length":null}'),
        Finished(0, "tool_calls"),
        Closed(),
    ]


def test_usage_is_that_of_the_response_at_the_end() -> None:
    (usage,) = [chunk.usage for chunk in chunks_of(wire_of(EVERYTHING)) if isinstance(chunk, UsageReported)]
    assert (usage.input, usage.cached, usage.output, usage.reasoning) == (7, 2, 3, 1)


def test_reasoning_that_ended_goes_back_with_what_was_encrypted_of_it() -> None:
    reader = Reader()
    reader.feed(wire_of(EVERYTHING))
    (thought,) = reader.thoughts
    assert (thought.text, thought.wire.item["id"]) == ("Hm.", "rs_1_0")
    assert thought.wire.item["encrypted_content"]


def test_an_answer_that_was_broken_off_says_why() -> None:
    assert Finished(0, "length") in chunks_of(wire_of(reply(Text("a"), incomplete="max_output_tokens")))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_stream_does_not_care_where_the_bytes_were_cut(end: bytes) -> None:
    wire = (b": hello\n\n" + wire_of(reply(Text("Hello"), Call("f", '{"a":1}'), obfuscates=False))).replace(b"\n", end)
    expected = heard(wire)
    for cut in range(1, len(wire), 7):
        reader = Reader()
        assert [*reader.feed(wire[:cut]), *reader.feed(wire[cut:]), *reader.close()] == expected
    reader = Reader()
    single = [each for place in range(len(wire)) for each in reader.feed(wire[place : place + 1])]
    assert [*single, *reader.close()] == expected
    assert b"".join(frame.raw for frame, _ in expected) == wire


@given(REPLIES, st.data())
def test_a_stream_that_was_cut_is_never_whole(script: Reply, data: st.DataObject) -> None:
    wire = wire_of(script)
    last = wire.rindex(b"event: ")
    reader = Reader()
    reader.feed(wire[: data.draw(st.integers(0, last))])
    with pytest.raises(BadAnswer):
        reader.close()


@pytest.mark.parametrize("failed", [True, False])
def test_a_failure_is_said(failed: bool) -> None:
    reader = Reader()
    chunks = [
        each for _, said in reader.feed(wire_of(reply(Text("Hello"), fails_after=4, failed=failed))) for each in said
    ]
    assert chunks[-1] == Failed(502, "server_error", "The server had an error.")
    assert reader.close() == []


# --- what compatible servers do --------------------------------------------------------------------------------------


def test_a_text_that_comes_without_deltas_is_heard_all_the_same() -> None:
    text = {"type": "output_text", "text": "Hello"}
    item = {**ADDED["item"], "content": [text]}
    at = {"output_index": 0, "content_index": 0}
    whole = [TextDelta(0, "answer", "Hello")]
    assert said(ADDED, {"type": "response.output_text.done", "text": "Hello", **at}) == whole
    assert said(ADDED, {"type": "response.content_part.done", "part": text, **at}) == whole
    assert said(ADDED, done(item)) == whole
    assert said(completed(item))[:1] == whole


def test_a_text_is_heard_once_however_often_it_is_repeated() -> None:
    assert [c.text for c in chunks_of(wire_of(reply(Text("Hello"), piece=9))) if isinstance(c, TextDelta)] == ["Hello"]


def test_a_call_that_only_the_last_event_has_is_heard() -> None:
    assert said(completed({**CALL, "arguments": "{}"}))[:2] == [
        CallOpened(0, 0, "a", "bash", "function", {**CALL, "arguments": "{}"}),
        CallDelta(0, 0, "{}"),
    ]


@pytest.mark.parametrize(
    "last",
    [
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Other"},
        done({**ADDED["item"], "content": [{"type": "output_text", "text": "Other"}]}),
        completed({**ADDED["item"], "content": [{"type": "output_text", "text": "Other"}]}),
    ],
)
def test_a_repetition_that_says_another_text_is_no_answer(last: Any) -> None:
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hello"}
    with pytest.raises(BadAnswer):
        said(ADDED, delta, last)


@pytest.mark.parametrize("changed", [{"name": "rm"}, {"call_id": "b"}, {"arguments": '{"x":1}'}])
def test_a_call_that_ends_as_another_is_no_answer(changed: dict[str, str]) -> None:
    opened = {**ADDED, "item": CALL}
    delta = {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"a":'}
    with pytest.raises(BadAnswer):
        said(opened, delta, done({**CALL, "arguments": '{"a":1}', **changed}))


def test_a_surrogate_pair_that_was_cut_in_two_is_joined() -> None:
    at = '"type":"response.output_text.delta","output_index":0,"content_index":0'
    wire = event(ADDED) + b"".join(f'data: {{{at},"delta":"{half}"}}\n\n'.encode() for half in ("\\ud83d", "\\ude00"))
    found = [chunk for _, chunks in Reader().feed(wire) for chunk in chunks if isinstance(chunk, TextDelta)]
    assert "".join(chunk.text for chunk in found) == "😀"

"""Streams are read alike in both forms, wherever the network cut them, and a cut one is an error."""

import json
from typing import Any

import pytest

from engine.codecs.base import BadAnswer
from engine.model.exchange import CallDelta, CallOpened, Closed, Failed, Finished, Other, TextDelta, UsageReported
from tests.support.gemini_mock import Call, Reply, Text, reply

from .streams import CODEC, EVERYTHING, TWO, heard, wire_of

forms = pytest.mark.parametrize("array", [False, True], ids=["events", "array"])


def frame(text: str = "", finish: str = "", **more: Any) -> dict[str, Any]:
    end = {"finishReason": finish} if finish else {}
    return {"candidates": [{"content": {"parts": [{"text": text}] if text else []}, **end, **more}]}


def events(*frames: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in frames)


@forms
def test_everything_is_said(array: bool) -> None:
    said = [chunk for _, chunks in heard(wire_of(EVERYTHING, array=array)) for chunk in chunks]
    texts = [chunk for chunk in said if isinstance(chunk, TextDelta)]
    assert "".join(chunk.text for chunk in texts if chunk.channel == "reasoning") == "Hm, wait."
    assert "".join(chunk.text for chunk in texts if chunk.channel == "answer") == "Look: é\u2028"
    opened = [chunk for chunk in said if isinstance(chunk, CallOpened)]
    assert [(chunk.index, chunk.id, chunk.name, chunk.kind) for chunk in opened] == [
        (0, "lexgate-call-0", "code_execution", "server"),
        (1, "a", "bash", "function"),
        (2, "lexgate-call-2", "read", "function"),
    ]
    assert opened[1].signature
    assert [json.loads(chunk.arguments) for chunk in said if isinstance(chunk, CallDelta)][1:] == [
        {"command": '"[{\\'},
        {},
    ]
    assert [chunk for chunk in said if isinstance(chunk, Finished)] == [Finished(0, "tool_calls")]
    usage = [chunk.usage for chunk in said if isinstance(chunk, UsageReported)][-1]
    assert (usage.input, usage.output, usage.reasoning, usage.cached) == (9, 17, 5, 3)
    assert said[-1] == Closed()


@forms
@pytest.mark.parametrize("scripted", [EVERYTHING, TWO], ids=["everything", "two"])
def test_it_does_not_matter_where_the_bytes_were_cut(scripted: Reply, array: bool) -> None:
    wire = wire_of(scripted, array=array)
    whole = heard(wire)
    assert b"".join(frame.raw for frame, _ in whole) == wire
    for cut in range(1, len(wire)):
        assert heard(wire, (cut,)) == whole
    assert heard(wire, range(1, len(wire))) == whole


@forms
def test_a_stream_that_was_cut_is_never_whole(array: bool) -> None:
    wire = wire_of(reply(Text("Hello, world.")), array=array)
    for cut in range(1, wire.rindex(b"finishReason")):
        reader = CODEC.reader()
        with pytest.raises(BadAnswer):
            [*reader.feed(wire[:cut]), *reader.close()]
        assert not reader.complete


def test_nothing_at_all_is_no_answer() -> None:
    with pytest.raises(BadAnswer):
        CODEC.reader().close()


def test_one_candidate_that_did_not_finish_makes_the_stream_a_cut_one() -> None:
    reader = CODEC.reader()
    reader.feed(events(frame("a", "STOP", index=0), frame("b", index=1)))
    with pytest.raises(BadAnswer):
        reader.close()


def test_an_end_in_every_frame_is_an_end_in_the_last_one() -> None:
    """Old models and some servers say STOP from the first frame on."""
    said = heard(events(frame("a", "STOP"), frame("b", "STOP"), {"usageMetadata": {"promptTokenCount": 1}}))
    kinds = [[type(chunk) for chunk in chunks] for _, chunks in said]
    assert kinds == [[TextDelta], [TextDelta, Finished], [UsageReported], [Closed]]


def test_a_refused_prompt_is_an_answer_that_was_filtered() -> None:
    said = heard(events({"promptFeedback": {"blockReason": "SAFETY"}}))
    assert [chunks for _, chunks in said] == [(Finished(0, "content_filter"),), (Closed(),)]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
    ],
)
def test_why_it_ended_is_canonical(reason: str, finish: str) -> None:
    chunks = [chunk for _, each in heard(events(frame("a", reason))) for chunk in each]
    assert Finished(0, finish) in chunks


def test_an_error_inside_the_stream_is_told() -> None:
    reader = CODEC.reader()
    error = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
    said = [chunk for _, chunks in reader.feed(events(frame("a"), error)) for chunk in chunks]
    assert said[-1] == Failed(503, "server_error", "Overloaded.")
    assert reader.close() == []
    assert not reader.complete


def test_halves_of_a_character_in_two_frames_are_one() -> None:
    wire = b'data: {"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]}}]}\n\n'
    wire += b'data: {"candidates":[{"content":{"parts":[{"text":"\\ude00b"}]},"finishReason":"STOP"}]}\n\n'
    texts = [chunk.text for _, chunks in heard(wire) for chunk in chunks if isinstance(chunk, TextDelta)]
    assert "".join(texts) == "a\U0001f600b"


def test_what_is_no_text_and_no_call_is_something_else() -> None:
    extras: list[dict[str, Any]] = [{"groundingMetadata": {}}, {"content": {"parts": [{"inlineData": {}}]}}]
    for extra in extras:
        wire = events({"candidates": [{**extra, "finishReason": "STOP"}]})
        assert Other() in heard(wire)[0][1]


def test_bytes_without_a_call_are_known_as_such() -> None:
    assert not CODEC.may_hold_calls(wire_of(reply(Text("functionCall said somebody")), array=False))
    assert CODEC.may_hold_calls(wire_of(reply(Call("bash")), array=True))


@forms
def test_usage_is_found_at_the_end_of_what_was_not_read(array: bool) -> None:
    usage = CODEC.usage_in_tail(wire_of(EVERYTHING, array=array)[-400:])
    assert usage is not None
    assert (usage.input, usage.output) == (9, 17)

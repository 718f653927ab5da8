"""Streams are written as they came where nothing changed, and well-formed in the client's form where something did."""

import json
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from engine.codecs.base import Problem
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Chunk,
    Closed,
    Finished,
    Frame,
    Other,
    TextDelta,
    Usage,
    UsageReported,
)
from tests.support.gemini_mock import Call, Code, Reply, Text, reply

from .streams import CODEC, EVERYTHING, TWO, asked, documents, heard, parts_of, rewritten, wire_of

forms = pytest.mark.parametrize("array", [False, True], ids=["events", "array"])
SIGNED = Call("bash", '{"command":"ls"}', "a", signed=True)


def shouting(_: Frame, chunks: tuple[Chunk, ...]) -> Sequence[Chunk]:
    return [replace(chunk, text=chunk.text.upper()) if isinstance(chunk, TextDelta) else chunk for chunk in chunks]


@forms
@pytest.mark.parametrize("scripted", [EVERYTHING, TWO], ids=["everything", "two"])
def test_what_nobody_changed_is_the_bytes_that_came(scripted: Reply, array: bool) -> None:
    wire = wire_of(scripted, array=array)
    assert rewritten(wire, lambda _, chunks: chunks, array=array) == wire


@forms
def test_a_stream_of_the_other_form_is_put_into_the_clients(array: bool) -> None:
    wire = wire_of(EVERYTHING, array=not array)
    out = rewritten(wire, lambda _, chunks: chunks, array=array)
    assert documents(out) == documents(wire)
    assert (out[:1] == b"[") is array


@forms
def test_only_the_text_that_changed_differs(array: bool) -> None:
    wire = wire_of(EVERYTHING, array=array)
    expected = documents(wire)
    for frame in expected:
        for candidate in frame["candidates"]:
            for part in candidate["content"]["parts"]:
                if "text" in part:
                    part["text"] = part["text"].upper()
    assert documents(rewritten(wire, shouting, array=array)) == expected


def test_line_ends_of_unicode_are_escaped_in_what_is_written() -> None:
    out = rewritten(wire_of(EVERYTHING, array=False), shouting, array=False)
    assert "\u2028" not in out.decode()
    assert b"\\u2028" in out


@forms
def test_text_that_is_withheld_leaves_no_frame_and_no_broken_array(array: bool) -> None:
    wire = wire_of(reply(Text("Hello, world.", signed=True)), array=array)
    out = rewritten(
        wire, lambda _, chunks: [chunk for chunk in chunks if not isinstance(chunk, TextDelta)], array=array
    )
    assert "".join(part.get("text", "") for part in parts_of(out)) == ""
    assert [part for part in parts_of(out) if "thoughtSignature" in part]
    assert documents(out)[-1]["candidates"][0]["finishReason"] == "STOP"


@forms
def test_calls_that_waited_are_written_before_the_end_with_what_they_had(array: bool) -> None:
    wire = wire_of(reply(Text("So."), SIGNED, Call("read"), together=False), array=array)
    writer, out = CODEC.writer(asked(array=array)), []
    held: list[Chunk] = []
    for frame, chunks in heard(wire):
        held += [chunk for chunk in chunks if isinstance(chunk, CallOpened | CallDelta)]
        rest = [chunk for chunk in chunks if not isinstance(chunk, CallOpened | CallDelta)]
        if any(isinstance(chunk, Finished) for chunk in chunks):
            out.append(writer.write(held))
        out.append(writer.write(rest if len(rest) != len(chunks) else chunks, frame))
    calls = [part for part in parts_of(b"".join(out)) if "functionCall" in part]
    assert calls == [part for part in parts_of(wire) if "functionCall" in part]


@forms
def test_the_call_that_is_first_now_has_a_signature(array: bool) -> None:
    wire = wire_of(reply(SIGNED, Call("read", "{}", "b")), array=array)

    def second(_: Frame, chunks: tuple[Chunk, ...]) -> Sequence[Chunk]:
        return [chunk for chunk in chunks if getattr(chunk, "index", 1) == 1]

    assert parts_of(rewritten(wire, second, array=array)) == [
        {
            "functionCall": {"name": "read", "args": {}, "id": "b"},
            "thoughtSignature": "skip_thought_signature_validator",
        }
    ]


def test_what_quotes_text_that_changed_is_left_out() -> None:
    quotes = {
        "groundingMetadata": {"groundingSupports": [{"segment": {"text": "Secret"}}], "webSearchQueries": ["q"]},
        "citationMetadata": {"citationSources": []},
    }
    wire = wire_of(reply(Text("Secret."), extra=quotes), array=False)
    last = documents(rewritten(wire, shouting, array=False))[-1]["candidates"][0]
    assert last["groundingMetadata"] == {"webSearchQueries": ["q"]}
    assert "citationMetadata" not in last
    assert rewritten(wire, lambda _, chunks: chunks, array=False) == wire


def test_the_result_of_code_that_is_withheld_is_withheld_too() -> None:
    wire = wire_of(reply(Text("So."), Code("rm()", "gone")), array=False)

    def without_calls(_: Frame, chunks: tuple[Chunk, ...]) -> Sequence[Chunk]:
        return [chunk for chunk in chunks if not isinstance(chunk, CallOpened | CallDelta)]

    assert b"gone" not in rewritten(wire, without_calls, array=False)


@forms
def test_an_answer_of_our_own_is_whole(array: bool) -> None:
    writer = CODEC.writer(asked(array=array))
    chunks: list[Chunk] = [
        Other(),
        TextDelta(0, "reasoning", "Hm."),
        TextDelta(0, "answer", "So"),
        CallOpened(0, 0, "call_1", "bash"),
        CallDelta(0, 0, '{"command":'),
        CallDelta(0, 0, '"ls"}'),
        Finished(0, "tool_calls"),
        UsageReported(Usage(input=3, output=5, reasoning=2, cached=1)),
        Closed(),
    ]
    out = b"".join(writer.write([chunk]) for chunk in chunks)
    assert parts_of(out) == [
        {"text": "Hm.", "thought": True},
        {"text": "So"},
        {
            "functionCall": {"id": "call_1", "name": "bash", "args": {"command": "ls"}},
            "thoughtSignature": "skip_thought_signature_validator",
        },
    ]
    last = documents(out)[-1]
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["usageMetadata"] == {
        "promptTokenCount": 3,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "cachedContentTokenCount": 1,
        "totalTokenCount": 8,
    }
    assert all("candidates" in frame for frame in documents(out))


def test_another_attempt_goes_on_in_the_same_response() -> None:
    writer, out = CODEC.writer(asked(array=True)), b""
    first, second = (reply(Text("One.")), reply(Text("Two.")))
    for frame, chunks in heard(wire_of(first, array=True)):
        out += writer.write([chunk for chunk in chunks if isinstance(chunk, TextDelta)], frame)
    writer.next_attempt()
    for frame, chunks in heard(wire_of(second, array=True).replace(b"resp-1", b"resp-9")):
        out += writer.write(chunks, frame)
    assert {frame["responseId"] for frame in documents(out)} == {"resp-1"}
    assert "".join(part["text"] for part in parts_of(out)) == "One.Two."


@forms
def test_an_error_ends_the_stream_in_its_form(array: bool) -> None:
    writer = CODEC.writer(asked(array=array))
    problem = Problem(status=503, message="Busy.", kind="server_error", retry_after=3.0)
    out = (
        writer.keep_alive() + writer.write([TextDelta(0, "answer", "So")]) + writer.keep_alive() + writer.error(problem)
    )
    error = documents(out)[-1]["error"]
    assert (error["code"], error["status"]) == (503, "UNAVAILABLE")
    assert error["details"] == [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}]


def test_thoughts_and_text_are_told_apart_in_one_frame() -> None:
    parts = [{"text": "Hm.", "thought": True}, {"text": "So."}, {"text": "!"}]
    frame = {"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}]}
    wire = b"data: " + json.dumps(frame).encode() + b"\n\n"

    def change(_: Frame, chunks: tuple[Chunk, ...]) -> Sequence[Chunk]:
        return [replace(chunk, text="*") if chunk == TextDelta(0, "answer", "So.") else chunk for chunk in chunks]

    assert parts_of(rewritten(wire, change, array=False)) == [{"text": "Hm.", "thought": True}, {"text": "*!"}]


def test_keep_alives_are_white_space() -> None:
    """The official SDKs take a comment for JSON, or miss the event behind it."""
    assert CODEC.writer(asked(array=False)).keep_alive().strip() == b""

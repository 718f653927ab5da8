"""Streams are written as they came where nothing changed, and as one well-formed answer where something did."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from engine.codecs import CODECS
from engine.codecs.base import Problem, StreamWriter
from engine.codecs.openai_chat.stream_reader import Reader
from engine.codecs.sse import Decoder
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Chunk,
    Closed,
    Failed,
    Finished,
    Frame,
    Other,
    Protocol,
    TextDelta,
    Usage,
    UsageReported,
)
from tests.support.openai_mock import Call, Reply, stream

CODEC = CODECS[Protocol.OPENAI_CHAT]
EXCHANGE = replace(
    CODEC.decode_request(b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}', id="x1", headers={}),
    received=1_700_000_000,
)


def frame_of(data: Any) -> Frame:
    raw = b"data: " + json.dumps(data).encode() + b"\n\n"
    return Reader().feed(raw)[0][0]


def delta(said: dict[str, Any], finish: str | None = None, **more: Any) -> Frame:
    choice = {"index": 0, "delta": said, "logprobs": None, "finish_reason": finish}
    return frame_of({"id": "c1", "created": 5, "model": "m", "x": 1, "choices": [choice], **more})


ROLE = {"role": "assistant", "content": "", "refusal": None}


def begun(**options: Any) -> StreamWriter:
    """A writer through which the first frame of an answer has passed."""
    writer = CODEC.writer(EXCHANGE, **options)
    first = delta(ROLE)
    writer.write(first.said, first)
    return writer


def documents(data: bytes) -> list[Any]:
    return [
        event.data.decode() if event.data == b"[DONE]" else json.loads(event.data)
        for event in Decoder().feed(data)
        if event.data is not None
    ]


def deltas(data: bytes) -> list[Any]:
    return [choice["delta"] for document in documents(data) for choice in document["choices"]]


# --- what came -------------------------------------------------------------------------------------------------------


def test_a_frame_of_which_nothing_changed_is_its_bytes() -> None:
    frame = delta({"content": "a", "audio": {"x": 1}}, "stop", usage={"prompt_tokens": 1})
    assert begun().write(list(frame.said), frame) is frame.raw


@pytest.mark.parametrize("raw", [b": PROCESSING\n\n", b"data: [DONE]\r\n\r\n", b"data:  \n\n"])
def test_comments_and_ends_pass_as_they_came(raw: bytes) -> None:
    ((frame, said),) = Reader().feed(raw)
    writer = CODEC.writer(EXCHANGE)
    assert writer.write(said, frame) == raw
    assert writer.write((), frame) == b""


def test_a_frame_that_may_say_nothing_is_nothing() -> None:
    assert begun().write((), delta({"content": "a"})) == b""


def test_changed_text_is_written_into_its_frame() -> None:
    frame = delta({"content": "secret", "y": None}, obfuscation="ab")
    assert documents(begun().write((TextDelta(0, "answer", "s"),), frame)) == [
        {**frame.data, "choices": [{**frame.data["choices"][0], "delta": {"content": "s", "y": None}}]}
    ]


def test_changed_text_takes_its_log_probabilities_with_it() -> None:
    choice = {"index": 0, "delta": {"content": "secret"}, "logprobs": {"content": [{"token": "secret"}]}}
    frame = frame_of({"id": "c1", "choices": [choice]})
    written = begun().write((TextDelta(0, "answer", "[x]"),), frame)
    assert b"secret" not in written
    assert documents(written)[0]["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_of_a_frame_that_said_several_things_any_one_can_be_kept(kept: int) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    frame = delta({"content": "a", "refusal": "b", "tool_calls": [call]}, "tool_calls")
    expected: list[tuple[dict[str, Any], str | None]] = [
        ({"content": "a", "refusal": ""}, None),
        ({"content": "", "refusal": "b"}, None),
        ({"content": "", "refusal": "", "tool_calls": [call]}, None),
        ({"content": "", "refusal": ""}, "tool_calls"),
    ]
    (document,) = documents(begun().write((frame.said[kept],), frame))
    choice = document["choices"][0]
    assert (choice["delta"], choice["finish_reason"]) == expected[kept]


def test_a_changed_finish_reason_is_written() -> None:
    (document,) = documents(begun().write((Finished(0, "stop"),), delta({}, "tool_calls")))
    assert document["choices"][0]["finish_reason"] == "stop"


def test_changed_usage_is_written_over_what_was_reported() -> None:
    wire = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "z": 1}
    frame = frame_of({"id": "c1", "choices": [], "usage": wire})
    (document,) = documents(begun().write((UsageReported(Usage(input=1, output=9, wire=wire)),), frame))
    assert document["usage"] == {"prompt_tokens": 1, "completion_tokens": 9, "total_tokens": 10, "z": 1}


def test_a_withheld_thought_takes_its_signature_with_it_also_when_that_comes_later() -> None:
    writer = begun()
    thought = delta({"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a"}]})
    signature = delta({"content": "", "reasoning_details": [{"type": "reasoning.text", "signature": "s"}]})
    assert writer.write((), thought) == b""
    assert b"signature" not in writer.write(signature.said, signature)
    assert deltas(writer.write((TextDelta(0, "reasoning", "a"),))) == [{"reasoning_content": "a"}]
    rewriting = begun()
    assert deltas(rewriting.write((TextDelta(0, "reasoning", "b"),), thought)) == [{"reasoning": "b"}]
    assert b"signature" not in rewriting.write(signature.said, signature)


def test_a_choice_that_may_say_nothing_leaves_its_frame() -> None:
    wires = [{"index": index, "delta": {"content": "a"}, "finish_reason": None} for index in (0, 1)]
    frame = frame_of({"id": "c1", "choices": wires})
    (document,) = documents(begun().write(frame.said[1:], frame))
    assert [choice["index"] for choice in document["choices"]] == [1]


def test_an_error_passes_as_it_came() -> None:
    frame = frame_of({"error": {"message": "boom", "type": "server_error"}})
    writer = begun()
    assert writer.write(frame.said, frame) == frame.raw
    writer.next_attempt()
    assert documents(writer.write(frame.said, frame))[0]["error"]["message"] == "boom"


# --- frames of our own -----------------------------------------------------------------------------------------------


def test_a_stream_made_from_nothing_is_one_to_the_sdk() -> None:
    writer = CODEC.writer(EXCHANGE)
    chunks: list[Chunk] = [
        TextDelta(0, "answer", "Hi"),
        CallOpened(0, 0, "call_1", "bash"),
        CallDelta(0, 0, "{}"),
        Finished(0, "tool_calls"),
        UsageReported(Usage(input=1, output=2)),
        Closed(),
    ]
    *made, done = documents(writer.write(chunks))
    assert done == "[DONE]"
    parsed = [ChatCompletionChunk.model_validate(document, strict=True) for document in made]
    assert {(chunk.id, chunk.created, chunk.model) for chunk in parsed} == {("chatcmpl-x1", 1_700_000_000, "gpt-4o")}
    assert [document["choices"][0]["delta"] for document in made[:-1]] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hi"},
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "bash", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert made[-1]["choices"] == []
    assert made[-1]["usage"]["total_tokens"] == 3


def test_frames_of_our_own_have_the_envelope_that_was_learned() -> None:
    writer = CODEC.writer(EXCHANGE)
    azure = frame_of({"id": "", "model": "", "choices": [], "prompt_filter_results": [1]})
    writer.write(azure.said, azure)
    first = delta(ROLE, system_fingerprint="fp", obfuscation="xy", usage=None)
    writer.write(first.said, first)
    (document,) = documents(writer.write((TextDelta(0, "answer", "a"),)))
    choice = {"index": 0, "delta": {"content": "a"}, "logprobs": None, "finish_reason": None}
    assert document == {
        "id": "c1",
        "created": 5,
        "model": "m",
        "x": 1,
        "system_fingerprint": "fp",
        "choices": [choice],
        "usage": None,
    }


def test_the_envelope_is_learned_from_a_frame_that_was_withheld() -> None:
    writer = CODEC.writer(EXCHANGE)
    writer.write((), delta({"role": "assistant", "content": "held"}))
    first, second = documents(writer.write((TextDelta(0, "answer", "held"),)))
    assert (first["id"], first["choices"][0]["delta"]["role"]) == ("c1", "assistant")
    assert second["choices"][0]["delta"] == {"content": "held"}


def test_the_unknown_fields_of_a_held_call_are_given_back() -> None:
    opened = CallOpened(0, 3, "c", "f", "function", {"extra_content": {"sig": 1}})
    assert deltas(begun().write((opened,))) == [
        {
            "tool_calls": [
                {
                    "index": 3,
                    "id": "c",
                    "type": "function",
                    "function": {"name": "f", "arguments": ""},
                    "extra_content": {"sig": 1},
                }
            ]
        }
    ]


def test_a_custom_call_has_input() -> None:
    writer = begun()
    written = deltas(writer.write((CallOpened(0, 0, "c", "note", "custom"), CallDelta(0, 0, "free"))))
    assert [said["tool_calls"][0].get("custom") for said in written] == [
        {"name": "note", "input": ""},
        {"input": "free"},
    ]


def test_a_client_of_the_deprecated_functions_gets_a_function_call() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"functions":[{"name":"f"}]}'
    writer = CODEC.writer(CODEC.decode_request(body, id="x", headers={}))
    written = documents(writer.write((CallOpened(0, 0, "f", "f"), CallDelta(0, 0, "{}"), Finished(0, "tool_calls"))))
    said = [document["choices"][0] for document in written[1:]]
    assert [choice["delta"] for choice in said] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
        {},
    ]
    assert said[-1]["finish_reason"] == "function_call"


def test_usage_is_announced_where_the_client_asked_for_it() -> None:
    body = b'{"messages":[{"role":"user"}],"stream":true,"stream_options":{"include_usage":true}}'
    exchange = CODEC.decode_request(body, id="x", headers={})
    assert all("usage" in each for each in documents(CODEC.writer(exchange).write((TextDelta(0, "answer", "a"),))))


def test_keep_alives_are_comments_and_errors_have_the_protocols_shape() -> None:
    writer = begun()
    assert writer.keep_alive() == b": keep-alive\n\n"
    problem = Problem(status=500, message="gone\u2028", kind="server_error")
    expected = {"error": {"message": "gone\u2028", "type": "server_error", "param": None, "code": None}}
    assert documents(writer.error(problem)) == [expected]
    assert documents(writer.write((Failed(500, "server_error", "gone\u2028"),))) == [expected]
    assert len(writer.error(problem).decode().splitlines()) == 2


# --- usage that the client did not ask for ---------------------------------------------------------------------------


def test_usage_asked_for_on_our_behalf_is_not_shown() -> None:
    writer = begun(strip_usage=True)
    text, end = delta({"content": "a"}, usage=None), delta({}, "stop", usage={"prompt_tokens": 1})
    assert documents(writer.write(text.said, text)) == [{k: v for k, v in text.data.items() if k != "usage"}]
    (changed,) = documents(writer.write((TextDelta(0, "answer", "b"),), text))
    assert "usage" not in changed
    assert changed["choices"][0]["delta"] == {"content": "b"}
    assert documents(writer.write(end.said, end)) == [{k: v for k, v in end.data.items() if k != "usage"}]
    only = frame_of({"id": "c1", "choices": [], "usage": {"prompt_tokens": 1}})
    assert writer.write(only.said, only) == b""
    assert writer.write((UsageReported(Usage(input=1)),)) == b""
    plain = delta({"content": "a"})
    assert writer.write(plain.said, plain) == plain.raw


# --- several attempts in one response --------------------------------------------------------------------------------


def test_a_later_answer_has_the_first_ones_envelope_and_no_second_beginning() -> None:
    writer = begun()
    writer.next_attempt()
    other: dict[str, Any] = {"id": "c2", "created": 9, "model": "m2", "x": 2}
    role, text = delta(ROLE, **other), delta({"role": "assistant", "content": "b"}, **other)
    assert writer.write(role.said, role) == b""
    (document,) = documents(writer.write(text.said, text))
    assert (document["id"], document["created"], document["model"], document["x"]) == ("c1", 5, "m", 1)
    assert document["choices"][0]["delta"] == {"content": "b"}
    done = Frame(b"data: [DONE]\n\n", None, (Closed(),))
    assert writer.write(done.said, done) == done.raw


def test_a_later_answer_of_which_the_first_said_nothing_begins() -> None:
    writer = CODEC.writer(EXCHANGE)
    writer.write((), delta(ROLE))
    writer.next_attempt()
    role = delta(ROLE, id="c2")
    (document,) = documents(writer.write(role.said, role))
    assert document["id"] == "c1"
    assert document["choices"][0]["delta"] == ROLE


def test_calls_of_a_later_answer_have_the_indices_that_the_chunks_say() -> None:
    writer = begun()
    writer.next_attempt()
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    frame = delta({"role": "assistant", "content": None, "tool_calls": [call]})
    chunks = [replace(chunk, index=4) for chunk in frame.said if isinstance(chunk, CallOpened | CallDelta)]
    assert deltas(writer.write(chunks, frame)) == [{"content": None, "tool_calls": [{**call, "index": 4}]}]


# --- properties ------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
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
REQUEST = {"model": "m", "n": 2, "stream_options": {"include_usage": True}}


def rewritten(wire: bytes, write: Callable[[Frame, Sequence[Chunk]], bytes]) -> bytes:
    reader = Reader()
    return b"".join([write(frame, said) for frame, said in [*reader.feed(wire), *reader.close()]])


@given(REPLIES, st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_of_which_nothing_changed_is_the_bytes_that_came(reply: Reply, end: bytes) -> None:
    writer = CODEC.writer(EXCHANGE)
    wire = b": wait\n\n" + b"".join(stream(reply, REQUEST, 1))
    wire = wire.replace(b"\n", end)
    assert rewritten(wire, lambda frame, said: writer.write(said, frame)) == wire


def heard(wire: bytes) -> dict[tuple[Any, ...], str]:
    """All text and arguments of a stream, by where they belong."""
    said: dict[tuple[Any, ...], str] = {}
    reader = Reader()
    for _, chunks in [*reader.feed(wire), *reader.close()]:
        for chunk in chunks:
            match chunk:
                case TextDelta(choice, channel, text):
                    said[choice, channel] = said.get((choice, channel), "") + text
                case CallOpened(choice, index, id, name, kind):
                    said[choice, index, "call"] = f"{id} {name} {kind}"
                case CallDelta(choice, index, arguments):
                    said[choice, index, "arguments"] = said.get((choice, index, "arguments"), "") + arguments
                case Finished(choice, finish):
                    said[choice, "finish"] = finish
                case _:
                    pass
    return said


@given(REPLIES)
def test_a_stream_written_anew_says_the_same(reply: Reply) -> None:
    wire = b"".join(stream(reply, REQUEST, 1))
    writer = CODEC.writer(EXCHANGE)
    assert heard(rewritten(wire, lambda frame, said: writer.write(said))) == heard(wire)


def assembled(wire: bytes) -> Any:
    """What the official SDK makes of a stream."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for document in documents(wire):
        if document != "[DONE]":
            state.handle_chunk(ChatCompletionChunk.model_validate(document))
    return state.get_final_completion().model_dump()


TOLD = Reply(text="Look:", calls=(Call("f", '{"a":1}', id="a"), Call("g", id="b")), fragment=1)
USED = {"model": "gpt-4o", "stream_options": {"include_usage": True}}


def test_the_sdk_assembles_the_same_answer_from_a_stream_written_anew() -> None:
    wire = b"".join(stream(TOLD, USED, 1))
    writer = CODEC.writer(EXCHANGE)
    written = assembled(rewritten(wire, lambda frame, said: writer.write(said)))
    for field in ("choices", "usage"):
        assert written[field] == assembled(wire)[field]


def test_the_sdk_assembles_one_answer_from_two_attempts() -> None:
    """Of the first only the beginning was sent."""
    writer = CODEC.writer(EXCHANGE)
    ((frame, said),) = Reader().feed(next(stream(TOLD, USED, 1)))
    written = writer.write(said, frame)
    writer.next_attempt()
    written += rewritten(b"".join(stream(TOLD, USED, 2)), lambda frame, said: writer.write(said, frame))
    assert {document["id"] for document in documents(written)[:-1]} == {"chatcmpl-1"}
    assert assembled(written) == assembled(b"".join(stream(TOLD, USED, 1)))


@given(REPLIES)
def test_a_stream_whose_text_is_held_back_by_one_frame_says_the_same(reply: Reply) -> None:
    """Each text goes out with the next frame, as a hold-back does it."""
    wire = b"".join(stream(reply, REQUEST, 1))
    writer = CODEC.writer(EXCHANGE)
    held: list[Chunk] = []

    def write(frame: Frame, said: Sequence[Chunk]) -> bytes:
        now = [*held, *(chunk for chunk in said if not isinstance(chunk, TextDelta))]
        held[:] = [chunk for chunk in said if isinstance(chunk, TextDelta)]
        return writer.write(now, frame)

    assert heard(rewritten(wire, write)) == heard(wire)


@given(REPLIES)
def test_upper_case_changes_text_and_nothing_else(reply: Reply) -> None:
    wire = b"".join(stream(reply, REQUEST, 1))
    writer = CODEC.writer(EXCHANGE)

    def write(frame: Frame, said: Sequence[Chunk]) -> bytes:
        return writer.write([replace(c, text=c.text.upper()) if isinstance(c, TextDelta) else c for c in said], frame)

    expected = {
        where: text.upper() if where[-1] in ("answer", "reasoning", "refusal") else text
        for where, text in heard(wire).items()
    }
    assert heard(rewritten(wire, write)) == expected


def test_other_says_nothing_by_itself() -> None:
    assert begun().write((Other(),)) == b""

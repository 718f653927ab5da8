"""Streams go on as they came; where something was changed, every repetition of it says the same."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.codecs.base import Problem
from engine.codecs.openai_responses.places import ALTERED
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Chunk,
    Closed,
    Finished,
    Frame,
    TextDelta,
    Usage,
    UsageReported,
)
from engine.world import answer_chunks
from tests.support.responses_mock import Call, Custom, Reply, Search, Shell, Text, Thought, reply, whole

from .streams import CODEC, REPLIES, assembled, documents, heard, rewritten, wire_of, writer


def texts(response: dict[str, Any]) -> list[str]:
    return [part["text"] for item in response["output"] for part in item.get("content", ()) if "text" in part]


def types(response: dict[str, Any]) -> list[str]:
    return [item["type"] for item in response["output"]]


@given(REPLIES)
def test_what_nobody_changed_goes_on_as_the_bytes_that_came(script: Reply) -> None:
    wire = wire_of(script)
    own = writer()
    assert rewritten(wire, lambda frame, said: own.write(said, frame)) == wire
    assert assembled(wire) == whole(script, {"model": "m"}, 1)


@given(REPLIES, st.integers(0, 40))
def test_texts_that_are_changed_are_changed_in_every_event(script: Reply, first: int) -> None:
    """From any event on: what was said before stays, and the grammar holds."""
    own, wire = writer(), wire_of(script)
    out = b""
    for place, (frame, said) in enumerate(heard(wire)):
        changed = [
            replace(chunk, text=chunk.text.upper() + "!") if isinstance(chunk, TextDelta) and place >= first else chunk
            for chunk in said
        ]
        out += own.write(changed, frame)
    response = assembled(out)
    expected = whole(script, {"model": "m"}, 1)
    assert types(response) == types(expected)
    assert response["usage"] == expected["usage"]


@given(REPLIES, st.integers(0, 9))
def test_texts_that_are_held_back_come_later_in_order(script: Reply, kept: int) -> None:
    own, wire = writer(), wire_of(script)
    out, held, said = b"", "", ""
    for frame, chunks in heard(wire):
        passed: list[Chunk] = []
        for chunk in chunks:
            if not isinstance(chunk, TextDelta) or chunk.channel != "answer":
                passed.append(chunk)
                continue
            held += chunk.text
            said += chunk.text
            ready, held = held[: max(0, len(held) - kept)], held[max(0, len(held) - kept) :]
            if ready:
                passed.append(TextDelta(0, "answer", ready))
        if any(isinstance(chunk, Finished) for chunk in chunks) and held:
            out += own.write([TextDelta(0, "answer", held)])
        out += own.write(passed if list(passed) != list(chunks) else chunks, frame)
    assert "".join(texts(assembled(out))) == said


def test_a_redaction_stands_in_every_event_that_repeats_the_text() -> None:
    own = writer()
    wire = wire_of(reply(Text("a secret b", citations=1), piece=20))
    out = rewritten(
        wire,
        lambda frame, said: own.write(
            [replace(c, text="a [x] b") if isinstance(c, TextDelta) else c for c in said], frame
        ),
    )
    assert b"secret" not in out
    (item,) = assembled(out)["output"]
    assert item["content"] == [{"type": "output_text", "annotations": [], "logprobs": [], "text": "a [x] b"}]


def test_reasoning_that_was_altered_is_marked() -> None:
    own = writer()
    out = rewritten(
        wire_of(reply(Thought(("a secret",)), Text("b"), piece=20)),
        lambda frame, said: own.write(
            [replace(c, text="[x]") if isinstance(c, TextDelta) and c.channel == "reasoning" else c for c in said],
            frame,
        ),
    )
    reasoning, _ = assembled(out)["output"]
    assert reasoning["encrypted_content"] == ALTERED
    assert reasoning["summary"] == [{"type": "summary_text", "text": "[x]"}]


def held_calls(wire: bytes, let: Sequence[int] | None = None, change: Any = lambda text: text) -> bytes:
    """A stream whose calls are held to its end; those in `let` go out, with other arguments."""
    own = writer()
    opened: dict[int, CallOpened] = {}
    arguments: dict[int, str] = {}
    out = b""
    for frame, chunks in heard(wire):
        passed: list[Chunk] = []
        for chunk in chunks:
            match chunk:
                case CallOpened():
                    opened[chunk.index] = chunk
                    arguments[chunk.index] = ""
                case CallDelta():
                    arguments[chunk.index] += chunk.arguments
                case _:
                    passed.append(chunk)
        if any(isinstance(chunk, Finished) for chunk in chunks):
            kept = [index for index in opened if let is None or index in let]
            calls: list[Chunk] = []
            for place, index in enumerate(kept):
                calls += [replace(opened[index], index=place), CallDelta(0, place, change(arguments[index]))]
            out += own.write(calls)
        out += own.write(passed if list(passed) != list(chunks) else chunks, frame)
    return out


@given(REPLIES)
def test_calls_that_were_held_come_back_whole(script: Reply) -> None:
    response = assembled(held_calls(wire_of(script)))
    came = whole(script, {"model": "m"}, 1)["output"]
    calls = [item for item in came if item["type"].endswith("_call")]
    assert response["output"] == [item for item in came if item not in calls] + calls


def test_calls_that_were_withheld_leave_no_trace() -> None:
    script = reply(
        Text("I clean up."), Call("bash", '{"command":"rm"}'), Custom("patch", "rm"), Shell(("rm",)), Search("rm")
    )
    out = held_calls(wire_of(script), let=())
    assert b"rm" not in out.replace(b'"format"', b"").replace(b"normal", b"")
    assert types(assembled(out)) == ["message"]


def test_items_behind_a_withheld_call_are_numbered_without_a_gap() -> None:
    out = held_calls(wire_of(reply(Call("a"), Text("Hello"), Call("b"), Text("World"))), let=(1,))
    response = assembled(out)
    assert types(response) == ["message", "message", "function_call"]
    assert response["output"][2]["name"] == "b"


@pytest.mark.parametrize(
    ("call", "arguments", "field", "expected"),
    [
        (Call("bash", '{"a":1}'), '{"a":2}', "arguments", '{"a":2}'),
        (Custom("patch", "one"), "two", "input", "two"),
        (Shell(("ls",)), '{"commands":["pwd"]}', "action", {"commands": ["pwd"]}),
    ],
)
def test_arguments_that_were_rewritten_stand_in_every_event(
    call: Any, arguments: str, field: str, expected: Any
) -> None:
    out = held_calls(wire_of(reply(call)), change=lambda _: arguments)
    (item,) = assembled(out)["output"]
    assert item[field] == expected
    for document in documents(out):
        if "item" in document and field == "action":
            assert document["item"]["action"] == expected


def test_a_later_attempt_goes_on_in_the_same_response() -> None:
    own = writer()
    out = b""
    for frame, said in heard(wire_of(reply(Thought(("Hm.",)), Text("I clean up."), Call("bash", '{"command":"rm"}')))):
        kept = [
            chunk for chunk in said if not isinstance(chunk, CallOpened | CallDelta | Finished | UsageReported | Closed)
        ]
        out += own.write(kept if len(kept) != len(said) else said, frame)
    own.next_attempt()
    second = wire_of(reply(Thought(("Well.",)), Text("Listing."), Call("bash", '{"command":"ls"}')), 2)
    for frame, said in heard(second):
        out += own.write(said, frame)
    response = assembled(out)
    assert response["id"] == "resp_1"
    assert types(response) == ["reasoning", "message", "reasoning", "message", "function_call"]
    assert [item["id"][-3:] for item in response["output"]] == ["1_0", "1_1", "2_0", "2_1", "2_2"]
    assert b'"rm' not in out


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter"])
def test_the_status_says_how_the_answer_ended_for_the_client(finish: str) -> None:
    own = writer()
    frames = heard(wire_of(reply(Text("Hello"), Call("bash"))))
    out = b""
    for frame, said in frames:
        kept: list[Chunk] = [
            replace(chunk, finish=finish) if isinstance(chunk, Finished) else chunk
            for chunk in said
            if not isinstance(chunk, CallOpened | CallDelta)
        ]
        out += own.write(kept, frame)
    response = assembled(out)
    reasons = {"stop": None, "length": {"reason": "max_output_tokens"}, "content_filter": {"reason": "content_filter"}}
    assert response["status"] == ("completed" if finish == "stop" else "incomplete")
    assert response["incomplete_details"] == reasons[finish]


def test_an_answer_of_our_own_is_a_whole_response() -> None:
    answer = CODEC.decode_answer(
        json.dumps(whole(reply(Text("Hi there"), Call("f", '{"a":1}')), {"model": "m"}, 1)).encode()
    )
    own = writer()
    out = b"".join(own.write([chunk]) for chunk in answer_chunks(answer))
    response = assembled(out)
    assert texts(response) == ["Hi there"]
    assert response["output"][1]["arguments"] == '{"a":1}'
    assert response["status"] == "completed"


def test_an_own_message_behind_what_came_is_an_item_of_its_own() -> None:
    own = writer()
    out = b""
    for frame, said in heard(wire_of(reply(Text("Hello"), Call("bash")))):
        kept = [
            chunk for chunk in said if not isinstance(chunk, CallOpened | CallDelta | Finished | UsageReported | Closed)
        ]
        out += own.write(kept if len(kept) != len(said) else said, frame)
    ending: list[Chunk] = [
        TextDelta(0, "answer", "\n\nNo."),
        Finished(0, "stop"),
        UsageReported(Usage(input=1)),
        Closed(),
    ]
    out += b"".join(own.write([chunk]) for chunk in ending)
    response = assembled(out)
    assert texts(response) == ["Hello", "\n\nNo."]
    assert response["usage"]["input_tokens"] == 1


def test_an_error_is_flat_as_documented_and_nested_as_clients_look_for_it() -> None:
    (error,) = documents(writer().error(Problem(status=502, message="no", kind="server_error", code="upstream_failed")))
    assert (error["type"], error["code"], error["message"], error["sequence_number"]) == (
        "error",
        "upstream_failed",
        "no",
        0,
    )
    assert error["error"]["message"] == "no"


def test_a_namespaced_tool_is_called_with_its_namespace() -> None:
    request = {
        "model": "m",
        "input": "x",
        "tools": [
            {
                "type": "namespace",
                "name": "mcp__fs",
                "description": "Files",
                "tools": [{"type": "function", "name": "read"}],
            }
        ],
    }
    exchange = CODEC.decode_request(json.dumps(request).encode(), id="x", headers={})
    own = CODEC.writer(exchange)
    chunks: list[Chunk] = [
        CallOpened(0, 0, "a", "mcp__fs__read"),
        CallDelta(0, 0, "{}"),
        Finished(0, "tool_calls"),
        Closed(),
    ]
    (item,) = assembled(b"".join(own.write([chunk]) for chunk in chunks))["output"]
    assert (item["namespace"], item["name"], item["call_id"]) == ("mcp__fs", "read", "a")


def test_a_keep_alive_is_a_comment() -> None:
    assert writer().keep_alive().startswith(b":")


def test_a_failure_of_a_later_attempt_belongs_to_the_first_response() -> None:
    own = writer()
    out = b""
    for frame, said in heard(wire_of(reply(Text("Hello"))))[:-1]:
        out += own.write(said, frame)
    own.next_attempt()
    failing: list[tuple[Frame, tuple[Chunk, ...]]] = heard(wire_of(reply(Text("x"), fails_after=2, failed=True), 2))
    for frame, said in failing:
        out += own.write(said, frame)
    assert documents(out)[-1]["type"] == "response.failed"
    assert documents(out)[-1]["response"]["id"] == "resp_1"
    assert texts(documents(out)[-1]["response"]) == ["Hello"]

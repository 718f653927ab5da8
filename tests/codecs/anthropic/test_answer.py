"""Whole answers, usage, errors and lists of models."""

import json
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.codecs.anthropic import Anthropic
from engine.codecs.anthropic.usage import decode_usage, encode_usage
from engine.codecs.base import BadAnswer, Problem
from engine.model.exchange import Answer, Choice, Part, ToolCall, Usage
from tests.support.anthropic_mock import Call, Redacted, Reply, Search, Text, Thinking, reply, stream, whole

CODEC = Anthropic()
EXCHANGE = CODEC.decode_request(b'{"model":"m","messages":[{"role":"user","content":"x"}]}', id="x1", headers={})
EVERYTHING = reply(
    *(Thinking("Hm."), Redacted(), Text("Look:"), Search("q"), Text("It rains.", citations=2)),
    *(Call("bash", '{"a":1}'), Call("read")),
    usage=(7, 3, 2, 1),
)


def decoded(scripted: Reply) -> Answer:
    return CODEC.decode_answer(json.dumps(whole(scripted, {"model": "m"}, 1)).encode())


def encoded(answer: Answer) -> Any:
    return json.loads(CODEC.encode_answer(replace(answer, body=None), EXCHANGE))


def with_choice(answer: Answer, **changes: Any) -> Answer:
    return replace(answer, choices=(replace(answer.choices[0], **changes),))


def test_an_answer_is_one_canonical_choice() -> None:
    answer = decoded(EVERYTHING)
    (choice,) = answer.choices
    assert (answer.id, answer.model, choice.finish) == ("msg_1", "m", "tool_calls")
    assert [(part.kind, part.text) for part in choice.parts] == [
        *(("reasoning", "Hm."), ("opaque", ""), ("text", "Look:"), ("opaque", ""), ("text", "It rains.")),
    ]
    assert [(call.name, call.arguments, call.kind) for call in choice.tool_calls] == [
        ("web_search", '{"query":"q"}', "server"),
        ("bash", '{"a":1}', "function"),
        ("read", "{}", "function"),
    ]
    assert answer.usage is not None
    usage = answer.usage
    assert (usage.input, usage.output, usage.cached, usage.cache_write) == (10, 3, 2, 1)


def test_an_untouched_answer_is_the_bytes_that_came_and_written_anew_the_same() -> None:
    answer = decoded(EVERYTHING)
    assert CODEC.encode_answer(answer, EXCHANGE) is answer.body
    assert encoded(answer) == whole(EVERYTHING, {"model": "m"}, 1)


@pytest.mark.parametrize("body", [b"", b"{", b'{"type":"message"}', b"[]", b'{"type":"error","error":{}}'])
def test_what_is_no_answer_is_the_upstreams_fault(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        CODEC.decode_answer(body)


def test_half_a_character_becomes_a_replacement() -> None:
    answer = CODEC.decode_answer(b'{"content":[{"type":"text","text":"a\\ud83d"}]}')
    assert answer.choices[0].said("text") == "a\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("wire", "canonical"),
    [
        *(("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls")),
        *(("refusal", "content_filter"), ("pause_turn", "pause_turn"), ("model_context_window_exceeded", "length")),
    ],
)
def test_stop_reasons_are_canonical_and_stay_as_they_came(wire: str, canonical: str) -> None:
    answer = decoded(reply(Call("f"), finish=wire, stop_sequence="X"))
    assert answer.choices[0].finish == canonical
    assert (encoded(answer)["stop_reason"], encoded(answer)["stop_sequence"]) == (wire, "X")


def test_a_changed_stop_reason_names_no_stop_sequence() -> None:
    answer = with_choice(decoded(reply(Text("a"), stop_sequence="X")), finish="length")
    assert (encoded(answer)["stop_reason"], encoded(answer)["stop_sequence"]) == ("max_tokens", None)


def test_without_a_call_for_the_client_nothing_stopped_for_a_call() -> None:
    answer = decoded(EVERYTHING)
    left = with_choice(answer, tool_calls=answer.choices[0].tool_calls[:1])
    assert encoded(left)["stop_reason"] == "end_turn"


def test_a_withheld_server_call_takes_its_result_with_it() -> None:
    answer = decoded(EVERYTHING)
    after = encoded(with_choice(answer, tool_calls=answer.choices[0].tool_calls[1:]))
    assert [block["type"] for block in after["content"]] == [
        *("thinking", "redacted_thinking", "text", "text", "tool_use", "tool_use")
    ]


def test_changed_arguments_change_nothing_else() -> None:
    answer = decoded(EVERYTHING)
    calls = answer.choices[0].tool_calls
    after = encoded(with_choice(answer, tool_calls=(*calls[:2], calls[2].with_args({"b": 2}))))
    before = whole(EVERYTHING, {"model": "m"}, 1)
    before["content"][-1]["input"] = {"b": 2}
    assert after == before


def test_changed_thinking_leaves() -> None:
    answer = decoded(EVERYTHING)
    thought, *rest = answer.choices[0].parts
    after = encoded(with_choice(answer, parts=(replace(thought, text="[x]"), *rest)))
    assert after["content"] == whole(EVERYTHING, {"model": "m"}, 1)["content"][1:]


def test_an_answer_made_from_nothing_is_one_to_the_sdk() -> None:
    call = ToolCall(id="a", name="f", arguments='{"x":1}')
    choice = Choice(parts=(Part(kind="text", text="Hi"),), tool_calls=(call,), finish="tool_calls")
    made = encoded(Answer(choices=(choice,), usage=Usage(input=5, output=2, cached=1)))
    message = Message.model_validate(made, strict=True)
    assert (message.id, message.model, message.stop_reason) == ("msg_x1", "m", "tool_use")
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (4, 1)


# --- usage -----------------------------------------------------------------------------------------------------------

COUNTS = st.integers(0, 10_000)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_fresh_usage_reads_back_equal(uncached: int, cached: int, written: int, output: int, thought: int) -> None:
    usage = Usage(
        input=uncached + cached + written, output=output, cached=cached, cache_write=written, reasoning=thought
    )
    back = decode_usage(encode_usage(usage))
    assert back is not None
    assert replace(back, wire=None) == usage


def test_changed_usage_keeps_what_it_does_not_know() -> None:
    wire = {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 1, "service_tier": "standard"}
    usage = decode_usage(wire)
    assert usage is not None
    assert encode_usage(usage) is wire
    assert encode_usage(replace(usage, output=9)) == {**wire, "output_tokens": 9}


def test_no_usage_is_none_and_not_zero() -> None:
    assert decode_usage(None) is None
    assert CODEC.usage_of(b'{"content":[]}') is None
    assert CODEC.usage_of(b"{") is None


def test_usage_of_a_whole_answer_that_nobody_read() -> None:
    usage = CODEC.usage_of(json.dumps(whole(EVERYTHING, {"model": "m"}, 1)).encode())
    assert usage is not None
    assert (usage.input, usage.output) == (10, 3)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_usage_in_the_tail_of_a_stream_that_nobody_read(end: bytes) -> None:
    late = b"".join(stream(EVERYTHING, {"model": "m"}, 1)).replace(b"\n", end)
    for tail in (late, late[-400:]):
        usage = CODEC.usage_in_tail(tail)
        assert usage is not None
        assert (usage.input, usage.output, usage.cached) == (10, 3, 2)


def test_usage_without_its_input_is_not_told() -> None:
    early = b"".join(stream(replace(EVERYTHING, late_input=False), {"model": "m"}, 1))
    usage = CODEC.usage_in_tail(early)
    assert usage is not None
    assert (usage.input, usage.output) == (10, 3)
    assert CODEC.usage_in_tail(early[-300:]) is None
    assert CODEC.usage_in_tail(b'data: {"usage"\n\ndata: ["usage"]\n\n') is None


# --- may it hold calls? ----------------------------------------------------------------------------------------------


def test_calls_are_seen_and_the_count_of_server_tools_is_none() -> None:
    assert not CODEC.may_hold_calls(b'{"type":"message_start","message":{"usage":{"server_tool_use":{"x":1}}}}')
    assert not CODEC.may_hold_calls(b'{"type":"text_delta","text":"the word \\"tool_use\\", quoted"}')
    for kind in (b'"tool_use"', b'"server_tool_use"', b'"mcp_tool_use" ', b'"\\u0074ool_use"'):
        assert CODEC.may_hold_calls(b'{"content_block":{"type":' + kind + b"}}")
        assert CODEC.may_hold_calls(b'{"content_block":{"type":' + kind + b',"id":1}}')
    assert CODEC.may_hold_calls(b'{"type":"input_json_delta"}')


# --- errors and models -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error")),
        *((404, "not_found_error"), (413, "request_too_large"), (429, "rate_limit_error"), (500, "api_error")),
        *((503, "api_error"), (529, "overloaded_error"), (422, "invalid_request_error")),
    ],
)
def test_errors_have_the_types_of_their_status(status: int, kind: str) -> None:
    body = CODEC.encode_problem(Problem(status=status, message="no", kind="x", code="policy_blocked"))
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": kind, "message": "no", "details": {"error_code": "policy_blocked"}},
    }
    problem = CODEC.decode_problem(status, body)
    assert (problem.status, problem.message, problem.code) == (status, "no", "policy_blocked")


def test_the_sdk_finds_the_code() -> None:
    body = json.loads(CODEC.encode_problem(Problem(status=400, message="no", code="policy_blocked")))
    response = httpx2.Response(400, request=httpx2.Request("POST", "http://x"))
    assert anthropic.BadRequestError("no", response=response, body=body).error_code == "policy_blocked"


@pytest.mark.parametrize(
    ("body", "message", "kind"),
    [
        (
            b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
            "Overloaded",
            "overloaded_error",
        ),
        (b'{"type":"error","error":{"type":"api_error","message":"x"}}', "x", "server_error"),
        (b'{"error":"boom"}', "boom", "server_error"),
        (b'{"detail":[1]}', "[1]", "server_error"),
        (b"<html><title>Bad</title><body>Gateway</body></html>", "Bad Gateway", "server_error"),
        (b"", "The provider answered with status 500.", "server_error"),
        (b"null", "The provider answered with status 500.", "server_error"),
    ],
)
def test_an_upstreams_error_is_read_in_any_shape(body: bytes, message: str, kind: str) -> None:
    problem = CODEC.decode_problem(500, body)
    assert (problem.message, problem.kind) == (message, kind)

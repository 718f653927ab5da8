"""Whole answers and errors: kept as they came, changed only where they differ, made from nothing where we answer."""

import json
from typing import Any

import pytest
from msgspec.structs import replace
from openai.types.chat import ChatCompletion

from engine.codecs import CODECS
from engine.codecs.base import BadAnswer, Problem
from engine.model.exchange import Answer, Choice, Part, Protocol, ToolCall, Usage

CODEC = CODECS[Protocol.OPENAI_CHAT]
EXCHANGE = replace(
    CODEC.decode_request(b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}', id="x1", headers={}),
    received=1_700_000_000,
)

ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Let me look.",
                "reasoning_content": "hm",
                "refusal": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": '{"a":1}'}},
                    {"id": "call_2", "type": "custom", "custom": {"name": "note", "input": "free"}},
                ],
                "annotations": [],
            },
            "logprobs": {"content": [{"token": "Let", "logprob": -0.1, "bytes": None, "top_logprobs": []}]},
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0},
    },
    "service_tier": "default",
    "x_unknown": {"kept": True},
}


def decoded(answer: Any = ANSWER) -> Answer:
    return CODEC.decode_answer(json.dumps(answer).encode())


def encoded(answer: Answer) -> Any:
    return json.loads(CODEC.encode_answer(replace(answer, body=None), EXCHANGE))


def with_choice(answer: Answer, **changes: Any) -> Answer:
    return replace(answer, choices=(replace(answer.choices[0], **changes),))


def test_an_answer_is_read_with_its_parts_calls_and_usage() -> None:
    answer = decoded()
    choice = answer.choices[0]
    assert [(part.kind, part.text) for part in choice.parts] == [("reasoning", "hm"), ("text", "Let me look.")]
    assert [(call.id, call.name, call.kind) for call in choice.tool_calls] == [
        ("call_1", "bash", "function"),
        ("call_2", "note", "custom"),
    ]
    assert choice.finish == "tool_calls"
    assert answer.usage == Usage(input=10, output=5, cached=4, reasoning=2, wire=ANSWER["usage"])
    assert (answer.id, answer.model) == ("chatcmpl-1", "gpt-4o-2024-08-06")


def test_an_untouched_answer_is_the_bytes_that_came() -> None:
    body = json.dumps(ANSWER, indent=3).encode()
    assert CODEC.encode_answer(CODEC.decode_answer(body), EXCHANGE) is body


def test_nothing_changed_encodes_to_the_same_document() -> None:
    assert json.dumps(encoded(decoded())) == json.dumps(ANSWER)


def test_changed_text_takes_its_log_probabilities_with_it() -> None:
    answer = decoded()
    parts = (answer.choices[0].parts[0], replace(answer.choices[0].parts[1], text="[redacted]"))
    changed = encoded(with_choice(answer, parts=parts))
    expected = json.loads(json.dumps(ANSWER))
    expected["choices"][0]["message"]["content"] = "[redacted]"
    expected["choices"][0]["logprobs"] = None
    assert changed == expected


def test_the_finish_reason_tells_of_calls_that_are_there() -> None:
    answer = decoded()
    without = encoded(with_choice(answer, tool_calls=()))["choices"][0]
    assert without["finish_reason"] == "stop"
    assert "tool_calls" not in without["message"]
    one = encoded(with_choice(answer, tool_calls=answer.choices[0].tool_calls[:1]))["choices"][0]
    assert one["finish_reason"] == "tool_calls"
    assert one["message"]["tool_calls"] == ANSWER["choices"][0]["message"]["tool_calls"][:1]


def test_changed_usage_changes_its_numbers_alone() -> None:
    answer = decoded()
    assert answer.usage is not None
    changed = encoded(replace(answer, usage=replace(answer.usage, output=7)))["usage"]
    assert changed == {**ANSWER["usage"], "completion_tokens": 7, "total_tokens": 17}


def test_the_deprecated_function_call_is_a_tool_call() -> None:
    message = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    wire = {"choices": [{"index": 0, "message": message, "finish_reason": "function_call"}]}
    answer = decoded(wire)
    assert (answer.choices[0].finish, answer.choices[0].tool_calls[0].name) == ("tool_calls", "f")
    assert encoded(answer) == wire
    stopped = encoded(with_choice(answer, tool_calls=()))["choices"][0]
    assert stopped["finish_reason"] == "stop"
    assert stopped["message"] == {"role": "assistant", "content": ""}


def test_an_answer_of_our_own_is_one_to_the_sdk() -> None:
    call = ToolCall(id="call_1", name="bash", arguments="{}")
    own = Answer(
        choices=(Choice(parts=(Part(kind="text", text="Hi"),), tool_calls=(call,), finish="tool_calls"),),
        usage=Usage(input=3, output=2, cached=1),
    )
    body = CODEC.encode_answer(own, EXCHANGE)
    assert body == CODEC.encode_answer(own, EXCHANGE)
    parsed = ChatCompletion.model_validate_json(body, strict=True)
    assert (parsed.id, parsed.created, parsed.model) == ("chatcmpl-x1", 1_700_000_000, "gpt-4o")
    assert parsed.choices[0].message.content == "Hi"
    back = CODEC.decode_answer(body)
    assert back.choices[0].tool_calls[0].name == "bash"
    assert back.usage is not None
    assert replace(back.usage, wire=None) == own.usage


def test_integer_ids_and_object_arguments_of_compatible_servers_are_read() -> None:
    message = {"content": "", "tool_calls": [{"id": 7, "function": {"name": "f", "arguments": {"a": 1}}}]}
    answer = decoded({"id": None, "choices": [{"message": message, "finish_reason": None}]})
    call = answer.choices[0].tool_calls[0]
    assert (answer.id, call.id, call.args) == ("", "7", {"a": 1})


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"choices":[{"index":0,"mess', b"{}", b'{"choices":[1]}', b'{"choices":[{"text":"x"}]}']
)
def test_what_is_no_answer_is_the_upstreams_fault(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        CODEC.decode_answer(body)


def test_half_a_surrogate_pair_in_an_answer_is_replaced() -> None:
    answer = CODEC.decode_answer(b'{"choices":[{"message":{"role":"assistant","content":"a\\ud83d"}}]}')
    assert answer.choices[0].parts[0].text.startswith("a\ufffd")
    assert b"\\ud83d" not in CODEC.encode_answer(answer, EXCHANGE)


# --- errors, models --------------------------------------------------------------------------------------------------


def test_an_error_has_the_providers_shape() -> None:
    problem = Problem(
        status=404, message="no such model", kind="not_found_error", code="model_not_found", param="model"
    )
    assert json.loads(CODEC.encode_problem(problem)) == {
        "error": {
            "message": "no such model",
            "type": "not_found_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
    assert CODEC.decode_problem(404, CODEC.encode_problem(problem)) == problem


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (429, b'{"error":"slow down"}', "rate_limit_error", "slow down"),
        (400, b'{"object":"error","message":"bad","type":"BadRequestError","code":400}', "BadRequestError", "bad"),
        (422, b'{"detail":[{"loc":["body"]}]}', "invalid_request_error", '[{"loc":["body"]}]'),
        (400, b'[{"error":{"code":400,"message":"gemini"}}]', "invalid_request_error", "gemini"),
        (502, b"<html><style>x{}</style><h1>Bad\n Gateway</h1></html>", "server_error", "Bad Gateway"),
        (503, b"", "server_error", "The provider answered with status 503."),
        (500, b"\xff\xfe", "server_error", "\ufffd\ufffd"),
        (500, b"null", "server_error", "The provider answered with status 500."),
    ],
)
def test_an_upstreams_error_is_read_whatever_it_holds(status: int, body: bytes, kind: str, message: str) -> None:
    problem = CODEC.decode_problem(status, body)
    assert (problem.status, problem.kind, problem.message) == (status, kind, message)

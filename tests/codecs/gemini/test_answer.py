"""Whole answers: what is read of them, and that only what changed differs."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from engine.codecs.base import BadAnswer
from engine.model.exchange import Answer, Choice, Part, ToolCall, Usage
from tests.support.gemini_mock import Call, Text, reply, whole

from .streams import CODEC, EVERYTHING, MODEL, asked

EXCHANGE = asked(array=False)
WIRE: dict[str, Any] = whole(EVERYTHING, MODEL, 1)


def decoded(wire: Any) -> Answer:
    return CODEC.decode_answer(json.dumps(wire).encode())


def encoded(answer: Answer) -> Any:
    return json.loads(CODEC.encode_answer(replace(answer, body=None), EXCHANGE))


def with_choice(answer: Answer, **changes: Any) -> Answer:
    return replace(answer, choices=(replace(answer.choices[0], **changes),))


def test_an_answer_that_is_written_anew_is_the_same() -> None:
    assert encoded(decoded(WIRE)) == WIRE


def test_it_is_read_as_its_stream_would_be() -> None:
    choice = decoded(WIRE).choices[0]
    assert (choice.said("reasoning"), choice.said("text")) == ("Hm, wait.", "Look: é\u2028")
    assert [(call.id, call.name, call.kind) for call in choice.tool_calls] == [
        ("lexgate-call-0", "code_execution", "server"),
        ("a", "bash", "function"),
        ("lexgate-call-2", "read", "function"),
    ]
    assert choice.finish == "tool_calls"


def test_a_call_that_is_taken_away_takes_its_result_and_gives_its_signature() -> None:
    answer = decoded(WIRE)
    parts = encoded(with_choice(answer, tool_calls=answer.choices[0].tool_calls[2:]))["candidates"][0]["content"][
        "parts"
    ]
    assert [next(iter(part)) for part in parts] == ["text", "text", "inlineData", "functionCall"]
    assert parts[-1]["thoughtSignature"] == "skip_thought_signature_validator"


def test_text_that_changed_is_quoted_nowhere() -> None:
    quoting: dict[str, Any] = {
        "groundingMetadata": {"groundingSupports": []},
        "citationMetadata": {},
        "logprobsResult": {},
    }
    answer = decoded(whole(reply(Text("Secret."), extra=quoting), MODEL, 1))
    said = replace(answer.choices[0].parts[0], text="[name]")
    candidate = encoded(with_choice(answer, parts=(said,)))["candidates"][0]
    assert candidate == {
        "content": {"parts": [{"text": "[name]"}], "role": "model"},
        "finishReason": "STOP",
        "index": 0,
        "groundingMetadata": {},
    }


def test_an_answer_of_our_own_has_a_candidate() -> None:
    calls = (ToolCall(id="call_1", name="bash", arguments='{"a":1}'),)
    choice = Choice(parts=(Part(kind="text", text="So."),), tool_calls=calls, finish="tool_calls")
    made = encoded(Answer(choices=(choice,), usage=Usage(input=1, output=2)))
    assert made == {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "So."},
                        {
                            "functionCall": {"id": "call_1", "name": "bash", "args": {"a": 1}},
                            "thoughtSignature": "skip_thought_signature_validator",
                        },
                    ],
                    "role": "model",
                },
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3},
        "modelVersion": MODEL,
        "responseId": "ex-1",
    }


def test_a_refused_prompt_has_no_candidate_until_something_is_said() -> None:
    wire = {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": MODEL, "responseId": "r"}
    answer = decoded(wire)
    assert answer.choices[0].finish == "content_filter"
    assert encoded(answer) == wire
    said = encoded(with_choice(answer, parts=(Part(kind="text", text="No."),), finish="stop"))
    assert said["candidates"][0]["content"]["parts"] == [{"text": "No."}]


@pytest.mark.parametrize("body", [b"", b"[1", b"{}", b"[]", b'{"candidates":[1]}', b'{"candidates":null}'])
def test_what_is_no_answer_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        CODEC.decode_answer(body)


def test_usage_is_read_without_the_rest() -> None:
    usage = CODEC.usage_of(json.dumps(WIRE).encode())
    assert usage is not None
    assert (usage.input, usage.output, usage.cached, usage.reasoning) == (9, 17, 3, 5)


def test_usage_is_written_back_over_what_came() -> None:
    answer = decoded(whole(reply(Call("bash"), usage=(9, 12, 5, 3)), MODEL, 1))
    assert answer.usage is not None
    shown = encoded(replace(answer, usage=replace(answer.usage, output=20)))["usageMetadata"]
    assert (shown["candidatesTokenCount"], shown["thoughtsTokenCount"], shown["totalTokenCount"]) == (15, 5, 29)
    assert shown["promptTokensDetails"]

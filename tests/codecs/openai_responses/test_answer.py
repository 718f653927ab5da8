"""A whole answer is read to one choice, and written back with what differs."""

import json
from typing import Any

import pytest
from hypothesis import given
from msgspec.structs import replace

from engine.codecs.base import BadAnswer, Problem
from engine.codecs.openai_responses import OpenAIResponses
from engine.codecs.openai_responses.places import ALTERED
from engine.model.exchange import Answer, Choice, Part, ToolCall, Usage
from engine.passage.answers import replaced_by, with_said
from tests.support.responses_mock import Call, Custom, Reply, Search, Shell, Text, Thought, reply, whole

from .streams import EXCHANGE, REPLIES, wire_of

CODEC = OpenAIResponses()


def body_of(script: Reply) -> bytes:
    return json.dumps(whole(script, {"model": "m"}, 1)).encode()


def written(answer: Answer) -> Any:
    return json.loads(CODEC.encode_answer(replace(answer, body=None), EXCHANGE))


@given(REPLIES)
def test_an_answer_written_anew_says_the_same(script: Reply) -> None:
    body = body_of(script)
    answer = CODEC.decode_answer(body)
    assert CODEC.encode_answer(answer, EXCHANGE) == body
    assert written(answer) == json.loads(body)


def test_an_answer_is_one_choice() -> None:
    answer = CODEC.decode_answer(
        body_of(reply(Thought(("Hm.",)), Text("Hello"), Call("f", '{"a":1}'), usage=(7, 2, 3, 1)))
    )
    (choice,) = answer.choices
    assert (choice.said("text"), choice.said("reasoning"), choice.finish) == ("Hello", "Hm.", "tool_calls")
    assert [(call.id, call.name, call.args) for call in choice.tool_calls] == [("call_1_2", "f", {"a": 1})]
    usage = answer.usage
    assert usage is not None
    assert (usage.input, usage.cached, usage.output, usage.reasoning) == (7, 2, 3, 1)


@pytest.mark.parametrize(("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter")])
def test_an_incomplete_answer_says_why(reason: str, finish: str) -> None:
    assert CODEC.decode_answer(body_of(reply(Text("a"), incomplete=reason))).choices[0].finish == finish


def test_a_text_that_was_changed_loses_what_pointed_into_it() -> None:
    answer = CODEC.decode_answer(body_of(reply(Thought(("Hm.",)), Text("secret", citations=1))))
    choice = answer.choices[0]
    output = written(replace(answer, choices=(replace(choice, parts=with_said(choice.parts, "text", "[x]")),)))[
        "output"
    ]
    assert output[1]["content"] == [{"type": "output_text", "annotations": [], "logprobs": [], "text": "[x]"}]
    assert output[0]["encrypted_content"] != ALTERED


def test_a_message_in_the_place_of_calls_is_an_item_of_ours() -> None:
    answer = CODEC.decode_answer(body_of(reply(Text("a"), Call("f"), Custom("g"), Shell(("ls",)), Search("q"))))
    wire = written(replaced_by(answer, "No."))
    (item,) = wire["output"]
    assert item["content"][0]["text"] == "No."
    assert (item["status"], wire["status"], wire["id"]) == ("completed", "completed", "resp_1")


def test_an_answer_of_our_own_is_a_whole_response() -> None:
    call = ToolCall(id="a", name="f", arguments="{}")
    parts = (Part(kind="reasoning", text="Hm."), Part(kind="text", text="Hello"))
    wire = written(
        Answer(model="m", choices=(Choice(parts=parts, tool_calls=(call,), finish="tool_calls"),), usage=Usage(input=1))
    )
    assert [item["type"] for item in wire["output"]] == ["reasoning", "message", "function_call"]
    assert (wire["object"], wire["status"], wire["model"]) == ("response", "completed", "m")
    assert wire["output"][0]["encrypted_content"] == ALTERED
    assert wire["usage"]["total_tokens"] == 1


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"output":1}', b'{"output":[],"status":"failed","error":{"message":"no"}}']
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        CODEC.decode_answer(body)


@given(REPLIES)
def test_usage_is_found_without_reading_the_answer(script: Reply) -> None:
    expected = CODEC.decode_answer(body_of(script)).usage
    assert expected is not None
    found = CODEC.usage_of(body_of(script))
    assert found is not None
    assert (found.input, found.output) == (expected.input, expected.output)
    assert CODEC.usage_in_tail(wire_of(script)[-700:]) == expected


@pytest.mark.parametrize("content", [Call("f"), Custom("g", "x"), Shell(("ls",)), Search("q")])
def test_an_answer_with_a_call_is_never_taken_for_one_without(content: Any) -> None:
    assert CODEC.may_hold_calls(body_of(reply(Text("a"), content)))
    assert CODEC.may_hold_calls(wire_of(reply(Text("a"), content)))
    assert not CODEC.may_hold_calls(body_of(reply(Text("a"), Thought(("b",)))))
    assert not CODEC.may_hold_calls(wire_of(reply(Text("a"), Thought(("b",)))))


def test_errors_have_the_shape_that_openai_has_everywhere() -> None:
    problem = Problem(status=404, message="no", code="model_not_found", param="model")
    assert json.loads(CODEC.encode_problem(problem))["error"]["code"] == "model_not_found"
    assert CODEC.decode_problem(404, CODEC.encode_problem(problem)) == problem

"""Neutral requests as the Gemini API takes them; every one is put before the mock's strictness."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from engine.codecs.gemini import Gemini
from engine.codecs.gemini.lower import lower
from engine.codecs.translation.features import BY_NAME
from engine.model.exchange import Exchange, Media, Message, Part, Protocol, Tool, ToolCall
from tests.support.gemini_refusals import refusal_of

CODEC = Gemini()
SCHEMA = {
    "$schema": "s",
    "type": "object",
    "properties": {"a": {"type": ["string", "null"]}},
    "additionalProperties": False,
}
BASE = Exchange(id="1", protocol=Protocol.OPENAI_CHAT, model="gemini-3-pro", stream=True)


def said(role: str, text: str = "", **more: Any) -> Message:
    return Message(role=role, parts=(Part(kind="text", text=text),) if text else (), **more)


def lowered(*messages: Message, **more: Any) -> tuple[Any, set[str]]:
    """The request on the wire, and what was lost."""
    exchange = replace(BASE, messages=messages or (said("user", "Hi."),), **more)
    carried = lower(exchange)
    wire = json.loads(CODEC.encode_request(carried.exchange))
    assert refusal_of(wire, model=exchange.model) is None
    names = {loss.feature for loss in carried.losses}
    assert names <= BY_NAME.keys()
    return wire, names


def test_a_conversation_with_calls_has_its_results_in_one_turn_with_what_follows() -> None:
    calls = (ToolCall(id="a", name="f", arguments='{"x":1}'), ToolCall(id="b", name="g"))
    image = Part(kind="image", media=Media(mime="image/png", data="AA=="))
    wire, lost = lowered(
        said("system", "Be brief."),
        said("user", "Hi."),
        said("assistant", tool_calls=calls),
        replace(said("tool", "one", tool_call_id="a"), parts=(Part(kind="text", text="one"), image)),
        said("tool", "two", tool_call_id="b", is_error=True),
        said("developer", "And kind."),
        said("user", "Go on."),
    )
    assert lost == set()
    assert wire["systemInstruction"]["parts"] == [{"text": "Be brief."}, {"text": "And kind."}]
    assert wire["contents"] == [
        {"role": "user", "parts": [{"text": "Hi."}]},
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {"id": "a", "name": "f", "args": {"x": 1}},
                    "thoughtSignature": "skip_thought_signature_validator",
                },
                {"functionCall": {"id": "b", "name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "a", "name": "f", "response": {"output": "one"}}},
                {"functionResponse": {"id": "b", "name": "g", "response": {"error": "two"}}},
                {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
                {"text": "Go on."},
            ],
        },
    ]


def test_a_call_that_gemini_made_keeps_its_signature_and_an_old_model_gets_no_stand_in() -> None:
    made = said("assistant", tool_calls=(ToolCall(id="a", name="f", signature="sig"),))
    other = said("assistant", tool_calls=(ToolCall(id="a", name="f"),))
    result = said("tool", "x", tool_call_id="a")
    exchange = replace(BASE, messages=(said("user", "Hi."), made, result))
    wire = json.loads(CODEC.encode_request(lower(exchange).exchange))
    assert wire["contents"][1]["parts"][0]["thoughtSignature"] == "sig"
    wire, _ = lowered(said("user", "Hi."), other, result, model="gemini-2.5-flash")
    assert "thoughtSignature" not in wire["contents"][1]["parts"][0]


@pytest.mark.parametrize("first", [said("assistant", "Hello."), said("system", "Be brief.")])
def test_there_is_always_a_turn_of_the_user(first: Message) -> None:
    wire, _ = lowered(first)
    assert wire["contents"][0]["role"] == "user"


def test_tools_are_declared_by_json_schema() -> None:
    wire, _ = lowered(tools=(Tool(name="f", description="d", schema=SCHEMA), Tool(name="g")))
    first, second = wire["tools"][0]["functionDeclarations"]
    assert first == {
        "name": "f",
        "description": "d",
        "parametersJsonSchema": {name: value for name, value in SCHEMA.items() if name != "$schema"},
    }
    assert second["parametersJsonSchema"]["type"] == "object"


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_a_choice_of_a_tool_is_a_mode(choice: Any, config: Any) -> None:
    wire, _ = lowered(tools=(Tool(name="f"),), params={"tool_choice": choice})
    assert wire["toolConfig"] == {"functionCallingConfig": config}
    assert "toolConfig" not in lowered(params={"tool_choice": choice})[0]


@pytest.mark.parametrize(
    ("model", "params", "config"),
    [
        ("gemini-3-pro", {"reasoning_effort": "medium"}, {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3-flash", {"reasoning_effort": "none"}, {"thinkingLevel": "minimal"}),
        ("gemini-2.5-flash", {"reasoning_budget": 9_000}, {"thinkingBudget": 9_000, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 128}),
        ("gemini-2.5-pro", {"reasoning_effort": "max"}, {"thinkingBudget": 32_768, "includeThoughts": True}),
        ("gemini-2.0-flash", {"reasoning_effort": "low"}, None),
        ("gemini-2.0-flash", {"reasoning_effort": "none"}, None),
    ],
)
def test_thinking_is_asked_for_as_the_model_takes_it(model: str, params: Any, config: Any) -> None:
    wire, lost = lowered(model=model, params=params)
    assert wire.get("generationConfig", {}).get("thinkingConfig") == config
    assert lost == ({"no_reasoning"} if config is None and params != {"reasoning_effort": "none"} else set())


def test_an_answer_by_a_schema_is_asked_for() -> None:
    format = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    config = lowered(params={"response_format": format})[0]["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"] == SCHEMA["properties"]


@pytest.mark.parametrize(
    ("params", "feature"),
    [
        ({"n": 2}, "choices"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["1", "2", "3", "4", "5", "6"]}, "many_stops"),
        ({"user": "me"}, "user"),
    ],
)
def test_what_stays_behind_is_named(params: Any, feature: str) -> None:
    assert lowered(params=params)[1] == {feature}


@pytest.mark.parametrize(
    ("part", "feature"),
    [
        (Part(kind="image", media=Media(url="https://example.com/a.png")), "image_urls"),
        (Part(kind="file", media=Media(file_id="x")), "file_ids"),
        (Part(kind="reasoning", text="Hm.", signature="x", issuer=Protocol.ANTHROPIC), "thoughts"),
    ],
)
def test_content_that_cannot_come_across_is_named(part: Part, feature: str) -> None:
    message = Message(role="user", parts=(Part(kind="text", text="Hi."), part))
    assert lowered(message)[1] == {feature}

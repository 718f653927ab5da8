"""Requests in neutral form: what others can carry, and what stays behind by name."""

from typing import Any

import pytest

from engine.codecs.gemini.lift import lift
from engine.codecs.neutral import Carried
from engine.codecs.translation.features import BY_NAME
from engine.model.exchange import Media

from .test_request import FULL, decoded


def lifted(**more: Any) -> Carried:
    return lift(decoded({**FULL, "safetySettings": None, "labels": None, **more}))


def losses(carried: Carried) -> set[str]:
    names = {loss.feature for loss in carried.losses}
    assert names <= BY_NAME.keys()
    return names


def test_nothing_of_the_wire_is_left() -> None:
    exchange = lifted().exchange
    assert exchange.body is None
    assert exchange.wire is None
    for message in exchange.messages:
        assert message.wire is None
        assert not [part for part in message.parts if part.wire is not None]
        assert not [call for call in message.tool_calls if call.wire is not None]
    assert not [tool for tool in exchange.tools if tool.wire is not None]


def test_the_conversation_is_carried_and_what_google_ran_is_not() -> None:
    carried = lifted()
    assert losses(carried) == {"server_calls", "server_tools"}
    assert [(each.role, each.text) for each in carried.exchange.messages] == [
        ("system", "Be brief."),
        ("user", "Tidy."),
        ("assistant", "I look."),
        ("tool", "a.txt"),
        ("user", "Go on."),
    ]
    call = carried.exchange.messages[2].tool_calls[0]
    assert (call.arguments, call.signature) == ('{"command":"ls"}', "c2ln")
    assert carried.exchange.messages[1].parts[1].media == Media(mime="image/png", data="AA==")


def test_parameters_have_their_neutral_names() -> None:
    assert lifted().exchange.params == {
        "max_tokens": 9,
        "stop": ["X"],
        "reasoning_budget": 1,
        "tool_choice": "required",
    }


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ({"output": "a"}, "a"),
        ({"result": {"x": 1}}, '{"x":1}'),
        ({"error": "no"}, "no"),
        ({"a": 1, "b": [True]}, '{"a":1,"b":[true]}'),
        ({}, "{}"),
    ],
)
def test_a_result_is_its_text_or_its_json(response: Any, text: str) -> None:
    part = {"functionResponse": {"name": "f", "id": "i", "response": response}}
    message = lift(decoded({"contents": [{"parts": [part]}]})).exchange.messages[0]
    assert (message.role, message.text, message.tool_call_id) == ("tool", text, "i")
    assert message.is_error == ("error" in response)


@pytest.mark.parametrize(
    ("config", "params"),
    [
        ({"thinkingConfig": {"thinkingLevel": "LOW"}}, {"reasoning_effort": "low"}),
        ({"thinkingConfig": {"thinking_budget": 0}}, {"reasoning_effort": "none"}),
        ({"thinkingConfig": {"thinkingBudget": -1}}, {}),
        ({"responseMimeType": "application/json"}, {"response_format": {"type": "json_object"}}),
        ({"candidateCount": 2, "topK": 3}, {"n": 2, "top_k": 3}),
    ],
)
def test_generation_is_carried(config: Any, params: Any) -> None:
    carried = lift(decoded({"contents": FULL["contents"][:1], "generationConfig": config}))
    assert carried.exchange.params == params
    assert losses(carried) == set()


def test_a_schema_of_the_answer_is_json_schema() -> None:
    config = {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}}
    params = lift(decoded({"contents": FULL["contents"][:1], "generationConfig": config})).exchange.params
    assert params["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_a_choice_among_one_names_it_and_among_some_offers_them() -> None:
    def chosen(*names: str) -> Any:
        calling = {"mode": "ANY", "allowedFunctionNames": list(names)}
        exchange = lifted(toolConfig={"functionCallingConfig": calling}).exchange
        return exchange.params["tool_choice"], [tool.name for tool in exchange.tools]

    assert chosen("read") == ({"type": "function", "function": {"name": "read"}}, ["bash", "read"])
    assert chosen("bash", "read") == ("required", ["bash", "read"])


@pytest.mark.parametrize(
    ("more", "feature"),
    [
        ({"cachedContent": "c"}, "cached_content"),
        ({"safetySettings": [{}]}, "safety_settings"),
        ({"generationConfig": {"responseModalities": ["IMAGE"]}}, "image_output"),
        ({"somethingNew": 1}, "unknown_parameter"),
        ({"contents": [{"parts": [{"somethingNew": 1}]}]}, "opaque"),
    ],
)
def test_what_stays_behind_is_named(more: Any, feature: str) -> None:
    assert feature in losses(lifted(**more))


@pytest.mark.parametrize(
    ("uri", "media"),
    [
        ("https://generativelanguage.googleapis.com/v1beta/files/x", "file_id"),
        ("gs://bucket/x", "file_id"),
        ("https://example.com/a.png", "url"),
    ],
)
def test_files_of_googles_own_are_ids(uri: str, media: str) -> None:
    part = {"fileData": {"mimeType": "image/png", "fileUri": uri}}
    found = lift(decoded({"contents": [{"parts": [part]}]})).exchange.messages[0].parts[0].media
    assert found is not None
    assert getattr(found, media) == uri

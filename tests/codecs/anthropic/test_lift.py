"""A request of Messages in neutral form."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from engine.codecs import CODECS
from engine.codecs.anthropic.blocks import ALTERED
from engine.codecs.anthropic.lift import lift
from engine.codecs.neutral import Carried
from engine.model.exchange import Exchange, Media, Message, Protocol

CODEC = CODECS[Protocol.ANTHROPIC]


def decoded(*messages: dict[str, Any], **more: Any) -> Exchange:
    said = {
        "model": "claude",
        "max_tokens": 9,
        "messages": list(messages) or [{"role": "user", "content": "Go."}],
        **more,
    }
    return CODEC.decode_request(json.dumps(said).encode(), id="x", headers={}, query="beta=true")


def lifted(*messages: dict[str, Any], **more: Any) -> Carried:
    return lift(decoded(*messages, **more))


def losses(carried: Carried) -> list[str]:
    return [loss.feature for loss in carried.losses]


def assistant(*blocks: dict[str, Any]) -> Carried:
    return lifted({"role": "user", "content": "Go."}, {"role": "assistant", "content": list(blocks)})


def thoughts(carried: Carried) -> list[tuple[str, str, Protocol | None]]:
    parts = [part for message in carried.exchange.messages for part in message.parts if part.kind == "reasoning"]
    return [(part.text, part.signature, part.issuer) for part in parts]


def test_nothing_of_the_wire_is_left() -> None:
    exchange = lifted(system=[{"type": "text", "text": "Be.", "cache_control": {"type": "ephemeral"}}]).exchange
    assert (exchange.wire, exchange.body, exchange.query) == (None, None, "")
    assert exchange.messages[0] == Message(role="system", parts=exchange.messages[0].parts)
    assert all(part.wire is None for message in exchange.messages for part in message.parts)


def test_thoughts_keep_what_proves_them() -> None:
    carried = assistant(
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Yes."},
    )
    assert thoughts(carried) == [("Hm.", "sig", Protocol.ANTHROPIC), ("", "xyz", Protocol.ANTHROPIC)]


def test_a_thought_that_a_rule_rewrote_proves_nothing() -> None:
    exchange = decoded(
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "sig"}]},
    )
    said = exchange.messages[1]
    changed = replace(said, parts=(replace(said.parts[0], text="[x]"),))
    assert thoughts(lift(replace(exchange, messages=(exchange.messages[0], changed)))) == [("[x]", "", None)]


def test_a_thought_of_another_provider_was_taken_out() -> None:
    assert thoughts(assistant({"type": "thinking", "thinking": "Hm.", "signature": ALTERED})) == []


def test_documents_are_texts_and_media() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
    content = [
        {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        {"type": "document", "title": "P", "source": pdf},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "container_upload", "file_id": "file_1"},
    ]
    parts = lifted({"role": "user", "content": content}).exchange.messages[0].parts
    assert [part.text for part in parts if part.kind == "text"] == ["T", "words", "P"]
    assert [part.media for part in parts if part.media] == [
        Media(mime="application/pdf", data="aGk=", name="P"),
        Media(url="https://example.com/a.png"),
        Media(file_id="file_1"),
    ]


def test_a_picture_in_a_result_is_media() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    use = {"type": "tool_use", "id": "a", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [picture]}
    carried = lifted({"role": "assistant", "content": [use]}, {"role": "user", "content": [result]})
    assert carried.exchange.messages[1].parts[0].media == Media(mime="image/png", data="aGk=")


def test_what_the_provider_ran_is_left_behind() -> None:
    carried = assistant(
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "text", "text": "Yes.", "citations": [{"type": "char_location"}]},
    )
    assert losses(carried) == ["server_calls", "server_calls", "citations"]
    assert [part.text for part in carried.exchange.messages[1].parts] == ["Yes."]


@pytest.mark.parametrize(
    ("more", "params"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"reasoning_budget": 2048}),
        ({"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
        ({"thinking": {"type": "adaptive"}}, {"reasoning_effort": "high"}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"stop_sequences": ["x"]}, {"stop": ["x"]}),
        ({"metadata": {"user_id": "me"}}, {"user": "me"}),
        ({"service_tier": "standard_only"}, {"service_tier": "default"}),
        ({"tool_choice": {"type": "any"}}, {}),
    ],
)
def test_parameters_have_neutral_names(more: dict[str, Any], params: dict[str, Any]) -> None:
    assert lifted(**more).exchange.params == {"max_tokens": 9, **params}


@pytest.mark.parametrize(
    ("choice", "params"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, {"tool_choice": "auto", "parallel_tool_calls": False}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "a"}, {"tool_choice": {"type": "function", "function": {"name": "a"}}}),
        ({"type": "tool", "name": "gone"}, {}),
    ],
)
def test_choices_of_tools_are_neutral(choice: dict[str, Any], params: dict[str, Any]) -> None:
    tools = [{"name": "a", "input_schema": {"type": "object"}}]
    assert lifted(tools=tools, tool_choice=choice).exchange.params == {"max_tokens": 9, **params}


def test_what_only_anthropic_has_is_lost_by_name() -> None:
    more = {"context_management": {}, "mcp_servers": [], "container": "c", "inference_geo": "eu", "speed": "fast"}
    carried = lifted(tools=[{"type": "web_search_20250305", "name": "web_search"}], **more)
    assert sorted(losses(carried)) == [
        *("container", "context_management", "mcp_servers", "region", "server_tools", "unknown_parameter"),
    ]
    assert carried.exchange.tools == ()

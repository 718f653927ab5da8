"""Clients of one protocol in front of backends of another, by their own SDKs, and mocks that refuse what providers refuse."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.support.anthropic_mock import AnthropicMock, Redacted, Text, Thinking, reply
from tests.support.anthropic_mock import Call as Use
from tests.support.lexgate import Lexgate
from tests.support.openai_mock import Call, OpenAIMock, Reply

from .conftest import Serve

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"command": {"type": "string"}},
    "required": ["command"],
    "additionalProperties": False,
}
BASH: Any = {"type": "function", "function": {"name": "bash", "description": "Runs.", "parameters": SCHEMA}}
DOTTED: Any = {"type": "function", "function": {"name": "fs.read-file", "parameters": SCHEMA}}
TOOL: Any = {"name": "bash", "description": "Runs.", "input_schema": SCHEMA}


@pytest.fixture
def messages() -> Iterator[AnthropicMock]:
    with AnthropicMock(api_key="key") as mock:
        yield mock


def to_anthropic(serve: Serve, mock: AnthropicMock, *policies: str, **more: Any) -> Lexgate:
    backend = {"protocol": "anthropic", "base_url": mock.base_url, "api_key": "key", "models": ["*"]}
    return serve(*policies, settings={"backends": {"claude": backend}, **more})


def asked(lexgate: Lexgate, stream: bool, **request: Any) -> Any:
    """What the OpenAI SDK has in the end."""
    said = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Tidy."}], **request}
    with openai.OpenAI(base_url=lexgate.base_url, api_key="mine", max_retries=0) as client:
        if not stream:
            return client.chat.completions.create(**said)
        with client.chat.completions.stream(**said) as events:
            return events.get_final_completion()


def told(lexgate: Lexgate, stream: bool, **request: Any) -> Any:
    """What the Anthropic SDK has in the end."""
    said = {"model": "gpt-4o", "max_tokens": 512, "messages": [{"role": "user", "content": "Tidy."}], **request}
    with anthropic.Anthropic(base_url=lexgate.origin, api_key="mine", max_retries=0) as client:
        if not stream:
            return client.messages.create(**said)
        with client.messages.stream(**said) as answer:
            return answer.get_final_message()


# --- OpenAI's client, Anthropic's backend ----------------------------------------------------------------------------


@both
def test_an_openai_client_has_a_conversation_with_tools_at_anthropic(
    serve: Serve, messages: AnthropicMock, stream: bool
) -> None:
    lexgate = to_anthropic(serve, messages)
    calls = (Use("bash", '{"command":"ls"}'), Use("bash", '{"command":"pwd"}'))
    messages.script(reply(Text("I look. "), Text("Now."), *calls, fragment=1), reply(Text("Done.")))
    question = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Tidy."}]},
    ]
    first = asked(lexgate, stream, messages=question, tools=[BASH])
    message = first.choices[0].message
    assert (message.content, first.choices[0].finish_reason) == ("I look. Now.", "tool_calls")
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [
        {"command": "ls"},
        {"command": "pwd"},
    ]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": name}
        for call, name in zip(message.tool_calls, ("a.txt", "/tmp"), strict=True)
    ]
    history = [*question, message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}), *results]
    second = asked(lexgate, stream, messages=history, tools=[BASH])
    assert second.choices[0].message.content == "Done."
    assert second.choices[0].finish_reason == "stop"
    sent = messages.requests[1].json
    assert sent["system"] == "Be brief."
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["text", "tool_use", "tool_use"]
    assert [block["content"] for block in sent["messages"][2]["content"]] == ["a.txt", "/tmp"]
    assert "authorization" not in messages.requests[0].headers
    assert not any(name.startswith("x-stainless") for name in messages.requests[0].headers)


# --- Anthropic's client, OpenAI's backend ----------------------------------------------------------------------------


@both
def test_an_anthropic_client_has_a_conversation_with_tools_at_openai(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve()
    calls = (Call("bash", '{"command":"ls"}'), Call("bash", '{"command":"pwd"}'))
    provider.script(Reply(text="I look.", calls=calls, fragment=1, usage=(100, 12, 60, 5)), Reply(text="Done."))
    question: list[Any] = [{"role": "user", "content": "Tidy."}]
    first = told(lexgate, stream, system="Be brief.", messages=question, tools=[TOOL])
    assert first.stop_reason == "tool_use"
    assert [block.type for block in first.content] == ["text", "tool_use", "tool_use"]
    assert [block.input for block in first.content[1:]] == [{"command": "ls"}, {"command": "pwd"}]
    usage = first.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (40, 60, 12)
    results = [
        {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "a.txt"},
        {"type": "tool_result", "tool_use_id": first.content[2].id, "content": "no such", "is_error": True},
        {"type": "text", "text": "Well?"},
    ]
    history = [*question, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second = told(lexgate, stream, system="Be brief.", messages=history, tools=[TOOL])
    assert [block.text for block in second.content] == ["Done."]
    assert second.stop_reason == "end_turn"
    sent = provider.requests[1].json
    assert [message["role"] for message in sent["messages"]] == [
        *("system", "user", "assistant", "tool", "tool", "user"),
    ]
    assert sent["messages"][4]["content"] == "Error: no such"
    assert not any(name.startswith("anthropic-") for name in provider.requests[0].headers)

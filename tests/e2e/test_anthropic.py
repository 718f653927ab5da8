"""Anthropic's own SDK through the proxy, in front of a provider that speaks Messages and is strict."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.support.anthropic_mock import AnthropicMock, Call, Redacted, Search, Text, Thinking, reply
from tests.support.lexgate import Lexgate

from .conftest import Serve

ASK: list[Any] = [{"role": "user", "content": "Tidy."}]
BASH: Any = {
    "name": "bash",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}
SAID: dict[str, Any] = {"model": "claude-opus-4-7", "max_tokens": 2048, "messages": ASK, "tools": [BASH]}
EVERYTHING = (
    *(Thinking("Let me look."), Redacted(), Text("Looking."), Search("weather"), Text("It rains.", citations=2)),
    Call("bash", '{"command":"ls"}'),
)
WIPE = Call("bash", '{"command":"rm -rf /"}', "toolu_wipe")
STEER = """
version: 1
policy: shell
rules:
  - id: no-wipe
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: "Do not delete; list instead."}}]
"""
BLOCK = STEER.replace("steer: {message:", "block: {message:")
REDACT = """
version: 1
policy: names
patterns:
  codenames: {bluefalcon: '(?i)\\\\bbluefalcon\\\\b'}
rules:
  - id: in
    phase: request
    actions: [{redact: {patterns: codenames, mask: '[name]'}}]
  - id: results
    phase: tool_result
    actions: [{redact: {patterns: codenames, mask: '[name]'}}]
  - id: out
    phase: text
    actions: [{redact: {patterns: codenames, mask: '[name]'}}]
""".replace("\\\\b", "\\b")
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
def messages() -> Iterator[AnthropicMock]:
    with AnthropicMock(api_key="key") as mock:
        yield mock


def served(serve: Serve, messages: AnthropicMock, *policies: str) -> Lexgate:
    backend = {"protocol": "anthropic", "base_url": messages.base_url, "api_key": "key", "models": ["*"]}
    return serve(*policies, settings={"backends": {"anthropic": backend}})


def ask(lexgate: Lexgate, stream: bool, **more: Any) -> Any:
    with anthropic.Anthropic(base_url=lexgate.origin, api_key="mine", max_retries=0) as client:
        if not stream:
            return client.messages.create(**SAID | more)
        with client.messages.stream(**SAID | more) as answer:
            return answer.get_final_message()


def said(answer: Any) -> list[tuple[str, str]]:
    return [(block.type, getattr(block, "text", "")) for block in answer.content]


@both
def test_the_sdk_gets_the_same_objects_with_and_without_the_proxy(
    serve: Serve, messages: AnthropicMock, stream: bool
) -> None:
    lexgate = served(serve, messages)
    messages.script(*[reply(*EVERYTHING, fragment=1)] * 2)
    through = ask(lexgate, stream)
    with anthropic.Anthropic(base_url=messages.base_url, api_key="key") as client:
        if stream:
            with client.messages.stream(**SAID) as answer:
                direct: Any = answer.get_final_message()
        else:
            direct = client.messages.create(**SAID)
    assert through.model_dump_json().replace("_1", "_2") == direct.model_dump_json().replace("_1", "_2")
    first, second = messages.requests
    assert (first.path, first.json) == (second.path, second.json)
    assert first.body == second.body
    assert first.headers["x-api-key"] == "key"
    assert first.headers["anthropic-version"] == second.headers["anthropic-version"]


@both
def test_a_refused_turn_goes_back_with_what_was_thought(serve: Serve, messages: AnthropicMock, stream: bool) -> None:
    """With a budget, the provider refuses calls that do not stand behind their thinking."""
    lexgate = served(serve, messages, STEER)
    messages.script(reply(Thinking("Hm."), Redacted(), WIPE), reply(Thinking("Well."), Text("No.")))
    answer = ask(lexgate, stream, thinking={"type": "enabled", "budget_tokens": 1024})
    assert said(answer)[-1] == ("text", "No.")
    refused = messages.requests[1].json["messages"][1]["content"]
    assert [block["type"] for block in refused] == ["thinking", "redacted_thinking", "tool_use"]


@both
def test_a_refused_call_is_steered_with_the_results_that_the_provider_wants(
    serve: Serve, messages: AnthropicMock, stream: bool
) -> None:
    lexgate = served(serve, messages, STEER)
    messages.script(
        reply(Text("I clean up."), WIPE, fragment=1), reply(Text("Listing."), Call("bash", '{"command":"ls"}'))
    )
    answer = ask(lexgate, stream)
    assert "".join(text for _, text in said(answer)) == "I clean up.\n\nListing."
    assert [(block.id, block.input) for block in answer.content if block.type == "tool_use"] == [
        ("toolu_2_1", {"command": "ls"})
    ]
    assert answer.stop_reason == "tool_use"
    assert messages.requests[1].json["messages"] == [
        *ASK,
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I clean up."},
                {"type": "tool_use", "id": "toolu_wipe", "name": "bash", "input": {"command": "rm -rf /"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_wipe", "content": "Do not delete; list instead."},
            ],
        },
    ]


@both
def test_a_blocked_call_becomes_the_message_and_a_normal_end(
    serve: Serve, messages: AnthropicMock, stream: bool
) -> None:
    lexgate = served(serve, messages, BLOCK)
    messages.script(reply(Thinking("Hm."), Text("I clean up."), WIPE))
    answer = ask(lexgate, stream)
    assert answer.stop_reason == "end_turn"
    assert {block.type for block in answer.content} == {"thinking", "text"}
    assert "".join(text for _, text in said(answer)) == "I clean up.\n\nDo not delete; list instead."


@both
def test_a_secret_is_redacted_in_what_is_said_and_in_what_is_sent(
    serve: Serve, messages: AnthropicMock, stream: bool
) -> None:
    lexgate = served(serve, messages, REDACT)
    messages.script(reply(Text("We call it BlueFalcon here."), piece=3))
    conversation = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "About bluefalcon", "cache_control": {"type": "ephemeral"}}],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "bash", "input": {"command": "ls"}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "bluefalcon.txt"},
                {"type": "text", "text": "Go on"},
            ],
        },
    ]
    answer = ask(lexgate, stream, messages=conversation, system=[{"type": "text", "text": "bluefalcon!"}])
    assert said(answer) == [("text", "We call it [name] here.")]
    expected = json.loads(json.dumps(SAID | {"messages": conversation}).replace("bluefalcon", "[name]"))
    assert messages.requests[0].json["messages"] == expected["messages"]
    assert messages.requests[0].json["system"] == [{"type": "text", "text": "[name]!"}]


@both
def test_redacted_thinking_does_not_come_back_with_a_signature_that_is_not_its_own(
    serve: Serve, messages: AnthropicMock, stream: bool
) -> None:
    """The mock refuses a thinking block whose signature is not that of its text."""
    lexgate = served(serve, messages, REDACT)
    messages.script(reply(Thinking("It is bluefalcon, of course."), Text("Hello.")), reply(Text("Again.")))
    first = ask(lexgate, stream)
    assert "bluefalcon" not in first.model_dump_json()
    history = [*ASK, {"role": "assistant", "content": [block.to_dict() for block in first.content]}, *ASK]
    for block in history[1]["content"]:
        block.pop("parsed_output", None)
    assert said(ask(lexgate, stream, messages=history)) == [("text", "Again.")]


@both
def test_thinking_that_nobody_touched_can_be_sent_back(serve: Serve, messages: AnthropicMock, stream: bool) -> None:
    lexgate = served(serve, messages, BLOCK)
    messages.script(reply(*EVERYTHING[:2], Call("bash", '{"command":"ls"}', "a")), reply(Text("Done.")))
    first = ask(lexgate, stream)
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}
    history = [*ASK, {"role": "assistant", "content": [block.to_dict() for block in first.content]}, result]
    assert said(ask(lexgate, stream, messages=history)) == [("text", "Done.")]


@pytest.mark.parametrize("status", [400, 401, 429, 529])
def test_an_error_of_the_provider_is_the_clients_own_exception(
    serve: Serve, messages: AnthropicMock, status: int
) -> None:
    lexgate = served(serve, messages)
    messages.script(reply(status=status, error="no", headers={"retry-after": "3"}))
    with pytest.raises(anthropic.APIStatusError) as raised:
        ask(lexgate, False)
    assert raised.value.status_code == status
    assert raised.value.response.headers["retry-after"] == "3"


def test_a_stream_that_broke_is_never_a_whole_message(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = served(serve, messages, REDACT)
    messages.script(reply(Text("Hello, world, this is long"), cut_after=6))
    with pytest.raises(anthropic.APIStatusError):
        ask(lexgate, True)


def test_the_version_is_sent_for_a_client_that_says_none(serve: Serve, messages: AnthropicMock) -> None:
    """Anthropic refuses a request without one."""
    lexgate = served(serve, messages)
    messages.script(reply(Text("Hello.")))
    assert lexgate.post({**SAID, "tools": []}, "/v1/messages").status == 200
    assert dict(messages.requests[0].headers)["anthropic-version"] == "2023-06-01"


@both
def test_the_sandbox_speaks_messages_too(serve: Serve, stream: bool) -> None:
    lexgate = serve(settings={"backends": {"sandbox": {"protocol": "sandbox", "models": ["*"]}}})
    assert said(ask(lexgate, stream)) == [("text", "You said: Tidy.")]

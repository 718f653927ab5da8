"""The mock is what the official SDK takes for Anthropic."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest

from .anthropic_mock import AnthropicMock, Call, Gate, Redacted, Search, Text, Thinking, reply
from .anthropic_refusals import signature_of

ASK: list[Any] = [{"role": "user", "content": "Hello"}]
TOOLS: list[Any] = [{"name": "bash", "input_schema": {"type": "object"}}]
SAID: dict[str, Any] = {"model": "claude-opus-4-7", "max_tokens": 2048, "messages": ASK}
EVERYTHING = (
    Thinking("Let me look."),
    Redacted(),
    Text("Looking it up."),
    Search("weather"),
    Text("It rains.", citations=2),
    Call("bash", '{"command":"ls"}'),
    Call("bash"),
)


@pytest.fixture
def provider() -> Iterator[AnthropicMock]:
    with AnthropicMock() as mock:
        yield mock


def client_of(provider: AnthropicMock) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=provider.base_url, api_key="key", max_retries=0)


def test_a_whole_answer_of_every_block_is_parsed_by_the_sdk(provider: AnthropicMock) -> None:
    provider.script(reply(*EVERYTHING, usage=(7, 3, 2, 1)))
    with client_of(provider) as client:
        answer = client.messages.create(**SAID)
    assert [block.type for block in answer.content] == [
        *("thinking", "redacted_thinking", "text", "server_tool_use", "web_search_tool_result"),
        *("text", "tool_use", "tool_use"),
    ]
    assert answer.stop_reason == "tool_use"
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (7, 2)


@pytest.mark.parametrize("fragment", [1, 8])
def test_a_stream_is_assembled_by_the_sdk_to_the_whole_answer(provider: AnthropicMock, fragment: int) -> None:
    provider.script(*[reply(*EVERYTHING, fragment=fragment, piece=fragment)] * 2)
    with client_of(provider) as client:
        with client.messages.stream(**SAID) as stream:
            streamed = stream.get_final_message()
        whole = client.messages.create(**SAID)
    dumped = [
        json.dumps([block.model_dump(exclude={"parsed_output"}) for block in answer.content]).replace("_2_", "_1_")
        for answer in (streamed, whole)
    ]
    assert dumped[0] == dumped[1]
    assert (streamed.stop_reason, streamed.usage.output_tokens) == ("tool_use", 12)


def test_a_stop_sequence_is_named(provider: AnthropicMock) -> None:
    provider.script(reply(Text("One"), stop_sequence="Two"))
    with client_of(provider) as client:
        answer = client.messages.create(**SAID, stop_sequences=["Two"])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "Two")


def test_the_async_sdk_counts_tokens_and_lists_models(provider: AnthropicMock) -> None:
    async def talk() -> tuple[int, list[str]]:
        async with anthropic.AsyncAnthropic(base_url=provider.base_url, api_key="key") as client:
            counted = await client.messages.count_tokens(model="claude-opus-4-7", messages=ASK)
            return counted.input_tokens, [model.id async for model in client.models.list()]

    tokens, models = asyncio.run(talk())
    assert tokens > 0
    assert models == ["claude-opus-4-7"]


def test_an_error_has_its_status_headers_and_type(provider: AnthropicMock) -> None:
    provider.script(reply(status=529, error="Overloaded", headers={"retry-after": "7"}))
    with client_of(provider) as client, pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(**SAID)
    assert raised.value.status_code == 529
    assert raised.value.response.headers["retry-after"] == "7"


def test_an_error_event_ends_a_stream(provider: AnthropicMock) -> None:
    provider.script(reply(Text("Hello, world"), fails_after=3))
    with (
        client_of(provider) as client,
        client.messages.stream(**SAID) as stream,
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
    ):
        stream.until_done()


def test_a_cut_stream_is_an_error_and_not_an_end(provider: AnthropicMock) -> None:
    provider.script(reply(Text("Hello, world"), cut_after=4))
    with (
        client_of(provider) as client,
        client.messages.stream(**SAID) as stream,
        pytest.raises((anthropic.APIConnectionError, httpx2.HTTPError)),
    ):
        stream.until_done()


def test_a_gate_holds_the_answer_and_a_client_that_leaves_is_seen(provider: AnthropicMock) -> None:
    gate = Gate()
    provider.script(reply(Text("Hello, world"), gate=gate, gate_before=3))
    with client_of(provider) as client:
        stream = client.messages.create(**SAID, stream=True)
        assert next(stream).type == "message_start"
        gate.wait_until_reached()
        stream.close()
        provider.wait_for_disconnect()


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


USED = assistant({"type": "tool_use", "id": "a", "name": "bash", "input": {}})
GIVEN = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}
MARKED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frobnicate": 1}, "frobnicate: Extra inputs"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"temperature": 1.5}, "temperature"),
        ({"tool_choice": {"type": "auto"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "x"}}, "not found"),
        ({"tools": [{"name": "a.b", "input_schema": {}}]}, "should match pattern"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, "1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "must be greater"),
        ({"system": [MARKED] * 5}, "maximum of 4 blocks"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "non-empty"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "should be 'user' or 'assistant'"),
        ({"messages": [*ASK, USED, *ASK]}, "without `tool_result` blocks immediately after: a"),
        ({"messages": [*ASK, GIVEN]}, "unexpected `tool_use_id`"),
        (
            {
                "messages": [
                    *ASK,
                    assistant({"type": "thinking", "thinking": "b", "signature": signature_of("a")}),
                    *ASK,
                ]
            },
            "Invalid `signature`",
        ),
    ],
)
def test_what_anthropic_refuses_is_refused(provider: AnthropicMock, change: dict[str, Any], words: str) -> None:
    request = {name: value for name, value in (SAID | change).items() if value is not None}
    headers = {"anthropic-version": "2023-06-01"}
    answer = httpx2.post(f"{provider.base_url}/v1/messages", json=request, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_what_anthropic_takes_is_taken(provider: AnthropicMock) -> None:
    thought = {"type": "thinking", "thinking": "a", "signature": signature_of("a")}
    later = {"role": "system", "content": "Be brief."}
    messages = [*ASK, later, assistant(thought, *USED["content"]), GIVEN]
    provider.script(reply(Text("x")))
    with client_of(provider) as client:
        client.messages.create(**SAID | {"messages": messages, "system": [MARKED] * 3, "tools": TOOLS})


def test_a_request_without_a_version_or_the_key_is_refused() -> None:
    with AnthropicMock(api_key="right") as provider:
        url = f"{provider.base_url}/v1/messages"
        assert httpx2.post(url, json=SAID, headers={"x-api-key": "right"}).status_code == 400
        assert httpx2.post(url, json=SAID, headers={"x-api-key": "wrong"}).status_code == 401
        assert httpx2.head(provider.base_url).status_code == 404

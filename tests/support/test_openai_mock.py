"""The mock is what the official SDK takes for OpenAI."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from .openai_mock import Call, Gate, OpenAIMock, Reply

ASK: list[Any] = [{"role": "user", "content": "Hello"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}]


@pytest.fixture
def provider() -> Iterator[OpenAIMock]:
    with OpenAIMock() as mock:
        yield mock


def client_of(provider: OpenAIMock) -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.base_url, api_key="key", max_retries=0)


def test_a_whole_answer_is_parsed_by_the_sdk(provider: OpenAIMock) -> None:
    provider.script(Reply(text="Hi there", usage=(7, 3, 2, 1)))
    with client_of(provider) as client:
        answer = client.chat.completions.create(model="gpt-4o", messages=ASK)
    assert answer.choices[0].message.content == "Hi there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert (answer.usage.total_tokens, answer.usage.prompt_tokens_details.cached_tokens) == (10, 2)


def test_a_stream_is_parsed_by_the_sdk_with_usage_last(provider: OpenAIMock) -> None:
    provider.script(Reply(text="Hello, world", piece=3))
    with client_of(provider) as client:
        stream = client.chat.completions.create(
            model="gpt-4o", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        frames = list(stream)
    assert frames[0].choices[0].delta.role == "assistant"
    assert "".join(frame.choices[0].delta.content or "" for frame in frames[:-1]) == "Hello, world"
    assert frames[-2].choices[0].finish_reason == "stop"
    assert frames[-1].choices == []
    assert frames[-1].usage is not None


def test_tool_calls_in_one_byte_fragments_are_assembled_by_the_sdk(provider: OpenAIMock) -> None:
    provider.script(Reply(calls=(Call("bash", '{"command":"ls"}'), Call("bash", '{"command":"pwd"}')), fragment=1))
    with (
        client_of(provider) as client,
        client.chat.completions.stream(model="gpt-4o", messages=ASK, tools=TOOLS) as stream,
    ):
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.arguments for call in calls] == ['{"command":"ls"}', '{"command":"pwd"}']


def test_the_async_sdk_reads_a_refusal_and_several_choices(provider: OpenAIMock) -> None:
    async def talk() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="key") as client:
            answer = await client.chat.completions.create(model="gpt-4o", messages=ASK, n=2)
            return [choice.message.refusal for choice in answer.choices]

    provider.script(Reply(refusal="I cannot."))
    assert asyncio.run(talk()) == ["I cannot.", "I cannot."]


def test_an_error_has_its_status_and_headers(provider: OpenAIMock) -> None:
    provider.script(Reply(status=429, error="slow down", headers={"retry-after": "7"}))
    with client_of(provider) as client, pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="gpt-4o", messages=ASK)
    assert raised.value.response.headers["retry-after"] == "7"


def test_a_cut_stream_is_an_error_and_not_an_end(provider: OpenAIMock) -> None:
    provider.script(Reply(text="Hello, world", cut_after=2))
    with client_of(provider) as client:
        stream = client.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
        with pytest.raises((openai.APIConnectionError, httpx2.HTTPError)):
            list(stream)


def test_a_gate_holds_the_answer_and_a_client_that_leaves_is_seen(provider: OpenAIMock) -> None:
    gate = Gate()
    provider.script(Reply(text="Hello, world", gate=gate, gate_before=2))
    with client_of(provider) as client:
        stream = client.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
        assert next(stream).choices[0].delta.role == "assistant"
        gate.wait_until_reached()
        stream.close()
        provider.wait_for_disconnect()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frobnicate": 1}, "Unknown parameter"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tool_choice": "auto"}, "only allowed when 'tools'"),
        ({"tools": []}, "empty array"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "not found"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "non-empty"),
        ({"messages": [*ASK, {"role": "tool", "tool_call_id": "c", "content": ""}]}, "preceeding"),
        (
            {
                "messages": [
                    *ASK,
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "b", "arguments": ""}}],
                    },
                ]
            },
            "did not have response messages: c",
        ),
    ],
)
def test_what_openai_refuses_is_refused(provider: OpenAIMock, change: dict[str, Any], words: str) -> None:
    answer = httpx2.post(f"{provider.base_url}/chat/completions", json={"model": "gpt-4o", "messages": ASK} | change)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_requests_are_recorded_as_they_came(provider: OpenAIMock) -> None:
    provider.script(Reply(text="x"))
    body = b'{ "model":"gpt-4o","messages":[{"role":"user","content":"Hello"}] }'
    httpx2.post(f"{provider.base_url}/chat/completions?a=b", content=body, headers={"X-Test": "1"})
    received = provider.requests[0]
    assert (received.path, received.body, received.headers["x-test"]) == ("/v1/chat/completions?a=b", body, "1")

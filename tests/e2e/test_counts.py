"""Anthropic's and Google's own SDKs count tokens through the proxy: asked of a backend, or estimated, never past a rule."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from google import genai
from google.genai.errors import ClientError
from google.genai.types import HttpOptions

from tests.support.anthropic_mock import AnthropicMock, error_object
from tests.support.gemini_mock import GeminiMock
from tests.support.lexgate import Lexgate
from tests.support.openai_mock import OpenAIMock, Reply
from tests.support.provider import Received

from .conftest import Serve

BASH: Any = {"name": "bash", "description": "Runs a command.", "input_schema": {"type": "object"}}
SAID: dict[str, Any] = {
    "model": "claude-opus-4-7",
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "Tell me of bluefalcon."}],
    "tools": [BASH],
}
REDACT = r"""
version: 1
policy: names
patterns:
  codenames: {bluefalcon: '(?i)\bbluefalcon\b'}
rules:
  - id: in
    phase: request
    actions: [{redact: {patterns: codenames, mask: '[name]'}}]
"""
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "Tell me of bluefalcon."}]}]}


def refusing(verdict: str) -> str:
    return f"""
version: 1
policy: no
rules: [{{id: no, phase: request, actions: [{{{verdict}: {{message: 'Not these.'}}}}]}}]
"""


@pytest.fixture
def messages() -> Iterator[AnthropicMock]:
    with AnthropicMock(api_key="key") as mock:
        yield mock


@pytest.fixture
def gemini() -> Iterator[GeminiMock]:
    with GeminiMock(api_key="key") as mock:
        yield mock


def served(serve: Serve, messages: AnthropicMock, *policies: str, **more: Any) -> Lexgate:
    backend = {"protocol": "anthropic", "base_url": messages.base_url, "api_key": "key", "models": ["*"], **more}
    return serve(*policies, settings={"backends": {"anthropic": backend}})


def served_gemini(serve: Serve, gemini: GeminiMock, *policies: str) -> Lexgate:
    backend = {"protocol": "gemini", "base_url": gemini.base_url, "api_key": "key", "models": ["*"]}
    return serve(*policies, settings={"backends": {"gemini": backend}})


def counted(lexgate: Lexgate, **more: Any) -> int:
    with anthropic.Anthropic(base_url=lexgate.origin, api_key="mine", max_retries=0) as client:
        return client.messages.count_tokens(**SAID | more).input_tokens


def counted_by_google(lexgate: Lexgate, contents: str = "Tell me of bluefalcon.") -> int | None:
    with genai.Client(api_key="mine", http_options=HttpOptions(base_url=lexgate.origin)) as client:
        return client.models.count_tokens(model="gemini-2.5-pro", contents=contents).total_tokens


def test_a_backend_of_anthropics_is_asked_with_the_bytes_that_came(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = served(serve, messages)
    with anthropic.Anthropic(base_url=messages.base_url, api_key="key") as direct:
        without = direct.messages.count_tokens(**SAID).input_tokens
    assert counted(lexgate) == without
    assert messages.requests[0].body == messages.requests[1].body
    raw = lexgate.post(SAID, "/v1/messages/count_tokens?beta=true", {"anthropic-beta": "token-counting-2024-11-01"})
    assert raw.headers["x-lexgate-count"] == "asked"
    assert messages.requests[2].path == "/v1/messages/count_tokens?beta=true"
    assert messages.requests[2].headers["anthropic-beta"] == "token-counting-2024-11-01"


def test_a_count_does_not_leak_what_a_rule_redacts(serve: Serve, messages: AnthropicMock) -> None:
    counted(served(serve, messages, REDACT))
    assert messages.requests[0].json == {**SAID, "messages": [{"role": "user", "content": "Tell me of [name]."}]}


def test_a_block_is_the_sdks_own_exception(serve: Serve, messages: AnthropicMock) -> None:
    with pytest.raises(anthropic.BadRequestError, match="Not these"):
        counted(served(serve, messages, refusing("block")))
    assert messages.requests == []


def test_what_a_rule_answers_itself_no_backend_sees(serve: Serve, messages: AnthropicMock) -> None:
    assert counted(served(serve, messages, refusing("respond"))) > 0
    assert messages.requests == []


def test_money_and_token_meters_do_not_run(serve: Serve, messages: AnthropicMock) -> None:
    policy = """
version: 1
policy: spend
rules:
  - id: tokens
    phase: attempt
    actions: [{rate_limit: {key: caller.id, limit: 1, window: 1h, of: tokens}}]
"""
    lexgate = served(serve, messages, policy)
    assert [counted(lexgate) for _ in range(3)] == [counted(lexgate)] * 3


def test_the_route_decides_which_model_counts(serve: Serve, messages: AnthropicMock) -> None:
    policy = """
version: 1
policy: elsewhere
rules: [{id: other, phase: route, actions: [{route: 'anthropic:claude-haiku-4-5'}]}]
"""
    counted(served(serve, messages, policy))
    assert messages.requests[0].json["model"] == "claude-haiku-4-5"


def test_without_a_backend_that_counts_it_is_estimated_with_system_and_tools(
    serve: Serve, provider: OpenAIMock
) -> None:
    lexgate = serve()
    whole = counted(lexgate)
    assert 20 < whole < 80
    assert counted(lexgate, tools=[]) < whole
    assert counted(lexgate, system="") < whole
    raw = lexgate.post(SAID, "/v1/messages/count_tokens")
    assert (raw.headers["x-lexgate-count"], raw.json) == ("estimated", {"input_tokens": whole})
    assert provider.requests == []


def test_a_backend_that_cannot_count_is_not_asked(serve: Serve, messages: AnthropicMock) -> None:
    assert counted(served(serve, messages, capabilities={"count_tokens": False})) > 0
    assert messages.requests == []


def test_a_backend_in_trouble_is_estimated_and_logged(serve: Serve) -> None:
    gone = {"protocol": "anthropic", "base_url": "http://127.0.0.1:1", "api_key": "key", "models": ["*"]}
    lexgate = serve(settings={"backends": {"gone": gone}})
    assert counted(lexgate) > 0
    assert [line["reason"] for line in lexgate.logs if line["event"] == "count estimated"] == ["ConnectFailed"]


def test_what_a_backend_refuses_of_the_request_the_client_hears(serve: Serve, messages: AnthropicMock) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        counted(served(serve, messages), messages=[{"role": "nobody", "content": "x"}])
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    assert "role" in refused.value.body["error"]["message"]
    assert len(messages.requests) == 1


def test_an_unknown_model_is_404_in_anthropics_shape(serve: Serve) -> None:
    only = {"protocol": "openai", "base_url": "http://127.0.0.1:1/v1", "models": ["gpt-4o"]}
    with pytest.raises(anthropic.NotFoundError):
        counted(serve(settings={"backends": {"openai": only}}))


def test_the_estimate_learns_from_what_answers_report(serve: Serve, provider: OpenAIMock) -> None:
    """The provider reports a token for every two bytes; the estimate begins at four."""
    lexgate = serve()
    text = "many words in a row " * 50
    from_openai = {"model": "m", "messages": [{"role": "user", "content": text}]}
    asked = {"model": "m", "messages": [{"role": "user", "content": text}]}
    before = lexgate.post(asked, "/v1/messages/count_tokens").json["input_tokens"]
    for _ in range(12):
        provider.script(Reply(text="Yes.", usage=(len(text) // 2, 1, 0, 0)))
        assert lexgate.post(from_openai).status == 200
    after = lexgate.post(asked, "/v1/messages/count_tokens").json["input_tokens"]
    assert before == pytest.approx(len(text) / 4, rel=0.05)
    assert after == pytest.approx(len(text) / 2, rel=0.1)


@pytest.mark.parametrize(
    ("text", "asked"), [("!/remember-me", 0), ("Tell me more.\n!/remember-me", 1)], ids=["alone", "with words"]
)
def test_a_command_that_is_only_counted_does_not_run(
    serve: Serve, messages: AnthropicMock, text: str, asked: int
) -> None:
    policy = """
version: 1
policy: memory
commands: {define: {remember-me: {description: Remembers.}}}
rules:
  - {id: remember, phase: command, match: {command: remember-me}, actions: [{log: {message: it ran}}]}
  - {id: done, phase: done, actions: [{log: {message: it is done}}]}
"""
    lexgate = served(serve, messages, policy)
    assert counted(lexgate, messages=[{"role": "user", "content": text}]) > 0
    assert not {"it ran", "it is done"} & {line["event"] for line in lexgate.logs}
    assert len(messages.requests) == asked
    assert all(b"remember-me" not in request.body for request in messages.requests)


def test_a_count_that_a_backend_refuses_is_no_answer_that_is_done(serve: Serve, messages: AnthropicMock) -> None:
    policy = """
version: 1
policy: observe
rules: [{id: done, phase: done, actions: [{log: {message: it is done}}]}]
"""
    lexgate = served(serve, messages, policy)
    with pytest.raises(anthropic.BadRequestError):
        counted(lexgate, messages=[{"role": "nobody", "content": "x"}])
    assert "it is done" not in {line["event"] for line in lexgate.logs}


# --- Google ----------------------------------------------------------------------------------------------------------


def test_googles_sdk_counts_through_a_backend_of_googles(serve: Serve, gemini: GeminiMock) -> None:
    tokens = counted_by_google(served_gemini(serve, gemini))
    assert tokens == max(1, len(gemini.requests[0].body) // 4)
    assert gemini.requests[0].path == "/v1beta/models/gemini-2.5-pro:countTokens"


def test_a_count_of_googles_leaks_nothing_either(serve: Serve, gemini: GeminiMock) -> None:
    lexgate = served_gemini(serve, gemini, REDACT)
    whole = {"generateContentRequest": {"model": "models/gemini-2.5-pro", **CONTENTS}}
    for body in (CONTENTS, whole):
        raw = lexgate.post(body, "/v1beta/models/gemini-2.5-pro:countTokens")
        assert (raw.status, raw.headers["x-lexgate-count"]) == (200, "asked")
    sent = [json.dumps(request.json) for request in gemini.requests]
    assert all("bluefalcon" not in body and "[name]" in body for body in sent)


def test_googles_sdk_gets_an_estimate_where_nobody_counts(serve: Serve, provider: OpenAIMock) -> None:
    assert counted_by_google(serve()) == 5 + 1 + 7  # 22 bytes, and the envelope
    assert provider.requests == []


def test_a_block_is_googles_error(serve: Serve) -> None:
    with pytest.raises(ClientError, match="Not these") as refused:
        counted_by_google(serve(refusing("block")))
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")


# --- the other protocol ----------------------------------------------------------------------------------------------


def test_anthropics_sdk_counts_through_a_backend_of_googles_without_a_leak(serve: Serve, gemini: GeminiMock) -> None:
    lexgate = served_gemini(serve, gemini, REDACT)
    raw = lexgate.post(SAID | {"model": "gemini-2.5-pro"}, "/v1/messages/count_tokens?beta=true", {"x-api-key": "mine"})
    (asked,) = gemini.requests
    assert (raw.headers["x-lexgate-count"], raw.json) == ("asked", {"input_tokens": max(1, len(asked.body) // 4)})
    assert asked.path == "/v1beta/models/gemini-2.5-pro:countTokens"
    assert asked.headers["x-goog-api-key"] == "key"
    assert "x-api-key" not in asked.headers
    inside = asked.json["generateContentRequest"]
    assert inside["contents"] == [{"role": "user", "parts": [{"text": "Tell me of [name]."}]}]
    assert inside["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert [tool["name"] for tool in inside["tools"][0]["functionDeclarations"]] == ["bash"]


def test_googles_sdk_counts_through_a_backend_of_anthropics(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = served(serve, messages)
    tokens = counted_by_google(lexgate)
    (asked,) = messages.requests
    assert asked.path == "/v1/messages/count_tokens"
    assert asked.json["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Tell me of bluefalcon."}]}]
    assert "max_tokens" not in asked.json
    with anthropic.Anthropic(base_url=messages.base_url, api_key="key") as direct:
        assert tokens == direct.messages.count_tokens(**asked.json).input_tokens


def test_what_cannot_be_said_to_a_backend_is_estimated(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = served(serve, messages)
    sound = {"inlineData": {"data": "UklGRg==", "mimeType": "audio/wav"}}
    body = {"contents": [{"role": "user", "parts": [{"text": "What is this?"}, sound]}]}
    raw = lexgate.post(body, "/v1beta/models/m:countTokens")
    assert (raw.status, raw.headers["x-lexgate-count"]) == (200, "estimated")
    assert messages.requests == []
    assert "count estimated" in {line["event"] for line in lexgate.logs}


class Refusing(AnthropicMock):
    def direct(self, received: Received) -> tuple[int, bytes]:
        return 400, error_object("messages: too odd", "invalid_request_error")


def test_what_a_backend_of_another_protocol_refuses_is_the_clients_own_error(serve: Serve) -> None:
    with Refusing(api_key="key") as mock:
        raw = served(serve, mock).post(CONTENTS, "/v1beta/models/m:countTokens")
    assert raw.status == 400
    assert raw.json["error"] | {"details": []} == {
        "code": 400,
        "message": "messages: too odd",
        "status": "INVALID_ARGUMENT",
        "details": [],
    }

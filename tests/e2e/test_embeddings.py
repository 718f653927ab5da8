"""OpenAI's own SDK asks for embeddings through the proxy, in front of a provider that is strict."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.anthropic_mock import AnthropicMock
from tests.support.embeddings_mock import EmbeddingsMock, vector_of
from tests.support.lexgate import Lexgate
from tests.support.provider import Scripted

from .conftest import Serve

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
EVERY_PHASE = """
version: 1
policy: every
rules:
  - {id: text, phase: text, window: 20, when: "contains(text.window, 'a')", actions: [{block: {message: No.}}]}
  - {id: call, phase: tool_call, actions: [{block: {message: No.}}]}
  - {id: response, phase: response, delay: all, actions: [{block: {message: No.}}]}
  - {id: done, phase: done, actions: [{log: {message: 'used {{ response.usage.input }}'}}]}
"""


@pytest.fixture
def embeddings() -> Iterator[EmbeddingsMock]:
    with EmbeddingsMock() as mock:
        yield mock


def served(serve: Serve, mock: EmbeddingsMock, *policies: str) -> Lexgate:
    backend = {"protocol": "openai", "base_url": mock.base_url, "api_key": "key", "models": ["*"]}
    return serve(*policies, settings={"backends": {"openai": backend}})


def client(lexgate: Lexgate) -> openai.OpenAI:
    return openai.OpenAI(base_url=lexgate.base_url, api_key="mine", max_retries=0)


def embedded(lexgate: Lexgate, given: Any, **more: Any) -> Any:
    with client(lexgate) as asking:
        return asking.embeddings.create(model="text-embedding-3-small", input=given, **more)


@pytest.mark.parametrize("given", ["one", ["one", "two"], [1, 2, 3], [[1, 2], [3]]], ids=str)
@pytest.mark.parametrize("more", [{}, {"encoding_format": "float"}, {"dimensions": 2, "user": "u"}], ids=str)
def test_the_sdk_gets_the_same_objects_with_and_without_the_proxy(
    serve: Serve, embeddings: EmbeddingsMock, given: Any, more: dict[str, Any]
) -> None:
    lexgate = served(serve, embeddings, EVERY_PHASE)
    with openai.OpenAI(base_url=embeddings.base_url, api_key="key") as direct:
        without = direct.embeddings.create(model="text-embedding-3-small", input=given, **more)
    assert embedded(lexgate, given, **more) == without
    assert embeddings.requests[0].body == embeddings.requests[1].body


def test_a_redaction_acts_on_every_text_and_on_nothing_else(serve: Serve, embeddings: EmbeddingsMock) -> None:
    lexgate = served(serve, embeddings, REDACT)
    answer = embedded(lexgate, ["about bluefalcon", "about rain"], encoding_format="float")
    assert embeddings.requests[-1].json == {
        "model": "text-embedding-3-small",
        "input": ["about [name]", "about rain"],
        "encoding_format": "float",
    }
    assert answer.data[0].embedding == vector_of("about [name]")


def test_usage_is_counted_and_told_to_rules(serve: Serve, embeddings: EmbeddingsMock) -> None:
    lexgate = served(serve, embeddings, EVERY_PHASE)
    embedded(lexgate, ["one", "two"])
    assert "used 10" in [line["event"] for line in lexgate.logs]
    assert {record["phase"] for record in lexgate.records()} == {"done"}


@pytest.mark.parametrize("verdict", ["block", "respond"])
def test_a_refusal_is_the_sdks_own_exception(serve: Serve, embeddings: EmbeddingsMock, verdict: str) -> None:
    """There are no words in an answer that a rule could put there: `respond` refuses too."""
    policy = f"""
version: 1
policy: no
rules: [{{id: no, phase: request, actions: [{{{verdict}: {{message: 'Not these.'}}}}]}}]
"""
    with pytest.raises(openai.BadRequestError, match="Not these") as refused:
        embedded(served(serve, embeddings, policy), "one")
    assert refused.value.code == "policy_blocked"
    assert embeddings.requests == []


def test_a_meter_of_tokens_is_settled_on_what_was_used(serve: Serve, embeddings: EmbeddingsMock) -> None:
    policy = """
version: 1
policy: spend
rules:
  - id: tokens
    phase: attempt
    actions: [{rate_limit: {key: caller.id, limit: 142, window: 1h, of: tokens}}]
"""
    lexgate = served(serve, embeddings, policy)
    for _ in range(3):  # a request is reserved by its bytes, about 110 tokens, and settled on 10
        embedded(lexgate, ["one", "two"])
    with pytest.raises(openai.RateLimitError):
        embedded(lexgate, ["one", "two"])


def test_an_upstreams_error_keeps_its_status_and_words(serve: Serve, embeddings: EmbeddingsMock) -> None:
    embeddings.script(Scripted(status=429, error="Slow down."))
    with pytest.raises(openai.RateLimitError, match="Slow down"):
        embedded(served(serve, embeddings), "one")


def test_a_backend_that_does_not_embed_is_said_in_words(serve: Serve) -> None:
    with AnthropicMock() as mock:
        backend = {"protocol": "anthropic", "base_url": mock.base_url, "api_key": "key", "models": ["*"]}
        with pytest.raises(openai.BadRequestError, match="cannot be asked"):
            embedded(serve(settings={"backends": {"anthropic": backend}}), "one")
        assert mock.requests == []


def test_a_text_that_looks_like_a_command_is_a_text(serve: Serve, embeddings: EmbeddingsMock) -> None:
    policy = """
version: 1
policy: chat
commands: {define: {hello: {description: Greets.}}}
rules: [{id: hello, phase: command, match: {command: hello}, actions: [{respond: {message: Hello.}}]}]
"""
    embedded(served(serve, embeddings, policy), "!/hello")
    assert embeddings.requests[0].json["input"] == "!/hello"


def test_the_sandbox_embeds_the_same_text_alike(serve: Serve) -> None:
    lexgate = serve(settings={"backends": {"sandbox": {"protocol": "sandbox", "models": ["*"]}}})
    one, two, again = (each.embedding for each in embedded(lexgate, ["a", "b", "a"], dimensions=3).data)
    assert one == again != two
    assert sum(number * number for number in one) == pytest.approx(1.0, rel=1e-5)
    assert embedded(lexgate, "a", dimensions=3, encoding_format="float").data[0].embedding == pytest.approx(one)


def test_a_request_without_input_is_refused_before_it_is_sent(serve: Serve, embeddings: EmbeddingsMock) -> None:
    raw = served(serve, embeddings).post(json.dumps({"model": "m"}).encode(), "/v1/embeddings")
    assert (raw.status, raw.json["error"]["param"]) == (400, "input")

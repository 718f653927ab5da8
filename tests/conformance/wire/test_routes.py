"""The routes beside the answers, and the bytes of those: counts, vectors, and what passes when no rule is there."""

import json
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from tests.support.embeddings_mock import EmbeddingsMock, vector_of
from tests.support.lexgate import Lexgate
from tests.support.provider import Provider

from .backends import BACKENDS, Turn, as_given
from .clients import CLIENTS
from .conftest import House
from .scenarios import LIST, LOOK, SCENARIOS

RULES = ("no rule", "redact in", "block")
COUNTING = ("anthropic", "gemini")
TEXT = "Tell me of bluefalcon."


def counted(lexgate: Lexgate, client: str, model: str) -> int | str:
    """The tokens, or the words of the SDK's exception for status 400."""
    if client == "anthropic":
        with anthropic.Anthropic(base_url=lexgate.origin, api_key="mine", max_retries=0) as messages:
            try:
                said: Any = [{"role": "user", "content": TEXT}]
                return messages.messages.count_tokens(model=model, messages=said).input_tokens
            except anthropic.BadRequestError as error:
                return f"{error.status_code} {error.message}"
    with genai.Client(api_key="mine", http_options=types.HttpOptions(base_url=lexgate.origin)) as google:
        try:
            return google.models.count_tokens(model=model, contents=TEXT).total_tokens or 0
        except errors.ClientError as error:
            return f"{error.code} {error.message}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("client", COUNTING)
@pytest.mark.parametrize("rule", RULES)
def test_count(house: House, providers: dict[str, Any], rule: str, client: str, backend: str) -> None:
    lexgate, mock = house(SCENARIOS[rule].policy), providers[backend]
    before = len(mock.requests)
    told = counted(lexgate, client, BACKENDS[backend].model)
    asked = mock.requests[before:]
    if rule == "block":
        assert str(told).startswith("400")
        assert "Closed today." in str(told)
        assert asked == []
        return
    assert isinstance(told, int)
    assert 4 <= told < 60
    assert bool(asked) == (backend in COUNTING), "a backend that counts is asked, whatever the client speaks"
    for received in asked:
        assert ("bluefalcon" in received.body.decode()) == (rule == "no rule")


@pytest.mark.parametrize("rule", RULES)
def test_embeddings(rule: str, tmp_path: Any) -> None:
    with EmbeddingsMock(api_key="key") as mock:
        backend = {"protocol": "openai", "base_url": mock.base_url, "api_key": "key", "models": ["*"]}
        policy = [text] if (text := SCENARIOS[rule].policy) else []
        with (
            Lexgate(tmp_path, *policy, settings={"backends": {"it": backend}}) as lexgate,
            openai.OpenAI(base_url=lexgate.base_url, api_key="mine", max_retries=0) as client,
        ):
            if rule == "block":
                with pytest.raises(openai.BadRequestError, match="Closed today"):
                    client.embeddings.create(model="m", input=[TEXT])
                assert mock.requests == []
                return
            (made,) = client.embeddings.create(model="m", input=[TEXT]).data
            assert made.embedding == vector_of(TEXT if rule == "no rule" else "Tell me of [name].")


@pytest.mark.parametrize("backend", COUNTING)
def test_embeddings_of_others(house: House, providers: dict[str, Any], backend: str) -> None:
    before = len(providers[backend].requests)
    with (
        openai.OpenAI(base_url=house("").base_url, api_key="mine", max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as refused,
    ):
        client.embeddings.create(model=BACKENDS[backend].model, input=[TEXT])
    assert 400 <= refused.value.status_code < 500
    assert backend in refused.value.message
    assert len(providers[backend].requests) == before


NATIVE = [(name, name) for name in CLIENTS] + [("openai-chat", "openai-responses")]


def body_of(client: str, model: str, stream: bool) -> dict[str, Any]:
    """A request as nobody writes it: white space, fields that we do not know of, an order of its own."""
    more: dict[str, Any] = {} if client == "gemini" else {"model": model, "stream": stream}
    match client:
        case "openai-chat":
            return {"messages": [{"role": "user", "content": "é\u2028"}], **more}
        case "openai-responses":
            return {"input": "é", "store": False, **more}
        case "anthropic":
            return {"max_tokens": 99, "messages": [{"role": "user", "content": "é"}], **more}
        case _:
            return {"contents": [{"parts": [{"text": "é"}], "role": "user"}], "generationConfig": {"topK": 3}}


@pytest.mark.parametrize("mode", ["whole", "stream"])
@pytest.mark.parametrize(("client", "backend"), NATIVE)
def test_bytes(house: House, providers: dict[str, Any], client: str, backend: str, mode: str) -> None:
    """Without rules, the provider gets the bytes that the client sent, and the client those that the provider gave."""
    stream, asked = mode == "stream", BACKENDS[backend]
    mock: Provider[Any] = providers[backend]
    lexgate = house("")
    reply = asked.reply(Turn("I look.", "Hm.", (LIST, LOOK)))
    mock.script(reply)
    body = json.dumps(body_of(client, asked.model, stream), indent=3, ensure_ascii=False).encode()
    path = CLIENTS[client].path
    if client == "gemini":
        path += asked.model + (":streamGenerateContent?alt=sse" if stream else ":generateContent")
    raw = lexgate.post(body, path, {"anthropic-version": "2023-06-01"})
    assert raw.status == 200
    assert mock.requests[-1].body == body
    assert raw.body == as_given(mock, reply)

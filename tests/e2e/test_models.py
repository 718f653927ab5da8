"""The pages around exchanges: lists of models as each SDK reads them, and errors in the shape of whoever asks."""

import http.client
import json
from collections.abc import Mapping
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai.errors import ClientError
from google.genai.types import HttpOptions

from tests.support.lexgate import Lexgate

from .conftest import Serve

ANTHROPIC = {"anthropic-version": "2023-06-01"}
NAMES = [f"m-{number}" for number in range(25)]


def with_models(serve: Serve) -> Lexgate:
    one = {"protocol": "openai", "base_url": "http://127.0.0.1:1/v1", "models": [*NAMES, "gpt-*"]}
    two = {"protocol": "sandbox", "models": ["m-1", "org/toy"]}
    return serve(settings={"backends": {"one": one, "two": two}})


def asked(
    lexgate: Lexgate, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> tuple[int, Mapping[str, str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", lexgate.port, timeout=30)
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    text = response.read()
    connection.close()
    found = {name.lower(): value for name, value in response.getheaders()}
    return response.status, found, json.loads(text) if text else None


def test_openais_sdk_lists_and_retrieves(serve: Serve) -> None:
    with openai.OpenAI(base_url=with_models(serve).base_url, api_key="k") as client:
        listed = client.models.list().data
        assert [(model.id, model.owned_by) for model in listed][:2] == [("m-0", "one"), ("m-1", "one")]
        assert len(listed) == 26
        assert client.models.retrieve("org/toy").owned_by == "two"
        assert client.models.retrieve("gpt-9").owned_by == "one"
        with pytest.raises(openai.NotFoundError) as missing:
            client.models.retrieve("nobody")
    assert missing.value.code == "model_not_found"


def test_anthropics_sdk_pages_through_all_of_them(serve: Serve) -> None:
    with anthropic.Anthropic(base_url=with_models(serve).origin, api_key="k") as client:
        assert [model.id for model in client.models.list()] == [*NAMES, "org/toy"]
        assert [model.id for model in client.models.list(limit=2, after_id="m-3").data] == ["m-4", "m-5"]
        assert client.models.retrieve("m-3").display_name == "m-3"
        with pytest.raises(anthropic.NotFoundError):
            client.models.retrieve("nobody")
        with pytest.raises(anthropic.BadRequestError, match="after_id"):
            client.models.list(after_id="nobody")


def test_googles_sdk_pages_through_all_of_them(serve: Serve) -> None:
    with genai.Client(api_key="k", http_options=HttpOptions(base_url=with_models(serve).origin)) as client:
        listed = [model.name for model in client.models.list(config={"page_size": 10})]
        assert listed == [f"models/{name}" for name in [*NAMES, "org/toy"]]
        assert client.models.get(model="m-3").display_name == "m-3"
        with pytest.raises(ClientError) as missing:
            client.models.get(model="nobody")
    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")


def test_somebody_who_asks_whether_we_are_there_makes_no_noise(serve: Serve) -> None:
    lexgate = serve()
    before = len(lexgate.logs)
    status, _, body = asked(lexgate, "HEAD", "/")
    assert (status, body) == (404, None)
    assert len(lexgate.logs) == before


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/nothing", ANTHROPIC, 404),
        ("DELETE", "/v1/models", ANTHROPIC, 405),
        ("GET", "/v1/messages", {}, 405),
        ("GET", "/v1/messages/count_tokens", {}, 405),
        ("GET", "/v1/messages/batches", {}, 404),
        ("POST", "/v1/messages/count_tokens", {"content-type": "text/plain"}, 415),
        ("POST", "/v1/messages", {"content-type": "application/json", "origin": "http://evil.example"}, 403),
        ("GET", "/v1/nothing", {**ANTHROPIC, "origin": "http://evil.example"}, 403),
    ],
)
def test_anthropics_clients_read_their_errors(
    serve: Serve, method: str, path: str, headers: Mapping[str, str], status: int
) -> None:
    found, _, body = asked(serve(), method, path, headers)
    assert found == status
    assert body["type"] == "error"
    assert body["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1beta/nothing", {}, 404),
        ("POST", "/v1beta/models/x:batchEmbedContents", {"content-type": "application/json"}, 404),
        ("GET", "/v1beta/models/x:countTokens", {}, 405),
        ("POST", "/v1beta/models/x:countTokens", {"content-type": "text/plain"}, 415),
        ("GET", "/v1beta/models", {"origin": "http://evil.example"}, 403),
    ],
)
def test_googles_clients_read_their_errors(
    serve: Serve, method: str, path: str, headers: Mapping[str, str], status: int
) -> None:
    found, _, body = asked(serve(), method, path, headers)
    assert (found, body["error"]["code"]) == (status, status)
    assert body["error"]["status"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", "/v1/embeddings", 405)])
def test_everybody_else_reads_openais(serve: Serve, method: str, path: str, status: int) -> None:
    found, headers, body = asked(serve(), method, path)
    assert (found, body["error"]["type"]) == (status, "invalid_request_error")
    assert status != 405 or headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1beta/models/x:countTokens", "/v1/embeddings"])
def test_a_body_that_is_too_large_is_said_in_the_clients_shape(serve: Serve, path: str) -> None:
    lexgate = serve(settings={"server": {"max_body": 100}})
    raw = lexgate.post(b"x" * 200, path)
    assert raw.status == 413
    assert "100 bytes" in raw.json["error"]["message"]
    assert (raw.json.get("type") == "error") == ("messages" in path)
    assert (raw.json["error"].get("code") == 413) == ("v1beta" in path)

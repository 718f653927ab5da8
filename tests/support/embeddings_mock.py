"""A provider on loopback that embeds texts as OpenAI documents it, and is strict.

    with EmbeddingsMock() as provider:
        client = openai.OpenAI(base_url=provider.base_url, api_key="key")

A vector is made of its text alone, so that a test sees which text arrived. Shapes: API reference, "Create embeddings".
"""

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from .openai_mock import error_object
from .provider import Provider, Received, Scripted

_KNOWN: Final = frozenset(("model", "input", "dimensions", "encoding_format", "user"))


def vector_of(item: Any, dimensions: int = 4) -> list[float]:
    """What an input is embedded as: exactly representable in 32 bits."""
    seen = json.dumps(item).encode()
    return [sum(seen[place::dimensions]) / 16 for place in range(dimensions)]


class EmbeddingsMock(Provider[Scripted]):
    """`base_url` ends in `/v1`. Answers without a script: to each valid request a list of vectors."""

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    def direct(self, received: Received) -> tuple[int, bytes] | None:
        if (received.method, received.path.partition("?")[0]) != ("POST", "/v1/embeddings"):
            return 404, error_object(f"Invalid URL ({received.method} {received.path})", "invalid_request_error")
        request = received.json
        refused = _refusal(request)
        if refused:
            return 400, error_object(refused, "invalid_request_error")
        if self._script:
            return None
        return 200, json.dumps(_answer(request)).encode()

    def exhausted(self) -> bytes:
        return error_object("the script of the mock is at its end", "server_error")

    def failing(self, reply: Scripted) -> bytes:
        return error_object(reply.error, "server_error")

    def whole(self, reply: Scripted, request: Mapping[str, Any], number: int) -> dict[str, Any]:
        return _answer(request)

    def stream(self, reply: Scripted, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
        raise AssertionError("embeddings are not streamed")

    def named(self, number: int) -> dict[str, str]:
        return {"x-request-id": f"req_{number}"}


def _inputs(given: Any) -> list[Any]:
    one = isinstance(given, str) or (isinstance(given, list) and bool(given) and isinstance(given[0], int))
    return [given] if one else given


def _refusal(request: Mapping[str, Any]) -> str:
    if unknown := request.keys() - _KNOWN:
        return f"Unrecognized request arguments supplied: {', '.join(sorted(unknown))}"
    given = request.get("input")
    if not isinstance(given, str | list) or not given or not all(isinstance(each, str | list | int) for each in given):
        return "'$.input' is invalid."
    return "" if isinstance(request.get("model"), str) else "you must provide a model parameter"


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    inputs = _inputs(request["input"])
    vectors: list[Any] = [vector_of(item, request.get("dimensions") or 4) for item in inputs]
    if request.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack(f"<{len(each)}f", *each)).decode() for each in vectors]
    used = 5 * len(inputs)
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(vectors)],
        "model": request["model"],
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }

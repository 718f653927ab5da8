"""Counting tokens without asking for an answer (`/v1/messages/count_tokens`): the same request, less what only an answer
needs, and one number."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from engine.codecs.base import BadAnswer
from engine.codecs.json_text import encode_json
from engine.model.exchange import Exchange

from .request import decode_request, encode_request

_NOT_COUNTED: Final = frozenset(
    ("max_tokens", "metadata", "service_tier", "stop", "temperature", "top_k", "top_p", "container", "inference_geo")
)
"""Parameters that `count_tokens` refuses."""


class _Counted(msgspec.Struct):
    input_tokens: int


_COUNTED: Final = msgspec.json.Decoder(_Counted)


def decode_count_request(
    body: bytes,
    *,
    id: str,
    headers: Mapping[str, str],
    query: str = "",
    path: Mapping[str, str] | None = None,  # noqa: ARG001 - the contract's; here the path says nothing
) -> Exchange:
    """The same as of a request for an answer. Raises BadRequest."""
    return decode_request(body, id=id, headers=headers, query=query)


def count_path(exchange: Exchange) -> str:
    return f"/v1/messages/count_tokens?{exchange.query}" if exchange.query else "/v1/messages/count_tokens"


def encode_count_request(exchange: Exchange) -> bytes:
    """The bytes that came where nothing changed; else the request without what rules added for an answer."""
    if exchange.body is not None:
        return exchange.body
    came: dict[str, Any] = exchange.wire if isinstance(exchange.wire, dict) else {}
    params = {name: value for name, value in exchange.params.items() if name in came or name not in _NOT_COUNTED}
    return encode_request(replace(exchange, params=params))


def decode_count(body: bytes) -> int:
    """The tokens of an upstream's count. Raises BadAnswer."""
    try:
        return _COUNTED.decode(body).input_tokens
    except msgspec.DecodeError as mistake:
        raise BadAnswer(f"the upstream's count has no 'input_tokens': {mistake}") from mistake


def encode_count(tokens: int) -> bytes:
    return encode_json({"input_tokens": tokens})

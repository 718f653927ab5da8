"""Counting tokens without asking for an answer (`:countTokens`): a conversation by itself, or a whole request inside."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from engine.codecs.base import BadAnswer, BadRequest, Problem
from engine.codecs.json_text import MalformedJson, decode_json, encode_json
from engine.model.exchange import Exchange

from .fields import get, spelled
from .request import decode_request, encode_request

_INSIDE: Final = "generateContentRequest"


class _Counted(msgspec.Struct):
    totalTokens: int = 0


_COUNTED: Final = msgspec.json.Decoder(_Counted)


def decode_count_request(
    body: bytes, *, id: str, headers: Mapping[str, str], query: str = "", path: Mapping[str, str] | None = None
) -> Exchange:
    """The request that is to be counted; its `body` is None where it stood inside. Raises BadRequest."""
    try:
        wire = decode_json(body)
    except MalformedJson as mistake:
        problem = Problem(status=400, message=f"Invalid JSON payload received. {mistake}")
        raise BadRequest(problem) from mistake
    inside = get(wire, _INSIDE) if isinstance(wire, dict) else None
    if not isinstance(inside, dict):
        return decode_request(body, id=id, headers=headers, query=query, path=path)
    return decode_request(encode_json(inside), id=id, headers=headers, query=query, path=path)


def count_path(exchange: Exchange) -> str:
    model = exchange.model.removeprefix("models/")
    kind = "" if model.startswith("tunedModels/") else "models/"
    path = f"/{kind}{quote(model, safe='/-._~@')}:countTokens"
    return f"{path}?{exchange.query}" if exchange.query else path


def encode_count_request(exchange: Exchange) -> bytes:
    """A conversation alone is asked as it came; with anything else beside it, it stands inside a whole request."""
    body = encode_request(exchange)
    request: dict[str, Any] = decode_json(body)
    if request.keys() <= {"contents"}:
        return body
    model = exchange.model if "/" in exchange.model else f"models/{exchange.model}"
    return encode_json({_INSIDE: {**request, spelled(request, "model"): model}})


def decode_count(body: bytes) -> int:
    """The tokens of an upstream's count. Raises BadAnswer."""
    try:
        return _COUNTED.decode(body).totalTokens
    except msgspec.DecodeError as mistake:
        raise BadAnswer(f"the upstream's count has no 'totalTokens': {mistake}") from mistake


def encode_count(tokens: int) -> bytes:
    return encode_json({"totalTokens": tokens})

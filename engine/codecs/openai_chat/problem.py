"""Errors of Chat Completions: their shape for clients, and what upstreams of every kind make of it."""

from collections.abc import Mapping
from typing import Any, Final

from engine.codecs.base import Problem
from engine.codecs.error_text import MESSAGE_LENGTH, message_in, readable
from engine.codecs.json_text import MalformedJson, decode_json_leniently, encode_json

from .messages import text_of

_KIND_OF_STATUS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

# The types that OpenAI and compatible servers name, and the status that each is answered with outside a stream.
_STATUS_OF_KIND: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "tokens": 429,
    "requests": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "server_error": 500,
    "api_error": 500,
}


def error_object(problem: Problem) -> dict[str, Any]:
    return {"error": {"message": problem.message, "type": problem.kind, "param": problem.param, "code": problem.code}}


def encode_problem(problem: Problem) -> bytes:
    return encode_json(error_object(problem))


def decode_problem(status: int, body: bytes) -> Problem:
    """What the upstream says, in any shape: OpenAI's, a bare message, FastAPI's detail, a page of a load balancer."""
    try:
        wire, _ = decode_json_leniently(body)
    except MalformedJson:
        return _problem(status, readable(body), {})
    if isinstance(wire, list) and wire:
        wire = wire[0]
    error = error_of(wire)
    if error is None:
        return _problem(status, message_in(wire), wire if isinstance(wire, dict) else {})
    return _problem(status, message_in(error), error)


def error_of(wire: Any) -> Mapping[str, Any] | None:
    """The error inside a body or a frame, or None where it is none."""
    if not isinstance(wire, dict):
        return None
    error = wire.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str) and error:
        return {**wire, "message": text_of(wire.get("message")) or error}
    # vLLM and others: {"object": "error", "message": ...}
    return wire if wire.get("object") == "error" else None


def status_of(error: Mapping[str, Any]) -> int:
    """The status of an error that came inside a stream, where its response had said 200."""
    for field in ("status", "code", "http_status", "status_code"):
        value = error.get(field)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return _STATUS_OF_KIND.get(text_of(error.get("type")), _STATUS_OF_KIND.get(text_of(error.get("code")), 502))


def kind_of(error: Mapping[str, Any], status: int) -> str:
    kind = text_of(error.get("type"))
    if kind and kind != "error":
        return kind
    return _KIND_OF_STATUS.get(status, "server_error" if status >= 500 else "invalid_request_error")


def message_of(error: Mapping[str, Any]) -> str:
    return message_in(error) or "the provider reported an error without a message"


def _problem(status: int, message: str, error: Mapping[str, Any]) -> Problem:
    code, param = error.get("code"), error.get("param")
    return Problem(
        status=status,
        message=message[:MESSAGE_LENGTH] or f"The provider answered with status {status}.",
        kind=kind_of(error, status),
        code=code if isinstance(code, str) else None,
        param=param if isinstance(param, str) else None,
    )

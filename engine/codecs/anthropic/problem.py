"""Errors of Messages: `{"type": "error", "error": {"type", "message"}}`, by status (API reference, "Errors")."""

from collections.abc import Mapping
from typing import Any, Final

from engine.codecs.base import Problem
from engine.codecs.error_text import MESSAGE_LENGTH, message_in, readable
from engine.codecs.json_text import MalformedJson, decode_json_leniently, encode_json

from .blocks import text_of

_TYPE_OF_STATUS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_STATUS_OF_TYPE: Final[Mapping[str, int]] = {kind: status for status, kind in _TYPE_OF_STATUS.items()}

# The families that a problem is told apart by everywhere else.
_CANONICAL: Final[Mapping[str, str]] = {"api_error": "server_error", "timeout_error": "server_error"}


def error_object(problem: Problem) -> dict[str, Any]:
    """The code stands where the official SDKs look for one: `error.details.error_code`."""
    error: dict[str, Any] = {"type": type_of(problem.status), "message": problem.message}
    if problem.code is not None:
        error["details"] = {"error_code": problem.code}
    return {"type": "error", "error": error}


def type_of(status: int) -> str:
    return _TYPE_OF_STATUS.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


def encode_problem(problem: Problem) -> bytes:
    return encode_json(error_object(problem))


def decode_problem(status: int, body: bytes) -> Problem:
    """What the upstream says, in any shape: Anthropic's, a bare message, a page of a load balancer."""
    try:
        wire, _ = decode_json_leniently(body)
    except MalformedJson:
        return _problem(status, readable(body), {})
    error = error_of(wire)
    if error is None:
        return _problem(status, message_in(wire), wire if isinstance(wire, dict) else {})
    return _problem(status, message_in(error), error)


def error_of(wire: Any) -> Mapping[str, Any] | None:
    """The error inside a body or an event, or None where it is none."""
    error = wire.get("error") if isinstance(wire, dict) else None
    if isinstance(error, str) and error:
        return {"message": text_of(wire.get("message")) or error}
    return error if isinstance(error, dict) else None


def status_of(error: Mapping[str, Any]) -> int:
    """The status of an error that came inside a stream, where its response had said 200."""
    return _STATUS_OF_TYPE.get(text_of(error.get("type")), 502)


def kind_of(error: Mapping[str, Any], status: int) -> str:
    kind = text_of(error.get("type")) or type_of(status)
    return _CANONICAL.get(kind, kind)


def message_of(error: Mapping[str, Any]) -> str:
    return message_in(error) or "the provider reported an error without a message"


def _problem(status: int, message: str, error: Mapping[str, Any]) -> Problem:
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else error.get("code")
    return Problem(
        status=status,
        message=message[:MESSAGE_LENGTH] or f"The provider answered with status {status}.",
        kind=kind_of(error, status),
        code=code if isinstance(code, str) else None,
    )

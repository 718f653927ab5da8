"""Errors of Responses: the shape that all of OpenAI's endpoints share, and the two events that say one in a stream."""

from collections.abc import Mapping
from typing import Any, Final

from engine.codecs.base import Problem

# The codes that a response or a stream fails with, and the status that each is answered with outside a stream.
_STATUS_OF_CODE: Final[Mapping[str, int]] = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "previous_response_not_found": 400,
    "vector_store_timeout": 504,
}


def error_event(problem: Problem, number: int) -> dict[str, Any]:
    """The event `error`, flat as it is documented, and nested as OpenAI's clients look for it."""
    error = {"type": problem.kind, "code": problem.code, "message": problem.message, "param": problem.param}
    return {**error, "type": "error", "error": error, "sequence_number": number}


def problem_in(data: Mapping[str, Any]) -> Problem:
    """What an event `error` or `response.failed` says."""
    response = data.get("response")
    error: Any = response.get("error") if isinstance(response, dict) else data.get("error")
    if not isinstance(error, dict):
        error = data
    code, kind = error.get("code"), error.get("type")
    status = data.get("status") if isinstance(data.get("status"), int) else None
    known = _STATUS_OF_CODE.get(code if isinstance(code, str) else "")
    status = status or known or (400 if kind == "invalid_request_error" else 502)
    message = error.get("message")
    return Problem(
        status=status,
        message=message if isinstance(message, str) and message else "the provider failed without a message",
        kind=_KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        code=code if isinstance(code, str) else None,
    )


_KINDS: Final[Mapping[int, str]] = {429: "rate_limit_error", 401: "authentication_error", 403: "permission_error"}

"""Errors of Google's API: `{"error": {"code", "message", "status", "details"}}` (google.rpc.Status, AIP-193)."""

from collections.abc import Mapping
from typing import Any, Final

from engine.codecs.base import Problem
from engine.codecs.error_text import MESSAGE_LENGTH, message_in, readable
from engine.codecs.json_text import MalformedJson, decode_json_leniently, encode_json

from .fields import objects, text_of

_STATUS_NAMES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_STATUS_OF_NAME: Final[Mapping[str, int]] = {
    **{name: status for status, name in _STATUS_NAMES.items()},
    "DEADLINE_EXCEEDED": 504,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "ALREADY_EXISTS": 409,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
}
_KINDS: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
_DOMAIN: Final = "lexgate"


def error_object(problem: Problem) -> dict[str, Any]:
    """The code is the reason of an ErrorInfo, the field a violation of a BadRequest, the time to wait a RetryInfo."""
    details: list[dict[str, Any]] = []
    if problem.code is not None:
        details.append({"@type": _ERROR_INFO, "reason": problem.code, "domain": _DOMAIN})
    if problem.param is not None:
        violation = {"field": problem.param, "description": problem.message}
        details.append({"@type": _BAD_REQUEST, "fieldViolations": [violation]})
    if problem.retry_after is not None:
        details.append({"@type": _RETRY_INFO, "retryDelay": f"{problem.retry_after:g}s"})
    error: dict[str, Any] = {
        "code": problem.status,
        "message": problem.message,
        "status": _STATUS_NAMES.get(problem.status) or ("INTERNAL" if problem.status >= 500 else "FAILED_PRECONDITION"),
    }
    if details:
        error["details"] = details
    return {"error": error}


def encode_problem(problem: Problem) -> bytes:
    return encode_json(error_object(problem))


def decode_problem(status: int, body: bytes) -> Problem:
    """What the upstream says, in any shape. Where a JSON array was to be streamed, the error is the only item of one."""
    try:
        wire, _ = decode_json_leniently(body)
    except MalformedJson:
        return _problem(status, readable(body), {})
    if isinstance(wire, list) and wire:
        wire = wire[0]
    error = error_of(wire)
    if error is None:
        return _problem(status, message_in(wire), {})
    return _problem(status, message_in(error), error)


def error_of(wire: Any) -> Mapping[str, Any] | None:
    """The error inside a body or a frame, or None where it is none."""
    error = wire.get("error") if isinstance(wire, dict) else None
    if isinstance(error, str) and error:
        return {"message": error}
    return error if isinstance(error, dict) else None


def status_of(error: Mapping[str, Any]) -> int:
    """The status of an error that came inside a stream, where its response had said 200."""
    code = error.get("code")
    if isinstance(code, int) and 400 <= code < 600:
        return code
    return _STATUS_OF_NAME.get(text_of(error.get("status")), 502)


def kind_of(status: int) -> str:
    return _KINDS.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def message_of(error: Mapping[str, Any]) -> str:
    return message_in(error) or "the provider reported an error without a message"


def _problem(status: int, message: str, error: Mapping[str, Any]) -> Problem:
    code: str | None = None
    retry_after: float | None = None
    for detail in objects(error.get("details")):
        if detail.get("@type") == _ERROR_INFO:
            code = text_of(detail.get("reason")) or None
        elif detail.get("@type") == _RETRY_INFO:
            retry_after = _seconds(detail.get("retryDelay"))
    return Problem(
        status=status,
        message=message[:MESSAGE_LENGTH] or f"The provider answered with status {status}.",
        kind=kind_of(status),
        code=code or (text_of(error.get("status")) or None),
        retry_after=retry_after,
    )


def _seconds(value: Any) -> float | None:
    """A protobuf Duration in JSON: `34.07s`."""
    try:
        return float(text_of(value).removesuffix("s"))
    except ValueError:
        return None

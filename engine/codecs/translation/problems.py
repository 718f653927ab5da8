"""Errors of one provider as clients of another know them: the status that their SDKs have a class for, and retry."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from engine.codecs.base import Problem
from engine.model.exchange import Protocol

_OVERLOADED: Final = 529
"""Anthropic's own status for a provider without capacity; everybody else says 503."""

STATUS: Final[Mapping[Protocol, Mapping[int, int]]] = {
    Protocol.OPENAI_CHAT: {_OVERLOADED: 503},
    Protocol.OPENAI_RESPONSES: {_OVERLOADED: 503},
    Protocol.GEMINI: {_OVERLOADED: 503},
    Protocol.ANTHROPIC: {503: _OVERLOADED},
}

_KIND_OF_STATUS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def status_for(status: int, client: Protocol) -> int:
    return STATUS.get(client, {}).get(status, status)


def problem_for(problem: Problem, client: Protocol) -> Problem:
    """The problem with a status and a family that the client's protocol has; `param` names a field of another protocol."""
    status = status_for(problem.status, client)
    kind = _KIND_OF_STATUS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return replace(problem, status=status, kind=kind, param=None)

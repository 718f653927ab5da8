"""Why an attempt gave no answer: whose fault it was, what the client hears, and whether another backend may do better."""

from collections.abc import Mapping
from typing import Final, Literal

from engine.codecs.base import Problem
from engine.codecs.translation.request import UNTRANSLATABLE
from engine.diagnostics import LexgateError
from engine.world.http.base import (
    BodyTooLarge,
    ClientClosed,
    ConnectFailed,
    ConnectTimeout,
    FirstByteTimeout,
    Headers,
    IdleTimeout,
    InvalidRequest,
    PoolExhausted,
    Response,
    TLSFailed,
    TotalTimeout,
    TransportError,
    WriteTimeout,
)

Kind = Literal["status", "connect", "timeout", "protocol", "refused"]

_NEVER_SENT: Final = (
    ClientClosed,
    ConnectFailed,
    ConnectTimeout,
    InvalidRequest,
    PoolExhausted,
    TLSFailed,
    WriteTimeout,
)
_UNREACHED: Final = (ConnectFailed, ConnectTimeout, TLSFailed)
_TIMEOUTS: Final = (ConnectTimeout, FirstByteTimeout, IdleTimeout, TotalTimeout, WriteTimeout)
_FAILS_OVER: Final = frozenset({401, 403, 404, 408, 409, 425, 429})
_OURS: Final = (ClientClosed, PoolExhausted)
_WHAT: Final[Mapping[type[TransportError], str]] = {
    ConnectFailed: "cannot be reached",
    TLSFailed: "has a TLS problem",
    BodyTooLarge: "answered too much",
}


class Failure(LexgateError):
    """No answer. `body` is the upstream's own error answer where it can go on as it came, None where it cannot, or there
    was none; `answered` says that the upstream gave one."""

    def __init__(
        self,
        problem: Problem,
        body: bytes | None = None,
        headers: Headers | None = None,
        rule: str = "",
        *,
        answered: bool = False,
        fails_over: bool = False,
        kind: Kind = "status",
        at_fault: bool = False,
    ) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.body = body
        self.answered = answered or body is not None
        self.fails_over = fails_over or problem.status >= 500 or problem.status in _FAILS_OVER
        """Whether another backend may do better: not where the request itself is at fault, but for a protocol."""
        self.fails_over = self.fails_over or problem.code == UNTRANSLATABLE
        self.may_have_cost = False
        """Whether the backend may have worked on what it never answered."""
        self.tried = True
        """Whether the leg was asked at all, so that rules of phase `error` hear of it."""
        self.rule = rule
        """The rule that refused it, where one did."""
        self.headers: Headers = headers or []
        self.kind: Kind = kind
        self.at_fault = at_fault or (self.answered and problem.status >= 500)
        """Whether it speaks against the backend, so that its breaker counts it."""

    @property
    def untranslatable(self) -> bool:
        """The backend speaks another protocol, in which the request cannot be said."""
        return self.problem.code == UNTRANSLATABLE

    @property
    def why(self) -> str:
        """In a few words, for records: never what an upstream said, which may hold content."""
        said = self.problem.code or self.problem.kind
        return f"{self.kind} {self.problem.status}: {said}" if self.answered else f"{self.kind}: {said}"


def broken_off(error: TransportError, backend: str) -> Failure:
    """A failure of the connection in the client's terms: 504 for what came too late, 502 for the rest."""
    failure = _broken_off(error, backend)
    failure.may_have_cost = not isinstance(error, _NEVER_SENT)
    return failure


def _broken_off(error: TransportError, backend: str) -> Failure:
    kind: Kind = (
        "connect" if isinstance(error, _UNREACHED) else "timeout" if isinstance(error, _TIMEOUTS) else "protocol"
    )
    name = type(error).__name__
    if isinstance(error, _TIMEOUTS):
        return late(backend, name, kind)
    if isinstance(error, _OURS):
        message = f"All connections to the backend '{backend}' are busy."
        problem = Problem(status=503, message=message, kind="server_error", code="upstream_busy", retry_after=1.0)
        return Failure(problem, kind="connect")
    if isinstance(error, InvalidRequest):
        message = f"The request cannot be sent to the backend '{backend}': {error}."
        return Failure(Problem(status=400, message=message, code="invalid_header"), kind="refused")
    message = f"The backend '{backend}' {_WHAT.get(type(error), 'broke off its answer')} ({name})."
    problem = Problem(status=502, message=message, kind="server_error", code="upstream_failed")
    return Failure(problem, kind=kind, at_fault=True)


def late(backend: str, what: str, kind: Kind = "timeout") -> Failure:
    """A backend that did not answer in time."""
    message = f"The backend '{backend}' did not answer in time ({what})."
    problem = Problem(status=504, message=message, kind="server_error", code="upstream_timeout")
    return Failure(problem, kind=kind, at_fault=True)


def unreadable(message: str) -> Failure:
    """A backend that answered what is no answer."""
    problem = Problem(status=502, message=message, kind="server_error", code="upstream_unreadable")
    return Failure(problem, kind="protocol", at_fault=True)


def unfit(response: Response) -> str:
    """Why a response cannot be the answer of a model; "" where it can."""
    if response.status >= 300:
        return f"answered with the redirect {response.status}"
    if response.status == 204:
        return "answered with nothing"
    fields = dict(response.headers)
    if fields.get(b"content-type", b"").lower().startswith(b"text/html"):
        return "answered with a web page"
    encoding = encoding_of(fields)
    return f"answered in the encoding {encoding!r}, unasked" if encoding else ""


def encoding_of(fields: Mapping[bytes, bytes]) -> str:
    """The coding of a body; "" for none."""
    encoding = fields.get(b"content-encoding", b"identity").lower()
    return "" if encoding == b"identity" else encoding.decode("latin-1")

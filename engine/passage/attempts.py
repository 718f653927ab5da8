"""Attempts at an answer: the legs of a plan, one after the other, until a backend begins to answer.

Nothing is tried again after output began; what went wrong before is said in the client's protocol, with the upstream's own
words and status where it had any.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from engine.codecs.base import BadAnswer, Codec, Problem
from engine.diagnostics import LexgateError
from engine.model.decision import Decision
from engine.model.effects import Block, Patch, SetHeader
from engine.model.exchange import Exchange, Usage
from engine.model.folding import folded, with_header
from engine.model.phases import Phase
from engine.model.plan import Leg, Plan
from engine.passage.judging import Judge
from engine.passage.routing import legs_in_order, with_model
from engine.passage.view import Taken
from engine.world import World
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

PROBLEM_LIMIT: Final = 1_000_000
_TIMEOUTS: Final = (ConnectTimeout, FirstByteTimeout, IdleTimeout, TotalTimeout, WriteTimeout)
_FAILS_OVER: Final = frozenset({401, 403, 404, 408, 409, 425, 429})
_PASSED_WITH_ERRORS: Final = (
    b"retry-after",
    b"x-request-id",
    b"request-id",
    b"x-ratelimit-",
    b"x-should-retry",
    b"openai-",
    b"anthropic-",
)


class Failure(LexgateError):
    """No answer. `body` is the upstream's own error answer, None where there was none."""

    def __init__(
        self, problem: Problem, body: bytes | None = None, headers: Headers | None = None, rule: str = ""
    ) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.body = body
        self.rule = rule
        """The rule that refused it, where one did."""
        self.headers: Headers = headers or []

    @property
    def fails_over(self) -> bool:
        """Whether another backend may do better: not where the request itself is at fault."""
        return self.problem.status >= 500 or self.problem.status in _FAILS_OVER


class Attempts:
    """The attempts of one exchange. A re-ask begins with the backend that answered last."""

    def __init__(self, plan: Plan, judge: Judge, codec: Codec, headers: Headers, world: World) -> None:
        self._plan = plan
        self._judge = judge
        self._codec = codec
        self._headers = headers
        self._world = world
        self._legs: Sequence[Leg] = ()
        self._response: Response | None = None
        self._asked: Exchange | None = None
        """What a backend was asked, as long as it is not known what it used."""
        self._number = 0
        self.passed_headers: Headers = []

    async def begin(self, exchange: Exchange) -> Response:
        """The response of the first leg that begins to answer. Raises Failure with the last leg's reason."""
        if not self._legs:
            self._legs = tuple(leg for leg in legs_in_order(self._plan, self._world.random()) if self._speaks(leg))
            if not self._legs:
                raise self._unspoken()
        failure: Failure | None = None
        for place, leg in enumerate(self._legs):
            try:
                response = await self._try(with_model(leg, exchange.model), exchange)
            except Failure as failed:
                failure = failed
                if not failed.fails_over:
                    break
            else:
                self._legs = (*self._legs[place:], *self._legs[:place])
                return response
        raise failure or Failure(Problem(status=404, message="The route has no backend.", kind="not_found_error"))

    def _speaks(self, leg: Leg) -> bool:
        """Whether the leg's backend speaks what the client does; one that is not configured is said when it is tried."""
        backend = self._world.backends.by_name.get(leg.backend)
        return backend is None or backend.speaks(self._codec.protocol)

    def _unspoken(self) -> Failure:
        names = " and ".join(sorted({f"'{leg.backend}'" for leg in self._plan.legs}))
        message = (
            f"The model is served by {names}, which cannot be asked in the protocol of this endpoint "
            f"({self._codec.protocol}), and there is no translation between protocols yet."
        )
        return Failure(Problem(status=400, message=message, code="protocol_not_served", param="model"))

    async def _try(self, leg: Leg, exchange: Exchange) -> Response:
        backend = self._world.backends.by_name.get(leg.backend)
        if backend is None:
            message = f"The route names a backend '{leg.backend}' that is not configured."
            raise Failure(Problem(status=404, message=message, kind="not_found_error", code="backend_not_found"))
        self._number += 1
        self._judge.view.taken = Taken(leg.backend, leg.model, self._number, self._plan.name, self._plan)
        self._world.metrics.attempted(leg.backend, leg.model)
        decision = await self._judge.judge(Phase.ATTEMPT)
        if decision is not None:
            exchange = _folded(exchange, decision)
        if leg.model and leg.model != exchange.model:
            exchange = replace(exchange, model=leg.model, body=None)
        body = self._codec.encode_request(exchange)
        path = self._codec.upstream_path(exchange)
        self._asked = exchange
        try:
            response = await backend.send(path, body, self._headers, exchange.added_headers)
            unfit = _unfit(response)
            if not unfit and response.status < 400:
                self._response = response
                seconds = self._world.clock() - self._judge.view.now
                self._world.metrics.first_byte(exchange.protocol.value, leg.backend, seconds)
                self.passed_headers = [each for each in response.headers if each[0].startswith(_PASSED_WITH_ERRORS)]
                return response
            failure = (
                await self._refused(response) if response.status >= 400 else await self._no_answer(response, unfit)
            )
        except TransportError as error:
            failure = self.broken(error)
        self._asked = None
        self._world.metrics.attempt_failed(leg.backend, failure.problem.code or str(failure.problem.status))
        await self._judge.release(0)
        await self._judge_error(failure)
        raise failure

    async def _no_answer(self, response: Response, why: str) -> Failure:
        """What says 200 or 3xx and is no answer of a model."""
        await response.aclose()
        backend = self._judge.view.taken.backend
        self._world.log.warning(
            "upstream answer unreadable", backend=backend, reason=why, request=self._judge.view.exchange.id
        )
        message = f"The backend '{backend}' {why}; is its base_url right?"
        return Failure(Problem(status=502, message=message, kind="server_error", code="upstream_unreadable"))

    async def _refused(self, response: Response) -> Failure:
        """The upstream's own error, passed on with its status and words."""
        body = await response.read(PROBLEM_LIMIT)
        problem = self._codec.decode_problem(response.status, body)
        headers = [each for each in response.headers if each[0].startswith(_PASSED_WITH_ERRORS)]
        fields = dict(response.headers)
        if not fields.get(b"content-type", b"").lower().startswith(b"application/json") or _encoding(fields):
            return Failure(problem, None, headers)
        return Failure(problem, body, headers)

    async def _judge_error(self, failure: Failure) -> None:
        if not self._judge.has(Phase.ERROR):
            return
        problem = failure.problem
        kind = {502: "connect", 504: "timeout"}.get(problem.status, "status") if failure.body is None else "status"
        section = {
            "status": problem.status if failure.body is not None else 0,
            "kind": kind,
            "retry_after": problem.retry_after or 0.0,
            "message": problem.message,
            "elapsed": self._world.clock() - self._judge.view.now,
        }
        await self._judge.judge(Phase.ERROR, error=section)

    def broken(self, error: TransportError) -> Failure:
        """A failure of the connection in the client's terms: 504 for what came too late, 502 for the rest."""
        backend = self._judge.view.taken.backend
        self._world.log.warning(
            "upstream failed",
            backend=backend,
            error=type(error).__name__,
            reason=str(error),
            request=self._judge.view.exchange.id,
        )
        if isinstance(error, _TIMEOUTS):
            message = f"The backend '{backend}' did not answer in time ({type(error).__name__})."
            return Failure(Problem(status=504, message=message, kind="server_error", code="upstream_timeout"))
        if isinstance(error, PoolExhausted | ClientClosed):
            message = f"All connections to the backend '{backend}' are busy."
            return Failure(
                Problem(status=503, message=message, kind="server_error", code="upstream_busy", retry_after=1.0)
            )
        if isinstance(error, InvalidRequest):
            message = f"The request cannot be sent to the backend '{backend}': {error}."
            return Failure(Problem(status=400, message=message, code="invalid_header"))
        what = {ConnectFailed: "cannot be reached", TLSFailed: "has a TLS problem", BodyTooLarge: "answered too much"}
        message = f"The backend '{backend}' {what.get(type(error), 'broke off its answer')} ({type(error).__name__})."
        return Failure(Problem(status=502, message=message, kind="server_error", code="upstream_failed"))

    def unreadable(self, bad: BadAnswer) -> Failure:
        """The backend answered what its protocol does not allow."""
        backend = self._judge.view.taken.backend
        self._world.log.warning("upstream answer unreadable", backend=backend, reason=str(bad))
        message = f"The answer of the backend '{backend}' cannot be read: {bad}."
        return Failure(Problem(status=502, message=message, kind="server_error", code="upstream_unreadable"))

    async def end(self, usage: Usage | None) -> None:
        """The attempt is over: its reservations are settled on what it used."""
        self._response = None
        await self._judge.release(self._used(usage))

    async def close(self, used: Usage | None = None) -> None:
        """Whatever happened, no connection and no reservation stays behind; what was used by then is counted."""
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()
        await self._judge.release(self._used(used))

    def _used(self, usage: Usage | None) -> int:
        """The tokens of the attempt; of one that ended without saying them, those of its request."""
        asked, self._asked = self._asked, None
        if usage is not None:
            if asked is not None:
                self._world.estimates.learn(asked, usage)
            return usage.input + usage.output
        return self._judge.view.count(asked) if asked is not None and self._judge.held_slots else 0


def _unfit(response: Response) -> str:
    """Why a response cannot be the answer of a model; "" where it can."""
    if response.status >= 300:
        return f"answered with the redirect {response.status}"
    if response.status == 204:
        return "answered with nothing"
    fields = dict(response.headers)
    if fields.get(b"content-type", b"").lower().startswith(b"text/html"):
        return "answered with a web page"
    encoding = _encoding(fields)
    return f"answered in the encoding {encoding!r}, unasked" if encoding else ""


def _encoding(fields: Mapping[bytes, bytes]) -> str:
    encoding = fields.get(b"content-encoding", b"identity").lower()
    return "" if encoding == b"identity" else encoding.decode("latin-1")


def _folded(exchange: Exchange, decision: Decision) -> Exchange:
    """What rules of phase `attempt` change of this one attempt. Raises Failure where one refuses it."""
    match decision.effect:
        case Block(message=message, status=status, code=code, retry_after=retry_after):
            kind = "rate_limit_error" if status == 429 else "server_error"
            problem = Problem(status=status, message=message, kind=kind, code=code, retry_after=retry_after)
            raise Failure(problem, rule=decision.by)
        case _:
            pass
    for effect in decision.effects:
        match effect:
            case Patch(ops):
                exchange = folded(exchange, ops)
            case SetHeader():
                exchange = with_header(exchange, effect)
            case _:
                pass
    return exchange

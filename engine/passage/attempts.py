"""Attempts at an answer: the legs of a plan, one after the other, until a backend begins to answer.

Each leg is asked in its own tongue: the client's protocol where its backend speaks it, else another, translated. Nothing is
tried again after output began; what went wrong before is said in the client's protocol, with the upstream's own words and
status where it had any.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from engine.codecs import CODECS
from engine.codecs.base import BadAnswer, BadRequest, Codec, Problem
from engine.codecs.translation.request import UNTRANSLATABLE
from engine.codecs.translation.tongue import Asked, Native, Tongue, tongue_for
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
from engine.world.backends import Backend
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
_NEVER_SENT: Final = (
    ClientClosed,
    ConnectFailed,
    ConnectTimeout,
    InvalidRequest,
    PoolExhausted,
    TLSFailed,
    WriteTimeout,
)
_TIMEOUTS: Final = (ConnectTimeout, FirstByteTimeout, IdleTimeout, TotalTimeout, WriteTimeout)
_FAILS_OVER: Final = frozenset({401, 403, 404, 408, 409, 425, 429})
_KINDS: Final = {402: "insufficient_quota", 429: "rate_limit_error"}
"""Of what a rule refuses: the first is what OpenAI says where money is used up."""
DROPPED: Final = b"x-lexgate-dropped"
"""The header that names what of a request did not come across to a backend of another protocol."""

DROPPED_LENGTH: Final = 1_000
_FOREIGN_TO_HEADERS: Final = re.compile(r"[^ -~]")
"""A field's name is the client's to choose: it must not end a header."""

_PASSED_FROM_ANY: Final = (b"retry-after",)
"""Headers that mean the same in every protocol."""

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
        self.rule = rule
        """The rule that refused it, where one did."""
        self.headers: Headers = headers or []


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
        self._tongues: dict[str, Tongue] = {}
        self.tongue: Tongue = Native(codec)
        """In which the backend that answered was asked."""
        self.passed_headers: Headers = []
        """Those of the answer's headers that are the client's too, and what was lost in translation."""

    @property
    def may_translate(self) -> bool:
        """Whether a leg of the plan is asked in another protocol than the client's."""
        backends = self._world.backends.by_name
        protocol = self._codec.protocol
        return any(
            backend is not None and not backend.speaks(protocol)
            for backend in (backends.get(leg.backend) for leg in self._plan.legs)
        )

    async def begin(self, exchange: Exchange) -> Response:
        """The response of the first leg that begins to answer. Raises Failure with the last leg's reason."""
        if not self._legs:
            self._legs = tuple(legs_in_order(self._plan, self._world.random()))
        failure: Failure | None = None
        for place, leg in enumerate(self._legs):
            try:
                response = await self._try(with_model(leg, exchange.model), exchange)
            except Failure as failed:
                # What a backend said is worth more than that the next one speaks another protocol.
                failure = failure if failure is not None and failed.problem.code == UNTRANSLATABLE else failed
                if not failed.fails_over:
                    break
            else:
                self._legs = (*self._legs[place:], *self._legs[:place])
                return response
        raise failure or Failure(Problem(status=404, message="The route has no backend.", kind="not_found_error"))

    def _tongue_of(self, backend: Backend) -> Tongue:
        """Made once for each backend, so that it can tell apart the answers that it gives. Raises Failure."""
        tongue = self._tongues.get(backend.name)
        if tongue is None:
            own = self._codec.protocol
            protocol = backend.protocol_for(own)
            codec = self._codec if protocol is own else CODECS.get(protocol) if protocol is not None else None
            found = tongue_for(self._codec, codec, backend.name, backend.fitted) if codec is not None else None
            if found is None:
                raise self._unspoken(backend)
            tongue = self._tongues[backend.name] = found
        return tongue

    def _unspoken(self, backend: Backend) -> Failure:
        message = (
            f"The backend '{backend.name}' cannot be asked in the protocol of this endpoint ({self._codec.protocol}), and "
            "no other protocol can carry its requests."
        )
        return Failure(Problem(status=400, message=message, code=UNTRANSLATABLE, param="model"))

    async def _try(self, leg: Leg, exchange: Exchange) -> Response:
        backend = self._world.backends.by_name.get(leg.backend)
        if backend is None:
            message = f"The route names a backend '{leg.backend}' that is not configured."
            raise Failure(Problem(status=404, message=message, kind="not_found_error", code="backend_not_found"))
        tongue = self._tongue_of(backend)
        self._number += 1
        self._judge.view.taken = Taken(leg.backend, leg.model, self._number, self._plan.name, self._plan)
        self._world.metrics.attempted(leg.backend, leg.model)
        decision = await self._judge.judge_attempt(exchange)
        if decision is not None:
            exchange = self._judge.account.limited(_folded(exchange, decision))
        if leg.model and leg.model != exchange.model:
            exchange = replace(exchange, model=leg.model, body=None)
        try:
            asked = tongue.ask(exchange)
            self._asked = exchange
            response = await backend.send(
                asked.path,
                asked.body,
                self._headers,
                exchange.added_headers,
                client=None if tongue.native else self._codec.protocol,
                query=exchange.query,
            )
            unfit = _unfit(response)
            if not unfit and response.status < 400:
                self._response = response
                seconds = self._world.clock() - self._judge.view.now
                self._world.metrics.first_byte(exchange.protocol.value, leg.backend, seconds)
                self.tongue = tongue
                self.passed_headers = self._passed(response, tongue, asked)
                return response
            failure = (
                await self._refused(response, tongue)
                if response.status >= 400
                else await self._no_answer(response, unfit)
            )
        except BadRequest as bad:
            failure = Failure(bad.problem)
        except TransportError as error:
            failure = self.broken(error)
            failure.may_have_cost = not isinstance(error, _NEVER_SENT)
        used = self._used(None) if failure.may_have_cost else None
        self._asked = None
        self._world.metrics.attempt_failed(leg.backend, failure.problem.code or str(failure.problem.status))
        await self._judge.release(used)
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

    def _passed(self, response: Response, tongue: Tongue, asked: Asked) -> Headers:
        """The headers of an answer for the client: those of its protocol, or what was lost on the way to another."""
        if tongue.native:
            return [each for each in response.headers if each[0].startswith(_PASSED_WITH_ERRORS)]
        if not asked.dropped:
            return []
        self._world.log.info(
            "request translated with losses",
            request=self._judge.view.exchange.id,
            backend=self._judge.view.taken.backend,
            protocol=tongue.codec.protocol.value,
            dropped=list(asked.dropped),
        )
        return [(DROPPED, _FOREIGN_TO_HEADERS.sub("?", ", ".join(asked.dropped))[:DROPPED_LENGTH].encode())]

    async def _refused(self, response: Response, tongue: Tongue) -> Failure:
        """The upstream's own error, passed on with its status and words; in a form of ours where it spoke another
        protocol."""
        body = await response.read(PROBLEM_LIMIT)
        problem = tongue.problem(response.status, body)
        passed = _PASSED_WITH_ERRORS if tongue.native else _PASSED_FROM_ANY
        headers = [each for each in response.headers if each[0].startswith(passed)]
        fields = dict(response.headers)
        whole = fields.get(b"content-type", b"").lower().startswith(b"application/json") and not _encoding(fields)
        if not (tongue.native and whole):
            return Failure(problem, None, headers, answered=whole)
        return Failure(problem, body, headers)

    async def _judge_error(self, failure: Failure) -> None:
        if not self._judge.has(Phase.ERROR):
            return
        problem = failure.problem
        kind = "status" if failure.answered else {502: "connect", 504: "timeout"}.get(problem.status, "status")
        section = {
            "status": problem.status if failure.answered else 0,
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

    def _used(self, usage: Usage | None) -> Usage | None:
        """What the attempt used; of one that ended without saying it, about as much; None where nothing was asked."""
        asked, self._asked = self._asked, None
        if usage is not None:
            if asked is not None:
                self._world.estimates.learn(asked, usage)
            return usage
        account = self._judge.account
        return account.unknown(self._judge.view.count(asked), asked) if asked is not None and account.held else None


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
        case Block(message=message, status=status, code=code, retry_after=retry_after, fails_over=fails_over):
            kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
            problem = Problem(status=status, message=message, kind=kind, code=code, retry_after=retry_after)
            raise Failure(problem, rule=decision.by, fails_over=fails_over)
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

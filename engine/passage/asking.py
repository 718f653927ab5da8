"""One attempt: a leg judged by the rules, asked in its tongue, and heard until it begins to answer, or why it does not."""

import asyncio
import functools
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from engine.codecs import CODECS
from engine.codecs.base import BadRequest, Codec, Problem
from engine.codecs.translation.request import UNTRANSLATABLE
from engine.codecs.translation.tongue import Asked, Native, Tongue, tongue_for
from engine.model.decision import Decision
from engine.model.effects import Block, Patch, SetHeader
from engine.model.exchange import Exchange, Usage
from engine.model.folding import folded, with_header
from engine.model.legs import Considered, Fate
from engine.model.phases import Phase
from engine.model.plan import Leg, Plan
from engine.passage.ahead import Ahead, FailedAtOnce, first_output, whole_ahead
from engine.passage.failures import Failure, broken_off, encoding_of, late, unfit, unreadable
from engine.passage.hidden import without_thoughts_of_others
from engine.passage.judging import Judge
from engine.passage.replies import passed_headers
from engine.passage.routing import with_model, with_params
from engine.passage.spending import Account
from engine.passage.view import Taken
from engine.world import World
from engine.world.backends import Backend
from engine.world.http.base import Headers, Response, TransportError
from engine.world.keys import retry_after

PROBLEM_LIMIT: Final = 1_000_000
_KINDS: Final = {402: "insufficient_quota", 429: "rate_limit_error"}
"""Of what a rule refuses: the first is what OpenAI says where money is used up."""

DROPPED: Final = b"x-lexgate-dropped"
"""The header that names what of a request did not come across, to a backend of another protocol or one that refuses it."""

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

Lost = Callable[[Usage | None, Taken | None], None]
"""Told what an attempt used that was broken off because another one won."""


class Begun(msgspec.Struct, frozen=True):
    """An attempt that began to answer. `exchange` is what its backend was asked, `account` what is held for it."""

    leg: Leg
    taken: Taken
    response: Response
    tongue: Tongue
    exchange: Exchange
    account: Account
    headers: Headers
    made: bool = False
    """A rule said it in the backend's place."""

    @property
    def says(self) -> bool:
        """Whether it says something, as far as was looked."""
        return not isinstance(self.response, Ahead) or self.response.says


class Skipped(Exception):
    """A rule does not want the leg to be asked."""


class Asking:
    """Asks legs of one exchange, and keeps what became of each."""

    def __init__(self, plan: Plan, judge: Judge, codec: Codec, headers: Headers, world: World) -> None:
        self._plan = plan
        self._judge = judge
        self._codec = codec
        self._headers = headers
        self._world = world
        self._number = 0
        self._tongues: dict[str, Tongue] = {}
        self.reads_ahead = False
        """Whether the beginning of an answer is read before it counts as one: where another leg may be asked."""
        self.trail: list[Considered] = []

    @functools.cached_property
    def _one_at_a_time(self) -> asyncio.Lock:
        """INVARIANT: while an event of an attempt is judged, `view.taken` is that attempt."""
        return asyncio.Lock()

    def note(self, leg: Leg, fate: Fate, why: str = "") -> None:
        self.trail.append(Considered(leg.target, fate, why))

    def answered(self, begun: Begun) -> None:
        """It is the answer of its stage."""
        self._became(begun.leg, "answered")

    def lost(self, leg: Leg) -> None:
        """Another one of its race won."""
        self._became(leg, "lost", "another one was faster")

    def _became(self, leg: Leg, fate: Fate, why: str = "") -> None:
        """What became of a leg that was asked."""
        for place in range(len(self.trail) - 1, -1, -1):
            each = self.trail[place]
            if each.leg == leg.target and each.fate == "asked":
                self.trail[place] = Considered(each.leg, fate, why or each.why)
                return

    async def ask(
        self,
        leg: Leg,
        exchange: Exchange,
        why: str,
        *,
        racing: bool = False,
        whole: bool = False,
        lost: Lost | None = None,
    ) -> Begun:
        """Ask one leg. Raises Failure, Skipped. `lost` hears what it used if it is cancelled on the way."""
        leg = with_model(leg, exchange.model)
        backend = self._world.backends.by_name.get(leg.backend)
        if backend is None:
            message = f"The route names a backend '{leg.backend}' that is not configured."
            problem = Problem(status=404, message=message, kind="not_found_error", code="backend_not_found")
            raise _untried(Failure(problem, kind="refused"))
        tongue = self._tongue_of(backend)
        if leg.params:
            exchange = with_params(exchange, leg.params)
        self._number += 1
        taken = Taken(leg.backend, leg.model, self._number, self._plan.name, self._plan, self.trail)
        if self._judge.reading.judges_attempts:
            async with self._one_at_a_time:
                exchange, account = await self._judged(leg, taken, exchange)
        else:
            account = self._judge.begin_attempt(exchange, taken)
        if leg.model and leg.model != exchange.model:
            exchange = replace(exchange, model=leg.model, body=None)
        self._world.metrics.attempted(leg.backend, leg.model)
        self.note(leg, "asked", why)
        self._world.health.asked(leg.backend, leg.model)
        try:
            if not leg.ttft_timeout:
                return await self._begun(leg, taken, backend, tongue, exchange, account, racing=racing, whole=whole)
            async with asyncio.timeout(leg.ttft_timeout):
                return await self._begun(
                    leg, taken, backend, tongue, exchange, account, racing=racing, whole=whole, waits=True
                )
        except BadRequest as bad:
            failure = Failure(bad.problem, kind="refused")
        except TransportError as error:
            failure = self.broken(error, taken, told=False)
        except TimeoutError:
            failure = late(leg.backend, f"no output in {leg.ttft_timeout:g} s")
            failure.may_have_cost = True
        except Failure as failed:
            failure = failed
        except asyncio.CancelledError:
            await self._left(leg, exchange, account, taken, lost)
            raise
        await self._failed(leg, exchange, account, failure)
        raise failure

    async def _judged(self, leg: Leg, taken: Taken, exchange: Exchange) -> tuple[Exchange, Account]:
        """The request as rules of phase `attempt` let it pass, and what is held for it. Raises Failure, Skipped."""
        account = self._judge.begin_attempt(exchange, taken)
        decision = await self._judge.judge(Phase.ATTEMPT)
        if decision is None:
            return exchange, account
        if decision.skip is not None and not decision.refused:
            await self._judge.release(None, account)
            self.note(leg, "skipped", decision.skip.reason)
            raise Skipped
        try:
            return account.limited(_folded(exchange, decision)), account
        except Failure as refused:
            self.note(leg, "failed", f"refused by {refused.rule}")
            raise

    async def _begun(
        self,
        leg: Leg,
        taken: Taken,
        backend: Backend,
        tongue: Tongue,
        exchange: Exchange,
        account: Account,
        *,
        racing: bool,
        whole: bool,
        waits: bool = False,
    ) -> Begun:
        """Raises Failure, BadRequest, TransportError."""
        if exchange.body is None:  # something was put in, a turn that was refused perhaps
            exchange = without_thoughts_of_others(exchange, leg.backend)
        asked = tongue.ask(exchange)
        response: Response = await backend.send(
            asked.path,
            asked.body,
            self._headers,
            exchange.added_headers,
            client=None if tongue.native else self._codec.protocol,
            query=exchange.query,
        )
        if response.status >= 400:
            raise await self._refused(response, tongue)
        if wrong := unfit(response):
            raise await self._no_answer(response, wrong)
        if racing or whole or waits or self.reads_ahead:
            try:
                if whole or not exchange.stream:
                    response = await whole_ahead(response)
                else:
                    response = await first_output(response, tongue.codec.reader(), whole_calls=racing)
            except FailedAtOnce as failed:
                await response.aclose()
                raise _failed_at_once(failed, tongue) from failed
            except BaseException:
                await response.aclose()
                raise
        seconds = self._world.clock() - self._judge.view.now
        self._world.metrics.first_byte(exchange.protocol, leg.backend, seconds)
        self._world.health.answered(leg.backend, leg.model)
        headers = self._passed(response, tongue, asked)
        return Begun(leg, taken, response, tongue, exchange, account, headers)

    def instead(self, leg: Leg, exchange: Exchange, response: Response) -> Begun:
        """What a rule says in a backend's place, as if it had been asked in the client's own protocol."""
        taken = self._judge.view.taken
        account = Account(self._world, exchange, taken)
        return Begun(leg, taken, response, Native(self._codec), exchange, account, [], made=True)

    # -- what did not answer --

    async def _failed(self, leg: Leg, exchange: Exchange, account: Account, failure: Failure) -> None:
        count = self._judge.view.count
        used = account.unknown(count(exchange), exchange) if failure.may_have_cost and account.held else None
        (self._world.health.failed if failure.at_fault else self._world.health.left)(leg.backend, leg.model)
        self._world.metrics.attempt_failed(leg.backend, failure.problem.code or str(failure.problem.status))
        self._became(leg, "failed", failure.why)
        await self._judge.release(used, account)

    async def _left(self, leg: Leg, exchange: Exchange, account: Account, taken: Taken, lost: Lost | None) -> None:
        """Nobody waits for it any more: its input was sent, and is counted."""
        self._world.health.left(leg.backend, leg.model)
        count = self._judge.view.count(exchange)
        if lost is None:
            await self._judge.release(account.unknown(count, exchange) if account.held else None, account)
            return
        self.lost(leg)
        used = Usage(input=count)
        lost(used, taken)
        await self._judge.release(used, account)

    async def judge_error(self, leg: Leg, exchange: Exchange, failure: Failure) -> Decision | None:
        """What rules of phase `error` say of a failed attempt."""
        if not self._judge.has(Phase.ERROR):
            return None
        problem = failure.problem
        section = {
            "status": problem.status if failure.answered else 0,
            "kind": failure.kind,
            "retry_after": problem.retry_after or 0.0,
            "message": problem.message,
            "elapsed": self._world.clock() - self._judge.view.now,
        }
        async with self._one_at_a_time:
            leg = with_model(leg, exchange.model)
            if (self._judge.view.taken.backend, self._judge.view.taken.model) != (leg.backend, leg.model):
                taken = replace(self._judge.view.taken, backend=leg.backend, model=leg.model)
                self._judge.view.taken = taken
            return await self._judge.judge(Phase.ERROR, error=section)

    def broken(self, error: TransportError, taken: Taken, *, told: bool = True) -> Failure:
        """A failure of the connection, logged; `told`: of an answer that had begun, so that the breaker must hear of it."""
        self._world.log.warning(
            "upstream failed",
            backend=taken.backend,
            error=type(error).__name__,
            reason=str(error),
            request=self._judge.view.exchange.id,
        )
        failure = broken_off(error, taken.backend)
        if told and failure.at_fault:
            self._world.health.failed(taken.backend, taken.model)
        return failure

    async def _no_answer(self, response: Response, why: str) -> Failure:
        """What says 200 or 3xx and is no answer of a model."""
        await response.aclose()
        backend = self._judge.view.taken.backend
        self._world.log.warning(
            "upstream answer unreadable", backend=backend, reason=why, request=self._judge.view.exchange.id
        )
        return unreadable(f"The backend '{backend}' {why}; is its base_url right?")

    async def _refused(self, response: Response, tongue: Tongue) -> Failure:
        """The upstream's own error, passed on with its status and words; in a form of ours where it spoke another
        protocol."""
        body = await response.read(PROBLEM_LIMIT)
        problem = tongue.problem(response.status, body)
        if problem.retry_after is None:
            problem = replace(problem, retry_after=retry_after(response.headers, self._world.clock()))
        passed = _PASSED_WITH_ERRORS if tongue.native else _PASSED_FROM_ANY
        headers = [each for each in response.headers if each[0].startswith(passed)]
        fields = dict(response.headers)
        whole = fields.get(b"content-type", b"").lower().startswith(b"application/json") and not encoding_of(fields)
        if not (tongue.native and whole):
            return Failure(problem, None, headers, answered=True)
        return Failure(problem, body, headers)

    def _passed(self, response: Response, tongue: Tongue, asked: Asked) -> Headers:
        """The headers of an answer for the client: those of its own protocol, and what the backend was not asked."""
        passed: Headers = []
        dropped = asked.dropped
        if tongue.native:
            passed = passed_headers(response.headers)
            if not dropped:
                return passed
            # What was asked for on our behalf is no loss of the client's.
            dropped = [name for name in dropped if name in self._judge.view.exchange.params]
        if not dropped:
            return passed
        self._world.log.info(
            "parameters left out" if tongue.native else "request translated with losses",
            request=self._judge.view.exchange.id,
            backend=self._judge.view.taken.backend,
            protocol=tongue.codec.protocol.value,
            dropped=list(dropped),
        )
        return [*passed, (DROPPED, _FOREIGN_TO_HEADERS.sub("?", ", ".join(dropped))[:DROPPED_LENGTH].encode())]

    # -- tongues --

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
        return _untried(
            Failure(Problem(status=400, message=message, code=UNTRANSLATABLE, param="model"), kind="refused")
        )


def _untried(failure: Failure) -> Failure:
    failure.tried = False
    return failure


def _failed_at_once(failed: FailedAtOnce, tongue: Tongue) -> Failure:
    """The provider's first event is an error: no answer, whatever its status said."""
    said = failed.failed
    problem = Problem(status=said.status, message=said.message, kind=said.kind)
    data: Any = failed.frame.data
    whole = tongue.native and isinstance(data, dict)
    return Failure(problem, msgspec.json.encode(data) if whole else None, answered=True)


def _folded(exchange: Exchange, decision: Decision) -> Exchange:
    """What rules of phase `attempt` change of this one attempt. Raises Failure where one refuses it."""
    match decision.effect:
        case Block(message=message, status=status, code=code, retry_after=retry_after, fails_over=fails_over):
            kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
            problem = Problem(status=status, message=message, kind=kind, code=code, retry_after=retry_after)
            raise _untried(Failure(problem, rule=decision.by, fails_over=fails_over, kind="refused"))
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

"""Attempts at an answer: the legs of a plan, one after the other or racing, until a backend begins to answer.

Each leg is asked in its own tongue: the client's protocol where its backend speaks it, else another, translated. What
becomes of one that fails, rules of phase `error` say; without any the table of statuses does. Nothing is tried again after
output began; what went wrong before is said in the client's protocol, with the upstream's own words and status where it had
any.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from engine.codecs.base import BadAnswer, Codec, Problem
from engine.codecs.translation.tongue import Tongue
from engine.model.effects import Block, FailOver, Recovery, Respond, Retry, Surface, Wait
from engine.model.exchange import Exchange, Protocol, Usage
from engine.model.legs import Chances, Stage, reason, stages, unfit
from engine.model.phases import Phase
from engine.model.plan import Leg, Plan
from engine.passage.asking import Asking, Begun, Skipped
from engine.passage.failures import Failure, unreadable
from engine.passage.instead import made_answer
from engine.passage.judging import Judge
from engine.passage.race import race
from engine.passage.routing import with_model
from engine.passage.thinking import thought_of, with_thoughts
from engine.passage.view import Taken
from engine.world import World
from engine.world.http.base import Headers, Response, TransportError

Bill = Callable[[Usage | None, Taken | None], None]
"""Told what an attempt used whose answer the client does not get."""


def _unknown() -> None:
    """Nobody knows more of what it used."""


_NO_LEG: Final = Problem(status=404, message="The route has no backend.", kind="not_found_error")
_EXPECTED_OUTPUT: Final = 1_000
"""Tokens of output by which legs are compared that cost differently."""

__all__ = ["Attempts", "Failure"]


class _Kept(msgspec.Struct):
    """A leg's turns at one begin: how often it was waited for, and asked again."""

    waits: int = 0
    retries: int = 0


class Attempts:
    """The attempts of one exchange. A re-ask begins with the backend that answered last."""

    def __init__(
        self, plan: Plan, judge: Judge, codec: Codec, headers: Headers, world: World, bill: Bill | None = None
    ) -> None:
        self._plan = plan
        self._judge = judge
        self._codec = codec
        self._world = world
        self._bill: Bill = bill or (lambda _usage, _taken: None)
        self._asking = Asking(plan, judge, codec, headers, world)
        self._stages: Sequence[Stage] | None = None
        self._current: Begun | None = None
        """The attempt that answers, as long as it is not known what it used."""
        self._thoughts: str | None = None
        self._thought_at = 0
        self._tries = 0
        self.tongue: Tongue
        """In which the backend that answered was asked; there is none before."""
        self.passed_headers: Headers = []
        """Those of the answer's headers that are the client's too, and what was lost in translation."""

    @property
    def may_translate(self) -> bool:
        """Whether a leg of the plan is asked in another protocol than the client's."""
        backends = self._world.backends.by_name
        protocol = self._codec.protocol
        asked = [backends[leg.backend] for leg in self._plan.leaves if leg.backend in backends]
        return any(not backend.speaks(protocol) for backend in asked)

    async def begin(self, exchange: Exchange) -> Response:
        """The response of the first leg that begins to answer. Raises Failure with the last leg's reason."""
        if self._stages is None:
            self._stages = self._ordered()
        if self._plan.thinkers:
            exchange = await self._with_thoughts(exchange)
        self._tries = 0
        place, begun = await self._begun(exchange)
        self._stages = ((begun.leg,), *self._stages[place + 1 :], *self._stages[:place])
        self._current = begun
        self._judge.view.taken = begun.taken
        self._judge.account = begun.account
        self.tongue, self.passed_headers = begun.tongue, begun.headers
        self._asking.answered(begun)
        return begun.response

    def _ordered(self) -> Sequence[Stage]:
        if self._plan.kind == "failover" and len(self._plan.legs) == 1 and not self._plan.legs[0].route:
            return ((self._plan.legs[0],),)
        world = self._world
        return tuple(stages(self._plan, Chances(world.random(), world.turn_of, self._price)))

    def _price(self, leg: Leg) -> float | None:
        view = self._judge.view
        model = with_model(leg, view.exchange.model).model
        cost = self._world.prices.worst_case(model, leg.backend, view.count(view.exchange), _EXPECTED_OUTPUT)
        return None if cost is None else float(cost)

    # -- one stage after the other --

    async def _begun(self, exchange: Exchange) -> tuple[int, Begun]:
        """The attempt that answers, and the place of its stage. Raises Failure."""
        assert self._stages is not None
        failure: Failure | None = None
        resting: list[tuple[float, int, Leg]] = []
        alone = len(self._stages) == 1 and len(self._stages[0]) == 1
        asked = False
        self._asking.reads_ahead = not alone or self._judge.has(Phase.ERROR)
        for place, stage in enumerate(self._stages):
            legs = [leg for leg in stage if self._fits(leg) and (alone or not self._rests(leg, place, resting))]
            if not legs:
                continue
            if asked and self._tries >= self._world.settings.resilience.max_attempts:
                break
            try:
                return place, await self._staged(legs, exchange, place)
            except Skipped:
                continue
            except Failure as failed:
                asked = True
                failure = _worse(failure, failed)
                if not failed.fails_over:
                    break
        if not asked and resting:
            # Whoever is left out has to be asked where nobody else is left: what it says is better than what we could.
            _, place, leg = min(resting, key=lambda each: each[0])
            return place, await self._staged([leg], exchange, place)
        raise failure or self._nobody()

    def _nobody(self) -> Failure:
        """No leg was fit for the request."""
        trail = self._asking.trail
        if any(each.fate == "skipped" and "tokens" in each.why for each in trail):
            message = f"No backend of the route takes a request of this size: {trail[-1].why}."
            return Failure(Problem(status=400, message=message, code="context_length_exceeded"), kind="refused")
        if trail:
            message = f"Every backend of the route is left out: {trail[-1].why}."
            return Failure(Problem(status=503, message=message, kind="server_error", code="no_backend"), kind="refused")
        return Failure(_NO_LEG, kind="refused")

    def _fits(self, leg: Leg) -> bool:
        if leg.backend in self._world.health.drained:
            self._asking.note(leg, "skipped", "an operator took it out")
            return False
        if not (leg.first or leg.max_context):
            return True
        view = self._judge.view
        first = not any(message.role == "assistant" for message in view.exchange.messages)
        why = unfit(leg, lambda: view.count(view.exchange), first=first)
        if why:
            self._asking.note(leg, "skipped", why)
        return not why

    def _rests(self, leg: Leg, place: int, resting: list[tuple[float, int, Leg]]) -> bool:
        """Whether a leg is left out for a while, because another one may do."""
        world = self._world
        model = with_model(leg, self._judge.view.exchange.model).model
        backend = world.backends.by_name.get(leg.backend)
        until = backend.rests_until if backend is not None else 0.0
        why = world.health.why_not(leg.backend, model)
        if not why and until:
            why = f"its keys rest for another {until - world.clock():.0f} s"
        if not why:
            return False
        self._asking.note(leg, "skipped", why)
        resting.append((max(until, world.health.rests_until(leg.backend, model)), place, leg))
        return True

    async def _staged(self, legs: Sequence[Leg], exchange: Exchange, place: int) -> Begun:
        """One stage. Raises Failure, Skipped."""
        if len(legs) == 1:
            return await self._attempted(legs[0], exchange, reason(self._plan, legs[0], place, racing=False))

        async def run(leg: Leg) -> Begun:
            return await self._attempted(leg, exchange, reason(self._plan, leg, place, racing=True), racing=True)

        return await race(legs, run, self._lost, self._world.sleep)

    async def _lost(self, begun: Begun) -> None:
        """One that began to answer when another one had won: it is ended, and pays for what it was asked."""
        await begun.response.aclose()
        self._asking.lost(begun.leg)
        self._world.health.left(begun.taken.backend, begun.taken.model)
        usage = Usage(input=self._judge.view.count(begun.exchange))
        self._bill(usage, begun.taken)
        await self._judge.release(usage, begun.account)

    # -- one leg, as long as it is worth it --

    async def _attempted(self, leg: Leg, exchange: Exchange, why: str, *, racing: bool = False) -> Begun:
        """One leg, waited for and asked again as rules say. Raises Failure, Skipped."""
        kept = _Kept()
        while True:
            self._tries += 1
            try:
                return await self._asking.ask(leg, exchange, why, racing=racing, lost=self._bill if racing else None)
            except Failure as failure:
                if not failure.tried:
                    raise
                answer = await self._recovered(leg, exchange, failure, kept)
                if answer is not None:
                    return answer

    async def _recovered(self, leg: Leg, exchange: Exchange, failure: Failure, kept: _Kept) -> Begun | None:
        """An answer in the backend's place; None where the leg is to be asked again. Raises Failure."""
        decision = await self._asking.judge_error(leg, exchange, failure)
        match decision.effect if decision is not None else None:
            case Respond(message=message) if self._codec.protocol is not Protocol.OPENAI_EMBEDDINGS:
                return self._asking.instead(leg, exchange, made_answer(self._codec, exchange, message))
            case Block(message=message, status=status, code=code):
                problem = Problem(status=status, message=message, kind="server_error", code=code)
                raise Failure(problem, rule=decision.by if decision is not None else "", kind="refused") from failure
            case _:
                pass
        for step in decision.recovery if decision is not None else ():
            if await self._stepped(step, failure, kept):
                return None
        raise failure

    async def _stepped(self, step: Recovery, failure: Failure, kept: _Kept) -> bool:
        """Whether the leg is to be asked again; False where this step is not possible. Raises Failure."""
        left = self._world.settings.resilience.max_attempts - self._tries
        match step:
            case Wait(times=times) if left > 0 and kept.waits < times:
                asked = failure.problem.retry_after
                seconds = step.plus * 2**kept.waits if asked is None else asked + step.plus
                elapsed = self._world.clock() - self._judge.view.now
                if seconds > step.most or elapsed + seconds > step.within:
                    failure.fails_over = True
                    return False
                kept.waits += 1
                await self._world.sleep(seconds)
                return True
            case Retry(times=times) if left > 0 and kept.retries < times:
                kept.retries += 1
                return True
            case FailOver():
                failure.fails_over = True
                raise failure
            case Surface():
                failure.fails_over = False
                raise failure
            case _:
                failure.fails_over = True
                return False

    # -- thinkers --

    async def _with_thoughts(self, exchange: Exchange) -> Exchange:
        """The request with what the first thinker that answers thought of it; asked once an exchange."""
        if self._thoughts is None:
            self._thoughts, self._thought_at = "", len(exchange.messages)
            for leg in self._plan.thinkers:
                if not self._fits(leg):
                    continue
                try:
                    self._thoughts = await self._thought(leg, exchange)
                    break
                except (Failure, Skipped):
                    continue  # the others answer without
        return with_thoughts(exchange, self._thoughts, self._thought_at)

    async def _thought(self, leg: Leg, exchange: Exchange) -> str:
        """Raises Failure, Skipped."""
        asked = replace(exchange, stream=False, body=None)
        begun = await self._asking.ask(leg, asked, "its thoughts are given to the leg that answers", whole=True)
        try:
            answer, _ = begun.tongue.answer(await begun.response.read(0x7FFFFFFF))
        except BadAnswer as bad:
            await self._judge.release(None, begun.account)
            raise self.unreadable(bad) from bad
        self._asking.answered(begun)
        self._world.health.ended(begun.taken.backend, begun.taken.model)
        self._bill(answer.usage, begun.taken)
        await self._judge.release(answer.usage or Usage(input=self._judge.view.count(asked)), begun.account)
        return thought_of(answer)

    # -- what becomes of the one that answers --

    def broken(self, error: TransportError) -> Failure:
        """A failure of the connection, logged, in the client's terms."""
        return self._asking.broken(error, self._judge.view.taken)

    def unreadable(self, bad: BadAnswer) -> Failure:
        """The backend answered what its protocol does not allow."""
        taken = self._judge.view.taken
        self._world.log.warning("upstream answer unreadable", backend=taken.backend, reason=str(bad))
        self._world.health.failed(taken.backend, taken.model)
        return unreadable(f"The answer of the backend '{taken.backend}' cannot be read: {bad}.")

    async def end(self, usage: Usage | None, about: Callable[[], Usage | None] = _unknown) -> None:
        """The attempt is over: its reservations are settled on what it used, or on `about` that where it did not say."""
        current, self._current = self._current, None
        if current is not None:
            if not current.made:
                self._world.health.ended(current.taken.backend, current.taken.model)
            self._world.estimates.learn(current.exchange, usage)
        if self._judge.account.held:
            await self._settled(current, usage, about)

    async def close(self, used: Usage | None = None) -> None:
        """Whatever happened, no connection and no reservation stays behind; what was used by then is counted."""
        current = self._current
        if current is not None:
            await current.response.aclose()
            self._world.health.left(current.taken.backend, current.taken.model)
        self._current = None
        if self._judge.account.held:
            await self._settled(current, used, _unknown)

    async def _settled(self, current: Begun | None, usage: Usage | None, about: Callable[[], Usage | None]) -> None:
        """What nobody said is estimated where something is held for it; nothing is charged where nothing was asked."""
        account = self._judge.account
        if current is not None and usage is None:
            count = self._judge.view.count
            usage = about() or account.unknown(count(current.exchange), current.exchange)
        await self._judge.release(usage, account)


def _worse(before: Failure | None, now: Failure) -> Failure:
    """What a backend said is worth more than that the next one speaks another protocol."""
    return before if before is not None and now.untranslatable else now

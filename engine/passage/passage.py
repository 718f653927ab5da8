"""One exchange on its way: what is known of it, how its turns are steered, what it says to the client, and how it ends."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from engine.codecs.base import Problem
from engine.model.decision import Decision
from engine.model.effects import Block, Patch, Respond, Steer
from engine.model.exchange import (
    Exchange,
    Message,
    Part,
    Protocol,
    Usage,
)
from engine.model.phases import Phase
from engine.passage.answers import CHANNEL_OF
from engine.passage.attempts import Failure
from engine.passage.governor import BETWEEN, Governor
from engine.passage.hidden import HiddenTurn, kept, key_of, refused_turn
from engine.passage.judging import Judge
from engine.passage.reading import Reading
from engine.passage.replies import JSON, House, Incoming, Reply, own_headers, problem_reply
from engine.passage.sessions import remember_chain
from engine.passage.unread import Unread
from engine.passage.view import Taken, response_section
from engine.policy.ruleset import POLICY_ERROR
from engine.world.http.base import Headers
from engine.world.metrics import StreamEnd
from engine.world.store import base as store
from engine.world.usage import Who


class Passage:
    """One exchange on its way: what is known of it, what it may say to the client, and how it ends."""

    def __init__(self, incoming: Incoming, judge: Judge, house: House) -> None:
        self.incoming = incoming
        self.codec = incoming.codec
        self.judge = judge
        self.view = judge.view
        self.world = house.world
        self.house = house
        self.client_headers: Headers = []
        self.billed: list[Usage] = []
        self.cost: Decimal | None = Decimal(0)
        """US dollars of what was billed; None once a part of it has no known price."""
        self.answers: list[Governor] = []
        """The answers of the model so far; all but the last were refused by steering."""
        self.turns: list[Message] = []
        """What the refused answers and the results of their calls are in the backend's history."""
        self.reasked = False
        """The model was asked again."""
        self.unread: Unread | None = None
        """What is kept of a stream that no rule reads, while it flows."""
        self.replaced: str | None = None
        self.rewritten: str | None = None
        """What rules made of the answer's text, where nothing of it had gone out; `written` is that with placeholders."""
        self.written: str | None = None
        self.began = False
        self.ended = "cancelled"
        """How a stream ended that did not come to its end."""
        self.settled = False

    @property
    def reading(self) -> Reading:
        """What is read of the exchange; more, once it is recorded."""
        return self.judge.reading

    def reads(self) -> bool:
        """Whether the answer must be looked into; a vector says nothing that a rule could read."""
        if self.codec.protocol is Protocol.OPENAI_EMBEDDINGS:
            return False
        session = self.view.session
        return self.reading.reads_stream(self.view.exchange, inferred=session.kind == "inferred")

    def governor(self, choices: int) -> Governor:
        """What governs the model's next answer."""
        spoke = any(each.text() for each in self.answers)
        governor = Governor(self.judge, choices=choices, restores=bool(self.judge.concealed), continues=spoke)
        self.answers.append(governor)
        return governor

    def estimated(self) -> Usage | None:
        """About what the last answer used, where it was broken off before it said so; None where nothing came of it."""
        if self.unread is not None:
            said = self.unread.said()
        elif self.answers and self.answers[-1].usage is None:
            said = self.answers[-1].size
        else:
            return None
        exchange = self.view.exchange
        output = self.world.estimates.output_tokens(self.view.taken.model or exchange.model, said)
        return Usage(input=self.view.count(exchange), output=output)

    def shown(self, usage: Usage | None) -> Usage | None:
        """The input of the last attempt, and the output that the client received."""
        if usage is None or not self.turns:
            return usage
        earlier = sum(len(each.text(channel)) for each in self.answers[:-1] for channel in CHANNEL_OF.values())
        return replace(usage, output=usage.output + earlier // 4)

    def asked_again(self, sent: Exchange, governor: Governor, thoughts: Sequence[Part]) -> Exchange:
        """The request that goes upstream next: the refused calls, why they were refused, and everything before.

        `thoughts` are those of the refused answer that its provider signed, and wants to see again.
        """
        refusal = governor.refusal
        if refusal is None:
            raise AssertionError("nothing was refused")
        self.reasked = True
        for rule in refusal.rules:
            self.judge.steered[rule] = self.judge.steered.get(rule, 0) + 1
        self.judge.reasks_left -= 1
        self.world.metrics.reasked(self.view.taken.backend)
        asked_in = self._asked_in()
        thoughts = thoughts or _unsigned(governor.said("reasoning"), asked_in)
        if asked_in is Protocol.OPENAI_CHAT:
            thoughts = [replace(part, backend=self.view.taken.backend) for part in thoughts]
        turn = refused_turn(governor.said(), thoughts, refusal.results, refusal.told)
        if refusal.whole:
            # The client gets nothing of what was said so far: what comes next stands for itself, in its history too.
            self.answers, self.turns = [], []
        else:
            self.turns += turn
        return replace(sent, messages=(*sent.messages, *turn), body=None)

    def _asked_in(self) -> Protocol:
        """The protocol in which the last attempt was made."""
        backend = self.world.backends.by_name.get(self.view.taken.backend)
        own = self.codec.protocol
        return (backend.protocol_for(own) if backend is not None else None) or own

    async def keep_hidden_turn(self, governor: Governor) -> None:
        """What the client did not see is kept until it re-sends what it did see."""
        if not self.turns or self.replaced is not None or self.rewritten is not None:
            return
        own = governor.said()
        earlier = [text for each in self.answers[:-1] if (text := each.said())]
        before = BETWEEN.join([*earlier, ""] if own else earlier) if earlier else ""
        turn = HiddenTurn(tuple(self.turns), before, own)
        asked = self.view.original[-1] if self.view.original else None
        key = key_of(self.view.caller.id, asked, self.text(), governor.went_out, self.view.exchange.protocol)
        self.world.has_hidden_turns = True
        try:
            await self.world.store.commit([store.Put(key, kept(turn), float(self.world.settings.steer.ttl))])
        except store.StoreDown:
            self.world.metrics.store_failed("commit")

    def text(self) -> str:
        """What the client has for the assistant's text."""
        instead = self.replaced if self.replaced is not None else self.rewritten
        return instead if instead is not None else "".join(each.text() for each in self.answers)

    async def judge_response(self, governor: Governor) -> str | None:
        """The message that stands in the answer's place; None where it goes out, or is refused. Raises Failure.

        An answer that was not delayed as a whole has gone out: its rules can only observe it. Where a rule wants another
        one, the governor's `refusal` says so.
        """
        if not self.judge.has(Phase.RESPONSE):
            return None
        self.judge.may_reask = governor.may_be_refused
        decision = await self.judge.judge(Phase.RESPONSE, response=self.response(governor.finish, governor.usage))
        if decision is None or not self.reading.delays_all:
            return None
        if not decision.refused:
            written = rewritten_text(decision)
            if written is not None and governor.said():
                self.written, self.rewritten = written, governor.restored(written)
            return None
        if isinstance(decision.effect, Block) and decision.effect.code == POLICY_ERROR:
            raise refused_late(decision.effect)
        if isinstance(decision.effect, Steer) and decision.effect.mode == "reask":
            governor.refuse(decision.by, decision.effect.message)
            return None
        self.replaced = message_of(decision)
        return self.replaced

    def response(self, finish: str, usage: Usage | None) -> dict[str, Any]:
        """`response` as rules see it: where values were restored for the client, with their placeholders."""
        billed = sum(each.input + each.output for each in self.billed)
        if self.replaced is not None:
            return response_section(self.replaced, "", "stop", (), self.shown(usage), billed, self.judge.cost)
        text = BETWEEN.join(text for each in self.answers if (text := each.said()))
        if self.written is not None:
            text = self.written
        reasoning = "".join(each.said("reasoning") for each in self.answers)
        calls = self.answers[-1].went_out if self.answers else ()
        refusal = "".join(each.said("refusal") for each in self.answers)
        return response_section(text, reasoning, finish, calls, self.shown(usage), billed, self.judge.cost, refusal)

    async def remembered(self, governor: Governor) -> None:
        """The answer is whole: what its next turn needs is kept, and its end is told, before the client can ask again."""
        await self.keep_hidden_turn(governor)
        if self.reading.needs_session:
            calls = governor.went_out if self.replaced is None else ()
            await remember_chain(self.view, self.world, self.text(), calls)
        await self.done(governor.finish, governor.usage)

    async def done(self, finish: str, usage: Usage | None = None) -> None:
        """Usage and cost are known: the last event of an exchange, once."""
        if self.settled:
            return
        self.settled = True
        if finish != "error":
            self.answered(499 if finish == "cancelled" else 200)
        if self.view.exchange.stream:
            self.world.metrics.streamed(self.view.exchange.protocol.value, self._stream_end(finish))
        if self.judge.has(Phase.DONE):
            await self.judge.judge(Phase.DONE, response=self.response(finish, usage))
        if self.judge.tape is not None:
            self.judge.end_tape()

    def _stream_end(self, finish: str) -> StreamEnd:
        match finish:
            case "error":
                return "failed"
            case "cancelled":
                return "client_gone"
            case _:
                return "cut_off" if self.answers and self.answers[-1].cut else "complete"

    def answered(self, status: int) -> None:
        exchange, taken = self.view.exchange, self.view.taken
        seconds = self.world.clock() - self.view.now
        self.world.metrics.answered(exchange.protocol, taken.model or exchange.model, taken.backend, status, seconds)
        self.world.usage.asked(self._who(), status)

    def _who(self, of: Taken | None = None) -> Who:
        """Whose use this is, for those who read of it later."""
        caller, taken = self.view.caller, of or self.view.taken
        return Who(caller.id, caller.team or "", taken.model or self.view.exchange.model, taken.backend)

    def bill(self, usage: Usage | None, of: Taken | None = None) -> None:
        """Count what an attempt used, `of` the one that is taken or another. One that does not say it has no known cost."""
        cost = None
        if usage is not None:
            self.billed.append(usage)
            taken = of or self.view.taken
            self.world.metrics.used(taken.backend, taken.model, usage.input, usage.output)
            cost = self.world.prices.cost(taken.model, taken.backend, usage)
            if cost is not None:
                self.world.metrics.spent(taken.backend, taken.model, float(cost))
            self.world.usage.used(self._who(of), usage.input, usage.output, None if cost is None else float(cost))
        self.cost = None if cost is None or self.cost is None else self.cost + cost
        self.judge.cost = None if self.cost is None else float(self.cost)

    def headers(self, kind: tuple[bytes, bytes], passed: Headers = []) -> Headers:  # noqa: B006 - never written to
        own = own_headers(self.judge.rules, self.judge.last_decision)
        quotas = self.judge.quotas.headers(self.codec.protocol, self.world.clock())
        if quotas:
            # Where a rule limits the same, its limit is the client's, and not that of the operator's own key.
            names = {name for name, _ in quotas}
            passed = [each for each in passed if each[0] not in names]
        return [kind, *passed, *own, *quotas, *self.client_headers]

    def stopped(self, problem: Problem, rule: str = "") -> Reply:
        self.answered(problem.status)
        self.log_end("exchange refused", problem, rule=rule)
        return problem_reply(self.codec, problem, self.headers(JSON)[1:])

    def failed(self, failure: Failure) -> Reply:
        """The upstream's own answer where it gave one, else ours."""
        self.answered(failure.problem.status)
        self.log_end("exchange failed", failure.problem, rule=failure.rule)
        if failure.body is None:
            return problem_reply(self.codec, failure.problem, self.headers(JSON, failure.headers)[1:])
        return Reply(failure.problem.status, self.headers(JSON, failure.headers), failure.body)

    def log_end(self, event: str, problem: Problem, rule: str = "") -> None:
        """One line for an exchange that got no answer. What a rule or an upstream said may hold content: never its words."""
        write = self.world.log.warning if problem.status >= 500 else self.world.log.info
        write(
            event,
            request=self.incoming.id,
            status=problem.status,
            reason=problem.code or problem.kind,
            rule=rule,
            backend=self.view.taken.backend,
            model=self.view.taken.model or self.view.exchange.model,
            caller=self.view.caller.id,
        )


def _unsigned(thought: str, issuer: Protocol) -> Sequence[Part]:
    """A thought that nothing proves goes back in the protocol that it came in, and in no other."""
    return (Part(kind="reasoning", text=thought, issuer=issuer),) if thought else ()


def refused_late(block: Block) -> Failure:
    """A rule that must not be skipped could not be evaluated when the answer was there."""
    return Failure(Problem(status=block.status, message=block.message, kind="server_error", code=block.code))


def choices_of(exchange: Exchange) -> int:
    n = exchange.params.get("n")
    return n if isinstance(n, int) and n > 0 else 1


def rewritten_text(decision: Decision) -> str | None:
    """What transforms made of the whole answer's text; None where they left it as it is."""
    written = [op for each in decision.effects if isinstance(each, Patch) for op in each.ops]
    return next((str(op.value) for op in reversed(written) if op.path == ("response", "text")), None)


def message_of(decision: Decision) -> str:
    match decision.effect:
        case Block(message=message) | Respond(message=message) | Steer(message=message):
            return message
        case _:
            return ""

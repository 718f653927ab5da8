"""No interleaving of callers, workers, crashes and time-outs spends more than a budget."""

import asyncio
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.language.shell import DEFAULT_TOOLS
from engine.model.effects import Block
from engine.model.exchange import Exchange, Message, Part, Protocol, Usage
from engine.passage.judging import Judge
from engine.passage.reading import reading_of
from engine.passage.spending import Account
from engine.passage.view import Caller, Taken, View
from engine.policy.compile import PolicySource, compile_policies
from engine.policy.ruleset import RuleSet
from engine.settings.model import Price, Settings
from engine.world import World
from engine.world.backends import Backends
from engine.world.metrics import Metrics
from engine.world.outbound import Outbound
from engine.world.store import base as store
from engine.world.store import open_store
from engine.world.store.memory import MemoryStore

LIMIT = Decimal("0.01")
POLICY = f"""
version: 1
policy: p
rules:
  - id: b
    phase: attempt
    actions: [{{budget: {{limit: {LIMIT}, window: day, assume_output: 60}}}}]
  - id: slots
    phase: attempt
    actions: [{{rate_limit: {{limit: 3, window: 20m, of: concurrency}}}}]
"""
PRICES = {"m": Price(input=10, output=100), "dear": Price(input=20, output=200, reasoning=400)}
SLOTS = 3
LOCAL = Caller()


def rules(policy: str = POLICY) -> RuleSet:
    compiled = compile_policies([PolicySource("p.yaml", policy)])
    assert compiled.ruleset is not None, compiled.diagnostics
    return compiled.ruleset


class Worker:
    """One process: its own judges over the store that all share."""

    def __init__(self, kept: store.Store, clock: Callable[[], float], policy: str = POLICY) -> None:
        settings = Settings(prices=PRICES)
        self.world = World(settings, kept, Backends({}, ()), Metrics(), Outbound(settings.outbound), clock=clock)
        self.reading = reading_of(rules(policy))

    def judge(self, exchange: Exchange, model: str, number: int, caller: Caller = LOCAL) -> Judge:
        view = View(exchange, caller, self.world.clock(), DEFAULT_TOOLS)
        judge = Judge(self.reading, view, self.world)
        view.taken = Taken("sandbox", model, number)
        return judge


def request(number: int, size: int, limit: int | None, stream: bool) -> Exchange:
    params = {} if limit is None else {"max_tokens": limit}
    message = Message(role="user", parts=(Part(kind="text", text="x" * size),))
    return Exchange(
        id=f"e{number}", protocol=Protocol.OPENAI_CHAT, model="m", stream=stream, messages=(message,), params=params
    )


class Call:
    """An attempt under way: what the backend will really do stays within what it was asked."""

    def __init__(self, judge: Judge, account: Account, sent: Exchange, model: str) -> None:
        self.judge = judge
        self.account = account
        self.sent = sent
        self.model = model
        self.began = judge.world.clock()

    @property
    def day(self) -> int:
        return int(self.began // 86_400)


class Spending(RuleBasedStateMachine):
    """Callers begin and end attempts in any order, on several workers; workers die; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_800_000_000.0
        self.loop = asyncio.new_event_loop()
        self.kept = self.open()
        self.workers = self.run(self.hired())
        self.under_way: list[Call] = []
        self.number = 0
        self.really: dict[int, Decimal] = {}

    def open(self) -> store.Store:
        return MemoryStore(lambda: self.now)

    async def hired(self) -> list[Worker]:
        return [Worker(self.kept, lambda: self.now) for _ in range(3)]

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def bill(self, call: Call, usage: Usage) -> None:
        """What the provider will want for it."""
        cost = self.workers[0].world.prices.cost(call.model, "sandbox", usage)
        assert cost is not None
        self.really[call.day] = self.really.get(call.day, Decimal(0)) + cost

    @rule(
        worker=st.integers(0, 2),
        size=st.integers(1, 400),
        limit=st.none() | st.integers(1, 80),
        stream=st.booleans(),
        model=st.sampled_from(["m", "dear"]),
    )
    def begin(self, worker: int, size: int, limit: int | None, stream: bool, model: str) -> None:
        self.number += 1
        sent = request(self.number, size, limit, stream)
        judge = self.workers[worker].judge(sent, model, 1)
        decision = self.run(judge.judge_attempt(sent))
        assert decision is not None
        if decision.refused:
            assert isinstance(decision.effect, Block)
            assert decision.effect.status in (402, 429)
            assert judge.account.held == []
            return
        self.under_way.append(Call(judge, judge.account, judge.account.limited(sent), model))

    def end(self, which: int) -> Call:
        return self.under_way.pop(which % len(self.under_way))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99), share=st.floats(0, 1), reasoning=st.floats(0, 1))
    def answered(self, which: int, share: float, reasoning: float) -> None:
        """No answer is longer than its limit, and no input has more tokens than bytes."""
        call = self.end(which)
        output = int(call.sent.params["max_tokens"] * share)
        usage = Usage(input=len(call.sent.messages[0].text), output=output, reasoning=int(output * reasoning))
        self.bill(call, usage)
        self.run(call.judge.release(usage, call.account))
        self.run(call.judge.release(usage, call.account))  # told twice, charged once

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99))
    def refused_by_the_backend(self, which: int) -> None:
        call = self.end(which)
        self.run(call.judge.release(None, call.account))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99))
    def timed_out(self, which: int) -> None:
        """A whole answer may have been made to its end by then; of a stream nothing came."""
        call = self.end(which)
        output = 0 if call.sent.stream else call.sent.params["max_tokens"]
        really = Usage(input=len(call.sent.messages[0].text) // 4, output=output)
        self.bill(call, really)
        count = call.judge.view.count(call.sent)
        self.run(call.judge.release(call.account.unknown(count, call.sent), call.account))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99))
    def worker_died(self, which: int) -> None:
        """Nobody settles; the provider went on to the end, and bills it."""
        call = self.end(which)
        usage = Usage(input=len(call.sent.messages[0].text), output=call.sent.params["max_tokens"])
        self.bill(call, usage)

    @rule(seconds=st.sampled_from([1.0, 60.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        """Not longer than an attempt may take, as long as one is under way."""
        oldest = min((call.began for call in self.under_way), default=self.now)
        if self.now + seconds - oldest < 900:
            self.now += seconds

    @precondition(lambda self: not self.under_way)
    @rule()
    def all_that_was_held_lapses(self) -> None:
        self.now += 2_000

    @precondition(lambda self: not self.under_way)
    @rule()
    def the_next_day(self) -> None:
        self.now += 86_400

    @invariant()
    def never_over(self) -> None:
        for day, really in self.really.items():
            assert really <= LIMIT, (day, really)

    @invariant()
    def no_more_calls_than_slots(self) -> None:
        assert len(self.under_way) <= SLOTS

    def teardown(self) -> None:
        self.run(self.kept.close())
        self.loop.close()


class SpendingInSqlite(Spending):
    """The same over a database that several connections share."""

    def open(self) -> store.Store:
        self.folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{Path(self.folder.name) / 'state.db'}"
        kept: store.Store = self.run(open_store(url, clock=lambda: self.now))
        return kept

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


_MANY = [HealthCheck.too_slow, HealthCheck.filter_too_much]
TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=_MANY)
TestSpendingInSqlite = SpendingInSqlite.TestCase
TestSpendingInSqlite.settings = settings(
    max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=_MANY
)

"""What is left of a caller's limits and budgets."""

import asyncio
from typing import Any

from engine.model.decision import Mode
from engine.model.exchange import Usage
from engine.passage.standings import Account, standings
from engine.passage.view import Caller
from engine.policy.compile import PolicySource, compile_policies
from engine.world.store.memory import MemoryStore

from .test_spending import Worker, request

NOON = 1_800_014_400.0
POLICY = """
version: 1
policy: p
rules:
  - id: b
    phase: attempt
    match: {team: payments}
    actions: [{budget: {key: caller.team, limit: 1, window: day}}]
  - id: models
    phase: attempt
    actions: [{budget: {key: attempt.model, limit: 5000, window: hour, of: tokens}}]
  - id: r
    phase: request
    actions: [{rate_limit: {key: caller.id, limit: 5, window: 1m}}]
"""


def told(caller: Caller) -> dict[str, Account]:
    async def ask() -> Any:
        kept = MemoryStore(lambda: NOON)
        worker = Worker(kept, lambda: NOON, POLICY)
        sent = request(1, 4, 20, stream=False)
        judge = worker.judge(sent, "m", 1, caller)
        await judge.judge_attempt(sent)
        await judge.release(Usage(input=100, output=10))
        compiled = compile_policies([PolicySource("p.yaml", POLICY)])
        assert compiled.ruleset is not None
        return await standings(worker.world, compiled.ruleset, caller)

    return {each.rule: each for each in asyncio.run(ask())}


def test_what_is_left_of_a_budget_and_when_it_renews() -> None:
    account = told(Caller(id="a", team="payments"))["p/b"]
    assert (account.key, account.limit - account.remaining, account.reserved) == ("payments", 2_000_000, 0)
    assert account.mode is Mode.ENFORCE
    assert account.renews % 86_400 == 0 < account.renews - NOON < 86_400


def test_a_rule_for_others_is_not_shown() -> None:
    assert "p/b" not in told(Caller(id="a", team="research"))


def test_what_a_request_alone_decides_is_shown_without_numbers() -> None:
    account = told(Caller())["p/models"]
    assert (account.key, account.limit, account.of) == (None, 5000, "tokens")


def test_a_rate_limit_is_shown_too() -> None:
    account = told(Caller(id="a"))["p/r"]
    assert (account.key, account.remaining) == ("a", 5)

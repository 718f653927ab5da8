"""What the tests of live reload share: small policies, and a running `Live` over a real folder."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.policy.live import Attempt, Live
from engine.policy.recipe import Origin, Recipe

WITHIN = 30.0


def policy(name: str, says: str = "no", *, extra: str = "", rule: str = "stop") -> str:
    """A policy of one rule that refuses every request; `says` is its message and description."""
    return (
        f"version: 1\npolicy: {name}\nrules:\n  - id: {rule}\n    phase: request\n    description: {says}\n"
        f"    actions:\n      - block: {{message: {says}}}\n{extra}"
    )


def failing_test(expected: str) -> str:
    return (
        "tests:\n  - name: it lets everything pass\n    given: {phase: request}\n"
        f"    expect: {{verdict: {expected}}}\n"
    )


def recipe(*paths: Path, require: tuple[str, ...] = ()) -> Recipe:
    return Recipe(tuple(Origin(str(path)) for path in paths), require=require)


@asynccontextmanager
async def running(of: Recipe, **options: Any) -> AsyncIterator[Live]:
    live = Live(of, **{"warm_after": 0.0, **options})
    await live.start()
    try:
        yield live
    finally:
        await live.close()


async def after(live: Live, holds: Callable[[], bool]) -> Attempt:
    """Wait, attempt by attempt, until a condition holds; answers the last attempt."""
    async with asyncio.timeout(WITHIN):
        while not holds():
            await live.next_attempt()
    assert live.last_attempt is not None
    return live.last_attempt


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what no attempt announces."""
    async with asyncio.timeout(WITHIN):
        while not holds():  # noqa: ASYNC110 (a process that starts, or dies, sets no event)
            await asyncio.sleep(0.005)


def said(live: Live, rule: str = "guard/stop") -> str:
    """What the rule in force says."""
    found = live.current.by_name.get(rule)
    return found.description if found is not None else ""


def codes(attempt: Attempt | None) -> list[str]:
    assert attempt is not None
    return [each.code for each in attempt.diagnostics]

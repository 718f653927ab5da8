"""Several processes on one store, one of them killed in the middle: never over, and what it held comes back."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.world.store import open_store
from engine.world.store.base import Allowance, Key, Standing, Window

from .test_contract import KINDS

SHARED = [kind for kind in KINDS if kind != "memory"]
RESERVED, USED, LANES, LEASE = 20, 7, 4, 60
BUDGET_KEY, WINDOW_KEY = Key("budgets", "team", "money"), Key("limits", "team", "requests")
YEARS = 10**9

SPENDER = f"""
import asyncio, sys
from engine.world.store import open_store
from engine.world.store.base import Allowance, Committed, Key, Reserve, Settle, Take, Window

async def spend(store, budget, window, id):
    if not isinstance(await store.commit([Take(window), Reserve(budget, id, {RESERVED}, lease={LEASE})]), Committed):
        return 0
    await store.commit([Settle(budget, id, {USED})])
    return {USED}

async def main():
    store = await open_store(sys.argv[1])
    budget = Allowance(Key(*{tuple(BUDGET_KEY)}), int(sys.argv[3]), {YEARS})
    window = Window(Key(*{tuple(WINDOW_KEY)}), int(sys.argv[3]), 10**6)
    print(0, flush=True)
    sys.stdin.readline()
    spent = round = idle = 0
    while idle < 3:  # until nothing fits any more
        lanes = [spend(store, budget, window, f"{{sys.argv[2]}}-{{round}}-{{lane}}") for lane in range({LANES})]
        now = sum(await asyncio.gather(*lanes))
        spent, round, idle = spent + now, round + 1, 0 if now else idle + 1
        print(spent, flush=True)
    await store.close()

asyncio.run(main())
"""


@pytest.fixture(params=SHARED)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return KINDS[request.param](str(tmp_path_factory.mktemp("shared")))


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for each in started:
        each.kill()
        each.communicate()


def standing_of(url: str, limit: int, later: float = 0.0) -> tuple[Standing, Standing]:
    """The budget and the window, as they stand so many seconds from now."""

    async def look() -> tuple[Standing, Standing]:
        store = await open_store(url, lambda: time.time() + later)
        budget, window = Allowance(BUDGET_KEY, limit, YEARS), Window(WINDOW_KEY, limit, 10**6)
        standings = (await store.read(meters=[budget, window])).standings
        await store.close()
        return standings[budget], standings[window]

    return asyncio.run(look())


@pytest.mark.parametrize("limit", [1000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_processes_on_one_store_never_overspend_and_one_that_is_killed_holds_nothing_for_long(
    url: str, limit: int, processes: list[subprocess.Popen[str]]
) -> None:
    chance = random.Random(limit)
    for number in range(4):
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", SPENDER, url, str(number), str(limit)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[3],
            )
        )
    outputs, inputs = [], []
    for each in processes:
        assert each.stdin is not None
        assert each.stdout is not None
        outputs.append(each.stdout)
        inputs.append(each.stdin)
    for output in outputs:  # all opened, a store that none of them found prepared: they migrate at once
        assert output.readline() == "0\n"
    for input in inputs:
        input.write("go\n")
        input.flush()
    victim = chance.randrange(4)
    for _ in range(chance.randrange(1, 6)):
        outputs[victim].readline()
    processes[victim].kill()
    reported = [int(output.readlines()[-1]) for number, output in enumerate(outputs) if number != victim]
    codes = [each.wait() for each in processes]
    assert [code for number, code in enumerate(codes) if number != victim] == [0, 0, 0]

    budget, window = standing_of(url, limit)
    assert budget.reserved in range(0, LANES * RESERVED + 1, RESERVED)
    assert sum(reported) <= limit - budget.remaining - budget.reserved <= limit
    assert budget.remaining < RESERVED, "what is left is less than one reservation"
    after, _ = standing_of(url, limit, LEASE + 1)
    assert after.reserved == 0
    assert after.remaining == budget.remaining + budget.reserved
    assert (limit - window.remaining) * USED >= limit - after.remaining, "everything that was spent was counted too"


DOOMED = f"""
import asyncio, sys
from engine.world.store import open_store
from engine.world.store.base import Allowance, Key, Reserve, Settle

async def main():
    store = await open_store(sys.argv[1])
    budget = Allowance(Key(*{tuple(BUDGET_KEY)}), 1000, {YEARS})
    for number in range(10**6):
        await store.commit([Reserve(budget, str(number), 400, lease=60)])
        await store.commit([Settle(budget, str(number), 1)])
        print(number + 1, flush=True)

asyncio.run(main())
"""


def test_a_killed_process_loses_no_account(url: str, processes: list[subprocess.Popen[str]]) -> None:
    doomed = subprocess.Popen(
        [sys.executable, "-c", DOOMED, url], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    processes.append(doomed)
    assert doomed.stdout is not None
    for _ in range(20):
        doomed.stdout.readline()
    doomed.kill()
    settled = 20 + len(doomed.stdout.readlines())
    doomed.wait()
    assert standing_of(url, 1000)[0].reserved in (0, 400)
    after, _ = standing_of(url, 1000, 61)
    assert after.reserved == 0
    assert after.limit - after.remaining in (settled, settled + 1)

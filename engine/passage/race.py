"""Legs that are asked at the same time: the first that says something wins, and the others are ended at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from engine.model.plan import Leg
from engine.passage.asking import Begun, Skipped
from engine.passage.failures import Failure

Run = Callable[[Leg], Awaitable[Begun]]
Sleep = Callable[[float], Awaitable[None]]


async def race(legs: Sequence[Leg], run: Run, lost: Callable[[Begun], Awaitable[None]], sleep: Sleep) -> Begun:
    """The first of the legs that answers; `lost` gets whoever answered too, and did not win. Raises Failure, Skipped.

    A leg with a handicap begins so much later, or as soon as all others have failed. One that answers without saying
    anything wins only where no other says something.
    """
    early = asyncio.Event()
    running = {
        asyncio.ensure_future(_started(leg, run, sleep, early)): leg
        for leg in sorted(legs, key=lambda leg: leg.handicap)
    }
    failures: list[Failure] = []
    empty: list[Begun] = []
    try:
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            begun: list[Begun] = []
            for task in [task for task in running if task in done]:
                del running[task]
                try:
                    begun.append(task.result())
                except Skipped:
                    continue
                except Failure as failure:
                    failures.append(failure)
            empty += [each for each in begun if not each.says]
            winner = next((each for each in begun if each.says), None)
            if winner is not None:
                empty += [each for each in begun if each.says and each is not winner]
                return winner
            if all(leg.handicap for leg in running.values()):
                early.set()
        if empty:
            return empty.pop(0)
    finally:
        for task in running:
            task.cancel()
        if running:
            ended = await asyncio.gather(*running, return_exceptions=True)
            empty += [each for each in ended if isinstance(each, Begun)]
        for each in empty:
            await lost(each)
    if not failures:
        raise Skipped
    # One whose request is at fault says so for all; else the last one speaks.
    final = next((failure for failure in failures if not failure.fails_over), failures[-1])
    raise final


async def _started(leg: Leg, run: Run, sleep: Sleep, early: asyncio.Event) -> Begun:
    if leg.handicap:
        waits = {asyncio.ensure_future(sleep(leg.handicap)), asyncio.ensure_future(early.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
    return await run(leg)

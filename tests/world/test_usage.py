"""Usage is counted in memory, added to the store, and found again by day."""

from datetime import date

import pytest

from engine.world import usage as module
from engine.world.store.base import StoreDown
from engine.world.store.memory import MemoryStore
from engine.world.usage import OTHER, Usage, Used, Who

pytestmark = pytest.mark.anyio
DAY = date(2026, 11, 22)
NOON = 1795348800.0
ALICE = Who("key:alice", "a/b", "gpt-4o", "openai")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(lambda: NOON)


def counted(store: MemoryStore, now: float = NOON) -> Usage:
    usage = Usage(store, lambda: now)
    usage.asked(ALICE, 200)
    usage.asked(ALICE, 404)
    usage.used(ALICE, 10, 5, 0.25)
    usage.used(ALICE, 1, 1, None)
    return usage


TWICE = Used(requests=4, errors=2, attempts=4, input_tokens=22, output_tokens=12, cost=500_000_000, unpriced=2)


async def test_what_several_processes_count_is_one_sum(store: MemoryStore) -> None:
    for _ in range(2):
        await counted(store).flush()
    assert await Usage(store).of_days(DAY, DAY, 10) == ({("2026-11-22", ALICE): TWICE}, False)


async def test_a_day_ends_at_midnight_utc(store: MemoryStore) -> None:
    await counted(store).flush()
    await counted(store, NOON + 43_200).flush()
    found, _ = await Usage(store).of_days(DAY, date(2026, 11, 23), 10)
    assert [(day, used.requests) for (day, _), used in found.items()] == [("2026-11-22", 2), ("2026-11-23", 2)]


async def test_what_the_store_does_not_take_is_added_later(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = counted(store)
    usage.compared("a/b", "block", "allow")
    with monkeypatch.context() as broken:

        async def down(_: object) -> None:
            raise StoreDown("gone")

        broken.setattr(store, "commit", down)
        with pytest.raises(StoreDown):
            await usage.flush()
    usage.asked(ALICE, 200)
    await usage.flush()
    found, _ = await usage.of_days(DAY, DAY, 10)
    assert found["2026-11-22", ALICE].requests == 3
    assert await usage.shadow_of_days(DAY, DAY) == {("a/b", "block", "allow"): 1}


async def test_more_callers_than_fit_are_counted_together(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    usage = Usage(store, lambda: NOON)
    for number in range(5):
        usage.asked(Who(f"key:{number}"), 200)
    await usage.flush()
    found, _ = await usage.of_days(DAY, DAY, 10)
    assert {who.caller: used.requests for (_, who), used in found.items()} == {"key:0": 1, "key:1": 1, OTHER: 3}


async def test_a_reader_sees_no_more_rows_than_it_asks_for(store: MemoryStore) -> None:
    usage = Usage(store, lambda: NOON)
    for number in range(5):
        usage.asked(Who(f"key:{number}"), 200)
    await usage.flush()
    found, more = await usage.of_days(DAY, DAY, 3)
    assert (len(found), more) == (3, True)

"""How an outage of a store is told, and how it is not asked by everybody while it lets us wait."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.world.metrics import Metrics
from engine.world.store.base import Change, Committed, Outcome, StoreDown
from engine.world.store.memory import MemoryStore
from engine.world.store.watch import REST, SLOW, WatchedStore

pytestmark = pytest.mark.anyio


class Sometimes(MemoryStore):
    """Fails as long as `takes` says how long that takes."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self.now = 0.0
        self.takes: float | None = None
        self.asked = 0

    async def commit(self, changes: Sequence[Change]) -> Outcome:
        self.asked += 1
        if self.takes is not None:
            self.now += self.takes
            raise StoreDown("no answer")
        return await super().commit(changes)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def inner() -> Sometimes:
    return Sometimes()


@pytest.fixture
def store(inner: Sometimes) -> WatchedStore:
    return WatchedStore(inner, "redis://lex:***@host", lambda: inner.now)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


async def failing(store: WatchedStore, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(StoreDown):
            await store.commit([])


async def test_an_outage_is_logged_once_and_so_is_its_end(
    store: WatchedStore, inner: Sometimes, logs: list[Mapping[str, Any]]
) -> None:
    for _ in range(2):
        inner.takes = 0.0
        await failing(store, 5)
        inner.takes = None
        inner.now += 7
        assert await store.commit([]) == Committed()
        await store.read()
    outage = [
        {"event": "state store is down", "store": "redis://lex:***@host", "error": "no answer", "log_level": "error"},
        {
            "event": "state store is back",
            "store": "redis://lex:***@host",
            "seconds": 7.0,
            "failed": 5,
            "log_level": "info",
        },
    ]
    assert logs == outage * 2
    assert store.outages == 2


async def test_a_store_that_fails_at_once_is_asked_by_everybody(store: WatchedStore, inner: Sometimes) -> None:
    inner.takes = 0.01
    await failing(store, 5)
    assert inner.asked == 5


async def test_a_store_that_lets_us_wait_is_asked_once_a_rest(store: WatchedStore, inner: Sometimes) -> None:
    inner.takes = SLOW
    await failing(store, 5)
    assert (inner.asked, store.tally.down) == (1, 4), "the store itself counts what it was asked"
    inner.now += REST
    await failing(store, 5)
    assert inner.asked == 2
    inner.takes = None
    inner.now += REST
    assert await store.commit([]) == Committed()
    assert await store.commit([]) == Committed()


async def test_metrics_show_whether_the_store_answers(store: WatchedStore, inner: Sometimes) -> None:
    metrics = Metrics()
    store.show(metrics)
    inner.takes = 0.0
    await failing(store)
    shown = metrics.render().decode()
    assert "lexgate_store_up 0.0\n" in shown
    assert "lexgate_store_outages_total 1.0\n" in shown
    inner.takes = None
    await store.commit([])
    assert "lexgate_store_up 1.0\n" in metrics.render().decode()


async def test_a_call_after_the_end_is_no_outage(
    store: WatchedStore, inner: Sometimes, logs: list[Mapping[str, Any]]
) -> None:
    await store.close()
    inner.takes = 0.0
    await failing(store)
    assert logs == []

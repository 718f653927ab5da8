"""A store and whether it answers: an outage is one line in the log, its end another, and metrics show it meanwhile."""

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeVar

import structlog

from engine.world.metrics import Metrics
from engine.world.store.base import Change, Facts, Key, Meter, Outcome, Page, Store, StoreDown, Tally

SLOW: Final = 0.5  # seconds after which a failure was one to wait for
REST: Final = 1.0  # seconds for which a store that failed slowly is not asked, so that not every request waits for it

Answer = TypeVar("Answer")

_LOG: Final = structlog.get_logger("lexgate")


class WatchedStore:
    """Passes everything on. A store that fails fast (nobody listens) is asked each time; one that lets us wait, rarely.

    `name` is the store as people may see it, without its password.
    """

    def __init__(self, store: Store, name: str, timer: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._name = name
        self._timer = timer
        self._down_since: float | None = None
        self._rests_until = 0.0
        self._failed = 0
        self._closed = False
        self.outages = 0

    @property
    def tally(self) -> Tally:
        return self._store.tally

    @property
    def is_up(self) -> bool:
        """Whether the last call was answered."""
        return self._down_since is None

    def show(self, metrics: Metrics) -> None:
        """Let metrics tell of the store, read when they are."""
        metrics.watch_gauge("lexgate_store_up", "1 unless the last call of the state store failed.", lambda: self.is_up)
        metrics.watch_counter("lexgate_store_outages", "Times that the state store went down.", lambda: self.outages)
        for name, help in _COUNTED.items():
            metrics.watch_counter(f"lexgate_store_{name}", help, partial(self._counted, name))

    def _counted(self, name: str) -> float:
        return float(getattr(self.tally, name))

    async def read(
        self,
        keys: Iterable[Key] = (),
        owners: Iterable[tuple[str, str]] = (),
        meters: Iterable[Meter] = (),
    ) -> Facts:
        return await self._answered(lambda: self._store.read(keys, owners, meters))

    async def scan(self, space: str, owner: str | None = None, *, after: Key | None = None, limit: int = 100) -> Page:
        return await self._answered(lambda: self._store.scan(space, owner, after=after, limit=limit))

    async def commit(self, changes: Sequence[Change]) -> Outcome:
        return await self._answered(lambda: self._store.commit(changes))

    async def close(self) -> None:
        self._closed = True
        await self._store.close()

    async def _answered(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        if self._down_since is None:
            began = self._timer()
        elif (began := self._timer()) < self._rests_until:
            self._failed += 1
            self.tally.down += 1
            raise StoreDown("the state store did not answer a moment ago, and is asked again in a moment")
        try:
            answer = await ask()
        except StoreDown as down:
            self._note(down, began)
            raise
        if self._down_since is not None:
            self._welcome()
        return answer

    def _note(self, down: StoreDown, began: float) -> None:
        if self._closed:
            return
        now = self._timer()
        if now - began >= SLOW:
            self._rests_until = now + REST
        self._failed += 1
        if self._down_since is None:
            self._down_since = began
            self.outages += 1
            _LOG.error("state store is down", store=self._name, error=str(down))

    def _welcome(self) -> None:
        assert self._down_since is not None
        seconds = round(self._timer() - self._down_since, 1)
        _LOG.info("state store is back", store=self._name, seconds=seconds, failed=self._failed)
        self._down_since, self._rests_until, self._failed = None, 0.0, 0


_COUNTED: Final = {
    "evicted": "Facts that were forgotten to make place for newer ones.",
    "expired": "Facts that were removed because their time was over.",
    "full": "Times that a new limit found no place among the living ones.",
}

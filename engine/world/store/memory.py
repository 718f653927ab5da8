"""State of a single process, in its memory: nothing is waited for, nothing survives a restart."""

import itertools
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from engine.world.store import meters
from engine.world.store.base import Caps, Change, Clock, Fact, Facts, Key, Meter, Outcome, Page, Standing, Tally
from engine.world.store.ledger import Entry, perform

SWEEP = 8  # expired things looked at in each commit: more than one commit usually makes, so that the sweep keeps up
RESCUE = 256  # the same when something is full and room is wanted now


class _Shelf:
    """The facts of one space: by time of writing, by owner, and by expiry."""

    __slots__ = ("cap", "entries", "expiries", "owners", "tally")

    def __init__(self, caps: Caps, space: str, tally: Tally) -> None:
        self.cap = caps.of(space)
        self.tally = tally
        self.entries: OrderedDict[Key, Entry] = OrderedDict()
        self.owners: dict[str, OrderedDict[Key, None]] = {}
        self.expiries: list[tuple[int, int, Key]] = []  # a heap; tells of entries that may be gone or rewritten since

    def write(self, key: Key, entry: Entry, now: int) -> None:
        self.entries[key] = entry
        self.entries.move_to_end(key)
        names = self.owners.get(key.owner)
        if names is None:
            names = self.owners[key.owner] = OrderedDict()
        names[key] = None
        names.move_to_end(key)
        heappush(self.expiries, (entry.expires, entry.version, key))
        if len(self.expiries) > 2 * len(self.entries) + 64:
            self.expiries = [(each.expires, each.version, key) for key, each in self.entries.items()]
            heapify(self.expiries)
        if len(names) > self.cap.per_owner or len(self.entries) > self.cap.in_all:
            self.sweep(now, RESCUE)
            if len(names) > self.cap.per_owner:
                self._evict(next(iter(names)))
            if len(self.entries) > self.cap.in_all:
                self._evict(next(iter(self.entries)))

    def erase(self, key: Key) -> bool:
        if self.entries.pop(key, None) is None:
            return False
        names = self.owners[key.owner]
        del names[key]
        if not names:
            del self.owners[key.owner]
        return True

    def sweep(self, now: int, most: int) -> None:
        expiries = self.expiries
        for _ in range(most):
            if not expiries or expiries[0][0] > now:
                return
            _, version, key = heappop(expiries)
            entry = self.entries.get(key)
            if entry is not None and entry.version == version:
                self.erase(key)
                self.tally.expired += 1

    def _evict(self, key: Key) -> None:
        self.erase(key)
        self.tally.evicted += 1


class MemoryStore:
    """The store of one event loop. Its calls never suspend: awaiting one costs a tenth of a microsecond."""

    def __init__(self, clock: Clock, caps: Caps | None = None) -> None:
        self.tally = Tally()
        self._clock = clock
        self._caps = caps or Caps()
        self._shelves: dict[str, _Shelf] = {}
        self._meters: OrderedDict[meters.Place, meters.State] = OrderedDict()
        self._versions = itertools.count(1)
        self._now = 0

    async def read(
        self,
        keys: Iterable[Key] = (),
        owners: Iterable[tuple[str, str]] = (),
        meters: Iterable[Meter] = (),
    ) -> Facts:
        self._now = now = int(self._clock() * 1_000_000)
        values: dict[Key, Fact] = {}
        for key in keys:
            if (entry := self.entry(key)) is not None:
                values[key] = Fact(entry.value, entry.version)
        for space, owner in owners:
            shelf = self._shelves.get(space)
            for key in (shelf.owners.get(owner) or ()) if shelf else ():
                if (entry := self.entry(key)) is not None:
                    values[key] = Fact(entry.value, entry.version)
        return Facts(values, {meter: self._standing(meter, now) for meter in meters})

    async def scan(self, space: str, owner: str | None = None, *, after: Key | None = None, limit: int = 100) -> Page:
        self._now = int(self._clock() * 1_000_000)
        shelf = self._shelves.get(space)
        names: Iterable[Key] = ()
        if shelf is not None:
            names = shelf.entries if owner is None else shelf.owners.get(owner, ())
        living = {key: entry for key in names if (after is None or key > after) and (entry := self.entry(key))}
        page = sorted(living)[:limit]
        facts = {key: Fact(living[key].value, living[key].version) for key in page}
        return Page(facts, page[-1] if len(living) > limit else None)

    async def commit(self, changes: Sequence[Change]) -> Outcome:
        self._now = now = int(self._clock() * 1_000_000)
        outcome = perform(changes, self, self._caps, now)
        for shelf in self._shelves.values():
            if shelf.expiries and shelf.expiries[0][0] <= now:
                shelf.sweep(now, SWEEP)
        self._sweep_meters(2)
        return outcome

    async def close(self) -> None:
        """Nothing to let go of: what was stored stays readable."""

    # --- what `perform` writes on

    def entry(self, key: Key) -> Entry | None:
        shelf = self._shelves.get(key.space)
        entry = shelf.entries.get(key) if shelf else None
        return entry if entry is not None and entry.expires > self._now else None

    def version(self) -> int:
        return next(self._versions)

    def write(self, key: Key, entry: Entry) -> None:
        shelf = self._shelves.get(key.space)
        if shelf is None:
            shelf = self._shelves[key.space] = _Shelf(self._caps, key.space, self.tally)
        shelf.write(key, entry, self._now)

    def erase(self, key: Key) -> bool:
        living = self.entry(key) is not None
        if key.space in self._shelves:
            self._shelves[key.space].erase(key)
        return living

    def clear(self, space: str, owner: str) -> int:
        shelf = self._shelves.get(space)
        return sum([self.erase(key) for key in list(shelf.owners.get(owner, ()))]) if shelf else 0

    def places(self, space: str) -> int:
        shelf = self._shelves.get(space)
        if shelf is None:
            return self._caps.of(space).in_all
        if len(shelf.entries) >= shelf.cap.in_all:
            shelf.sweep(self._now, RESCUE)
        return shelf.cap.in_all - len(shelf.entries)

    def state(self, meter: Meter) -> meters.State | None:
        where = meters.place(meter)
        state = self._meters.get(where)
        if state is not None:
            state.idle = max(state.idle, self._now + 1)  # no sweep takes it between its judgement and its charge
            return state
        if len(self._meters) >= self._caps.meters:
            self._sweep_meters(RESCUE)
            if len(self._meters) >= self._caps.meters:
                self.tally.full += 1
                return None
        state = self._meters[where] = meters.State(idle=self._now + 1)
        return state

    def _standing(self, meter: Meter, now: int) -> Standing:
        state = self._meters.get(meters.place(meter))
        if state is None:
            state = meters.State()
        meters.bring(state, meter, now)
        return meters.standing(state, meter, now)

    def _sweep_meters(self, most: int) -> None:
        """Look at the next few in turn, as the hand of a clock does, and drop those that say nothing any more."""
        for _ in range(min(most, len(self._meters))):
            where, state = self._meters.popitem(last=False)
            if state.idle > self._now:
                self._meters[where] = state


async def open_room(_url: str, clock: Clock | None, caps: Caps) -> MemoryStore:
    """A new, empty store: two of the same URL share nothing."""
    return MemoryStore(clock or time.time, caps)

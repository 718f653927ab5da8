"""Who used what, by day: counted in memory beside the exchanges, added to the store every few seconds.

It is for people to read, and not for limits: those are meters, which are exact. A process that dies loses the counts of
its last seconds (the audit log has each exchange), and a commit of unknown end may be counted twice.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from engine.world.store.base import NANODOLLARS, Add, Change, Key, Store, StoreDown

SPACE: Final = "usage"
SHADOW: Final = "shadow"
EVERY: Final = 5.0
KEPT: Final = 400 * 86_400.0
"""Seconds for which a day is kept from its first count."""

MOST: Final = 10_000
"""Rows of one process between two additions; what is beyond is counted for the caller `other`."""

BATCH: Final = 100
LONGEST: Final = 100
OTHER: Final = "other"


class Who(msgspec.Struct, frozen=True):
    """Whose use it is, and of what."""

    caller: str
    team: str = ""
    model: str = ""
    backend: str = ""

    @property
    def name(self) -> str:
        """As the store names it: what stands between the slashes holds none itself."""
        return "/".join(quote(each[:LONGEST], safe="") for each in (self.caller, self.team, self.model, self.backend))

    @classmethod
    def of(cls, name: str) -> "Who":
        return cls(*(unquote(each) for each in name.split("/")))


class Used(msgspec.Struct):
    """What was used. Cost is in nano-dollars; `unpriced` are attempts whose cost nobody knows."""

    requests: int = 0
    errors: int = 0
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    unpriced: int = 0

    def add(self, other: "Used") -> None:
        for field in FIELDS:
            setattr(self, field, getattr(self, field) + getattr(other, field))


FIELDS: Final = Used.__struct_fields__


class Usage:
    """The counts of one process. `clock` is seconds since 1970; days are UTC."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time, kept: float = KEPT) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept
        self._rows: dict[tuple[str, Who], Used] = {}
        self._shadow: dict[tuple[str, str], int] = {}
        self._day = ""
        self._day_is_over = 0.0
        self._task: asyncio.Task[None] | None = None

    def asked(self, who: Who, status: int) -> None:
        """A request was answered with a status; from 400 on it is an error."""
        row = self._row(who)
        row.requests += 1
        row.errors += status >= 400

    def used(self, who: Who, input_tokens: int, output_tokens: int, dollars: float | None) -> None:
        """An attempt used so many tokens; `dollars` is None where its price is not known."""
        row = self._row(who)
        row.attempts += 1
        row.input_tokens += input_tokens
        row.output_tokens += output_tokens
        if dollars is None:
            row.unpriced += 1
        else:
            row.cost += round(dollars * NANODOLLARS)

    def compared(self, rule: str, would: str, did: str) -> None:
        """A rule in shadow matched: the verdict that it would have given, and the one that was enforced."""
        place = (self._today(), "/".join(quote(each, safe="") for each in (rule, would, did)))
        if place in self._shadow or len(self._shadow) < MOST:
            self._shadow[place] = self._shadow.get(place, 0) + 1

    def _row(self, who: Who) -> Used:
        day = self._day if self._clock() < self._day_is_over else self._today()
        row = self._rows.get((day, who))
        if row is None:
            if len(self._rows) >= MOST:
                who = Who(OTHER)
            row = self._rows.setdefault((day, who), Used())
        return row

    def _today(self) -> str:
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        midnight = datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(days=1)
        self._day, self._day_is_over = today.isoformat(), midnight.timestamp()
        return self._day

    # -- to the store --

    def start(self) -> None:
        """Write every few seconds; must run in the event loop that serves."""
        self._task = asyncio.create_task(self._write_forever())

    async def close(self) -> None:
        """Write what is left, as far as the store takes it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(StoreDown):
            await self.flush()

    async def _write_forever(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            with contextlib.suppress(StoreDown):
                await self.flush()

    async def flush(self) -> None:
        """Add to the store what was counted since the last time; what it does not take waits. Raises StoreDown."""
        while self._rows:
            taken = dict(list(self._rows.items())[:BATCH])
            changes: list[Change] = [
                Add(Key(SPACE, day, f"{who.name}/{field}"), amount, self._kept)
                for (day, who), row in taken.items()
                for field in FIELDS
                if (amount := getattr(row, field))
            ]
            for place in taken:
                del self._rows[place]
            try:
                await self._store.commit(changes)
            except BaseException:
                for place, row in taken.items():
                    self._rows.setdefault(place, Used()).add(row)
                raise
        while self._shadow:
            compared = dict(list(self._shadow.items())[:BATCH])
            additions: list[Change] = [
                Add(Key(SHADOW, day, name), count, self._kept) for (day, name), count in compared.items()
            ]
            for at in compared:
                del self._shadow[at]
            try:
                await self._store.commit(additions)
            except BaseException:
                for at, count in compared.items():
                    self._shadow[at] = self._shadow.get(at, 0) + count
                raise

    # -- for readers --

    async def shadow_of_days(self, first: date, last: date) -> Mapping[tuple[str, str, str], int]:
        """How often each rule in shadow would have given a verdict while another, or the same, was enforced, of all
        processes. Raises StoreDown."""
        found: dict[tuple[str, str, str], int] = {}
        for day in _days(first, last):
            after: Key | None = None
            while True:
                page = await self._store.scan(SHADOW, day, after=after, limit=500)
                for key, fact in page.facts.items():
                    rule, would, did = (unquote(each) for each in key.name.split("/"))
                    place = (rule, would, did)
                    found[place] = found.get(place, 0) + msgspec.json.decode(fact.value, type=int)
                after = page.after
                if after is None:
                    break
        return found

    async def of_days(self, first: date, last: date, limit: int) -> tuple[Mapping[tuple[str, Who], Used], bool]:
        """The rows of some days, of all processes, as far as they are written; whether there were more than `limit` of
        them, which are then missing. Raises StoreDown."""
        found: dict[tuple[str, Who], Used] = {}
        for day in _days(first, last):
            after: Key | None = None
            while True:
                page = await self._store.scan(SPACE, day, after=after, limit=500)
                for key, fact in page.facts.items():
                    name, _, field = key.name.rpartition("/")
                    place = (day, Who.of(name))
                    if place not in found and len(found) >= limit:
                        return found, True
                    row = found.setdefault(place, Used())
                    setattr(row, field, msgspec.json.decode(fact.value, type=int))
                after = page.after
                if after is None:
                    break
        return found, False


def _days(first: date, last: date) -> Iterator[str]:
    for number in range((last - first).days + 1):
        yield (first + timedelta(days=number)).isoformat()

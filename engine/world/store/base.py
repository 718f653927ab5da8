"""The contract of every state store: what can be read, what can be changed, and what a commit answers.

Facts are read before a decision and changed after it, in one commit that is done whole or not at all. Meters (limits,
budgets, concurrency) are checked and charged inside that commit, so that no two callers can spend the same remainder.
Amounts are whole numbers: requests, tokens, or nano-dollars; there is no float in an account.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from engine.diagnostics import LexgateError

NANODOLLARS = 1_000_000_000
"""One dollar in the unit of every money meter. A nano-dollar is fine enough for the price of a single token."""

Clock: TypeAlias = Callable[[], float]
"""Seconds since 1970 (UTC). Wall time, because several processes and machines share one store."""


class Key(NamedTuple):
    """The place of one fact: `space` is a table of the proxy, `owner` whose it is, `name` which of the owner's."""

    space: str
    owner: str
    name: str


class Fact(msgspec.Struct, frozen=True, gc=False):
    """A stored value (JSON bytes). `version` is opaque, never 0, and differs after every write."""

    value: bytes
    version: int


# --- meters: what is limited. Their state is kept apart for each (kind, length of time, key), so that a limit may be
# --- lowered or raised by the next request, while another length of time begins a new account.

Period: TypeAlias = Literal["hour", "day", "week", "month"] | int
"""A calendar period in UTC (weeks begin on Monday), or a fixed window of so many seconds counted from 1970."""


class Window(msgspec.Struct, frozen=True):
    """At most `limit` in *any* stretch of `seconds`. Exact up to a limit of 60, above it never more than `limit`."""

    key: Key
    limit: int
    seconds: float


class Bucket(msgspec.Struct, frozen=True):
    """A token bucket: bursts up to `limit`, filled again from empty in `seconds`."""

    key: Key
    limit: int
    seconds: float


class Allowance(msgspec.Struct, frozen=True):
    """A budget: at most `limit` in each `period`, all of it free again when the next one begins."""

    key: Key
    limit: int
    period: Period


class Slots(msgspec.Struct, frozen=True):
    """Concurrency: at most `limit` held at once. Only `Reserve` and `Release` make sense on it."""

    key: Key
    limit: int


Meter: TypeAlias = Window | Bucket | Allowance | Slots


class Standing(msgspec.Struct, frozen=True):
    """Where a meter stands: `remaining` of `limit`, how much of the rest is only reserved, seconds until all is free."""

    limit: int
    remaining: int
    reserved: int
    reset_after: float


# --- changes


class Put(msgspec.Struct, frozen=True):
    """Write a value that lives `ttl` seconds. With `expect`, only over that version (0: only where nothing is)."""

    key: Key
    value: bytes
    ttl: float
    expect: int | None = None


class Delete(msgspec.Struct, frozen=True):
    """Remove a value; that it is not there is no error."""

    key: Key
    expect: int | None = None


class Expect(msgspec.Struct, frozen=True):
    """Change nothing, but commit only if this fact still has the version that was read (0: is still absent)."""

    key: Key
    version: int


class Clear(msgspec.Struct, frozen=True):
    """Remove all that an owner has in a space."""

    space: str
    owner: str


class Add(msgspec.Struct, frozen=True):
    """Add to a counter, a fact whose value is a JSON integer (any other value counts as 0).

    The counter lives `ttl` seconds from its first addition, with `refresh` from its last.
    """

    key: Key
    amount: int
    ttl: float
    refresh: bool = False


class Take(msgspec.Struct, frozen=True):
    """Use `amount` of a meter now, or refuse the commit."""

    meter: Meter
    amount: int = 1


class Reserve(msgspec.Struct, frozen=True):
    """Hold `amount` (the worst case) of a meter for `lease` seconds under a unique `id`, or refuse the commit.

    A hold that is neither settled, released nor renewed in time lapses: it is free again or, with `lapse="spend"`,
    counts as spent (for who must not overspend even if a worker dies between its call and its account). Reserving an
    `id` that is held already only renews it, so that a commit of unknown end may be repeated.
    """

    meter: Meter
    id: str
    amount: int = 1
    lease: float = 60.0
    lapse: Literal["free", "spend"] = "free"


class Renew(msgspec.Struct, frozen=True):
    """Give a hold another `lease` seconds from now (a long stream). One that has lapsed is not revived."""

    meter: Meter
    id: str
    lease: float = 60.0


class Settle(msgspec.Struct, frozen=True):
    """Turn a hold into what was really used, more than was held included; a second settlement charges nothing.

    Up to an hour after it lapsed a hold can still be settled: what was used is charged, because it was used.
    """

    meter: Meter
    id: str
    amount: int


class Release(msgspec.Struct, frozen=True):
    """Give a hold back unused."""

    meter: Meter
    id: str


Change: TypeAlias = Put | Delete | Expect | Clear | Add | Take | Reserve | Renew | Settle | Release


# --- answers


class Settled(msgspec.Struct, frozen=True):
    """What a settlement did. `known` is false for an id that is not held (any more): nothing was charged."""

    known: bool
    overrun: int
    standing: Standing


Result: TypeAlias = int | Standing | Settled
"""Of one change. Put: the new version. Delete, Clear: how many were removed. Expect: the version. Add: the new value.
Take, Reserve: the standing after it. Renew, Release: 1 if the hold was there, else 0. Settle: `Settled`."""


class Facts(msgspec.Struct, frozen=True):
    """What was read: living facts alone (an absent key is missing from `values`), and a standing for each meter."""

    values: Mapping[Key, Fact] = {}
    standings: Mapping[Meter, Standing] = {}


class Page(msgspec.Struct, frozen=True):
    """Some facts of a space, in the order of owner and name (by code points). `after`: where the next page begins; None
    if this was the last."""

    facts: Mapping[Key, Fact]
    after: Key | None = None


class Committed(msgspec.Struct, frozen=True):
    """All was done. `results` are in the order of the changes."""

    results: tuple[Result, ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """Nothing was done, because change number `which` (from 0) has no room.

    `retry_after` is in seconds, an estimate where others hold reservations; `None` means that waiting cannot help
    (more than the whole limit was asked, or the value is too large). `reason` is `full` when a new meter or a new
    record finds the store at its cap of living ones: neither is ever forgotten to make place.
    """

    which: int
    retry_after: float | None
    standing: Standing | None = None
    reason: Literal["limit", "full", "too_large"] = "limit"


class Conflict(msgspec.Struct, frozen=True):
    """Nothing was done, because facts changed since they were read: decide again with these (missing = absent now)."""

    stale: tuple[Key, ...]
    facts: Facts


Outcome: TypeAlias = Committed | Refused | Conflict


# --- bounds


class Cap(msgspec.Struct, frozen=True):
    """How many facts one owner may have in a space, and all owners together. Beyond it expired facts go first, then the
    one that was written longest ago."""

    per_owner: int = 256
    in_all: int = 100_000


RECORDS = "records/"
"""How the name of a space begins whose facts are never forgotten to make place (keys, teams): a write that finds it full
is refused instead. Its only bound is `Caps.records`, the number of facts of all owners together."""

NAME_LENGTH = 512
"""The most characters in the owner and in the name of a fact. What is longer is refused as `too_large`."""


class Caps(msgspec.Struct, frozen=True):
    """The bounds of a store: of every space (`spaces` by name, else `each`), of living meters, of one value in bytes."""

    each: Cap = Cap()
    spaces: Mapping[str, Cap] = msgspec.field(default_factory=lambda: {"sessions": Cap(per_owner=10_000)})
    meters: int = 200_000
    value_bytes: int = 1 << 20
    records: int = 100_000

    def of(self, space: str) -> Cap:
        if space.startswith(RECORDS):
            return Cap(self.records, self.records)
        return self.spaces.get(space, self.each)


class Tally(msgspec.Struct):
    """What a store counted since it was opened, for metrics. `down` counts operations that failed for want of it."""

    evicted: int = 0
    expired: int = 0
    full: int = 0
    down: int = 0


class StoreError(LexgateError):
    """The root of what a store raises."""


class StoreDown(StoreError):
    """The store cannot be reached or cannot write; the cause is chained. It comes back by itself: try again later.

    Whether a commit that ended so was done is unknown. Reservations may be repeated under the same id.
    """


class StoreMismatch(StoreError):
    """The stored schema is of a newer release than this one; only an operator can help."""


class Store(Protocol):
    """Where state lives. Every call may raise `StoreDown`; none waits longer than the store's own time-out.

    Checks of a commit see the state before it plus what its own earlier changes take; what it gives back (`Settle`,
    `Release`, `Delete`) makes no room within the same commit. A conflict is answered before a refusal.
    """

    @property
    def tally(self) -> Tally: ...

    async def read(
        self,
        keys: Iterable[Key] = (),
        owners: Iterable[tuple[str, str]] = (),
        meters: Iterable[Meter] = (),
    ) -> Facts:
        """One consistent look at single facts, at all facts of some `(space, owner)`, and at meters."""
        ...

    async def scan(self, space: str, owner: str | None = None, *, after: Key | None = None, limit: int = 100) -> Page:
        """The living facts of a space, or of one owner in it, a page at a time: for lists that people read.

        A fact that is there from the first page to the last is shown once, whatever is written meanwhile.
        """
        ...

    async def commit(self, changes: Sequence[Change]) -> Outcome:
        """All changes or none, atomically among all users of the store."""
        ...

    async def close(self) -> None:
        """Finish what was begun, then let go. Idempotent."""
        ...

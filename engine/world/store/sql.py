"""State in a SQL database, shared by all processes that open it: SQLite, written so that others can follow.

Every transaction reads what its commits touch, lets the same Python as the memory store judge and enact them, and writes
what became different. Nothing of a refused commit is ever written, so that many waiting commits share one transaction.
"""

import os
import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.pool import NullPool

from engine.world.store import meters
from engine.world.store import sql_tables as tables
from engine.world.store.base import (
    RECORDS,
    Add,
    Caps,
    Change,
    Clear,
    Clock,
    Delete,
    Expect,
    Fact,
    Facts,
    Key,
    Meter,
    Outcome,
    Page,
    Put,
    StoreDown,
    Tally,
)
from engine.world.store.desk import Desk
from engine.world.store.ledger import Entry, perform

BUSY = 5.0  # seconds to wait for another process's transaction before the store counts as down
SWEEP_EVERY = 256  # new rows between two sweeps, at most: so many may stand above a cap for a while

_decode_state = msgspec.msgpack.Decoder(meters.State).decode
_encode = msgspec.msgpack.Encoder().encode
_text = msgspec.json.Encoder().encode


class _Listing(NamedTuple):
    space: str
    owner: str | None
    after: Key | None
    limit: int


class _Question(NamedTuple):
    keys: tuple[Key, ...]
    owners: tuple[tuple[str, str], ...]
    meters: tuple[Meter, ...]


def _place(parts: Sequence[object]) -> str:
    return _text(parts).decode()


class _Board:
    """What one transaction knows: rows as they were read, with the changes of its commits laid over them."""

    def __init__(self, connection: sa.Connection, now: int, caps: Caps, meters_left: int) -> None:
        self.connection = connection
        self.now = now
        self.caps = caps
        self.full = 0
        self.born: list[Key] = []
        self.entries: dict[Key, Entry | None] = {}
        self.changed: dict[Key, None] = {}  # in order of writing
        self.states: dict[str, meters.State] = {}
        self.touched: set[str] = set()
        self._stored: set[Key] = set()
        self._owned: dict[tuple[str, str], dict[Key, None]] = {}
        self._meters_left = meters_left

    def load(self, keys: Iterable[Key], owners: Iterable[tuple[str, str]], of: Iterable[Meter]) -> None:
        wanted = set(keys)
        for places in _portions(_place(key) for key in wanted):
            self._remember(self.connection.execute(tables.SELECT_FACTS, {"places": places}))
        for space, owner in set(owners):
            self._remember(self.connection.execute(tables.SELECT_OWNER, {"space_": space, "owner_": owner}))
        for places in _portions({_place(meters.place(meter)) for meter in of}):
            for place, state in self.connection.execute(tables.SELECT_METERS, {"places": places}):
                self.states[place] = _decode_state(state)

    def _remember(self, rows: Iterable[sa.Row[str, str, str, bytes, int, int]]) -> None:
        for space, owner, name, value, version, expires in rows:
            key = Key(space, owner, name)
            self._stored.add(key)
            self._owned.setdefault((space, owner), {})[key] = None
            self.entries[key] = Entry(value, version, expires)

    def of_owner(self, space: str, owner: str) -> list[Key]:
        return [key for key in self._owned.get((space, owner), ()) if self.entry(key)]

    # --- what `perform` writes on

    def entry(self, key: Key) -> Entry | None:
        entry = self.entries.get(key)
        return entry if entry is not None and entry.expires > self.now else None

    def version(self) -> int:
        # Random, because a sequence would be one more row that all writers contend for.
        return random.getrandbits(62) | 1

    def write(self, key: Key, entry: Entry) -> None:
        if self.entries.get(key) is None:
            self.born.append(key)
            self._owned.setdefault((key.space, key.owner), {})[key] = None
        self.entries[key] = entry
        self.changed.pop(key, None)
        self.changed[key] = None

    def erase(self, key: Key) -> bool:
        living = self.entry(key) is not None
        self.entries[key] = None
        self.changed[key] = None
        return living

    def clear(self, space: str, owner: str) -> int:
        return sum([self.erase(key) for key in self.of_owner(space, owner)])

    def places(self, space: str) -> int:
        unsaved = sum(key.space == space for key in self.born)
        return self.caps.of(space).in_all - unsaved - self._living(space)

    def _living(self, space: str) -> int:
        where = {"space_": space, "now": self.now}
        return int(self.connection.execute(tables.COUNT_LIVING, where).scalar_one())

    def state(self, meter: Meter) -> meters.State | None:
        place = _place(meters.place(meter))
        state = self.states.get(place)
        if state is None:
            if self._meters_left <= 0:
                self.full += 1
                return None
            self._meters_left -= 1
            state = self.states[place] = meters.State()
        self.touched.add(place)
        return state

    # --- and what becomes of it

    def save(self, moments: Iterator[int]) -> None:
        rows, gone = [], []
        for key in self.changed:
            entry = self.entries[key]
            if entry is not None:
                rows.append(
                    {
                        "place": _place(key),
                        "space": key.space,
                        "owner": key.owner,
                        "name": key.name,
                        "value": entry.value,
                        "version": entry.version,
                        "written": next(moments),
                        "expires": entry.expires,
                    }
                )
            elif key in self._stored:
                gone.append({"place_": _place(key)})
        if rows:
            self.connection.execute(tables.UPSERT_FACT, rows)
        if gone:
            self.connection.execute(tables.DELETE_FACT, gone)
        states = [(place, state) for place in self.touched if (state := self.states[place]).idle > self.now]
        if states:
            self.connection.execute(
                tables.UPSERT_METER,
                [{"place": place, "state": _encode(state), "idle": state.idle} for place, state in states],
            )


def _portions(places: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(places)
    while portion := list(islice(remaining, 500)):  # SQLite binds 999 variables in old builds
        yield portion


class SqlStore:
    """One database. A thread commits, another reads beside it; both take together all that waits for them."""

    def __init__(self, engine: sa.Engine, clock: Clock, caps: Caps) -> None:
        self.tally = Tally()
        self._engine = engine
        self._clock = clock
        self._caps = caps
        self._tallying = threading.Lock()
        self._connections: dict[str, sa.Connection] = {}
        self._written = 0
        self._meter_count = 0
        smallest = min([caps.each.in_all, caps.meters, *[cap.in_all for cap in caps.spaces.values()]])
        self._sweep_every = max(1, min(SWEEP_EVERY, smallest // 16))
        self._births = self._sweep_every  # so that the first commit counts what is there
        self._commits: Desk[tuple[Change, ...], Outcome] = Desk("store-commits", self._commit)
        self._reads: Desk[_Question | _Listing, Facts | Page] = Desk("store-reads", self._read)

    async def prepare(self) -> None:
        """Bring the schema to this release's version; several processes may start at once."""
        await self._commits.ask(())

    async def read(
        self,
        keys: Iterable[Key] = (),
        owners: Iterable[tuple[str, str]] = (),
        meters: Iterable[Meter] = (),
    ) -> Facts:
        facts = await self._reads.ask(_Question(tuple(keys), tuple(owners), tuple(meters)))
        assert isinstance(facts, Facts)
        return facts

    async def scan(self, space: str, owner: str | None = None, *, after: Key | None = None, limit: int = 100) -> Page:
        page = await self._reads.ask(_Listing(space, owner, after, limit))
        assert isinstance(page, Page)
        return page

    async def commit(self, changes: Sequence[Change]) -> Outcome:
        return await self._commits.ask(tuple(changes))

    async def close(self) -> None:
        await self._commits.close()
        await self._reads.close()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._engine.dispose()

    # --- in the threads

    def _commit(self, jobs: Sequence[tuple[Change, ...]]) -> Sequence[Outcome | Exception]:
        try:
            return self._commit_all(jobs)
        except StoreDown as down:
            return self._all_down(down, len(jobs))

    def _read(self, jobs: Sequence[_Question | _Listing]) -> Sequence[Facts | Page | Exception]:
        try:
            return self._read_all(jobs)
        except StoreDown as down:
            return self._all_down(down, len(jobs))

    def _all_down(self, down: StoreDown, jobs: int) -> list[Exception]:
        """One error for each asker: a store that is down is not asked again for every job of the batch."""
        with self._tallying:
            self.tally.down += jobs
        errors: list[Exception] = [StoreDown(*down.args) for _ in range(jobs)]
        for error in errors:
            error.__cause__ = down.__cause__
        return errors

    def _commit_all(self, jobs: Sequence[tuple[Change, ...]]) -> Sequence[Outcome | Exception]:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            # The clock is read once the lock is held, so that no process writes a time before another's.
            now = int(self._clock() * 1_000_000)
            board = _Board(connection, now, self._caps, self._caps.meters - self._meter_count)
            changes = [change for job in jobs for change in job]
            board.load(
                [change.key for change in changes if isinstance(change, Put | Delete | Expect | Add)],
                [(change.space, change.owner) for change in changes if isinstance(change, Clear)],
                [c.meter for c in changes if not isinstance(c, Put | Delete | Expect | Add | Clear)],
            )
            known = len(board.states)
            outcomes: list[Outcome | Exception] = []
            for job in jobs:
                try:
                    outcomes.append(perform(job, board, self._caps, now))
                except ValueError as error:  # raised by the judgement, before anything of this job was enacted
                    outcomes.append(error)
            board.save(self._moments(now))
            self._bound(board, len(board.states) - known)
            with self._tallying:
                self.tally.full += board.full
        return outcomes

    def _read_all(self, jobs: Sequence[_Question | _Listing]) -> Sequence[Facts | Page]:
        with self._transaction("BEGIN") as connection:
            now = int(self._clock() * 1_000_000)
            board = _Board(connection, now, self._caps, self._caps.meters)
            questions = [job for job in jobs if isinstance(job, _Question)]
            board.load(
                [key for job in questions for key in job.keys],
                [owner for job in questions for owner in job.owners],
                [meter for job in questions for meter in job.meters],
            )
            return [
                self._facts(board, job, now) if isinstance(job, _Question) else _page(connection, job, now)
                for job in jobs
            ]

    def _facts(self, board: _Board, question: _Question, now: int) -> Facts:
        values, standings = {}, {}
        owned = [key for space, owner in question.owners for key in board.of_owner(space, owner)]
        for key in (*question.keys, *owned):
            if (entry := board.entry(key)) is not None:
                values[key] = Fact(entry.value, entry.version)
        for meter in question.meters:
            state = board.states.get(_place(meters.place(meter))) or meters.State()
            meters.bring(state, meter, now)
            standings[meter] = meters.standing(state, meter, now)
        return Facts(values, standings)

    def _moments(self, now: int) -> Iterator[int]:
        """Times of writing, all different, so that there is always one that was written longest ago."""
        while True:
            self._written = max(self._written + 1, now)
            yield self._written

    def _bound(self, board: _Board, new_meters: int) -> None:
        """Keep owners within their cap at once, spaces and meters each time that enough was added to them."""
        evicted = expired = 0
        execute = board.connection.execute
        for space, owner in {(key.space, key.owner) for key in board.born}:
            cap = self._caps.of(space).per_owner
            where = {"space_": space, "owner_": owner}
            if not space.startswith(RECORDS) and execute(tables.COUNT_OWNER, where).scalar_one() > cap:
                expired += execute(tables.SWEEP_OWNER, {**where, "now": board.now}).rowcount
                if (excess := execute(tables.COUNT_OWNER, where).scalar_one() - cap) > 0:
                    evicted += execute(tables.TRIM_OWNER, {**where, "excess": excess}).rowcount
        self._births += len(board.born) + new_meters
        self._meter_count += new_meters
        due = self._births >= self._sweep_every
        if due or board.full:
            execute(tables.SWEEP_METERS, {"now": board.now})
            self._meter_count = execute(tables.COUNT_METERS).scalar_one()
        if due:
            self._births = 0
            expired += execute(tables.SWEEP_FACTS, {"now": board.now}).rowcount
            for space, count in execute(tables.COUNT_FACTS).all():
                if (excess := count - self._caps.of(space).in_all) > 0 and not space.startswith(RECORDS):
                    evicted += execute(tables.TRIM_SPACE, {"space_": space, "excess": excess}).rowcount
        with self._tallying:
            self.tally.evicted += evicted
            self.tally.expired += expired

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sa.Connection]:
        """A transaction on this thread's connection, which is made anew after any failure."""
        try:
            connection = self._connections.get(begin)
            if connection is None:
                connection = self._connections[begin] = self._connect()
            connection.exec_driver_sql(begin)
            yield connection
            connection.exec_driver_sql("COMMIT")
        except (DBAPIError, OSError) as error:
            self._drop(begin)
            if isinstance(error, DataError | IntegrityError | ProgrammingError):
                raise  # what was asked cannot be stored; the store itself is well
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise StoreDown(f"the state store does not answer: {cause}") from error
        except BaseException:
            self._drop(begin)
            raise

    def _drop(self, begin: str) -> None:
        # Closing the connection rolls back what was open on it.
        if (connection := self._connections.pop(begin, None)) is not None:
            connection.invalidate()
            connection.close()

    def _connect(self) -> sa.Connection:
        path = self._engine.url.database
        assert path is not None
        make_private(Path(path))
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        # Durable against a crash of the process; a loss of power may cost the last commits, never consistency.
        connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
        tables.migrate(connection)
        return connection


def _page(connection: sa.Connection, wish: _Listing, now: int) -> Page:
    rows = connection.execute(tables.select_page(wish.space, wish.owner, wish.after, wish.limit + 1, now)).all()
    facts = {Key(space, owner, name): Fact(value, version) for space, owner, name, value, version, _ in rows}
    kept = list(facts)[: wish.limit]
    return Page({key: facts[key] for key in kept}, kept[-1] if len(rows) > wish.limit else None)


def make_private(path: Path) -> None:
    """Create the file, and folders above it, for its owner alone; SQLite gives its journal files the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


async def open_room(url: str, clock: Clock, caps: Caps) -> SqlStore:
    path = url.removeprefix("sqlite:///")
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=path),
        poolclass=NullPool,
        connect_args={"timeout": BUSY, "check_same_thread": False},
    )
    store = SqlStore(engine, clock, caps)
    try:
        await store.prepare()
    except BaseException:
        await store.close()
        raise
    return store

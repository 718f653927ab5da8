"""State in a SQL database, shared by all processes that open it; what differs between databases is their `Dialect`'s.

Every transaction reads what its commits touch, lets the same Python as the memory store judge and enact them, and writes
what became different. Nothing of a refused commit is ever written, so that many waiting commits share one transaction.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from engine.world.store import meters
from engine.world.store import sql_tables as tables
from engine.world.store.base import (
    RECORDS,
    Add,
    Caps,
    Change,
    Clear,
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
from engine.world.store.ledger import perform
from engine.world.store.places import place_text
from engine.world.store.sql_board import Board

TRIES = 4  # of a transaction that the database gave up for another
SWEEP_EVERY = 256  # new rows between two sweeps, at most: so many may stand above a cap for a while


class _Listing(NamedTuple):
    space: str
    owner: str | None
    after: Key | None
    limit: int


class _Question(NamedTuple):
    keys: tuple[Key, ...]
    owners: tuple[tuple[str, str], ...]
    meters: tuple[Meter, ...]


class Dialect(Protocol):
    """What a kind of database does in its own way."""

    def connect(self) -> sa.Connection:
        """A new connection in which statements alone begin and end transactions, to a schema of this release.

        Raises StoreMismatch, and what the driver raises.
        """

    def begin(self, connection: sa.Connection, places: Iterable[str]) -> None:
        """Begin a transaction that sees all that was committed at these places, and in which nobody else writes them."""

    def begin_look(self, connection: sa.Connection) -> None:
        """Begin a transaction that reads, and sees one moment."""

    def now(self, connection: sa.Connection) -> int:
        """Microseconds since 1970."""

    def is_passing(self, error: DBAPIError) -> bool:
        """Whether the same transaction, tried again at once, may well succeed."""


class SqlStore:
    """One database. A thread commits, another reads beside it; both take together all that waits for them."""

    def __init__(self, dialect: Dialect, caps: Caps) -> None:
        self.tally = Tally()
        self._dialect = dialect
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

    # --- in the threads

    def _commit(self, jobs: Sequence[tuple[Change, ...]]) -> Sequence[Outcome | Exception]:
        for tries_left in reversed(range(TRIES)):
            try:
                return self._commit_all(jobs)
            except _Passing as passing:
                if not tries_left:
                    return self._all_down(_down(passing.error), len(jobs))
            except StoreDown as down:
                return self._all_down(down, len(jobs))
        raise AssertionError("the last try returns")

    def _read(self, jobs: Sequence[_Question | _Listing]) -> Sequence[Facts | Page | Exception]:
        try:
            return self._read_all(jobs)
        except (StoreDown, _Passing) as down:
            down = down if isinstance(down, StoreDown) else _down(down.error)
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
        with self._transaction("commit") as connection:
            self._dialect.begin(connection, _places(jobs))
            # The clock is read once the lock is held, so that no process writes a time before another's.
            now = self._dialect.now(connection)
            board = Board(connection, now, self._caps, self._caps.meters - self._meter_count)
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
        with self._transaction("read") as connection:
            self._dialect.begin_look(connection)
            now = self._dialect.now(connection)
            board = Board(connection, now, self._caps, self._caps.meters)
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

    def _facts(self, board: Board, question: _Question, now: int) -> Facts:
        values, standings = {}, {}
        owned = [key for space, owner in question.owners for key in board.of_owner(space, owner)]
        for key in (*question.keys, *owned):
            if (entry := board.entry(key)) is not None:
                values[key] = Fact(entry.value, entry.version)
        for meter in question.meters:
            state = board.states.get(place_text(meters.place(meter))) or meters.State()
            meters.bring(state, meter, now)
            standings[meter] = meters.standing(state, meter, now)
        return Facts(values, standings)

    def _moments(self, now: int) -> Iterator[int]:
        """Times of writing, all different, so that there is always one that was written longest ago."""
        while True:
            self._written = max(self._written + 1, now)
            yield self._written

    def _bound(self, board: Board, new_meters: int) -> None:
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
    def _transaction(self, what: str) -> Iterator[sa.Connection]:
        """A connection of this thread's own, made anew after any failure. Who asks begins, and this commits."""
        try:
            connection = self._connections.get(what)
            if connection is None:
                connection = self._connections[what] = self._dialect.connect()
            yield connection
            connection.exec_driver_sql("COMMIT")
        except (DBAPIError, OSError) as error:
            self._drop(what)
            if isinstance(error, DBAPIError) and self._dialect.is_passing(error):
                raise _Passing(error) from error
            if isinstance(error, DataError | IntegrityError | ProgrammingError):
                raise  # what was asked cannot be stored; the store itself is well
            raise _down(error) from error
        except BaseException:
            self._drop(what)
            raise

    def _drop(self, what: str) -> None:
        # Closing the connection rolls back what was open on it.
        if (connection := self._connections.pop(what, None)) is not None:
            connection.invalidate()
            connection.close()


class _Passing(Exception):
    """A transaction lost against others, and was rolled back whole."""

    def __init__(self, error: DBAPIError) -> None:
        self.error = error


def _down(error: DBAPIError | OSError) -> StoreDown:
    cause = error.orig if isinstance(error, DBAPIError) else error
    down = StoreDown(f"the state store does not answer: {str(cause).strip()}")
    down.__cause__ = error
    return down


def _places(jobs: Iterable[tuple[Change, ...]]) -> Iterator[str]:
    """What a commit must have for itself: facts by their owner, records by their space too, meters each."""
    for job in jobs:
        for change in job:
            match change:
                case Put(key=key) | Add(key=key):
                    yield place_text(key[:2])
                    if key.space.startswith(RECORDS):
                        yield key.space
                case Delete(key=key) | Expect(key=key):
                    yield place_text(key[:2])
                case Clear(space=space, owner=owner):
                    yield place_text((space, owner))
                case _:
                    yield place_text(meters.place(change.meter))


def _page(connection: sa.Connection, wish: _Listing, now: int) -> Page:
    rows = connection.execute(tables.select_page(wish.space, wish.owner, wish.after, wish.limit + 1, now)).all()
    facts = {Key(space, owner, name): Fact(value, version) for space, owner, name, value, version, _ in rows}
    kept = list(facts)[: wish.limit]
    return Page({key: facts[key] for key in kept}, kept[-1] if len(rows) > wish.limit else None)

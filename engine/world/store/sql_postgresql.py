"""PostgreSQL: commits that touch the same facts or meters take turns, all others run side by side."""

import zlib
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, ProgrammingError
from sqlalchemy.pool import NullPool

from engine.world.store import sql_tables as tables
from engine.world.store.base import Caps, Clock, StoreError
from engine.world.store.sql import SqlStore

CONNECT: Final = 3  # seconds
BUSY: Final = 5000  # milliseconds for one statement, or for the turn of another, before the store counts as down
STRIPES: Final = 128
"""How many locks there are. A place has one by its hash, so that a large batch cannot fill the server's table of locks
(`max_locks_per_transaction` x `max_connections`, 6,400 by default)."""

_COMMITS: Final = 0x4C657867  # the first number of our advisory locks: "Lexg"
_SCHEMA: Final = 0x4C657868
_SETTINGS: Final = (
    f"-c statement_timeout={BUSY} -c lock_timeout={BUSY} -c idle_in_transaction_session_timeout={2 * BUSY}"
)
_LOST: Final = {"40001", "40P01"}  # serialization_failure, deadlock_detected

# One statement, the locks in the order of the list: whoever needs several waits for them in the same order as everybody.
_LOCK: Final = sa.text("SELECT pg_advisory_xact_lock(:kind, stripe) FROM unnest(CAST(:stripes AS int[])) AS stripe")
_NOW: Final = sa.text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")


class Postgresql:
    """The dialect of one PostgreSQL database. Without a clock the time is the server's."""

    def __init__(self, url: sa.URL, clock: Clock | None) -> None:
        options = f"{url.query.get('options', '')} {_SETTINGS}".strip()
        self._clock = clock
        self._engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
            poolclass=NullPool,
            connect_args={
                "connect_timeout": CONNECT,
                "tcp_user_timeout": BUSY,
                "application_name": "lexgate",
                "options": options,
            },
        )

    def connect(self) -> sa.Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            tables.migrate(connection, self._begin_migration)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_migration(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")
        connection.execute(_LOCK, {"kind": _SCHEMA, "stripes": [0]})

    def begin(self, connection: sa.Connection, places: Iterable[str]) -> None:
        # READ COMMITTED: what follows the locks sees all that their last holders committed.
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL READ COMMITTED")
        stripes = sorted({zlib.crc32(place.encode()) % STRIPES for place in places})
        if stripes:
            connection.execute(_LOCK, {"kind": _COMMITS, "stripes": stripes})

    def begin_look(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def now(self, connection: sa.Connection) -> int:
        if self._clock is not None:
            return int(self._clock() * 1_000_000)
        return int(connection.execute(_NOW).scalar_one())

    def is_passing(self, error: DBAPIError) -> bool:
        return getattr(error.orig, "sqlstate", None) in _LOST


async def open_room(url: str, clock: Clock | None, caps: Caps) -> SqlStore:
    """`postgresql://user:password@host:port/database`, with the parameters of libpq (`?sslmode=verify-full`)."""
    try:
        dialect = Postgresql(sa.make_url(url), clock)
    except (ArgumentError, ValueError) as error:
        raise StoreError("this is no URL of a PostgreSQL database: postgresql://user:password@host/database") from error
    store = SqlStore(dialect, caps)
    try:
        await store.prepare()
    except ProgrammingError as error:
        await store.close()
        raise StoreError(f"the state store cannot be used: {str(error.orig).strip()}") from error
    except BaseException:
        await store.close()
        raise
    return store

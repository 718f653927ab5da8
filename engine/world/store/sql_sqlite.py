"""SQLite: a file, one writer at a time, and a write-ahead log so that readers do not wait for it."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from engine.world.store import sql_tables as tables
from engine.world.store.base import Caps, Clock
from engine.world.store.sql import SqlStore

BUSY = 5.0  # seconds to wait for another process's transaction before the store counts as down


class Sqlite:
    """The dialect of one database file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            poolclass=NullPool,
            connect_args={"timeout": BUSY, "check_same_thread": False},
        )

    def connect(self) -> sa.Connection:
        make_private(self._path)
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # Read to its end, because it answers with a row, and no transaction can end while a statement is under way.
        connection.exec_driver_sql("PRAGMA journal_mode=WAL").close()
        # Durable against a crash of the process; a loss of power may cost the last commits, never consistency.
        connection.exec_driver_sql("PRAGMA synchronous=NORMAL").close()
        tables.migrate(connection, lambda each: self.begin(each, ()))
        return connection

    def begin(self, connection: sa.Connection, _places: Iterable[str]) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def begin_look(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    def now(self, _connection: sa.Connection) -> int:
        return int(self._clock() * 1_000_000)

    def is_passing(self, _error: DBAPIError) -> bool:
        return False


def make_private(path: Path) -> None:
    """Create the file, and folders above it, for its owner alone; SQLite gives its journal files the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


async def open_room(url: str, clock: Clock | None, caps: Caps) -> SqlStore:
    """`sqlite:///relative/path`, `sqlite:////path/from/the/root`."""
    store = SqlStore(Sqlite(Path(url.removeprefix("sqlite:///")), clock or time.time), caps)
    try:
        await store.prepare()
    except BaseException:
        await store.close()
        raise
    return store

"""The tables of a SQL store, how they came to be, and every statement that is sent to them, built once."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from engine.world.store.base import Key, StoreMismatch

SWEEP = 500  # expired rows removed at once


class _Exact(sa.types.TypeDecorator[str]):
    """Any text, a zero included, ordered by its bytes. PostgreSQL's own texts know no zero and sort by language."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        bytes_ = dialect.name == "postgresql"
        return dialect.type_descriptor(sa.LargeBinary() if bytes_ else sa.Text())

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> Any:
        return value.encode() if value is not None and dialect.name == "postgresql" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:
        return bytes(value).decode() if dialect.name == "postgresql" else value


_schema = sa.MetaData()
facts = sa.Table(
    "facts",
    _schema,
    sa.Column("place", _Exact, primary_key=True),
    sa.Column("space", _Exact, nullable=False),
    sa.Column("owner", _Exact, nullable=False),
    sa.Column("name", _Exact, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("written", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Index("facts_of_owner", "space", "owner", "written", "expires"),
    sa.Index("facts_by_name", "space", "owner", "name"),
    sa.Index("facts_by_age", "space", "written"),
    sa.Index("facts_by_expiry", "expires"),
)
meters = sa.Table(
    "meters",
    _schema,
    sa.Column("place", _Exact, primary_key=True),
    sa.Column("state", sa.LargeBinary, nullable=False),
    sa.Column("idle", sa.BigInteger, nullable=False),
    sa.Index("meters_by_idleness", "idle"),
)
_version = sa.Table("schema_version", sa.MetaData(), sa.Column("version", sa.Integer, nullable=False))


def _list_by_name(connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE INDEX facts_by_name ON facts (space, owner, name)")


MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_list_by_name,)
"""Step n leads a stored schema from version n + 1 to n + 2; steps are only ever appended. A new database gets the tables
above, which are always those of the last version, and skips them all."""


def _upsert(table: sa.Table, *changing: str) -> dict[str, sa.Insert]:
    """By the name of a dialect: insert a row, or change these columns of the one that is there."""
    lite, postgres = sqlite.insert(table), postgresql.insert(table)
    return {
        "sqlite": lite.on_conflict_do_update(["place"], set_={name: lite.excluded[name] for name in changing}),
        "postgresql": postgres.on_conflict_do_update(
            index_elements=["place"], set_={name: postgres.excluded[name] for name in changing}
        ),
    }


UPSERT_FACT = _upsert(facts, "value", "version", "written", "expires")
UPSERT_METER = _upsert(meters, "state", "idle")
_fact_columns = (facts.c.space, facts.c.owner, facts.c.name, facts.c.value, facts.c.version, facts.c.expires)
SELECT_FACTS = sa.select(*_fact_columns).where(facts.c.place.in_(sa.bindparam("places", expanding=True)))
SELECT_OWNER = sa.select(*_fact_columns).where(
    facts.c.space == sa.bindparam("space_"), facts.c.owner == sa.bindparam("owner_")
)
SELECT_METERS = sa.select(meters.c.place, meters.c.state).where(
    meters.c.place.in_(sa.bindparam("places", expanding=True))
)
DELETE_FACT = sa.delete(facts).where(facts.c.place == sa.bindparam("place_"))
COUNT_FACTS = sa.select(facts.c.space, sa.func.count()).group_by(facts.c.space)
COUNT_LIVING = (
    sa.select(sa.func.count())
    .select_from(facts)
    .where(facts.c.space == sa.bindparam("space_"), facts.c.expires > sa.bindparam("now"))
)
COUNT_METERS = sa.select(sa.func.count()).select_from(meters)
# What others write at this moment is passed over, so that no two wait for each other (SQLite has one writer, and ignores it).
SWEEP_FACTS = sa.delete(facts).where(
    facts.c.place.in_(
        sa.select(facts.c.place)
        .where(facts.c.expires <= sa.bindparam("now"))
        .limit(SWEEP)
        .with_for_update(skip_locked=True)
    )
)
SWEEP_METERS = sa.delete(meters).where(
    meters.c.place.in_(
        sa.select(meters.c.place)
        .where(meters.c.idle <= sa.bindparam("now"))
        .limit(SWEEP)
        .with_for_update(skip_locked=True)
    )
)
COUNT_OWNER = (
    sa.select(sa.func.count())
    .select_from(facts)
    .where(facts.c.space == sa.bindparam("space_"), facts.c.owner == sa.bindparam("owner_"))
)
SWEEP_OWNER = sa.delete(facts).where(
    facts.c.space == sa.bindparam("space_"),
    facts.c.owner == sa.bindparam("owner_"),
    facts.c.expires <= sa.bindparam("now"),
)
TRIM_OWNER = sa.delete(facts).where(
    facts.c.place.in_(
        sa.select(facts.c.place)
        .where(facts.c.space == sa.bindparam("space_"), facts.c.owner == sa.bindparam("owner_"))
        .order_by(facts.c.written)
        .limit(sa.bindparam("excess"))
    )
)
TRIM_SPACE = sa.delete(facts).where(
    facts.c.place.in_(
        sa.select(facts.c.place)
        .where(facts.c.space == sa.bindparam("space_"))
        .order_by(facts.c.written)
        .limit(sa.bindparam("excess"))
        .with_for_update(skip_locked=True)
    )
)


def select_page(space: str, owner: str | None, after: Key | None, limit: int, now: int) -> sa.Select[Any]:
    """The living facts of a space, or of one owner in it, that follow one."""
    wanted = sa.select(*_fact_columns).where(facts.c.space == space, facts.c.expires > now)
    if owner is not None:
        wanted = wanted.where(facts.c.owner == owner)
    if after is not None:
        wanted = wanted.where(sa.tuple_(facts.c.owner, facts.c.name) > (after.owner, after.name))
    return wanted.order_by(facts.c.owner, facts.c.name).limit(limit)


def migrate(connection: sa.Connection, begin: Callable[[sa.Connection], None]) -> None:
    """Bring the schema to this release's version. `begin` opens a transaction that only one process can have at once."""
    latest = 1 + len(MIGRATIONS)
    if _version_of(connection) == latest:
        return  # seen without the lock, so that a reader may come while another process writes
    begin(connection)
    try:
        version = _version_of(connection)
        if version > latest:
            raise StoreMismatch(
                f"the state store has schema version {version}, and this release knows up to {latest}: "
                "start the newer release again, or point `state:` to another database"
            )
        if version == 0:
            _schema.create_all(connection)
            _version.create(connection, checkfirst=True)
        else:
            for step in MIGRATIONS[version - 1 :]:
                step(connection)
        if version < latest:
            connection.execute(sa.delete(_version))
            connection.execute(sa.insert(_version).values(version=latest))
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def _version_of(connection: sa.Connection) -> int:
    if not sa.inspect(connection).has_table(_version.name):
        return 0
    return connection.execute(sa.select(_version.c.version)).scalar() or 0

"""What only a PostgreSQL store must do: migrate once however many start, and outlive its server."""

import asyncio
import zlib
from collections.abc import Iterator

import psycopg
import pytest

from engine.world.store import open_store
from engine.world.store.base import (
    Add,
    Allowance,
    Committed,
    Key,
    Put,
    Reserve,
    Settle,
    StoreDown,
    StoreError,
    StoreMismatch,
)

from .servers import PostgresServer, an_empty_database

pytestmark = pytest.mark.anyio
A = Key("vars", "ann", "a")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One that a test may stop."""
    server = PostgresServer()
    yield server
    server.close()


async def test_many_that_start_at_once_make_the_tables_once() -> None:
    url = an_empty_database()
    stores = await asyncio.gather(*[open_store(url) for _ in range(6)])
    await asyncio.gather(*[store.commit([Add(A, 1, 60)]) for store in stores for _ in range(20)])
    assert (await stores[0].read([A])).values[A].value == b"120"
    await asyncio.gather(*[store.close() for store in stores])
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*), max(version) FROM schema_version").fetchone() == (1, 2)


async def test_a_database_of_a_newer_release_is_refused_in_words() -> None:
    url = an_empty_database()
    await (await open_store(url)).close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(StoreMismatch, match=r"schema version 99.*knows up to 2.*start the newer release"):
        await open_store(url)


async def test_commits_of_different_owners_do_not_wait_for_each_other_and_of_one_they_do() -> None:
    url = an_empty_database()
    store = await open_store(url)
    await store.commit([Put(A, b"1", 60), Put(Key("vars", "bob", "a"), b"1", 60)])
    with psycopg.connect(url) as other:
        # Every lock but that of Bob's stripe: what is not his must wait, what is his must not.
        other.execute(
            "SELECT pg_advisory_xact_lock(%s, stripe) FROM generate_series(0, 127) AS stripe WHERE stripe <> %s",
            (0x4C657867, stripe_of("bob")),
        )
        assert isinstance(await store.commit([Put(Key("vars", "bob", "a"), b"2", 60)]), Committed)
        waiting = asyncio.ensure_future(store.commit([Put(A, b"2", 60)]))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        other.rollback()
        assert isinstance(await waiting, Committed)
    await store.close()


def stripe_of(owner: str) -> int:
    return zlib.crc32(f'["vars","{owner}"]'.encode()) % 128


async def test_a_connection_cut_by_the_server_is_made_anew(server: PostgresServer) -> None:
    store = await open_store(server.url())
    await store.commit([Put(A, b"1", 60)])
    with psycopg.connect(server.url(), autocommit=True) as admin:
        ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lexgate'"
        assert len(admin.execute(ours).fetchall()) == 1
    with pytest.raises(StoreDown, match="does not answer"):
        await store.commit([Put(A, b"2", 60)])
    assert isinstance(await store.commit([Put(A, b"3", 60)]), Committed)
    await store.close()


async def test_a_restarted_server_remembers_and_is_found_again(server: PostgresServer) -> None:
    store = await open_store(server.url())
    budget = Allowance(A, 100, 10**9)
    await store.commit([Put(A, b"1", 600), Reserve(budget, "r", 80)])
    server.stop()
    for _ in range(3):
        with pytest.raises(StoreDown, match="does not answer"):
            await store.commit([Settle(budget, "r", 7)])
    server.start()
    assert isinstance(await store.commit([Settle(budget, "r", 7)]), Committed)
    facts = await store.read([A], meters=[budget])
    assert (facts.values[A].value, facts.standings[budget].remaining) == (b"1", 93)
    await store.close()


async def test_a_user_who_may_not_make_tables_is_told_so() -> None:
    url = an_empty_database()
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE ROLE guest LOGIN PASSWORD 'geheim'")
        admin.execute("GRANT USAGE ON SCHEMA public TO guest")
    with pytest.raises(StoreError, match=r"cannot be used: .*permission denied") as caught:
        await open_store(url.replace("postgres@", "guest:geheim@"))
    assert "geheim" not in str(caught.value)


async def test_what_is_no_url_is_said_without_showing_it() -> None:
    with pytest.raises(StoreError, match="no URL of a PostgreSQL database") as caught:
        await open_store("postgresql://user:geheim@host:notaport/db")
    assert "geheim" not in str(caught.value)

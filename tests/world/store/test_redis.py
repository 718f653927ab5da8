"""What only a Redis store must do: survive a server that forgot its script, and refuse one that cannot be trusted."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from engine.world.store import open_store
from engine.world.store.base import (
    Allowance,
    Committed,
    Expect,
    Key,
    Put,
    Reserve,
    Settle,
    Standing,
    Store,
    StoreDown,
    StoreError,
    StoreMismatch,
    Take,
    Window,
)

from .servers import RedisServer

pytestmark = pytest.mark.anyio
A = Key("vars", "ann", "a")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One that tests may stop, fill and spoil."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def admin(server: RedisServer) -> Iterator["redis.Redis"]:
    with redis.Redis(port=server.port) as client:
        yield client
        client.flushall()


@pytest.fixture
async def store(server: RedisServer, admin: "redis.Redis") -> AsyncIterator[Store]:
    store = await open_store(server.url())
    yield store
    await store.close()


def names_of(admin: "redis.Redis") -> list[bytes]:
    return sorted(each if isinstance(each, bytes) else each.encode() for each in admin.scan_iter())


async def test_a_server_that_forgot_the_script_gets_it_again(store: Store, admin: "redis.Redis") -> None:
    await store.commit([Put(A, b"1", 60)])
    admin.script_flush()
    assert (await store.read([A])).values[A].value == b"1"


async def test_a_restarted_server_remembers_and_is_found_again(store: Store, server: RedisServer) -> None:
    budget = Allowance(A, 100, 10**9)
    await store.commit([Put(A, b"1", 600), Reserve(budget, "r", 80)])
    server.stop()
    with pytest.raises(StoreDown, match="does not answer"):
        await store.read([A])
    server.start()
    assert (await store.read([A])).values[A].value == b"1"
    assert isinstance(await store.commit([Settle(budget, "r", 7)]), Committed)
    assert (await store.read(meters=[budget])).standings[budget].remaining == 93


async def test_a_version_is_not_given_again_after_all_was_lost(store: Store, admin: "redis.Redis") -> None:
    await store.commit([Put(A, b"1", 60)])
    seen = (await store.read([A])).values[A].version
    admin.flushall()
    await store.commit([Put(A, b"1", 60)])
    assert not isinstance(await store.commit([Expect(A, seen)]), Committed)


async def test_the_time_is_the_servers_where_no_clock_is_given(store: Store, admin: "redis.Redis") -> None:
    window = Window(A, 5, 1000)
    before = admin.time()
    await store.commit([Take(window)])
    standing = (await store.read(meters=[window])).standings[window]
    assert isinstance(before, tuple)
    assert 999 - (admin.time()[0] - before[0]) <= standing.reset_after <= 1000


async def test_everything_of_a_store_lies_in_one_slot_of_a_cluster(store: Store, admin: "redis.Redis") -> None:
    await store.commit([Put(A, b"1", 60), Take(Window(A, 5, 60))])
    keys = names_of(admin)
    assert keys
    assert all(key.startswith(b"{lexgate}:") for key in keys)


async def test_nothing_is_left_of_what_is_over(server: RedisServer, admin: "redis.Redis") -> None:
    now = 1_800_000_000.0
    store = await open_store(server.url(), lambda: now)
    await store.commit([Put(A, b"1", 60), Take(Window(A, 5, 60))])
    now += 61
    await store.commit([Put(Key("vars", "bob", "a"), b"1", 60)])
    await store.close()
    assert names_of(admin) == sorted(
        [b"{lexgate}:" + each for each in (b"layout", b"seq", b"a:vars", b"x:vars", b"l:vars")]
        + [b"{lexgate}:f:vars\0bob", b"{lexgate}:w:vars\0bob"]
    )


async def test_limits_beyond_what_the_server_counts_exactly_are_never_larger(store: Store) -> None:
    vast = Allowance(A, 10**18, "day")
    assert isinstance(await store.commit([Reserve(vast, "r", 10**17)]), Committed)
    standing = (await store.read(meters=[vast])).standings[vast]
    assert standing == Standing(10**18, 0, 2**53 - 1, standing.reset_after)


async def test_a_newer_layout_is_refused_in_words(server: RedisServer, admin: "redis.Redis") -> None:
    admin.set("{lexgate}:layout", 99)
    with pytest.raises(StoreMismatch, match=r"layout 99.*knows up to 1.*start the newer release"):
        await open_store(server.url())


async def test_a_server_that_forgets_keys_is_refused(server: RedisServer, admin: "redis.Redis") -> None:
    admin.config_set("maxmemory", 100_000_000)
    admin.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StoreError, match="maxmemory-policy allkeys-lru"):
            await open_store(server.url())
        admin.config_set("maxmemory-policy", "volatile-lru")
        await (await open_store(server.url())).close()
    finally:
        admin.config_set("maxmemory", 0)


async def test_a_full_server_is_down_and_has_done_nothing(store: Store, admin: "redis.Redis") -> None:
    await store.commit([Put(A, b"1", 60)])
    admin.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreDown):
            await store.commit([Take(Window(A, 5, 60)), Put(A, b"2", 60)])
    finally:
        admin.config_set("maxmemory", 0)
    facts = await store.read([A], meters=[Window(A, 5, 60)])
    assert facts.values[A].value == b"1"
    assert facts.standings[Window(A, 5, 60)].remaining == 5


async def test_a_wrong_password_is_said_and_not_shown(server: RedisServer, admin: "redis.Redis") -> None:
    admin.config_set("requirepass", "the right one")
    try:
        with pytest.raises(StoreDown, match="does not answer") as caught:
            await open_store(f"redis://:geheim@127.0.0.1:{server.port}")
    finally:
        admin.config_set("requirepass", "")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["valkey", "redis"])
async def test_every_name_of_the_scheme_opens_the_same_store(server: RedisServer, scheme: str) -> None:
    store = await open_store(server.url().replace("redis", scheme, 1))
    await store.close()


async def test_two_prefixes_are_two_stores(server: RedisServer, store: Store) -> None:
    other = await open_store(server.url("other"))
    await store.commit([Put(A, b"1", 60)])
    assert (await other.read([A])).values == {}
    await other.close()

"""State in Redis or Valkey, shared by machines: every look and every commit is one script, which the server runs alone.

The arithmetic stands twice, in Python (`meters.py`, `ledger.py`) and in Lua (`lua/`), because only the server can judge
and enact in one step without making others wait for a network; the tests hold both to the same answers.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, assert_never
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from engine.world.store.base import (
    NAME_LENGTH,
    RECORDS,
    Add,
    Allowance,
    Bucket,
    Caps,
    Change,
    Clear,
    Clock,
    Committed,
    Conflict,
    Delete,
    Expect,
    Fact,
    Facts,
    Key,
    Meter,
    Outcome,
    Page,
    Put,
    Refused,
    Release,
    Renew,
    Reserve,
    Result,
    Settle,
    Settled,
    Slots,
    Standing,
    StoreDown,
    StoreError,
    StoreMismatch,
    Take,
    Tally,
    Window,
)
from engine.world.store.meters import place
from engine.world.store.places import place_text

TIMEOUT: Final = 2.0  # seconds for a connection, an answer, and a place in the pool: each
CONNECTIONS: Final = 16
LAYOUT: Final = 1
"""The version of the keys and of what they hold; a newer one is refused."""

_MOST: Final = 2**53 - 1  # the largest number that Lua counts exactly; a larger limit is less room, never more
_PREFIX: Final = "lexgate"
_VALUES: Final = 4  # ARGV where values begin
_SECOND: Final = 1_000_000

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class RedisStore:
    """One server, or one hash slot of a cluster. Used in the event loop in which it was opened."""

    def __init__(self, server: client.Redis, prefix: str, clock: Clock | None, caps: Caps) -> None:
        self.tally = Tally()
        self._server = server
        self._prefix = f"{{{prefix}}}"
        self._clock = clock
        self._caps = caps
        self._script = _source()
        self._digest = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._closed = False

    async def prepare(self) -> None:
        """Look whether this server can be trusted with limits. Raises StoreDown, StoreMismatch, StoreError."""
        key = f"{self._prefix}:layout"
        try:
            await self._server.set(key, LAYOUT, nx=True)
            layout = int(await self._server.get(key) or 0)
            memory = await self._server.info("memory")
        except (RedisError, OSError) as error:
            raise self._down(error) from error
        if layout > LAYOUT:
            raise StoreMismatch(
                f"the state store has layout {layout}, and this release knows up to {LAYOUT}: "
                "start the newer release again, or point `state:` to another database or prefix"
            )
        policy = str(memory.get("maxmemory_policy", ""))
        if policy.startswith("allkeys") and memory.get("maxmemory"):
            raise StoreError(
                f"the Redis server forgets keys when its memory is full (maxmemory-policy {policy}), limits and budgets "
                "too: set it to noeviction or volatile-lru, or use a server of its own"
            )

    async def read(
        self,
        keys: Iterable[Key] = (),
        owners: Iterable[tuple[str, str]] = (),
        meters: Iterable[Meter] = (),
    ) -> Facts:
        asked, of, meters = tuple(keys), tuple(owners), tuple(meters)
        question = {"keys": asked, "owners": of, "meters": [_meter(meter) for meter in meters]}
        (found, owned, standings), values = await self._ask("read", question)
        where = [(asked[at], version) for at, version in found]
        where += [(Key(of[at][0], of[at][1], name), version) for at, name, version in owned]
        return Facts(
            {key: Fact(value, version) for (key, version), value in zip(where, values, strict=True)},
            {meter: _standing(meter, each) for meter, each in zip(meters, standings, strict=True)},
        )

    async def scan(self, space: str, owner: str | None = None, *, after: Key | None = None, limit: int = 100) -> Page:
        question: dict[str, Any] = {"space": space, "limit": limit + 1}
        if owner is not None:
            question["owner"] = owner
        if after is not None:
            question["after"] = (after.owner, after.name)
        found, values = await self._ask("scan", question)
        keys = [Key(space, owner, name) for owner, name, _ in found][:limit]
        facts = {key: Fact(value, each[2]) for key, each, value in zip(keys, found, values, strict=False)}
        return Page(facts, keys[-1] if len(found) > limit else None)

    async def commit(self, changes: Sequence[Change]) -> Outcome:
        values: list[bytes] = []
        written = [_change(change, values, self._caps) for change in changes]
        spaces = {change.key.space for change in changes if isinstance(change, Put | Add)}
        caps = {space: (cap.per_owner, cap.in_all) for space in spaces for cap in [self._caps.of(space)]}
        records = {space: True for space in spaces if space.startswith(RECORDS)}
        question = {"changes": written, "caps": caps, "records": records, "meters": self._caps.meters}
        found, fresh = await self._ask("commit", question, values)
        match found:
            case ["committed", results]:
                return Committed(tuple([_result(change, each) for change, each in zip(changes, results, strict=True)]))
            case ["refused", which, [reason, wait, *standing]]:
                change = changes[which]
                after = None if wait < 0 else wait / _SECOND
                met = isinstance(change, Take | Reserve) and standing
                return Refused(which, after, _standing(change.meter, standing[0]) if met else None, reason)
            case ["conflict", stale, versions]:
                keys = [_key_of(changes[index]) for index in stale]
                facts = {
                    key: Fact(value, version)
                    for key, version, value in zip(keys, versions, fresh, strict=True)
                    if version
                }
                return Conflict(tuple(keys), Facts(facts))
        raise AssertionError(found)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._server.aclose()

    async def _ask(
        self, what: str, question: Mapping[str, Any], values: Sequence[bytes] = ()
    ) -> tuple[Any, list[bytes]]:
        """Run the script once, and only once: whether a call that failed was done nobody knows."""
        if self._closed:
            raise StoreDown("the state store is closed")
        now = b"" if self._clock is None else b"%d" % int(self._clock() * _SECOND)
        arguments: tuple[str | bytes, ...] = (self._prefix, what, now, _pack(question), *values)
        try:
            try:
                answer = await self._server.evalsha(self._digest, 1, *arguments)
            except NoScriptError:  # the server was restarted, or is another one; nothing was run
                answer = await self._server.eval(self._script, 1, *arguments)
        except (TimeoutError, RedisError, OSError) as error:
            self.tally.down += 1
            raise self._down(error) from error
        found, (evicted, expired, full) = _unpack(answer[0])
        self.tally.evicted += evicted
        self.tally.expired += expired
        self.tally.full += full
        return found, answer[1:]

    @staticmethod
    def _down(error: Exception) -> StoreDown:
        return StoreDown(f"the state store does not answer: {str(error) or type(error).__name__}")


def _source() -> str:
    folder = files(__package__) / "lua"
    return "".join((folder / name).read_text(encoding="utf-8") for name in ("meters.lua", "ledger.lua"))


# --- what the script is told, and what it answers; `lua/ledger.lua` is the other side


def _meter(meter: Meter) -> tuple[str, str, int, int | str]:
    where, limit = place_text(place(meter)), min(meter.limit, _MOST)
    match meter:
        case Window(seconds=seconds):
            return "window", where, limit, round(seconds * _SECOND)
        case Bucket(seconds=seconds):
            return "bucket", where, limit, round(seconds * _SECOND)
        case Allowance(period=period):
            return "allowance", where, limit, period
        case Slots():
            return "slots", where, limit, 0
        case _:
            assert_never(meter)


def _change(change: Change, values: list[bytes], caps: Caps) -> tuple[Any, ...]:
    match change:
        case Put(key=key, value=value, ttl=ttl, expect=expect):
            objection = _too_large(key) or ("too_large" if len(value) > caps.value_bytes else "")
            values.append(b"" if objection else value)
            return "put", key, objection, _expected(expect), round(ttl * _SECOND), _VALUES - 1 + len(values)
        case Delete(key=key, expect=expect):
            return "delete", key, _expected(expect)
        case Expect(key=key, version=version):
            return "expect", key, _expected(version)
        case Clear(space=space, owner=owner):
            return "clear", (space, owner)
        case Add(key=key, amount=amount, ttl=ttl, refresh=refresh):
            return "add", key, _too_large(key), amount, round(ttl * _SECOND), refresh
        case Take(meter=meter, amount=amount):
            return "take", _meter(meter), _amount(amount)
        case Reserve(meter=meter, id=id, amount=amount, lease=lease, lapse=lapse):
            return "reserve", _meter(meter), _amount(amount), id, round(lease * _SECOND), lapse == "spend"
        case Renew(meter=meter, id=id, lease=lease):
            return "renew", _meter(meter), id, round(lease * _SECOND)
        case Settle(meter=meter, id=id, amount=amount):
            return "settle", _meter(meter), id, min(amount, _MOST)
        case Release(meter=meter, id=id):
            return "release", _meter(meter), id
        case _:
            assert_never(change)


def _amount(amount: int) -> int:
    if amount < 0:
        raise ValueError(f"a meter cannot be charged with {amount}")
    return min(amount, _MOST)


def _expected(version: int | None) -> int:
    """-1 for none; a version that no Redis gave equals none that it has."""
    return -1 if version is None else min(version, _MOST)


def _too_large(key: Key) -> str:
    return "too_large" if len(key.owner) > NAME_LENGTH or len(key.name) > NAME_LENGTH else ""


def _key_of(change: Change) -> Key:
    assert isinstance(change, Put | Delete | Expect)
    return change.key


def _result(change: Change, answer: Any) -> Result:
    match change:
        case Take() | Reserve():
            return _standing(change.meter, answer)
        case Settle():
            known, overrun, standing = answer
            return Settled(bool(known), overrun, _standing(change.meter, standing))
        case _:
            result: int = answer
            return result


def _standing(meter: Meter, answer: Sequence[int]) -> Standing:
    remaining, reserved, reset = answer
    return Standing(meter.limit, remaining, reserved, reset / _SECOND)


async def open_room(url: str, clock: Clock | None, caps: Caps) -> RedisStore:
    """`redis://` and `valkey://`, with TLS `rediss://` and `valkeys://`; `?prefix=name` sets apart what shares a database."""
    parts = urlsplit(url)
    scheme = parts.scheme.replace("valkey", "redis")
    query = dict(parse_qsl(parts.query))
    prefix = query.pop("prefix", _PREFIX)
    try:
        pool = client.BlockingConnectionPool.from_url(
            urlunsplit((scheme, parts.netloc, parts.path, urlencode(query), "")),
            max_connections=CONNECTIONS,
            timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
    except (ValueError, TypeError) as error:
        raise StoreError("this is no URL of a Redis server: redis://[user:password@]host[:port][/database]") from error
    store = RedisStore(client.Redis.from_pool(pool), prefix, clock, caps)
    try:
        await store.prepare()
    except BaseException:
        await store.close()
        raise
    return store

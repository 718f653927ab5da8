"""All processes that share a store: who they are and what each serves, and what an operator told all of them to do.

Each tells of itself every other second. What is ordered stands in the store under a revision that each asks for twice a
second; so an order reaches workers and machines that the operator never saw, and those that start later.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from engine.world.store.base import Committed, Delete, Fact, Key, Put, Store, StoreDown
from engine.world.store.records import FOREVER, bump, revisions

MEMBERS: Final = "fleet"
ORDERS: Final = "records/orders"
REVISION: Final = "orders"
LOOK_EVERY: Final = 0.5
TELL_EVERY: Final = 2.0
FORGOTTEN_AFTER: Final = 10.0
_TRIES: Final = 5
_PLACE: Final = Key(ORDERS, "", "all")

_LOG: Final = structlog.get_logger("lexgate")


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One process, as it told of itself last. Times are seconds since 1970."""

    id: str
    host: str
    pid: int
    worker: int
    version: str
    revision: str
    pinned: str = ""
    serving_last_good: bool = False
    leaving: bool = False
    problem: str = ""
    """Why it could not do what was ordered."""
    started: float = 0.0
    at: float = 0.0


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every process. `reloads` counts how often a reload was asked for."""

    pin: str = ""
    reloads: int = 0
    drained: tuple[str, ...] = ()


Carry = Callable[[Orders, Orders], Awaitable[str]]
"""Given the orders before and now: does what is new of them, and answers why that was not possible, or ""."""


class Fleet:
    """This process among the others. `told` makes what it tells of itself; the fleet fills in who it is."""

    def __init__(
        self, store: Store, told: Callable[[], Member], carry: Carry, clock: Callable[[], float], name: str = ""
    ) -> None:
        self._store = store
        self._told = told
        self._carry = carry
        self._clock = clock
        self.host = name or socket.gethostname()
        self.id = f"{self.host}:{os.getpid()}"
        self.orders = Orders()
        self.problem = ""
        self._revision = 0
        self._looked = False
        self._task: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()

    async def start(self) -> None:
        """Do what was ordered before this process began, and tell of it. Raises StoreDown."""
        await self.look()
        await self.tell()
        self._task = asyncio.create_task(self._go_on())

    async def close(self) -> None:
        """Be forgotten at once, as far as the store can be reached."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(StoreDown):
            await self._store.commit([Delete(Key(MEMBERS, "", self.id))])

    async def members(self) -> list[Member]:
        """Who told of itself within the last seconds, this process as it is now. Raises StoreDown."""
        await self.tell()
        page = await self._store.scan(MEMBERS, limit=1000)
        found = [msgspec.json.decode(fact.value, type=Member) for fact in page.facts.values()]
        return sorted(found, key=lambda each: (each.host, each.worker, each.pid))

    async def order(self, change: Callable[[Orders], Orders]) -> Orders:
        """Order something of all, and do it here at once. Raises StoreDown, and TimeoutError where too many order."""
        for _ in range(_TRIES):
            fact = await self._written()
            orders = change(msgspec.json.decode(fact.value, type=Orders) if fact is not None else Orders())
            put = Put(_PLACE, msgspec.json.encode(orders), FOREVER, expect=fact.version if fact is not None else 0)
            if isinstance(await self._store.commit([put, bump(REVISION)]), Committed):
                await self.look()
                await self.tell()
                return orders
        raise TimeoutError("others order at the same time; try again")

    async def look(self) -> None:
        """See whether something was ordered, and do it. Raises StoreDown."""
        async with self._looking:
            revision = (await revisions(self._store, REVISION))[REVISION]
            if revision == self._revision:
                self._looked = True
                return
            fact = await self._written()
            now = msgspec.json.decode(fact.value, type=Orders) if fact is not None else Orders()
            # A process that begins has read its policies a moment ago, whatever was ordered before.
            before = self.orders if self._looked else msgspec.structs.replace(Orders(), reloads=now.reloads)
            self.orders, self._revision, self._looked = now, revision, True
            self.problem = await self._carry(before, now)
            if self.problem:
                _LOG.error("order not done", problem=self.problem)

    async def tell(self) -> None:
        """Say how this process is. Raises StoreDown."""
        told = msgspec.structs.replace(
            self._told(), id=self.id, host=self.host, pid=os.getpid(), problem=self.problem, at=self._clock()
        )
        place = Key(MEMBERS, "", self.id)
        await self._store.commit([Put(place, msgspec.json.encode(told), FORGOTTEN_AFTER)])

    async def _written(self) -> Fact | None:
        return (await self._store.read(keys=[_PLACE])).values.get(_PLACE)

    async def _go_on(self) -> None:
        since = 0.0
        while True:
            await asyncio.sleep(LOOK_EVERY)
            since += LOOK_EVERY
            with contextlib.suppress(StoreDown):  # said by the store itself, once
                await self.look()
                if since >= TELL_EVERY:
                    since = 0.0
                    await self.tell()

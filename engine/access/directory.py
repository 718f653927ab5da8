"""What a server knows of the store's keys, teams and roles, and how fresh it is: by one revision, asked beside requests."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog

from engine.access.records import REVISION, ROLES, TEAMS, KeyRecord, decoded_key, key_place, stored_scopes, used_place
from engine.access.scopes import Scope
from engine.world.beacon import Beacon
from engine.world.store.base import Put, Store, StoreDown
from engine.world.store.records import revisions

LIVES: Final = 1.0
"""Seconds after the last contact with the store for which what is known counts."""

EVERY: Final = 0.4
"""Seconds between two looks at the store: two fit into what a look is good for."""

PATIENCE: Final = 0.8
"""Seconds that one look may take."""

NOTED_EVERY: Final = 60.0
"""Seconds between two notes of when keys were used."""

USE_KEPT: Final = 400 * 86_400.0

_LOG: Final = structlog.get_logger("lexgate")


class Directory:
    """A view of the store. `revision` is another after every change of a key, a team or a role; `timer` never goes back."""

    def __init__(
        self, store: Store, timer: Callable[[], float], clock: Callable[[], float], beacon: Beacon | None = None
    ) -> None:
        self._store = store
        self._timer = timer
        self._clock = clock
        self._beacon = beacon
        self.revision = -1
        self.contact = -LIVES
        """When the last look at the store that was answered began."""
        self.teams: dict[str, Scope] = {}
        self.roles: dict[str, Scope] = {}
        self._told = self._seen = 0
        """How often another process of this host told of a change, and how often it had when the last look began."""
        self._look: asyncio.Task[None] | None = None
        self._poll: asyncio.Task[None] | None = None
        self._used: dict[str, float] = {}
        self._noted = 0.0
        self._down = False

    async def start(self) -> None:
        """Look once, then again and again beside the requests. Raises StoreDown."""
        await self._ask()
        self._noted = self._timer()
        self._poll = asyncio.create_task(self._keep_looking())

    async def close(self) -> None:
        """Stop looking, and write down when keys were used."""
        for task in (self._poll, self._look):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, StoreDown, TimeoutError):
                    await task
        with contextlib.suppress(StoreDown):
            await self._note_use()

    def is_fresh(self) -> bool:
        """Whether what is known counts: nobody of this host told of a change, and the store was met a moment ago."""
        now = self._timer()
        if self._beacon is not None and self._beacon.rang():
            self._told += 1
        return self._seen == self._told and now - self.contact <= LIVES

    async def refresh(self) -> None:
        """Look at the store now; requests that wait at one time share one look. Raises StoreDown."""
        for _ in range(2):  # a look that was under way when somebody told of a change may have seen too little
            if self._look is None or self._look.done():
                self._look = asyncio.create_task(self._ask())
            try:
                await asyncio.shield(self._look)
            except TimeoutError:
                raise StoreDown("the state store does not answer in time") from None
            if self._seen == self._told:
                return

    async def find(self, id: str) -> KeyRecord | None:
        """The key of a public id, from the store. Raises StoreDown."""
        place = key_place(id)
        try:
            async with asyncio.timeout(PATIENCE):
                fact = (await self._store.read(keys=[place])).values.get(place)
        except TimeoutError:
            raise StoreDown("the state store does not answer in time") from None
        return decoded_key(fact) if fact is not None else None

    def used(self, id: str) -> None:
        """Remember that a key was used now; it is written down by the minute."""
        self._used[id] = self._clock()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.refresh()
            except StoreDown as problem:
                if not self._down:
                    _LOG.error("keys cannot be checked", reason=str(problem))
                self._down = True
                continue
            if self._down:
                self._down = False
                _LOG.info("keys can be checked again")
            if self._timer() - self._noted >= NOTED_EVERY:
                self._noted = self._timer()
                with contextlib.suppress(StoreDown):
                    await self._note_use()

    async def _ask(self) -> None:
        began, told = self._timer(), self._told
        async with asyncio.timeout(PATIENCE):
            found = (await revisions(self._store, REVISION))[REVISION]
            if found != self.revision:
                teams, roles = await stored_scopes(self._store, TEAMS), await stored_scopes(self._store, ROLES)
                # What was read is at least as new as the revision, which was read before it.
                self.teams, self.roles, self.revision = teams, roles, found
        self.contact, self._seen = began, told

    async def _note_use(self) -> None:
        used, self._used = self._used, {}
        if used:
            await self._store.commit([Put(used_place(id), b"%d" % at, USE_KEPT) for id, at in used.items()])

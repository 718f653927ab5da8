"""Making and changing keys, teams and roles: what `policy keys` and an admin interface do, one commit each."""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from engine.access import keys
from engine.access.records import (
    ADMIN_ROLES,
    KEYS,
    ROLES,
    TEAMS,
    USED,
    KeyRecord,
    all_facts,
    decoded_key,
    key_place,
    name_place,
    removed_scope,
    stored_scopes,
    written_key,
    written_scope,
)
from engine.access.scopes import Grant, Scope
from engine.diagnostics import LexgateError
from engine.world.beacon import Beacon
from engine.world.store.base import Change, Committed, Fact, Outcome, Store

_NAME: Final = re.compile(r"(?!lxg_)[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_TRIES: Final = 5


class RegistryError(LexgateError):
    """What was asked cannot be done; the text says why and what can."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A key that is to be made. `expires` is seconds since 1970; None: never."""

    name: str = ""
    team: str | None = None
    roles: tuple[str, ...] = ()
    scope: Scope = Scope()
    expires: float | None = None


class Issued(NamedTuple):
    """A key and its text, which nobody can show again."""

    record: KeyRecord
    text: str


class Registry:
    """The keys of a store. Every change acts on every server that shares it, within a second at most."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        beacon: Beacon | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random_bytes = random_bytes
        self._beacon = beacon

    async def create(self, draft: Draft) -> Issued:
        """A new key. Raises RegistryError, StoreDown."""
        now = self._clock()
        self._judge(draft, now)
        minted = keys.mint(self._random_bytes)
        record = KeyRecord(
            id=minted.id,
            hash=minted.hash,
            name=draft.name,
            team=draft.team,
            roles=draft.roles,
            scope=draft.scope,
            created=now,
            expires=draft.expires,
        )
        outcome = await self._commit(written_key(record, expect=0))
        if not isinstance(outcome, Committed):
            raise RegistryError(f"there is, or was, a key named '{draft.name}': a name is never given to another one")
        return Issued(record, minted.text)

    async def rotate(self, which: str, grace: float = 0.0) -> Issued:
        """A new secret for a key, which stays the same caller; the old one counts for `grace` seconds more.

        Raises RegistryError, StoreDown.
        """
        minted = keys.mint(self._random_bytes)

        def rotated(record: KeyRecord, now: float) -> KeyRecord:
            nonlocal minted
            if record.revoked is not None:
                raise RegistryError(f"the key {which} was revoked: create another one")
            minted = keys.mint(self._random_bytes, record.id)
            old = (record.hash, now + grace) if grace > 0 else ("", 0.0)
            return replace(record, hash=minted.hash, old_hash=old[0], old_until=old[1])

        record = await self._change(which, rotated)
        return Issued(record, minted.text)

    async def revoke(self, which: str) -> KeyRecord:
        """End a key for good; it stays on record. Raises RegistryError, StoreDown."""

        def revoked(record: KeyRecord, now: float) -> KeyRecord:
            return record if record.revoked is not None else replace(record, revoked=now, old_hash="", old_until=0.0)

        return await self._change(which, revoked)

    async def get(self, which: str) -> KeyRecord:
        """A key by its public id or its name. Raises RegistryError, StoreDown."""
        return (await self._found(which))[0]

    async def all(self) -> list[KeyRecord]:
        """Every key, the oldest first. Raises StoreDown."""
        found = [decoded_key(fact) for fact in (await all_facts(self._store, KEYS)).values()]
        return sorted(found, key=lambda record: (record.created, record.id))

    async def last_used(self) -> dict[str, float]:
        """When each key was used last, to the minute, by public id. Raises StoreDown."""
        facts = await all_facts(self._store, USED)
        return {key.name: msgspec.json.decode(fact.value, type=float) for key, fact in facts.items()}

    async def has_admin(self) -> bool:
        """Whether there is a key with the role admin that counts now. Raises StoreDown."""
        now = self._clock()
        return any("admin" in each.roles and each.state(now) == "active" for each in await self.all())

    async def teams(self) -> dict[str, Scope]:
        """The teams in the store; those of the configuration are not among them. Raises StoreDown."""
        return await stored_scopes(self._store, TEAMS)

    async def roles(self) -> dict[str, Scope]:
        """The roles in the store. Raises StoreDown."""
        return await stored_scopes(self._store, ROLES)

    async def put_team(self, name: str, scope: Scope) -> None:
        """Make or change a team. Raises RegistryError, StoreDown."""
        await self._put_scope(TEAMS, name, scope)

    async def put_role(self, name: str, scope: Scope) -> None:
        """Make or change a role. Raises RegistryError, StoreDown."""
        if name in ADMIN_ROLES:
            raise RegistryError(f"the role '{name}' is built in, and is not for asking models")
        await self._put_scope(ROLES, name, scope)

    async def remove_team(self, name: str) -> None:
        """Keys of a team that is nowhere else are refused from now on. Raises StoreDown."""
        await self._commit(removed_scope(TEAMS, name))

    async def remove_role(self, name: str) -> None:
        """Raises StoreDown."""
        await self._commit(removed_scope(ROLES, name))

    # --- how

    async def _put_scope(self, space: str, name: str, scope: Scope) -> None:
        if _NAME.fullmatch(name) is None:
            raise RegistryError(f"'{name}' is no name: {_NAME_RULE}")
        judged(scope)
        outcome = await self._commit(written_scope(space, name, scope))
        if not isinstance(outcome, Committed):
            raise RegistryError("the store has no room for another record")

    def _judge(self, draft: Draft, now: float) -> None:
        if draft.name and _NAME.fullmatch(draft.name) is None:
            raise RegistryError(f"'{draft.name}' is no name for a key: {_NAME_RULE}")
        for word in filter(None, (draft.team, *draft.roles)):
            if _NAME.fullmatch(word) is None:
                raise RegistryError(f"'{word}' is no name of a team or role: {_NAME_RULE}")
        if draft.expires is not None and draft.expires <= now:
            raise RegistryError("the key would have expired before it was made")
        admin = ADMIN_ROLES.intersection(draft.roles)
        if admin and (
            draft.team or set(draft.roles) - ADMIN_ROLES or draft.scope != Scope(addresses=draft.scope.addresses)
        ):
            role = min(admin)
            raise RegistryError(
                f"a key with the role '{role}' is not for asking models, so it has no team, models, routes, tools "
                "or protocols; create a second key for that"
            )
        judged(draft.scope)

    async def _found(self, which: str) -> tuple[KeyRecord, int]:
        """The key with its version."""
        id = which
        if not which.startswith(keys.PREFIX):
            place = name_place(which)
            named = (await self._store.read(keys=[place])).values.get(place)
            id = named.value.decode() if named is not None else ""
        fact: Fact | None = None
        if id:
            place = key_place(id)
            fact = (await self._store.read(keys=[place])).values.get(place)
        if fact is None:
            shown = which if len(which) <= keys.ID_LENGTH + len(keys.PREFIX) or not id else f"{which[:8]}..."
            raise RegistryError(f"there is no key '{shown}'; `policy keys list` shows ids and names")
        return decoded_key(fact), fact.version

    async def _change(self, which: str, change: Callable[[KeyRecord, float], KeyRecord]) -> KeyRecord:
        for _ in range(_TRIES):
            record, version = await self._found(which)
            changed = change(record, self._clock())
            if isinstance(await self._commit(written_key(changed, expect=version)), Committed):
                return changed
        raise RegistryError(f"the key {which} is being changed by somebody else; try again")

    async def _commit(self, changes: Sequence[Change]) -> Outcome:
        outcome = await self._store.commit(changes)
        if self._beacon is not None:
            self._beacon.ring()
        return outcome


_NAME_RULE: Final = "up to 64 letters, digits and . _ @ + -, beginning with a letter or digit"


def judged(scope: Scope) -> Scope:
    """The scope, where it can be held. Raises RegistryError."""
    try:
        Grant([("", scope)])
    except ValueError as wrong:
        raise RegistryError(f"an address of a scope is a network such as 10.0.0.0/8: {wrong}") from None
    return scope

"""Keys, teams and roles as the store keeps them: without an end, under one revision that every change makes another."""

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from engine.access.scopes import Scope
from engine.world.store.base import Change, Delete, Fact, Key, Put, Store
from engine.world.store.records import FOREVER, bump

KEYS: Final = "records/keys"
KEY_NAMES: Final = "records/key-names"
TEAMS: Final = "records/teams"
ROLES: Final = "records/roles"
USED: Final = "key-use"
"""When keys were used last: not a record, for it may be forgotten."""
REVISION: Final = "access"

PAGE: Final = 500
ADMIN_ROLES: Final = frozenset(("admin", "operator", "auditor"))
"""Roles that look after the endpoint. Who has one is no user of models."""

T = TypeVar("T")


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A virtual key. Times are seconds since 1970. `hash` is that of the whole key; for a while after a rotation the
    `old_hash` counts too."""

    id: str
    hash: str
    name: str = ""
    team: str | None = None
    roles: tuple[str, ...] = ()
    scope: Scope = Scope()
    created: float = 0.0
    expires: float | None = None
    revoked: float | None = None
    old_hash: str = ""
    old_until: float = 0.0

    @property
    def caller(self) -> str:
        """Who the holder is for rules and state; of no other kind of caller an id begins so."""
        return f"key:{self.name or self.id}"

    @property
    def is_admin(self) -> bool:
        return not ADMIN_ROLES.isdisjoint(self.roles)

    def state(self, now: float) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


_encode: Final = msgspec.json.Encoder().encode
_decode_key: Final = msgspec.json.Decoder(KeyRecord).decode
_decode_scope: Final = msgspec.json.Decoder(Scope).decode


def key_place(id: str) -> Key:
    return Key(KEYS, "", id)


def name_place(name: str) -> Key:
    return Key(KEY_NAMES, "", name)


def used_place(id: str) -> Key:
    return Key(USED, "", id)


def decoded_key(fact: Fact) -> KeyRecord:
    return _decode_key(fact.value)


def written_key(record: KeyRecord, *, expect: int) -> list[Change]:
    """The changes that write a key over the version that was read (0: a new one)."""
    changes: list[Change] = [Put(key_place(record.id), _encode(record), FOREVER, expect=expect), bump(REVISION)]
    if record.name and not expect:
        # A name is never given twice, not even after its key was revoked: it is who the caller is.
        changes.append(Put(name_place(record.name), record.id.encode(), FOREVER, expect=0))
    return changes


def written_scope(space: str, name: str, scope: Scope) -> list[Change]:
    """The changes that write a team (`TEAMS`) or a role (`ROLES`)."""
    return [Put(Key(space, "", name), _encode(scope), FOREVER), bump(REVISION)]


def removed_scope(space: str, name: str) -> list[Change]:
    return [Delete(Key(space, "", name)), bump(REVISION)]


async def all_facts(store: Store, space: str) -> Mapping[Key, Fact]:
    """Every record of a space. Raises StoreDown."""
    found: dict[Key, Fact] = {}
    after: Key | None = None
    while True:
        page = await store.scan(space, after=after, limit=PAGE)
        found.update(page.facts)
        if page.after is None:
            return found
        after = page.after


async def stored_scopes(store: Store, space: str) -> dict[str, Scope]:
    """The teams or roles that are in the store, by name. Raises StoreDown."""
    return {key.name: _decode_scope(fact.value) for key, fact in (await all_facts(store, space)).items()}

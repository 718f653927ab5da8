"""Facts that last: records without an end, and revisions by which caches learn that something changed.

A record is a fact whose space begins with `records/` (see `base.RECORDS`): `Put(Key("records/keys", team, id), value,
FOREVER)`. `Store.scan` lists them. Whoever changes one adds `bump(name)` to the same commit; whoever keeps a copy asks
`revisions(store, name)` now and then, and reads again when the number is another than before.
"""

from typing import Final

from engine.world.store.base import Key, Put, Store

FOREVER: Final = 100 * 365 * 86_400.0
"""A time to live, in seconds, that nobody will see the end of."""

_SPACE: Final = "records/revisions"


def bump(name: str) -> Put:
    """The change that makes the revision of `name` another one. It never conflicts and cannot be lost."""
    return Put(_key(name), b"", FOREVER)


async def revisions(store: Store, *names: str) -> dict[str, int]:
    """What each name's revision is: a number without order, 0 if it was never bumped. One read of a row each.

    Compare for equality alone. A store that lost its data answers 0 or a number never seen: a copy is then read again.
    Raises StoreDown.
    """
    found = (await store.read(keys=[_key(name) for name in names])).values
    return {name: found[_key(name)].version if _key(name) in found else 0 for name in names}


def _key(name: str) -> Key:
    return Key(_SPACE, "", name)

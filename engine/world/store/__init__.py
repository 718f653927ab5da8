"""Where state lives: one contract (`base`), and a room for each kind of store, loaded only when a URL asks for it."""

import importlib
from collections.abc import Awaitable, Callable
from typing import Final

from engine.world.store.base import Caps, Clock, Store, StoreError

ROOMS: Final = {
    "memory": "engine.world.store.memory:open_room",
    "sqlite": "engine.world.store.sql_sqlite:open_room",
    "postgresql": "engine.world.store.sql_postgresql:open_room",
    "redis": "engine.world.store.redis:open_room",
    "rediss": "engine.world.store.redis:open_room",
    "valkey": "engine.world.store.redis:open_room",
    "valkeys": "engine.world.store.redis:open_room",
}
"""URL scheme -> what opens it: `async (url, clock, caps) -> Store`. The only place from which optional rooms load."""

EXTRAS: Final = {"postgresql": "postgresql", "redis": "redis", "rediss": "redis", "valkey": "redis", "valkeys": "redis"}
"""URL scheme -> the extra of the distribution that brings its client."""


async def open_store(url: str, clock: Clock | None = None, caps: Caps | None = None) -> Store:
    """Open the store of a URL, see docs/stores.md (`sqlite:////path` from the root; the file is made with its folder).

    Without a clock it is the server's own, where the store is a server, so that many machines share one; else this
    machine's. Must run in the event loop that will use the store. Raises `StoreDown` if it cannot be reached,
    `StoreMismatch` if it is of a newer release, `StoreError` for what no room knows or can use.
    """
    scheme = url.partition(":")[0]
    if scheme not in ROOMS:
        known = ", ".join(f"{each}://" for each in ROOMS)
        raise StoreError(f"no store is known for {scheme!r}: a URL begins with one of {known}")
    module, _, name = ROOMS[scheme].partition(":")
    try:
        room = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if scheme not in EXTRAS:
            raise
        command = f"pip install 'lexgate[{EXTRAS[scheme]}]'"
        raise StoreError(
            f"{scheme}:// needs the package {missing.name}, which is not installed: {command}"
        ) from missing
    opener: Callable[[str, Clock | None, Caps], Awaitable[Store]] = getattr(room, name)
    return await opener(url, clock, caps or Caps())

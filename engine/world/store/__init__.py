"""Where state lives: one contract (`base`), and a room for each kind of store, loaded only when a URL asks for it."""

import importlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

from engine.world.store.base import Caps, Clock, Store, StoreError

ROOMS: Final = {
    "memory": "engine.world.store.memory:open_room",
    "sqlite": "engine.world.store.sql:open_room",
}
"""URL scheme -> what opens it: `async (url, clock, caps) -> Store`. The only place from which optional rooms load."""


async def open_store(url: str, clock: Clock = time.time, caps: Caps | None = None) -> Store:
    """Open the store of a URL: `memory://`, or `sqlite:///path` (`sqlite:////path` from the root; made with its folder).

    Raises `StoreDown` if it cannot be reached, `StoreMismatch` if it is of a newer release, `StoreError` for a scheme
    that no room knows.
    """
    scheme = url.partition(":")[0]
    if scheme not in ROOMS:
        known = ", ".join(f"{each}://" for each in ROOMS)
        raise StoreError(f"no store is known for {scheme!r}: a URL begins with one of {known}")
    module, _, name = ROOMS[scheme].partition(":")
    opener: Callable[[str, Clock, Caps], Awaitable[Store]] = getattr(importlib.import_module(module), name)
    return await opener(url, clock, caps or Caps())

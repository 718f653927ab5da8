"""What one transaction of a SQL store works on: rows as they were read, changed in memory, and written back once."""

import random
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec
import sqlalchemy as sa

from engine.world.store import meters
from engine.world.store import sql_tables as tables
from engine.world.store.base import Caps, Key, Meter
from engine.world.store.ledger import Entry
from engine.world.store.places import place_text

_decode_state = msgspec.msgpack.Decoder(meters.State).decode
_encode = msgspec.msgpack.Encoder().encode


class Board:
    """What one transaction knows: rows as they were read, with the changes of its commits laid over them."""

    def __init__(self, connection: sa.Connection, now: int, caps: Caps, meters_left: int) -> None:
        self.connection = connection
        self.now = now
        self.caps = caps
        self.full = 0
        self.born: list[Key] = []
        self.entries: dict[Key, Entry | None] = {}
        self.changed: dict[Key, None] = {}  # in order of writing
        self.states: dict[str, meters.State] = {}
        self.touched: set[str] = set()
        self._stored: set[Key] = set()
        self._owned: dict[tuple[str, str], dict[Key, None]] = {}
        self._meters_left = meters_left

    def load(self, keys: Iterable[Key], owners: Iterable[tuple[str, str]], of: Iterable[Meter]) -> None:
        wanted = set(keys)
        for places in _portions(place_text(key) for key in wanted):
            self._remember(self.connection.execute(tables.SELECT_FACTS, {"places": places}))
        for space, owner in set(owners):
            self._remember(self.connection.execute(tables.SELECT_OWNER, {"space_": space, "owner_": owner}))
        for places in _portions({place_text(meters.place(meter)) for meter in of}):
            for place, state in self.connection.execute(tables.SELECT_METERS, {"places": places}):
                self.states[place] = _decode_state(state)

    def _remember(self, rows: Iterable[sa.Row[str, str, str, bytes, int, int]]) -> None:
        for space, owner, name, value, version, expires in rows:
            key = Key(space, owner, name)
            self._stored.add(key)
            self._owned.setdefault((space, owner), {})[key] = None
            self.entries[key] = Entry(value, version, expires)

    def of_owner(self, space: str, owner: str) -> list[Key]:
        return [key for key in self._owned.get((space, owner), ()) if self.entry(key)]

    # --- what `perform` writes on

    def entry(self, key: Key) -> Entry | None:
        entry = self.entries.get(key)
        return entry if entry is not None and entry.expires > self.now else None

    def version(self) -> int:
        # Random, because a sequence would be one more row that all writers contend for.
        return random.getrandbits(62) | 1

    def write(self, key: Key, entry: Entry) -> None:
        if self.entries.get(key) is None:
            self.born.append(key)
            self._owned.setdefault((key.space, key.owner), {})[key] = None
        self.entries[key] = entry
        self.changed.pop(key, None)
        self.changed[key] = None

    def erase(self, key: Key) -> bool:
        living = self.entry(key) is not None
        self.entries[key] = None
        self.changed[key] = None
        return living

    def clear(self, space: str, owner: str) -> int:
        return sum([self.erase(key) for key in self.of_owner(space, owner)])

    def places(self, space: str) -> int:
        unsaved = sum(key.space == space for key in self.born)
        return self.caps.of(space).in_all - unsaved - self._living(space)

    def _living(self, space: str) -> int:
        where = {"space_": space, "now": self.now}
        return int(self.connection.execute(tables.COUNT_LIVING, where).scalar_one())

    def state(self, meter: Meter) -> meters.State | None:
        place = place_text(meters.place(meter))
        state = self.states.get(place)
        if state is None:
            if self._meters_left <= 0:
                self.full += 1
                return None
            self._meters_left -= 1
            state = self.states[place] = meters.State()
        self.touched.add(place)
        return state

    # --- and what becomes of it

    def save(self, moments: Iterator[int]) -> None:
        rows, gone = [], []
        for key in self.changed:
            entry = self.entries[key]
            if entry is not None:
                rows.append(
                    {
                        "place": place_text(key),
                        "space": key.space,
                        "owner": key.owner,
                        "name": key.name,
                        "value": entry.value,
                        "version": entry.version,
                        "written": next(moments),
                        "expires": entry.expires,
                    }
                )
            elif key in self._stored:
                gone.append({"place_": place_text(key)})
        if rows:
            self.connection.execute(tables.UPSERT_FACT[self.connection.dialect.name], rows)
        if gone:
            self.connection.execute(tables.DELETE_FACT, gone)
        states = [(place, state) for place in self.touched if (state := self.states[place]).idle > self.now]
        if states:
            self.connection.execute(
                tables.UPSERT_METER[self.connection.dialect.name],
                [{"place": place, "state": _encode(state), "idle": state.idle} for place, state in states],
            )


def _portions(places: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(places)
    while portion := list(islice(remaining, 500)):  # SQLite binds 999 variables in old builds
        yield portion

"""One commit, judged and then enacted, in the same words for every store that keeps its state as values in Python."""

from collections.abc import Sequence
from typing import Protocol, assert_never

import msgspec

from engine.world.store import meters
from engine.world.store.base import (
    NAME_LENGTH,
    RECORDS,
    Add,
    Caps,
    Change,
    Clear,
    Committed,
    Conflict,
    Delete,
    Expect,
    Fact,
    Facts,
    Key,
    Meter,
    Outcome,
    Put,
    Refused,
    Release,
    Renew,
    Reserve,
    Result,
    Settle,
    Settled,
    Take,
)

MICROSECONDS = meters.SECOND


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A fact as it is kept: with the moment, in microseconds, from which it is no more."""

    value: bytes
    version: int
    expires: int


class Board(Protocol):
    """What a commit is enacted on: living facts and meter states of one store, for the length of one commit."""

    def entry(self, key: Key) -> Entry | None:
        """The living fact of a key."""
        ...

    def version(self) -> int:
        """A version that no fact has had."""
        ...

    def write(self, key: Key, entry: Entry) -> None: ...

    def erase(self, key: Key) -> bool:
        """Whether there was a living fact to remove."""
        ...

    def clear(self, space: str, owner: str) -> int: ...

    def places(self, space: str) -> int:
        """How many more facts a space can take."""
        ...

    def state(self, meter: Meter) -> meters.State | None:
        """The state of a meter, a new one if need be, to be changed in place; None if there is no place for another."""
        ...


def perform(changes: Sequence[Change], board: Board, caps: Caps, now: int) -> Outcome:
    """Judge all changes on the state before them; if none objects, enact them in order."""
    objection = _judge(changes, board, caps, now)
    if objection is not None:
        return objection
    return Committed(tuple([_enact(change, board, now) for change in changes]))


def _judge(changes: Sequence[Change], board: Board, caps: Caps, now: int) -> Refused | Conflict | None:
    stale: list[Key] = []
    refused: Refused | None = None
    promised: dict[int, int] = {}
    born: dict[str, set[Key]] = {}
    for which, change in enumerate(changes):
        match change:
            case Take() | Reserve():
                if refused is None:
                    refused = _refusal(which, change, board, promised, now)
            case Put(key=key, expect=expected) | Delete(key=key, expect=expected) | Expect(key=key, version=expected):
                if expected is not None and expected != _version(board.entry(key)):
                    stale.append(key)
                elif isinstance(change, Put) and refused is None:
                    if len(change.value) > caps.value_bytes:
                        refused = Refused(which, None, None, "too_large")
                    else:
                        refused = _unwritable(which, key, board, born)
            case Add(key=key):
                if refused is None:
                    refused = _unwritable(which, key, board, born)
            case Clear() | Renew() | Settle() | Release():
                pass
            case _:
                assert_never(change)
    if stale:
        fresh = {key: Fact(entry.value, entry.version) for key in stale if (entry := board.entry(key)) is not None}
        return Conflict(tuple(stale), Facts(fresh))
    return refused


def _unwritable(which: int, key: Key, board: Board, born: dict[str, set[Key]]) -> Refused | None:
    """Why a fact cannot be written: its name is too long, or it is one record more than there is place for."""
    if len(key.owner) > NAME_LENGTH or len(key.name) > NAME_LENGTH:
        return Refused(which, None, None, "too_large")
    if not key.space.startswith(RECORDS) or board.entry(key) is not None:
        return None
    new = born.setdefault(key.space, set())
    new.add(key)
    return Refused(which, None, None, "full") if len(new) > board.places(key.space) else None


def _refusal(which: int, change: Take | Reserve, board: Board, promised: dict[int, int], now: int) -> Refused | None:
    if change.amount < 0:
        raise ValueError(f"a meter cannot be charged with {change.amount}")
    meter = change.meter
    state = board.state(meter)
    if state is None:
        return Refused(which, meters.PATIENCE, None, "full")
    meters.bring(state, meter, now)
    if isinstance(change, Reserve) and meters.is_held(state, change.id):
        return None
    where = id(state)  # which lives until the commit ends
    wanted = promised.get(where, 0) + change.amount
    if wanted > meters.room(state, meter):
        return Refused(which, meters.wait(state, meter, wanted, now), meters.standing(state, meter, now))
    promised[where] = wanted
    return None


def _enact(change: Change, board: Board, now: int) -> Result:
    match change:
        case Take(meter=meter, amount=amount):
            state = _judged(board, meter)
            meters.charge(state, meter, amount, now)
            return meters.standing(state, meter, now)
        case Reserve(meter=meter):
            state = _judged(board, meter)
            meters.hold(state, change, now)
            return meters.standing(state, meter, now)
        case Put(key=key, value=value, ttl=ttl):
            version = board.version()
            board.write(key, Entry(value, version, now + round(ttl * MICROSECONDS)))
            return version
        case Delete(key=key):
            return int(board.erase(key))
        case Expect(version=version):
            return version
        case Clear(space=space, owner=owner):
            return board.clear(space, owner)
        case Add(key=key, amount=amount, ttl=ttl, refresh=refresh):
            entry = board.entry(key)
            total = (_count(entry.value) if entry else 0) + amount
            expires = entry.expires if entry and not refresh else now + round(ttl * MICROSECONDS)
            board.write(key, Entry(b"%d" % total, board.version(), expires))
            return total
        case Renew(meter=meter, id=id, lease=lease):
            return int(meters.renew(_state(board, meter, now), meter, id, lease, now))
        case Settle(meter=meter, id=id, amount=amount):
            state = _state(board, meter, now)
            known, overrun = meters.settle(state, meter, id, amount, now)
            return Settled(known, overrun, meters.standing(state, meter, now))
        case Release(meter=meter, id=id):
            return int(meters.release(_state(board, meter, now), meter, id))
        case _:
            assert_never(change)


def _judged(board: Board, meter: Meter) -> meters.State:
    state = board.state(meter)
    assert state is not None, "a meter without a place was refused"
    return state  # brought to this moment by its judgement


def _state(board: Board, meter: Meter, now: int) -> meters.State:
    # Where a full store has no state for a meter nothing can be held on it: a passing empty one answers correctly.
    state = board.state(meter) or meters.State()
    meters.bring(state, meter, now)
    return state


def _version(entry: Entry | None) -> int:
    return entry.version if entry else 0


def _count(value: bytes) -> int:
    try:
        return int(value)
    except ValueError:
        return 0

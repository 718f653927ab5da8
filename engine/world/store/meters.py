"""The arithmetic of limits and budgets: a meter's state is brought to a moment, asked for room, and charged.

Times are whole microseconds since 1970. INVARIANT: `spent + held <= limit` after every `charge` or `hold` that was asked
for room first; every rounding and every clock that is not quite right errs towards less room.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias, assert_never

import msgspec

from engine.world.store.base import Allowance, Bucket, Meter, Period, Reserve, Slots, Standing, Window

SECOND = 1_000_000
SLOTS = 60  # entries of a window's log above which takes of one sixtieth of it are merged
LATE = 3600 * SECOND  # how long a lapsed hold can still be settled
SKEW = 60 * SECOND  # clocks of one fleet differ by less; a time further ahead means that a clock was set back
PATIENCE = 1.0  # seconds to advise when only other callers' reservations are in the way: they may end at any time

Place: TypeAlias = tuple[str, float | str, str, str, str]


class Hold(msgspec.Struct, array_like=True, gc=False):
    amount: int
    until: int
    period: int  # start of the allowance's period to which it belongs; 0 for other meters
    spend: bool
    lapsed: bool = False


class State(msgspec.Struct, array_like=True):
    """One account. `spent` is in units of the meter, for a bucket in units times microseconds of its length."""

    spent: int = 0
    held: int = 0  # of `holds`, what counts now
    since: int = 0  # bucket: when `spent` was last drained; allowance: when the period began
    ends: int = 0  # allowance: when the period ends
    next_lapse: int = 0  # no hold changes before this; 0: there is none
    idle: int = 0  # from then on this state says no more than a new one
    log: list[tuple[int, int]] = []  # window: (time, amount), oldest first
    holds: dict[str, Hold] = {}


@lru_cache(maxsize=4096)
def place(meter: Meter) -> Place:
    """Where the state of a meter is kept. Kind and length belong to it: two lengths must not prune each other's log."""
    match meter:
        case Window(key=key, seconds=seconds):
            return ("window", seconds, *key)
        case Bucket(key=key, seconds=seconds):
            return ("bucket", seconds, *key)
        case Allowance(key=key, period=period):
            return ("allowance", period, *key)
        case Slots(key=key):
            return ("slots", 0, *key)
        case _:
            assert_never(meter)


def bring(state: State, meter: Meter, now: int) -> None:
    """Forget what `now` makes past: entries that left the window, drained tokens, an ended period, lapsed holds.

    INVARIANT: it makes no difference how often it was done before: what lapses does so at its own time, not when seen.
    """
    while state.next_lapse and state.next_lapse <= now:
        when = state.next_lapse
        _pass(state, meter, when)
        _lapse(state, meter, when)
    _pass(state, meter, now)


def _pass(state: State, meter: Meter, now: int) -> None:
    match meter:
        case Window():
            _slide(state, _micro(meter.seconds), now)
        case Bucket():
            if state.since > now + SKEW:
                state.since = now
            if now > state.since:
                state.spent = max(0, state.spent - meter.limit * (now - state.since))
                state.since = now
        case Allowance():
            if now >= state.ends:
                state.since, state.ends = bounds(meter.period, now)
                state.spent = 0
                state.held = 0  # what is still held was promised by the period that ended, and is settled in it
            elif state.since > now + SKEW:
                # The clock was set back by a whole period or more: what was spent since is counted where we are now.
                for hold in state.holds.values():
                    hold.period = 0 if hold.period != state.since else bounds(meter.period, now)[0]
                state.since, state.ends = bounds(meter.period, now)
        case Slots():
            pass
        case _:
            assert_never(meter)


def room(state: State, meter: Meter) -> int:
    """How much may still be taken; negative after an overrun or a lowered limit."""
    return meter.limit - state.held - _used(state, meter)


def charge(state: State, meter: Meter, amount: int, now: int) -> None:
    """Count `amount` as used now."""
    if not amount:
        return
    match meter:
        case Window():
            width = _micro(meter.seconds)
            when = max(now, state.log[-1][0]) if state.log else now
            # A merged entry carries its latest time, so that it leaves the window too late rather than too early.
            if meter.limit > SLOTS and state.log and state.log[-1][0] * SLOTS // width == when * SLOTS // width:
                state.log[-1] = (when, state.log[-1][1] + amount)
            else:
                state.log.append((when, amount))
            state.spent += amount
            state.idle = max(state.idle, when + width)
        case Bucket():
            width = _micro(meter.seconds)
            state.spent += amount * width
            state.idle = max(state.idle, now + _drains(state, meter))
        case Allowance():
            state.spent += amount
            state.idle = max(state.idle, state.ends)
        case Slots():
            pass
        case _:
            assert_never(meter)


def hold(state: State, wish: Reserve, now: int) -> None:
    """Set `wish.amount` aside under its id; a living hold of that id is renewed and nothing more."""
    until = now + _micro(wish.lease)
    held = state.holds.get(wish.id)
    if held is not None and not held.lapsed:
        held.until = until
    else:
        period = state.since if isinstance(wish.meter, Allowance) else 0
        state.holds[wish.id] = Hold(wish.amount, until, period, wish.lapse == "spend")
        state.held += wish.amount
    _will_lapse(state, wish.meter, state.holds[wish.id])


def is_held(state: State, id: str) -> bool:
    held = state.holds.get(id)
    return held is not None and not held.lapsed


def renew(state: State, meter: Meter, id: str, lease: float, now: int) -> bool:
    held = state.holds.get(id)
    if held is None or held.lapsed:
        return False
    held.until = now + _micro(lease)
    _will_lapse(state, meter, held)
    return True


def settle(state: State, meter: Meter, id: str, amount: int, now: int) -> tuple[bool, int]:
    """End a hold and charge what was used: whether there was one, and by how much the use exceeded it."""
    held = state.holds.pop(id, None)
    if held is None:
        return False, 0
    of_this_period = _counts(state, meter, held)
    if not held.lapsed:
        state.held -= held.amount if of_this_period else 0
    elif held.spend:
        amount_left = amount - held.amount  # the worst case is on the account already; only what exceeds it is new
        if of_this_period:
            charge(state, meter, max(0, amount_left), now)
        return True, max(0, amount_left)
    if of_this_period:
        charge(state, meter, amount, now)
    return True, max(0, amount - held.amount)


def release(state: State, meter: Meter, id: str) -> bool:
    """End a hold that was not used. One that lapsed into `spent` stays spent."""
    held = state.holds.pop(id, None)
    if held is None or held.lapsed:
        return False
    state.held -= held.amount if _counts(state, meter, held) else 0
    return True


def standing(state: State, meter: Meter, now: int) -> Standing:
    match meter:
        case Window():
            reset = state.log[-1][0] + _micro(meter.seconds) - now if state.log else 0
        case Bucket():
            reset = -(-state.spent // meter.limit) if meter.limit > 0 else 0
        case Allowance():
            reset = state.ends - now
        case Slots():
            reset = 0
        case _:
            assert_never(meter)
    return Standing(meter.limit, max(0, room(state, meter)), state.held, max(0, reset) / SECOND)


def wait(state: State, meter: Meter, amount: int, now: int) -> float | None:
    """Seconds until `amount` would fit if others' reservations stayed as they are; None if it never can."""
    if amount > meter.limit:
        return None
    missing = amount - room(state, meter)
    match meter:
        case Window():
            for when, used in state.log:
                missing -= used
                if missing <= 0:
                    return max(0, when + _micro(meter.seconds) - now) / SECOND
        case Bucket():
            width = _micro(meter.seconds)
            excess = state.spent - (meter.limit - state.held - amount) * width
            if excess <= state.spent:
                return -(-excess // max(meter.limit, 1)) / SECOND
        case Allowance():
            if amount > meter.limit - state.spent:
                return (state.ends - now) / SECOND
        case Slots():
            pass
        case _:
            assert_never(meter)
    return PATIENCE


def bounds(period: Period, now: int) -> tuple[int, int]:
    """Start and end of the period in which `now` lies."""
    if isinstance(period, int):
        width = period * SECOND
        return now - now % width, now - now % width + width
    moment = datetime.fromtimestamp(now // SECOND, UTC).replace(minute=0, second=0)
    if period == "hour":
        return _span(moment, moment + timedelta(hours=1))
    moment = moment.replace(hour=0)
    if period == "day":
        return _span(moment, moment + timedelta(days=1))
    if period == "week":
        moment -= timedelta(days=moment.weekday())
        return _span(moment, moment + timedelta(days=7))
    moment = moment.replace(day=1)
    return _span(moment, (moment + timedelta(days=32)).replace(day=1))


def _span(start: datetime, end: datetime) -> tuple[int, int]:
    return int(start.timestamp()) * SECOND, int(end.timestamp()) * SECOND


@lru_cache(maxsize=256)
def _micro(seconds: float) -> int:
    return max(1, round(seconds * SECOND))


def _used(state: State, meter: Meter) -> int:
    if isinstance(meter, Bucket):
        return -(-state.spent // _micro(meter.seconds))
    return state.spent


def _counts(state: State, meter: Meter, held: Hold) -> bool:
    return not isinstance(meter, Allowance) or held.period == state.since


def _slide(state: State, width: int, now: int) -> None:
    log = state.log
    if log and log[-1][0] > now + SKEW:
        log = state.log = [(min(when, now), used) for when, used in log]
    past = 0
    # An entry exactly one width old has left: a window is half open, [t, t + width).
    while past < len(log) and log[past][0] <= now - width:
        state.spent -= log[past][1]
        past += 1
    if past:
        del log[:past]


def _will_lapse(state: State, meter: Meter, held: Hold) -> None:
    """Keep the state for as long as the hold, or what becomes of it, says something."""
    state.next_lapse = min(state.next_lapse or held.until, held.until)
    state.idle = max(state.idle, held.until + LATE)
    if held.spend:
        match meter:
            case Window():
                state.idle = max(state.idle, held.until + _micro(meter.seconds))
            case Bucket():
                state.idle = max(state.idle, held.until + _drains(state, meter))
            case Allowance():
                state.idle = max(state.idle, state.ends)
            case Slots():
                pass
            case _:
                assert_never(meter)


def _drains(state: State, meter: Bucket) -> int:
    """How long a bucket takes at most to be full again, whatever is held too; an hour more covers lowered limits."""
    return (state.spent + state.held * _micro(meter.seconds)) // max(meter.limit, 1) + LATE


def _lapse(state: State, meter: Meter, now: int) -> None:
    following = 0
    for id, held in list(state.holds.items()):
        if not held.lapsed and held.until <= now:
            held.lapsed = True
            if _counts(state, meter, held):
                state.held -= held.amount
                if held.spend:
                    charge(state, meter, held.amount, now)
        if held.lapsed and held.until + LATE <= now:
            del state.holds[id]
            continue
        change = held.until + LATE if held.lapsed else held.until
        following = min(following or change, change)
    state.next_lapse = following

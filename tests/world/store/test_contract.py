"""What every state store must do. A new kind of store joins by one line in `KINDS`."""

import asyncio
import os
import stat
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.world.store import open_store
from engine.world.store.base import (
    Add,
    Allowance,
    Bucket,
    Cap,
    Caps,
    Change,
    Clear,
    Committed,
    Conflict,
    Delete,
    Expect,
    Key,
    Meter,
    Page,
    Put,
    Refused,
    Release,
    Renew,
    Reserve,
    Result,
    Settle,
    Settled,
    Slots,
    Standing,
    Store,
    StoreDown,
    StoreError,
    StoreMismatch,
    Take,
    Window,
)
from engine.world.store.records import FOREVER, bump, revisions
from engine.world.store.sql_tables import MIGRATIONS
from tests.world.store.servers import an_empty_database, redis_server

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z, a Thursday
A, B = Key("vars", "ann", "a"), Key("vars", "ann", "b")
METER = Key("limits", "ann", "requests")

KINDS: dict[str, Callable[[str], str]] = {
    "memory": lambda _folder: "memory://",
    "sqlite": lambda folder: f"sqlite:///{folder}/state/lexgate.db",
    "postgresql": lambda _folder: an_empty_database(),
    "redis": lambda folder: redis_server().url(Path(folder).name),
}

Answer = TypeVar("Answer")


class Clock:
    """Time that moves only when a test says so."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened(kind: str, clock: Clock, caps: Caps | None = None) -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(KINDS[kind](folder), clock, caps)
        try:
            yield store
        finally:
            await store.close()


def run(story: Coroutine[Any, Any, Answer]) -> Answer:
    return asyncio.run(story)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Store]:
    async with opened(request.param, clock) as each:
        yield each


each_kind = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.anyio


async def done(store: Store, *changes: Change) -> tuple[Result, ...]:
    outcome = await store.commit(changes)
    assert isinstance(outcome, Committed), outcome
    return outcome.results


async def refused(store: Store, *changes: Change) -> Refused:
    outcome = await store.commit(changes)
    assert isinstance(outcome, Refused), outcome
    return outcome


async def remaining(store: Store, meter: Meter) -> int:
    return (await store.read(meters=[meter])).standings[meter].remaining


# --- facts


async def test_what_was_put_is_read_until_its_time_to_live_is_over(store: Store, clock: Clock) -> None:
    await done(store, Put(A, b'"x"', ttl=10))
    clock.now += 9.9
    assert (await store.read([A, B])).values[A].value == b'"x"'
    clock.now += 0.1
    assert (await store.read([A, B])).values == {}


async def test_all_facts_of_an_owner_are_read_at_once_and_no_one_elses(store: Store) -> None:
    others = [Put(Key("vars", "bob", "a"), b"3", 60), Put(Key("labels", "ann", "a"), b"4", 60)]
    await done(store, Put(A, b"1", 60), Put(B, b"2", 60), *others)
    facts = await store.read(owners=[("vars", "ann"), ("vars", "nobody")])
    assert {key: fact.value for key, fact in facts.values.items()} == {A: b"1", B: b"2"}


async def test_owners_and_names_are_any_text(store: Store) -> None:
    strange = [
        Key("vars", 'a","b', "c"),
        Key("vars", "a", 'b","c'),
        Key("vars", "", "\x00é\u2028"),
        Key("vars", "%", "_"),
    ]
    await done(store, *[Put(key, b"%d" % index, 60) for index, key in enumerate(strange)])
    facts = await store.read(strange)
    assert [facts.values[key].value for key in strange] == [b"0", b"1", b"2", b"3"]


async def test_a_deleted_and_a_cleared_fact_are_gone(store: Store) -> None:
    await done(store, Put(A, b"1", 60), Put(B, b"2", 60))
    assert await done(store, Delete(A), Delete(A)) == (1, 0)
    await done(store, Put(A, b"1", 60))
    assert await done(store, Clear("vars", "ann"), Clear("vars", "bob")) == (2, 0)
    assert (await store.read([A, B])).values == {}


async def test_a_clearance_takes_what_the_same_commit_wrote_before_it(store: Store) -> None:
    await done(store, Put(A, b"1", 60))
    assert (await done(store, Put(B, b"2", 60), Clear("vars", "ann")))[1] == 2
    assert (await store.read(owners=[("vars", "ann")])).values == {}


async def test_a_fact_that_was_changed_since_it_was_read_is_a_conflict_with_fresh_facts(store: Store) -> None:
    await done(store, Put(A, b"1", 60))
    seen = (await store.read([A])).values[A].version
    await done(store, Put(A, b"2", 60))
    outcome = await store.commit([Put(B, b"9", 60), Put(A, b"3", 60, expect=seen)])
    assert isinstance(outcome, Conflict)
    assert outcome.stale == (A,)
    assert outcome.facts.values[A].value == b"2"
    assert set((await store.read([A, B])).values) == {A}
    await done(store, Put(A, b"3", 60, expect=outcome.facts.values[A].version))


@pytest.mark.parametrize("change", [Put(A, b"1", 60, expect=0), Delete(A, expect=0), Expect(A, 0)])
async def test_version_zero_expects_that_nothing_is_there(store: Store, clock: Clock, change: Change) -> None:
    await done(store, change)
    await done(store, Put(A, b"1", 60))
    assert isinstance(await store.commit([change]), Conflict)
    clock.now += 60
    await done(store, change)


async def test_a_fact_written_again_after_its_deletion_has_another_version(store: Store) -> None:
    (first,) = await done(store, Put(A, b"1", 60))
    await done(store, Delete(A))
    await done(store, Put(A, b"1", 60))
    assert isinstance(first, int)
    assert isinstance(await store.commit([Expect(A, first)]), Conflict)


async def test_a_counter_counts_within_one_commit_too_and_lives_from_its_first_addition(
    store: Store, clock: Clock
) -> None:
    assert await done(store, Add(A, 2, ttl=10), Add(A, 3, ttl=10)) == (2, 5)
    clock.now += 9
    assert await done(store, Add(A, -1, ttl=10)) == (4,)
    clock.now += 1
    assert await done(store, Add(A, 1, ttl=10)) == (1,)


async def test_a_refreshed_counter_lives_from_its_last_addition(store: Store, clock: Clock) -> None:
    await done(store, Add(A, 1, ttl=10))
    clock.now += 9
    await done(store, Add(A, 1, ttl=10, refresh=True))
    clock.now += 9
    assert (await store.read([A])).values[A].value == b"2"


async def test_concurrent_additions_are_all_counted(store: Store) -> None:
    await asyncio.gather(*[store.commit([Add(A, 1, 60)]) for _ in range(300)])
    assert (await store.read([A])).values[A].value == b"300"


# --- one commit, whole or not at all


async def test_a_refused_commit_changes_nothing(store: Store) -> None:
    window, budget = Window(METER, 1, 60), Allowance(METER, 100, "day")
    await done(store, Put(A, b"1", 60), Take(window))
    changes: list[Change] = [
        Put(A, b"2", 60),
        Delete(B),
        Add(B, 1, 60),
        Reserve(budget, "r", 50),
        Take(window),
        Clear("vars", "ann"),
    ]
    assert (await refused(store, *changes)).which == 4
    facts = await store.read([A, B], meters=[budget])
    assert {key: fact.value for key, fact in facts.values.items()} == {A: b"1"}
    assert facts.standings[budget] == Standing(100, 100, 0, 86_400.0)


async def test_two_takes_of_one_meter_in_one_commit_are_added_up(store: Store) -> None:
    window = Window(METER, 3, 60)
    assert (await refused(store, Take(window, 2), Take(window, 2))).which == 1
    assert await remaining(store, window) == 3
    await done(store, Take(window, 2), Take(window, 1))
    assert await remaining(store, window) == 0


async def test_what_a_commit_gives_back_makes_no_room_in_the_same_commit(store: Store) -> None:
    slots = Slots(METER, 1)
    await done(store, Reserve(slots, "a"))
    assert isinstance(await store.commit([Release(slots, "a"), Reserve(slots, "b")]), Refused)
    await done(store, Release(slots, "a"))
    await done(store, Reserve(slots, "b"))


async def test_a_conflict_is_answered_before_a_refusal(store: Store) -> None:
    await done(store, Put(A, b"1", 60))
    assert isinstance(await store.commit([Take(Slots(METER, 0)), Expect(A, 0)]), Conflict)


async def test_a_value_beyond_the_cap_is_refused_for_good(clock: Clock) -> None:
    for kind in KINDS:
        async with opened(kind, clock, Caps(value_bytes=4)) as store:
            await done(store, Put(A, b"1234", 60))
            assert await refused(store, Put(B, b"12345", 60)) == Refused(0, None, None, "too_large")


async def test_a_negative_charge_is_an_error_of_the_caller_alone(store: Store) -> None:
    window = Window(METER, 5, 60)
    answers = await asyncio.gather(
        store.commit([Take(window, -1)]), store.commit([Take(window, 1)]), return_exceptions=True
    )
    assert isinstance(answers[0], ValueError)
    assert isinstance(answers[1], Committed)
    assert await remaining(store, window) == 4


# --- meters


async def test_a_window_refuses_with_the_exact_time_to_wait(store: Store, clock: Clock) -> None:
    window = Window(METER, 2, 60)
    assert await done(store, Take(window)) == (Standing(2, 1, 0, 60.0),)
    clock.now += 10
    assert await done(store, Take(window)) == (Standing(2, 0, 0, 60.0),)
    clock.now += 5
    assert await refused(store, Take(window)) == Refused(0, 45.0, Standing(2, 0, 0, 55.0))
    clock.now += 45
    await done(store, Take(window))
    assert (await refused(store, Take(window, 2))).retry_after == 60.0


async def test_merged_takes_leave_a_large_window_with_the_latest_of_them(store: Store, clock: Clock) -> None:
    """Above a limit of 60, takes of one sixtieth of the window are kept as one."""
    window = Window(METER, 100, 10)
    await done(store, Take(window, 1))
    clock.now += 0.125
    await done(store, Take(window, 99))
    clock.now += 9.9375
    assert (await refused(store, Take(window))).retry_after == 0.0625
    clock.now += 0.0625
    await done(store, Take(window, 100))


async def test_more_than_the_limit_is_refused_without_a_time_to_wait(store: Store) -> None:
    meters: list[Meter] = [Window(METER, 5, 60), Bucket(METER, 5, 60), Allowance(METER, 5, "day")]
    for meter in meters:
        assert (await refused(store, Take(meter, 6))).retry_after is None
        await done(store, Take(meter, 5))
    assert (await refused(store, Reserve(Slots(METER, 0), "x"))).retry_after is None


async def test_a_bucket_bursts_and_then_fills_steadily(store: Store, clock: Clock) -> None:
    bucket = Bucket(METER, 10, 60)
    await done(store, Take(bucket, 10))
    assert (await refused(store, Take(bucket, 2))).retry_after == 12.0
    clock.now += 12
    await done(store, Take(bucket, 2))
    assert (await refused(store, Take(bucket, 1))).retry_after == 6.0
    clock.now += 3600
    assert await remaining(store, bucket) == 10


@pytest.mark.parametrize(
    ("period", "until"), [("hour", 3600), ("day", 86_400), ("week", 4 * 86_400), ("month", 31 * 86_400), (90, 90)]
)
async def test_an_allowance_is_free_again_when_its_period_begins(
    store: Store, clock: Clock, period: Any, until: int
) -> None:
    budget = Allowance(METER, 100, period)
    assert await done(store, Take(budget, 100)) == (Standing(100, 0, 0, float(until)),)
    clock.now += until - 1
    assert (await refused(store, Take(budget, 1))).retry_after == 1.0
    clock.now += 1
    await done(store, Take(budget, 100))


async def test_a_lowered_limit_holds_at_once_and_a_raised_one_too(store: Store) -> None:
    await done(store, Take(Allowance(METER, 100, "day"), 60))
    assert (await refused(store, Take(Allowance(METER, 50, "day"), 1))).standing == Standing(50, 0, 0, 86_400.0)
    await done(store, Take(Allowance(METER, 200, "day"), 140))


async def test_a_bucket_that_nothing_fills_any_more_refuses_without_a_fault(store: Store) -> None:
    await done(store, Take(Bucket(METER, 5, 60), 5))
    assert (await refused(store, Take(Bucket(METER, 0, 60), 0))).which == 0


async def test_meters_of_one_key_and_different_lengths_do_not_disturb_each_other(store: Store, clock: Clock) -> None:
    second, minute = Window(METER, 1, 1), Window(METER, 3, 60)
    for _ in range(3):
        await done(store, Take(second), Take(minute))
        clock.now += 2
    assert (await refused(store, Take(second), Take(minute))).which == 1


async def test_slots_are_held_until_they_are_released(store: Store) -> None:
    slots = Slots(METER, 2)
    assert await done(store, Reserve(slots, "a"), Reserve(slots, "b")) == (
        Standing(2, 1, 1, 0.0),
        Standing(2, 0, 2, 0.0),
    )
    assert (await refused(store, Reserve(slots, "c"))).retry_after == 1.0
    assert await done(store, Release(slots, "a"), Release(slots, "a")) == (1, 0)
    await done(store, Reserve(slots, "c"))


async def test_the_same_reservation_twice_is_held_once(store: Store) -> None:
    slots = Slots(METER, 1)
    await done(store, Reserve(slots, "a"))
    assert await done(store, Reserve(slots, "a")) == (Standing(1, 0, 1, 0.0),)


async def test_a_settlement_charges_what_was_used_and_gives_back_the_rest(store: Store) -> None:
    budget = Allowance(METER, 100, "day")
    await done(store, Reserve(budget, "r", 80))
    assert (await refused(store, Take(budget, 30))).retry_after == 1.0
    (settled,) = await done(store, Settle(budget, "r", 30))
    assert settled == Settled(True, 0, Standing(100, 70, 0, 86_400.0))


async def test_a_second_settlement_charges_nothing(store: Store) -> None:
    budget = Allowance(METER, 100, "day")
    await done(store, Reserve(budget, "r", 80))
    first, second = await done(store, Settle(budget, "r", 30), Settle(budget, "r", 30))
    assert isinstance(first, Settled)
    assert isinstance(second, Settled)
    assert (first.known, second.known) == (True, False)
    assert await remaining(store, budget) == 70


async def test_use_above_the_reservation_is_charged_and_refuses_the_next(store: Store) -> None:
    budget = Allowance(METER, 100, "day")
    await done(store, Reserve(budget, "r", 80))
    assert await done(store, Settle(budget, "r", 120)) == (Settled(True, 40, Standing(100, 0, 0, 86_400.0)),)
    assert (await refused(store, Reserve(budget, "s", 1))).retry_after == 86_400.0


async def test_a_lease_that_nobody_renews_frees_what_it_held(store: Store, clock: Clock) -> None:
    slots = Slots(METER, 1)
    await done(store, Reserve(slots, "crashed", lease=30))
    clock.now += 20
    assert await done(store, Renew(slots, "crashed", lease=30)) == (1,)
    clock.now += 29
    await refused(store, Reserve(slots, "next"))
    clock.now += 1
    await done(store, Reserve(slots, "next"))
    assert await done(store, Renew(slots, "crashed"), Release(slots, "crashed")) == (0, 0)
    assert await remaining(store, slots) == 0


async def test_a_lapsed_reservation_can_still_be_settled_once(store: Store, clock: Clock) -> None:
    budget = Allowance(METER, 100, "day")
    await done(store, Reserve(budget, "slow", 80, lease=30))
    clock.now += 31
    await done(store, Take(budget, 90))
    assert await done(store, Settle(budget, "slow", 30)) == (Settled(True, 0, Standing(100, 0, 0, 86_369.0)),)
    assert await done(store, Settle(budget, "slow", 30)) == (Settled(False, 0, Standing(100, 0, 0, 86_369.0)),)
    assert await remaining(store, Allowance(METER, 200, "day")) == 80


async def test_a_reservation_may_lapse_into_spent(store: Store, clock: Clock) -> None:
    budget = Allowance(METER, 100, "day")
    await done(store, Reserve(budget, "r", 80, lease=30, lapse="spend"))
    clock.now += 31
    assert await remaining(store, budget) == 20
    assert await done(store, Settle(budget, "r", 90)) == (Settled(True, 10, Standing(100, 10, 0, 86_369.0)),)


@pytest.mark.parametrize("meter", [Allowance(METER, 100, "day"), Window(METER, 100, 86_400.0), Bucket(METER, 100, 1e7)])
async def test_what_lapsed_into_spent_stays_so_though_nobody_looked_for_hours(
    store: Store, clock: Clock, meter: Meter
) -> None:
    await done(store, Reserve(meter, "crashed", 80, lease=30, lapse="spend"))
    clock.now += 3 * 3600
    for index in range(10):  # so that what is idle is swept
        await done(store, Take(Window(Key("limits", "other", str(index)), 1, 1)))
    assert 20 <= await remaining(store, meter) <= 21


async def test_a_hold_lapses_at_its_own_time_whoever_looks_when(store: Store, clock: Clock) -> None:
    window = Window(METER, 100, 3600)
    await done(store, Reserve(window, "crashed", 80, lease=30, lapse="spend"))
    clock.now += 3600
    assert await refused(store, Take(window, 90)) == Refused(0, 30.0, Standing(100, 20, 0, 30.0))
    clock.now += 30
    assert await remaining(store, window) == 100


async def test_a_reservation_of_the_last_period_does_not_weigh_on_the_next(store: Store, clock: Clock) -> None:
    budget = Allowance(METER, 100, 60)
    clock.now += 59
    await done(store, Reserve(budget, "r", 80, lease=30))
    clock.now += 2
    await done(store, Reserve(budget, "s", 100, lease=30))
    (settled,) = await done(store, Settle(budget, "r", 80))
    assert settled == Settled(True, 0, Standing(100, 0, 100, 59.0))


async def test_a_clock_set_back_gives_no_room_and_does_not_lock_up(store: Store, clock: Clock) -> None:
    meters: list[Meter] = [Window(METER, 5, 60), Bucket(METER, 5, 60), Allowance(METER, 5, "hour")]
    clock.now += 30 * 86_400
    await done(store, *[Take(meter, 5) for meter in meters])
    clock.now -= 30 * 86_400
    for meter in meters:
        assert isinstance(await store.commit([Take(meter)]), Refused)
    clock.now += 3600
    await done(store, *[Take(meter, 5) for meter in meters])


STEPS = st.lists(st.tuples(st.sampled_from([0, 0.1, 0.5, 1, 3, 7, 9.99, 10, 61]), st.integers(1, 40)), max_size=60)


@each_kind
@pytest.mark.parametrize("limit", [3, 50, 100])
def test_no_window_of_any_sequence_holds_more_than_the_limit(kind: str, limit: int) -> None:
    @settings(max_examples=40 if kind == "memory" else 6, deadline=None)
    @given(STEPS)
    def story(steps: list[tuple[float, int]]) -> None:
        async def tell() -> None:
            clock, taken = Clock(), deque[tuple[float, int]]()
            async with opened(kind, clock) as store:
                for pause, amount in steps:
                    clock.now += pause
                    outcome = await store.commit([Take(Window(METER, limit, 10), amount)])
                    if isinstance(outcome, Committed):
                        taken.append((clock.now, amount))
                    in_window = sum(used for when, used in taken if when > clock.now - 10 + 1e-5)
                    assert in_window <= limit
                    if isinstance(outcome, Refused) and limit <= 60:
                        assert in_window + amount > limit, "a small window is exact"

        run(tell())

    story()


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "release", "take", "crash", "renew"]),
        st.integers(0, 5),
        st.integers(0, 60),
    ),
    max_size=50,
)


@each_kind
@pytest.mark.parametrize(
    "meter", [Allowance(METER, 100, "month"), Window(METER, 100, 1e6), Slots(METER, 100), Bucket(METER, 100, 1e9)]
)
def test_no_interleaving_of_holders_and_crashes_exceeds_a_meter(kind: str, meter: Meter) -> None:
    """A model beside the store: who holds what until when, and what was spent."""

    @settings(max_examples=30 if kind == "memory" else 5, deadline=None)
    @given(ACTS)
    def story(acts: list[tuple[str, int, int]]) -> None:
        async def tell() -> None:
            clock, held, spent = Clock(), dict[str, tuple[int, float]](), 0
            async with opened(kind, clock) as store:
                for act, number, amount in acts:
                    id = f"r{number}"
                    held = {name: hold for name, hold in held.items() if hold[1] > clock.now}
                    match act:
                        case "reserve" if id not in held:
                            outcome = await store.commit([Reserve(meter, id, amount, lease=30)])
                            fits = spent + sum(each for each, _ in held.values()) + amount <= 100
                            assert isinstance(outcome, Committed) == fits
                            if fits:
                                held[id] = (amount, clock.now + 30)
                        case "settle" if id in held:
                            used = min(amount, held.pop(id)[0])
                            await done(store, Settle(meter, id, used))
                            spent += 0 if isinstance(meter, Slots) else used
                        case "release" if id in held:
                            held.pop(id)
                            assert await done(store, Release(meter, id)) == (1,)
                        case "take" if not isinstance(meter, Slots):
                            if isinstance(await store.commit([Take(meter, amount)]), Committed):
                                spent += amount
                        case "renew" if id in held:
                            held[id] = (held[id][0], clock.now + 30)
                            assert await done(store, Renew(meter, id, lease=30)) == (1,)
                        case "crash":
                            clock.now += amount
                        case _:
                            pass
                    held = {name: hold for name, hold in held.items() if hold[1] > clock.now}
                    on_hold = sum(each for each, _ in held.values())
                    assert spent + on_hold <= 100
                    assert await remaining(store, meter) == 100 - spent - on_hold

        run(tell())

    story()


async def test_concurrent_takes_never_exceed_the_limit(store: Store) -> None:
    meters: list[Meter] = [Window(METER, 70, 60), Allowance(METER, 90, "day")]
    outcomes = await asyncio.gather(*[store.commit([Take(meter) for meter in meters]) for _ in range(500)])
    assert sum(isinstance(outcome, Committed) for outcome in outcomes) == 70
    assert await remaining(store, meters[1]) == 20


# --- bounds


@each_kind
async def test_an_owner_beyond_the_cap_loses_expired_facts_first_and_then_the_oldest(kind: str, clock: Clock) -> None:
    caps = Caps(spaces={"vars": Cap(per_owner=3)})
    names = [Key("vars", "ann", name) for name in "abcdef"]
    async with opened(kind, clock, caps) as store:
        await done(store, Put(names[0], b"1", 600))
        await done(store, Put(names[1], b"1", 10))
        await done(store, Put(names[2], b"1", 600), Put(names[0], b"2", 600))
        clock.now += 10
        await done(store, Put(names[3], b"1", 600))
        assert set((await store.read(names)).values) == {names[0], names[2], names[3]}
        await done(store, Put(names[4], b"1", 600))
        assert set((await store.read(names)).values) == {names[0], names[3], names[4]}
        assert (store.tally.expired, store.tally.evicted) == (1, 1)


@each_kind
async def test_a_space_beyond_its_cap_loses_the_oldest_of_all_owners(kind: str, clock: Clock) -> None:
    keys = [Key("vars", f"owner{index}", "a") for index in range(40)]
    async with opened(kind, clock, Caps(spaces={"vars": Cap(in_all=16)})) as store:
        for key in keys:
            await done(store, Put(key, b"1", 600))
        assert list((await store.read(keys)).values) == keys[-16:]
        assert store.tally.evicted == 24


@each_kind
async def test_a_limit_is_never_forgotten_to_make_place_for_another(kind: str, clock: Clock) -> None:
    meters = [Window(Key("limits", f"caller{index}", "r"), 1, 60) for index in range(40)]
    async with opened(kind, clock, Caps(meters=16)) as store:
        outcomes = [await store.commit([Take(meter)]) for meter in meters]
        assert [isinstance(outcome, Committed) for outcome in outcomes] == [True] * 16 + [False] * 24
        assert outcomes[-1] == Refused(0, 1.0, None, "full")
        assert isinstance(await store.commit([Take(meters[0])]), Refused)
        assert store.tally.full >= 24
        clock.now += 60
        for _ in range(3):
            await store.commit([Take(meters[20])])
        assert isinstance(await store.commit([Take(meters[21])]), Committed)


async def test_memory_stays_flat_over_a_hundred_thousand_sessions(clock: Clock) -> None:
    store: Any = await open_store("memory://", clock, Caps(each=Cap(in_all=500), meters=500))
    for index in range(100_000):
        clock.now += 1
        who = f"session{index}"
        await store.commit([Put(Key("vars", who, "a"), b"1", 300), Take(Window(Key("limits", who, "r"), 5, 60))])
    shelf = store._shelves["vars"]
    assert len(shelf.entries) == len(shelf.owners) <= 310
    assert len(shelf.expiries) <= 2 * 310 + 64
    assert len(store._meters) <= 130
    assert (store.tally.evicted, store.tally.full) == (0, 0)


@each_kind
async def test_a_fact_rewritten_for_ever_takes_no_more_room(kind: str, clock: Clock) -> None:
    async with opened(kind, clock, Caps(spaces={"vars": Cap(per_owner=3, in_all=3)})) as store:
        for _ in range(300):
            await done(store, Put(A, b"1", 600), Put(B, b"1", 600))
        assert store.tally.evicted == 0
        assert set((await store.read([A, B])).values) == {A, B}


# --- records, lists and revisions


@each_kind
async def test_a_record_is_never_forgotten_and_one_too_many_is_refused(kind: str, clock: Clock) -> None:
    keys = [Key("records/keys", "payments", f"key{index}") for index in range(4)]
    async with opened(kind, clock, Caps(records=3, each=Cap(per_owner=1))) as store:
        await done(store, Put(keys[0], b"0", FOREVER), Put(keys[1], b"1", FOREVER))
        full = Refused(1, None, None, "full")
        assert await refused(store, Put(keys[2], b"2", FOREVER), Put(keys[3], b"3", FOREVER)) == full
        await done(store, Put(keys[2], b"2", 60), Put(keys[0], b"again", FOREVER))
        assert (await refused(store, Put(keys[3], b"3", FOREVER))).reason == "full"
        clock.now += 60
        await done(store, Put(keys[3], b"3", FOREVER))
        clock.now += 20 * 365 * 86_400
        assert set((await store.read(keys)).values) == {keys[0], keys[1], keys[3]}


async def test_a_list_is_read_page_by_page_in_order_and_leaves_out_what_is_over(store: Store, clock: Clock) -> None:
    keys = [
        Key("records/keys", owner, name) for owner in ("", "a", "a\x00", "aa", "é", "z") for name in ("", "b", "\x01")
    ]
    await done(store, *[Put(key, key.name.encode(), FOREVER) for key in reversed(keys)])
    await done(store, Put(Key("records/keys", "a", "short"), b"1", 10), Put(Key("records/teams", "a", "b"), b"1", 60))
    clock.now += 10
    seen: list[Key] = []
    page = await store.scan("records/keys", limit=4)
    while True:
        assert [fact.value for fact in page.facts.values()] == [key.name.encode() for key in page.facts]
        seen += page.facts
        if page.after is None:
            break
        page = await store.scan("records/keys", after=page.after, limit=4)
    assert seen == sorted(keys)
    assert list((await store.scan("records/keys", "a")).facts) == sorted(key for key in keys if key.owner == "a")
    assert await store.scan("records/nothing") == Page({})


async def test_a_list_that_ends_with_its_page_has_no_next_one(store: Store) -> None:
    await done(store, Put(A, b"1", 60), Put(B, b"2", 60))
    page = await store.scan("vars", "ann", limit=2)
    assert (list(page.facts), page.after) == ([A, B], None)
    assert list((await store.scan("vars", "ann", after=A, limit=2)).facts) == [B]


async def test_a_revision_is_another_after_every_bump(store: Store) -> None:
    assert await revisions(store, "keys", "teams") == {"keys": 0, "teams": 0}
    seen = set()
    for _ in range(5):
        await done(store, bump("keys"))
        seen.add((await revisions(store, "keys"))["keys"])
    assert len(seen - {0}) == 5
    assert (await revisions(store, "teams"))["teams"] == 0


async def test_a_name_too_long_is_refused_for_good(store: Store) -> None:
    for key in (Key("vars", "o" * 513, "n"), Key("vars", "o", "n" * 513)):
        assert await refused(store, Put(key, b"1", 60)) == Refused(0, None, None, "too_large")
        assert (await refused(store, Add(key, 1, 60))).reason == "too_large"
    longest = Key("vars", "\N{GRINNING FACE}" * 512, "\x00" * 512)
    await done(store, Put(longest, b"1", 60))
    assert (await store.read(owners=[longest[:2]])).values.keys() == {longest}


async def test_a_meter_may_have_a_key_of_any_length(store: Store) -> None:
    meters = [Window(Key("limits", "ann", "\N{GRINNING FACE}" * 9000 + end), 5, 60) for end in "ab"]
    await done(store, Take(meters[0], 2))
    assert [await remaining(store, meter) for meter in meters] == [3, 5]


# --- the database


async def test_a_reopened_database_remembers(tmp_path: Path, clock: Clock) -> None:
    url = f"sqlite:///{tmp_path}/deep/er/lexgate.db"
    budget = Allowance(METER, 100, "day")
    first = await open_store(url, clock)
    await done(first, Put(A, b"1", 600), Take(budget, 40), Reserve(budget, "r", 30))
    await first.close()
    second = await open_store(url, clock)
    facts = await second.read([A], meters=[budget])
    assert facts.values[A].value == b"1"
    assert facts.standings[budget] == Standing(100, 30, 30, 86_400.0)
    await second.close()


async def test_the_database_belongs_to_its_owner_alone(tmp_path: Path, clock: Clock) -> None:
    before = os.umask(0)
    try:
        store = await open_store(f"sqlite:///{tmp_path}/var/lexgate.db", clock)
        await done(store, Put(A, b"1", 600))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "var").iterdir()}
    finally:
        os.umask(before)
    assert modes["lexgate.db"] == modes["lexgate.db-wal"] == 0o600
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700
    await store.close()


async def test_a_database_of_a_newer_release_is_refused_in_words(tmp_path: Path, clock: Clock) -> None:
    url = f"sqlite:///{tmp_path}/lexgate.db"
    await (await open_store(url, clock)).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE schema_version SET version = 99"))
    engine.dispose()
    with pytest.raises(StoreMismatch, match=r"schema version 99.*knows up to 2.*start the newer release"):
        await open_store(url, clock)


async def test_an_older_database_takes_the_missing_steps_once_and_keeps_its_facts(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/lexgate.db"
    first = await open_store(url, clock)
    await done(first, Put(A, b"1", 600))
    await first.close()

    def step(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE facts ADD COLUMN note TEXT")

    monkeypatch.setattr("engine.world.store.sql_tables.MIGRATIONS", (*MIGRATIONS, step))
    for _ in range(2):
        store = await open_store(url, clock)
        assert (await store.read([A])).values[A].value == b"1"
        await store.close()
    fresh = await open_store(f"sqlite:///{tmp_path}/fresh.db", clock)
    await done(fresh, Put(A, b"1", 600))
    await fresh.close()
    monkeypatch.undo()
    with pytest.raises(StoreMismatch, match="schema version 3"):
        await open_store(url, clock)


async def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    with pytest.raises(StoreError, match=r"'oracle'.*memory://, sqlite://"):
        await open_store("oracle://x")


async def test_a_store_that_cannot_be_opened_is_down_and_says_why(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreDown, match="does not answer") as caught:
        await open_store(f"sqlite:///{tmp_path}/file/lexgate.db", clock)
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_store_that_was_down_recovers_by_itself(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the lock for longer than the store waits, and lets go."""
    monkeypatch.setattr("engine.world.store.sql_sqlite.BUSY", 0.05)
    store = await open_store(f"sqlite:///{tmp_path}/lexgate.db", clock)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/lexgate.db", isolation_level="AUTOCOMMIT")
    with engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        answers = await asyncio.gather(*[store.commit([Add(A, 1, 60)]) for _ in range(5)], return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreDown}
        assert store.tally.down == 5
        assert (await store.read([A])).values == {}, "reading goes on beside a writer"
        other.exec_driver_sql("ROLLBACK")
    engine.dispose()
    assert await done(store, Add(A, 1, 60)) == (1,)
    await store.close()
    with pytest.raises(StoreDown, match="closed"):
        await store.commit([])


async def test_a_cancelled_caller_disturbs_nobody(store: Store) -> None:
    waiting = [asyncio.ensure_future(store.commit([Add(A, 1, 60)])) for _ in range(20)]
    await asyncio.sleep(0)
    for each in waiting[::2]:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    (total,) = await done(store, Add(A, 0, 60))
    assert isinstance(total, int)
    assert 10 <= total <= 20

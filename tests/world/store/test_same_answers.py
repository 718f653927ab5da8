"""Every store gives the answers of the memory store, change by change, whatever is done and however time passes.

A clock that is set back is left out, and a bucket whose limit changes while it rests: what one store has forgotten by then
another still knows.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.world.store.base import (
    Add,
    Allowance,
    Bucket,
    Caps,
    Change,
    Clear,
    Committed,
    Conflict,
    Delete,
    Expect,
    Fact,
    Key,
    Meter,
    Outcome,
    Put,
    Refused,
    Release,
    Renew,
    Reserve,
    Settle,
    Slots,
    Store,
    Take,
    Window,
)

from .test_contract import KINDS, Clock, opened, run

KEYS = [Key("vars", "ann", "a"), Key("vars", "ann", "b\x00"), Key("vars", "bob\x00", "a"), Key("records/keys", "é", "")]
PLACE = Key("limits", "ann", "r")
METERS: list[Callable[[int], Meter]] = [
    lambda limit: Window(PLACE, limit, 10),
    lambda limit: Window(PLACE, limit * 50, 7.3),
    lambda _limit: Bucket(PLACE, 3, 13),
    lambda _limit: Bucket(PLACE, 2_000_003, 86_400),
    lambda limit: Allowance(PLACE, limit, "month"),
    lambda limit: Allowance(PLACE, limit, "week"),
    lambda limit: Allowance(PLACE, limit, "day"),
    lambda limit: Allowance(PLACE, limit * 1_000_000_000, "hour"),
    lambda limit: Allowance(PLACE, limit, 90),
    lambda limit: Slots(PLACE, limit),
]
keys = st.sampled_from(KEYS)
SEEN = -7
ids = st.sampled_from(["r", "s", "t\x00é"])
meters = st.builds(lambda make, limit: make(limit), st.sampled_from(METERS), st.integers(0, 5))
amounts = st.sampled_from([0, 1, 2, 3, 7, 200, 1_000_000, 3_000_000_001])
ttls = st.sampled_from([1.0, 5.5, 3600.0])
versions = st.sampled_from([None, 0, SEEN, 12345])
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(
        lambda key, value, ttl, expect: Put(key, value, ttl, expect), keys, st.binary(max_size=6), ttls, versions
    ),
    st.builds(lambda key, expect: Delete(key, expect), keys, versions),
    st.builds(lambda key, version: Expect(key, version), keys, st.sampled_from([0, SEEN, 12345])),
    st.builds(lambda key: Clear(key.space, key.owner), keys),
    st.builds(Add, keys, st.integers(-5, 5), ttls, st.booleans()),
    st.builds(Take, meters, amounts),
    st.builds(Reserve, meters, ids, amounts, st.sampled_from([3.0, 40.0]), st.sampled_from(["free", "spend"])),
    st.builds(Renew, meters, ids, st.sampled_from([3.0, 40.0])),
    st.builds(Settle, meters, ids, amounts),
    st.builds(Release, meters, ids),
)
pauses = st.sampled_from([0.0, 0.000001, 0.1, 0.9, 3.0, 9.999999, 61.0, 3600.0, 86_400.0, 31 * 86_400.0])
steps = st.lists(st.tuples(pauses, st.lists(changes, min_size=1, max_size=4)), max_size=25)


class Account:
    """A store, and the versions that it gave to what it keeps now, which no other store gives."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seen: dict[Key, int] = {}

    async def commit(self, wishes: list[Change]) -> Outcome:
        return await self.store.commit([self._with_version(each) for each in wishes])

    def _with_version(self, change: Any) -> Change:
        """The change with the version that this store gave, where the story says `SEEN`."""
        for field in ("expect", "version"):
            if getattr(change, field, None) == SEEN:
                change = msgspec.structs.replace(change, **{field: self.seen.get(change.key, 54321)})
        return change  # type: ignore[no-any-return]

    async def look(self) -> Any:
        """All that can be seen of it, and nothing that is its own."""
        asked = [make(4) for make in METERS]
        facts = await self.store.read(KEYS, {key[:2] for key in KEYS}, asked)
        self.seen = {key: fact.version for key, fact in facts.values.items()}
        pages = [(await self.store.scan(space)).facts for space in ("vars", "records/keys")]
        listed = [list(page) for page in pages]
        return _plain(facts.values), facts.standings, listed


def _plain(values: Any) -> dict[Key, bytes]:
    return {key: fact.value if isinstance(fact, Fact) else fact for key, fact in values.items()}


def without_versions(outcome: Outcome, wishes: list[Change]) -> Any:
    match outcome:
        case Committed(results=results):
            own = (Put, Expect)
            return [None if isinstance(wish, own) else each for wish, each in zip(wishes, results, strict=True)]
        case Conflict(stale=stale, facts=facts):
            return stale, _plain(facts.values)
        case Refused():
            return outcome


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_every_store_answers_as_the_memory_store_does(kind: str) -> None:
    @settings(max_examples=EXAMPLES[kind], deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def story(told: list[tuple[float, list[Change]]]) -> None:
        async def tell() -> None:
            clock = Clock()
            caps = Caps(records=1)
            async with opened("memory", clock, caps) as memory, opened(kind, clock, caps) as other:
                model, subject = Account(memory), Account(other)
                for pause, wishes in told:
                    clock.now += pause
                    expected = without_versions(await model.commit(wishes), wishes)
                    assert without_versions(await subject.commit(wishes), wishes) == expected
                    assert await subject.look() == await model.look()

        run(tell())

    story()


EXAMPLES = {"sqlite": 20, "postgresql": 15, "redis": 60}

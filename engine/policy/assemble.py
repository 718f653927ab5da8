"""Builds a rule set from checked files a little at a time, so that the server answers requests meanwhile."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from engine.model.decision import Mode

from .commanding import command_table
from .compile import CheckedPolicy, PolicySource, join, link_stepwise
from .context import Catalogue
from .link import Linked
from .ruleset import RuleSet

SLICE: Final = 0.001
"""Seconds of building after which the event loop has its turn; one rule more may run over."""
PAUSE: Final = 0.001
"""Seconds that the loop then has for itself: a request takes several turns, and must not wait a slice at each."""


class Part(msgspec.Struct, frozen=True):
    """One file of a set: its text, its policy's name, and its rules, which other sets can share."""

    source: PolicySource
    policy: str
    linked: Linked


@contextlib.contextmanager
def long_lived() -> Iterator[None]:
    """What is built within is left alone by the garbage collector, then and later.

    A set of 500 rules is a quarter of a million objects, and a full collection that walks them holds the server for 200
    ms. Rules have no cycles: they are freed with their last exchange, when nothing refers to them any more.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


class Pace:
    """Gives the event loop its turns, and remembers for how long it had none at the most."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._began = time.perf_counter()

    async def breathe(self) -> None:
        """Pause, where the slice is used up."""
        spent = time.perf_counter() - self._began
        if spent >= SLICE:
            await self.rest()

    async def rest(self) -> None:
        """Pause in any case."""
        self.longest = max(self.longest, time.perf_counter() - self._began)
        await asyncio.sleep(PAUSE)
        self._began = time.perf_counter()


async def link_slowly(policy: CheckedPolicy, catalogue: Catalogue, pace: Pace) -> Part:
    """The rules of a file that another process has checked."""
    steps = link_stepwise(policy, catalogue)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return Part(policy.source, policy.spec.policy, done.value)
        await pace.breathe()


async def assemble(
    files: Sequence[str],
    held: Mapping[str, Part],
    checked: Iterable[CheckedPolicy],
    catalogue: Catalogue,
    revision: str,
    pace: Pace,
) -> tuple[RuleSet, dict[str, Part]]:
    """The set of the files with these digests, of which only those in `checked` are built; the others are `held`."""
    new = {policy.source.digest: policy for policy in checked}
    parts = {}
    for digest in files:
        parts[digest] = held[digest] if digest in held else await link_slowly(new[digest], catalogue, pace)
    await pace.rest()
    ruleset = unite(parts, revision)
    await pace.rest()
    return ruleset, parts


def unite(parts: Mapping[str, Part], revision: str) -> RuleSet:
    """The rules of all parts as one set."""
    rules, _ = join(part.linked for part in parts.values())
    commands, _ = command_table((part.linked.commands, part.linked.ignores) for part in parts.values())
    return RuleSet(rules, revision, [part.policy for part in parts.values()], commands)


def by_mode(parts: Mapping[str, Part]) -> dict[str, int]:
    """How many rules there are of each mode, those that are off included."""
    counts = {mode.value: 0 for mode in Mode}
    for part in parts.values():
        for rule in part.linked.rules:
            counts[rule.mode.value] += 1
    return counts


def enforced(rules: RuleSet) -> dict[str, None]:
    """The full names of the rules that are enforced for anybody, in order."""
    return dict.fromkeys(rule.name for rule in rules.rules if rule.live)

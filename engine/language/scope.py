"""What an expression may name when it is compiled, and what it is given when it runs."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from engine.language.errors import ConditionError

Path = tuple[str, ...]
Evaluate = Callable[[Any, "Env"], Any]
STEPS: Final = 200_000


class Matcher(Protocol):
    """A named set of patterns."""

    def matches(self, text: str) -> bool: ...


class Definition(Protocol):
    """A named expression: what it may read of the event, and how it is evaluated."""

    @property
    def reads(self) -> frozenset[Path]: ...

    @property
    def evaluate(self) -> Evaluate: ...


class Names(msgspec.Struct, frozen=True):
    """The sets, pattern sets and definitions that the expressions of one policy may name."""

    sets: Mapping[str, tuple[str, ...]] = {}
    patterns: Mapping[str, Matcher] = {}
    definitions: Mapping[str, Definition] = {}


NO_NAMES: Final = Names()


class Env:
    """What the evaluations of one event share: the event itself, the seed of `random()`, facts, remembered definitions.

    It holds for one state of the document: when a transform changes the event, make a new one. `budget` is the number
    of steps that one condition may take; each condition starts again with all of it.
    """

    __slots__ = ("budget", "facts", "remembered", "root", "seed", "steps")

    def __init__(self, root: Any, seed: str = "", facts: Mapping[str, Any] | None = None, budget: int = STEPS) -> None:
        self.root = root
        self.seed = seed
        self.facts: Mapping[str, Any] = facts if facts is not None else {}
        self.budget = budget
        self.steps = budget
        self.remembered: dict[Evaluate, Any] = {}

    def spend(self, steps: int) -> None:
        """Take steps from the budget; the position of the error is filled in by the call that spends."""
        self.steps -= steps
        if self.steps < 0:
            raise exhausted()

    def charge(self, value: Any) -> None:
        """Pay for looking at the whole of one value: a step an element, or every 64 characters."""
        kind = type(value)
        if kind is str:
            self.steps -= 1 + (len(value) >> 6)
        elif kind is list or kind is dict:
            self.steps -= 1 + len(value)
        elif isinstance(value, str):
            self.steps -= 1 + (len(value) >> 6)
        elif isinstance(value, (list, dict)):
            self.steps -= 1 + len(value)
        if self.steps < 0:
            raise exhausted()

    def charge_deeply(self, value: Any) -> None:
        """Pay for writing out a value, whose parts may be the same part many times."""
        waiting = [value]
        while waiting:
            each = waiting.pop()
            self.charge(each)
            if isinstance(each, list):
                waiting.extend(each)
            elif isinstance(each, dict):
                waiting.extend(each.values())
                waiting.extend(each)

    def equal(self, left: Any, right: Any) -> bool:
        """Equality by JSON type (`true` is not 1), paid by the element, so that shared parts cannot make it explode."""
        if left is right:
            return True
        if isinstance(left, bool) or isinstance(right, bool):
            return isinstance(left, bool) and isinstance(right, bool) and left == right
        if isinstance(left, dict):
            if not isinstance(right, dict) or len(left) != len(right):
                return False
            self.spend(1 + len(left))
            return all(key in right and self.equal(value, right[key]) for key, value in left.items())
        if isinstance(left, list):
            if not isinstance(right, list) or len(left) != len(right):
                return False
            self.spend(1 + len(left))
            return all(map(self.equal, left, right))
        return bool(left == right)


class Site(msgspec.Struct, frozen=True):
    """Where a call stands: what it may name, and what tells its random numbers from those of another call."""

    names: Names
    salt: str


def exhausted() -> ConditionError:
    return ConditionError(
        "budget", "the condition takes more steps than one evaluation may: read less, or filter earlier"
    )

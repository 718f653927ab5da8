"""Which rules an event can concern: found by the values of its fields, without looking at the other rules."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from engine.language.globs import glob_matcher, is_glob
from engine.model.effects import Path
from engine.model.phases import Phase

from .match import KEYS, WITHOUT_CASE, values_of
from .rule import Rule

_REMEMBERED: Final = 4096
_SHORT: Final = 256
"""Candidates of which the order is remembered: more of them cost more to keep than to sort."""

_WILDCARD: Final = re.compile("[*?]")
_NONE: Final[tuple[int, ...]] = ()


class _Globs:
    """Globs, found by the text before their first wildcard: of ten thousand only those that begin alike are tried."""

    __slots__ = ("_by_prefix", "_lengths")

    def __init__(self) -> None:
        self._by_prefix: dict[str, list[tuple[Callable[[str], bool], int]]] = {}
        self._lengths: tuple[int, ...] = ()

    def add(self, pattern: str, order: int, *, lower: bool) -> None:
        prefix = _WILDCARD.split(pattern.lower() if lower else pattern, maxsplit=1)[0]
        self._by_prefix.setdefault(prefix, []).append((glob_matcher(pattern, lower), order))
        self._lengths = tuple(sorted({*self._lengths, len(prefix)}))

    def find(self, name: str) -> tuple[int, ...]:
        """`name` is in lower case already where case does not count."""
        found: list[int] = []
        for length in self._lengths:
            if length > len(name):
                break
            found += [order for fits, order in self._by_prefix.get(name[:length], ()) if fits(name)]
        return tuple(found)


class _Dimension:
    """The rules that are found under one field: by exact names in a table, by globs through their beginnings."""

    __slots__ = ("_exact", "_field", "_globs", "_lower", "_memo", "_section", "path")

    def __init__(self, path: Path, entries: Sequence[tuple[int, tuple[str, ...]]], *, lower: bool) -> None:
        self.path = path
        self._section, self._field = str(path[0]), path[1]
        self._lower = lower
        exact: dict[str, list[int]] = {}
        globs = _Globs()
        for order, names in entries:
            for name in names:
                if is_glob(name):
                    globs.add(name, order, lower=lower)
                else:
                    exact.setdefault(name.lower() if lower else name, []).append(order)
        self._exact = {name: tuple(orders) for name, orders in exact.items()}
        self._globs = globs
        self._memo: dict[str, tuple[int, ...]] = {}

    def find(self, event: Mapping[str, Any]) -> tuple[int, ...]:
        value = event[self._section][self._field]
        if value.__class__ is str:
            return self._of(value)
        found: tuple[int, ...] = _NONE
        for each in values_of(event, self.path):
            found += self._of(each)
        return found

    def _of(self, value: str) -> tuple[int, ...]:
        known = self._memo.get(value)
        if known is not None:
            return known
        name = value.lower() if self._lower else value
        found = self._exact.get(name, _NONE) + self._globs.find(name)
        if len(value) <= 256:
            if len(self._memo) >= _REMEMBERED:
                self._memo.clear()
            self._memo[value] = found
        return found


class Index:
    """Candidates of one phase. `reads` are the fields that it looks at."""

    __slots__ = ("_always", "_dimensions", "_everything", "_ordered", "reads")

    def __init__(self, phase: Phase, rules: Sequence[Rule]) -> None:
        entries: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        always: list[int] = []
        for order, rule in enumerate(rules):
            if rule.index is None:
                always.append(order)
            else:
                entries.setdefault(rule.index.key, []).append((order, rule.index.names))
        self._always = tuple(always)
        self._dimensions = tuple(
            _Dimension(KEYS[key].paths[phase], found, lower=key in WITHOUT_CASE) for key, found in entries.items()
        )
        self._everything = not self._dimensions
        self._ordered: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.reads = frozenset(dimension.path for dimension in self._dimensions)

    def probe(self, event: Mapping[str, Any]) -> Sequence[int]:
        """The places of the rules that the event can concern, in order."""
        if self._everything:
            return self._always
        found: tuple[int, ...] = _NONE
        for dimension in self._dimensions:
            found += dimension.find(event)
        if not found:
            return self._always
        known = self._ordered.get(found)
        if known is None:
            if len(self._ordered) >= _REMEMBERED:
                self._ordered.clear()
            known = tuple(sorted({*found, *self._always}))
            if len(known) <= _SHORT:
                self._ordered[found] = known
        return known

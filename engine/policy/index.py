"""Which rules an event can concern: found by the values of its fields, without looking at the other rules."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from engine.language.globs import glob_matcher, is_glob
from engine.model.effects import Path
from engine.model.phases import Phase

from .match import KEYS, WITHOUT_CASE, values_of
from .rule import Rule

_REMEMBERED: Final = 4096
_NONE: Final[tuple[int, ...]] = ()


class _Dimension:
    """The rules that are found under one field: by exact names in a table, by globs in a short list."""

    __slots__ = ("_exact", "_field", "_globs", "_lower", "_memo", "_section", "path")

    def __init__(self, path: Path, entries: Sequence[tuple[int, tuple[str, ...]]], *, lower: bool) -> None:
        self.path = path
        self._section, self._field = str(path[0]), path[1]
        self._lower = lower
        exact: dict[str, list[int]] = {}
        globs: list[tuple[Callable[[str], bool], int]] = []
        for order, names in entries:
            for name in names:
                if is_glob(name):
                    globs.append((glob_matcher(name, lower), order))
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
        found = self._exact.get(name, _NONE) + tuple(order for fits, order in self._globs if fits(value))
        if len(value) <= 256:
            if len(self._memo) >= _REMEMBERED:
                self._memo.clear()
            self._memo[value] = found
        return found


class Index:
    """Candidates of one phase. `reads` are the fields that it looks at."""

    __slots__ = ("_always", "_dimensions", "_everything", "reads")

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
        return sorted({*found, *self._always}) if self._always else sorted(set(found))

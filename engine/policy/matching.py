"""Links `match:` and `scope:`: the tests of their keys, the key that a rule is indexed under, and the fields they read."""

import ipaddress
from typing import Any

import msgspec

from engine.language.globs import is_glob
from engine.language.patterns import PatternSet
from engine.model.phases import Phase

from .match import (
    KEYS,
    STATUS,
    TEXT_FIELDS,
    WITHOUT_CASE,
    Test,
    all_of,
    allowed_keys,
    ip_test,
    keyword_test,
    name_test,
    pattern_test,
    status_test,
    stream_test,
)
from .names import FileNames, Path
from .rule import IndexKey
from .spec import MatchSpec, ScopeSpec

Reads = frozenset[tuple[str, ...]]


class Matching(msgspec.Struct, frozen=True):
    """A linked `match`."""

    tests: tuple[Test, ...] = ()
    unindexed: tuple[Test, ...] = ()
    """The tests without that of the key that the rule is found by: a candidate has passed it."""
    blind: tuple[Test, ...] = ()
    """The tests without those of labels: what is left where the state cannot be read."""
    reads: Reads = frozenset()
    index: IndexKey | None = None
    patterns: tuple[PatternSet, ...] = ()
    """What `pattern:` looks for."""
    width: int | None = None
    """How many code points `keyword:` must see at once: the widest word, and what stands on both sides of it."""

    @property
    def test(self) -> Test | None:
        return all_of(self.tests)


MATCHES_ALL = Matching()


def link_match(match: MatchSpec | None, phase: Phase, path: Path, names: FileNames) -> Matching:
    """Every key of a `match`; one that the phase does not have is said and left out."""
    if match is None:
        return MATCHES_ALL
    tests: list[tuple[str, Test]] = []
    reads: set[tuple[str, ...]] = set()
    keys: list[IndexKey] = []
    allowed = allowed_keys(phase)
    for field, name in zip(match.__struct_fields__, match.__struct_encode_fields__, strict=True):
        value = getattr(match, field)
        at: Path = (*path, name)
        if value is None:
            continue
        if name not in allowed:
            names.wrong(410, f"phase {phase} has no '{name}' to match", at, f"it has {', '.join(allowed)}")
        elif name == "not":
            inner = link_match(value, phase, at, names)
            tests += [(name, _negated(test)) for test in inner.tests]
            reads |= inner.reads
        else:
            test, wanted = _key_test(name, value, phase, at, names)
            tests.append((name, test))
            reads |= {KEYS[name].paths[phase][:2]} if name in KEYS else TEXT_FIELDS[phase]  # type: ignore[arg-type]
            if name in KEYS and KEYS[name].indexed and not any(_is_broad(each) for each in wanted):
                keys.append(IndexKey(name, wanted))
    order = list(KEYS)
    best = min(keys, key=lambda each: order.index(each.key), default=None)
    looked_for = names.values(match.pattern, (*path, "pattern")) if match.pattern is not None else ()
    sets = tuple(names.patterns(name, (*path, "pattern")) for name in looked_for if name in names.scope.patterns)
    words = names.values(match.keyword, (*path, "keyword")) if match.keyword is not None else ()
    width = max(map(len, words)) + 2 if words else None
    return Matching(
        tests=tuple(test for _, test in tests),
        unindexed=tuple(test for name, test in tests if best is None or name != best.key),
        blind=tuple(test for name, test in tests if name != "label"),
        reads=frozenset(reads),
        index=best,
        patterns=sets,
        width=width,
    )


def link_scope(scope: ScopeSpec | None, path: Path, names: FileNames) -> Matching:
    """A `scope`: whom a policy is for. Its keys are those of the caller, which every phase has."""
    if scope is None:
        return MATCHES_ALL
    written = {field: getattr(scope, field) for field in scope.__struct_fields__}
    return link_match(MatchSpec(**written), Phase.REQUEST, path, names)


def _key_test(name: str, value: Any, phase: Phase, path: Path, names: FileNames) -> tuple[Test, tuple[str, ...]]:
    """The test of one key, and the names that it looks for."""
    match name:
        case "stream":
            return stream_test(value), ()
        case "status":
            return _status_test(value if isinstance(value, list) else [value], path, names), ()
        case "pattern":
            wanted = names.values(value, path)
            return pattern_test(phase, [names.patterns(each, path) for each in wanted]), ()
        case "keyword":
            return keyword_test(phase, names.values(value, path)), ()
        case "ip":
            return _ip_test(names.values(value, path), path, names), ()
        case _:
            wanted = names.values(value, path)
            return name_test(KEYS[name].paths[phase], wanted, ignore_case=name in WITHOUT_CASE), wanted


def _status_test(wanted: list[int | str], path: Path, names: FileNames) -> Test:
    for number, each in enumerate(wanted):
        if not STATUS.fullmatch(str(each)):
            names.wrong(410, f"'{each}' is no status", (*path, number), "write 429, or a class of them: 5xx")
    return status_test(wanted)


def _ip_test(networks: tuple[str, ...], path: Path, names: FileNames) -> Test:
    for number, network in enumerate(networks):
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            help = "write 10.0.0.0/8 or 192.0.2.7"
            names.wrong(410, f"'{network}' is no address and no network", (*path, number), help)
            return lambda _event: False
    return ip_test(networks)


def _negated(test: Test) -> Test:
    return lambda event: not test(event)


def _is_broad(name: str) -> bool:
    """A glob so wide that an index under it finds nothing faster."""
    return is_glob(name) and not name.strip("*?")

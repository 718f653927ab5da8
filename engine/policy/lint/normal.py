"""Conditions and `match` in a form in which two rules can be compared: what must hold, part by part."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.language.globs import any_glob_matcher, is_glob
from engine.language.guards import chain
from engine.language.nodes import Node
from engine.policy.match import KEYS, WITHOUT_CASE
from engine.policy.names import Path
from engine.policy.spec import MatchSpec, ScopeSpec

from .subject import Subject

Names = Mapping[str, tuple[str, ...]]
"""Each key of a `match` with the names that it lists; `stream` and `status` as texts."""

_NAMING: Final = frozenset({"set", "def", "matches_any"})
_LISTS: Final = frozenset({"role", "label", "tool"})
"""Keys whose field may hold several values at once, any of which may match."""


def text_of(node: Node, policy: str) -> str:
    """The same text for the same condition, wherever it stands; names of a policy's own things are told apart."""
    value = node.value
    if node.kind == "literal":
        value = msgspec.json.encode(value).decode()
    owner = f"@{policy}" if node.kind == "function_expression" and node.value in _NAMING else ""
    inner = ",".join(text_of(child, policy) for child in node.children)
    return f"{node.kind}{owner}:{value}({inner})"


def parts(subject: Subject, written: Any, path: Path) -> dict[str, Node | None]:
    """What must all hold for a `when` to hold, each with its tree; a tree of `any:` or `not:` counts as one part."""
    match written:
        case None | True:
            return {}
        case str():
            node = subject.nodes.get(path)
            if node is None:
                return {written: None}
            return {text_of(each, subject.spec.policy): each for each in chain(node, "and_expression")}
        case {"all": list(children)}:
            found: dict[str, Node | None] = {}
            for index, child in enumerate(children):
                found |= parts(subject, child, (*path, "all", index))
            return found
        case _:
            return {f"{subject.spec.policy}:{msgspec.json.encode(written, order='sorted').decode()}": None}


def names_of(subject: Subject, match: MatchSpec | ScopeSpec | None) -> dict[str, tuple[str, ...]]:
    """The keys of a `match` or `scope`, without its `not:`."""
    found: dict[str, tuple[str, ...]] = {}
    if match is None:
        return found
    for field, name in zip(match.__struct_fields__, match.__struct_encode_fields__, strict=True):
        value = getattr(match, field)
        if value is None or name == "not":
            continue
        if name == "stream":
            found[name] = (str(value).lower(),)
        elif name == "status":
            found[name] = tuple(map(str, value)) if isinstance(value, list) else (str(value),)
        elif name == "pattern":
            found[name] = tuple(f"{subject.spec.policy}:{each}" for each in subject.listed(value))
        else:
            lower = name in WITHOUT_CASE or name == "keyword"
            found[name] = tuple(each.lower() if lower else each for each in subject.listed(value))
    return found


def covers(wide: Sequence[str], narrow: Sequence[str], key: str) -> bool:
    """Whether a list of names takes all that another takes."""
    if key not in KEYS or not KEYS[key].indexed:
        return set(narrow) <= set(wide)
    fits = any_glob_matcher(wide, ignore_case=False)
    return all(fits(each) if not is_glob(each) else _covers_glob(wide, each) for each in narrow)


def _covers_glob(wide: Sequence[str], narrow: str) -> bool:
    """A glob is covered by itself, and by one that ends in its only wildcard and begins as it does."""
    begins = narrow.replace("?", "*").partition("*")[0]
    return any(
        each == narrow or (each.endswith("*") and not is_glob(each[:-1]) and begins.startswith(each[:-1]))
        for each in wide
    )


def apart(left: Sequence[str], right: Sequence[str], key: str) -> bool:
    """Whether no single value fits both lists: known where one of them holds no globs, and the field has one value."""
    if key in _LISTS or key not in KEYS or not KEYS[key].indexed:
        return False
    for names, others in ((left, right), (right, left)):
        if not any(map(is_glob, names)):
            fits = any_glob_matcher(others, ignore_case=False)
            return not any(map(fits, names))
    return False


def literals(node: Node) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The field and the texts that it must be one of, where a condition says that: `a.b == 'x'`, `contains(['x'], a.b)`."""
    match node.kind:
        case "comparator" if node.value == "eq":
            left, right = node.children
            if left.kind == "literal":
                left, right = right, left
            path = _path(left)
            if path and right.kind == "literal" and isinstance(right.value, str):
                yield path, (right.value,)
        case "or_expression":
            asked = [list(literals(part)) for part in chain(node, "or_expression")]
            pairs = [each for one in asked for each in one]
            if all(asked) and len({path for path, _ in pairs}) == 1:
                yield pairs[0][0], tuple(name for _, names in pairs for name in names)
        case "function_expression" if node.value == "contains" and len(node.children) == 2:
            where, what = node.children
            path, names = _path(what), _texts(where)
            if path and names:
                yield path, names
        case _:
            return


def _texts(node: Node) -> tuple[str, ...]:
    """The texts of a list that is written in place."""
    if node.kind == "literal" and isinstance(node.value, list):
        return tuple(each for each in node.value if isinstance(each, str))
    if node.kind == "multi_select_list" and all(each.kind == "literal" for each in node.children):
        return tuple(each.value for each in node.children if isinstance(each.value, str))
    return ()


def _path(node: Node) -> tuple[str, ...]:
    if node.kind == "subexpression" and all(each.kind == "field" for each in node.children):
        return tuple(each.value for each in node.children)
    return ()

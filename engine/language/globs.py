"""Globs: `*` is any text, `?` any one character, nothing else is special; matched in time linear in the name."""

import functools
import re
from collections.abc import Callable, Iterable

Test = Callable[[str], bool]


@functools.lru_cache(maxsize=4096)
def glob_matcher(pattern: str, ignore_case: bool = True) -> Test:
    """The test for one glob, over the whole name. Case is ignored unless asked for: `GPT-*` is `gpt-*`."""
    wanted = pattern.lower() if ignore_case else pattern
    test = _exactly(wanted)
    if not ignore_case:
        return test
    return lambda name: test(name.lower())


def any_glob_matcher(patterns: Iterable[str], ignore_case: bool = True) -> Test:
    """The test for a list of globs, any of which may match. Names without wildcards are looked up, not tried."""
    wanted = [each.lower() if ignore_case else each for each in patterns]
    names = frozenset(each for each in wanted if not is_glob(each))
    tests = tuple(_exactly(each) for each in wanted if is_glob(each))

    def matches(name: str) -> bool:
        if ignore_case:
            name = name.lower()
        if name in names:
            return True
        return any(test(name) for test in tests) if tests else False

    return matches


def is_glob(text: str) -> bool:
    """Whether a text has wildcards; one without is matched as the name that it is."""
    return "*" in text or "?" in text


def _exactly(pattern: str) -> Test:
    first, *rest = pattern.split("*")
    if "?" not in pattern:
        match rest:
            case []:
                return pattern.__eq__
            case [""]:
                return lambda name: name.startswith(first)
            case [last] if not first:
                return lambda name: name.endswith(last)
            case [middle, ""] if not first:
                return lambda name: middle in name
    regexp = re.compile(_translated(first, rest), re.DOTALL)
    return lambda name: regexp.fullmatch(name) is not None


def _translated(first: str, rest: list[str]) -> str:
    """Each piece between stars is found once, as early as it can be, and never tried again: atomic groups."""
    if not rest:
        return _piece(first)
    *middle, last = rest
    found = "".join(f"(?>.*?{_piece(each)})" for each in middle if each)
    return f"{_piece(first)}{found}.*{_piece(last)}"


def _piece(text: str) -> str:
    return "".join("." if char == "?" else re.escape(char) for char in text)

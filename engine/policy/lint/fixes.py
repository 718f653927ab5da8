"""Mends what can be mended without a doubt: each fix is tried, and kept only where it does what it should."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from engine.diagnostics import Diagnostic, Fix

_UNREADABLE: Final = frozenset({"E101", "E104", "E106"})
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$")
_MOST: Final = 200  # fixes of one file in one run

Judge = Callable[[str], Sequence[Diagnostic]]
"""The findings of a text."""


class Mended(msgspec.Struct, frozen=True):
    """A file's new text, and the findings that are gone."""

    text: str
    fixed: tuple[Diagnostic, ...]


def mend(text: str, judge: Judge) -> Mended:
    """The text with every fix that takes its own error away and brings no new one.

    Only errors are mended: a file with one does not load, so that no rule that is in force changes its meaning.
    """
    fixed: list[Diagnostic] = []
    found = list(judge(text))
    refused: set[tuple[str, str]] = set()
    while len(fixed) < _MOST:
        each = next((one for one in found if one.stops_loading and one.fix and _key(one) not in refused), None)
        if each is None or each.fix is None:
            break
        for candidate in _written(text, each.fix):
            after = list(judge(candidate))
            if _is_better(found, after, each):
                text, found = candidate, after
                fixed.append(each)
                break
        else:
            refused.add(_key(each))
    return Mended(text, tuple(fixed))


def _key(each: Diagnostic) -> tuple[str, str]:
    return each.code, each.message


def _is_better(before: Sequence[Diagnostic], after: Sequence[Diagnostic], mended: Diagnostic) -> bool:
    """One of this error less, none more that makes the file unreadable, and what is left of its line stands behind it."""
    old, new = (Counter(map(_key, each)) for each in (before, after))
    if new[_key(mended)] >= old[_key(mended)]:
        return False
    line, column = mended.where.line, mended.where.column
    here = [
        [each.where.column for each in found if each.stops_loading and each.where.line == line]
        for found in (before, after)
    ]
    unreadable = [sum(each.code in _UNREADABLE for each in found) for found in (before, after)]
    on = len(here[1]) < len(here[0]) or all(each > column for each in here[1])
    if mended.code == "E201":  # what stands in an expression is judged when it can be read
        on = on or not any(each.code == "E201" and each.where.line == line for each in after)
    return on and unreadable[1] <= unreadable[0]


def _written(text: str, fix: Fix) -> Iterator[str]:
    """The text with the fix, as it is, and as the quotes around its place may ask for."""
    lines = _LINE.findall(text)
    where = fix.where
    if not 0 < where.line <= where.end_line <= len(lines):
        return
    start = sum(map(len, lines[: where.line - 1])) + where.column - 1
    end = sum(map(len, lines[: where.end_line - 1])) + where.end_column - 1
    for each in dict.fromkeys((fix.text, fix.text.replace("'", "''"), fix.text.replace('"', '\\"'))):
        yield text[:start] + each + text[end:]

"""Findings as people read them, with the source line and a caret below the span, and as JSON."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from engine.diagnostics import Diagnostic, Severity, Where

TAB: Final = 4
_COLORS: Final = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.NOTE: "36"}
_BREAK = re.compile(r"\r\n|\r|\n")
_MIN_WIDTH: Final = 40


def ordered(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sort by file, line, column and code."""
    return sorted(diagnostics, key=lambda each: (each.where.file, each.where.line, each.where.column, each.code))


def render_text(
    diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], *, color: bool = False, width: int = 120
) -> str:
    """Render every finding with its source line, and a summary; empty where there is nothing to say.

    `sources` maps the files' names to their text; `width` is that of the terminal in cells.
    """
    found = ordered(diagnostics)
    if not found:
        return ""
    lines = {each: _BREAK.split(sources[each]) for each in {one.where.file for one in found} if each in sources}
    blocks = [_block(each, lines.get(each.where.file, []), color=color, width=max(width, _MIN_WIDTH)) for each in found]
    return "\n".join([*blocks, summary(found)]) + "\n"


def summary(diagnostics: Sequence[Diagnostic]) -> str:
    """Count the findings: `2 errors, 1 warning in 3 files`."""
    counts = [(sum(each.severity is severity for each in diagnostics), severity.value) for severity in Severity]
    files = len({each.where.file for each in diagnostics})
    return f"{', '.join(_plural(*each) for each in counts if each[0]) or 'nothing found'} in {_plural(files, 'file')}"


def render_json(diagnostics: Iterable[Diagnostic], files: int, rules: int) -> bytes:
    """Encode findings as `{"diagnostics": […], "files": n, "rules": n}` for `files` files that hold `rules` rules."""
    rows = [
        {
            "code": each.code,
            "severity": each.severity.value,
            "message": each.message,
            "file": each.where.file,
            "line": each.where.line,
            "column": each.where.column,
            "end_line": each.where.end_line,
            "end_column": each.where.end_column,
            "help": each.help,
        }
        for each in ordered(diagnostics)
    ]
    return msgspec.json.encode({"diagnostics": rows, "files": files, "rules": rules})


def visible(text: str) -> str:
    """Escape what would move the cursor, hide, or turn text around: control, format and bidirectional characters."""
    if text.isprintable():
        return text
    return "".join(map(_glyph, text))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _glyph(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cells(glyph: str) -> int:
    """How many columns of a terminal a glyph takes."""
    if glyph.isascii():
        return len(glyph)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in glyph
    )


def _block(diagnostic: Diagnostic, lines: Sequence[str], *, color: bool, width: int) -> str:
    where = diagnostic.where
    place = visible(str(where))
    code = diagnostic.code
    tint = _COLORS[diagnostic.severity]
    if color:
        place, code = f"\x1b[1m{place}\x1b[0m", f"\x1b[1;{tint}m{code}\x1b[0m"
    head = f"{place} {code} {visible(diagnostic.message)}"
    help = visible(diagnostic.help)
    if not 0 < where.line <= len(lines):
        return f"{head}\n   = {help}" if help else head
    gutter = f"{where.line:>5} | "
    text, carets_at, carets = _excerpt(lines[where.line - 1], where, width - len(gutter))
    pointer = "^" * carets
    if color:
        pointer = f"\x1b[{tint}m{pointer}\x1b[0m"
    below = f"{' ' * carets_at}{pointer} {help}".rstrip()
    return f"{head}\n{gutter}{text}".rstrip() + f"\n{' ' * 5} | {below}"


def _excerpt(line: str, where: Where, width: int) -> tuple[str, int, int]:
    """Return the visible line, cropped around the span, where the carets begin, and how many; all in cells.

    A span of several lines is shown by its first one, to its end.
    """
    glyphs: list[str] = []
    starts: list[int] = []
    cells = 0
    for character in line:
        glyph = " " * (TAB - cells % TAB) if character == "\t" else _glyph(character)
        glyphs.append(glyph)
        starts.append(cells)
        cells += _cells(glyph)
    starts.append(cells)
    first = min(where.column - 1, len(line))
    last = min(where.end_column - 1, len(line)) if where.end_line == where.line else len(line.rstrip())
    last = max(first, last)
    left, right = 0, len(line)
    if cells > width:
        left, right = _window(starts, first, last, width - 2)
    before, after = "…" if left else "", "…" if right < len(line) else ""
    carets = starts[max(min(last, right), left)] - starts[first]
    text = before + "".join(glyphs[left:right]) + after
    return text, len(before) + starts[first] - starts[left], max(carets, 1)


def _window(starts: Sequence[int], first: int, last: int, width: int) -> tuple[int, int]:
    """Choose the characters to show: the span with as much on either side as fits, its beginning in any case."""
    span = min(starts[last] - starts[first], width)
    begin = max(0, min(starts[first] - (width - span) // 2, starts[-1] - width))
    left = next(at for at, start in enumerate(starts) if start >= min(begin, starts[first]))
    right = left
    while right + 1 < len(starts) and starts[right + 1] - starts[left] <= width:
        right += 1
    return left, right

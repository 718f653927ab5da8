"""Where the characters of a decoded scalar stand in the source: plain, quoted, literal and folded, escapes and folds."""

import re
from collections.abc import Iterator

_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_HEX_LENGTH = {"x": 2, "u": 4, "U": 8}
_PROPERTY = re.compile(r"[&!][^\s]*(?:[ \t]+|[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n)[ \t]*)+")
_BLANKS = re.compile(r"[ \t]*")
_SPACES = re.compile(r" *")
_BREAK = re.compile(r"\r\n|\r|\n")
_REST = re.compile(r"[^\r\n]*")

Piece = tuple[str, int, int]
"""A decoded character (or nothing) with the start and end of what stands for it in the source."""


def content_start(source: str, start: int) -> int:
    """Skip the anchor and tag in front of a scalar."""
    while match := _PROPERTY.match(source, start):
        start = match.end()
    return start


def style(source: str, start: int) -> str:
    """Return `'`, `"`, `|`, `>` or, for a plain scalar, the empty string."""
    first = source[start : start + 1]
    return first if first and first in "'\"|>" else ""


def positions(source: str, start: int, end: int, decoded: str) -> list[tuple[int, int]] | None:
    """Return the source span of every character of `decoded`, or None where the slice does not decode to it."""
    start = content_start(source, start)
    for pieces in _readings(source, start, end):
        kept = [(at, to) for _, at, to in pieces]
        if "".join([character for character, _, _ in pieces]) == decoded:
            return kept
    return None


def _readings(source: str, start: int, end: int) -> Iterator[list[Piece]]:
    match style(source, start):
        case "'":
            yield list(_flow(source, start + 1, end - 1, "'"))
        case '"':
            yield list(_flow(source, start + 1, end - 1, '"'))
        case "|" | ">" as block:
            yield from _block(source, start, end, folded=block == ">")
        case _:
            yield list(_flow(source, start, end, ""))


def _flow(source: str, at: int, end: int, quote: str) -> Iterator[Piece]:
    """Read a plain or quoted scalar: blanks around a line break vanish, one break is a space, n breaks are n-1 newlines."""
    blanks: list[Piece] = []
    while at < end:
        character = source[at]
        if character in " \t":
            blanks.append((character, at, at + 1))
            at += 1
            continue
        if character in "\r\n":
            blanks = []
            breaks, at = _breaks(source, at, end)
            yield from breaks[1:] or [(" ", *breaks[0][1:])]
            continue
        yield from blanks
        blanks = []
        if quote == '"' and character == "\\":
            following = source[at + 1]
            if following in "\r\n":
                breaks, at = _breaks(source, at + 1, end)
                yield from breaks[1:]
                continue
            length = _HEX_LENGTH.get(following, 0)
            text = chr(int(source[at + 2 : at + 2 + length], 16)) if length else _ESCAPES[following]
            yield text, at, at + 2 + length
            at += 2 + length
        elif quote == "'" and character == "'":
            yield "'", at, at + 2
            at += 2
        else:
            yield character, at, at + 1
            at += 1
    if quote:
        yield from blanks


def _breaks(source: str, at: int, end: int) -> tuple[list[Piece], int]:
    """Read the line breaks from `at` on, with the blanks between and after them."""
    found: list[Piece] = []
    while at < end and (match := _BREAK.match(source, at, end)):
        found.append(("\n", match.start(), match.end()))
        blanks = _BLANKS.match(source, match.end(), end)
        at = blanks.end() if blanks else match.end()
    return found, at


def _block(source: str, start: int, end: int, *, folded: bool) -> Iterator[list[Piece]]:
    header = _REST.match(source, start)
    first_break = _BREAK.match(source, header.end()) if header else None
    if header is None or first_break is None:
        yield []
        return
    indicators = header.group().split("#", 1)[0]
    chomping = "-" if "-" in indicators else "+" if "+" in indicators else ""
    lines = list(_lines(source, first_break.end(), max(end, first_break.end())))
    filled = [len(_spaces(source, at, to)) for at, to, _ in lines if source[at:to].strip(" ")]
    # An indentation indicator counts from the parent, which the slice does not show: the reading that decodes right wins.
    deepest = min(filled) if filled else max([to - at for at, to, _ in lines], default=0)
    for indent in range(deepest, -1, -1):
        yield _block_reading(source, lines, indent, chomping, folded=folded)


def _lines(source: str, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield start, end without the break, and end of every line."""
    while at < end:
        found = _BREAK.search(source, at)
        stop, after = found.span() if found else (len(source), len(source))
        yield at, stop, after
        at = after


def _spaces(source: str, at: int, end: int) -> str:
    match = _SPACES.match(source, at, end)
    return match.group() if match else ""


def _block_reading(
    source: str, lines: list[tuple[int, int, int]], indent: int, chomping: str, *, folded: bool
) -> list[Piece]:
    """Read the lines of a block scalar whose content is indented by `indent` spaces."""
    pieces: list[Piece] = []
    pending: list[Piece] = []  # the breaks since the last filled line, which only the next line can judge
    was_blank = False
    any_filled = False
    for at, stop, after in lines:
        content = at + min(indent, len(_spaces(source, at, stop)))
        broken = [("\n", stop, after)] if after > stop else []
        if content == stop:
            pending += broken
            continue
        is_blank = source[content] in " \t"
        if folded and any_filled and pending and not was_blank and not is_blank:
            pieces += pending[1:] or [(" ", *pending[0][1:])]
        else:
            pieces += pending
        pieces += [(source[each], each, each + 1) for each in range(content, stop)]
        pending, was_blank, any_filled = broken, is_blank, True
    if chomping == "+":
        pieces += pending
    elif chomping == "" and any_filled:
        pieces += pending[:1]
    return pieces

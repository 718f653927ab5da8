"""Shell words: quoting undone, braces expanded, fields split, each knowing whether the text alone decides it."""

import re

import msgspec

# While a word is put together these noncharacters mark what its text alone cannot say.
SPLIT, OPEN, COMMA, CLOSE, DYNAMIC, GLOB, QUOTED = "\ufdd0\ufdd1\ufdd2\ufdd3\ufdd4\ufdd5\ufdd6"
MARKS = re.compile(f"[{SPLIT}-{QUOTED}]")
_RESTORE = {ord(OPEN): "{", ord(COMMA): ",", ord(CLOSE): "}", ord(DYNAMIC): None, ord(GLOB): None, ord(QUOTED): None}
_BARE_SPECIAL = re.compile(r"\\\n|\\(.)|[{},*?\[]|\\\Z", re.DOTALL)
_BARE_MEANING = {"{": OPEN, "}": CLOSE, ",": COMMA, "*": GLOB + "*", "?": GLOB + "?", "[": GLOB + "["}
_DOUBLE_ESCAPE = re.compile(r'\\\n|\\([$`"\\])')
_ANSI_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_ECHO_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|(0[0-7]{0,3}|[1-7][0-7]{0,2})|(c)|(.))",
    re.DOTALL,
)
_NAMED = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_WHITE = re.compile(r"[ \t\n]+")
_GLOBS = re.compile(r"[*?\[]")
BRACE_LIMIT = 64


class Word(msgspec.Struct, frozen=True, gc=False):
    """One word of a command: `text` with quoting undone, `raw` as written, `known` where the text alone decides it.

    `glob` is true where an unquoted pattern stands in it.
    """

    text: str
    raw: str
    known: bool = True
    glob: bool = False


def bare(text: str) -> str:
    """Unquoted text with its backslashes undone; braces and patterns are marked."""
    if not _BARE_SPECIAL.search(text):
        return text
    return _BARE_SPECIAL.sub(_bare_part, text)


def _bare_part(match: re.Match[str]) -> str:
    whole = match[0]
    if whole in _BARE_MEANING:
        return _BARE_MEANING[whole]
    if match[1] is not None:
        return QUOTED + match[1]
    return "" if whole == "\\\n" else "\\"


def double_quoted(text: str) -> str:
    """Text between double quotes, or in a here-document, with its backslashes undone."""
    return _DOUBLE_ESCAPE.sub(lambda m: m[1] or "", text) if "\\" in text else text


def ansi_c(text: str) -> str:
    """The inside of `$'...'` with its escapes decoded; a zero byte ends it, as in bash."""

    def decode(match: re.Match[str]) -> str:
        two, four, eight, octal, control, named = match.groups()
        if two or four or eight:
            return _character(int(two or four or eight, 16))
        if octal:
            return _character(int(octal, 8) & 0xFF)
        if control:
            return chr(ord(control) & 0x1F)
        return _NAMED.get(named, named if named in "\\'\"?" else "\\" + named)

    return _ANSI_ESCAPE.sub(decode, text).partition("\0")[0] if "\\" in text else text


def echoed(text: str) -> str:
    """What `echo -e` and `printf` make of the escapes in `text`; `\\c` ends the output."""
    if "\\" not in text:
        return text
    ended = False

    def decode(match: re.Match[str]) -> str:
        nonlocal ended
        if ended:
            return ""
        two, four, eight, octal, end, named = match.groups()
        if two or four or eight:
            return _character(int(two or four or eight, 16))
        if octal:
            return _character(int(octal, 8) & 0xFF)
        if end:
            ended = True
            return "\0"
        return _NAMED.get(named, "\\" if named == "\\" else "\\" + named)

    return _ECHO_ESCAPE.sub(decode, text).partition("\0")[0]


def _character(code: int) -> str:
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "\ufffd"


def unquoted_value(value: str, separators: str | None = None) -> str:
    """The value of an unquoted expansion: split at white space or at `separators`, its patterns alive."""
    if separators is None:
        split = _WHITE.sub(SPLIT, value)
    else:
        split = value.translate({ord(separator): SPLIT for separator in separators})
    return _GLOBS.sub(lambda m: GLOB + m[0], split)


def plain(marked: str) -> str:
    """Marked text as it reads where no splitting happens, as in an assignment."""
    return marked.replace(SPLIT, " ").translate(_RESTORE) if MARKS.search(marked) else marked


def fields(marked: str, raw: str) -> list[Word]:
    """The words that marked text becomes: braces first, then splitting, as bash does."""
    if not MARKS.search(marked):
        return [Word(marked, raw)] if marked else []
    texts = _expand_braces(marked) if OPEN in marked and CLOSE in marked else [marked]
    return [
        Word(part.translate(_RESTORE), raw, DYNAMIC not in part, GLOB in part)
        for text in texts
        for part in text.split(SPLIT)
        if part
    ]


def _expand_braces(text: str) -> list[str]:
    """`a{b,c}d` -> `abd`, `acd`; a pair without a comma, and what would grow beyond the limit, stays text."""
    start = text.find(OPEN)
    if start < 0 or text.count(OPEN) > BRACE_LIMIT // 2:
        return [text]
    depth, last, parts = 0, start + 1, []
    for index in range(start, len(text)):
        mark = text[index]
        if mark == OPEN:
            depth += 1
        elif mark == COMMA and depth == 1:
            parts.append(text[last:index])
            last = index + 1
        elif mark == CLOSE:
            depth -= 1
            if depth == 0:
                break
    if depth:
        return [text[: start + 1] + tail for tail in _expand_braces(text[start + 1 :])]
    parts.append(text[last:index])
    tails = _expand_braces(text[index + 1 :])
    inner = [whole for part in parts for whole in _expand_braces(part)]
    if len(parts) == 1:
        inner = ["{" + whole + "}" for whole in inner]
    if len(inner) * len(tails) > BRACE_LIMIT:
        return [text]
    return [text[:start] + middle + tail for middle in inner for tail in tails]

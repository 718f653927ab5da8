"""RE2 patterns and sets of them: found fast where they are rare, masked, and held back in a stream only as far as needed."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import re2

from engine.diagnostics import LexgateError
from engine.language import pattern_syntax
from engine.language.checksums import CHECKS, Check
from engine.language.pattern_syntax import Literals, NotUnderstood

# What RE2 leaves out, by the text that begins it, and what to write instead.
_INSTEAD: Final = {
    "(?=": "RE2 has no lookahead; match the text that follows too, or test it with a second pattern",
    "(?!": "RE2 has no lookahead; match more and exclude with `unless`, or list what may follow",
    "(?<=": "RE2 has no lookbehind; match the text before too, or use \\b",
    "(?<!": "RE2 has no lookbehind; match more and exclude with `unless`, or use \\b",
    "(?>": "RE2 needs no atomic groups: it never backtracks; write (?:...)",
    "(?#": "RE2 has no comments in patterns; use a YAML comment",
    "(?P=": "RE2 has no backreferences; write the alternatives out",
    "(?P>": "RE2 has no recursion; write the levels that you need out",
    "\\Z": "write \\z for the end of the text",
    "\\K": "RE2 has no \\K; mask the whole match",
    "\\h": "write [ \\t] for a blank",
    "\\R": "write \\r?\\n for a line's end",
    "\\u": "write \\x{...} with the hexadecimal digits",
    "\\C": "a single byte is no character; write . or [\\x00-\\x{10FFFF}]",
    "++": "RE2 needs no possessive repeats: it never backtracks; write +",
    "*+": "RE2 needs no possessive repeats: it never backtracks; write *",
    "?+": "RE2 needs no possessive repeats: it never backtracks; write ?",
}
_SHORTEST_GATE: Final = 3  # shorter literals stand in every text and would open the gate always
_MOST_NEEDLES: Final = 8  # byte strings that are looked for one by one before RE2 is asked
_SOURCE_LIMIT: Final = 20_000  # characters of one pattern's beginnings; with more, any text counts as one
_TOGETHER_LIMIT: Final = (
    30_000  # characters of the patterns that one automaton looks for; RE2 compiles larger ones slowly
)
_SHORT: Final = 256  # bytes up to which one set, read byte by byte, is faster than several searches that skip
_MEMORY: Final = 8 << 20  # bytes that the automaton of one pattern may grow to
_MEMORY_TOGETHER: Final = 64 << 20  # of many patterns; with less it is thrown away and rebuilt all the time


class PatternError(LexgateError):
    """The author's pattern is wrong: `start` and `end` are code-point offsets in its text, `help` says what to write."""

    def __init__(self, message: str, start: int, end: int, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.help = help


class Match(NamedTuple):
    """Where a pattern matched, in code points; `end` is exclusive."""

    name: str
    start: int
    end: int


class Pattern(msgspec.Struct, frozen=True, eq=False):
    """A compiled pattern.

    A match has at least `min_width` and at most `max_width` code points; `max_width` is computed or, where smaller,
    what the author stated, and None without bound. The preferred match among those that are not wider counts.
    """

    name: str
    text: str
    min_width: int
    max_width: int | None
    narrowed: bool
    """Whether `max_width` is the author's and cuts off matches that the text alone would allow."""
    literals: Literals | None
    source: str
    """RE2 text that matches in the same places and can stand inside a larger pattern."""
    beginning: str | None
    """RE2 text of the beginnings of a match; None if it would be too large."""
    regexp: Any
    check: Check | None = None
    """What a match must pass besides: a checksum."""

    def matches(self, text: str) -> bool:
        """Whether the pattern, as the author stated it, stands anywhere in `text`; it may match nothing at all."""
        data = _encoded(text)
        if self.narrowed or self.check is not None:
            return _search(self, data, 0, empty=True) is not None
        return self.regexp.search(data) is not None

    def groups_at(self, text: str, start: int) -> tuple[str | None, ...]:
        """The match that begins at code point `start`, and its groups; all of nothing where none begins there."""
        found = _capturing(self.text).match(text, start)
        return (found[0], *found.groups()) if found is not None else ()


def compile_pattern(name: str, text: str, max_width: int | None = None, check: str | None = None) -> Pattern:
    """A pattern ready for use; `check` is a name of CHECKS.

    Raises PatternError with RE2's reason, the place, and what to write instead.
    """
    try:
        regexp = _compiled(text)
    except re2.error as failure:
        raise _explained(text, failure) from None
    except UnicodeEncodeError as failure:
        raise PatternError("a lone surrogate is no character", failure.start, failure.end) from None
    try:
        tree = pattern_syntax.read(text)
    except NotUnderstood as failure:
        part = text[failure.start : failure.start + 2]
        raise PatternError(str(failure), failure.start, failure.start + 1, _INSTEAD.get(part, "")) from None
    least, most = pattern_syntax.width(tree)
    narrowed = max_width is not None and (most is None or max_width < most)
    if max_width is not None and max_width < least:
        raise PatternError(f"max_width is {max_width}, but every match has at least {least} characters", 0, len(text))
    beginning = pattern_syntax.beginning(tree)
    return Pattern(
        name=name,
        text=text,
        min_width=least,
        max_width=max_width if narrowed else most,
        narrowed=narrowed,
        literals=pattern_syntax.literals(tree),
        source=pattern_syntax.source(tree),
        beginning=beginning if len(beginning) <= _SOURCE_LIMIT else None,
        regexp=regexp,
        check=CHECKS[check] if check is not None else None,
    )


class PatternSet:
    """Named patterns that are looked for together.

    Where two patterns match, the leftmost match counts; of two that begin together, the earlier pattern's. Matches do
    not overlap, and a match of no characters is passed over.
    """

    def __init__(self, name: str, patterns: Iterable[Pattern]) -> None:
        self.name = name
        self.patterns = tuple(patterns)
        widths = [each.max_width for each in self.patterns]
        self.max_width = None if None in widths else max((width for width in widths if width is not None), default=0)
        """Of the widest match, in code points; None without bound."""
        self._gate = _Gate(self.patterns)

    @property
    def unbounded(self) -> tuple[Pattern, ...]:
        """The patterns whose match can be of any width: a stream cannot use them."""
        return tuple(each for each in self.patterns if each.max_width is None)

    @functools.cached_property
    def _beginnings(self) -> "tuple[_Beginnings, ...]":
        return _beginnings(self.patterns)

    @functools.cached_property
    def _alarms(self) -> "tuple[_Alarm, ...] | None":
        return _alarms(self.patterns)

    def prepare_for_streams(self) -> None:
        """Compile what `settled` and `is_quiet` need, at load: some milliseconds a pattern, which not every set needs."""
        assert self._beginnings is not None
        assert self._alarms is None or self._alarms

    def is_quiet(self, before: str, text: str) -> bool:
        """Whether `text` is free of matches and of what could become one: then `settled` holds nothing of it.

        `before` is what stands in front of it, and was found quiet or settled. False says nothing: ask `settled`.
        """
        # The last character in front decides whether a word begins here; nothing of a pattern looks further back.
        lead = before[-1:]
        data = _encoded(lead + text)
        alarms = self._alarms if len(data) <= _SHORT else None
        if alarms is None:
            return not self._found(data) and self._held(data, len(_encoded(lead))) == len(data)
        return all(alarm.rings.Match(data) == alarm.silence for alarm in alarms)

    def may_match(self, text: str) -> bool:
        """Whether a search is worth its price: False where what every match needs is not in `text`."""
        return self._gate.opens(_encoded(text))

    def matches(self, text: str) -> bool:
        """Whether any of the patterns stands in `text`."""
        return self._found(_encoded(text))

    def _found(self, data: bytes) -> bool:
        return any(_search(each, data, 0) is not None for each in self._gate.candidates(data))

    def find(self, text: str, start: int = 0) -> Iterator[Match]:
        """The matches from code point `start` on; what stands before it is context, for `\\b` and `^`."""
        data = _encoded(text)
        candidates = self._gate.candidates(data)
        if candidates:
            yield from _in_code_points(_scan(candidates, data, _byte_offset(data, start)), data)

    def sub(self, text: str, replacement: str | Callable[[Match], str], start: int = 0) -> str:
        """`text` from code point `start` on with every match replaced, by a text or by what the function returns."""
        pieces = []
        done = start
        for match in self.find(text, start):
            pieces.append(text[done : match.start])
            pieces.append(replacement if isinstance(replacement, str) else replacement(match))
            done = match.end
        pieces.append(text[done:])
        return "".join(pieces)

    def settled(self, text: str, start: int = 0) -> tuple[tuple[Match, ...], int]:
        """What is certain of the beginning of a text that goes on: its matches, and the offset up to which that holds.

        From that offset on, the text may become a match, or a longer one, when more arrives; hold it. The matches all
        end at or before it, and are those that the whole text will have there. `start` is as for `find`.
        """
        data = _encoded(text)
        at = _byte_offset(data, start)
        held = self._held(data, at)
        matches: list[tuple[Pattern, int, int]] = []
        # A match that begins before the held part is final. It may reach into it, and what it covers is then no
        # beginning of another.
        for match in _scan(self._gate.candidates(data), data, at):
            if match[1] >= held:
                break
            matches.append(match)
            if match[2] > held:
                held = self._held(data, match[2])
        return tuple(_in_code_points(matches, data)), _code_points(data, held)

    def hold_from(self, text: str, start: int = 0) -> int:
        """The offset of the suffix that can still become part of a match when more text arrives; `len(text)` if none."""
        return self.settled(text, start)[1]

    def _held(self, data: bytes, at: int) -> int:
        """The byte offset, from `at` on, at which the first unfinished match may begin."""
        held = len(data)
        for group in self._beginnings:
            window = at if group.width is None else max(at, _back(data, group.width))
            if window >= held:
                continue
            if group.regexp is None:
                held = window
            elif (found := group.regexp.search(data, window)) is not None:
                held = min(held, found.start())
        return held


class _Beginnings(NamedTuple):
    """The beginnings of matches of some patterns, anchored at the end of the text; `regexp` None: any text is one."""

    width: int | None
    regexp: Any


def _beginnings(patterns: Sequence[Pattern]) -> tuple[_Beginnings, ...]:
    """One search for all patterns that cannot be wider than they may; one for each of the others."""
    groups: list[_Beginnings] = []
    together: list[Pattern] = []
    for each in patterns:
        if each.narrowed or each.max_width is None:
            groups += _one_search([each])
        else:
            together.append(each)
    for chunk in _chunks(together, lambda each: len(each.beginning or "")):
        groups += _one_search(chunk)
    return tuple(groups)


class _Alarm(NamedTuple):
    """Finds in one pass, mostly rightly, that some patterns have to do with a text; `silence` is its answer where not."""

    rings: Any
    silence: list[int]


def _alarms(patterns: Sequence[Pattern]) -> tuple[_Alarm, ...] | None:
    """None where some pattern cannot be judged by its text alone: one that is narrowed, unbounded or too large."""
    if not patterns or any(each.narrowed or each.max_width is None or each.beginning is None for each in patterns):
        return None
    found: list[_Alarm] = []
    for chunk in _chunks(patterns, lambda each: len(each.beginning or "") + len(each.source)):
        sources = [source for each in chunk for source in (*_needed(each), rf"(?:{each.beginning})\z")]
        # The last one is in every text. RE2 finds nothing at all where its automaton ran out of memory: no silence.
        found.append(_Alarm(_search_set([*sources, ""]), [len(sources)]))
    return tuple(found)


def _needed(pattern: Pattern) -> list[str]:
    """RE2 texts of which one stands in every match: the literals that it needs, or else all of it."""
    if pattern.literals is None or pattern.literals.shortest < _SHORTEST_GATE:
        return [f"(?:{pattern.source})"]
    sources = (re2.escape(text) for text in sorted(pattern.literals.texts))
    return [f"(?i:{source})" if pattern.literals.folded else source for source in sources]


def _one_search(patterns: Sequence[Pattern]) -> list[_Beginnings]:
    """A search for the beginnings of these patterns, or several where one is too large for RE2."""
    widths = [each.max_width for each in patterns]
    widest = None if None in widths else max(width for width in widths if width is not None)
    sources = [each.beginning for each in patterns if each.beginning is not None]
    if len(sources) == len(patterns):
        try:
            return [_Beginnings(widest, _together(sources, end=r"\z"))]
        except re2.error:  # nested too deep or too large a program
            pass
    if len(patterns) == 1:
        return [_Beginnings(widest, None)]
    return [group for each in patterns for group in _one_search([each])]


class _Gate:
    """Which patterns can stand in a text at all, mostly found out by one pass for the literals that they need."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = patterns
        gated: dict[str, list[int]] = {}
        rest: list[Pattern] = []
        for index, each in enumerate(patterns):
            if each.literals is None or each.literals.shortest < _SHORTEST_GATE:
                rest.append(each)
                continue
            for source in _needed(each):
                gated.setdefault(source, []).append(index)
        self._needles = _needles(patterns)
        self._owners = list(gated.values())
        self._gated = sorted({index for owners in self._owners for index in owners})
        self._any_literal = _together(gated) if gated else None
        self._which = _search_set(gated) if gated else None
        index_of = {id(each): index for index, each in enumerate(patterns)}
        self._rest = [
            (_together(f"(?:{each.source})" for each in chunk), [index_of[id(each)] for each in chunk])
            for chunk in _chunks(rest, lambda each: len(each.source))
        ]

    def opens(self, data: bytes) -> bool:
        """Whether any of the few byte strings stands in `data` of which every match holds one."""
        if not self._needles:
            return True
        for needle in self._needles:  # noqa: SIM110 (a generator costs more than this loop)
            if needle in data:
                return True
        return False

    def candidates(self, data: bytes) -> list[Pattern]:
        """The patterns to look for in `data`, in their order; every other one has no match there."""
        if not self.opens(data):
            return []
        found: set[int] = set()
        # The single search looks for the bytes that all literals begin with, which a set cannot: it is far faster.
        if self._any_literal is not None and self._any_literal.search(data) is not None:
            ids = self._which.Match(data) if self._which is not None else None
            # RE2 answers nothing as well where its automaton ran out of memory: then all are candidates.
            found.update(*(self._owners[each] for each in ids) if ids else [self._gated])
        for regexp, members in self._rest:
            if len(members) == 1 or regexp.search(data) is not None:
                found.update(members)
        return [self._patterns[index] for index in sorted(found)]


def _needles(patterns: Sequence[Pattern]) -> tuple[bytes, ...]:
    """A few byte strings of which one stands in every match of any of the patterns; none where they would be too many.

    Looking for bytes is an order faster than a call of RE2, and most texts hold none of them.
    """
    alike: dict[str, set[str]] = {}
    for each in patterns:
        if each.literals is None or each.literals.folded or each.literals.shortest < _SHORTEST_GATE:
            return ()
        for text in each.literals.texts:
            alike.setdefault(text[:_SHORTEST_GATE], set()).add(text)
        if len(alike) > _MOST_NEEDLES:
            return ()
    return tuple(_encoded(min(texts) if len(texts) == 1 else begins) for begins, texts in alike.items())


def _search_set(sources: Iterable[str]) -> Any:
    chosen = re2.Set.SearchSet(_options(_MEMORY_TOGETHER))
    for source in sources:
        chosen.Add(source)
    chosen.Compile()
    return chosen


def _chunks(patterns: Sequence[Pattern], size: Callable[[Pattern], int]) -> Iterator[list[Pattern]]:
    """Groups small enough for one automaton."""
    chunk: list[Pattern] = []
    total = 0
    for each in patterns:
        if chunk and total + size(each) > _TOGETHER_LIMIT:
            yield chunk
            chunk, total = [], 0
        chunk.append(each)
        total += size(each)
    if chunk:
        yield chunk


def _scan(patterns: Sequence[Pattern], data: bytes, at: int) -> Iterator[tuple[Pattern, int, int]]:
    """Leftmost matches of all patterns, in bytes, without overlap."""
    ahead: list[tuple[int, int, int]] = []
    for rank, each in enumerate(patterns):
        if (span := _search(each, data, at)) is not None:
            ahead.append((span[0], rank, span[1]))
    while ahead:
        start, rank, end = min(ahead)
        yield patterns[rank], start, end
        later = []
        for old in ahead:
            if old[0] >= end:
                later.append(old)
            elif (span := _search(patterns[old[1]], data, end)) is not None:
                later.append((span[0], old[1], span[1]))
        ahead = later


def _search(pattern: Pattern, data: bytes, at: int, empty: bool = False) -> tuple[int, int] | None:
    """The first match from byte `at` on that counts, and, unless `empty`, is not of no characters."""
    if pattern.check is None:
        return _fitting(pattern, data, at, empty)
    while (span := _fitting(pattern, data, at, empty)) is not None:
        if pattern.check(data[span[0] : span[1]].decode("utf-8", "replace")):
            return span
        at = _boundary(data, span[0] + 1)
    return None


def _fitting(pattern: Pattern, data: bytes, at: int, empty: bool) -> tuple[int, int] | None:
    """The first match from byte `at` on that is not wider than it may be."""
    length = len(data)
    regexp = pattern.regexp
    widest = pattern.max_width or 0
    window = 0
    while at <= length:
        limit = _forward(data, at, window) if window else length
        found = regexp.search(data, at, limit)
        # What begins up to here, and is not wider than it may be, lies within the window.
        surely = _forward(data, at, window - widest) if limit < length else length
        if found is None or found.start() > surely:
            if limit == length:
                return None
            # The next window is twice as wide, so that a long text is not searched to its end again and again.
            at, window = _boundary(data, surely + 1), 2 * window
            continue
        start, end = found.span()
        if start == end and not empty:
            at = _boundary(data, end + 1)
            continue
        if not pattern.narrowed or end - start <= widest:
            return start, end
        furthest = _forward(data, start, widest)
        if end <= furthest:
            return start, end
        cut = regexp.match(data, start, furthest)
        if cut is not None and (empty or cut.end() > start):
            return start, cut.end()
        at, window = _boundary(data, start + 1), 2 * widest
    return None


def _in_code_points(matches: Iterable[tuple[Pattern, int, int]], data: bytes) -> Iterator[Match]:
    if data.isascii():
        for pattern, start, end in matches:
            yield Match(pattern.name, start, end)
        return
    byte = point = 0
    for pattern, start, end in matches:
        point += _code_points(data[byte:start], start - byte)
        width = _code_points(data[start:end], end - start)
        yield Match(pattern.name, point, point + width)
        byte, point = end, point + width


def _encoded(text: str) -> bytes:
    """UTF-8, in which a lone surrogate is three bytes that no pattern matches."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _code_points(data: bytes, byte: int) -> int:
    return byte if data.isascii() else len(data[:byte].decode("utf-8", "surrogatepass"))


def _byte_offset(data: bytes, point: int) -> int:
    return _forward(data, 0, point) if point else 0


def _boundary(data: bytes, byte: int) -> int:
    """The first offset from `byte` on at which a character begins, or which is past the end."""
    while byte < len(data) and data[byte] & 0xC0 == 0x80:
        byte += 1
    return byte


def _forward(data: bytes, byte: int, points: int) -> int:
    """The offset `points` characters after `byte`, at most the end."""
    window = data[byte : _boundary(data, min(len(data), byte + 4 * points))]
    if window.isascii():
        return min(len(data), byte + points)
    text = window.decode("utf-8", "surrogatepass")
    return byte + len(text[:points].encode("utf-8", "surrogatepass"))


def _back(data: bytes, points: int) -> int:
    """The offset `points` characters before the end, at least 0."""
    window = data[max(0, len(data) - points) :]
    if window.isascii():
        return len(data) - len(window)
    text = data[_boundary(data, max(0, len(data) - 4 * points)) :].decode("utf-8", "surrogatepass")
    return len(data) - len(text[-points:].encode("utf-8", "surrogatepass")) if points else len(data)


def _options(memory: int) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = memory
    return options


@functools.lru_cache(maxsize=1024)
def _compiled(text: str) -> Any:
    """One pattern; kept, because a reload compiles mostly what was compiled before."""
    return re2.compile(text, _options(_MEMORY))


@functools.lru_cache(maxsize=1024)
def _capturing(text: str) -> Any:
    """The same with its groups, which only a replacement asks for: without them RE2 searches faster."""
    options = _options(_MEMORY)
    options.never_capture = False
    return re2.compile(text, options)


def _together(sources: Iterable[str], end: str = "") -> Any:
    """One automaton for many patterns."""
    return re2.compile(f"(?:{'|'.join(sources)}){end}", _options(_MEMORY_TOGETHER))


def _explained(text: str, failure: Exception) -> PatternError:
    """RE2's reason with the place, which RE2 gives only as the text that it stumbled on."""
    reason = failure.args[0]
    message = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    _, _, part = message.rpartition(": ")
    start = text.find(part) if part else -1
    found = next((mark for mark in sorted(_INSTEAD, key=len, reverse=True) if mark in (part or text)), "")
    help = _INSTEAD.get(found, "")
    if len(part) == 2 and part[0] == "\\" and part[1].isdigit():
        help = "RE2 has no backreferences; write the alternatives out"
    if start < 0:
        return PatternError(message, 0, len(text), help)
    if found and found in part:
        start += part.find(found)
        return PatternError(message, start, start + len(found), help)
    return PatternError(message, start, start + len(part), help)

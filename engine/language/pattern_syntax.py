"""RE2's syntax as a tree: how wide a match can be, which literals it must hold, and what its beginnings look like."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

_CLASS_ESCAPES: Final = "dDsSwW"
_CONTROL: Final = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
_ASSERTION_ESCAPES: Final = "AzbB"
_NOTHING: Final = r"[^\x00-\x{10FFFF}]"
"""RE2 text that matches nowhere."""
_EXACT_LIMIT: Final = 16
_LITERALS_LIMIT: Final = 32


class Leaf(msgspec.Struct, frozen=True):
    """One character out of a set. `chars` lists the set where it is small, '' where it is not; `folded` ignores case."""

    source: str
    chars: str = ""
    folded: bool = False


class Assertion(msgspec.Struct, frozen=True):
    """A place and no character: `^`, `$`, `\\b`, ..."""

    source: str


class Sequence(msgspec.Struct, frozen=True):
    parts: "tuple[Tree, ...]" = ()


class Choice(msgspec.Struct, frozen=True):
    options: "tuple[Tree, ...]"


class Repeat(msgspec.Struct, frozen=True):
    """`part` at least `least` and at most `most` times (None: without bound)."""

    part: "Tree"
    least: int
    most: int | None


Tree = Leaf | Assertion | Sequence | Choice | Repeat


class Width(NamedTuple):
    """The fewest and the most code points of a match; None is without bound."""

    least: int
    most: int | None


class Literals(NamedTuple):
    """Texts of which every match holds at least one; `folded` where letter case does not count."""

    texts: frozenset[str]
    folded: bool

    @property
    def shortest(self) -> int:
        return min(map(len, self.texts))


class NotUnderstood(ValueError):
    """The text is outside the part of RE2's syntax that is read here; `start` is the offset of the first such character."""

    def __init__(self, message: str, start: int) -> None:
        super().__init__(message)
        self.start = start


def read(text: str) -> Tree:
    """The tree of a pattern that RE2 accepts; raises NotUnderstood otherwise."""
    reader = _Reader(text)
    tree = reader.choice(_Flags())
    if reader.at < len(text):
        raise NotUnderstood("unexpected )", reader.at)
    return tree


class _Flags(NamedTuple):
    i: bool = False
    m: bool = False
    s: bool = False

    def wrap(self, source: str) -> str:
        """`source` as it reads under these flags, whatever stands around it."""
        on = "".join(name for name, value in self._asdict().items() if value)
        return f"(?{on}:{source})" if on else source


class _Reader:
    """A recursive-descent reader; flags set inside a group hold to the group's end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self, ahead: str) -> bool:
        return self.text.startswith(ahead, self.at)

    def choice(self, flags: _Flags) -> Tree:
        options: list[Tree] = []
        parts: list[Tree] = []
        while self.at < len(self.text) and not self.peek(")"):
            if self.peek("|"):
                self.at += 1
                options.append(Sequence(tuple(parts)))
                parts = []
            elif self.peek("(?") and (flagged := self._flags_alone(flags)) is not None:
                flags = flagged
            else:
                atoms = self._atoms(flags)
                parts.extend(atoms[:-1])
                if atoms:
                    parts.append(self._repeated(atoms[-1]))
        options.append(Sequence(tuple(parts)))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _flags_alone(self, flags: _Flags) -> _Flags | None:
        """The flags after a `(?i)`, which is then passed; None if a group begins here."""
        end = self.text.find(")", self.at)
        body = self.text[self.at + 2 : end]
        if end < 0 or not set(body) <= set("imsU-"):
            return None
        self.at = end + 1
        return _changed(flags, body)

    def _group(self, flags: _Flags) -> Tree:
        opened = self.at
        self.at += 1
        if self.peek("?P<") or self.peek("?<"):
            self.at = self._after(">", opened)
        elif self.peek("?"):
            colon = self._after(":", opened)
            flags = _changed(flags, self.text[self.at + 1 : colon - 1])
            self.at = colon
        tree = self.choice(flags)
        if not self.peek(")"):
            raise NotUnderstood("missing )", opened)
        self.at += 1
        return tree

    def _after(self, mark: str, opened: int) -> int:
        found = self.text.find(mark, self.at)
        if found < 0:
            raise NotUnderstood(f"missing {mark}", opened)
        return found + 1

    def _atoms(self, flags: _Flags) -> list[Tree]:
        """What stands next: one atom, or the characters of a `\\Q...\\E`."""
        start = self.at
        char = self.text[start]
        match char:
            case "(":
                return [self._group(flags)]
            case "[":
                return [self._class(flags)]
            case "\\":
                return self._escape(flags)
            case ".":
                self.at += 1
                return [Leaf(flags.wrap("."))]
            case "^" | "$":
                self.at += 1
                return [Assertion(flags.wrap(char))]
            case "*" | "+" | "?":
                raise NotUnderstood("nothing to repeat", start)
            case _:
                self.at += 1
                return [_literal(char, flags)]

    def _escape(self, flags: _Flags) -> list[Tree]:
        start = self.at
        letter = self.text[start + 1 : start + 2]
        if letter == "Q":
            end = self.text.find("\\E", start + 2)
            body = self.text[start + 2 :] if end < 0 else self.text[start + 2 : end]
            self.at = len(self.text) if end < 0 else end + 2
            return [_literal(char, flags) for char in body]
        if letter in _ASSERTION_ESCAPES:
            self.at += 2
            return [Assertion(self.text[start : self.at])]
        char = self._escaped()
        return [_literal(char, flags) if char else Leaf(flags.wrap(self.text[start : self.at]))]

    def _escaped(self) -> str:
        """Passes one escape that stands for one character; the character, or '' for a class such as `\\d`."""
        start = self.at
        letter = self.text[start + 1 : start + 2]
        self.at += 2
        if letter in _CLASS_ESCAPES:
            return ""
        if letter in "pP":
            self.at = self._after("}", start) if self.peek("{") else self.at + 1
            return ""
        if letter == "x":
            if self.peek("{"):
                end = self._after("}", start)
                digits = self.text[self.at + 1 : end - 1]
            else:
                end = self.at + 2
                digits = self.text[self.at : end]
            self.at = end
            return _char(digits, 16, start)
        if letter in "01234567":
            while self.at < start + 4 and self.text[self.at : self.at + 1] in tuple("01234567"):
                self.at += 1
            return _char(self.text[start + 1 : self.at], 8, start)
        if letter in _CONTROL:
            return _CONTROL[letter]
        if letter and not letter.isalnum():
            return letter
        raise NotUnderstood(f"escape \\{letter}", start)

    def _class(self, flags: _Flags) -> Tree:
        start = self.at
        self.at += 2 if self.text[start + 1 : start + 2] == "^" else 1
        negated = self.at == start + 2
        chars: str | None = None if negated else ""
        first = True
        while first or not self.peek("]"):
            first = False
            if self.at >= len(self.text):
                raise NotUnderstood("missing ]", start)
            if self.peek("[:"):
                self.at = self._after(":]", self.at) + 1
                chars = None
                continue
            low = self._class_char()
            if low and self.peek("-") and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self._class_char()
                span = range(ord(low), ord(high) + 1) if high else range(0)
                chars = None if chars is None or len(span) > _EXACT_LIMIT else chars + "".join(map(chr, span))
            else:
                chars = None if chars is None or not low else chars + low
        self.at += 1
        few = "".join(sorted(set(chars))) if chars and len(chars) <= _EXACT_LIMIT else ""
        return Leaf(flags.wrap(self.text[start : self.at]), few, flags.i)

    def _class_char(self) -> str:
        if self.peek("\\"):
            return self._escaped()
        self.at += 1
        return self.text[self.at - 1]

    def _repeated(self, tree: Tree) -> Tree:
        """`tree` with the repetition that follows it, if one does."""
        start = self.at
        char = self.text[start : start + 1]
        bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char) if char else None
        if bounds is not None:
            self.at += 1
        elif char == "{":
            bounds = self._counts()
        if bounds is None:
            return tree
        if self.peek("?"):
            self.at += 1
        return self._repeated(Repeat(tree, *bounds))

    def _counts(self) -> tuple[int, int | None] | None:
        """Passes `{n}`, `{n,}` or `{n,m}`; None where the brace is a brace."""
        end = self.text.find("}", self.at)
        least, comma, most = self.text[self.at + 1 : max(end, 0)].partition(",")
        if end < 0 or not _is_count(least) or (most and not _is_count(most)):
            return None
        self.at = end + 1
        return int(least), (int(most) if most else None if comma else int(least))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _char(digits: str, base: int, start: int) -> str:
    try:
        return chr(int(digits, base))
    except (ValueError, OverflowError):
        raise NotUnderstood("no such character", start) from None


def _changed(flags: _Flags, body: str) -> _Flags:
    on, _, off = body.partition("-")
    known = {name: name in on for name in flags._fields if name in on or name in off}
    return flags._replace(**known)


def _literal(char: str, flags: _Flags) -> Leaf:
    source = char if char.isalnum() or ord(char) > 127 else f"\\x{{{ord(char):x}}}"
    return Leaf(_Flags(i=flags.i).wrap(source), char, flags.i)


def width(tree: Tree) -> Width:
    """How many code points a match has. RE2 folds case one to one, so that folding changes nothing here."""
    match tree:
        case Leaf():
            return Width(1, 1)
        case Assertion():
            return Width(0, 0)
        case Sequence(parts=parts):
            each = [width(part) for part in parts]
            return Width(sum(one.least for one in each), _sum(one.most for one in each))
        case Choice(options=options):
            each = [width(option) for option in options]
            bounded = [one.most for one in each if one.most is not None]
            return Width(min(one.least for one in each), max(bounded) if len(bounded) == len(each) else None)
        case Repeat(part=part, least=least, most=most):
            one = width(part)
            if one.most == 0:
                return Width(0, 0)
            return Width(one.least * least, None if most is None or one.most is None else one.most * most)


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def asserts(tree: Tree) -> bool:
    """Whether the pattern looks at what stands beside a match."""
    match tree:
        case Leaf():
            return False
        case Assertion():
            return True
        case Sequence(parts=parts) | Choice(options=parts):
            return any(map(asserts, parts))
        case Repeat(part=part):
            return asserts(part)


def source(tree: Tree) -> str:
    """RE2 text of the same language, without captures; laziness is lost, which only the choice among matches needs."""
    match tree:
        case Leaf(source=text) | Assertion(source=text):
            return text
        case Sequence(parts=parts):
            return "".join(map(source, parts)) or "(?:)"
        case Choice(options=options):
            return f"(?:{'|'.join(map(source, options))})"
        case Repeat(part=part, least=least, most=most):
            return f"(?:{source(part)}){_bounds(least, most)}"


def beginning(tree: Tree) -> str:
    """RE2 text of everything that is the beginning of a match, from its first character up to a whole one.

    An assertion at the very end is left open: more text may fulfil it.
    """
    match tree:
        case Leaf(source=text):
            return text
        case Assertion():
            return _NOTHING
        case Sequence(parts=parts):
            begun = _NOTHING
            for part in reversed(parts):
                match part:
                    case Leaf(source=leaf):
                        begun = leaf if begun is _NOTHING else f"{leaf}(?:{begun})?"
                    case Assertion(source=place):
                        begun = begun if begun is _NOTHING else f"{place}(?:{begun})"
                    case _:
                        later = "" if begun is _NOTHING else f"{source(part)}(?:{begun})|"
                        begun = f"{later}{beginning(part)}"
            return begun
        case Choice(options=options):
            return f"(?:{'|'.join(map(beginning, options))})"
        case Repeat(most=0):
            return _NOTHING
        case Repeat(part=Leaf(source=text), most=most):
            return f"(?:{text}){_bounds(1, most)}"
        case Repeat(part=part, most=most):
            before = f"(?:{source(part)}){_bounds(0, None if most is None else most - 1)}"
            return f"{before}(?:{beginning(part)})"


def _bounds(least: int, most: int | None) -> str:
    return "*" if (least, most) == (0, None) else f"{{{least},{'' if most is None else most}}}"


def literals(tree: Tree) -> Literals | None:
    """Texts of which every match must hold one, the longest that are easy to find; None where there are none."""
    match tree:
        case Leaf(chars=chars, folded=folded):
            return Literals(frozenset(chars), folded) if chars else None
        case Assertion():
            return None
        case Sequence(parts=parts):
            return _of_sequence(parts)
        case Choice(options=options):
            each = [literals(option) for option in options]
            known = [one for one in each if one is not None]
            texts = frozenset[str]().union(*(one.texts for one in known))
            if len(known) < len(each) or len(texts) > _LITERALS_LIMIT:
                return None
            return Literals(texts, any(one.folded for one in known))
        case Repeat(part=part, least=least):
            return literals(part) if least else None


def _of_sequence(parts: tuple[Tree, ...]) -> Literals | None:
    """The best of the runs of exact texts in a sequence, and of what its other parts need."""
    found: list[Literals] = []
    run = Literals(frozenset({""}), False)
    for part in parts:
        exact = _exact(part)
        if exact is not None and len(run.texts) * len(exact.texts) <= _EXACT_LIMIT:
            run = Literals(frozenset(a + b for a in run.texts for b in exact.texts), run.folded or exact.folded)
            continue
        found.append(run)
        run = exact or Literals(frozenset({""}), False)
        if exact is None and (inner := literals(part)) is not None:
            found.append(inner)
    found.append(run)
    useful = [one for one in found if one.shortest]
    return max(useful, key=lambda one: (one.shortest, -len(one.texts)), default=None)


def _exact(tree: Tree) -> Literals | None:
    """All the texts that the tree matches, if they are few."""
    match tree:
        case Leaf(chars=chars, folded=folded):
            return Literals(frozenset(chars), folded) if chars else None
        case Assertion():
            return Literals(frozenset({""}), False)
        case Sequence(parts=options) | Choice(options=options):
            each = [_exact(option) for option in options]
            known = [one for one in each if one is not None]
            if len(known) < len(each):
                return None
            folded = any(one.folded for one in known)
            if isinstance(tree, Choice):
                texts = frozenset[str]().union(*(one.texts for one in known))
            else:
                texts = frozenset({""})
                for one in known:
                    texts = frozenset(a + b for a in texts for b in one.texts)
                    if len(texts) > _EXACT_LIMIT:
                        return None
            return Literals(texts, folded) if len(texts) <= _EXACT_LIMIT else None
        case Repeat(part=part, least=least, most=most):
            inner = _exact(part)
            if inner is None or least != most or least > _EXACT_LIMIT:
                return None
            return _exact(Sequence((part,) * least)) if least else Literals(frozenset({""}), False)

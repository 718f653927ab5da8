"""JSON as models write it, made valid: fences, comments, quotes, commas and brackets that are missing or too many."""

import re
from typing import Final

import msgspec

from engine.language.values import utf8

DEPTH: Final = 200
"""How deep lists and objects may stand in one another."""

_FENCE: Final = re.compile(r"```[a-zA-Z0-9_-]*[ \t]*\r?\n(.*?)(?:\r?\n[ \t]*```|\Z)", re.DOTALL)
_SPACE: Final = re.compile(r"(?:\s+|//[^\n]*|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_BROKEN: Final = re.compile(r"[.eE][+-]?\s*\Z")
"""What the end of the text cut off of a number."""
_WORD: Final = re.compile(r"[A-Za-z_$][\w$-]*")
_PLAIN: Final = re.compile(r"""[^"'\\\x00-\x1f]+""")
_HEX: Final = re.compile(r"[0-9a-fA-F]{4}")
_PAIR: Final = re.compile(r"[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HALF: Final = re.compile(r"[dD][89a-fA-F][0-9a-fA-F]{2}")
_CUT: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_WORDS: Final = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
_CLOSES: Final = {"{": "}", "[": "]"}
_ENDS: Final = {'"': '"', "'": "'", "“": "”"}


class _Hopeless(Exception):
    """This is no JSON, however kindly it is read."""


def repaired(text: str) -> str | None:
    """The JSON that a text holds, valid; the text itself where it is valid as it stands, None where it holds none.

    What is right stays as it is written: numbers keep their digits, objects the order of their fields.
    """
    if is_json(text):
        return text
    fence = _FENCE.search(text)
    if fence is None:
        return _read(text)
    if is_json(fence[1]):
        return fence[1].strip()
    # A fence may stand in a value, and a bracket in the words in front of a fence.
    whole = _read(text) if _start(text) < fence.start() else None
    return whole if whole is not None else _read(fence[1])


def _start(text: str) -> int:
    """Where the first list or object begins; behind the end where there is none."""
    return min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=len(text))


def _read(text: str) -> str | None:
    reader = _Reader(text, _start(text))
    try:
        reader.value(0)
    except _Hopeless:
        return None
    made = "".join(reader.out)
    return made if is_json(made) else None


def is_json(text: str) -> bool:
    """Whether a text is valid JSON as it stands."""
    try:
        msgspec.json.decode(utf8(text))
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


class _Reader:
    """Reads from left to right, once; writes what was meant into `out`."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at
        self.out: list[str] = []

    def value(self, depth: int) -> None:
        """One value. Raises _Hopeless."""
        self._skip()
        if depth > DEPTH:
            raise _Hopeless
        match self._next():
            case "{":
                self._fields(depth)
            case "[":
                self._items(depth)
            case '"' | "'" | "“":
                self._string()
            case _:
                self._scalar()

    def _fields(self, depth: int) -> None:
        first = self._opened("{")
        while not self._closed("}"):
            before = len(self.out)
            if not first:
                self.out.append(",")
            self._key()
            self._skip()
            if self._next() == ":":
                self.at += 1
                self._skip()
            elif self._next():
                raise _Hopeless
            if not self._next():
                del self.out[before:]  # broken off between a name and its value
                break
            self.out.append(":")
            self.value(depth + 1)
            first = False
        self.out.append("}")

    def _items(self, depth: int) -> None:
        first = self._opened("[")
        while not self._closed("]"):
            if not first:
                self.out.append(",")
            self.value(depth + 1)
            first = False
        self.out.append("]")

    def _opened(self, bracket: str) -> bool:
        self.out.append(bracket)
        self.at += 1
        return True

    def _closed(self, bracket: str) -> bool:
        """Whether a list or object ends here, passing commas and spaces; the end of the text closes everything."""
        self._skip()
        while self._next() == ",":
            self.at += 1
            self._skip()
        if self._next() == bracket:
            self.at += 1
            return True
        # A bracket of another kind closes what is around: this one was forgotten.
        return self._next() in ("", "}", "]")

    def _key(self) -> None:
        if self._next() in _ENDS:
            self._string()
            return
        word = _WORD.match(self.text, self.at)
        if word is None:
            raise _Hopeless
        self.at = word.end()
        self.out.append(f'"{word[0]}"')

    def _string(self) -> None:
        end = _ENDS[self._next()]
        self.at += 1
        self.out.append('"')
        while self.at < len(self.text):
            plain = _PLAIN.match(self.text, self.at)
            if plain is not None:
                if end == "”" and (close := self.text.find(end, self.at, plain.end())) >= 0:
                    self.out.append(self.text[self.at : close])
                    self.at = close
                else:
                    self.out.append(plain[0])
                    self.at = plain.end()
            letter = self._next()
            self.at += 1
            if letter in ("", end):
                break
            if letter == "\\":
                self._escape()
            else:
                self.out.append('\\"' if letter == '"' else letter if letter == "'" else _escaped(letter))
        self.out.append('"')

    def _escape(self) -> None:
        letter = self._next()
        self.at += 1
        if letter and letter in '"\\/bfnrt':
            self.out.append("\\" + letter)
        elif letter == "u" and (pair := _PAIR.match(self.text, self.at)):
            self.out.append("\\u" + pair[0])
            self.at = pair.end()
        elif letter == "u" and _HALF.match(self.text, self.at):  # half of a character, the other was cut off
            self.out.append("\\ufffd")
            cut = _CUT.match(self.text, self.at + 4)
            self.at = cut.end() if cut is not None else self.at + 4
        elif letter == "u" and _HEX.match(self.text, self.at):
            self.out.append("\\u")
        elif letter == "'":
            self.out.append(letter)
        elif letter:
            self.out.append("\\\\" + _escaped(letter))

    def _scalar(self) -> None:
        number = _NUMBER.match(self.text, self.at)
        if number is not None:
            self.at = number.end()
            self.out.append(number[0])
            broken = _BROKEN.match(self.text, self.at)
            self.at = broken.end() if broken is not None else self.at
            return
        if self.text[self.at :] == "-":  # the text was cut off before the first digit
            self.at += 1
            self.out.append("0")
            return
        word = _WORD.match(self.text, self.at)
        if word is None:
            raise _Hopeless
        self.at = word.end()
        known = _WORDS.get(word[0])
        if known is None and self.at == len(self.text):
            known = next((full for full in ("true", "false", "null") if full.startswith(word[0])), None)
        if known is None:
            raise _Hopeless
        self.out.append(known)

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        if found is not None:
            self.at = found.end()

    def _next(self) -> str:
        return self.text[self.at : self.at + 1]


def _escaped(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if letter < " " else letter

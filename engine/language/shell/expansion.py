"""Words of a POSIX script from its syntax tree: expansions done where the text decides them."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.language.shell.reading import NO_FEED, Feed, Reading
from engine.language.shell.scope import Scope
from engine.language.shell.words import (
    DYNAMIC,
    QUOTED,
    SPLIT,
    Word,
    ansi_c,
    bare,
    double_quoted,
    fields,
    plain,
    unquoted_value,
)

if TYPE_CHECKING:
    from tree_sitter import Node

_BACKTICK_ESCAPE = re.compile(r"\\([`$\\])")
_PIECE = re.compile(
    r"('[^']*')|(\"(?:[^\"\\]|\\.)*\")|(\$(?:[A-Za-z_]\w*|[0-9@*]|\{(?:\w+|[@*])\}))|((?:\\.|[^'\"$\\])+|.)", re.DOTALL
)
_NAME = re.compile(r"\$(?:([A-Za-z_]\w*|[0-9@*])|\{(\w+|[@*])\})")
_SUBSTRING = re.compile(r":\s*(-?\d+)(?:\s*:\s*(-?\d+))?\Z")
_REPLACE = re.compile(r"(//?)((?:[^/\\*?\[$`'\"])+)(?:/([^$`'\"\\]*))?\Z")
_TRIM = re.compile(r"(##?|%%?)([^\\*?\[$`'\"]+)\Z")
_CASE = {"^": lambda v: v[:1].upper() + v[1:], "^^": str.upper, ",": lambda v: v[:1].lower() + v[1:], ",,": str.lower}


class Expansion:
    """A script's text with its variables: turns nodes into words.

    A word that cannot be known keeps its source text and is not `known`. `self.fed` collects the programs whose output
    goes into the words of the command at hand, `self.streams` what process substitutions of it print.
    """

    def __init__(self, reading: Reading, text: str, scope: Scope) -> None:
        self.reading = reading
        self.scope = scope
        self.fed: list[str] = []
        self.streams: dict[str, tuple[str | None, tuple[str, ...]]] = {}
        self.source = text.encode()
        self._text = text if len(self.source) == len(text) else None

    def run_all(self, nodes: Sequence["Node"], feed: Feed) -> str | None:
        """Run statements in turn; what they print, or None."""
        raise NotImplementedError

    def run_text(self, text: str, feed: Feed = NO_FEED) -> str | None:
        """Run a text in this same scope; what it prints, or None."""
        raise NotImplementedError

    def slice(self, start: int, end: int) -> str:
        """The source between two byte offsets."""
        if self._text is not None:
            return self._text[start:end]
        return self.source[start:end].decode("utf-8", "replace")

    def raw(self, node: "Node") -> str:
        """The source of a node."""
        return self.slice(node.start_byte, node.end_byte)

    def words(self, node: "Node") -> list[Word]:
        """The words that a node becomes; none where an unquoted expansion is empty."""
        return fields(self.marked(node), self.raw(node))

    def value(self, node: "Node") -> Word:
        """A node where no splitting happens: an assigned value, a redirection's target."""
        marked = self.marked(node, splits=False)
        return Word(plain(marked), self.raw(node), DYNAMIC not in marked)

    def marked(self, node: "Node", splits: bool = True) -> str:
        """The text of a node with marks (see `words`) where more than text is meant."""
        self.reading.step()
        match node.type:
            case "word" if "$" in (raw := self.raw(node)):
                return self._loosely(raw)
            case "word" | "number" | "variable_name" | "regex" | "extglob_pattern" | "brace_expression":
                return bare(self.raw(node))
            case "raw_string":
                return QUOTED + self.raw(node)[1:-1]
            case "string":
                return QUOTED + self._quoted(node, node.start_byte + 1, node.end_byte - 1)
            case "ansi_c_string":
                return QUOTED + ansi_c(self.raw(node)[2:-1])
            case "translated_string":
                return self.marked(node.children[-1], splits)
            case "concatenation" | "command_name":
                return self._joined(node, splits)
            case "simple_expansion":
                return self._variable(self.raw(node)[1:], self.raw(node), splits)
            case "expansion":
                return self._expansion(node, splits)
            case "command_substitution":
                return self._substitution(node, splits)
            case "process_substitution":
                return self._process(node)
            case "arithmetic_expansion":
                self.visit(node)
                return DYNAMIC + self.raw(node)
            case _:
                self.visit(node)
                return bare(self.raw(node)) if not node.children else DYNAMIC + self.raw(node)

    def loose(self, raw: str) -> list[Word]:
        """The words of a piece of source that the grammar did not keep together."""
        return fields(self._loosely(raw), raw)

    def _loosely(self, raw: str) -> str:
        if "$(" in raw or "`" in raw.replace("\\`", ""):
            self.reading.resolved = False
            return DYNAMIC + raw
        return "".join(map(self._piece, _PIECE.finditer(raw)))

    def _piece(self, match: re.Match[str]) -> str:
        single, double, variable, other = match.groups()
        if single is not None:
            return QUOTED + single[1:-1]
        if double is not None:
            inside = double[1:-1]
            return QUOTED + _NAME.sub(lambda m: self._variable(m[1] or m[2], m[0], False), double_quoted(inside))
        if variable is not None:
            return self._variable(variable.strip("${}"), variable, True)
        return bare(other)

    def visit(self, node: "Node") -> None:
        """Run the substitutions below a node whose own value is not worked out."""
        self.reading.deeper()
        for child in node.children:
            if child.type in ("command_substitution", "process_substitution"):
                self.marked(child)
            elif child.children:
                self.visit(child)
        self.reading.shallower()

    def body(self, node: "Node") -> Word:
        """The text of a here-document whose delimiter is not quoted."""
        marked = self._quoted(node, node.start_byte, node.end_byte)
        return Word(plain(marked), "", DYNAMIC not in marked)

    def _joined(self, node: "Node", splits: bool) -> str:
        if not node.children:
            return bare(self.raw(node))
        parts, at = [], node.start_byte
        for child in node.children:
            if child.start_byte > at:
                parts.append(bare(self.slice(at, child.start_byte)))
            parts.append(self.marked(child, splits))
            at = child.end_byte
        return "".join(parts)

    def _quoted(self, node: "Node", start: int, end: int) -> str:
        parts: list[str] = []
        at = start
        for child in node.named_children:
            if child.type in ("string_content", "heredoc_content"):
                continue
            parts += (double_quoted(self.slice(at, child.start_byte)), self.marked(child, splits=False))
            at = child.end_byte
        parts.append(double_quoted(self.slice(at, end)))
        return "".join(parts)

    def _variable(self, name: str, raw: str, splits: bool) -> str:
        scope = self.scope
        if len(name) > 1 and name[0].isdigit() and raw[1] != "{":  # `$1m` is `$1` and an m
            return self._variable(name[0], raw[:2], splits) + bare(name[1:])
        if name in scope.values:
            value = scope.values[name]
        elif name == "IFS":
            value = " \t\n"
        elif scope.positional is not None and (name in "@*" or name.isdigit()):
            if name in "@*":
                return SPLIT.join(QUOTED + word for word in scope.positional[1:])
            place = int(name) if len(name) < 4 else 999
            value = scope.positional[place] if place < len(scope.positional) else "" if place else None
        elif scope.arrays.get(name):
            value = (scope.arrays[name] or ("",))[0]
        else:
            value = None
        if value is None:
            return DYNAMIC + raw
        return self._split(value) if splits else value

    def _split(self, value: str) -> str:
        if "IFS" not in self.scope.values:
            return unquoted_value(value)
        separators = self.scope.values["IFS"]
        return DYNAMIC + value if separators is None else unquoted_value(value, separators)

    def _expansion(self, node: "Node", splits: bool) -> str:
        raw = self.raw(node)
        first = next((child for child in node.named_children), None)
        if first is None:
            return DYNAMIC + raw
        name, rest = self.raw(first), raw[first.end_byte - node.start_byte : -1]
        if raw[2 : 2 + len(name)] != name:  # ${#x}, ${!x}
            self.visit(node)
            return DYNAMIC + raw
        if first.type == "subscript":
            return self._element(name, raw, splits) if not rest else DYNAMIC + raw
        if not rest:
            return self._variable(name, raw, splits)
        operator = rest[:2] if rest[:1] == ":" and rest[1:2] in tuple("-=+?") else rest[:1]
        value = self.scope.values.get(name)
        known = name in self.scope.values and value is not None
        if operator.lstrip(":") in tuple("-=+?") and operator.lstrip(":"):
            return self._default(node, operator, raw, value if known else None, splits)
        self.visit(node)
        changed = _changed(value, rest) if known and value is not None else None
        if changed is None:
            return DYNAMIC + raw
        return self._split(changed) if splits else changed

    def _default(self, node: "Node", operator: str, raw: str, value: str | None, splits: bool) -> str:
        children = node.children
        place = next((i for i, child in enumerate(children) if child.type == operator), None)
        word = "" if place is None else "".join(self.marked(child, splits) for child in children[place + 1 : -1])
        if value is None:
            return DYNAMIC + raw
        empty = not value if operator.startswith(":") else False
        if operator.endswith("+"):
            return "" if empty else word
        if empty:
            return word
        return self._split(value) if splits else value

    def _element(self, subscript: str, raw: str, splits: bool) -> str:
        name, _, index = subscript.rstrip("]").partition("[")
        items = self.scope.arrays.get(name)
        if items is None:
            return DYNAMIC + raw
        if index in ("@", "*"):
            return SPLIT.join(QUOTED + item for item in items)
        if not index.isdigit() or len(index) > 3:
            return DYNAMIC + raw
        value = items[int(index)] if int(index) < len(items) else ""
        return self._split(value) if splits else value

    def _substitution(self, node: "Node", splits: bool) -> str:
        reading, raw = self.reading, self.raw(node)
        start, outer, before = len(reading.commands), self.fed, self.scope.snapshot()
        reading.deeper()
        if raw.startswith("`") and "\\" in raw:
            printed = self.run_text(_BACKTICK_ESCAPE.sub(r"\1", raw[1:-1]))
        else:
            printed = self.run_all(node.children, NO_FEED)
        reading.shallower()
        self.scope.restore(before)
        self.fed = [*outer, *reading.programs_since(start)]
        if printed is None:
            return DYNAMIC + raw
        printed = printed.rstrip("\n")
        return self._split(printed) if splits else printed

    def _process(self, node: "Node") -> str:
        reading, raw = self.reading, self.raw(node)
        start, outer, before = len(reading.commands), self.fed, self.scope.snapshot()
        reading.deeper()
        reads = raw.startswith("<")
        printed = self.run_all(node.children, NO_FEED if reads else Feed(None))
        reading.shallower()
        self.scope.restore(before)
        by = reading.programs_since(start)
        self.fed = [*outer, *by] if reads else outer
        self.streams[raw] = (printed, by)
        return DYNAMIC + raw


def _changed(value: str, rest: str) -> str | None:
    if match := _SUBSTRING.match(rest):
        start, length = int(match[1]), match[2]
        tail = value[start:]
        return tail if length is None else tail[: int(length)]
    if match := _REPLACE.match(rest):
        return value.replace(match[2], match[3] or "", -1 if match[1] == "//" else 1)
    if match := _TRIM.match(rest):
        return value.removeprefix(match[2]) if match[1].startswith("#") else value.removesuffix(match[2])
    return _CASE[rest](value) if rest in _CASE else None

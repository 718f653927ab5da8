"""A loaded file: its data, what is wrong with it, and where every key, value and character of it stands."""

import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from engine.diagnostics import Diagnostic, Severity, Where
from engine.documents import scalars

Step = str | int
"""One step of a path into the data: a key of a mapping or an index of a list."""

_BREAK = re.compile(r"\r\n|\r|\n")
_COMMENT = re.compile(r"[ \t]+(#[^\r\n]*)")


class Nodes:
    """The spans of all nodes in document order, as parallel arrays; a node's subtree ends before node `after[node]`."""

    __slots__ = ("after", "aliases", "ends", "keys", "starts")

    def __init__(self) -> None:
        self.starts: Sequence[int] = array("l")
        self.ends: Sequence[int] = array("l")
        self.after: Sequence[int] = array("l")
        self.keys: dict[int, str] = {}
        self.aliases: dict[int, int] = {}


class Document:
    """One YAML file. `data` is None where the file is empty or cannot be read at all; aliased values are one object."""

    __slots__ = ("_children", "_line_starts", "_nodes", "data", "diagnostics", "file", "source")

    def __init__(self, file: str, source: str, data: Any, diagnostics: Sequence[Diagnostic], nodes: Nodes) -> None:
        self.file = file
        self.source = source
        self.data = data
        self.diagnostics = tuple(diagnostics)
        self._nodes = nodes
        self._children: dict[int, dict[Step, tuple[int, int]]] = {}
        self._line_starts: list[int] = []

    @property
    def sound(self) -> bool:
        """Whether nothing that stops loading was found."""
        return all(each.severity is not Severity.ERROR for each in self.diagnostics)

    def key(self, path: Sequence[Step]) -> Where:
        """Return where the key of `path` stands; of a list item, the item; of what is missing, its nearest parent's key."""
        return self._span(self._find(path)[0])

    def value(self, path: Sequence[Step]) -> Where:
        """Return where the value of `path` stands (an alias: the `*name`); of what is missing, its nearest parent."""
        return self._span(self._find(path)[1])

    def inside(self, path: Sequence[Step], start: int, end: int) -> Where:
        """Return where the characters `start` to `end` (exclusive) of the decoded string at `path` stand in the file."""
        node = self._find(path)[1]
        node = self._nodes.aliases.get(node, node)
        text = self._at(path)
        if node >= len(self._nodes.starts) or not isinstance(text, str):
            return self.value(path)
        found = scalars.positions(self.source, self._nodes.starts[node], self._nodes.ends[node], text)
        if not found:
            return self._span(node)
        first = found[start][0] if start < len(found) else found[-1][1]
        last = found[min(end, len(found)) - 1][1] if end > start else first
        return self.span(first, max(first, last))

    def comment_after(self, path: Sequence[Step]) -> Where | None:
        """Return the comment that ends the line of a plain (unquoted) scalar: it may be meant as part of the text."""
        node = self._find(path)[1]
        if node >= len(self._nodes.starts) or isinstance(self._at(path), (dict, list)):
            return None
        start = scalars.content_start(self.source, self._nodes.starts[node])
        end = self._nodes.ends[node]
        match = None if scalars.style(self.source, start) else _COMMENT.match(self.source, end)
        return self.span(*match.span(1)) if match else None

    def span(self, start: int, end: int) -> Where:
        """Return the place of two offsets of `source`."""
        line, column = self._place(start)
        end_line, end_column = self._place(end)
        return Where(self.file, line, column, end_line, end_column)

    def _place(self, offset: int) -> tuple[int, int]:
        if not self._line_starts:
            self._line_starts = [0, *(match.end() for match in _BREAK.finditer(self.source))]
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def _span(self, node: int) -> Where:
        if node >= len(self._nodes.starts):
            return Where(self.file)
        start, end = self._nodes.starts[node], self._nodes.ends[node]
        # A block scalar's end is where the next thing begins: the blank lines between belong to neither.
        return self.span(start, start + len(self.source[start:end].rstrip()))

    def _find(self, path: Sequence[Step]) -> tuple[int, int]:
        """Return key node and value node of `path`, or of the longest part of it that exists."""
        key = node = 0
        for step in path:
            found = self._children_of(self._nodes.aliases.get(node, node)).get(step)
            if found is None:
                break
            key, node = found
        return key, node

    def _children_of(self, parent: int) -> dict[Step, tuple[int, int]]:
        known = self._children.get(parent)
        if known is not None:
            return known
        nodes = self._nodes
        children: dict[Step, tuple[int, int]] = {}
        stop = nodes.after[parent] if parent < len(nodes.after) else 0
        at = parent + 1
        while at < stop:
            name = nodes.keys.get(at)
            if name is None:
                children[len(children)] = (at, at)
                at = nodes.after[at]
            else:
                value = nodes.after[at]
                children.setdefault(name, (at, value))
                at = nodes.after[value]
        self._children[parent] = children
        return children

    def _at(self, path: Sequence[Step]) -> Any:
        value = self.data
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

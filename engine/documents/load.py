"""Read YAML 1.2 (core schema) with positions, and collect everything that is wrong with it."""

import math
import re
from array import array
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from engine.diagnostics import Diagnostic, Where, error
from engine.documents.document import Document, Nodes
from engine.documents.syntax import QUOTE_IT, explain

MAX_CHARACTERS: Final = 5_000_000
MAX_DEPTH: Final = 100
MAX_NODES: Final = 1_000_000
"""Bound of a file's nodes with every alias counted as what it stands for."""

SYNTAX, DUPLICATE_KEY, KEY_NOT_TEXT, TAG, MERGE_KEY, ALIAS, NUMBER, SECOND_DOCUMENT, TOO_LARGE, CHARACTER = range(
    101, 111
)

# What YAML allows, less the line breaks that YAML 1.1 (and so libyaml) sees where 1.2 and every editor see none.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
NOT_TEXT: Final = "\ufffe"
"""Stands for bytes that are no UTF-8, where whoever read the file put it; no text has it, so nothing else is meant."""
_NOT_UTF8: Final = "this file is not UTF-8"
_SAVE_AS_UTF8: Final = "save the file in the encoding UTF-8"
_CONSTANTS: dict[str, bool | None] = dict.fromkeys(["", "~", "null", "Null", "NULL"]) | {
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
}
_NUMBER_START: Final = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_NUMBER: Final = 100
_CORE_TAGS: Final = {f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq")}

_NO_KEY: Final = object()  # a mapping waits for its next key
_DROPPED: Final = object()  # the value that comes belongs to a key that was refused
_LIST: Final = object()  # not a mapping: values are appended


class _PureParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """The same events without libyaml."""

    def __init__(self, stream: str) -> None:
        yaml.reader.Reader.__init__(self, stream)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


def _parser(source: str, *, pure: bool) -> Any:
    compiled = None if pure else getattr(getattr(yaml, "cyaml", None), "CParser", None)  # missing without libyaml
    return (compiled or _PureParser)(source)


def read(path: Path, file: str | None = None) -> Document:
    """Load a file of UTF-8; `file` is its name in messages. Raises OSError where it cannot be read."""
    file = file or str(path)
    data = path.read_bytes()
    try:
        return load(data.decode("utf-8"), file)
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        column = len(data[data.rfind(b"\n", 0, problem.start) + 1 : problem.start].decode("utf-8", "replace")) + 1
        where = Where(file, line, column, line, column + 1)
        found = error(CHARACTER, _NOT_UTF8, where, _SAVE_AS_UTF8)
        return Document(file, data.decode("utf-8", "replace"), None, [found], Nodes())


def load(source: str, file: str, *, pure: bool = False) -> Document:
    """Read one YAML 1.2 document; what is wrong stands in its `diagnostics`. `pure` leaves libyaml aside.

    Merge keys (`<<`), tags, keys that are not strings, infinite numbers and a second document are refused; anchors and
    aliases work within `MAX_NODES`.
    """
    source = source.removeprefix("\ufeff")
    blank = Document(file, source, None, (), Nodes())
    if len(source) > MAX_CHARACTERS:
        text = f"the file has {len(source):,} characters; at most {MAX_CHARACTERS:,} are read"
        return Document(file, "", None, [error(TOO_LARGE, text, Where(file), "split it into several files")], Nodes())
    if not (source.isascii() and source.isprintable()):
        at = source.find(NOT_TEXT)
        if at >= 0:
            wrong = error(CHARACTER, _NOT_UTF8, blank.span(at, at + 1), _SAVE_AS_UTF8)
            return Document(file, source, None, [wrong], Nodes())
        refused = [_forbidden(blank, match) for match, _ in zip(_FORBIDDEN.finditer(source), range(20), strict=False)]
        if refused:
            return Document(file, source, None, refused, Nodes())
    return _Reading(blank).read(_parser(source, pure=pure))


def _forbidden(document: Document, match: re.Match[str]) -> Diagnostic:
    code = ord(match.group())
    escape = f"\\x{code:02X}" if code < 256 else f"\\u{code:04X}"
    return error(
        CHARACTER,
        f"the character U+{code:04X} may not stand in a YAML file",
        document.span(*match.span()),
        f'remove it, or write it as {escape} inside "double quotes"',
    )


class _Refused(Exception):
    """The file breaks a bound: reading on would be of no use."""


class _Reading:
    """One pass over the events of a file."""

    def __init__(self, blank: Document) -> None:
        self.blank = blank
        self.source = blank.source
        self.diagnostics: list[Diagnostic] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.after: list[int] = []
        self.keys: dict[int, str] = {}
        self.aliases: dict[int, int] = {}
        self.anchors: dict[str, tuple[int, Any, int]] = {}  # name -> node, value, nodes that it stands for
        self.open_anchors: dict[int, tuple[str, int]] = {}  # container node -> name, count of nodes before it
        self.nodes = 0

    def read(self, parser: Any) -> Document:
        try:
            data = self._compose(parser)
        except _Refused:
            data = None
        except yaml.YAMLError as problem:
            data = None
            self._syntax(problem)
        nodes = Nodes()
        nodes.starts, nodes.ends, nodes.after = array("l", self.starts), array("l", self.ends), array("l", self.after)
        nodes.keys, nodes.aliases = self.keys, self.aliases
        return Document(self.blank.file, self.source, data, self.diagnostics, nodes)

    def _compose(self, parser: Any) -> Any:
        """Follow the events; the open containers are a stack, so that no file can exhaust Python's."""
        next_event = parser.get_event
        starts, ends, after, keys = self.starts, self.ends, self.after, self.keys
        stack: list[tuple[Any, Any, int, bool]] = []
        container: Any = []
        key: Any = _LIST
        node = -1
        block = False
        documents = 0
        last_end = 0
        while True:
            event: Any = next_event()
            kind = type(event)
            if kind is ScalarEvent:
                at = len(starts)
                start = event.start_mark.index
                last_end = event.end_mark.index
                starts.append(start)
                ends.append(last_end)
                after.append(at + 1)
                if key is _NO_KEY:
                    key = self._key(event, container, node)
                    keys[at] = event.value
                    continue
                value = self._scalar(event, at)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                at = len(starts)
                starts.append(event.start_mark.index)
                ends.append(event.end_mark.index)
                after.append(0)
                if event.tag is not None:
                    self._tag(event)
                if event.anchor is not None:
                    self.open_anchors[at] = (event.anchor, self.nodes + len(starts))
                if len(stack) >= MAX_DEPTH:
                    self._refuse(TOO_LARGE, f"this is nested more than {MAX_DEPTH} levels deep", event)
                if key is _NO_KEY:
                    self._complex_key(event)
                    keys[at] = "\0"
                stack.append((container, key, node, block))
                container, key = ({}, _NO_KEY) if kind is MappingStartEvent else ([], _LIST)
                node, block = at, not event.flow_style
                continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                if not block:
                    last_end = event.end_mark.index
                ends[node] = max(last_end, starts[node])
                after[node] = len(starts)
                value = container
                if node in self.open_anchors:
                    name, before = self.open_anchors.pop(node)
                    self.anchors[name] = (node, value, self.nodes + len(starts) - before + 1)
                container, key, node, block = stack.pop()
                if key is _NO_KEY:
                    key = _DROPPED
                    continue
            elif kind is AliasEvent:
                at = len(starts)
                last_end = event.end_mark.index
                starts.append(event.start_mark.index)
                ends.append(last_end)
                after.append(at + 1)
                if key is _NO_KEY:
                    self._complex_key(event)
                    keys[at] = "\0"
                    key = _DROPPED
                    continue
                value = self._alias(event, at)
            elif event is None:
                return container[0] if container else None
            else:
                if kind is DocumentStartEvent:
                    documents += 1
                    if documents > 1:
                        self._refuse(SECOND_DOCUMENT, "a second document begins here; one file holds one", event)
                continue
            if key is _LIST:
                container.append(value)
            else:
                if key is not _DROPPED:
                    container[key] = value
                key = _NO_KEY

    def _where(self, event: Any) -> Where:
        """The place of an event, cut at the end of its first line."""
        start = event.start_mark.index
        first_line = self.source[start : max(event.end_mark.index, start + 1)].splitlines() or [""]
        return self.blank.span(start, start + len(first_line[0].rstrip()))

    def _add(self, number: int, message: str, event: Any, help: str = "") -> None:
        self.diagnostics.append(error(number, message, self._where(event), help))

    def _refuse(self, number: int, message: str, event: Any) -> None:
        self._add(number, message, event)
        raise _Refused

    def _key(self, event: ScalarEvent, mapping: dict[str, Any], parent: int) -> Any:
        text = event.value
        if event.tag is not None:
            self._tag(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = (len(self.starts) - 1, text, 1)
        if event.implicit[0]:
            if text == "<<":
                help = "write the shared keys out, or give the whole value an anchor: `a: &name …`, `b: *name`"
                self._add(MERGE_KEY, "merge keys (`<<`) are not part of YAML 1.2", event, help)
                return _DROPPED
            if text in _CONSTANTS or text[0] in _NUMBER_START:
                value = self._resolve(event)
                if not isinstance(value, str):
                    shown = text or "(nothing)"
                    self._add(KEY_NOT_TEXT, f"the key {shown} is not a string", event, f'write "{text}" in quotes')
        if text in mapping:
            first = self._first(parent, text)
            self._add(
                DUPLICATE_KEY,
                f"the key '{text}' stands twice in one mapping",
                event,
                f"it stands first at {first.file}:{first.line}:{first.column}; keep one of the two",
            )
            return _DROPPED
        return text

    def _first(self, parent: int, key: str) -> Where:
        at = parent + 1
        while self.keys.get(at) != key:
            at = self.after[self.after[at]]
        return self.blank.span(self.starts[at], self.ends[at])

    def _complex_key(self, event: Any) -> None:
        shown = self.source[event.start_mark.index : event.start_mark.index + 2]
        help = 'a value that begins with {{ stands in quotes: "{{ … }}"' if shown.startswith("{") else "use plain text"
        self._add(KEY_NOT_TEXT, "a list, a mapping or an alias cannot be a key", event, help)

    def _scalar(self, event: ScalarEvent, at: int) -> Any:
        value: Any = event.value
        if event.tag is not None:
            self._tag(event)
        elif event.implicit[0] and (value in _CONSTANTS or value[0] in _NUMBER_START):
            value = self._resolve(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = (at, value, 1)
        return value

    def _resolve(self, event: ScalarEvent) -> Any:
        """The core schema of YAML 1.2, chapter 10.3.2: octal is 0o17, and 12:30, 1_000, yes, on and dates are strings."""
        text = event.value
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INTEGER.fullmatch(text):
            if len(text) <= _MAX_NUMBER:
                return int(text, 0) if text[1:2] in ("o", "x") else int(text)
        elif _FLOAT.fullmatch(text):
            number = float(text)
            if math.isfinite(number) and len(text) <= _MAX_NUMBER:
                return number
        elif not _NOT_FINITE.fullmatch(text):
            return text
        self._add(
            NUMBER, f"{text[:20]} is not a number that can be used here", event, "write a finite number, or quotes"
        )
        return None

    def _tag(self, event: Any) -> None:
        if event.tag in _CORE_TAGS:
            return
        where = self._where(event)
        tag = self.source[event.start_mark.index : event.end_mark.index].split()
        message = f"`{tag[0] if tag else '!'}` is a YAML tag here, and tags are not used"
        self.diagnostics.append(error(TAG, message, where, f"if the `!` is part of the text, {QUOTE_IT}"))

    def _alias(self, event: Any, at: int) -> Any:
        known = self.anchors.get(event.anchor)
        if known is None:
            inside = any(name == event.anchor for name, _ in self.open_anchors.values())
            message = (
                f"`*{event.anchor}` stands inside what it repeats" if inside else f"nothing is named &{event.anchor}"
            )
            self._add(ALIAS, message, event, f"if the `*` is part of the text, {QUOTE_IT}")
            return None
        node, value, size = known
        self.aliases[at] = self.aliases.get(node, node)
        self.nodes += size
        if self.nodes + len(self.starts) > MAX_NODES:
            self._refuse(ALIAS, f"with its aliases written out this file has more than {MAX_NODES:,} nodes", event)
        return value

    def _syntax(self, problem: yaml.YAMLError) -> None:
        text = str(getattr(problem, "problem", "") or "")
        mark = getattr(problem, "problem_mark", None)
        begun = getattr(problem, "context_mark", None)
        at = len(self.source) if mark is None else mark.index
        message, help, start, end = explain(self.source, text, at, at if begun is None else begun.index)
        where = self.blank.span(start, end)
        if not any((each.where.line, each.where.column) == (where.line, where.column) for each in self.diagnostics):
            self.diagnostics.append(error(SYNTAX, message, where, help))

"""What a YAML parser could not read, in the words of the person who wrote it."""

import re
from typing import Final

QUOTE_IT: Final = 'put the whole value in quotes ("…") or below `|-`'

Explanation = tuple[str, str, int, int]
"""Message, help, and the start and end offset of the place."""

_VALUE = re.compile(
    r"^[ \t]*(?:-[ \t]+)*(?:[^\s:#'\"\[{][^:#\n]*:[ \t]+)?(?:-[ \t]+)*(?P<value>\S[^\r\n]*)", re.MULTILINE
)
_QUOTED = re.compile(r"'(?:[^'\r\n]|'')*'|\"(?:[^\"\\\r\n]|\\.)*\"")

# What a value begins with, and why YAML does not take it as text.
_FIRST: Final = {
    "@": "a value cannot begin with `@`",
    "`": "a value cannot begin with a backtick",
    "%": "a value cannot begin with `%`",
    "!": "a value that begins with `!` is a YAML tag",
    "*": "a value that begins with `*` is a YAML alias",
    "&": "a value that begins with `&` is a YAML anchor",
    "|": "text cannot follow `|` on its line",
    ">": "text cannot follow `>` on its line",
    "[": "a value that begins with `[` is a YAML list, and text follows its `]`",
    "{": "a value that begins with `{` is a YAML mapping, and text follows its `}`",
}

# A part of what the parser says (libyaml's words, then PyYAML's), and what that means for the writer.
_PROBLEMS: Final = (
    (("unknown escape", "invalid Unicode", "did not find expected hexdecimal", "hexadecimal"),
     "this escape is not one of YAML's", "double the backslash (`\\\\`), or use 'single quotes', which know no escapes"),
    (("block sequence entries are not allowed", "sequence entries are not allowed"),
     "a list cannot begin here", "put the `- ` on a line of its own, indented below its key"),
    (("expected ',' or ']'", "expected ',' or '}'", "did not find expected node content", "expected the node content"),
     "a comma or a closing bracket is missing here", "close the `[` or `{`, or put text that holds brackets in quotes"),
    (("could not find expected ':'",),
     "this line is neither `key: value` nor a list item", "add the `:` after the key, or indent the text below `key: |-`"),
    (("'-' indicator", "expected <block end>", "expected key", "expected <document start>"),
     "this line does not fit to the lines above it", "check its indentation: keys of a mapping align, as do items of a list"),
    (("directive",), "a line cannot begin with `%`", "remove the line, or put its text in quotes"),
    (("tag",), "this is read as a YAML tag, and tags are not used", f"if the `!` is part of the text, {QUOTE_IT}"),
)  # fmt: skip


def explain(source: str, problem: str, at: int, begun: int) -> Explanation:
    """Say what is wrong at offset `at` of the construct that began at `begun`; `problem` is what the parser said."""
    at, begun = min(at, len(source)), min(begun, len(source))
    if "end of stream" in problem and source[begun : begun + 1] in ("'", '"'):
        return "this quote is never closed", f"add the closing {source[begun]} where the text ends", begun, begun + 1
    if source[at : at + 1] == "\t" and "start any token" in problem:
        return "a tab cannot indent", "indent with spaces", at, at + 1
    trap = _trap(source, problem, at)
    if trap is not None:
        return trap
    if "mapping values are not allowed" in problem:
        return _second_colon(source, at)
    for words, message, help in _PROBLEMS:
        if any(word in problem for word in words):
            start = _unclosed(source, at, begun) if "bracket" in message else at
            if "escape" in message:
                start = max(source.rfind("\\", begun, at + 1), begun)
            return message, help, start, min(start + 1, len(source))
    return (
        "this cannot be read as YAML",
        "check the indentation, quotes and brackets here",
        at,
        min(at + 1, len(source)),
    )


def _line_start(source: str, at: int) -> int:
    return max(source.rfind("\n", 0, at), source.rfind("\r", 0, at)) + 1


def _trap(source: str, problem: str, at: int) -> Explanation | None:
    """A value whose first character means something to YAML that its writer did not mean."""
    match = _VALUE.match(source, _line_start(source, at))
    if match is None or at < match.start("value"):
        return None
    value, start = match["value"], match.start("value")
    if quoted := _QUOTED.match(value):
        rest = value[quoted.end() :].lstrip()
        if not rest or rest[0] in "#,]}:":
            return None
        message = "the value ends at its closing quote, and more text follows"
        help = f"{QUOTE_IT}; the other kind of quotes may stand inside: when: \"'a' == model\""
        return message, help, start + len(value) - len(value[quoted.end() :].lstrip()), match.end()
    first = value[0]
    if first not in _FIRST or (first in "[{" and ("key" not in problem and "block end" not in problem)):
        return None
    return _FIRST[first], QUOTE_IT, start, match.end()


def _second_colon(source: str, at: int) -> Explanation:
    line = source[_line_start(source, at) : at]
    if ": " in line:
        message = "`: ` inside an unquoted value begins a second mapping"
        return message, QUOTE_IT, at, min(at + 1, len(source))
    start = at - len(line.lstrip(" -"))
    message = "a key cannot stand here"
    return (
        message,
        "check its indentation, and that the line above it ends with `:` or is a whole `key: value`",
        start,
        at,
    )


def _unclosed(source: str, at: int, begun: int) -> int:
    """Point at the bracket that was opened where the parser only noticed lines later."""
    return begun if source[begun : begun + 1] in ("[", "{") and "\n" in source[begun:at].strip() else at

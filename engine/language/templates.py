"""Texts with `{{ expression }}` pieces, compiled at load: what a piece gives is data, and is never compiled again."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from engine.language.compile import Condition, compile_expression
from engine.language.errors import ConditionError, ConditionSyntaxError
from engine.language.reads import topmost
from engine.language.scope import NO_NAMES, Env, Names, Path
from engine.language.values import as_text

_OPEN: Final = re.compile(r"(?P<escaped>\{\{\{\{)|\{\{")
# Inside a piece: a string of any of JMESPath's three kinds is passed over whole, braces are counted.
_INSIDE: Final = re.compile(
    r"""(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`)|(?P<brace>[{}])""", re.DOTALL
)


class Piece(msgspec.Struct, frozen=True):
    """An expression in a template. `start` and `end` are the expression's own span, without the braces."""

    condition: Condition
    start: int
    end: int


class Template:
    """A compiled template: `template(event)` is its value.

    One that is a single piece, with nothing around it, gives the value itself, of whatever type; any other gives a text,
    in which null is nothing and what is no string is compact JSON. `reads` is as for a condition; `source` is what was
    written.
    """

    __slots__ = ("_parts", "pieces", "reads", "source")

    def __init__(self, source: str, parts: tuple[str | Piece, ...]) -> None:
        self.source = source
        self.pieces = tuple(part for part in parts if isinstance(part, Piece))
        self.reads: frozenset[Path] = topmost(path for piece in self.pieces for path in piece.condition.reads)
        self._parts = parts

    def __call__(self, event: Any, env: Env | None = None) -> Any:
        """The value for an event. Raises ConditionError with spans in the template's text."""
        if env is None:
            env = Env(event)
        if len(self._parts) == 1:
            return _value(self.pieces[0], event, env)
        return self.text(event, env)

    def text(self, event: Any, env: Env, encode: Callable[[str], str] | None = None) -> str:
        """The value as a text, for a template of a single piece too. `encode` makes what a piece gives fit its sink."""
        if encode is None:
            return "".join([part if isinstance(part, str) else _text(part, event, env) for part in self._parts])
        return "".join([part if isinstance(part, str) else encode(_text(part, event, env)) for part in self._parts])

    def __repr__(self) -> str:
        return f"Template({self.source!r})"


def compile_template(text: str, names: Names = NO_NAMES, origin: str = "") -> Template | str:
    """A text as a template; one without pieces is the string that it says. `{{{{` writes two braces.

    Raises ConditionSyntaxError and ConditionError, with spans in `text`.
    """
    parts = tuple(_parts(text, names, origin))
    if all(isinstance(part, str) for part in parts):
        return "".join(part for part in parts if isinstance(part, str))
    return Template(text, parts)


def _parts(text: str, names: Names, origin: str) -> Iterator[str | Piece]:
    plain: list[str] = []
    at = 0
    while (opening := _OPEN.search(text, at)) is not None:
        plain.append(text[at : opening.start()])
        if opening["escaped"]:
            plain.append("{{")
            at = opening.end()
            continue
        if before := "".join(plain):
            yield before
        plain = []
        start, end = opening.end(), _closing(text, opening.end())
        yield _piece(text, start, end, names, origin)
        at = end + 2
    plain.append(text[at:])
    if rest := "".join(plain):
        yield rest


def _closing(text: str, start: int) -> int:
    """Where the `}}` stands that ends the piece: outside of strings, and of braces that opened in the expression."""
    depth, at = 0, start
    while (found := _INSIDE.search(text, at)) is not None:
        at = found.end()
        if found["brace"] == "{":
            depth += 1
        elif found["brace"] == "}" and depth:
            depth -= 1
        elif found["brace"] == "}" and text.startswith("}", at):
            return found.start()
    raise ConditionSyntaxError("'{{' is never closed by '}}'; write '{{{{' for the braces themselves", start - 2, start)


def _piece(text: str, start: int, end: int, names: Names, origin: str) -> Piece:
    inner = text[start:end]
    if not inner.strip():
        raise ConditionSyntaxError("an expression is expected between '{{' and '}}'", start - 2, end + 2)
    start += len(inner) - len(inner.lstrip())
    end = max(start, end - (len(inner) - len(inner.rstrip())))
    try:
        # The piece's place sets its random numbers apart from those of the same expression elsewhere in the text.
        return Piece(compile_expression(text[start:end], names, f"{origin}\x00{start}"), start, end)
    except ConditionError as wrong:
        raise wrong.moved(start) from None


def _value(piece: Piece, event: Any, env: Env) -> Any:
    try:
        return piece.condition(event, env)
    except ConditionError as wrong:
        raise wrong.moved(piece.start) from None


def _text(piece: Piece, event: Any, env: Env) -> str:
    value = _value(piece, event, env)
    if not isinstance(value, str):
        try:
            env.charge_deeply(value)
            return as_text(value)
        except (ConditionError, RecursionError, ValueError) as wrong:
            message = wrong.message if isinstance(wrong, ConditionError) else "the value cannot be written as JSON"
            raise ConditionError("budget", message, piece.start, piece.end) from None
    return value

"""What a condition can do wrong: the specification's kinds of error, each with the span of the text at fault."""

from collections.abc import Iterable
from typing import Final, Literal

from engine.diagnostics import LexgateError, suggestion

ErrorKind = Literal[
    "syntax",
    "invalid-arity",
    "invalid-type",
    "invalid-value",
    "unknown-function",
    "unknown-name",
    "cycle",
    "budget",
]
"""The kinds of the JMESPath specification, and three of our own: a set, definition or pattern set that does not exist, a
definition that needs itself, and an evaluation that took more steps than it may."""

LOADING: Final[frozenset[ErrorKind]] = frozenset(
    {"syntax", "invalid-arity", "unknown-function", "unknown-name", "cycle"}
)
"""The kinds that are always found when a condition is compiled, never when it runs."""


class ConditionError(LexgateError):
    """An expression cannot be compiled or evaluated. `start` and `end` are code-point offsets into its text."""

    def __init__(self, kind: ErrorKind, message: str, start: int = 0, end: int = 0) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.message = message
        self.start = start
        self.end = end

    def moved(self, offset: int) -> "ConditionError":
        """The same error, in a text in which the expression starts at `offset`."""
        return ConditionError(self.kind, self.message, self.start + offset, self.end + offset)


class ConditionSyntaxError(ConditionError):
    """A text is not an expression. The message says what to write; `instead` is what to write in place of the span."""

    def __init__(self, message: str, start: int = 0, end: int = 0, instead: str = "") -> None:
        super().__init__("syntax", message, start, end)
        self.instead = instead

    def moved(self, offset: int) -> "ConditionSyntaxError":
        return ConditionSyntaxError(self.message, self.start + offset, self.end + offset, self.instead)


class Refusal(Exception):
    """A function refuses its arguments; the call that made it adds where it stands."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.message = message


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist, with the one that was probably meant."""
    meant = suggestion(name, known)
    return f"unknown {what} '{name}'" + (f"; {meant}" if meant else "")

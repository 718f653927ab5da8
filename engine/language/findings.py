"""What the checker says of an expression, and the table of its code numbers."""

from collections.abc import Mapping
from typing import Final

import msgspec

from engine.diagnostics import Severity
from engine.language.types import Type

CODES: Final[Mapping[int, str]] = {
    201: "the text is not an expression",
    202: "a field does not exist",
    203: "a part of the event does not exist in this phase",
    204: "a field is taken of a value that is no object",
    205: "a comparison has always the same answer, because its sides are of different kinds",
    206: "a comparison has always the same answer, because the value is none of the possible ones",
    207: "an ordering compares what is no number",
    208: "conditions that stand together contradict each other, or one of them always holds",
    209: "a function does not exist",
    210: "a function has too few or too many arguments",
    211: "an argument is of the wrong kind",
    212: "an argument must be a literal",
    213: "a set, pattern set or definition does not exist",
    214: "double quotes name a field; a string was probably meant",
    215: "an index, a filter or a wildcard is applied to a value that has no elements",
    216: "an index or filter after a projection applies to every element of it",
    217: "the expression has a value of the wrong kind for its place",
    218: "a literal argument cannot be read",
    219: "`!` binds tighter than the dot and the filter that follow",
    301: "an operand of an ordering may be null",
    302: "an argument may be null, which the function does not accept",
    303: "a value that is always true stands where a boolean is expected",
    304: "a literal stands where a boolean is expected",
    305: "a condition may have a value that is neither a boolean nor null",
    306: "a guard orders a value that may be missing",
    501: "a pattern is not valid RE2",
}
"""Each code and its meaning in one line: 2xx types, 3xx nulls and booleans, 5xx patterns."""


class Finding(msgspec.Struct, frozen=True):
    """One finding; `start` and `end` are code-point offsets in the expression, `end` exclusive."""

    number: int
    severity: Severity
    message: str
    start: int
    end: int
    help: str = ""
    instead: str = ""
    """What may be written in place of the span, where that can be told."""

    @property
    def code(self) -> str:
        return f"{self.severity.value[0].upper()}{self.number}"


class Checked(msgspec.Struct, frozen=True):
    """The type of an expression's value, and what is wrong with it, in the order of the text."""

    type: Type
    findings: tuple[Finding, ...]


def outermost_causes(findings: list[Finding]) -> tuple[Finding, ...]:
    """Without repetitions, and without what only follows from an error inside of it; in the order of the text."""
    unique = {(each.number, each.start, each.end): each for each in reversed(findings)}
    chosen = list(unique.values())[::-1]
    errors = [each for each in chosen if each.severity is Severity.ERROR]
    causes = [each for each in chosen if not any(_explains(error, each) for error in errors)]
    return tuple(sorted(causes, key=lambda each: (each.start, each.end, each.number)))


def _explains(error: Finding, other: Finding) -> bool:
    inside = other.start <= error.start and error.end <= other.end
    return inside and (error.start, error.end) != (other.start, other.end)

"""What is wrong, where, whose fault it is, and what to do next: the vocabulary of every finding and every error."""

import difflib
from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """An error stops loading; a warning or a note is printed and never does."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Where(msgspec.Struct, frozen=True, order=True):
    """A span of a file. Lines and columns count from 1, in code points; the end is exclusive; line 0 is the whole file."""

    file: str
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Fix(msgspec.Struct, frozen=True):
    """An edit that `policy lint --fix` may make: replace the text of `where` by `text`."""

    where: Where
    text: str


class Diagnostic(msgspec.Struct, frozen=True):
    """One finding. `code` is the family and number (`E202`), its letter the severity of this single finding."""

    code: str
    severity: Severity
    message: str
    where: Where
    help: str = ""
    fix: Fix | None = None

    @property
    def stops_loading(self) -> bool:
        return self.severity is Severity.ERROR


def error(number: int, message: str, where: Where, help: str = "", fix: Fix | None = None) -> Diagnostic:
    return Diagnostic(f"E{number}", Severity.ERROR, message, where, help, fix)


def warning(number: int, message: str, where: Where, help: str = "", fix: Fix | None = None) -> Diagnostic:
    return Diagnostic(f"W{number}", Severity.WARNING, message, where, help, fix)


def note(number: int, message: str, where: Where, help: str = "", fix: Fix | None = None) -> Diagnostic:
    return Diagnostic(f"N{number}", Severity.NOTE, message, where, help, fix)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant; empty where none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), "")


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or nothing where no name is near."""
    near = nearest(name, known)
    return f"did you mean '{near}'?" if near else ""


class LexgateError(Exception):
    """The root of everything that Lexgate raises on purpose."""


class ConfigurationError(LexgateError):
    """The operator's files are wrong; `diagnostics` says where, and is never empty."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        super().__init__("; ".join(f"{each.where}: {each.message}" for each in diagnostics))
        self.diagnostics = diagnostics


class UsageError(LexgateError):
    """The command line asks for something that cannot be (exit code 2)."""

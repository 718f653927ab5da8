"""Comments that silence findings, and those that silence nothing."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from engine.diagnostics import Diagnostic, Where, warning
from engine.documents import Suppression, suppressions
from engine.policy.compile import PolicySource

_SOMETIMES: Final = frozenset({"W405", "W424", "W461", "W466", "W601", "W446", "W464", "N427", "N428", "N429", "N462"})
"""Findings that come and go with the day, the configuration, the other files or `--strict`: silencing one is never idle."""


def silenced(found: Iterable[Diagnostic], sources: Sequence[PolicySource]) -> Iterator[Diagnostic]:
    """What is left of the findings, and what is to be said of the comments."""
    comments = [(source, each) for source in sources for each in _comments(source)]
    silent = {
        (source.file, _line(each), code) for source, each in comments if each.reason for code in each.codes
    }  # fmt: skip
    used: set[tuple[str, int, str]] = set()
    for each in found:
        key = (each.where.file, each.where.line, each.code)
        if each.stops_loading or key not in silent:
            yield each
        else:
            used.add(key)
    for source, comment in comments:
        yield from unreasoned(source, comment)
        yield from idle(source, comment, used)


def unreasoned(source: PolicySource, comment: Suppression) -> Iterator[Diagnostic]:
    """W448: a comment that silences a finding does not say why.

    Without a reason nobody can tell later whether it still holds, so that the finding is said all the same.

    Example:
        sets:
          names: [a, b]  # policy-lint: ignore=W417  # <--
        rules: []

    Use instead:
        sets:
          names: [a, b]  # policy-lint: ignore=W417 reason="the next release uses it"
        rules: []
    """
    if not comment.reason:
        where = Where(source.file, comment.line, comment.column, comment.line, comment.end_column)
        yield warning(448, "this comment does not say why", where, 'add reason="..."')


def idle(source: PolicySource, comment: Suppression, used: set[tuple[str, int, str]]) -> Iterator[Diagnostic]:
    """W447: a comment silences a finding that is not there.

    It was mended, it stands on another line, or it is an error, which no comment can silence. A comment that is left
    would hide the next mistake of this kind.

    Example:
        sets:
          names: [a, b]  # policy-lint: ignore=W417 reason="the next release uses it"  # <--
        rules:
          - {id: r, phase: request, match: {caller: {$set: names}}, actions: [block: "No."]}

    Use instead:
        sets:
          names: [a, b]
        rules:
          - {id: r, phase: request, match: {caller: {$set: names}}, actions: [block: "No."]}
    """
    for code in comment.codes if comment.reason else ():
        if code not in _SOMETIMES and (source.file, _line(comment), code) not in used:
            where = Where(source.file, comment.line, comment.column, comment.line, comment.end_column)
            error = code.startswith("E")
            message = (
                f"{code} is an error, which no comment silences" if error else f"there is no {code} to silence here"
            )
            yield warning(447, message, where, "remove it")


def _comments(source: PolicySource) -> list[Suppression]:
    return suppressions(source.text) if "policy-lint:" in source.text else []


def _line(comment: Suppression) -> int:
    """The line that a comment speaks of: its own, or where it stands alone the next."""
    return comment.line + 1 if comment.alone else comment.line

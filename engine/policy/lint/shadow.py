"""Rules that were to be watched for a while, and were forgotten."""

import re
from collections.abc import Iterator
from datetime import date
from typing import Final

from engine.diagnostics import Diagnostic
from engine.model.decision import Mode
from engine.policy.names import Path

from .subject import Subject

PATIENCE: Final = 60
"""Days after which a rule in shadow is said to be forgotten."""

_SINCE: Final = re.compile(r"#\s*since:?\s+(\d{4}-\d{2}-\d{2})\b")


def forgotten_shadow(subject: Subject) -> Iterator[Diagnostic]:
    """W461: a rule has been in shadow for more than 60 days.

    `mode: shadow` is for watching a rule before it is enforced. One that nobody looked at for two months guards nothing,
    and its owner may believe that it does. The day stands in a comment beside the mode, `mode: shadow # since 2026-09-01`;
    `--strict` asks for it.

    Example:
        mode: shadow # since 2020-01-15  # <--
        rules:
          - {id: no-mail, phase: tool_call, match: {tool: send_mail}, actions: [block: "No mail."]}

    Use instead:
        mode: enforce
        rules:
          - {id: no-mail, phase: tool_call, match: {tool: send_mail}, actions: [block: "No mail."]}
    """
    for path, since in _shadows(subject):
        if since is not None and (subject.today - since).days > PATIENCE:
            days = (subject.today - since).days
            help = "enforce it, remove it, or write the day on which you looked at it last"
            yield subject.warn(461, f"in shadow for {days} days, since {since}", path, help)


def undated_shadow(subject: Subject) -> Iterator[Diagnostic]:
    """N462: `mode: shadow` does not say since when (`--strict`).

    Without a day nobody is reminded of the rule, and it may stay in shadow for ever. A comment is enough.

    Example:
        mode: shadow  # <--
        rules:
          - {id: no-mail, phase: tool_call, match: {tool: send_mail}, actions: [block: "No mail."]}

    Use instead:
        mode: shadow # since 2026-11-22
        rules:
          - {id: no-mail, phase: tool_call, match: {tool: send_mail}, actions: [block: "No mail."]}
    """
    for path, since in _shadows(subject):
        if since is None:
            help = f"add the day as a comment: # since {subject.today}"
            yield subject.note(462, "in shadow, and nothing says since when", path, help)


def _shadows(subject: Subject) -> Iterator[tuple[Path, date | None]]:
    """Where `mode: shadow` stands in the file, and the day beside it; what a configuration puts in shadow stands there."""
    spec, written = subject.spec, subject.document.data
    says_so = isinstance(written, dict) and "mode" in written
    paths: list[Path] = [("mode",)] if spec.mode is Mode.SHADOW and says_so else []
    paths += [("rules", index, "mode") for index, rule in enumerate(spec.rules) if rule.mode is Mode.SHADOW]
    lines = subject.document.source.splitlines()
    for path in paths:
        line = subject.document.value(path).line
        found = _SINCE.search(lines[line - 1]) if 0 < line <= len(lines) else None
        yield path, _day(found[1]) if found else None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None

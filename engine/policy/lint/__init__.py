"""What is right by the rules of the language and still probably not meant: warnings and notes, a small family a file."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec

from engine.diagnostics import Diagnostic
from engine.policy.compile import Compiled, PolicySource, compile_policies, judge_file
from engine.policy.context import Catalogue
from engine.policy.sources import PolicySet

from .brief import brief_of
from .checks import CHECKS, STRICT, TOGETHER, Check
from .kept import Kept, Memory
from .silence import silenced
from .subject import Subject
from .together import judge_together

__all__ = [
    "CHECKS",
    "STRICT",
    "TOGETHER",
    "Check",
    "Examined",
    "Findings",
    "Memory",
    "examine",
    "findings",
    "lint_file",
]


class Examined(msgspec.Struct, frozen=True):
    """A set of files with everything that can be said of it: what compiling found, and what lint adds."""

    compiled: Compiled
    diagnostics: tuple[Diagnostic, ...]
    rules: Mapping[str, int]
    """How many rules each file holds, those that could not be compiled included."""


class Findings(msgspec.Struct, frozen=True):
    """All that is to be said of a set, and how many rules each of its files holds."""

    diagnostics: tuple[Diagnostic, ...]
    rules: Mapping[str, int]


def examine(policies: PolicySet, today: date, *, strict: bool = False) -> Examined:
    """Compile and lint a set. A comment `# policy-lint: ignore=W417 reason="…"` silences what is no error."""
    compiled = compile_policies(
        policies.sources, policies.catalogue, policies.require, required_at=policies.required_at
    )
    found = findings(policies, today, strict=strict)
    return Examined(compiled, found.diagnostics, found.rules)


def findings(policies: PolicySet, today: date, *, strict: bool = False, memory: Memory | None = None) -> Findings:
    """The same findings without the rules. What `memory` knows of a file that did not change is not worked out again."""
    kept = [_kept(source, policies.catalogue, today, strict, memory) for source in policies.sources]
    briefs = [each.brief for each in kept if each.brief is not None]
    found: list[Diagnostic] = [*policies.diagnostics, *(one for each in kept for one in each.diagnostics)]
    # A policy that is required is not said to be missing where its file could not be compiled.
    require = () if any(each.stops_loading for each in found) else policies.require
    found += judge_together(briefs, require, policies.required_at)
    return Findings(
        _in_order(silenced(found, policies.sources)),
        {source.file: each.rules for source, each in zip(policies.sources, kept, strict=True)},
    )


def lint_file(source: PolicySource, catalogue: Catalogue, today: date, *, strict: bool = False) -> Kept:
    """All that can be said of one file by itself, and what must be known of it beside others."""
    judged = judge_file(source, catalogue)
    data = judged.read.document.data
    rules = data.get("rules") if isinstance(data, dict) else None
    count = len(rules) if isinstance(rules, list) else 0
    if judged.spec is None or judged.names is None or judged.read.spec is None:
        return Kept(judged.diagnostics, count)
    nodes = {use.path: use.node for use in judged.names.uses}
    subject = Subject(judged.spec, judged.names, judged.read.document, catalogue, today, nodes)
    # A name that could not be linked would count as unused.
    unlinked = judged.linked is not None and any(each.stops_loading for each in judged.linked.diagnostics)
    checks: Sequence[Check] = () if unlinked else (*CHECKS, *STRICT) if strict else CHECKS
    found = (*judged.diagnostics, *(finding for check in checks for finding in check(subject)))
    return Kept(found, count, brief_of(judged, subject))


def _kept(source: PolicySource, catalogue: Catalogue, today: date, strict: bool, memory: Memory | None) -> Kept:
    if memory is None:
        return lint_file(source, catalogue, today, strict=strict)
    key = memory.key(source, catalogue, today, strict)
    known = memory.get(key)
    if known is None:
        known = lint_file(source, catalogue, today, strict=strict)
        memory.put(key, known)
    return known


def _in_order(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple(dict.fromkeys(sorted(found, key=lambda each: (each.where, each.code))))

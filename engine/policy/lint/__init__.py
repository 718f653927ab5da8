"""What is right by the rules of the language and still probably not meant: warnings and notes, a small family a file."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import Final

import msgspec

from engine.diagnostics import Diagnostic
from engine.documents import suppressions
from engine.policy.compile import Compiled, PolicySource, compile_policies, overridden
from engine.policy.context import Catalogue
from engine.policy.link import FileLinker
from engine.policy.names import FileNames
from engine.policy.read import read_policy
from engine.policy.sources import PolicySet

from .care import undescribed, unowned, untested
from .cases import impossible_tests
from .commands import unanswered_commands, undeclared_commands
from .expiry import expired_exceptions
from .extent import empty_lists
from .halves import redaction_without_twin, tools_without_guard
from .roles import unknown_roles
from .subject import Subject
from .trust import lifted_by_the_client
from .unused import unused_names

Check = Callable[[Subject], Iterator[Diagnostic]]

CHECKS: Final[tuple[Check, ...]] = (
    unused_names,
    expired_exceptions,
    lifted_by_the_client,
    unknown_roles,
    redaction_without_twin,
    tools_without_guard,
    impossible_tests,
    empty_lists,
    unanswered_commands,
    undeclared_commands,
)
STRICT: Final[tuple[Check, ...]] = (undescribed, unowned, untested)


class Examined(msgspec.Struct, frozen=True):
    """A set of files with everything that can be said of it: what compiling found, and what lint adds."""

    compiled: Compiled
    diagnostics: tuple[Diagnostic, ...]
    rules: Mapping[str, int]
    """How many rules each file holds, those that could not be compiled included."""


def examine(policies: PolicySet, today: date, *, strict: bool = False) -> Examined:
    """Compile and lint a set. A comment `# policy-lint: ignore=W417 reason="…"` silences what is no error."""
    compiled = compile_policies(
        policies.sources, policies.catalogue, policies.require, required_at=policies.required_at
    )
    found = [*policies.diagnostics, *compiled.diagnostics]
    for source in policies.sources:
        found += lint_file(source, policies.catalogue, today, strict=strict)
    kept = list(_unsilenced(found, policies.sources))
    kept.sort(key=lambda each: (each.where, each.code))
    known = {each.source.file: len(each.spec.rules) for each in compiled.checked}
    rules = {each.file: known[each.file] if each.file in known else _count_rules(each) for each in policies.sources}
    return Examined(compiled, tuple(dict.fromkeys(kept)), rules)


def lint_file(source: PolicySource, catalogue: Catalogue, today: date, *, strict: bool = False) -> list[Diagnostic]:
    """The findings of the lint rules of one file; none where its shape is wrong, which compiling says."""
    read = read_policy(source.text, source.file)
    if read.spec is None:
        return []
    spec = overridden(read.spec, source.overrides)
    names = FileNames(spec, read.document.value, read.document.inside, catalogue)
    FileLinker(spec, source.file, names, source.grant).link()
    if any(each.stops_loading for each in names.diagnostics):
        return []  # a name that could not be linked would count as unused
    subject = Subject(spec, names, read.document, catalogue, today)
    checks = (*CHECKS, *STRICT) if strict else CHECKS
    return [finding for check in checks for finding in check(subject)]


def _unsilenced(found: Iterable[Diagnostic], sources: Iterable[PolicySource]) -> Iterator[Diagnostic]:
    silenced = {
        (source.file, each.line + 1 if each.alone else each.line, code)
        for source in sources
        for each in suppressions(source.text)
        for code in each.codes
    }
    for each in found:
        if each.stops_loading or (each.where.file, each.where.line, each.code) not in silenced:
            yield each


def _count_rules(source: PolicySource) -> int:
    """How many rules a file holds that could not be compiled."""
    data = read_policy(source.text, source.file).document.data
    rules = data.get("rules") if isinstance(data, dict) else None
    return len(rules) if isinstance(rules, list) else 0

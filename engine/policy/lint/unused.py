"""Names that the file declares and nothing in it uses."""

from collections.abc import Iterator

from engine.diagnostics import Diagnostic, warning
from engine.language import ConditionError, names_used, parse
from engine.language.nodes import Node

from .subject import Subject


def unused_names(subject: Subject) -> Iterator[Diagnostic]:
    """W417: a set, pattern set or definition that no rule uses.

    It is either left over, or the rule that should use it says something else, which is the worse case. A definition
    that only unused definitions use is unused too. Remove it, or use it.

    Example:
        sets:
          small: [gpt-5-mini]  # <--
        rules: []

    Use instead:
        sets:
          small: [gpt-5-mini]
        rules:
          - {id: a, phase: request, match: {model: {$set: small}}, actions: [block: "No."]}
    """
    spec, used = subject.spec, _used(subject)
    for section, kind, what in _DECLARED:
        for name in getattr(spec, section):
            if (kind, name) not in used:
                where = subject.document.key((section, name))
                yield warning(417, f"{what} '{name}' is never used", where, "remove it, or use it")


_DECLARED = (
    ("sets", "set", "the set"),
    ("patterns", "pattern set", "the pattern set"),
    ("definitions", "definition", "the definition"),
)


def _used(subject: Subject) -> set[tuple[str, str]]:
    uses = subject.names.uses
    definitions = {str(use.path[1]): use.node for use in uses if use.phase is None and use.path[0] == "definitions"}
    waiting: list[Node] = [use.node for use in uses if use.path[0] != "definitions"]
    waiting += _tested(subject)
    found = {("set" if section == "sets" else "pattern set", name) for section, name in subject.names.used}
    while waiting:
        for kind, name, _ in names_used(waiting.pop()):
            if kind == "definition" and ("definition", name) not in found and name in definitions:
                waiting.append(definitions[name])
            found.add((kind, name))
    return found


def _tested(subject: Subject) -> Iterator[Node]:
    for case in subject.spec.tests:
        for text in case.expect.event or {}:
            try:
                yield parse(text)
            except ConditionError:
                continue

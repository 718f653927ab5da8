"""Every expression of a file, checked against the event of its phase before any event exists."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from engine.diagnostics import Diagnostic, Fix
from engine.language.check import CONDITION, Known, check, type_from_schema
from engine.language.findings import Finding
from engine.language.nodes import Node
from engine.language.types import ANYTHING, STRING, Type
from engine.model.events import FIELDS, SECTIONS, event_schema
from engine.model.phases import Phase

from .names import FileNames, Path, Use
from .spec import PolicySpec

_CONDITIONS: Final = frozenset({"when", "unless"})


@functools.cache
def event_type(phase: Phase) -> Type:
    """What an event of the phase holds."""
    return type_from_schema(event_schema(phase))


@functools.cache
def elsewhere(phase: Phase) -> Mapping[str, tuple[str, ...]]:
    """For each section that the phase does not have, the phases that do."""
    return {
        name: tuple(other.value for other in Phase if name in FIELDS[other])
        for name in SECTIONS
        if name not in FIELDS[phase]
    }


def check_types(spec: PolicySpec, names: FileNames) -> Iterator[Diagnostic]:
    """The findings of every expression of a linked file, at their places in it."""
    yield from check_uses(names.uses, names)
    yield from _definition_findings(spec, names, _definitions(names))


def check_uses(uses: Sequence[Use], names: FileNames) -> Iterator[Diagnostic]:
    """The findings of expressions that stand in rules and exceptions."""
    definitions = _definitions(names)

    @functools.cache  # the definitions are checked once a phase, not once a use
    def known_in(phase: Phase) -> Known:
        return _known(names, definitions, phase)

    conditions = _conditions(uses)
    for use in uses:
        if use.phase is None:
            continue
        known = known_in(use.phase)
        expect = _expected(use.path)
        given = _given(use, conditions)
        checked = check(
            use.node, event_type(use.phase), known, expect=expect, elsewhere=elsewhere(use.phase), given=given
        )
        for finding in checked.findings:
            yield _placed(finding, use, names)


def _definitions(names: FileNames) -> Mapping[str | int, Node]:
    return {use.path[1]: use.node for use in names.uses if use.phase is None and use.path[0] == "definitions"}


def _known(names: FileNames, definitions: Mapping[str | int, Node], phase: Phase) -> Known:
    """The names that an expression may use, with the types that definitions have in this phase."""
    types: dict[str, Type] = {}
    sets, patterns = names.scope.sets, names.scope.patterns
    for name, node in definitions.items():
        known = Known(sets, patterns, dict(types))
        types[str(name)] = check(node, event_type(phase), known, elsewhere=elsewhere(phase)).type
    for name in names.scope.definitions:
        types.setdefault(name, ANYTHING)
    return Known(sets, patterns, types)


def _definition_findings(
    spec: PolicySpec, names: FileNames, definitions: Mapping[str | int, Node]
) -> Iterator[Diagnostic]:
    """A definition is right where it is used; one that nobody uses, or only a rule that cannot be read, in some phase."""
    phases = list(dict.fromkeys(rule.phase for rule in spec.rules))
    for name, node in definitions.items():
        using = [phase for phase in phases if _is_used(str(name), phase, names, definitions)] or list(Phase)
        use = next(each for each in names.uses if each.path == ("definitions", name))
        results = []
        for phase in using:
            known = _known(names, definitions, phase)
            results.append(check(node, event_type(phase), known, elsewhere=elsewhere(phase)).findings)
        for finding in min(results, key=len):
            yield _placed(finding, use, names)


def _is_used(name: str, phase: Phase, names: FileNames, definitions: Mapping[str | int, Node]) -> bool:
    mentioned = [use.node for use in names.uses if use.phase is phase]
    for _ in definitions:
        found = {str(each) for node in mentioned for each in _definitions_in(node)}
        if name in found:
            return True
        mentioned = [definitions[each] for each in found if each in definitions]
    return False


def _definitions_in(node: Node) -> Iterator[object]:
    for each in node.walk():
        if each.kind == "function_expression" and each.value == "def" and each.children:
            yield each.children[0].value


def _expected(path: Path) -> Type | None:
    if path[0] in ("rules", "exceptions") and path[2] in _CONDITIONS:
        return CONDITION
    return STRING if path[-1] == "key" and ("rate_limit" in path or "budget" in path) else None


def _conditions(uses: Sequence[Use]) -> Mapping[Path, list[Use]]:
    """The conditions of each rule's `when` that must all hold, by the path of the rule."""
    found: dict[Path, list[Use]] = {}
    for each in uses:
        alone = each.path[2:] == ("when",) or (each.path[2:4] == ("when", "all") and len(each.path) == 5)
        if each.path[0] == "rules" and alone:
            found.setdefault(each.path[:2], []).append(each)
    return found


def _given(use: Use, conditions: Mapping[Path, list[Use]]) -> list[Node]:
    """The conditions of the rule's `when` that hold wherever this one is evaluated: in `all:` those before it."""
    if use.path[0] != "rules":
        return []
    found: list[Node] = []
    for each in conditions.get(use.path[:2], ()):
        if each is use or use.path[2:] == ("when",):
            break
        if use.path[2] == "when" and use.path[2:4] != ("when", "all"):
            break
        found.append(each.node)
    return found


def _placed(finding: Finding, use: Use, names: FileNames) -> Diagnostic:
    start, end = finding.start + use.offset, max(finding.end, finding.start + 1) + use.offset
    where = names.inside(use.path, start, end)
    fix = Fix(where, finding.instead) if finding.instead else None
    return Diagnostic(finding.code, finding.severity, finding.message, where, finding.help, fix)

"""Roles that nobody can have."""

from collections.abc import Iterator, Sequence

from engine.diagnostics import Diagnostic, suggestion, warning
from engine.language.globs import is_glob
from engine.language.nodes import Node
from engine.policy.names import Path, listed
from engine.policy.spec import MatchSpec, ScopeSpec, Values

from .subject import Subject


def unknown_roles(subject: Subject) -> Iterator[Diagnostic]:
    """W424: a role that the configuration gives to nobody, in `scope`, `match` or `contains(caller.roles, …)`.

    Such a rule matches nobody, and such an `unless` excepts nobody: most often the name is misspelled. Nothing is said
    where the roles are not known.

    Example:
        match: {role: admn}  # <--

    Use instead:
        match: {role: admin}
    """
    known = subject.catalogue.roles
    if known is None:
        return
    for role, path in _written(subject):
        if role not in known and not is_glob(role):
            yield subject.warn(424, f"nobody has the role '{role}'", path, _help(role, known))
    for use in subject.names.uses:
        for node in use.node.walk():
            role_node = _role_asked(node)
            if role_node is not None and role_node.value not in known:
                start, end = role_node.start + use.offset, role_node.end + use.offset
                where = subject.names.inside(use.path, start, end)
                message, help = f"nobody has the role '{role_node.value}'", _help(role_node.value, known)
                yield warning(424, message, where, help)


def _help(role: str, known: Sequence[str]) -> str:
    return suggestion(role, known) or f"known: {listed(known)}"


def _written(subject: Subject) -> Iterator[tuple[str, Path]]:
    spec = subject.spec
    yield from _roles(spec.scope, ("scope",))
    for index, rule in enumerate(spec.rules):
        yield from _roles(rule.match, ("rules", index, "match"))
    for index, exception in enumerate(spec.exceptions):
        yield from _roles(exception.match, ("exceptions", index, "match"))


def _roles(match: ScopeSpec | MatchSpec | None, path: Path) -> Iterator[tuple[str, Path]]:
    if match is None:
        return
    yield from _names(match.role, (*path, "role"))
    if isinstance(match, MatchSpec):
        yield from _roles(match.not_, (*path, "not"))


def _names(values: Values | None, path: Path) -> Iterator[tuple[str, Path]]:
    match values:
        case str():
            yield values, path
        case list():
            for index, each in enumerate(values):
                yield each, (*path, index)
        case _:
            return


def _role_asked(node: Node) -> Node | None:
    """The literal of `contains(caller.roles, 'literal')`."""
    if node.kind != "function_expression" or node.value != "contains" or len(node.children) != 2:
        return None
    where, what = node.children
    fields = [each.value for each in where.walk() if each.kind == "field"]
    if fields == ["caller", "roles"] and what.kind == "literal" and isinstance(what.value, str):
        return what
    return None

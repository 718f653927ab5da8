"""Rules that a client can lift by what it says of itself."""

from collections.abc import Iterator
from typing import Final

from engine.actions import ACTIONS, Kind
from engine.diagnostics import Diagnostic
from engine.language.reads import reads_of
from engine.policy.names import Path
from engine.policy.spec import MatchSpec, RuleSpec

from .subject import Subject

CLAIMED: Final = (
    ("caller", "agent"),
    ("request", "headers"),
    ("request", "params"),
    ("session", "id"),
    ("session", "kind"),
    ("session", "thread"),
)
"""What the client says of itself and its session; nobody has checked it."""

_COUNTED: Final = frozenset({"rate_limit", "budget"})
_GUARDS: Final = frozenset({Kind.PROTECT, Kind.VERDICT, Kind.METER})


def lifted_by_the_client(subject: Subject) -> Iterator[Diagnostic]:
    """W423: an exception or an `unless` that rests only on what the client says of itself.

    The user agent, the headers and the session are the client's word: whoever wants to be rid of the rule sends what
    lifts it. Rest it on what the proxy knows: `caller.id`, `caller.team`, `caller.roles`, `caller.key`.

    Example:
        when: request.stream
        unless: request.headers."x-bypass" == 'yes'  # <--

    Use instead:
        when: request.stream
        unless: contains(caller.roles, 'admin')
    """
    guards = {rule.id for rule in subject.spec.rules if _guards(rule)}
    help = "rest it on caller.id, team, roles or key, which the proxy has checked"
    for index, rule in enumerate(subject.spec.rules):
        path: Path = ("rules", index, "unless")
        if rule.id in guards and rule.unless is not None and _only_claimed(subject, path):
            yield subject.warn(423, "any client can say what lifts this rule", path, help)
    for index, each in enumerate(subject.spec.exceptions):
        path = ("exceptions", index)
        keys = _keys(each.match)
        claimed = keys <= {"agent"} and (each.when is None or _only_claimed(subject, (*path, "when")))
        if claimed and (keys or each.when is not None) and each.rule.rpartition("/")[2] in guards:
            yield subject.warn(423, "any client can say what excepts it from this rule", path, help)


def counted_by_the_client(subject: Subject) -> Iterator[Diagnostic]:
    """W467: a limit or budget is counted by what the client says of itself.

    Whoever changes the header, the parameter or the session that it is counted by gets another account, which is full
    again. Count by what the proxy knows: `caller.id`, `caller.team`, `caller.key`, `attempt.model`.

    Example:
        rules:
          - id: spending
            phase: attempt
            actions:
              - budget: {key: "request.params.user || ''", limit: 5, window: day}  # <--

    Use instead:
        rules:
          - id: spending
            phase: attempt
            actions:
              - budget: {key: caller.id, limit: 5, window: day}
    """
    for _, name, written, path in subject.steps():
        if (
            name in _COUNTED
            and isinstance(written, dict)
            and "key" in written
            and _only_claimed(subject, (*path, "key"))
        ):
            help = "count by caller.id, caller.team or caller.key, which the proxy has checked"
            yield subject.warn(467, "any client can say what gives it another account", (*path, "key"), help)


def _guards(rule: RuleSpec) -> bool:
    return any(ACTIONS[name].kind in _GUARDS for step in rule.actions for name in step if name in ACTIONS)


def _only_claimed(subject: Subject, path: Path) -> bool:
    """Whether all that the conditions at and below a place read is claimed, and they read something."""
    names = subject.names.scope
    uses = [use for use in subject.names.uses if use.path[: len(path)] == path]
    reads = {read for use in uses for read in reads_of(use.node, names)}
    return bool(reads) and all(read[:2] in CLAIMED for read in reads)


def _keys(match: MatchSpec | None) -> set[str]:
    if match is None:
        return set()
    return {field for field in match.__struct_fields__ if getattr(match, field) is not None}

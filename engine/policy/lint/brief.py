"""What must be known of a file to judge it beside others: small, and plain data that can be kept."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from engine.actions import ACTIONS, Kind
from engine.diagnostics import Diagnostic, Where
from engine.model.decision import Mode
from engine.model.phases import Phase
from engine.policy.commands import Command
from engine.policy.compile import Judged
from engine.policy.rule import Rule

from .normal import names_of, parts
from .subject import Subject

_PLAIN: Final = frozenset({Kind.VERDICT, Kind.CHOICE})


class RuleBrief(msgspec.Struct, frozen=True, kw_only=True):
    """One rule: when it matches, in comparable parts, and what it decides."""

    name: str
    phase: Phase
    priority: int
    position: int
    where: Where
    live: bool
    exceptable_by: tuple[str, ...]
    indexed: bool
    match: Mapping[str, tuple[str, ...]]
    scope: Mapping[str, tuple[str, ...]]
    excluded: str
    """What `not:` says, as one text."""
    conditions: tuple[str, ...]
    always: bool
    """Whether nothing but its match and its condition keeps it from acting: no `unless`, limit, rollout or exception."""
    decides: Mapping[str, str]
    """Its verdicts and choices: the action, and what is written for it."""
    writes: Mapping[str, str]
    """The fields that it sets, and to what."""
    only: bool
    """Whether it does nothing but decide."""


class ForeignBrief(msgspec.Struct, frozen=True):
    """An exception to a rule of another file, and what is wrong with it in the phase of that rule."""

    rule: str
    where: Where
    findings: Mapping[str, tuple[Diagnostic, ...]]


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """One sound file."""

    policy: str
    where: Where
    rules: tuple[RuleBrief, ...]
    foreign: tuple[ForeignBrief, ...] = ()
    commands: tuple[Command, ...] = ()


def brief_of(judged: Judged, subject: Subject) -> Brief | None:
    """What others must know of a file; None where it has an error."""
    linked, checked = judged.linked, judged.checked
    if linked is None or checked is None:
        return None
    return Brief(
        policy=subject.spec.policy,
        where=subject.names.locate(("policy",)),
        rules=tuple(_rule(each, subject) for each in linked.rules),
        foreign=tuple(
            ForeignBrief(each.rule, each.where, {phase.value: each.bind(phase, True).diagnostics for phase in Phase})
            for each in linked.foreign
        ),
        commands=linked.commands,
    )


def _rule(rule: Rule, subject: Subject) -> RuleBrief:
    spec = subject.spec.rules[rule.position]
    excluded = names_of(subject, spec.match.not_ if spec.match is not None else None)
    kinds = {step.action.kind for step in rule.steps}
    return RuleBrief(
        name=rule.name,
        phase=rule.phase,
        priority=rule.priority,
        position=rule.position,
        where=subject.document.value(("rules", rule.position, "id")),
        live=rule.live,
        exceptable_by=rule.exceptable_by,
        indexed=rule.index is not None or rule.mode is Mode.OFF,
        match=names_of(subject, spec.match),
        scope=names_of(subject, subject.spec.scope),
        excluded=msgspec.json.encode(excluded, order="sorted").decode() if excluded else "",
        conditions=tuple(sorted(parts(subject, spec.when, ("rules", rule.position, "when")))),
        always=rule.live
        and spec.unless is None
        and spec.limit is None
        and rule.rollout is None
        and not rule.exemptions
        and not rule.exceptable_by,
        decides=dict(_decides(spec.actions)),
        writes=dict(_writes(spec.actions)),
        only=kinds <= _PLAIN,
    )


def _decides(steps: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for step in steps:
        for name, written in step.items():
            gives_in = isinstance(written, dict) and written.get("then") == "allow"
            if name in ACTIONS and ACTIONS[name].kind in _PLAIN and not gives_in:
                yield name, msgspec.json.encode(written, order="sorted").decode()


def _writes(steps: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for step in steps:
        written = step.get("set")
        if isinstance(written, dict) and isinstance(written.get("path"), str):
            yield written["path"], msgspec.json.encode(written.get("value"), order="sorted").decode()

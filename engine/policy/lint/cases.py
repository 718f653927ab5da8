"""Tests that can never pass, because they speak of what does not exist."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema

from engine.diagnostics import Diagnostic, suggestion
from engine.model.events import event_schema
from engine.model.phases import Phase
from engine.policy.names import Path
from engine.policy.read import misfits
from engine.policy.spec import ExpectSpec

from .subject import Subject


def impossible_tests(subject: Subject) -> Iterator[Diagnostic]:
    """E439: a test whose event cannot exist, or that expects something of a rule that the file does not have.

    It fails whatever the rules say, and a policy whose own test fails does not go live. The event's fields are those of
    its phase; the rules are those of the file, by their short or their full name.

    Example:
        rules:
          - {id: stop, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
        tests:
          - {name: it stops, given: {request: {modle: gpt-5}}, expect: {by: stop}}  # <--

    Use instead:
        rules:
          - {id: stop, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
        tests:
          - {name: it stops, given: {request: {model: gpt-5}}, expect: {by: stop}}
    """
    for index, case in enumerate(subject.spec.tests):
        kinds = ["given"] if isinstance(case.given, dict) else []
        kinds += [name for name in ("steps", "turns") if getattr(case, name)]
        if len(kinds) != 1:
            message = f"a test is about {' and '.join(kinds)} at once" if kinds else "a test is about no event"
            help = "`given` is one event, `steps` are several, `turns` are a conversation"
            yield subject.wrong(439, message, ("tests", index), help)
        for place, given, expect in case.events:
            yield from _impossible(subject, ("tests", index, *place), given, expect)


def _impossible(subject: Subject, at: Path, written: Mapping[str, Any], expected: ExpectSpec) -> Iterator[Diagnostic]:
    known = [rule.id for rule in subject.spec.rules]
    full = [f"{subject.spec.policy}/{name}" for name in known]
    given: Path = (*at, "given")
    phase = written.get("phase", Phase.REQUEST.value)
    if phase not in list(Phase):
        message = f"there is no phase {phase!r}"
        help = suggestion(str(phase), [each.value for each in Phase])
        yield subject.wrong(439, message, (*given, "phase"), help)
    else:
        for each in misfits(written, _validator(Phase(phase)), subject.document, given):
            yield subject.wrong(439, each.message, given, each.help, each.where)
    expect: Path = (*at, "expect")
    named: list[tuple[Path, str]] = [((*expect, "by"), expected.by)] if expected.by else []
    named += _listed((*expect, "rules"), expected.rules or ())
    named += _listed((*expect, "shadow"), expected.shadow or ())
    places = [(subject.names.locate(path), name) for path, name in named]
    places += [(subject.document.key((*expect, "outcomes", name)), name) for name in expected.outcomes or ()]
    for where, name in places:
        if name not in known and name not in full:
            yield subject.wrong(439, f"the file has no rule '{name}'", expect, suggestion(name, known), where)


def _listed(path: Path, names: Sequence[str]) -> list[tuple[Path, str]]:
    return [((*path, number), name) for number, name in enumerate(names)]


@functools.cache
def _validator(phase: Phase) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(event_schema(phase))

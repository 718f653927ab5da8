"""Rules that cannot fire, and conditions of which `match` lets only a part through."""

from collections.abc import Iterator
from typing import Any, Final

from engine.diagnostics import Diagnostic
from engine.language.globs import any_glob_matcher
from engine.policy.match import KEYS, WITHOUT_CASE
from engine.policy.names import Path
from engine.policy.spec import RuleSpec

from .normal import apart, covers, names_of, parts
from .normal import literals as texts_asked
from .subject import Subject

_REMOVE: Final = "remove the rule, or what contradicts it"


def never_fires(subject: Subject) -> Iterator[Diagnostic]:
    """W444: a rule that no event can match.

    A rule that never fires looks like a guard and is none. Its `when` is always false, its `unless` is always true or
    says nothing that `when` does not say already, or its `match` excludes what its own `not:`, its `when` or the file's
    `scope` asks for. Whoever wrote it meant something else.

    Example:
        rules:
          - id: no-previews
            phase: request
            match: {model: "gpt-5*"}
            when: request.model == 'gpt-4.5-preview'  # <--
            actions: [block: "No previews."]

    Use instead:
        rules:
          - id: no-previews
            phase: request
            match: {model: "gpt-*"}
            when: request.model == 'gpt-4.5-preview'
            actions: [block: "No previews."]
    """
    for index, rule in enumerate(subject.spec.rules):
        found = next(_impossible(subject, rule, ("rules", index)), None)
        if found is not None:
            path, why = found
            yield subject.warn(444, f"rule '{rule.id}' can never fire: {why}", path, _REMOVE)


def narrower_match(subject: Subject) -> Iterator[Diagnostic]:
    """W445: a condition names values that the rule's `match` never lets through.

    `match` is looked at first, and a value that it leaves out never reaches `when`. The rule is narrower than its
    condition says, and the value that was added to the condition alone is not guarded.

    Example:
        rules:
          - id: no-shells
            phase: tool_call
            match: {tool: [bash, sh]}
            when: contains(['bash', 'sh', 'zsh'], tool.name)  # <--
            actions: [block: "No shells."]

    Use instead:
        rules:
          - id: no-shells
            phase: tool_call
            match: {tool: [bash, sh, zsh]}
            actions: [block: "No shells."]
    """
    for index, rule in enumerate(subject.spec.rules):
        for path, key, asked, fitting in _asked(subject, rule, ("rules", index)):
            missed = [each for each in asked if each not in fitting]
            if fitting and missed:
                names = ", ".join(f"'{each}'" for each in missed)
                message = f"`match` lets no {key} {names} through, which the condition asks for"
                yield subject.warn(445, message, path, f"add it to `match: {{{key}: ...}}`, or leave it out here")


def _impossible(subject: Subject, rule: RuleSpec, path: Path) -> Iterator[tuple[Path, str]]:
    """Where it stands that a rule cannot match, and why."""
    if _always(rule.when, False):
        yield (*path, "when"), "its condition is always false"
    if _always(rule.unless, True):
        yield (*path, "unless"), "its `unless` is always true"
    when, unless = parts(subject, rule.when, (*path, "when")), parts(subject, rule.unless, (*path, "unless"))
    if unless and unless.keys() <= when.keys():
        yield (*path, "unless"), "its `unless` is true wherever its `when` is"
    names = names_of(subject, rule.match)
    if rule.match is not None and rule.match.not_ is not None:
        for key, excluded in names_of(subject, rule.match.not_).items():
            if key in names and covers(excluded, names[key], key):
                yield (*path, "match", "not", key), f"`not:` takes away every {key} that it matches"
    for key, scoped in names_of(subject, subject.spec.scope).items():
        if key in names and names[key] and scoped and apart(names[key], scoped, key):
            yield (*path, "match", key), f"no {key} fits both it and the file's scope"
    for place, key, _, fitting in _asked(subject, rule, path):
        if not fitting:
            yield place, f"`match` lets no such {key} through"


def _asked(
    subject: Subject, rule: RuleSpec, path: Path
) -> Iterator[tuple[Path, str, tuple[str, ...], tuple[str, ...]]]:
    """Conditions on a field that `match` looks at too: where, the key, the values asked for, those that `match` lets pass."""
    names = names_of(subject, rule.match)
    fields = {KEYS[key].paths[rule.phase]: key for key in names if key in KEYS and rule.phase in KEYS[key].paths}
    for node in parts(subject, rule.when, (*path, "when")).values():
        for field, asked in texts_asked(node) if node is not None else ():
            key = fields.get(field)
            if key is None or not names[key]:
                continue
            fits = any_glob_matcher(names[key], ignore_case=key in WITHOUT_CASE)
            yield (*path, "when"), key, asked, tuple(each for each in asked if fits(each))


def _always(written: Any, value: bool) -> bool:
    match written:
        case bool():
            return written is value
        case {"all": list(children)}:
            return any(_always(each, value) for each in children) if not value else _each(children, value)
        case {"any": list(children)}:
            return any(_always(each, value) for each in children) if value else _each(children, value)
        case {"not": child}:
            return _always(child, not value)
        case _:
            return False


def _each(children: list[Any], value: bool) -> bool:
    return all(_always(each, value) for each in children)

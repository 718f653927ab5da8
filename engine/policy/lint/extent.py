"""What matches nothing, and most likely should match something."""

from collections.abc import Iterator

from engine.diagnostics import Diagnostic
from engine.policy.names import Path
from engine.policy.spec import MatchSpec, ScopeSpec

from .subject import Subject


def empty_lists(subject: Subject) -> Iterator[Diagnostic]:
    """W440: an empty list of names under `match` or `scope`.

    A list is any-of, so an empty one matches nobody and nothing: the rule is never applied. Leave the key out, where
    everything is meant. A set that is empty is not said: whoever configures it may want that.

    Example:
        match: {model: []}  # <--

    Use instead:
        match: {model: [gpt-5]}
    """
    spec = subject.spec
    yield from _empty(subject, spec.scope, ("scope",))
    for index, rule in enumerate(spec.rules):
        yield from _empty(subject, rule.match, ("rules", index, "match"))
    for index, each in enumerate(spec.exceptions):
        yield from _empty(subject, each.match, ("exceptions", index, "match"))


def _empty(subject: Subject, keys: MatchSpec | ScopeSpec | None, path: Path) -> Iterator[Diagnostic]:
    if keys is None:
        return
    for field, name in zip(keys.__struct_fields__, keys.__struct_encode_fields__, strict=True):
        match getattr(keys, field):
            case MatchSpec() as inner:
                yield from _empty(subject, inner, (*path, name))
            case [] | "" | [""]:
                message = f"'{name}' lists no name, and so nothing matches it"
                yield subject.warn(440, message, (*path, name), "name something, or leave the key out")

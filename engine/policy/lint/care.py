"""What a policy that others rely on should say; asked for only by `policy lint --strict`."""

from collections.abc import Iterator

from engine.diagnostics import Diagnostic

from .subject import Subject


def undescribed(subject: Subject) -> Iterator[Diagnostic]:
    """N427: a policy or rule without a description.

    Whoever is stopped by the rule, or has to change it, should not have to guess why it is there.

    Example:
        version: 1
        policy: example  # <--
        owner: platform@example.com
        rules: []

    Use instead:
        version: 1
        policy: example
        description: Nothing yet.
        owner: platform@example.com
        rules: []
    """
    if not subject.spec.description:
        yield subject.note(427, "the policy has no description", ("policy",), "description: what it is for")
    for index, rule in enumerate(subject.spec.rules):
        if not rule.description:
            path = ("rules", index, "id")
            yield subject.note(427, f"rule '{rule.id}' has no description", path, "description: why it exists")


def unowned(subject: Subject) -> Iterator[Diagnostic]:
    """N428: a policy without an owner.

    When it stops somebody who should not be stopped, it must be clear whom to ask.

    Example:
        version: 1
        policy: example  # <--
        description: Nothing yet.
        rules: []

    Use instead:
        version: 1
        policy: example
        description: Nothing yet.
        owner: platform@example.com
        rules: []
    """
    if not subject.spec.owner:
        yield subject.note(428, "the policy has no owner", ("policy",), "owner: whom to ask")


def untested(subject: Subject) -> Iterator[Diagnostic]:
    """N429: a rule of which no test expects anything.

    A rule counts as tested where an `expect` names it, under `by`, `rules`, `shadow` or `outcomes`.

    Example:
        - {id: stop, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}  # <--

    Use instead:
        rules:
          - {id: stop, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
        tests:
          - {name: it stops, given: {request: {model: gpt-5}}, expect: {by: stop}}
    """
    spec = subject.spec
    named: set[str] = set()
    for case in spec.tests:
        expect = case.expect
        named |= {expect.by or "", *(expect.rules or ()), *(expect.shadow or ()), *(expect.outcomes or ())}
    for index, rule in enumerate(spec.rules):
        if rule.id not in named and f"{spec.policy}/{rule.id}" not in named:
            path = ("rules", index, "id")
            yield subject.note(429, f"no test names rule '{rule.id}'", path, "add one under `tests:`")

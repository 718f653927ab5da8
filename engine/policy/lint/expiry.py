"""Exceptions whose day has passed, and those that change nothing."""

from collections.abc import Iterator
from datetime import date

from engine.diagnostics import Diagnostic
from engine.model.decision import Mode

from .normal import apart, names_of
from .subject import Subject


def expired_exceptions(subject: Subject) -> Iterator[Diagnostic]:
    """W405: an exception that no longer holds.

    The rule is enforced again for those whom it excepted, since the day after `expires`. Remove the exception, or give
    it a new day and a new reason.

    Example:
        rules:
          - {id: stop, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
        exceptions:
          - {rule: stop, match: {caller: bot}, reason: OPS-1, expires: 2020-01-31}  # <--

    Use instead:
        rules:
          - {id: stop, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
        exceptions:
          - {rule: stop, match: {caller: bot}, reason: OPS-1, expires: 2099-01-31}
    """
    for index, each in enumerate(subject.spec.exceptions):
        try:
            last = date.fromisoformat(each.expires)
        except ValueError:
            continue  # said where exceptions are linked
        if last < subject.today:
            message = f"the exception to '{each.rule}' expired on {each.expires}"
            yield subject.warn(405, message, ("exceptions", index, "expires"), "remove it, or give it a new day")


def ineffective_exceptions(subject: Subject) -> Iterator[Diagnostic]:
    """W449: an exception changes nothing, or takes the whole rule away.

    An exception for what the rule does not match, or from a rule that is off, excepts nobody, and its reason is then a
    wrong record. One without `match` and `when` lifts the rule for everybody: say `mode: off`, which everybody sees.

    Example:
        rules:
          - {id: no-gpt, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
        exceptions:
          - {rule: no-gpt, match: {model: "claude-opus-4"}, reason: OPS-1432, expires: 2099-01-31}  # <--

    Use instead:
        rules:
          - {id: no-gpt, phase: request, match: {model: "gpt-5"}, actions: [block: "No."]}
        exceptions:
          - {rule: no-gpt, match: {caller: release-bot}, reason: OPS-1432, expires: 2099-01-31}
    """
    rules = {rule.id: rule for rule in subject.spec.rules}
    for index, each in enumerate(subject.spec.exceptions):
        policy, _, name = each.rule.rpartition("/")
        rule = rules.get(name)
        if rule is None or policy not in ("", subject.spec.policy):
            continue
        path = ("exceptions", index)
        if each.match is None and each.when is None:
            help = "name somebody, or switch the rule off: mode: off"
            yield subject.warn(449, f"the exception lifts '{name}' for everybody", path, help)
        elif (rule.mode or subject.spec.mode) is Mode.OFF:
            yield subject.warn(449, f"'{name}' is off: there is nothing to except from", path, "remove it")
        else:
            matched, excepted = names_of(subject, rule.match), names_of(subject, each.match)
            never = next((key for key in matched.keys() & excepted if apart(matched[key], excepted[key], key)), None)
            if never is not None:
                message = f"'{name}' never matches such a {never}: the exception changes nothing"
                yield subject.warn(449, message, (*path, "match", never), "name what the rule matches, or remove it")

"""Exceptions whose day has passed."""

from collections.abc import Iterator
from datetime import date

from engine.diagnostics import Diagnostic

from .subject import Subject


def expired_exceptions(subject: Subject) -> Iterator[Diagnostic]:
    """W405: an exception that no longer holds.

    The rule is enforced again for those whom it excepted, since the day after `expires`. Remove the exception, or give
    it a new day and a new reason.
    """
    for index, each in enumerate(subject.spec.exceptions):
        try:
            last = date.fromisoformat(each.expires)
        except ValueError:
            continue  # said where exceptions are linked
        if last < subject.today:
            message = f"the exception to '{each.rule}' expired on {each.expires}"
            yield subject.warn(405, message, ("exceptions", index, "expires"), "remove it, or give it a new day")

"""Secrets that were written into a policy."""

import functools
import re
from collections.abc import Iterator
from typing import Final

from engine.diagnostics import Diagnostic, warning
from engine.language.patterns import PatternSet, compile_pattern
from engine.policy.names import pattern_parts
from engine.policy.read import read_policy
from engine.policy.sources import pack_source

from .subject import Subject

_LOOKS_RANDOM: Final = re.compile(
    r"(?=[A-Za-z0-9+/_=.:@-]*[0-9])(?=[A-Za-z0-9+/_=.:@-]*[A-Za-z])[A-Za-z0-9+/_=.:@-]{16,}|PRIVATE KEY"
)
_SAMPLE: Final = re.compile(r"(?i)fake|sample|example|not-?real|dead0?beef|placeholder|redacted")
"""What says of itself that it is no secret, as in the tests of a policy."""


def written_secrets(subject: Subject) -> Iterator[Diagnostic]:
    """W465: a secret stands in the policy.

    Policies are kept in version control, shown in reviews and copied to every replica: whoever reads them has the
    secret. They are looked for with the patterns of the pack `secrets`. Take it out, and replace it at its provider; a
    sample in a test says of itself that it is one (`fake`, `example`).

    Example:
        rules:
          - id: mark
            phase: request
            actions:
              - log: "token glpat-w3Rk9sTq_V2mXc7LpZ4d"  # <--

    Use instead:
        rules:
          - id: mark
            phase: request
            actions:
              - log: "token of {{ caller.id }}"
    """
    source = subject.document.source
    if not _LOOKS_RANDOM.search(source):
        return
    for found in _known_secrets().find(source):
        if not _SAMPLE.search(source[found.start : found.end]):
            where = subject.document.span(found.start, found.end)
            message = f"this looks like a secret ({found.name})"
            yield warning(465, message, where, "take it out of the file, and replace it at its provider")


@functools.cache
def _known_secrets() -> PatternSet:
    """The patterns of the shipped pack."""
    source = pack_source("secrets")
    assert source is not None, "the pack is shipped"
    spec = read_policy(source.text, source.file).spec
    assert spec is not None, "the pack is right"
    patterns = [
        compile_pattern(name, *pattern_parts(written))
        for written_set in spec.patterns.values()
        for name, written in written_set.items()
    ]
    return PatternSet("secrets", patterns)

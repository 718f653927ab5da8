"""Every lint rule, in one list."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from engine.diagnostics import Diagnostic

from .care import undescribed, unowned, untested
from .cases import impossible_tests
from .characters import cut_by_comment, mixed_scripts, unseen_characters
from .commands import unanswered_commands, undeclared_commands
from .expiry import expired_exceptions, ineffective_exceptions
from .extent import empty_lists
from .halves import redaction_without_twin, tools_without_guard
from .models import misspelt_models
from .never import narrower_match, never_fires
from .roles import unknown_roles
from .secrets import written_secrets
from .shadow import forgotten_shadow, undated_shadow
from .silence import idle, unreasoned
from .subject import Subject
from .together import conflicting, overshadowed, unindexed
from .trust import counted_by_the_client, lifted_by_the_client
from .unused import unused_names
from .verdicts import gives_in, silent_about_absence

Check = Callable[[Subject], Iterator[Diagnostic]]

CHECKS: Final[tuple[Check, ...]] = (
    unused_names,
    expired_exceptions,
    ineffective_exceptions,
    lifted_by_the_client,
    counted_by_the_client,
    unknown_roles,
    redaction_without_twin,
    tools_without_guard,
    impossible_tests,
    empty_lists,
    unanswered_commands,
    undeclared_commands,
    never_fires,
    narrower_match,
    gives_in,
    silent_about_absence,
    forgotten_shadow,
    unseen_characters,
    mixed_scripts,
    cut_by_comment,
    written_secrets,
    misspelt_models,
)
STRICT: Final[tuple[Check, ...]] = (undescribed, unowned, untested, undated_shadow)
TOGETHER: Final[tuple[Callable[..., Any], ...]] = (overshadowed, conflicting, unindexed, unreasoned, idle)
"""Rules that look at more than one file, or at comments; their docstrings are pages like those of the others."""

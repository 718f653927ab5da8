"""What surrounds the policy files: the sources that they come from with their grants, and what the configuration names."""

from collections.abc import Mapping
from typing import Final

import msgspec

from .spec import ScopeSpec

TRUSTED_ONLY: Final = frozenset({"call", "ask", "python", "notify"})
"""Actions that a scoped source may use only where it is granted them."""


class Grant(msgspec.Struct, frozen=True):
    """What a source of policies may do; it is ANDed with what its files say.

    `actions` are the guarded ones that it may use, and `global` for writes to global state; None: all, where unscoped.
    """

    scope: ScopeSpec | None = None
    max_priority: int | None = None
    actions: tuple[str, ...] | None = None

    def allows(self, action: str) -> bool:
        return action not in TRUSTED_ONLY or self._names(action)

    @property
    def allows_global_state(self) -> bool:
        return self._names("global")

    def _names(self, guarded: str) -> bool:
        return self.scope is None if self.actions is None else guarded in self.actions


UNLIMITED: Final = Grant()


class Catalogue(msgspec.Struct, frozen=True):
    """What the configuration names; None where a lint without configuration cannot know it."""

    backends: tuple[str, ...] | None = None
    routes: Mapping[str, str] | None = None
    roles: tuple[str, ...] | None = None
    models: Mapping[str, tuple[str, ...]] | None = None
    """For each backend the models that it lists, as names and globs."""


UNKNOWN: Final = Catalogue()

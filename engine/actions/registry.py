"""One decorator makes a function an action: its phases, its kind, its typed parameters, and its docstring as its page."""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar, get_type_hints

import msgspec

from engine.diagnostics import LexgateError
from engine.language import Env
from engine.model.effects import Effect
from engine.model.phases import Phase

from .params import Params


class ActionError(LexgateError):
    """An action cannot be done on this event; what that means is the rule's `on_error`."""


class Kind(StrEnum):
    """What sort of thing an action does; it decides the pass, and what an error in the rule means."""

    PROTECT = "protective transform"
    TRANSFORM = "transform"
    VERDICT = "verdict"
    CHOICE = "choice"
    METER = "meter"
    STATE = "state"
    OBSERVE = "observe"


class Pass(StrEnum):
    """Evaluation goes through an event in this order."""

    TRANSFORM = "transform"
    DECIDE = "decide"
    OBSERVE = "observe"


PASS_OF: Final[Mapping[Kind, Pass]] = {
    Kind.PROTECT: Pass.TRANSFORM,
    Kind.TRANSFORM: Pass.TRANSFORM,
    Kind.VERDICT: Pass.DECIDE,
    Kind.CHOICE: Pass.DECIDE,
    Kind.METER: Pass.DECIDE,
    Kind.STATE: Pass.OBSERVE,
    Kind.OBSERVE: Pass.OBSERVE,
}

DENIES_ON_ERROR: Final[frozenset[Kind]] = frozenset({Kind.PROTECT, Kind.VERDICT, Kind.METER})
"""The kinds that fail closed unless the rule says otherwise."""


class Moment(msgspec.Struct, frozen=True):
    """One event as an action meets it: the document as earlier transforms left it, and what conditions are run with."""

    phase: Phase
    event: Mapping[str, Any]
    env: Env
    rule: str
    placeholder: Callable[[str, str], str] | None = None
    """Names a redacted value by a stand-in that can be restored: (pattern, value) -> placeholder."""


P = TypeVar("P", bound=Params)
Run = Callable[[P, Moment], Iterator[Effect]]


class Action(msgspec.Struct, frozen=True):
    """A registered action. `reads` are the event fields that it looks at by itself, besides its templates."""

    name: str
    kind: Kind
    phases: frozenset[Phase]
    params: type[Params]
    run: Callable[[Any, Moment], Iterator[Effect]]
    reads: Mapping[Phase, frozenset[tuple[str, ...]]]
    doc: str

    @property
    def pass_(self) -> Pass:
        return PASS_OF[self.kind]


ACTIONS: Final[dict[str, Action]] = {}
"""Every action by name. Filled by the decorator when `engine.actions` is imported."""


def action(
    *phases: Phase, kind: Kind, reads: Mapping[Phase, frozenset[tuple[str, ...]]] | None = None
) -> Callable[[Run[P]], Run[P]]:
    """Register a function `(params, moment) -> effects` under its own name (a trailing underscore is left out)."""

    def register(run: Run[P]) -> Run[P]:
        name = run.__name__.rstrip("_")
        params: Any = next(iter(get_type_hints(run).values()))
        ACTIONS[name] = Action(name, kind, frozenset(phases), params, run, reads or {}, (run.__doc__ or "").strip())
        return run

    return register


ALL_PHASES: Final = tuple(Phase)

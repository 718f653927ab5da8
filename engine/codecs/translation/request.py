"""A request on its way to a backend of another protocol: lifted, fitted, lowered, and its losses judged."""

from collections.abc import Sequence
from typing import Final

import msgspec

from engine.codecs.base import BadRequest, Problem
from engine.codecs.neutral import Loss, Translatable
from engine.model.exchange import Exchange, Protocol

from .custom import HAVE_CUSTOM, without_custom
from .features import BY_NAME, judged
from .names import LIMITS, ToolNames, fitted

UNTRANSLATABLE: Final = "not_translatable"
"""The code of a request that a backend of another protocol cannot be asked."""


class Translated(msgspec.Struct, frozen=True):
    """`exchange` is in the backend's nouns. `custom` are the tools of free text that are offered as functions, by the
    client's names; `dropped` is what did not come across."""

    exchange: Exchange
    names: ToolNames
    custom: frozenset[str]
    dropped: Sequence[str]


def translated(
    exchange: Exchange, client: Translatable, backend: Translatable, target: Protocol, to: str
) -> Translated:
    """The request for the backend `to`, which speaks `target`. Raises BadRequest where the table of features says so."""
    lifted = client.lift(exchange)
    neutral, losses = lifted.exchange, list(lifted.losses)
    custom: frozenset[str] = frozenset()
    if target not in HAVE_CUSTOM:
        neutral, custom, more = without_custom(neutral)
        losses += more
    neutral, names = fitted(neutral, LIMITS[target])
    lowered = backend.lower(neutral)
    losses += lowered.losses
    verdict = judged(losses, target)
    if verdict.refused is not None:
        raise BadRequest(_problem(verdict.refused, target, to))
    return Translated(lowered.exchange, names, custom, verdict.dropped)


def _problem(loss: Loss, target: Protocol, to: str) -> Problem:
    what = BY_NAME[loss.feature].what
    at = f" ({loss.where})" if loss.where else ""
    message = f"The backend '{to}' is asked in the protocol {target}, which cannot carry this request: {what}{at}."
    return Problem(status=400, message=message, code=UNTRANSLATABLE, param=loss.where or None)

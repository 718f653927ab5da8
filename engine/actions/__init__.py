"""The actions: one typed function each. Importing this room fills the registry."""

from . import (
    budget,
    compact,
    drop_messages,
    header,
    inject,
    observe,
    pipe,
    rate_limit,
    redact,
    resilience,
    route,
    set,
    state,
    tools,
    verdicts,
)
from .registry import ACTIONS, Action, Kind, Moment, Pass

__all__ = [
    "ACTIONS",
    "Action",
    "Kind",
    "Moment",
    "Pass",
    "budget",
    "compact",
    "drop_messages",
    "header",
    "inject",
    "observe",
    "pipe",
    "rate_limit",
    "redact",
    "resilience",
    "route",
    "set",
    "state",
    "tools",
    "verdicts",
]

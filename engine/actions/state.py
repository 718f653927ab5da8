"""Keep something for the events that follow; every key has a time to live."""

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from engine.model.effects import Count, Effect, Forget, Label, Remember, Scope

from .params import Params, Seconds, Text, Value, length
from .registry import ALL_PHASES, Kind, Moment, action

KeyText = Annotated[Text, Meta(description="The key; conditions read it as `var('key', default)`.")]
Ttl = Annotated[Seconds, Meta(description="How long it is kept after the last write.")]
Whose = Annotated[Scope, Meta(description="Whose it is: of the session, the caller, the team, or everybody's.")]


class RememberParams(Params, frozen=True, kw_only=True):
    key: KeyText
    value: Annotated[Value, Meta(description="Any JSON value.")]
    ttl: Ttl = length("1d")
    in_: Whose = msgspec.field(default=Scope.SESSION, name="in")


class ForgetParams(Params, frozen=True, kw_only=True):
    key: KeyText
    in_: Whose = msgspec.field(default=Scope.SESSION, name="in")
    lone = "key"


class CountParams(Params, frozen=True, kw_only=True):
    key: KeyText
    by: Annotated[int, Meta(description="How much is added.")] = 1
    ttl: Ttl = length("1d")
    in_: Whose = msgspec.field(default=Scope.SESSION, name="in")
    lone = "key"


class LabelParams(Params, frozen=True, kw_only=True):
    name: Annotated[Text, Meta(description="The label; `match: {label: name}` and `session.labels` read it.")]
    ttl: Ttl = length("1d")
    in_: Whose = msgspec.field(default=Scope.SESSION, name="in")
    lone = "name"


@action(*ALL_PHASES, kind=Kind.STATE)
def remember(params: RememberParams, moment: Moment) -> Iterator[Effect]:
    """Keep a value under a key. Example: `remember: {key: dirty, value: true, ttl: 2h}`."""
    key, value = params.key(moment.event, moment.env), params.value(moment.event, moment.env)
    yield Remember(params.in_, key, value, params.ttl)


@action(*ALL_PHASES, kind=Kind.STATE)
def forget(params: ForgetParams, moment: Moment) -> Iterator[Effect]:
    """Remove a key. Example: `forget: dirty`."""
    yield Forget(params.in_, params.key(moment.event, moment.env))


@action(*ALL_PHASES, kind=Kind.STATE)
def count(params: CountParams, moment: Moment) -> Iterator[Effect]:
    """Add to a number. Example: `count: {key: edits, ttl: 1h}`, read as `` var('edits', `0`) ``."""
    yield Count(params.in_, params.key(moment.event, moment.env), params.by, params.ttl)


@action(*ALL_PHASES, kind=Kind.STATE)
def label(params: LabelParams, moment: Moment) -> Iterator[Effect]:
    """Mark the session, caller, team or everybody. Example: `label: {name: saw-secret, ttl: 8h}`."""
    yield Label(params.in_, params.name(moment.event, moment.env), params.ttl)

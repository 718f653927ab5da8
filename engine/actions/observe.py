"""Say what happened, without changing it: a log line, a tag, a metric, a webhook."""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from engine.model.effects import Effect, Log, Metric, Notify, Record, Tag
from engine.model.events import FIELDS
from engine.model.phases import Phase

from .params import Params, Text, Url, Value, text
from .registry import ALL_PHASES, Kind, Moment, action


class LogParams(Params, frozen=True, kw_only=True):
    message: Annotated[Text, Meta(description="The line; it is logged as JSON.")]
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Its level.")] = "info"
    lone = "message"


class TagParams(Params, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="The tag's name.", pattern="^[a-z][a-z0-9_.-]{0,63}$")]
    value: Annotated[Text, Meta(description="Its value.")] = text("true")
    lone = "name"


class MetricParams(Params, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="Shown as `lexgate_rule_NAME_total`.", pattern="^[a-z][a-z0-9_]{0,63}$")]
    by: Annotated[float, Meta(description="How much the counter grows.", gt=0)] = 1.0
    labels: Annotated[
        dict[
            Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,31}$")],
            Literal["team", "role", "model", "backend", "protocol", "tool"],
        ],
        Meta(description="Label names, each with the field that it shows; only fields with few values may be shown."),
    ] = msgspec.field(default_factory=dict)
    lone = "name"


class NotifyParams(Params, frozen=True, kw_only=True):
    url: Annotated[
        Url, Meta(description="https, or http to a host that the operator lists; templates in path and query only.")
    ]
    body: Annotated[Value | None, Meta(description="The JSON body; default: rule, phase, caller, model and time.")] = (
        None
    )


class RecordParams(Params, frozen=True, kw_only=True):
    pass


@action(*ALL_PHASES, kind=Kind.OBSERVE)
def record(params: RecordParams, moment: Moment) -> Iterator[Effect]:  # noqa: ARG001 - an action's signature
    """Record the exchange for `policy replay`, from this event on, whatever `record.sample` says. Example: `record: {}`."""
    yield Record()


@action(*ALL_PHASES, kind=Kind.OBSERVE)
def log(params: LogParams, moment: Moment) -> Iterator[Effect]:
    """Write a line to the log. Example: `log: {message: "large request of {{ caller.id }}", level: warning}`."""
    yield Log(params.message(moment.event, moment.env), params.level)


@action(*ALL_PHASES, kind=Kind.OBSERVE)
def tag(params: TagParams, moment: Moment) -> Iterator[Effect]:
    """Put a name and value into the decision record. Example: `tag: {name: kind, value: title-request}`."""
    yield Tag(params.name, params.value(moment.event, moment.env))


def _reads(fields: Collection[tuple[str, str]]) -> dict[Phase, frozenset[tuple[str, ...]]]:
    return {phase: frozenset(path for path in fields if path[0] in FIELDS[phase]) for phase in Phase}


_SHOWN: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "team": (("caller", "team"),),
    "role": (("caller", "roles"),),
    "model": (("attempt", "model"), ("request", "model")),
    "backend": (("attempt", "backend"),),
    "protocol": (("request", "protocol"),),
    "tool": (("tool", "name"), ("result", "tool")),
}
"""Where each field that a metric may show stands; the first of them that the phase has counts."""


@action(*ALL_PHASES, kind=Kind.OBSERVE, reads=_reads([path for paths in _SHOWN.values() for path in paths]))
def metric(params: MetricParams, moment: Moment) -> Iterator[Effect]:
    """Count in a metric of the rule's own. Example: `metric: {name: large_requests, labels: {team: team}}`."""
    labels = tuple((name, _shown(field, moment.event)) for name, field in params.labels.items())
    yield Metric(params.name, params.by, labels)


def _shown(field: str, event: Mapping[str, Any]) -> str:
    """A label's value; several roles are one text, whatever their order. "" where the event has none."""
    for section, name in _SHOWN[field]:
        value = event.get(section, {}).get(name)
        if value:
            return value if isinstance(value, str) else ",".join(sorted(value))
    return ""


@action(
    *ALL_PHASES,
    kind=Kind.OBSERVE,
    reads=_reads([("caller", "id"), ("request", "model"), ("now", "iso")]),
)
def notify(params: NotifyParams, moment: Moment) -> Iterator[Effect]:
    """Send a JSON body to a webhook, beside the exchange: it waits for nothing and changes nothing.

    Example: `notify: {url: "https://hooks.example.com/lexgate"}`.
    """
    event = moment.event
    body = {
        "rule": moment.rule,
        "phase": moment.phase.value,
        "caller": event.get("caller", {}).get("id", ""),
        "model": event.get("request", {}).get("model", ""),
        "at": event.get("now", {}).get("iso", ""),
    }
    if params.body is not None:
        body = params.body(event, moment.env)
    yield Notify(params.url(event, moment.env), body)

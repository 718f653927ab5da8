"""Recorded traffic: what a recording holds line by line, and how its events are put together again.

A recording is a file of JSON lines. The first line is a `Header`, every other one a `RecordedExchange`. The events of one
exchange share most of what they show: an event names the sections that differ from those of the events before it.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from .events import FIELDS, SECTIONS
from .phases import Phase

FORMAT: Final = "lexgate-traffic"
VERSION: Final = 1
Content = Literal["redacted", "full", "hash"]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a recording."""

    format: Annotated[Literal["lexgate-traffic"], Meta(description="What this file is.")] = FORMAT
    version: Annotated[Literal[1], Meta(description="The version of the format.")] = VERSION
    content: Annotated[Content, Meta(description="What was kept of texts: `record.content`.")] = "redacted"
    at: Annotated[str, Meta(description="When the file was begun, in UTC: ISO 8601.")] = ""
    lexgate: Annotated[str, Meta(description="The version of Lexgate that wrote it.")] = ""


class Decided(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was decided of one event, in short; the whole decision stands in the audit log under the event's id."""

    verdict: Annotated[str, Meta(description="The verdict; `allow` where it is left out.")] = "allow"
    by: Annotated[str, Meta(description="The rule whose verdict won.")] = ""
    rules: Annotated[tuple[str, ...], Meta(description="The rules that matched and were enforced.")] = ()
    shadow: Annotated[dict[str, str], Meta(description="Those that matched in shadow, and their verdicts.")] = {}
    patch: Annotated[
        dict[str, list[dict[str, Any]]] | None,
        Meta(description="What each rule changed, as JSON Patch; null where it is not known: flowing text."),
    ] = {}
    route: Annotated[str, Meta(description="The route that was chosen.")] = ""
    code: Annotated[str, Meta(description="The code of a block.")] = ""
    metered: Annotated[bool, Meta(description="A counter refused, which no event shows.")] = False


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event as rules met it. Sections that it does not name are those of the events before it."""

    id: Annotated[str, Meta(description="The id of its decision; empty where no rule was asked.")] = ""
    phase: Annotated[Phase, Meta(description="The phase.")]
    sections: Annotated[dict[str, Any], Meta(description="Sections of the event (`request`, `tool`, ...).")] = {}
    seed: Annotated[str, Meta(description="What `random()` was seeded with.")] = ""
    facts: Annotated[dict[str, Any], Meta(description="What was read from the world before it was decided.")] = {}
    decision: Annotated[Decided, Meta(description="What was decided.")] = Decided()


class RecordedExchange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line: an exchange with its events in the order in which they happened."""

    exchange: Annotated[str, Meta(description="The exchange's id.")]
    at: Annotated[str, Meta(description="When it began, in UTC: ISO 8601.")]
    revision: Annotated[str, Meta(description="The policy revision that decided.")]
    caller: Annotated[str, Meta(description="The caller's id.")] = ""
    protocol: Annotated[str, Meta(description="What the client speaks.")] = ""
    model: Annotated[str, Meta(description="The model asked for.")] = ""
    events: Annotated[tuple[RecordedEvent, ...], Meta(description="Its events.")] = ()


def events_of(recorded: RecordedExchange) -> Iterator[tuple[RecordedEvent, dict[str, Any]]]:
    """Each event of an exchange with its whole document. Fields that a recording does not have are at their defaults."""
    known: dict[str, Any] = {}
    for each in recorded.events:
        for name, section in each.sections.items():
            defaults = _DEFAULTS.get(name)
            if defaults is not None and isinstance(section, dict):
                known[name] = section if len(section) == len(defaults) else {**defaults, **section}
        names = FIELDS[each.phase]
        document: dict[str, Any] = {name: known[name] if name in known else _DEFAULTS[name] for name in names}
        document["phase"] = each.phase.value
        yield each, document


_DEFAULTS: Final[Mapping[str, dict[str, Any]]] = {name: msgspec.to_builtins(each()) for name, each in SECTIONS.items()}


def traffic_schema() -> dict[str, Any]:
    """The JSON Schema of a recording's lines, committed as `schemas/traffic.schema.json`."""
    schemas, defs = msgspec.json.schema_components([Header, RecordedExchange], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "traffic.schema.json",
        "title": "Lexgate recorded traffic, one line",
        "anyOf": list(schemas),
        "$defs": defs,
    }

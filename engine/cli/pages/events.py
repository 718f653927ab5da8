"""The page of events: which parts each phase has, and every field of each part."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from engine.model.events import FIELDS, SECTIONS
from engine.model.phases import Phase

from .markdown import code, page, table, type_words, value

_INTRODUCTION: Final = """\
An event is the document that conditions, templates and `match` read. Every field of its phase exists and has a value;
null occurs only where the type says so, and inside open objects. `phase` itself is a field of every event."""


def events_page() -> str:
    rows = [[f"[{code(name)}](#{name})", *("✓" if name in FIELDS[p] else "" for p in Phase)] for name in SECTIONS]
    matrix = table(["part", *(code(phase.value) for phase in Phase)], rows)
    return page("Events", _INTRODUCTION, matrix, *(section(name) for name in SECTIONS))


def section(name: str) -> str:
    """The fields of one part of an event, those of nested objects below their path."""
    (reference,), defs = msgspec.json.schema_components([SECTIONS[name]])
    schema = defs[reference["$ref"].rpartition("/")[2]]
    fields = table(["field", "type", "default", "meaning"], _fields(schema, defs, name))
    return "\n\n".join([f"## {name}", str(schema.get("description", "")).strip(), fields])


def _fields(schema: dict[str, Any], defs: dict[str, Any], path: str) -> Iterator[list[str]]:
    for name, field in schema["properties"].items():
        at = f"{path}.{name}"
        inner, suffix = _nested(field, defs)
        words = type_words(field, defs)
        nullable = "null" in words
        if inner is not None:
            words = ("list of objects" if suffix else "object") + (" or null" if nullable else "")
        default = value(field["default"]) if "default" in field else ""
        yield [code(at), words, default, str(field.get("description", ""))]
        if inner is not None:
            yield from _fields(inner, defs, at + suffix)


def _nested(field: dict[str, Any], defs: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The object that a field holds, or a list of: `request.messages[]`."""
    for option in field.get("anyOf", [field]):
        items = option.get("items", {})
        for holder, suffix in ((option, ""), (items, "[]")):
            if isinstance(holder, dict) and "$ref" in holder:
                target = defs[holder["$ref"].rpartition("/")[2]]
                if "properties" in target:
                    return target, suffix
    return None, ""

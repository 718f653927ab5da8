"""The model told to others: the JSON Schema of the file, and every value with the layer that it came from."""

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.settings.judge import Steps, dotted
from engine.settings.layers import NAME, Layer, Loaded, all_paths, variable
from engine.settings.model import Settings
from engine.settings.presets import presets
from engine.settings.shapes import Shape, shape_at, shapes
from engine.settings.values import Seconds, Secret, Size, encode

_REFERENCE = {"type": "string", "pattern": r"\$\{"}


class Shown(msgspec.Struct, frozen=True):
    """One row of `policy config`; secrets are masked in `value`."""

    path: str
    value: str
    layer: Layer


class Option(msgspec.Struct, frozen=True):
    """One setting as the reference page shows it."""

    path: str
    variable: str
    description: str
    default: str
    required: bool


def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema of `lexgate.yaml`, with descriptions and defaults."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lexgate configuration",
        **_schema(Shape(Settings, section=Settings)),
    }


def describe(loaded: Loaded) -> list[Shown]:
    """Return every value in the order of the model, with its layer."""
    return list(_rows(loaded, (), Shape(Settings, section=Settings), loaded.settings))


def options() -> list[Option]:
    """Return every setting with its variable, description and default."""
    found = []
    for path in all_paths():
        shape = shape_at(path)
        assert shape is not None
        required = shape.default is msgspec.UNSET and path[-1] != NAME
        default = "" if shape.default is msgspec.UNSET else shown(shape.default)
        above = shape_at(path[:-1])
        description = shape.description or (above.description if above else "")
        found.append(Option(dotted(path), variable(path), description, default, required))
    return found


def shown(value: Any) -> str:
    """Return a value as a line of text, with secrets masked."""
    if isinstance(value, str):
        return value
    if isinstance(value, Secret):
        return str(value)
    return msgspec.json.encode(value, enc_hook=encode).decode()


def _rows(loaded: Loaded, path: Steps, shape: Shape, value: Any) -> Iterator[Shown]:
    if shape.section is not None and value is not None:
        for name, each in shapes(shape.section).items():
            yield from _rows(loaded, (*path, name), each, getattr(value, name))
    elif shape.map_of is not None and value:
        for name, each in value.items():
            yield from _rows(loaded, (*path, name), shape.map_of, each)
    else:
        yield Shown(dotted(path), shown(value), loaded.layer(path))


def _schema(shape: Shape) -> dict[str, Any]:
    made = _kind(shape)
    if shape.optional:
        made = {"anyOf": [made, {"type": "null"}]}
    if shape.description:
        made["description"] = shape.description
    if shape.default is not msgspec.UNSET and shape.section is None:
        made["default"] = msgspec.json.decode(msgspec.json.encode(shape.default, enc_hook=encode))
    return made


def _kind(shape: Shape) -> dict[str, Any]:
    if shape.section is not None:
        fields = shapes(shape.section)
        section: dict[str, Any] = {
            "type": "object",
            "description": (shape.section.__doc__ or "").strip(),
            "properties": {name: _schema(each) for name, each in fields.items()},
            "additionalProperties": False,
        }
        needed = [name for name, each in fields.items() if each.default is msgspec.UNSET]
        if required := [name for name in needed if name != shape.section.preset_for]:
            section["required"] = required
        return {"anyOf": [{"type": "string"}, section]} if shape.section.shorthand else section
    if shape.map_of is not None:
        item = _schema(shape.map_of)
        if shape.map_of.section is not None and "required" not in item:
            item = {"anyOf": [item, {"type": "null"}]}  # `secrets:` alone switches a pack on
        made: dict[str, Any] = {"type": "object", "additionalProperties": item}
        if shape.map_of.section is not None and (given := shape.map_of.section.preset_for):
            either = {"type": "object", "anyOf": [{"required": [given]}, {"required": ["preset"]}]}
            made["allOf"] = [{"patternProperties": {f"^(?!({'|'.join(presets())})$)": either}}]
        return made
    if shape.list_of is not None:
        item = _schema(shape.list_of)
        single = item if item.get("type") == "string" else {"type": "string"}
        return {"anyOf": [{"type": "array", "items": item}, single]}
    if shape.is_secret:
        return {"type": "string"}
    if shape.annotation in (Size, Seconds):
        return {"type": ["number" if shape.annotation is Seconds else "integer", "string"], "minimum": 0}
    leaf = {name: each for name, each in msgspec.json.schema(shape.annotation).items() if name != "description"}
    return leaf if shape.is_text or "anyOf" in leaf else {"anyOf": [leaf, _REFERENCE]}

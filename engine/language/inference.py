"""What can be said of a value from the types around it: fields, elements, unions, and what counts as true or false."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any, Final

from engine.language.types import ANYTHING, JSON_KINDS, NULL, Kind, Type
from engine.language.values import kind_of

UNKNOWN: Final = ANYTHING.without_null()
"""The type of a value about which a finding was made already, so that it causes no second one."""

_SCHEMA_KINDS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "null": ("null",),
    "boolean": ("boolean",),
    "integer": ("number",),
    "number": ("number",),
    "string": ("string",),
    "array": ("array",),
    "object": ("object",),
}
_NAMES: Final[Mapping[Kind, str]] = {
    "null": "null",
    "boolean": "a boolean",
    "number": "a number",
    "string": "a string",
    "array": "a list",
    "object": "an object",
    "expref": "an expression",
}


def type_from_schema(schema: Mapping[str, Any]) -> Type:
    """The type that a JSON Schema describes; every listed field is taken to be there, whether required or not."""
    return _from_schema(schema, schema.get("$defs", {}), ())


def _from_schema(schema: Any, defs: Mapping[str, Any], inside: tuple[str, ...]) -> Type:
    if not isinstance(schema, Mapping):
        return ANYTHING
    if (reference := schema.get("$ref")) is not None:
        name = reference.rpartition("/")[2]
        if name in inside:  # a schema that holds itself: known one level deep
            return ANYTHING
        return _from_schema(defs[name], defs, (*inside, name))
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return union(_from_schema(each, defs, inside) for each in schema[word])
    if "const" in schema:
        return type_of(schema["const"])
    if "enum" in schema:
        return union(map(type_of, schema["enum"]))
    if "type" not in schema:
        return ANYTHING
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kinds = frozenset(kind for name in names for kind in _SCHEMA_KINDS[name])
    items = _from_schema(schema.get("items"), defs, inside) if "array" in kinds else None
    properties: dict[str, Type] = {}
    values = None
    if "object" in kinds:
        properties = {name: _from_schema(each, defs, inside) for name, each in schema.get("properties", {}).items()}
        others = schema.get("additionalProperties", not properties)
        values = None if others is False else _from_schema(others, defs, inside)
    return Type(kinds, items=items, properties=properties, values=values)


def type_of(value: Any) -> Type:
    """The type that has this value alone."""
    kind = kind_of(value)
    match kind:
        case "null":
            return NULL
        case "array":
            return Type.array(union(map(type_of, value)) if value else ANYTHING)
        case "object":
            return Type.closed_object({name: type_of(each) for name, each in value.items()})
        case _:
            return Type(frozenset({kind}), enum=(value,))


def union(types: Iterable[Type]) -> Type:
    """The type of a value that is of one of these; of none, a type that nothing has."""
    return reduce(_either, types, Type(frozenset()))


def _either(left: Type, right: Type) -> Type:
    if left is right or not right.kinds:
        return left
    if not left.kinds:
        return right
    if is_dynamic(left) or is_dynamic(right):
        return ANYTHING if left.nullable or right.nullable else UNKNOWN
    return Type(
        left.kinds | right.kinds,
        items=_either_part(left, right, "array", lambda each: each.items or ANYTHING),
        properties=_either_properties(left, right),
        values=_either_values(left, right),
        enum=_either_enum(left, right),
    )


def _either_part(left: Type, right: Type, kind: Kind, part: Callable[[Type], Type]) -> Type | None:
    parts = [part(each) for each in (left, right) if kind in each.kinds]
    return union(parts) if parts else None


def _either_properties(left: Type, right: Type) -> Mapping[str, Type]:
    holders = [each for each in (left, right) if "object" in each.kinds]
    if len(holders) < 2:
        return holders[0].properties if holders else {}
    if is_open(left) or is_open(right):
        return {}
    names = [*left.properties, *(name for name in right.properties if name not in left.properties)]
    return {name: union(each.properties.get(name, NULL) for each in holders) for name in names}


def _either_values(left: Type, right: Type) -> Type | None:
    holders = [each for each in (left, right) if "object" in each.kinds]
    if len(holders) < 2:
        return holders[0].values if holders else None
    if not is_open(left) and not is_open(right):
        return None
    return union(value_of(each) for each in holders)


def _either_enum(left: Type, right: Type) -> tuple[Any, ...] | None:
    """Known where both sides list their values; null needs no listing, its kind says it."""
    if left.kinds == {"null"}:
        return right.enum
    if right.kinds == {"null"}:
        return left.enum
    if left.enum is None or right.enum is None:
        return None
    return (*left.enum, *(value for value in right.enum if not _listed(value, left.enum)))


def _listed(value: Any, values: tuple[Any, ...]) -> bool:
    return any(kind_of(value) == kind_of(each) and value == each for each in values)


def is_open(type: Type) -> bool:
    """Whether an object of this type may have any field."""
    return type.values is not None or not type.properties


def is_dynamic(type: Type) -> bool:
    """Whether nothing is known of the value but perhaps that it is not null."""
    return type.kinds >= JSON_KINDS - {"null"} and type.enum is None


def value_of(type: Type) -> Type:
    """The type of a value of an object, whatever its field."""
    if type.values is None and not type.properties:
        return ANYTHING
    return union([*type.properties.values(), *([type.values] if type.values is not None else [])])


def items_of(type: Type) -> Type:
    """The type of the elements of a list."""
    return type.items or ANYTHING


def falsy(type: Type) -> Type:
    """The values of the type that count as false: null, false, and what is empty."""
    kinds = type.kinds & {"null", "array"}
    if "boolean" in type.kinds and (type.enum is None or _listed(False, type.enum)):
        kinds |= {"boolean"}
    if "string" in type.kinds and (type.enum is None or "" in type.enum):
        kinds |= {"string"}
    if "object" in type.kinds and (is_open(type) or not type.properties):
        kinds |= {"object"}
    enum: tuple[Any, ...] | None = tuple(value for value in (False, "") if kind_of(value) in kinds)
    if kinds & {"array", "object"} or not enum:
        enum = None
    return Type(kinds, items=type.items if "array" in kinds else None, values=type.values, enum=enum)


def truthy(type: Type) -> Type:
    """The values of the type that count as true."""
    return type.without_null()


def disjoint(left: Type, right: Type) -> bool:
    """Whether no value is of both types, by kind."""
    return bool(left.kinds) and bool(right.kinds) and not left.kinds & right.kinds


def listed_apart(left: Type, right: Type) -> bool:
    """Whether both list their values, and have none in common."""
    if left.enum is None or right.enum is None or "null" in left.kinds & right.kinds:
        return False
    return not any(_listed(value, right.enum) for value in left.enum)


def in_words(type: Type) -> str:
    """`a string`, `a number or null`; for error messages."""
    if is_dynamic(type):
        return "any value"
    names = [name for kind, name in _NAMES.items() if kind in type.kinds and kind != "null"]
    if "null" in type.kinds:
        names.append("null")
    return " or ".join(names) or "nothing"


def written(value: Any) -> str:
    """A value as a condition writes it: `'text'`, or JSON between backticks."""
    return f"'{value}'" if isinstance(value, str) else f"`{json.dumps(value, ensure_ascii=False)}`"

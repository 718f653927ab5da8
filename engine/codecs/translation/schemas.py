"""JSON Schemas in the dialect of the provider that reads them: by tables of keywords, so that a refusal is one word away.

Facts: OpenAI "Structured outputs" (supported schemas), Anthropic "Structured outputs" (JSON Schema limitations) and "Tool
use", Gemini API `Schema` (the fields of `parameters`; anything else is "Unknown name ... Cannot find field").
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from engine.codecs.json_text import encode_json

Schema = Mapping[str, Any]

ANYTHING: Final[Schema] = {"type": "object", "properties": {}}
"""What a tool takes that says nothing of its arguments."""

DEPTH: Final = 24
"""How deep references are followed: a schema that holds itself has no end."""

_OF_ONE: Final = frozenset(("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"))
_OF_MANY: Final = frozenset(("properties", "$defs", "definitions", "patternProperties", "dependentSchemas"))
_LISTS: Final = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider reads of a schema.

    `kept`: its keywords, None for all. `formats`: of each type those that it knows, None for any. `spelled_out`: what is
    left out is said in the description. `closed`: every object must say that it has no other properties. `inlined`:
    references are replaced by what they name. `one_type`: `type` is one word, and null is `nullable`.
    """

    kept: frozenset[str] | None = None
    formats: Mapping[str, frozenset[str]] | None = None
    spelled_out: bool = False
    closed: bool = False
    inlined: bool = False
    one_type: bool = False
    items: bool = False
    """An array must say what it is of."""


OPENAI: Final = Dialect(items=True)
"""`parameters` of a function, and a schema of an answer, neither of them `strict`."""

ANTHROPIC: Final = Dialect()
"""`input_schema` of a tool."""

ANTHROPIC_ANSWER: Final = Dialect(
    kept=frozenset(
        (
            *("type", "title", "description", "properties", "required", "additionalProperties", "items", "enum"),
            *("const", "anyOf", "allOf", "$ref", "$defs", "definitions", "format", "default", "minItems"),
        )
    ),
    formats={
        "string": frozenset(
            ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
        ),
    },
    spelled_out=True,
    closed=True,
)
"""`output_config.format.schema`."""

GEMINI: Final = Dialect(
    kept=frozenset(
        (
            *("type", "format", "title", "description", "nullable", "enum", "items", "minItems", "maxItems"),
            *("properties", "required", "minProperties", "maxProperties", "minimum", "maximum", "minLength"),
            *("maxLength", "pattern", "anyOf", "propertyOrdering", "default", "example"),
        )
    ),
    formats={
        "string": frozenset(("enum", "date-time")),
        "number": frozenset(("float", "double")),
        "integer": frozenset(("int32", "int64")),
    },
    inlined=True,
    one_type=True,
    items=True,
)
"""`parameters` and `responseSchema`; `parametersJsonSchema` and `responseJsonSchema` take more."""


def adapted(schema: Schema, dialect: Dialect) -> dict[str, Any]:
    """The schema as the provider reads it. Wider where it must be: what it cannot say, the model is not held to."""
    definitions = {
        f"#/{field}/{name}": each
        for field in ("$defs", "definitions")
        if isinstance(schema.get(field), dict)
        for name, each in schema[field].items()
    }
    return _Rewriting(dialect, definitions).schema(schema)


def tool_schema(schema: Schema, dialect: Dialect) -> dict[str, Any]:
    """The same for the arguments of a tool, which are an object, said without alternatives at the top."""
    made = dict(schema) or dict(ANYTHING)
    options = [each for field in ("anyOf", "oneOf", "allOf") for each in made.pop(field, None) or ()]
    if options:
        made = _merged(made, options)
    made["type"] = "object"
    made.setdefault("properties", {})
    return adapted(made, dialect)


def _merged(schema: dict[str, Any], options: list[Any]) -> dict[str, Any]:
    """Alternatives as one object that has the properties of all of them, and must have what all of them must."""
    objects = [each for each in options if isinstance(each, dict)]
    properties: dict[str, Any] = {}
    for each in objects:
        properties |= each.get("properties") or {}
    required = [set(each.get("required") or ()) for each in objects]
    common = set.intersection(*required) if required else set()
    own = list(schema.get("required") or ())
    return {
        **schema,
        "properties": {**properties, **(schema.get("properties") or {})},
        "required": [*own, *sorted(common - set(own))],
    }


class _Rewriting:
    def __init__(self, dialect: Dialect, definitions: Mapping[str, Any]) -> None:
        self._dialect = dialect
        self._definitions = definitions

    def schema(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        if not isinstance(schema, Mapping) or depth > DEPTH:
            return {"type": "object"} if self._dialect.one_type else {}
        dialect = self._dialect
        made = dict(schema)
        if dialect.inlined and isinstance(reference := made.pop("$ref", None), str):
            made = {**self._definitions.get(reference, {}), **made}
        if dialect.kept is not None:
            made = _in_known_words(made, dialect.kept)
        if dialect.one_type:
            made = _with_one_type(made)
        left_out = {}
        if dialect.kept is not None:
            left_out = {word: value for word, value in made.items() if word not in dialect.kept}
            made = {word: value for word, value in made.items() if word in dialect.kept}
        if dialect.formats is not None and "format" in made:
            known = dialect.formats.get(str(made.get("type")), frozenset())
            if made["format"] not in known:
                left_out["format"] = made.pop("format")
        made = {word: self._value(word, value, depth) for word, value in made.items()}
        if dialect.items and made.get("type") == "array" and "items" not in made:
            made["items"] = {"type": "string"} if dialect.one_type else {}
        if dialect.closed and (made.get("type") == "object" or "properties" in made):
            made["additionalProperties"] = False
        if dialect.closed and made.get("minItems", 0) not in (0, 1):
            left_out["minItems"] = made.pop("minItems")
        return _spelled_out(made, left_out) if dialect.spelled_out else made

    def _value(self, word: str, value: Any, depth: int) -> Any:
        if word in _OF_MANY and isinstance(value, Mapping):
            return {name: self.schema(each, depth + 1) for name, each in value.items()}
        if word in _LISTS and isinstance(value, list):
            return [self.schema(each, depth + 1) for each in value]
        if word in _OF_ONE and isinstance(value, Mapping):
            return self.schema(value, depth + 1)
        return value


def _in_known_words(schema: dict[str, Any], kept: frozenset[str]) -> dict[str, Any]:
    """Keywords said by others that mean the same, or nearly."""
    made = dict(schema)
    if "const" in made and "const" not in kept:
        made.setdefault("enum", [made.pop("const")])
    if "oneOf" in made and "oneOf" not in kept:
        made.setdefault("anyOf", made.pop("oneOf"))
    if "allOf" in made and "allOf" not in kept:
        for each in made.pop("allOf") or ():
            if isinstance(each, dict):
                properties = {**(made.get("properties") or {}), **(each.get("properties") or {})}
                required = [*(made.get("required") or ()), *(each.get("required") or ())]
                made = {**each, **made, **({"properties": properties} if properties else {})}
                made |= {"required": list(dict.fromkeys(required))} if required else {}
    return made


def _with_one_type(schema: dict[str, Any]) -> dict[str, Any]:
    made = dict(schema)
    types = made.get("type")
    if isinstance(types, list):
        said = [each for each in types if each != "null"]
        if len(said) < len(types):
            made["nullable"] = True
        if len(said) == 1:
            made["type"] = said[0]
        else:
            del made["type"]
            if said:
                made.setdefault("anyOf", [{"type": each} for each in said])
    options = made.get("anyOf")
    if isinstance(options, list):
        left = [each for each in options if each != {"type": "null"}]
        if len(left) < len(options):
            made["nullable"] = True
            del made["anyOf"]
            if len(left) == 1 and isinstance(left[0], dict):
                made = {**left[0], **made}
            elif left:
                made["anyOf"] = left
    if isinstance(made.get("enum"), list):
        made["enum"] = [str(each) for each in made["enum"] if each is not None]
        made["type"] = "string"
    return made


def _spelled_out(schema: dict[str, Any], left_out: Mapping[str, Any]) -> dict[str, Any]:
    said = {word: value for word, value in left_out.items() if not word.startswith("$") and value not in (None, {})}
    if not said:
        return schema
    note = "{" + ", ".join(f"{word}: {encode_json(value).decode()}" for word, value in said.items()) + "}"
    before = schema.get("description")
    return {**schema, "description": f"{before}\n\n{note}" if isinstance(before, str) and before else note}


def is_strict(schema: Any) -> bool:
    """Whether OpenAI takes the schema as `strict`: every object is closed, and must have all of its properties."""
    if isinstance(schema, list):
        return all(is_strict(each) for each in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.keys() & {"oneOf", "allOf", "not", "if", "patternProperties", "minProperties", "uniqueItems"}:
        return False
    properties = schema.get("properties")
    if schema.get("type") == "object" or properties is not None:
        properties = properties if isinstance(properties, Mapping) else {}
        if schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != set(properties):
            return False
    return all(
        is_strict(list(value.values()) if word in _OF_MANY and isinstance(value, Mapping) else value)
        for word, value in schema.items()
        if word in _OF_ONE | _OF_MANY | _LISTS
    )

"""Whether a value fits a schema, held against the `jsonschema` package, and what schemas cannot do to the proxy."""

from typing import Any

import jsonschema
import pytest

from engine.language.json_schema import fits

POINT: dict[str, Any] = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "number", "minimum": 0, "exclusiveMaximum": 10}},
    "required": ["x", "y"],
    "additionalProperties": False,
}
TREE: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z]+$"},
                "nodes": {"items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name"],
        }
    },
}
SCHEMAS: list[Any] = [
    POINT,
    TREE,
    True,
    False,
    {"type": ["string", "null"], "minLength": 2, "maxLength": 3},
    {"enum": ["a", 1, None]},
    {"const": True},
    {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "maxItems": 2}]},
    {"oneOf": [{"type": "integer"}, {"type": "number", "maximum": 3}]},
    {"allOf": [{"type": "number"}, {"exclusiveMinimum": 1}]},
    {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}},
]
VALUES: list[Any] = [
    *({"x": 1, "y": 2.5}, {"x": 1.5, "y": 2}, {"x": 1, "y": -1}, {"x": 1, "y": 10}, {"x": 1}, {"x": 1, "y": 1, "z": 1}),
    *({"name": "a", "nodes": [{"name": "b"}]}, {"name": "a", "nodes": [{"name": "B"}]}, {"nodes": []}),
    *("a", "ab", "abcd", 1, 2, 1.0, 4, 2.5, True, None, [], [1], [1, "a"], [1, 2], [1, "a", "b"], ["a"]),
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_it_judges_as_the_specification_does(schema: Any) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    assert [fits(value, schema) for value in VALUES] == [validator.is_valid(value) for value in VALUES]


def test_a_type_may_be_written_as_gemini_does() -> None:
    assert fits({"a": 1}, {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}})
    assert not fits({"a": 1}, {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}})
    assert fits(None, {"type": "STRING", "nullable": True})


def test_a_schema_that_asks_for_exponential_work_is_given_up() -> None:
    twice = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(60)}
    assert fits(1, {"$ref": "#/$defs/s0", "$defs": twice})


def test_a_schema_that_refers_to_itself_is_given_up() -> None:
    assert fits(1, {"$ref": "#"})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/nowhere"},
        {"pattern": "(a+)+(?=b)"},
        {"type": 3, "enum": "a", "required": 1, "properties": [], "minLength": "x", "items": 3},
    ],
    ids=str,
)
def test_what_cannot_be_judged_asks_for_nothing(schema: Any) -> None:
    assert fits("a" * 40, schema)
    assert fits({"a": [1]}, schema)

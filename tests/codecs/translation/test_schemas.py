"""Schemas in the dialect of the provider that reads them."""

from typing import Any

import pytest

from engine.codecs.translation.schemas import (
    ANTHROPIC,
    ANTHROPIC_ANSWER,
    GEMINI,
    OPENAI,
    adapted,
    is_strict,
    tool_schema,
)

TOOL: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "count": {"type": ["integer", "null"], "exclusiveMinimum": 0},
        "mode": {"const": "fast"},
        "where": {"$ref": "#/$defs/place"},
        "either": {"oneOf": [{"type": "string", "format": "uri"}, {"type": "null"}]},
        "list": {"type": "array"},
    },
    "required": ["count"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}}}},
}


def test_gemini_reads_its_own_words_alone() -> None:
    assert adapted(TOOL, GEMINI) == {
        "type": "object",
        "properties": {
            "count": {"type": "integer", "nullable": True},
            "mode": {"enum": ["fast"], "type": "string"},
            "where": {"type": "object", "properties": {"x": {"type": "number"}}},
            "either": {"type": "string", "nullable": True},
            "list": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["count"],
    }


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    schema = {"type": "object", "properties": {"$schema": {"type": "string"}, "pattern": {"type": "string"}}}
    assert adapted(schema, GEMINI) == schema


def test_a_schema_that_holds_itself_ends() -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}}}
    assert adapted(schema, GEMINI)["type"] == "object"


def test_what_anthropics_answers_cannot_be_held_to_is_said_in_words() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "description": "How many."}},
        "$schema": "x",
    }
    assert adapted(schema, ANTHROPIC_ANSWER) == {
        "type": "object",
        "properties": {"n": {"type": "integer", "description": "How many.\n\n{minimum: 1}"}},
        "additionalProperties": False,
    }


def test_openai_wants_to_know_what_an_array_is_of() -> None:
    assert adapted(TOOL, OPENAI)["properties"]["list"] == {"type": "array", "items": {}}
    assert adapted(TOOL, OPENAI)["$schema"] == TOOL["$schema"]


def test_a_tool_without_a_schema_takes_an_object() -> None:
    assert tool_schema({}, OPENAI) == {"type": "object", "properties": {}}


def test_alternatives_at_the_top_of_a_tool_become_one_object() -> None:
    schema = {
        "anyOf": [
            {"type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a", "b"]},
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        ]
    }
    assert tool_schema(schema, ANTHROPIC) == {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {}},
        "required": ["a"],
    }


STRICT: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (STRICT, True),
        ({**STRICT, "required": []}, False),
        ({**STRICT, "additionalProperties": True}, False),
        ({**STRICT, "properties": {"a": {"type": "object"}}}, False),
        ({**STRICT, "properties": {"a": {"anyOf": [STRICT, {"type": "null"}]}}}, True),
        ({**STRICT, "properties": {"a": {"oneOf": [STRICT]}}}, False),
    ],
)
def test_strict_schemas_are_closed_all_the_way_down(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) is strict

"""The JSON Schema of policy files, generated from the spec's types and the action registry."""

import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from engine.actions import ACTIONS, Action
from engine.actions.params import schema_hook, written_defaults

from .spec import PolicySpec

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_CONDITION: Final[Mapping[str, Any]] = {
    "description": "A JMESPath expression, or a tree of them.",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "boolean"},
        {
            "type": "object",
            "properties": {
                "any": {"type": "array", "items": {"$ref": "#/$defs/Condition"}, "minItems": 1},
                "all": {"type": "array", "items": {"$ref": "#/$defs/Condition"}, "minItems": 1},
                "not": {"$ref": "#/$defs/Condition"},
            },
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ],
}

# One object whose properties are the actions answers a mistake with its own place and word; a `oneOf` answers every
# mistake with "not valid under any of the given schemas".
_STEP: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}


@functools.cache
def policy_schema() -> dict[str, Any]:
    """The schema that editors and `policy lint` read; committed as `schemas/policy.schema.json`."""
    actions = list(ACTIONS.values())
    _, defs = msgspec.json.schema_components(
        [PolicySpec, *(action.params for action in actions)], schema_hook=schema_hook, ref_template="#/$defs/{name}"
    )
    for action in actions:
        for name, written in written_defaults(action.params).items():
            defs[action.params.__name__]["properties"][name]["default"] = written
    step = {
        **_STEP,
        "description": "One action and its parameters.",
        "properties": {action.name: _step_schema(action, defs) for action in actions},
    }
    rule = defs["RuleSpec"]["properties"]
    rule["actions"]["items"] = {"$ref": "#/$defs/Step"}
    for holder in (rule, defs["ExceptionSpec"]["properties"]):
        for name in ("when", "unless"):
            if name in holder:
                holder[name] = {**holder[name], "$ref": "#/$defs/Condition"}
    for name in _STRUCTURE:
        for field in defs[name]["properties"].values():
            _leave_out_null(field)
    for action in actions:
        for field in defs[action.params.__name__]["properties"].values():
            _leave_out_null(field)
    return {
        "$schema": DIALECT,
        "$id": "policy.schema.json",
        "title": "Lexgate policy",
        "$ref": "#/$defs/PolicySpec",
        "$defs": {
            **defs,
            "Step": step,
            "Condition": dict(_CONDITION),
            "Pattern": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/PatternSpec"}]},
        },
    }


_STRUCTURE: Final = ("PolicySpec", "ScopeSpec", "MatchSpec", "RuleSpec", "LimitSpec", "ExceptionSpec")


def _leave_out_null(field: dict[str, Any]) -> None:
    """A key without a value is nearly always a line that was meant to go on: it is left out, or it says something."""
    options = field.get("anyOf")
    if options is not None:
        field["anyOf"] = [each for each in options if each != {"type": "null"}]
        if field.get("default", 0) is None:
            del field["default"]


def _step_schema(action: Action, defs: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, and for actions with a lone parameter also its value alone."""
    params = action.params
    reference = {"$ref": f"#/$defs/{params.__name__}"}
    summary = " ".join(action.doc.split("\n\n")[0].split())
    if params.lone is None:
        return {**reference, "description": summary}
    written = dict(zip(params.__struct_fields__, params.__struct_encode_fields__, strict=True))[params.lone]
    return {"description": summary, "anyOf": [reference, defs[params.__name__]["properties"][written]]}

"""Tools of a request: one object may declare many functions and switch on several of the provider's own tools."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.model.exchange import NOTHING, Tool

from .fields import get, inner, listed, objects, snake, spelled, text_of

_DECLARATIONS: Final = "functionDeclarations"


class Offer(msgspec.Struct, frozen=True):
    """What a tool was read from: the object in `tools`, and in it the declaration, or the field of a built-in tool."""

    whole: Any
    declaration: Any = None
    field: str = ""


# --- reading ---------------------------------------------------------------------------------------------------------


def decode_tools(value: Any) -> list[Tool]:
    """A function each, and each tool of the provider under the name of its field (`google_search`)."""
    return [tool for whole in objects(value) for tool in _decode_object(whole)]


def _decode_object(whole: dict[str, Any]) -> Iterator[Tool]:
    for field, value in whole.items():
        if snake(field) != "function_declarations":
            yield Tool(name=snake(field), kind=snake(field), wire=Offer(whole, field=field))
            continue
        for declaration in objects(value):
            yield Tool(
                name=text_of(declaration.get("name")),
                description=text_of(declaration.get("description")),
                schema=_schema_of(declaration),
                wire=Offer(whole, declaration),
            )


def _schema_of(declaration: Mapping[str, Any]) -> Mapping[str, Any]:
    """JSON Schema of the arguments; `parameters` is an OpenAPI schema, whose types are written in capitals."""
    schema = get(declaration, "parametersJsonSchema")
    if isinstance(schema, dict):
        return schema
    parameters = declaration.get("parameters")
    return as_json_schema(parameters) if isinstance(parameters, dict) else NOTHING


def as_json_schema(value: Any) -> Any:
    """An OpenAPI schema with the types as JSON Schema writes them."""
    match value:
        case dict():
            made = {
                field: item.lower() if field == "type" and isinstance(item, str) else as_json_schema(item)
                for field, item in value.items()
            }
            if made.pop("nullable", False) is True and isinstance(made.get("type"), str):
                made["type"] = [made["type"], "null"]
            return made
        case list():
            return [as_json_schema(item) for item in value]
        case _:
            return value


# --- writing ---------------------------------------------------------------------------------------------------------


def write_tools(encoded: dict[str, Any], tools: Sequence[Tool], came: Sequence[Tool]) -> None:
    """Let the request offer `tools`; nothing is done where they are those that came."""
    if len(tools) == len(came) and all(now is was for now, was in zip(tools, came, strict=True)):
        return
    name = spelled(encoded, "tools")
    objects_left = list(_encode_objects(tools, listed(encoded.get(name))))
    if objects_left:
        encoded[name] = objects_left
    else:
        encoded.pop(name, None)
    _narrow_choice(encoded, {tool.name for tool in tools if tool.kind == "function"})


def _encode_objects(tools: Sequence[Tool], came: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for whole in came:
        mine = [tool for tool in tools if isinstance(tool.wire, Offer) and tool.wire.whole is whole]
        kept = {tool.wire.field for tool in mine}
        declared = [_encode_declaration(tool) for tool in mine if tool.wire.declaration is not None]
        left = {
            field: declared if snake(field) == "function_declarations" else value
            for field, value in whole.items()
            if (declared if snake(field) == "function_declarations" else field in kept)
        }
        if left:
            yield left
    added = [tool for tool in tools if not isinstance(tool.wire, Offer)]
    functions = [_encode_declaration(tool) for tool in added if tool.kind == "function"]
    if functions:
        yield {_DECLARATIONS: functions}
    for tool in added:
        if tool.kind != "function":
            yield {tool.kind: {}}


def _encode_declaration(tool: Tool) -> dict[str, Any]:
    came: dict[str, Any] = tool.wire.declaration if isinstance(tool.wire, Offer) else {}
    encoded = dict(came)
    if tool.name != came.get("name"):
        encoded["name"] = tool.name
    if tool.description != text_of(came.get("description")):
        encoded["description"] = tool.description
    if tool.schema != _schema_of(came):
        encoded.pop("parameters", None)
        encoded[spelled(encoded, "parametersJsonSchema")] = tool.schema
    return encoded


def _narrow_choice(encoded: dict[str, Any], names: set[str]) -> None:
    """A choice among functions that are not there is refused."""
    at = spelled(encoded, "toolConfig")
    config = encoded.get(at)
    if not isinstance(config, dict):
        return
    calling = inner(config, "functionCallingConfig")
    allowed = get(calling, "allowedFunctionNames")
    field = spelled(config, "functionCallingConfig")
    left = [name for name in allowed if name in names] if isinstance(allowed, list) else None
    if not names or left == []:
        changed = {name: value for name, value in config.items() if name != field}
    elif left is not None and left != allowed:
        changed = {**config, field: {**calling, spelled(calling, "allowedFunctionNames"): left}}
    else:
        return
    if changed:
        encoded[at] = changed
    else:
        del encoded[at]

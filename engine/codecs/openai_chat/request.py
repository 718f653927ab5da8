"""A request of Chat Completions to an exchange, and back over the object that it was read from."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.base import BadRequest, Problem
from engine.codecs.json_text import MalformedJson, decode_json, encode_json
from engine.model.exchange import NOTHING, Exchange, Message, Protocol, Tool

from .messages import decode_message, encode_message, text_of

# --- reading ---------------------------------------------------------------------------------------------------------

_OWN_FIELDS: Final = frozenset(("model", "messages", "tools", "functions", "stream"))
"""What the exchange says by fields of its own; every other field of the request is a parameter."""

_MAX_TOKENS: Final = ("max_completion_tokens", "max_tokens")
"""Both mean `max_tokens`: OpenAI's newer models refuse the old name, many compatible servers know no other."""

_KNOWS_COMPLETION_TOKENS: Final = re.compile(r"(?:^|/)(?:gpt-(?!oss)|chatgpt-|o\d)")

_TYPE_NAMES: Final[Mapping[type, str]] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def _refused(message: str, param: str | None = None, code: str | None = None) -> BadRequest:
    return BadRequest(Problem(status=400, message=message, param=param, code=code))


def _wrong_type(param: str, expected: str, value: Any) -> BadRequest:
    got = _TYPE_NAMES.get(type(value), "something else")
    return _refused(f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param, "invalid_type")


def decode_request(body: bytes, *, id: str, headers: Mapping[str, str], query: str) -> Exchange:
    """Raises BadRequest where the body is not JSON, or the conversation in it cannot be found.

    A request without `model` is read as one that names none: the operator may have a default. All else that a provider
    would refuse is the provider's to refuse.
    """
    try:
        wire = decode_json(body)
    except MalformedJson as mistake:
        raise _refused(f"We could not parse the JSON body of your request: {mistake}.") from mistake
    if not isinstance(wire, dict):
        raise _refused("We could not parse the JSON body of your request: it must be a JSON object.")
    model, stream = wire.get("model"), wire.get("stream")
    if model is not None and not isinstance(model, str):
        raise _wrong_type("model", "a string", model)
    if stream is not None and not isinstance(stream, bool):
        raise _wrong_type("stream", "a boolean", stream)
    return Exchange(
        id=id,
        protocol=Protocol.OPENAI_CHAT,
        model=model or "",
        stream=stream is True,
        messages=_decode_messages(wire),
        tools=_decode_tools(wire),
        params=decode_params(wire),
        headers=headers,
        query=query,
        body=body,
        wire=wire,
    )


def _decode_messages(wire: Mapping[str, Any]) -> tuple[Message, ...]:
    if "messages" not in wire:
        raise _refused("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    messages = wire["messages"]
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise _refused(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "messages",
            "empty_array",
        )
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _wrong_type(f"messages[{place}]", "an object", message)
        if "role" not in message:
            param = f"messages[{place}].role"
            raise _refused(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
        if not isinstance(message["role"], str):
            raise _wrong_type(f"messages[{place}].role", "a string", message["role"])
    return tuple([decode_message(message) for message in messages])


def _decode_tools(wire: Mapping[str, Any]) -> tuple[Tool, ...]:
    decoded: list[Tool] = []
    for field, decode in (("tools", decode_tool), ("functions", decode_function)):
        tools = wire.get(field)
        if tools is None:
            continue
        if not isinstance(tools, list):
            raise _wrong_type(field, "an array of objects", tools)
        for place, tool in enumerate(tools):
            if not isinstance(tool, dict):
                raise _wrong_type(f"{field}[{place}]", "an object", tool)
            decoded.append(decode(tool))
    return tuple(decoded)


def decode_tool(wire: Mapping[str, Any]) -> Tool:
    """A tool of any type. One that the provider runs itself has no definition: its type is its name."""
    kind = text_of(wire.get("type")) or "function"
    inner = wire.get(kind)
    about = inner if isinstance(inner, dict) else wire
    schema = about.get("parameters")
    return Tool(
        name=text_of(about.get("name")) or ("" if kind == "function" else kind),
        description=text_of(about.get("description")),
        kind=kind,
        schema=schema if isinstance(schema, dict) else NOTHING,
        wire=wire,
    )


def decode_function(wire: Mapping[str, Any]) -> Tool:
    """An item of the deprecated `functions`."""
    schema = wire.get("parameters")
    return Tool(
        name=text_of(wire.get("name")),
        description=text_of(wire.get("description")),
        schema=schema if isinstance(schema, dict) else NOTHING,
        wire=wire,
    )


def decode_params(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Every field that is not the conversation itself, under canonical names."""
    params = {name: value for name, value in wire.items() if name not in _OWN_FIELDS}
    if "max_completion_tokens" in params:
        modern, old = params.pop("max_completion_tokens"), params.get("max_tokens")
        # A server takes the one or the other: a rule must see the greater.
        both = isinstance(modern, int) and isinstance(old, int)
        params["max_tokens"] = max(modern, old) if both else old if modern is None else modern
    return params


# --- writing ---------------------------------------------------------------------------------------------------------


def encode_request(exchange: Exchange) -> bytes:
    """The bytes that came, or the object that came with what differs written over it: fields keep their order."""
    if exchange.body is not None:
        return exchange.body
    wire = exchange.wire if isinstance(exchange.wire, dict) else {}
    encoded: dict[str, Any] = dict(wire)
    if exchange.model != text_of(wire.get("model")):
        encoded["model"] = exchange.model
    encoded["messages"] = [encode_message(message) for message in exchange.messages]
    _write_params(encoded, wire, exchange)
    if exchange.stream != (wire.get("stream") is True):
        encoded["stream"] = exchange.stream
        if not exchange.stream:
            encoded.pop("stream_options", None)  # refused without `stream`
    _write_tools(encoded, wire, exchange.tools)
    return encode_json(encoded)


def _write_params(encoded: dict[str, Any], wire: Mapping[str, Any], exchange: Exchange) -> None:
    before, after = decode_params(wire), exchange.params
    for name in before.keys() - after.keys():
        for field in _fields_of(name, encoded):
            del encoded[field]
    for name, value in after.items():
        if name in before and before[name] == value and type(before[name]) is type(value):
            continue
        for field in _fields_of(name, encoded) or (_field_of(name, exchange.model),):
            encoded[field] = value


def _fields_of(name: str, encoded: Mapping[str, Any]) -> tuple[str, ...]:
    names = _MAX_TOKENS if name == "max_tokens" else (name,)
    return tuple(each for each in names if each in encoded)


def _field_of(name: str, model: str) -> str:
    if name == "max_tokens" and _KNOWS_COMPLETION_TOKENS.search(model):
        return "max_completion_tokens"
    return name


def _write_tools(encoded: dict[str, Any], wire: Mapping[str, Any], tools: Sequence[Tool]) -> None:
    before = _decode_tools(wire)
    if tools == before:
        return
    functions = wire.get("functions") or ()
    legacy = [tool for tool in tools if _is_function(tool, functions)]
    modern = [tool for tool in tools if not _is_function(tool, functions)]
    _replace_or_drop(encoded, "tools", [_encode_tool(tool) for tool in modern])
    _replace_or_drop(encoded, "functions", [_encode_function(tool) for tool in legacy])
    # A choice among tools that are not there is refused.
    names = {tool.name for tool in modern}
    choice = _narrowed(encoded.get("tool_choice"), names) if modern else None
    if choice is None:
        encoded.pop("tool_choice", None)
    else:
        encoded["tool_choice"] = choice
    if not modern:
        encoded.pop("parallel_tool_calls", None)
    call = encoded.get("function_call")
    if not legacy or (isinstance(call, dict) and call.get("name") not in {tool.name for tool in legacy}):
        encoded.pop("function_call", None)


def _is_function(tool: Tool, functions: Sequence[Any]) -> bool:
    return bool(functions) and isinstance(tool.wire, dict) and "type" not in tool.wire and "name" in tool.wire


def _replace_or_drop(encoded: dict[str, Any], field: str, values: list[Any]) -> None:
    if values:
        encoded[field] = values
    else:
        encoded.pop(field, None)


def _narrowed(choice: Any, names: set[str]) -> Any:
    """The tool choice among the tools that are left; None where it names one that is not."""
    if not isinstance(choice, dict):
        return choice
    kind = text_of(choice.get("type"))
    inner = choice.get(kind)
    if kind != "allowed_tools" or not isinstance(inner, dict):
        return choice if _chosen(choice) in names else None
    listed = inner.get("tools")
    if not isinstance(listed, list):
        return choice
    allowed = [tool for tool in listed if _chosen(tool) in names]
    return {**choice, kind: {**inner, "tools": allowed}} if allowed else None


def _chosen(choice: Any) -> str:
    return decode_tool(choice).name if isinstance(choice, dict) else ""


def _encode_tool(tool: Tool) -> dict[str, Any]:
    if not isinstance(tool.wire, dict):
        return {"type": tool.kind, tool.kind: _encode_function(tool)}
    before = decode_tool(tool.wire)
    if before == tool:
        return tool.wire
    if isinstance(inner := tool.wire.get(tool.kind), dict):
        return {**tool.wire, tool.kind: _overlaid(inner, before, tool)}
    return _overlaid(tool.wire, before, tool)


def _encode_function(tool: Tool) -> dict[str, Any]:
    if not isinstance(tool.wire, dict):
        return _overlaid({"name": tool.name}, Tool(name=tool.name), tool)
    return _overlaid(tool.wire, decode_function(tool.wire), tool)


def _overlaid(inner: dict[str, Any], before: Tool, tool: Tool) -> dict[str, Any]:
    changed = dict(inner)
    if tool.name != before.name:
        changed["name"] = tool.name
    if tool.description != before.description:
        changed["description"] = tool.description
    if tool.schema != before.schema:
        changed["parameters"] = tool.schema
    return changed


# --- usage -----------------------------------------------------------------------------------------------------------


def ask_for_usage(exchange: Exchange) -> Exchange:
    """With `stream_options.include_usage`, without which OpenAI reports no usage of a stream."""
    options = exchange.params.get("stream_options")
    if not exchange.stream or (isinstance(options, dict) and options.get("include_usage") is True):
        return exchange
    asked = {**options, "include_usage": True} if isinstance(options, dict) else {"include_usage": True}
    params = {**exchange.params, "stream_options": asked}
    body = exchange.body
    if body is None or "stream_options" in exchange.params:
        return msgspec.structs.replace(exchange, params=params, body=None)
    # The field is put before the last brace, so that the rest stays as it came.
    field = b',"stream_options":' + encode_json(asked)
    return msgspec.structs.replace(
        exchange,
        params=params,
        wire={**exchange.wire, "stream_options": asked},
        body=body.rstrip(b" \t\r\n")[:-1] + field + b"}",
    )

"""A request of Responses to an exchange, and back over the object that it was read from."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from engine.codecs.base import BadRequest, Problem
from engine.codecs.json_text import MalformedJson, decode_json, encode_json
from engine.model.exchange import Exchange, Message, Part, Protocol, Tool

from .items import decode_items, encode_items, is_altered
from .params import decode_params, write_params
from .places import ALTERED, OWN, text_of, type_of
from .tools import decode_tools, encode_tools, names_in_spaces

_TYPE_NAMES: Final[Mapping[type, str]] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    list: "an array",
    dict: "an object",
    type(None): "null",
}

_INSTEAD_OF_INPUT: Final = ("previous_response_id", "conversation", "prompt")
"""With one of these a request needs no input of its own."""

Origin = Literal["instructions", "input"]
"""Of a message that is a field of the request: the system prompt, or an input that is one text."""

_MADE_HERE: Final = (OWN.encode(), ALTERED.encode())

# --- reading ---------------------------------------------------------------------------------------------------------


def _refused(message: str, param: str | None = None, code: str | None = None) -> BadRequest:
    return BadRequest(Problem(status=400, message=message, param=param, code=code))


def _wrong_type(param: str, expected: str, value: Any) -> BadRequest:
    got = _TYPE_NAMES.get(type(value), "something else")
    return _refused(f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param, "invalid_type")


def decode_request(body: bytes, *, id: str, headers: Mapping[str, str], query: str) -> Exchange:
    """Raises BadRequest where the body is not JSON, or the conversation in it cannot be found.

    A request without `model` is read as one that names none: the operator may have a default. All else that a provider
    would refuse is the provider's to refuse. What was made here in an earlier answer goes to no provider.
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
    came: bytes | None = body
    given = _checked_input(wire)
    if isinstance(given, list) and any(mark in body for mark in _MADE_HERE):
        kept = without_own(given)
        if kept != given:
            wire, given, came = {**wire, "input": kept}, kept, None
    return Exchange(
        id=id,
        protocol=Protocol.OPENAI_RESPONSES,
        model=model or "",
        stream=stream is True,
        messages=(*_decode_instructions(wire), *decode_input(given)),
        tools=_decode_tools(wire),
        params=decode_params(wire),
        headers=headers,
        query=query,
        body=came,
        wire=wire,
    )


def _checked_input(wire: Mapping[str, Any]) -> str | list[Any] | None:
    given = wire.get("input")
    if given is None:
        if any(wire.get(field) for field in _INSTEAD_OF_INPUT):
            return None
        raise _refused("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise _wrong_type("input", "a string or an array of objects", given)
    for place, item in enumerate(given):
        if not isinstance(item, dict):
            raise _wrong_type(f"input[{place}]", "an object", item)
        if not type_of(item):
            param = f"input[{place}].type"
            raise _refused(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    return given


def without_own(items: Sequence[Any]) -> list[Any]:
    """The items as a provider may see them: without reasoning that was altered or that a message made here has replaced
    the end of, and without ids that no provider gave."""
    kept: list[Any] = []
    for item in items:
        if is_altered(item):
            continue
        if OWN in text_of(item.get("id")):
            item = {field: value for field, value in item.items() if field != "id"}
            while kept and type_of(item) == "message" and type_of(kept[-1]) == "reasoning":
                kept.pop()
            if type_of(item) == "reasoning":
                continue
        kept.append(item)
    return kept


def decode_input(given: str | list[Any] | None) -> list[Message]:
    if isinstance(given, str):
        origin: Origin = "input"
        return [Message(role="user", parts=(Part(kind="text", text=given),) if given else (), wire=origin)]
    return decode_items(given or ())


def _decode_instructions(wire: Mapping[str, Any]) -> tuple[Message, ...]:
    said = wire.get("instructions")
    if said is not None and not isinstance(said, str):
        raise _wrong_type("instructions", "a string", said)
    origin: Origin = "instructions"
    return (Message(role="system", parts=(Part(kind="text", text=said),), wire=origin),) if said else ()


def _decode_tools(wire: Mapping[str, Any]) -> tuple[Tool, ...]:
    tools = wire.get("tools")
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise _wrong_type("tools", "an array of objects", tools)
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise _wrong_type(f"tools[{place}]", "an object", tool)
    return decode_tools(tools)


# --- writing ---------------------------------------------------------------------------------------------------------


def encode_request(exchange: Exchange) -> bytes:
    """The bytes that came, or the object that came with what differs written over it: fields keep their order."""
    if exchange.body is not None:
        return exchange.body
    wire: Mapping[str, Any] = exchange.wire if isinstance(exchange.wire, dict) else {}
    encoded: dict[str, Any] = dict(wire)
    if exchange.model != text_of(wire.get("model")):
        encoded["model"] = exchange.model
    _write_conversation(encoded, exchange)
    write_params(encoded, wire, exchange.params)
    if exchange.stream != (wire.get("stream") is True):
        encoded["stream"] = exchange.stream
        if not exchange.stream:
            encoded.pop("stream_options", None)  # refused without `stream`
    _write_tools(encoded, wire, exchange)
    return encode_json(encoded)


def _write_conversation(encoded: dict[str, Any], exchange: Exchange) -> None:
    told = [message for message in exchange.messages if message.wire == "instructions"]
    rest = [message for message in exchange.messages if message.wire != "instructions"]
    if told:
        encoded["instructions"] = told[0].text
    else:
        encoded.pop("instructions", None)
    if len(rest) == 1 and rest[0].wire == "input":
        encoded["input"] = rest[0].text
    elif rest or encoded.get("input") is not None:
        # A text of its own is an item where others stand beside it.
        encoded["input"] = encode_items(
            [Message(role=each.role, parts=each.parts) if each.wire == "input" else each for each in rest],
            names_in_spaces(exchange),
        )


def _write_tools(encoded: dict[str, Any], wire: Mapping[str, Any], exchange: Exchange) -> None:
    if exchange.tools == _decode_tools(wire):
        return
    if exchange.tools:
        encoded["tools"] = encode_tools(exchange.tools)
    else:
        encoded.pop("tools", None)
    # A choice among tools that are not there is refused.
    choice = _narrowed(encoded.get("tool_choice"), exchange.tools) if exchange.tools else None
    if choice is None:
        encoded.pop("tool_choice", None)
    else:
        encoded["tool_choice"] = choice
    if not exchange.tools:
        encoded.pop("parallel_tool_calls", None)


def _narrowed(choice: Any, tools: Sequence[Tool]) -> Any:
    """The tool choice among the tools that are left; None where it names one that is not."""
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") != "allowed_tools":
        return choice if _is_there(choice, tools) else None
    listed = choice.get("tools")
    if not isinstance(listed, list):
        return choice
    allowed = [each for each in listed if _is_there(each, tools)]
    return {**choice, "tools": allowed} if allowed else None


def _is_there(choice: Any, tools: Sequence[Tool]) -> bool:
    if not isinstance(choice, dict):
        return True
    name, kind = text_of(choice.get("name")), text_of(choice.get("type"))
    own = {text_of(getattr(tool.wire, "tool", {}).get("name")) for tool in tools if hasattr(tool.wire, "tool")}
    return name in {tool.name for tool in tools} | own if name else kind in {tool.kind for tool in tools}

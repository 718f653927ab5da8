"""A request of Messages to an exchange, and back over the object that it was read from."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.codecs.base import BadRequest, Problem
from engine.codecs.json_text import MalformedJson, decode_json, encode_json
from engine.model.exchange import NOTHING, Exchange, Message, Protocol, Tool

from .blocks import ALTERED, text_of
from .messages import decode_message, decode_system, encode_messages, encode_system, is_system

# --- reading ---------------------------------------------------------------------------------------------------------

_OWN_FIELDS: Final = frozenset(("model", "messages", "system", "tools", "stream"))
"""What the exchange says by fields of its own; every other field of the request is a parameter."""

_CANONICAL: Final[Mapping[str, str]] = {"stop_sequences": "stop"}
_ON_THE_WIRE: Final[Mapping[str, str]] = {canonical: field for field, canonical in _CANONICAL.items()}

_ALTERED: Final = ALTERED.encode()
_CLEARS_THINKING: Final = "clear_thinking_20251015"


def _refused(message: str, param: str | None = None) -> BadRequest:
    return BadRequest(Problem(status=400, message=message, param=param))


def decode_request(body: bytes, *, id: str, headers: Mapping[str, str], query: str) -> Exchange:
    """Raises BadRequest where the body is not JSON, or the conversation in it cannot be found.

    A request without `model` is read as one that names none: the operator may have a default. All else that the
    provider would refuse is the provider's to refuse. Thinking that did not go out as it was thought is taken out.
    """
    try:
        wire = decode_json(body)
    except MalformedJson as mistake:
        raise _refused(f"The request body is not valid JSON: {mistake}.") from mistake
    if not isinstance(wire, dict):
        raise _refused("The request body is not valid JSON: it must be a JSON object.")
    model, stream = wire.get("model"), wire.get("stream")
    if model is not None and not isinstance(model, str):
        raise _refused("model: Input should be a valid string", "model")
    if stream is not None and not isinstance(stream, bool):
        raise _refused("stream: Input should be a valid boolean", "stream")
    came: bytes | None = body
    messages = _checked_messages(wire)
    if _ALTERED in body and (kept := _without_altered(messages)) != messages:
        wire, messages, came = {**wire, "messages": kept}, kept, None
    return Exchange(
        id=id,
        protocol=Protocol.ANTHROPIC,
        model=model or "",
        stream=stream is True,
        messages=(*_decode_system(wire), *[each for message in messages for each in decode_message(message)]),
        tools=_decode_tools(wire),
        params=decode_params(wire),
        headers=headers,
        query=query,
        body=came,
        wire=wire,
    )


def _checked_messages(wire: Mapping[str, Any]) -> list[Any]:
    if "messages" not in wire:
        raise _refused("messages: Field required", "messages")
    messages = wire["messages"]
    if not isinstance(messages, list):
        raise _refused("messages: Input should be a valid list", "messages")
    if not messages:
        raise _refused("messages: at least one message is required", "messages")
    for place, message in enumerate(messages):
        at = f"messages.{place}"
        if not isinstance(message, dict):
            raise _refused(f"{at}: Input should be a valid dictionary", at)
        if not isinstance(message.get("role"), str):
            raise _refused(f"{at}.role: Input should be a valid string", f"{at}.role")
        content = message.get("content")
        if isinstance(content, list):
            for index, block in enumerate(content):
                if not isinstance(block, dict):
                    raise _refused(f"{at}.content.{index}: Input should be a valid dictionary", f"{at}.content.{index}")
        elif not isinstance(content, str):
            raise _refused(f"{at}.content: Input should be a valid list", f"{at}.content")
    return messages


def _without_altered(messages: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list) and any(block.get("signature") == ALTERED for block in content):
            content = [block for block in content if block.get("signature") != ALTERED]
            message = {**message, "content": content}
        if content:
            kept.append(message)
    return kept


def _decode_system(wire: Mapping[str, Any]) -> tuple[Message, ...]:
    value = wire.get("system")
    if value is not None and not isinstance(value, str | list):
        raise _refused("system: Input should be a valid list", "system")
    return decode_system(value)


def _decode_tools(wire: Mapping[str, Any]) -> tuple[Tool, ...]:
    tools = wire.get("tools")
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise _refused("tools: Input should be a valid list", "tools")
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise _refused(f"tools.{place}: Input should be a valid dictionary", f"tools.{place}")
    return tuple([decode_tool(tool) for tool in tools])


def decode_tool(wire: Mapping[str, Any]) -> Tool:
    """A tool of any type. Most clients send none, which means `custom`; a toolset is named by its server or its type."""
    kind = text_of(wire.get("type")) or "custom"
    schema = wire.get("input_schema")
    return Tool(
        name=text_of(wire.get("name")) or text_of(wire.get("mcp_server_name")) or ("" if kind == "custom" else kind),
        description=text_of(wire.get("description")),
        kind="function" if kind == "custom" else kind,
        schema=schema if isinstance(schema, dict) else NOTHING,
        wire=wire,
    )


def decode_params(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Every field that is not the conversation itself, under canonical names."""
    return {_CANONICAL.get(name, name): value for name, value in wire.items() if name not in _OWN_FIELDS}


# --- writing ---------------------------------------------------------------------------------------------------------


def encode_request(exchange: Exchange) -> bytes:
    """The bytes that came, or the object that came with what differs written over it: fields keep their order."""
    if exchange.body is not None:
        return exchange.body
    wire = exchange.wire if isinstance(exchange.wire, dict) else {}
    encoded: dict[str, Any] = dict(wire)
    if exchange.model != text_of(wire.get("model")):
        encoded["model"] = exchange.model
    system = [message for message in exchange.messages if is_system(message)]
    if tuple(system) != decode_system(wire.get("system")):
        _replace_or_drop(encoded, "system", encode_system(system, wire.get("system")))
    encoded["messages"] = encode_messages([message for message in exchange.messages if not is_system(message)])
    _write_params(encoded, wire, exchange.params)
    if exchange.stream != (wire.get("stream") is True):
        encoded["stream"] = exchange.stream
    _write_tools(encoded, wire, exchange.tools)
    thinking = encoded.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "enabled" and _is_unthought(encoded["messages"]):
        _think_no_more(encoded)
    return encode_json(encoded)


def _is_unthought(messages: Sequence[Any]) -> bool:
    """Whether the newest results answer calls in front of which no thinking stands.

    With a budget of thinking "a final `assistant` message must start with a thinking block". Where another provider made
    that turn, or a rule changed what was thought in it, there is none that would be taken.
    """
    for message in reversed(messages):
        blocks = [block for block in _content_of(message) if isinstance(block, dict)]
        kinds = [block.get("type") for block in blocks]
        if message.get("role") == "assistant":
            return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")
        if "tool_result" not in kinds:
            return False
    return False


def _content_of(message: Any) -> Sequence[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else ()


def _think_no_more(encoded: dict[str, Any]) -> None:
    """Ask without thinking, and without what may be asked with thinking alone."""
    encoded["thinking"] = {"type": "disabled"}
    managed = encoded.get("context_management")
    edits = managed.get("edits") if isinstance(managed, dict) else None
    if isinstance(managed, dict) and isinstance(edits, list):
        left = [edit for edit in edits if not (isinstance(edit, dict) and edit.get("type") == _CLEARS_THINKING)]
        encoded["context_management"] = {**managed, "edits": left}


def _write_params(encoded: dict[str, Any], wire: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    before = decode_params(wire)
    for name in before.keys() - after.keys():
        del encoded[_ON_THE_WIRE.get(name, name)]
    for name, value in after.items():
        if name in before and before[name] == value and type(before[name]) is type(value):
            continue
        # One stop sequence may be said by itself elsewhere; here it is always a list.
        said = [value] if name == "stop" and isinstance(value, str) else value
        encoded[_ON_THE_WIRE.get(name, name)] = said


def _write_tools(encoded: dict[str, Any], wire: Mapping[str, Any], tools: Sequence[Tool]) -> None:
    if tools == _decode_tools(wire):
        return
    _replace_or_drop(encoded, "tools", [_encode_tool(tool) for tool in tools])
    # A choice among tools that are not there is refused.
    choice = encoded.get("tool_choice")
    named = choice.get("name") if isinstance(choice, dict) and choice.get("type") == "tool" else None
    if not tools or (named is not None and named not in {tool.name for tool in tools}):
        encoded.pop("tool_choice", None)


def _replace_or_drop(encoded: dict[str, Any], field: str, value: Any) -> None:
    if value:
        encoded[field] = value
    else:
        encoded.pop(field, None)


def _encode_tool(tool: Tool) -> dict[str, Any]:
    if not isinstance(tool.wire, dict):
        made: dict[str, Any] = {} if tool.kind == "function" else {"type": tool.kind}
        described = {"description": tool.description} if tool.description else {}
        schema = {"input_schema": tool.schema or {"type": "object"}} if tool.kind == "function" else {}
        return {**made, "name": tool.name, **described, **schema}
    before = decode_tool(tool.wire)
    if before == tool:
        return tool.wire
    changed = dict(tool.wire)
    for field, now, was in (
        ("name", tool.name, before.name),
        ("description", tool.description, before.description),
        ("input_schema", tool.schema, before.schema),
    ):
        if now != was:
            changed[field] = now
    return changed

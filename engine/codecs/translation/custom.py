"""Tools that take free text, for providers whose tools take objects: a function with one text argument, and back."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.json_text import MalformedJson, decode_json, encode_json
from engine.codecs.neutral import Loss
from engine.model.exchange import Exchange, Protocol, Tool, ToolCall

replace = msgspec.structs.replace

HAVE_CUSTOM: Final = frozenset((Protocol.OPENAI_CHAT, Protocol.OPENAI_RESPONSES))

_FREE_TEXT: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input, as free text."}},
    "required": ["input"],
}


def without_custom(exchange: Exchange) -> tuple[Exchange, frozenset[str], Sequence[Loss]]:
    """The neutral request with functions in their place, the names of these, and what was lost."""
    names = frozenset(tool.name for tool in exchange.tools if tool.kind == "custom")
    called = any(call.kind == "custom" for message in exchange.messages for call in message.tool_calls)
    if not names and not called:
        return exchange, names, ()
    losses = [
        Loss("custom_format", f"tools[{place}]")
        for place, tool in enumerate(exchange.tools)
        if tool.kind == "custom" and tool.schema
    ]
    messages = tuple(
        replace(message, tool_calls=tuple(_as_function(call) for call in message.tool_calls))
        if message.tool_calls
        else message
        for message in exchange.messages
    )
    tools = tuple(_function(tool) if tool.kind == "custom" else tool for tool in exchange.tools)
    return replace(exchange, messages=messages, tools=tools), names, losses


def _function(tool: Tool) -> Tool:
    return replace(tool, kind="function", schema=_FREE_TEXT)


def _as_function(call: ToolCall) -> ToolCall:
    if call.kind != "custom":
        return call
    return replace(call, kind="function", arguments=encode_json({"input": call.arguments}).decode())


def free_text(arguments: str) -> str:
    """The free text in the arguments of such a function; the arguments themselves where the model gave no object."""
    try:
        given = decode_json(arguments.encode())
    except MalformedJson:
        return arguments
    text = given.get("input") if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments

"""A request of Messages in neutral form."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.neutral import Carried, Loss
from engine.model.exchange import Exchange, Media, Message, Part, Protocol, Tool, ToolCall

from .blocks import ALTERED, Inside, text_of

replace = msgspec.structs.replace

_AS_THEY_ARE: Final = ("max_tokens", "temperature", "top_p", "top_k", "stop")

_READ: Final = frozenset(("metadata", "thinking", "output_config", "tool_choice", "service_tier", "cache_control"))

_LOST: Final[Mapping[str, str]] = {
    "context_management": "context_management",
    "mcp_servers": "mcp_servers",
    "container": "container",
    "inference_geo": "region",
}
"""The features that parameters of Anthropic's own are; those that are not named here are unknown ones."""

_TIERS: Final[Mapping[Any, str]] = {"auto": "auto", "standard_only": "default"}


def lift(exchange: Exchange) -> Carried:
    losses: list[Loss] = []
    tools = tuple(_tools(exchange.tools, losses))
    lifted = replace(
        exchange,
        messages=tuple(_messages(exchange.messages, losses)),
        tools=tools,
        params=_params(exchange.params, tools, losses),
        query="",
        body=None,
        wire=None,
    )
    return Carried(lifted, losses)


# --- messages --------------------------------------------------------------------------------------------------------


def _messages(messages: Sequence[Message], losses: list[Loss]) -> Iterator[Message]:
    for place, message in enumerate(messages):
        at = f"messages.{place}"
        calls = [_call(call) for call in message.tool_calls if call.kind != "server"]
        if len(calls) < len(message.tool_calls):
            losses.append(Loss("server_calls", at))
        parts = [part for number, each in enumerate(message.parts) for part in _part(each, f"{at}.{number}", losses)]
        yield Message(
            role=message.role,
            parts=tuple(parts),
            tool_calls=tuple(calls),
            tool_call_id=message.tool_call_id,
            is_error=message.is_error,
        )


def _call(call: ToolCall) -> ToolCall:
    return replace(call, wire=None)


def _part(part: Part, at: str, losses: list[Loss]) -> Iterator[Part]:
    block = _block(part)
    kind = text_of(block.get("type"))
    match part.kind:
        case "text" | "refusal":
            if block.get("citations"):
                losses.append(Loss("citations", at))
            if part.text:
                yield Part(kind="text", text=part.text)
        case "reasoning":
            if (thought := _thought(part, block)) is not None:
                yield thought
        case "opaque" if kind == "redacted_thinking":
            yield Part(kind="reasoning", signature=text_of(block.get("data")), issuer=Protocol.ANTHROPIC)
        case "opaque":
            losses.append(Loss("server_calls" if kind.endswith("_tool_result") else "opaque", at))
        case "image" | "file" | "audio":
            media = part.media or _media(block)
            if media is None:
                losses.append(Loss("opaque", at))
            else:
                yield Part(kind=part.kind, media=media)


def _block(part: Part) -> Mapping[str, Any]:
    """The object that a part was read from: a block, or what stands at its place inside of one."""
    wire = part.wire
    if isinstance(wire, Inside):
        if wire.path == ("source",) or not isinstance(wire.path[-1], int):
            return wire.block if isinstance(wire.block, dict) else {}
        inner: Any = wire.block
        for step in wire.path:
            inner = inner[step]
        wire = inner
    return wire if isinstance(wire, dict) else {}


def _thought(part: Part, block: Mapping[str, Any]) -> Part | None:
    """Thinking with what proves it; what a rule rewrote, or another provider thought, has nothing that does."""
    if part.issuer is not None:
        return replace(part, wire=None)
    signature = text_of(block.get("signature"))
    if block and part.text != text_of(block.get("thinking")):
        signature = ""
    if not signature or signature == ALTERED:
        return Part(kind="reasoning", text=part.text) if part.text else None
    return Part(kind="reasoning", text=part.text, signature=signature, issuer=Protocol.ANTHROPIC)


def _media(block: Mapping[str, Any]) -> Media | None:
    source = block.get("source")
    source = source if isinstance(source, dict) else block
    name = text_of(block.get("title"))
    match source.get("type"):
        case "base64":
            return Media(mime=text_of(source.get("media_type")), data=text_of(source.get("data")), name=name)
        case "url":
            return Media(url=text_of(source.get("url")), name=name)
        case "file" | "container_upload":
            return Media(file_id=text_of(source.get("file_id")), name=name)
        case _:
            return None


# --- tools and parameters --------------------------------------------------------------------------------------------


def _tools(tools: Sequence[Tool], losses: list[Loss]) -> Iterator[Tool]:
    for place, tool in enumerate(tools):
        if tool.kind != "function":
            losses.append(Loss("server_tools", f"tools.{place}"))
            continue
        yield replace(tool, wire=None)


def _params(params: Mapping[str, Any], tools: Sequence[Tool], losses: list[Loss]) -> dict[str, Any]:
    lifted = {name: params[name] for name in _AS_THEY_ARE if params.get(name) is not None}
    for name, value in params.items():
        if name not in _READ and name not in _AS_THEY_ARE and value is not None:
            losses.append(Loss(_LOST.get(name, "unknown_parameter"), name))
    metadata = params.get("metadata")
    if isinstance(metadata, dict) and isinstance(user := metadata.get("user_id"), str):
        lifted["user"] = user
    if (tier := _TIERS.get(params.get("service_tier"))) is not None:
        lifted["service_tier"] = tier
    _read_thinking(lifted, params)
    if tools:
        _read_choice(lifted, params.get("tool_choice"), {tool.name for tool in tools})
    return lifted


def _read_thinking(lifted: dict[str, Any], params: Mapping[str, Any]) -> None:
    config = params.get("output_config")
    config = config if isinstance(config, dict) else {}
    effort = config.get("effort")
    match params.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(budget)}:
            lifted["reasoning_budget"] = budget
        case {"type": "disabled"}:
            effort = "none"
        case {"type": "adaptive"}:
            effort = effort or "high"  # "the default" of the effort parameter
    if isinstance(effort, str):
        lifted["reasoning_effort"] = effort
    match config.get("format"):
        case {"type": "json_schema", "schema": dict(schema)}:
            answer = {"name": "answer", "schema": schema, "strict": True}
            lifted["response_format"] = {"type": "json_schema", "json_schema": answer}


def _read_choice(lifted: dict[str, Any], choice: Any, names: set[str]) -> None:
    if not isinstance(choice, dict):
        return
    match choice.get("type"):
        case "auto" | "none" as same:
            lifted["tool_choice"] = same
        case "any":
            lifted["tool_choice"] = "required"
        case "tool" if choice.get("name") in names:
            lifted["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    if isinstance(alone := choice.get("disable_parallel_tool_use"), bool):
        lifted["parallel_tool_calls"] = not alone

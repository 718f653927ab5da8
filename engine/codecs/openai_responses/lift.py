"""A request of Responses in neutral form."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.neutral import Carried, Loss
from engine.codecs.translation.media import media_of_url
from engine.model.exchange import NOTHING, Exchange, Media, Message, Part, Protocol, Tool, ToolCall

from .items import restored
from .places import ALTERED, Place, text_of, type_of
from .tools import Nested

replace = msgspec.structs.replace

_AS_THEY_ARE: Final = frozenset(
    (
        *("max_tokens", "temperature", "top_p", "top_logprobs", "user", "metadata", "service_tier"),
        *("parallel_tool_calls", "response_format", "reasoning_effort", "verbosity"),
    )
)
_UNSAID: Final = frozenset(
    (
        *("tool_choice", "include", "stream_options", "truncation", "store", "text", "reasoning", "background"),
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "client_metadata", "safety_identifier"),
        *("max_tool_calls", "moderation"),
    )
)
"""Looked at by themselves, of no use to another provider, or held here."""

_LOST: Final[Mapping[str, str]] = {
    "previous_response_id": "opaque",
    "conversation": "opaque",
    "prompt": "opaque",
    "context_management": "context_management",
}
_LOGPROBS: Final = "message.output_text.logprobs"
_CARRIED_CALLS: Final = frozenset(("function_call", "custom_tool_call", ""))


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
    left: set[str] = set()
    for place, message in enumerate(messages):
        at = f"input[{place}]"
        if message.tool_call_id and message.tool_call_id in left:
            continue
        calls: list[ToolCall] = []
        for call in message.tool_calls:
            if call.kind != "server" and type_of(call.wire) in _CARRIED_CALLS:
                calls.append(replace(call, wire=None))
            else:
                left.add(call.id)
                losses.append(Loss("server_calls", at))
        parts = tuple(_parts(message, at, losses))
        if parts or calls or message.tool_call_id:
            yield Message(
                role=message.role,
                parts=parts,
                tool_calls=tuple(calls),
                tool_call_id=message.tool_call_id,
                is_error=message.is_error,
            )


def _parts(message: Message, at: str, losses: list[Loss]) -> Iterator[Part]:
    thinking: Any = None
    for part in restored(message.parts):
        place = part.wire if isinstance(part.wire, Place) else None
        item = place.item if place is not None else None
        if isinstance(item, dict) and type_of(item) == "reasoning":
            if item is not thinking:
                yield from _thought(item, [each for each in message.parts if _is_of(each, item)])
            thinking = item
            continue
        match part.kind:
            case "text" | "refusal":
                if part.text:
                    yield Part(kind="text", text=part.text)
            case "reasoning":
                if part.text or part.signature:
                    yield replace(part, wire=None)
            case "image" | "file" | "audio":
                media = part.media or (_media(_at(place)) if place is not None else None)
                if media is None:
                    losses.append(Loss("opaque", at))
                else:
                    yield Part(kind=part.kind, media=media)
            case "opaque":
                unheld = type_of(item) not in ("mcp_list_tools", "compaction_trigger")
                losses.append(Loss("opaque" if unheld else "server_calls", at))


def _is_of(part: Part, item: Any) -> bool:
    return isinstance(part.wire, Place) and part.wire.item is item


def _thought(item: Mapping[str, Any], parts: Sequence[Part]) -> Iterator[Part]:
    """A piece of reasoning with what proves it; what a rule rewrote has nothing that does."""
    text = "\n\n".join(part.text for part in parts if part.text)
    said = "\n\n".join(
        text_of(each.get("text"))
        for field in ("summary", "content")
        for each in item.get(field) or ()
        if isinstance(each, dict)
    )
    sealed = text_of(item.get("encrypted_content"))
    if sealed and sealed != ALTERED and (text == said or not parts):
        yield Part(kind="reasoning", text=text, signature=sealed, issuer=Protocol.OPENAI_RESPONSES)
    elif text:
        yield Part(kind="reasoning", text=text)


def _at(place: Place) -> Mapping[str, Any]:
    value: Any = place.item
    for step in place.path:
        value = value[step]
    return value if isinstance(value, dict) else {}


def _media(wire: Mapping[str, Any]) -> Media | None:
    """An image or a file: its data, its URL, or the id that the provider gave it."""
    name, detail = text_of(wire.get("filename")), text_of(wire.get("detail"))
    for field in ("image_url", "file_data"):
        if url := text_of(wire.get(field)):
            media = media_of_url(url, name=name, detail=detail)
            # Data without its URL's head is that of a PDF, the one kind that was taken so.
            return media if field == "image_url" or media.data else Media(mime="application/pdf", data=url, name=name)
    if url := text_of(wire.get("file_url")):
        return Media(url=url, name=name)
    if id := text_of(wire.get("file_id")):
        return Media(file_id=id, name=name)
    return None


# --- tools and parameters --------------------------------------------------------------------------------------------


def _tools(tools: Sequence[Tool], losses: list[Loss]) -> Iterator[Tool]:
    seen: set[str] = set()
    for place, tool in enumerate(tools):
        if tool.kind not in ("function", "custom"):
            losses.append(Loss("server_tools", f"tools[{place}]"))
            continue
        if tool.name in seen and isinstance(tool.wire, Nested):
            tool = replace(tool, name=tool.wire.full_name)
        if tool.name in seen:
            continue
        seen.add(tool.name)
        inner = tool.wire.tool if isinstance(tool.wire, Nested) else tool.wire
        yield replace(tool, schema=_format(inner) if tool.kind == "custom" else tool.schema, wire=None)


def _format(wire: Any) -> Mapping[str, Any]:
    """The grammar of a tool that takes free text, as Chat Completions writes it."""
    format = wire.get("format") if isinstance(wire, dict) else None
    if not isinstance(format, dict) or format.get("type") != "grammar":
        return NOTHING
    return {"type": "grammar", "grammar": {name: value for name, value in format.items() if name != "type"}}


def _params(params: Mapping[str, Any], tools: Sequence[Tool], losses: list[Loss]) -> dict[str, Any]:
    lifted: dict[str, Any] = {}
    for name, value in params.items():
        if value is None:
            continue
        if name in _AS_THEY_ARE:
            lifted[name] = value
        elif name not in _UNSAID:
            losses.append(Loss(_LOST.get(name, "unknown_parameter"), name))
    if _LOGPROBS in (params.get("include") or ()):
        lifted["logprobs"] = True
    elif not lifted.get("top_logprobs"):
        lifted.pop("top_logprobs", None)
    if lifted.get("response_format") == {"type": "text"}:
        del lifted["response_format"]
    if params.get("background") is True:
        losses.append(Loss("opaque", "background"))
    if "user" not in lifted and isinstance(user := params.get("safety_identifier"), str):
        lifted["user"] = user
    choice = _choice(params.get("tool_choice"), {tool.name for tool in tools})
    if choice is not None:
        lifted["tool_choice"] = choice
    if not tools:
        lifted.pop("parallel_tool_calls", None)
    return lifted


def _choice(choice: Any, names: set[str]) -> Any:
    """A choice among the tools that came across; None where there is none, or one of another kind."""
    if not names:
        return None
    match choice:
        case "auto" | "none" | "required":
            return choice
        case {"type": "function", "function": {"name": str(name)}} | {"type": "custom", "name": str(name)}:
            return {"type": "function", "function": {"name": name}} if name in names else None
        case {"type": "allowed_tools", "mode": "required"}:
            return "required"
        case _:
            return None

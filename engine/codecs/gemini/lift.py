"""A request for content in neutral form."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.json_text import encode_json
from engine.codecs.neutral import Carried, Loss
from engine.model.exchange import Exchange, Media, Message, Part, Protocol, Tool, ToolCall

from .contents import Origin
from .fields import get, inner, text_of
from .parts import is_result
from .results import ERROR, OUTPUT, Place, encode_result
from .tools import as_json_schema

replace = msgspec.structs.replace

_AS_THEY_ARE: Final = frozenset(
    (
        *("max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "n", "logprobs", "top_logprobs"),
        *("presence_penalty", "frequency_penalty"),
    )
)
_READ: Final = frozenset(
    (
        *("toolConfig", "thinkingConfig", "labels", "responseModalities"),
        *("responseMimeType", "responseSchema", "responseJsonSchema"),
    )
)
_LOST: Final[Mapping[str, str]] = {
    "safetySettings": "safety_settings",
    "cachedContent": "cached_content",
    "speechConfig": "audio_output",
    "imageConfig": "image_output",
    "store": "store",
}
"""The features that parameters of Google's own are; those that are not named here are unknown ones."""

_MODALITIES: Final[Mapping[str, str]] = {"AUDIO": "audio_output", "IMAGE": "image_output"}
_RESULT: Final = "result"
"""The key under which Google's SDKs put what a function returned."""


def lift(exchange: Exchange) -> Carried:
    losses: list[Loss] = []
    tools = tuple(_tools(exchange.tools, losses))
    params, tools = _params(exchange.params, tools, losses)
    lifted = replace(
        exchange,
        messages=tuple(_messages(exchange.messages, losses)),
        tools=tools,
        params=params,
        query="",
        body=None,
        wire=None,
    )
    return Carried(lifted, losses)


# --- messages --------------------------------------------------------------------------------------------------------


def _messages(messages: Sequence[Message], losses: list[Loss]) -> Iterator[Message]:
    for place, message in enumerate(messages):
        at = f"contents[{place}]"
        if message.tool_call_id:
            yield _result(message, at, losses)
            continue
        calls = [_call(call) for call in message.tool_calls if call.kind != "server"]
        if len(calls) < len(message.tool_calls):
            losses.append(Loss("server_calls", at))
        parts = [part for number, each in enumerate(message.parts) for part in _part(each, f"{at}.{number}", losses)]
        if parts or calls:
            said = _in_one(parts) if message.role == "assistant" else parts
            yield Message(role=message.role, parts=tuple(said), tool_calls=tuple(calls))


def _in_one(parts: Sequence[Part]) -> list[Part]:
    """What the model said, as one text: clients keep each piece of a stream as it came, were it only a space."""
    said: list[Part] = []
    for part in parts:
        plain = part.kind == "text" or (part.kind == "reasoning" and not part.signature)
        if said and plain and said[-1].kind == part.kind and not said[-1].signature:
            said[-1] = replace(said[-1], text=said[-1].text + part.text)
        else:
            said.append(part)
    return said


def _call(call: ToolCall) -> ToolCall:
    return replace(call, arguments=call.arguments or "{}", wire=None)


def _part(part: Part, at: str, losses: list[Loss]) -> Iterator[Part]:
    wire = part.wire if isinstance(part.wire, dict) else {}
    match part.kind:
        case "text" | "refusal":
            if part.text:
                yield Part(kind="text", text=part.text)
        case "reasoning":
            yield from _thought(part, wire)
        case "image" | "audio" | "file":
            media = part.media or _media(wire)
            if media is None:
                losses.append(Loss("opaque", at))
            else:
                yield Part(kind=part.kind, media=media)
        case "opaque":
            losses.append(Loss("server_calls" if is_result(wire) else "opaque", at))


def _thought(part: Part, wire: Mapping[str, Any]) -> Iterator[Part]:
    """A thought with what proves it; what a rule rewrote, or another provider thought, has nothing that does."""
    if part.issuer is not None:
        yield replace(part, wire=None)
        return
    signature = text_of(get(wire, "thoughtSignature")) if part.text == wire.get("text") else ""
    if signature:
        yield Part(kind="reasoning", text=part.text, signature=signature, issuer=Protocol.GEMINI)
    elif part.text:
        yield Part(kind="reasoning", text=part.text)


def _media(wire: Mapping[str, Any]) -> Media | None:
    data, file = inner(wire, "inlineData"), inner(wire, "fileData")
    said = data or file
    mime, name = text_of(get(said, "mimeType")), text_of(get(said, "displayName"))
    if data:
        return Media(mime=mime, data=text_of(data.get("data")), name=name)
    uri = text_of(get(file, "fileUri"))
    if not uri:
        return None
    # Files that were uploaded to Google, and objects in its storage, are nothing to anybody else.
    own = not uri.startswith(("http://", "https://")) or "generativelanguage.googleapis.com/" in uri
    return Media(mime=mime, file_id=uri, name=name) if own else Media(mime=mime, url=uri, name=name)


def _result(message: Message, at: str, losses: list[Loss]) -> Message:
    """What a function answered as the text that others write: the answer itself where it is one text, else its JSON."""
    came = message.wire.result if isinstance(message.wire, Origin) else None
    said = inner(encode_result(message, "", came), "functionResponse")
    parts = [Part(kind="text", text=text)] if (text := _spoken(said.get("response"))) else []
    for number, part in enumerate(message.parts):
        if part.kind in ("text", "reasoning", "refusal"):
            continue
        media = part.media or (_media(_item(part.wire)) if isinstance(part.wire, Place) else None)
        if media is None or part.kind == "opaque":
            losses.append(Loss("opaque", f"{at}.{number}"))
        else:
            parts.append(Part(kind=part.kind, media=media))
    return Message(role="tool", parts=tuple(parts), tool_call_id=message.tool_call_id, is_error=message.is_error)


def _item(place: Place) -> Mapping[str, Any]:
    item: Any = place.result
    for step in place.path:
        item = item[step]
    return item if isinstance(item, dict) else {}


def _spoken(response: Any) -> str:
    if isinstance(response, dict) and len(response) == 1:
        key, value = next(iter(response.items()))
        if key in (OUTPUT, ERROR, _RESULT):
            response = value
    return response if isinstance(response, str) else "" if response is None else encode_json(response).decode()


# --- tools and parameters --------------------------------------------------------------------------------------------


def _tools(tools: Sequence[Tool], losses: list[Loss]) -> Iterator[Tool]:
    for place, tool in enumerate(tools):
        if tool.kind == "function":
            yield replace(tool, wire=None)
        else:
            losses.append(Loss("server_tools", f"tools[{place}]"))


def _params(
    params: Mapping[str, Any], tools: tuple[Tool, ...], losses: list[Loss]
) -> tuple[dict[str, Any], tuple[Tool, ...]]:
    lifted = {name: value for name, value in params.items() if name in _AS_THEY_ARE and value is not None}
    for name, value in params.items():
        if name not in _AS_THEY_ARE and name not in _READ and value is not None:
            losses.append(Loss(_LOST.get(name, "unknown_parameter"), name))
    modalities = params.get("responseModalities")
    for each in modalities if isinstance(modalities, list) else ():
        if each in _MODALITIES:
            losses.append(Loss(_MODALITIES[each], "responseModalities"))
    if isinstance(labels := params.get("labels"), dict) and labels:
        lifted["metadata"] = labels
    _read_thinking(lifted, params.get("thinkingConfig"))
    _read_format(lifted, params, losses)
    if tools:
        tools = _read_choice(lifted, params.get("toolConfig"), tools)
    return lifted, tools


def _read_thinking(lifted: dict[str, Any], config: Any) -> None:
    if not isinstance(config, dict):
        return
    budget, level = get(config, "thinkingBudget"), get(config, "thinkingLevel")
    if isinstance(level, str) and level.lower() in ("minimal", "low", "medium", "high"):
        lifted["reasoning_effort"] = level.lower()
    elif budget == 0:
        lifted["reasoning_effort"] = "none"
    elif isinstance(budget, int) and budget > 0:  # -1: as the model likes
        lifted["reasoning_budget"] = budget


def _read_format(lifted: dict[str, Any], params: Mapping[str, Any], losses: list[Loss]) -> None:
    kind = params.get("responseMimeType")
    if kind in (None, "", "text/plain"):
        return
    if kind != "application/json":
        losses.append(Loss("unknown_parameter", "responseMimeType"))
        return
    schema = params.get("responseJsonSchema")
    if not isinstance(schema, dict):
        schema = as_json_schema(params.get("responseSchema"))
    if isinstance(schema, dict):
        answer = {"name": "answer", "schema": schema, "strict": False}
        lifted["response_format"] = {"type": "json_schema", "json_schema": answer}
    else:
        lifted["response_format"] = {"type": "json_object"}


def _read_choice(lifted: dict[str, Any], config: Any, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """The choice of a tool; where it is among some of them, the others are not offered."""
    calling = inner(config, "functionCallingConfig") if isinstance(config, dict) else {}
    match text_of(calling.get("mode")):
        case "AUTO" | "VALIDATED":
            lifted["tool_choice"] = "auto"
        case "NONE":
            lifted["tool_choice"] = "none"
        case "ANY":
            lifted["tool_choice"] = "required"
            allowed = get(calling, "allowedFunctionNames")
            left = tuple(tool for tool in tools if not isinstance(allowed, list) or tool.name in allowed)
            if isinstance(allowed, list) and len(left) == 1:
                lifted["tool_choice"] = {"type": "function", "function": {"name": left[0].name}}
            elif left:
                return left
        case _:
            pass
    return tools

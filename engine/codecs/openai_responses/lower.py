"""A neutral request in the nouns of Responses: written as items, and read as a client's request would be."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.neutral import Carried, Loss
from engine.codecs.openai_chat.lower import REASONS
from engine.codecs.openai_chat.lower import lower as lower_to_chat
from engine.codecs.translation.media import IMAGES, PDF, data_url, text_in
from engine.codecs.translation.schemas import OPENAI, tool_schema
from engine.model.exchange import Exchange, Media, Message, Part, Protocol, Tool

from .items import decode_items
from .tools import decode_tools

replace = msgspec.structs.replace

_LOST: Final[Mapping[str, str]] = {
    "top_k": "top_k",
    "stop": "stop",
    "seed": "seed",
    "n": "choices",
    "presence_penalty": "penalties",
    "frequency_penalty": "penalties",
    "logit_bias": "logit_bias",
}
_ERROR: Final = "Error: "
_OF_BOTH: Final = frozenset(("sampling", "no_reasoning"))


def lower(exchange: Exchange) -> Carried:
    """Nothing is kept at the provider: what it thought comes back encrypted, and with the conversation."""
    losses: list[Loss] = []
    lowered = replace(
        exchange,
        protocol=Protocol.OPENAI_RESPONSES,
        messages=tuple(decode_items(list(_items(exchange.messages, losses)))),
        tools=decode_tools([_tool(tool) for tool in exchange.tools]),
        params=_params(exchange, losses),
        query="",
        body=None,
        wire=None,
    )
    return Carried(lowered, losses)


# --- messages --------------------------------------------------------------------------------------------------------


def _items(messages: Sequence[Message], losses: list[Loss]) -> Iterator[dict[str, Any]]:
    kinds: dict[str, str] = {}
    for place, message in enumerate(messages):
        at = f"input[{place}]"
        if message.role == "assistant":
            yield from _turn(message, at, losses)
            kinds |= {call.id: call.kind for call in message.tool_calls}
        elif message.tool_call_id:
            yield _result(message, kinds.get(message.tool_call_id, ""), at, losses)
        elif content := _content(message.parts, at, losses):
            alone = content[0]["text"] if len(content) == 1 and content[0]["type"] == "input_text" else content
            yield {"role": message.role, "content": alone}


def _turn(message: Message, at: str, losses: list[Loss]) -> Iterator[dict[str, Any]]:
    for part in message.parts:
        match part.kind:
            case "text" if part.text:
                yield {"role": "assistant", "content": part.text}
            case "refusal" if part.text:
                said = {"type": "refusal", "refusal": part.text}
                yield {"type": "message", "role": "assistant", "content": [said]}
            case "reasoning" if part.signature and part.issuer is Protocol.OPENAI_RESPONSES:
                summary = [{"type": "summary_text", "text": part.text}] if part.text else []
                yield {"type": "reasoning", "summary": summary, "encrypted_content": part.signature}
            case "reasoning":
                losses.append(Loss("thoughts", at))
            case "text" | "refusal":
                pass
            case _:
                losses.append(Loss("opaque", at))
    for call in message.tool_calls:
        kind, field = ("custom_tool_call", "input") if call.kind == "custom" else ("function_call", "arguments")
        yield {"type": kind, "call_id": call.id, "name": call.name, field: call.arguments or _nothing(field)}


def _nothing(field: str) -> str:
    return "{}" if field == "arguments" else ""


def _result(message: Message, kind: str, at: str, losses: list[Loss]) -> dict[str, Any]:
    content = _content(message.parts, at, losses)
    output: Any = content
    if all(each["type"] == "input_text" for each in content):
        output = "\n\n".join(each["text"] for each in content)
        if message.is_error and not output.lower().startswith("error"):
            output = _ERROR + output
    named = "custom_tool_call_output" if kind == "custom" else "function_call_output"
    return {"type": named, "call_id": message.tool_call_id, "output": output}


def _content(parts: Sequence[Part], at: str, losses: list[Loss]) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for part in parts:
        match part.kind:
            case "text" | "refusal":
                if part.text:
                    content.append({"type": "input_text", "text": part.text})
            case "reasoning":
                losses.append(Loss("thoughts", at))
            case _:
                made = _media(part.kind, part.media or Media())
                if isinstance(made, str):
                    losses.append(Loss(made, at))
                else:
                    content.append(made)
    return content


def _media(kind: str, media: Media) -> dict[str, Any] | str:
    """An item of content, or the feature that is lost."""
    if media.file_id:
        return "file_ids"
    match kind:
        case "image":
            if media.data and media.mime not in IMAGES:
                return "image_type"
            return {"type": "input_image", "image_url": media.url or data_url(media), "detail": media.detail or "auto"}
        case "file" if media.url:
            return {"type": "input_file", "file_url": media.url}
        case "file":
            if (text := text_in(media)) is not None:
                said = f"{media.name}\n\n{text}" if media.name else text
                return {"type": "input_text", "text": said} if text else "file_type"
            if media.mime != PDF:
                return "file_type"
            return {"type": "input_file", "filename": media.name or "document.pdf", "file_data": data_url(media)}
        case "audio":
            return "audio"
        case _:
            return "opaque"


# --- tools and parameters --------------------------------------------------------------------------------------------


def _tool(tool: Tool) -> dict[str, Any]:
    about: dict[str, Any] = {"type": tool.kind, "name": tool.name}
    if tool.description:
        about["description"] = tool.description
    if tool.kind == "custom":
        grammar = tool.schema.get("grammar")
        return {**about, "format": {"type": "grammar", **grammar}} if isinstance(grammar, dict) else about
    # Left out, `strict` would be true, and schemas that are not strict ones would be refused.
    return {**about, "parameters": tool_schema(tool.schema, OPENAI), "strict": False}


def _params(exchange: Exchange, losses: list[Loss]) -> dict[str, Any]:
    """What the models of OpenAI take is the same in both of its protocols; what the endpoint takes is not."""
    before = exchange.params
    chat = lower_to_chat(replace(exchange, messages=()))
    losses += [loss for loss in chat.losses if loss.feature in _OF_BOTH]
    losses += [Loss(_LOST[name], name) for name in before if name in _LOST and before[name] not in (None, 1)]
    params = {name: value for name, value in chat.exchange.params.items() if name not in _LOST}
    include: list[str] = []
    if params.pop("logprobs", False):
        include.append("message.output_text.logprobs")
    if "metadata" in before:
        params["metadata"] = before["metadata"]
    if REASONS.search(exchange.model):
        include.append("reasoning.encrypted_content")
        params["reasoning"] = {"summary": "auto"}
    if include:
        params["include"] = include
    params["store"] = False
    return params

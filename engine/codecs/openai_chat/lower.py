"""A neutral request in the nouns of Chat Completions."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.neutral import Carried, Loss
from engine.codecs.translation.media import IMAGES, PDF, audio_format, data_url, text_in
from engine.codecs.translation.reasoning import effort_of, nearest
from engine.codecs.translation.schemas import OPENAI, adapted, is_strict, tool_schema
from engine.model.exchange import Exchange, Media, Message, Part, Protocol, Tool

from .messages import decode_part
from .request import decode_tool

replace = msgspec.structs.replace

REASONS: Final = re.compile(r"(?:^|/)(?:o\d|gpt-(?:[5-9]|\d\d)|codex-|gpt-oss)")
"""Models that take `reasoning_effort`; others answer it with 400."""

_FIXED_SAMPLING: Final = re.compile(r"(?:^|/)(?:o\d|gpt-(?:[5-9]|\d\d)(?!.*chat))")
"""Models that take no temperature but their own."""

_EFFORTS: Final = (
    (re.compile(r"(?:^|/)(?:o\d|gpt-oss)"), ("low", "medium", "high")),
    (
        re.compile(r"(?:^|/)gpt-5(?:-(?:mini|nano|pro|codex))?(?:-20\d\d-\d\d-\d\d)?$"),
        ("minimal", "low", "medium", "high"),
    ),
    (re.compile(""), ("none", "low", "medium", "high", "xhigh")),
)
"""The efforts that a model knows: the first row that fits."""

MOST_STOPS: Final = 4
LONGEST_USER: Final = 64

_AS_THEY_ARE: Final = (
    *("max_tokens", "temperature", "top_p", "seed", "n", "logprobs", "top_logprobs", "presence_penalty"),
    *("frequency_penalty", "logit_bias", "verbosity"),
)
_ERROR: Final = "Error: "


def lower(exchange: Exchange) -> Carried:
    losses: list[Loss] = []
    lowered = replace(
        exchange,
        protocol=Protocol.OPENAI_CHAT,
        messages=tuple(_messages(exchange.messages, losses)),
        tools=tuple(_tool(tool) for tool in exchange.tools),
        params=_params(exchange, losses),
        query="",
        body=None,
        wire=None,
    )
    return Carried(lowered, losses)


# --- messages --------------------------------------------------------------------------------------------------------


def _messages(messages: Sequence[Message], losses: list[Loss]) -> Iterator[Message]:
    beside: list[Part] = []
    for place, message in enumerate(messages):
        at = f"messages[{place}]"
        if beside and message.role != "tool":
            yield Message(role="user", parts=tuple(beside))
            beside = []
        parts = list(_parts(message, at, losses))
        if message.role == "tool":
            said, shown = _result(message, parts)
            beside += shown
            yield replace(message, parts=said, is_error=False)
        elif parts or message.tool_calls:
            role = "system" if message.role == "developer" else message.role
            yield replace(message, role=role, parts=tuple(_plain(parts, "" if role == "assistant" else "\n\n")))
    if beside:
        yield Message(role="user", parts=tuple(beside))


def _plain(parts: Sequence[Part], between: str) -> Sequence[Part]:
    """Several texts and nothing else are said as one: many servers take a string alone for some of the roles.

    What a model said goes on from one text to the next, often within a word; a prompt's texts stand for themselves.
    """
    if len(parts) > 1 and all(part.kind == "text" and part.wire is None for part in parts):
        return [Part(kind="text", text=between.join(part.text for part in parts))]
    return parts


def _result(message: Message, parts: Sequence[Part]) -> tuple[tuple[Part, ...], list[Part]]:
    """What a result says, which here is text alone, and what it shows, which must stand in a turn of the user's."""
    text = "\n\n".join(part.text for part in parts if part.kind == "text")
    shown = [part for part in parts if part.kind != "text"]
    if message.is_error and not text.lower().startswith("error"):
        text = _ERROR + text
    if shown:
        text = text or "The result follows below."
        shown = [Part(kind="text", text=f"Result of the tool call {message.tool_call_id}:"), *shown]
    return ((Part(kind="text", text=text),) if text else ()), shown


def _parts(message: Message, at: str, losses: list[Loss]) -> Iterator[Part]:
    for place, part in enumerate(message.parts):
        where = f"{at}.content[{place}]"
        match part.kind:
            case "text":
                if part.text:
                    yield Part(kind="text", text=part.text)
            case "refusal":
                yield Part(kind="text" if message.role != "assistant" else "refusal", text=part.text)
            case "reasoning":
                losses.append(Loss("thoughts", where))
            case _:
                media = part.media or Media()
                wire = _wire(part.kind, media)
                if isinstance(wire, str):
                    losses.append(Loss(wire, where))
                elif message.role in ("user", "tool"):
                    yield decode_part(wire)
                else:
                    losses.append(Loss("opaque", where))


def _wire(kind: str, media: Media) -> dict[str, Any] | str:
    """The item of a content list, or the feature that is lost."""
    if media.file_id:
        return "file_ids"
    match kind:
        case "image":
            if media.data and media.mime not in IMAGES:
                return "image_type"
            detail = {"detail": media.detail} if media.detail else {}
            return {"type": "image_url", "image_url": {"url": media.url or data_url(media), **detail}}
        case "audio":
            format = audio_format(media.mime)
            if not media.data or format not in ("wav", "mp3"):
                return "audio" if not media.data else "file_type"
            return {"type": "input_audio", "input_audio": {"data": media.data, "format": format}}
        case "file":
            return _file(media)
        case _:
            return "opaque"


def _file(media: Media) -> dict[str, Any] | str:
    if media.url:
        return "file_urls"
    if (text := text_in(media)) is not None:
        return {"type": "text", "text": f"{media.name}\n\n{text}" if media.name else text} if text else "file_type"
    if media.mime != PDF:
        return "file_type"
    return {"type": "file", "file": {"filename": media.name or "document.pdf", "file_data": data_url(media)}}


# --- tools and parameters --------------------------------------------------------------------------------------------


def _tool(tool: Tool) -> Tool:
    about: dict[str, Any] = {"name": tool.name}
    if tool.description:
        about["description"] = tool.description
    if tool.kind == "custom":
        if tool.schema:
            about["format"] = dict(tool.schema)
        return decode_tool({"type": "custom", "custom": about})
    about["parameters"] = tool_schema(tool.schema, OPENAI)
    return decode_tool({"type": "function", "function": about})


def _params(exchange: Exchange, losses: list[Loss]) -> dict[str, Any]:
    before, model = exchange.params, exchange.model
    params = {name: before[name] for name in _AS_THEY_ARE if name in before}
    if "top_k" in before:
        losses.append(Loss("top_k", "top_k"))
    if _FIXED_SAMPLING.search(model):
        for name in ("temperature", "top_p"):
            if params.pop(name, 1) != 1:
                losses.append(Loss("sampling", name))
    if stop := before.get("stop"):
        params["stop"] = list(stop[:MOST_STOPS])
        if len(stop) > MOST_STOPS:
            losses.append(Loss("many_stops", "stop"))
    if isinstance(user := before.get("user"), str) and user:
        params["user"] = shortened(user)
    if "metadata" in before:
        losses.append(Loss("metadata", "metadata"))
    if (tier := before.get("service_tier")) in ("auto", "default", "flex", "priority"):
        params["service_tier"] = tier
    if (effort := effort_of(before)) is not None:
        _write_effort(params, effort, model, losses)
    if "response_format" in before:
        params["response_format"] = _format(before["response_format"])
    if exchange.tools:
        if (choice := before.get("tool_choice")) is not None:
            params["tool_choice"] = _choice(choice, exchange.tools)
        if isinstance(parallel := before.get("parallel_tool_calls"), bool):
            params["parallel_tool_calls"] = parallel
    return params


def shortened(user: str) -> str:
    """An id that is too long for OpenAI, by its hash: the same user has the same one."""
    return user if len(user) <= LONGEST_USER else hashlib.blake2b(user.encode(), digest_size=16).hexdigest()


def _write_effort(params: dict[str, Any], effort: str, model: str, losses: list[Loss]) -> None:
    if not REASONS.search(model):
        if effort != "none":
            losses.append(Loss("no_reasoning", "reasoning_effort"))
        return
    known = next(words for pattern, words in _EFFORTS if pattern.search(model))
    params["reasoning_effort"] = nearest(effort, known)


def _format(format: Any) -> Any:
    """`strict` only where the schema is one that OpenAI takes so."""
    match format:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)} as inner}:
            strict = inner.get("strict") is True and is_strict(schema)
            said = schema if strict else adapted(schema, OPENAI)
            return {**format, "json_schema": {**inner, "schema": said, "strict": strict}}
        case _:
            return format


def _choice(choice: Any, tools: Sequence[Tool]) -> Any:
    match choice:
        case {"function": {"name": str(name)}}:
            kinds: Mapping[str, str] = {tool.name: tool.kind for tool in tools}
            kind = "custom" if kinds.get(name) == "custom" else "function"
            return {"type": kind, kind: {"name": name}}
        case _:
            return choice

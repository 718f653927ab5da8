"""A request of Chat Completions in neutral form."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.neutral import Carried, Loss
from engine.codecs.translation.media import audio_mime, media_of_url
from engine.model.exchange import NOTHING, Exchange, Media, Message, Part, Tool, ToolCall

from .messages import is_legacy, text_of

replace = msgspec.structs.replace

_AS_THEY_ARE: Final = frozenset(
    (
        *("max_tokens", "temperature", "top_p", "top_k", "seed", "n", "logprobs", "top_logprobs", "presence_penalty"),
        *("frequency_penalty", "logit_bias", "user", "metadata", "service_tier", "parallel_tool_calls"),
        *("response_format", "reasoning_effort", "verbosity"),
    )
)

_UNSAID: Final = frozenset(
    (
        *("stream_options", "tool_choice", "function_call", "stop", "safety_identifier", "prompt_cache_key"),
        *("prompt_cache_retention", "prompt_cache_options", "modalities", "audio", "store", "moderation"),
    )
)
"""Looked at by themselves, or of no use to another provider."""

_LOST: Final[Mapping[str, str]] = {"prediction": "prediction", "web_search_options": "server_tools"}


def lift(exchange: Exchange) -> Carried:
    losses: list[Loss] = []
    tools, choice = _tools(exchange, losses)
    params = _params(exchange.params, losses)
    if choice is not None:
        params["tool_choice"] = choice
    lifted = replace(
        exchange,
        messages=tuple(_messages(exchange.messages, losses)),
        tools=tuple(tools),
        params=params,
        query="",
        body=None,
        wire=None,
    )
    return Carried(lifted, losses)


# --- messages --------------------------------------------------------------------------------------------------------


def _messages(messages: Sequence[Message], losses: list[Loss]) -> Iterator[Message]:
    legacy = ""
    for place, message in enumerate(messages):
        at = f"messages[{place}]"
        wire: Mapping[str, Any] = message.wire if isinstance(message.wire, dict) else {}
        if wire.get("name") and message.role != "function":
            losses.append(Loss("participant_name", f"{at}.name"))
        calls: list[ToolCall] = []
        for call in message.tool_calls:
            if call.kind == "server":
                losses.append(Loss("server_calls", f"{at}.tool_calls"))
                continue
            if is_legacy(call) or (call.id == call.name and call.wire is None):
                # A deprecated call of a function has no id: its result names the function, and stands behind it.
                legacy = f"call_{place}"
                call = replace(call, id=legacy)
            calls.append(replace(call, wire=None))
        yield Message(
            role="tool" if message.role == "function" else message.role,
            parts=tuple(_parts(message, at, losses)),
            tool_calls=tuple(calls),
            tool_call_id=legacy if message.role == "function" else message.tool_call_id,
            is_error=message.is_error,
        )


def _parts(message: Message, at: str, losses: list[Loss]) -> Iterator[Part]:
    for place, part in enumerate(message.parts):
        where = f"{at}.content[{place}]"
        match part.kind:
            case "text" | "refusal" | "reasoning":
                if part.text or part.signature:
                    yield replace(part, wire=None)
            case "image" | "file" | "audio":
                media = part.media or _media(part)
                if media is not None:
                    yield Part(kind=part.kind, media=media)
                else:
                    losses.append(Loss("audio_history" if part.kind == "audio" else "opaque", where))
            case "opaque":
                losses.append(Loss("opaque", where))


def _media(part: Part) -> Media | None:
    wire: Mapping[str, Any] = part.wire if isinstance(part.wire, dict) else {}
    read = _MEDIA.get(text_of(wire.get("type")))
    return read(wire) if read is not None else None


def _image(wire: Mapping[str, Any]) -> Media | None:
    """`{"image_url": {"url", "detail"}}`; some clients write the URL alone."""
    said = wire.get("image_url")
    about: Mapping[str, Any] = said if isinstance(said, dict) else {"url": said}
    url = text_of(about.get("url"))
    return media_of_url(url, detail=text_of(about.get("detail"))) if url else None


def _sound(wire: Mapping[str, Any]) -> Media | None:
    inner = wire.get("input_audio")
    about: Mapping[str, Any] = inner if isinstance(inner, dict) else {}
    data = text_of(about.get("data"))
    return Media(mime=audio_mime(text_of(about.get("format")) or "wav"), data=data) if data else None


def _file(wire: Mapping[str, Any]) -> Media | None:
    inner = wire.get("file")
    about: Mapping[str, Any] = inner if isinstance(inner, dict) else wire
    name = text_of(about.get("filename"))
    if data := text_of(about.get("file_data")):
        media = media_of_url(data, name=name)
        # Data without its URL's head is that of a PDF, the one kind that was taken so.
        return media if media.data else Media(mime="application/pdf", data=data, name=name)
    if id := text_of(about.get("file_id")):
        return Media(file_id=id, name=name)
    return None


_MEDIA: Final[Mapping[str, Callable[[Mapping[str, Any]], Media | None]]] = {
    "image_url": _image,
    "input_image": _image,
    "input_audio": _sound,
    "file": _file,
    "input_file": _file,
}


# --- tools -----------------------------------------------------------------------------------------------------------


def _tools(exchange: Exchange, losses: list[Loss]) -> tuple[list[Tool], Any]:
    tools: list[Tool] = []
    for place, tool in enumerate(exchange.tools):
        at = f"tools[{place}]"
        match tool.kind:
            case "function":
                tools.append(replace(tool, wire=None))
            case "custom":
                tools.append(replace(tool, schema=_format(tool), wire=None))
            case _:
                losses.append(Loss("server_tools", at))
    return _chosen(tools, exchange.params)


def _format(tool: Tool) -> Mapping[str, Any]:
    wire = tool.wire if isinstance(tool.wire, dict) else {}
    inner = wire.get("custom")
    format = inner.get("format") if isinstance(inner, dict) else None
    return format if isinstance(format, dict) and format.get("type") == "grammar" else NOTHING


def _chosen(tools: list[Tool], params: Mapping[str, Any]) -> tuple[list[Tool], Any]:
    """The tools that may be called, and the choice among them; none where there are no tools."""
    choice = params.get("tool_choice", params.get("function_call"))
    if not tools or choice is None:
        return tools, None
    match choice:
        case "auto" | "none" | "required":
            return tools, choice
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(allowed)}}:
            names = {_named(each) for each in allowed}
            return [tool for tool in tools if tool.name in names], "required" if mode == "required" else "auto"
        case {}:
            name = _named(choice)
            if name in {tool.name for tool in tools}:
                return tools, {"type": "function", "function": {"name": name}}
    return tools, None


def _named(choice: Any) -> str:
    wire: Mapping[str, Any] = choice if isinstance(choice, dict) else {}
    inner = wire.get(text_of(wire.get("type")))
    return text_of((inner if isinstance(inner, dict) else wire).get("name"))


# --- parameters ------------------------------------------------------------------------------------------------------


def _params(params: Mapping[str, Any], losses: list[Loss]) -> dict[str, Any]:
    lifted: dict[str, Any] = {}
    for name, value in params.items():
        if value is None:
            continue
        if name in _AS_THEY_ARE:
            lifted[name] = value
        elif name not in _UNSAID:
            losses.append(Loss(_LOST.get(name, "unknown_parameter"), name))
    if lifted.get("n") == 1:
        del lifted["n"]
    if lifted.get("logprobs") is False:
        del lifted["logprobs"]
    stop = params.get("stop")
    if stop:
        lifted["stop"] = [stop] if isinstance(stop, str) else list(stop)
    if "user" not in lifted and isinstance(user := params.get("safety_identifier"), str):
        lifted["user"] = user
    if params.get("store") is True:
        losses.append(Loss("store", "store"))
    if "audio" in (params.get("modalities") or ()):
        losses.append(Loss("audio_output", "modalities"))
    if lifted.get("response_format") == {"type": "text"}:
        del lifted["response_format"]
    return lifted

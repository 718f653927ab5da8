"""A neutral request in the nouns of the Gemini API."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.neutral import Carried, Loss
from engine.codecs.translation.reasoning import budget_of, effort_of, nearest
from engine.codecs.translation.schemas import Dialect, adapted, tool_schema
from engine.model.exchange import Exchange, Media, Message, Part, Protocol, Tool, ToolCall

from .contents import decode_contents, decode_system
from .models import Model, model_of
from .parts import SKIPS_VALIDATION
from .results import ERROR, OUTPUT

replace = msgspec.structs.replace

MOST_STOPS: Final = 5
BEGIN: Final = "Continue."
"""The user's turn in front of a conversation that the model begins."""

_AS_THEY_ARE: Final = (
    *("max_tokens", "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty"),
)
_LOST: Final[Mapping[str, str]] = {
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
    "logit_bias": "logit_bias",
    "user": "user",
    "metadata": "metadata",
    "service_tier": "service_tier",
    "verbosity": "verbosity",
}

_TOOL: Final = Dialect()
"""`parametersJsonSchema`: JSON Schema; what of it the model does not know is not refused."""

_ANSWER: Final = Dialect(
    kept=frozenset(
        (
            *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items"),
            *("prefixItems", "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties"),
            *("additionalProperties", "required", "propertyOrdering"),
        )
    ),
    spelled_out=True,
)
"""`responseJsonSchema` (API reference, GenerationConfig)."""


def lower(exchange: Exchange) -> Carried:
    losses: list[Loss] = []
    model = model_of(exchange.model)
    instructing = [each for each in exchange.messages if each.role in ("system", "developer")]
    system = [part for each in instructing for part in _parts(each, "systemInstruction", losses)]
    said = [each for each in exchange.messages if each.role not in ("system", "developer")]
    contents = _contents(said, model, losses)
    if not contents and system:
        # A conversation of instructions alone: Gemini wants a turn of the user's.
        contents, system = [{"role": "user", "parts": system}], []
    lowered = replace(
        exchange,
        protocol=Protocol.GEMINI,
        messages=(*decode_system({"parts": system}), *decode_contents(contents)),
        tools=tuple(_tool(tool) for tool in exchange.tools),
        params=_params(exchange, model, losses),
        query="",
        body=None,
        wire=None,
    )
    return Carried(lowered, losses)


# --- messages --------------------------------------------------------------------------------------------------------


def _contents(messages: Sequence[Message], model: Model, losses: list[Loss]) -> list[dict[str, Any]]:
    """The turns on the wire, user and model in turn: what stands side by side is one."""
    turns: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    follows: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        at = f"messages[{place}]"
        role = "model" if message.role == "assistant" else "user"
        names |= {call.id: call.name for call in message.tool_calls}
        if message.role == "tool":
            result, media = _result(message, names, at, losses)
            parts = [result]
            follows += media
        else:
            parts = [*_parts(message, at, losses), *_calls(message.tool_calls, model)]
            if role == "user":
                parts, follows = [*follows, *parts], []
        if role == "model" and follows:
            _add(turns, "user", follows)
            follows = []
        _add(turns, role, parts)
    _add(turns, "user", follows)
    if turns and turns[0]["role"] == "model":
        turns.insert(0, {"role": "user", "parts": [{"text": BEGIN}]})
    return turns


def _add(turns: list[dict[str, Any]], role: str, parts: list[dict[str, Any]]) -> None:
    if not parts:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["parts"] += parts
    else:
        turns.append({"role": role, "parts": list(parts)})


def _calls(calls: Sequence[ToolCall], model: Model) -> list[dict[str, Any]]:
    """The first of parallel calls is signed; one that another model made with the value that Google has for it."""
    made: list[dict[str, Any]] = []
    for place, call in enumerate(calls):
        part: dict[str, Any] = {"functionCall": {"id": call.id, "name": call.name, "args": call.args}}
        if call.signature:
            part["thoughtSignature"] = call.signature
        elif model.signs and not place:
            part["thoughtSignature"] = SKIPS_VALIDATION
        made.append(part)
    return made


def _result(
    message: Message, names: Mapping[str, str], at: str, losses: list[Loss]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result, and the media in it, which follow in the same turn behind all results."""
    media = [part for part in _parts(message, at, losses) if "text" not in part]
    response = {ERROR if message.is_error else OUTPUT: message.text}
    name = names.get(message.tool_call_id, message.tool_call_id)
    return {"functionResponse": {"id": message.tool_call_id, "name": name, "response": response}}, media


def _parts(message: Message, at: str, losses: list[Loss]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for place, each in enumerate(message.parts):
        part = _part(each)
        if isinstance(part, str):
            losses.append(Loss(part, f"{at}.{place}"))
        elif part is not None:
            if each.media is not None and each.media.detail not in ("", "auto"):
                losses.append(Loss("image_detail", f"{at}.{place}"))
            made.append(part)
    return made


def _part(part: Part) -> dict[str, Any] | str | None:
    """The object that says a part, the feature that is lost with it, or None for nothing: empty text is refused."""
    match part.kind:
        case "text" | "refusal":
            return {"text": part.text} if part.text else None
        case "reasoning":
            if part.issuer is not Protocol.GEMINI or not part.signature:
                return "thoughts"
            return {"text": part.text, "thought": True, "thoughtSignature": part.signature}
        case "image" | "audio" | "file":
            return _of_media(part.kind, part.media or Media())
        case "opaque":
            return "opaque"


def _of_media(kind: str, media: Media) -> dict[str, Any] | str:
    if media.file_id:
        return "file_ids"
    if media.url:
        return "image_urls" if kind == "image" else "file_urls"
    if not media.data:
        return "opaque"
    return {"inlineData": {"mimeType": media.mime, "data": media.data}}


# --- tools and parameters --------------------------------------------------------------------------------------------


def _tool(tool: Tool) -> Tool:
    schema = {word: value for word, value in tool_schema(tool.schema, _TOOL).items() if word != "$schema"}
    return Tool(name=tool.name, description=tool.description, schema=schema)


def _params(exchange: Exchange, model: Model, losses: list[Loss]) -> dict[str, Any]:
    before = exchange.params
    made = {name: before[name] for name in _AS_THEY_ARE if name in before}
    for name in before.keys() & _LOST.keys():
        losses.append(Loss(_LOST[name], name))
    if before.get("n", 1) != 1:
        losses.append(Loss("choices", "n"))
    stop = [each for each in before.get("stop", ()) if each]
    if len(stop) > MOST_STOPS:
        losses.append(Loss("many_stops", "stop"))
    if stop:
        made["stop"] = stop[:MOST_STOPS]
    if exchange.tools:
        _choose_tool(made, before, losses)
    _think(made, before, model, losses)
    match before.get("response_format"):
        case {"type": "json_object"}:
            made["responseMimeType"] = "application/json"
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            made["responseMimeType"] = "application/json"
            made["responseJsonSchema"] = adapted(schema, _ANSWER)
    return made


def _choose_tool(made: dict[str, Any], before: Mapping[str, Any], losses: list[Loss]) -> None:
    calling: dict[str, Any] = {}
    match before.get("tool_choice"):
        case "none":
            calling = {"mode": "NONE"}
        case "auto":
            calling = {"mode": "AUTO"}
        case "required":
            calling = {"mode": "ANY"}
        case {"function": {"name": str(name)}}:
            calling = {"mode": "ANY", "allowedFunctionNames": [name]}
    if calling:
        made["toolConfig"] = {"functionCallingConfig": calling}
    if before.get("parallel_tool_calls") is False:
        losses.append(Loss("parallel_calls", "parallel_tool_calls"))


def _think(made: dict[str, Any], before: Mapping[str, Any], model: Model, losses: list[Loss]) -> None:
    effort, budget = effort_of(before), budget_of(before)
    if effort is None or budget is None:
        return
    rests = effort == "none" or not budget
    if model.levels:
        level = nearest("minimal" if rests else effort, model.levels)
        made["thinkingConfig"] = {"thinkingLevel": level, **({} if rests else {"includeThoughts": True})}
    elif model.budget[1]:
        least, most = model.budget
        if rests:
            made["thinkingConfig"] = {"thinkingBudget": 0 if model.may_rest else least}
        else:
            made["thinkingConfig"] = {"thinkingBudget": max(least, min(budget, most)), "includeThoughts": True}
    elif not rests:
        losses.append(Loss("no_reasoning", "reasoning_effort"))

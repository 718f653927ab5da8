"""A neutral request in the nouns of Messages."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.json_text import encode_json
from engine.codecs.neutral import Carried, Loss
from engine.codecs.translation.media import IMAGES, PDF, text_in
from engine.codecs.translation.reasoning import LEAST_BUDGET, budget_of, effort_of, nearest
from engine.codecs.translation.schemas import ANTHROPIC, ANTHROPIC_ANSWER, adapted, tool_schema
from engine.model.exchange import Exchange, Media, Message, Part, Protocol, Tool

from .blocks import encode_call
from .messages import decode_message, decode_system
from .models import DEFAULT_LIMIT, Model, model_of
from .request import decode_tool

replace = msgspec.structs.replace

LONGEST_USER: Final = 256

_LOST: Final[Mapping[str, str]] = {
    "seed": "seed",
    "n": "choices",
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
    "presence_penalty": "penalties",
    "frequency_penalty": "penalties",
    "logit_bias": "logit_bias",
    "metadata": "metadata",
    "verbosity": "verbosity",
}
_TIERS: Final[Mapping[Any, str]] = {"auto": "auto", "default": "standard_only"}

_BEGIN: Final = "Continue."
"""The user's turn in front of a conversation that the assistant begins, which Anthropic refuses."""

_JSON_OBJECT: Final = "Answer with one JSON object and nothing else."
_JSON_SCHEMA: Final = "Answer with one JSON value that fits this JSON Schema, and with nothing else:\n"


def lower(exchange: Exchange) -> Carried:
    losses: list[Loss] = []
    params = _Params(exchange, losses)
    instructing = [each for each in exchange.messages if each.role in ("system", "developer")]
    system = [block for each in instructing for block in _blocks(each, "system", losses)]
    system += [{"type": "text", "text": text} for text in params.told]
    said = [each for each in exchange.messages if each.role not in ("system", "developer")]
    messages = _messages(said, losses)
    if not messages and system:
        # A conversation of instructions alone: Messages wants a turn of the user's.
        messages, system = [{"role": "user", "content": system}], []
    lowered = replace(
        exchange,
        protocol=Protocol.ANTHROPIC,
        messages=(*decode_system(_short(system)), *[each for wire in messages for each in decode_message(wire)]),
        tools=tuple(_tool(tool) for tool in exchange.tools),
        params=params.made,
        query="",
        body=None,
        wire=None,
    )
    return Carried(lowered, losses)


# --- messages --------------------------------------------------------------------------------------------------------


def _messages(messages: Sequence[Message], losses: list[Loss]) -> list[dict[str, Any]]:
    """The turns on the wire, user and assistant in turn: what stands side by side is one."""
    turns: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        at = f"messages.{place}"
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [_result(message, at, losses)] if message.role == "tool" else _blocks(message, at, losses)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": _BEGIN}]})
    if turns and turns[-1]["role"] == "assistant":
        _trimmed(turns)
    return turns


def _trimmed(turns: list[dict[str, Any]]) -> None:
    """The beginning of the answer must not end in white space."""
    last = turns[-1]["content"][-1]
    if last["type"] == "text":
        text = last["text"].rstrip()
        if text:
            last["text"] = text
        else:
            turns[-1]["content"].pop()
            if not turns[-1]["content"]:
                turns.pop()


def _result(message: Message, at: str, losses: list[Loss]) -> dict[str, Any]:
    content = _blocks(message, at, losses)
    block: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": message.tool_call_id,
        "content": _short(content) or "",
    }
    return {**block, "is_error": True} if message.is_error else block


def _short(blocks: list[dict[str, Any]]) -> Any:
    """One text is a string, as clients write it."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _blocks(message: Message, at: str, losses: list[Loss]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for place, part in enumerate(message.parts):
        block = _block(part)
        if isinstance(block, str):
            losses.append(Loss(block, f"{at}.{place}"))
        elif block is None:
            continue
        elif message.role in ("system", "developer", "assistant") and part.kind in ("image", "audio", "file"):
            losses.append(Loss("opaque", f"{at}.{place}"))
        else:
            if part.media is not None and part.media.detail not in ("", "auto"):
                losses.append(Loss("image_detail", f"{at}.{place}"))
            blocks.append(block)
    return [*blocks, *(encode_call(call) for call in message.tool_calls)]


def _block(part: Part) -> dict[str, Any] | str | None:
    """The block that says a part, the feature that is lost with it, or None for nothing: empty text is refused."""
    match part.kind:
        case "text" | "refusal":
            return {"type": "text", "text": part.text} if part.text else None
        case "reasoning":
            if part.issuer is not Protocol.ANTHROPIC or not part.signature:
                return "thoughts"
            if not part.text:
                return {"type": "redacted_thinking", "data": part.signature}
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case "image" | "file":
            return _of_media(part.kind, part.media or Media())
        case "audio":
            return "audio"
        case "opaque":
            return "opaque"


def _of_media(kind: str, media: Media) -> dict[str, Any] | str:
    if media.file_id:
        return "file_ids"
    if media.url:
        return {"type": "image" if kind == "image" else "document", "source": {"type": "url", "url": media.url}}
    source = {"type": "base64", "media_type": media.mime, "data": media.data}
    if media.mime in IMAGES:
        return {"type": "image", "source": source}
    if kind == "image":
        return "image_type"
    title = {"title": media.name} if media.name else {}
    if media.mime == PDF:
        return {"type": "document", "source": source, **title}
    text = text_in(media)
    if not text:
        return "file_type"
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}, **title}


def _tool(tool: Tool) -> Tool:
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    return decode_tool({**wire, "input_schema": tool_schema(tool.schema, ANTHROPIC)})


# --- parameters ------------------------------------------------------------------------------------------------------


class _Params:
    """`made` is what goes into the request; `told` is what the model is told instead, in the system prompt."""

    def __init__(self, exchange: Exchange, losses: list[Loss]) -> None:
        self.told: list[str] = []
        self._before = exchange.params
        self._losses = losses
        model = model_of(exchange.model)
        for name in self._before.keys() & _LOST.keys():
            losses.append(Loss(_LOST[name], name))
        limit = self._before.get("max_tokens")
        limit = min(limit if isinstance(limit, int) and limit > 0 else DEFAULT_LIMIT, model.most)
        self.made: dict[str, Any] = {"max_tokens": limit}
        if stop := [each for each in self._before.get("stop", ()) if each.strip()]:
            self.made["stop"] = stop
        if isinstance(user := self._before.get("user"), str) and user:
            self.made["metadata"] = {"user_id": _shortened(user)}
        if (tier := _TIERS.get(self._before.get("service_tier"))) is not None:
            self.made["service_tier"] = tier
        forced = self._choose_tool() if exchange.tools else False
        thinks = self._think(exchange, model, limit, forced=forced)
        self._sample(model, thinks=thinks)
        self._format(model)

    def _lose(self, feature: str, where: str) -> None:
        self._losses.append(Loss(feature, where))

    def _choose_tool(self) -> bool:
        """Whether a call is forced."""
        choice: dict[str, Any] = {}
        match self._before.get("tool_choice"):
            case "auto" | "none" as same:
                choice = {"type": same}
            case "required":
                choice = {"type": "any"}
            case {"function": {"name": name}}:
                choice = {"type": "tool", "name": name}
        if self._before.get("parallel_tool_calls") is False and choice.get("type") != "none":
            choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
        if choice:
            self.made["tool_choice"] = choice
        return choice.get("type") in ("any", "tool")

    def _think(self, exchange: Exchange, model: Model, limit: int, *, forced: bool) -> bool:
        """Whether the model is asked to think."""
        effort, budget = effort_of(self._before), budget_of(self._before)
        if effort is None:
            return False
        if effort == "none" or not budget:
            if model.thinks == "adaptive":
                self.made["thinking"] = {"type": "disabled"}
            return False
        if model.efforts:
            self.made["output_config"] = {"effort": nearest(effort, model.efforts)}
        # Thinking "may not be enabled when tool_choice forces tool use".
        possible = bool(model.thinks) and not forced
        if model.thinks == "budget":
            budget = min(budget, limit - 1)
            possible = possible and budget >= LEAST_BUDGET and _may_think(exchange.messages)
        if not possible:
            self._lose("no_reasoning", "reasoning_effort")
            return False
        if model.thinks == "budget":
            # Half of the limit is left for the answer.
            self.made["thinking"] = {"type": "enabled", "budget_tokens": max(LEAST_BUDGET, min(budget, limit // 2))}
        else:
            self.made["thinking"] = {"type": "adaptive", "display": "summarized"}
        return True

    def _sample(self, model: Model, *, thinks: bool) -> None:
        said = {name: self._before[name] for name in ("temperature", "top_p", "top_k") if name in self._before}
        if "temperature" in said:
            said["temperature"] = min(1, said["temperature"])
        # With thinking temperature must be 1, and top_k is refused; newer models take none of the three.
        refused = [] if model.sampling == "all" else ["top_p"] if {"temperature", "top_p"} <= said.keys() else []
        if model.sampling == "none" or thinks:
            refused = list(said)
        for name in refused:
            if said.pop(name) != 1:
                self._lose("sampling", name)
        self.made |= said

    def _format(self, model: Model) -> None:
        match self._before.get("response_format"):
            case {"type": "json_object"}:
                self.told.append(_JSON_OBJECT)
            case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
                if model.formats:
                    format = {"type": "json_schema", "schema": adapted(schema, ANTHROPIC_ANSWER)}
                    self.made["output_config"] = {**self.made.get("output_config", {}), "format": format}
                else:
                    self.told.append(_JSON_SCHEMA + encode_json(schema).decode())


def _may_think(messages: Sequence[Message]) -> bool:
    """With a budget, a turn that goes on behind tool results must have begun with thinking that Anthropic signed."""
    for message in reversed(messages):
        if message.role == "assistant":
            return not message.tool_calls or any(_is_signed(part) for part in message.parts)
        if message.role != "tool":
            return True
    return True


def _is_signed(part: Part) -> bool:
    return part.kind == "reasoning" and part.issuer is Protocol.ANTHROPIC and bool(part.signature)


def _shortened(user: str) -> str:
    return user if len(user) <= LONGEST_USER else hashlib.blake2b(user.encode(), digest_size=16).hexdigest()

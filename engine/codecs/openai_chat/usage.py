"""Token counts as OpenAI reports them: cached tokens stand inside the prompt's, reasoning inside the completion's."""

from collections.abc import Mapping
from typing import Any

from engine.model.exchange import Usage


def decode_usage(wire: Any) -> Usage | None:
    """None where nothing is reported. Compatible servers leave out details, or report the cache beside the prompt."""
    if not isinstance(wire, dict):
        return None
    prompt, completion = _details(wire, "prompt_tokens_details"), _details(wire, "completion_tokens_details")
    return Usage(
        input=_count(wire.get("prompt_tokens")),
        output=_count(wire.get("completion_tokens")),
        # DeepSeek: prompt_cache_hit_tokens; Moonshot: cached_tokens.
        cached=_count(prompt.get("cached_tokens", wire.get("prompt_cache_hit_tokens", wire.get("cached_tokens")))),
        cache_write=_count(prompt.get("cache_write_tokens")),
        reasoning=_count(completion.get("reasoning_tokens", wire.get("reasoning_tokens"))),
        wire=wire,
    )


def reported(data: Mapping[str, Any]) -> Any:
    """The usage object of an answer or a frame, or None: at the top, or where Groq or Moonshot put it in a stream."""
    usage = data.get("usage")
    if isinstance(usage, dict):
        return usage
    groq = data.get("x_groq")
    if isinstance(groq, dict) and isinstance(groq.get("usage"), dict):
        return groq["usage"]
    choices = data.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and isinstance(choice.get("usage"), dict):
                return choice["usage"]
    return None


def encode_usage(usage: Usage) -> dict[str, Any]:
    wire = usage.wire if isinstance(usage.wire, dict) else {}
    before = decode_usage(wire) or Usage()
    if wire and before == usage:
        return wire
    encoded = dict(wire)
    if not wire or (usage.input, usage.output) != (before.input, before.output):
        encoded |= {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
        }
    if not wire or usage.cached != before.cached or usage.cache_write != before.cache_write:
        details = {**_details(wire, "prompt_tokens_details"), "cached_tokens": usage.cached}
        if usage.cache_write or "cache_write_tokens" in details:
            details["cache_write_tokens"] = usage.cache_write
        encoded["prompt_tokens_details"] = details
    if not wire or usage.reasoning != before.reasoning:
        details = {**_details(wire, "completion_tokens_details"), "reasoning_tokens": usage.reasoning}
        encoded["completion_tokens_details"] = details
    return encoded


def _details(wire: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    details = wire.get(field)
    return details if isinstance(details, dict) else {}


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else 0

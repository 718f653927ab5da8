"""Token counts as Gemini reports them: thoughts stand beside the candidates, what tools fed in beside the prompt.

The total is the sum of `promptTokenCount`, `candidatesTokenCount`, `toolUsePromptTokenCount` and `thoughtsTokenCount`;
`cachedContentTokenCount` is part of the prompt (API reference, UsageMetadata).
"""

from typing import Any

from engine.model.exchange import Usage


def decode_usage(wire: Any) -> Usage | None:
    """None where nothing is reported."""
    if not isinstance(wire, dict):
        return None
    thoughts = _count(wire.get("thoughtsTokenCount"))
    return Usage(
        input=_count(wire.get("promptTokenCount")) + _count(wire.get("toolUsePromptTokenCount")),
        output=_count(wire.get("candidatesTokenCount")) + thoughts,
        cached=_count(wire.get("cachedContentTokenCount")),
        reasoning=thoughts,
        wire=wire,
    )


def encode_usage(usage: Usage) -> dict[str, Any]:
    """The object that came, with the counts that differ; one of our own for usage of another protocol."""
    wire = usage.wire if isinstance(usage.wire, dict) and "promptTokenCount" in usage.wire else {}
    before = decode_usage(wire) or Usage()
    if wire and before == usage:
        return wire
    encoded = dict(wire)
    tools = _count(wire.get("toolUsePromptTokenCount"))
    counts = {
        "promptTokenCount": (usage.input - tools, before.input - tools),
        "candidatesTokenCount": (usage.output - usage.reasoning, before.output - before.reasoning),
        "thoughtsTokenCount": (usage.reasoning, before.reasoning),
        "cachedContentTokenCount": (usage.cached, before.cached),
    }
    for field, (now, was) in counts.items():
        if now != was or (not wire and field in ("promptTokenCount", "candidatesTokenCount")):
            encoded[field] = max(0, now)
    encoded["totalTokenCount"] = usage.input + usage.output
    return encoded


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else 0

"""Token counts as Anthropic reports them: what was read from the cache and written to it stands beside `input_tokens`."""

from collections.abc import Mapping
from typing import Any, Final

from engine.model.exchange import Usage

IN_A_DELTA: Final = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "server_tool_use",
    "output_tokens_details",
)
"""What `message_delta` may say of usage; each count is the total so far, and overrides that of `message_start`."""


def decode_usage(wire: Any) -> Usage | None:
    """None where nothing is reported."""
    if not isinstance(wire, dict):
        return None
    cached, written = _count(wire.get("cache_read_input_tokens")), _count(wire.get("cache_creation_input_tokens"))
    details = wire.get("output_tokens_details")
    return Usage(
        input=_count(wire.get("input_tokens")) + cached + written,
        output=_count(wire.get("output_tokens")),
        cached=cached,
        cache_write=written,
        reasoning=_count(details.get("thinking_tokens")) if isinstance(details, dict) else 0,
        wire=wire,
    )


def encode_usage(usage: Usage) -> dict[str, Any]:
    """The usage object: the one that came, with the counts that differ."""
    wire = usage.wire if isinstance(usage.wire, dict) and "input_tokens" in usage.wire else {}
    before = decode_usage(wire) or Usage()
    if wire and before == usage:
        return wire
    encoded = dict(wire)
    counts = {
        "input_tokens": (max(0, usage.input - usage.cached - usage.cache_write), _uncached(before)),
        "cache_creation_input_tokens": (usage.cache_write, before.cache_write),
        "cache_read_input_tokens": (usage.cached, before.cached),
        "output_tokens": (usage.output, before.output),
    }
    for field, (now, was) in counts.items():
        if not wire or now != was:
            encoded[field] = now
    if usage.reasoning != before.reasoning:
        encoded["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return encoded


def merged(start: Any, delta: Any) -> dict[str, Any] | None:
    """The usage of `message_start` as `message_delta` leaves it; None where neither reports any."""
    if not isinstance(start, dict) and not isinstance(delta, dict):
        return None
    said: Mapping[str, Any] = delta if isinstance(delta, dict) else {}
    known: Mapping[str, Any] = start if isinstance(start, dict) else {}
    return {**known, **{field: value for field, value in said.items() if value is not None}}


def _uncached(usage: Usage) -> int:
    return max(0, usage.input - usage.cached - usage.cache_write)


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else 0

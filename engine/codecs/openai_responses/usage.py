"""Token counts as Responses reports them: cached tokens stand inside the input's, reasoning inside the output's."""

import json
from collections.abc import Mapping
from typing import Any, Final

from engine.model.exchange import Usage

_FIELD: Final = b'"usage":'
_DECODER: Final = json.JSONDecoder()


def decode_usage(wire: Any) -> Usage | None:
    """None where nothing is reported."""
    if not isinstance(wire, dict):
        return None
    given, made = _details(wire, "input_tokens_details"), _details(wire, "output_tokens_details")
    return Usage(
        input=_count(wire.get("input_tokens")),
        output=_count(wire.get("output_tokens")),
        cached=_count(given.get("cached_tokens")),
        cache_write=_count(given.get("cache_write_tokens")),
        reasoning=_count(made.get("reasoning_tokens")),
        wire=wire,
    )


def encode_usage(usage: Usage) -> dict[str, Any]:
    """The counts over the object from which they were read; all fields that clients' types require."""
    wire: dict[str, Any] = usage.wire if isinstance(usage.wire, dict) and "input_tokens" in usage.wire else {}
    before = decode_usage(wire)
    if before == usage:
        return wire
    given, made = _details(wire, "input_tokens_details"), _details(wire, "output_tokens_details")
    return {
        **wire,
        "input_tokens": usage.input,
        "input_tokens_details": {**given, "cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {**made, "reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def usage_in(text: bytes) -> Usage | None:
    """The last usage that stands whole in a piece of an answer, whatever is cut around it."""
    end = len(text)
    while (start := text.rfind(_FIELD, 0, end)) >= 0:
        end = start
        try:
            value, _ = _DECODER.raw_decode(text[start + len(_FIELD) :].decode("utf-8", "replace").lstrip())
        except ValueError:
            continue
        usage = decode_usage(value)
        if usage is not None and "input_tokens" in value:
            return usage
    return None


def _details(wire: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    details = wire.get(field)
    return details if isinstance(details, dict) else {}


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else 0

"""What an attempt can use at most, known before it is made: an upper bound of its input, and the limit of its output.

No token is less than a byte, so that the bytes of a request are a bound of its text. What is charged by its size on a
screen and not in bytes (images), or is only pointed at (files), has a stated charge instead.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from engine.model.exchange import Exchange, Part, Protocol
from engine.world.estimates import byte_length

IMAGE: Final = 5_000
"""Tokens of an image: more than any of today's models but those of `IMAGES` counts for one."""
IMAGES: Final[Mapping[str, int]] = {"gpt-4o-mini": 50_000}
"""The same for models whose name holds a word."""
POINTED_AT: Final = 100_000
"""Tokens of a file or a sound that the request only names: it lies at its provider, or at an address."""
SHORT: Final = 2_000
"""Bytes up to which an object holds no content, and so only names it."""

PER_REQUEST: Final = 32
TOOLS: Final = 1_024
"""What providers add by themselves: marks around a conversation, and instructions where tools are offered."""
PER_MESSAGE: Final = 16
PER_TOOL: Final = 32

_MEDIA: Final = frozenset({"image", "audio", "file"})


def input_bound(exchange: Exchange, model: str) -> int:
    """The most tokens that the input of this request can be, for the model that is asked."""
    body = exchange.body
    added = PER_REQUEST + (TOOLS if exchange.tools else 0)
    if body is not None and not any(part.kind in _MEDIA for message in exchange.messages for part in message.parts):
        return len(body) + added
    total = added + PER_MESSAGE * len(exchange.messages) + PER_TOOL * len(exchange.tools)
    total += _size(exchange.params)
    for message in exchange.messages:
        for part in message.parts:
            total += byte_length(part.text) if part.text else _unreadable(part, model)
            total += len(part.signature)
        for call in message.tool_calls:
            total += byte_length(call.name) + byte_length(call.arguments) + len(call.signature)
    for tool in exchange.tools:
        total += byte_length(tool.name) + byte_length(tool.description) + (_size(tool.schema) if tool.schema else 0)
    return total


def output_limit(exchange: Exchange) -> int | None:
    """The most tokens that each answer may have, as the client says it; None where it does not, or not as a number."""
    limit = exchange.params.get("max_tokens")
    return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else None


def output_bound(exchange: Exchange, assumed: int) -> int:
    """The most tokens of all answers together; `assumed` for each where the request sets no limit."""
    if exchange.protocol is Protocol.OPENAI_EMBEDDINGS:
        return 0  # a vector is no tokens
    answers = exchange.params.get("n")
    each = output_limit(exchange) or assumed
    return each * (answers if isinstance(answers, int) and answers > 1 else 1)


def limited(exchange: Exchange, limit: int) -> Exchange:
    """The exchange with a limit of its output, where it has none."""
    if exchange.protocol is Protocol.OPENAI_EMBEDDINGS or output_limit(exchange) is not None:
        return exchange
    return replace(exchange, params={**exchange.params, "max_tokens": limit}, body=None)


def _unreadable(part: Part, model: str) -> int:
    """What a part without text can be: an image by its charge, anything else by its bytes."""
    match part.kind:
        case "image":
            return next((charge for word, charge in IMAGES.items() if word in model), IMAGE)
        case "audio" | "file":
            size = _size(part.wire if part.wire is not None else part.media)
            return size if size > SHORT else POINTED_AT
        case _:
            return _size(part.wire)


def _size(value: Any) -> int:
    """Bytes of a value as JSON."""
    return 0 if value is None else len(msgspec.json.encode(value, enc_hook=repr))

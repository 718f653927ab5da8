"""The built-in backend: deterministic answers, so that everything can be tried without a key or a network.

It says what it was told. A line `call NAME {"argument": 1}` in the newest user message makes it call that tool; after a
tool's result it says what the tool said. It answers behind the HTTP contract, in the client's protocol.
"""

import hashlib
import math
import re
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from engine.model.exchange import (
    Answer,
    CallDelta,
    CallOpened,
    Choice,
    Chunk,
    Closed,
    Exchange,
    Finished,
    Other,
    Part,
    TextDelta,
    ToolCall,
    Usage,
    UsageReported,
)

MODELS: Final = ("sandbox",)
DIMENSIONS: Final = 256
MOST_DIMENSIONS: Final = 4096
_CALL: Final = re.compile(r"^\s*call\s+([A-Za-z0-9_.-]+)\s*(\{.*\})?\s*$", re.MULTILINE)
_PIECE: Final = re.compile(r"\S+\s*|\s+")


def sandbox_answer(exchange: Exchange) -> Answer:
    """What the sandbox says to a conversation; the same for the same conversation."""
    last = exchange.messages[-1] if exchange.messages else None
    calls: tuple[ToolCall, ...] = ()
    if last is None:
        text = "Hello from the sandbox."
    elif last.tool_call_id:
        text = f"The tool said: {last.text}"
    else:
        found = list(_CALL.finditer(last.text))
        calls = tuple(
            ToolCall(id=f"call_{exchange.id}_{number}", name=match[1], arguments=match[2] or "{}")
            for number, match in enumerate(found, 1)
            if _is_object(match[2])
        )
        text = "" if calls else f"You said: {last.text}"
    parts = (Part(kind="text", text=text),) if text else ()
    read = sum(len(message.text) for message in exchange.messages) // 4 + 1
    wrote = (len(text) + sum(len(call.arguments) for call in calls)) // 4 + 1
    choice = Choice(parts=parts, tool_calls=calls, finish="tool_calls" if calls else "stop")
    return Answer(model=exchange.model, choices=(choice,), usage=Usage(input=read, output=wrote))


def sandbox_embeddings(exchange: Exchange) -> Answer:
    """A vector of length 1 for each input: the same for the same text, and for others another."""
    asked = exchange.params.get("dimensions")
    dimensions = min(asked, MOST_DIMENSIONS) if isinstance(asked, int) and asked > 0 else DIMENSIONS
    choices = tuple(
        Choice(index=index, finish="stop", wire={"embedding": _vector(message.text, dimensions)})
        for index, message in enumerate(exchange.messages)
    )
    read = sum(len(message.text) for message in exchange.messages) // 4 + 1
    return Answer(model=exchange.model, choices=choices, usage=Usage(input=read))


def _vector(text: str, dimensions: int) -> list[float]:
    bits = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(4 * dimensions)
    numbers = [number / 2**31 for number in struct.unpack(f"<{dimensions}i", bits)]
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]


def _is_object(text: str | None) -> bool:
    try:
        return text is None or isinstance(msgspec.json.decode(text), dict)
    except msgspec.DecodeError:
        return False


def answer_chunks(answer: Answer, *, usage: bool = True) -> Sequence[Chunk]:
    """A whole answer as the chunks of a stream, a word at a time."""
    chunks: list[Chunk] = [Other()]
    for choice in answer.choices:
        for part in choice.parts:
            channel = {"reasoning": "reasoning", "refusal": "refusal"}.get(part.kind, "answer")
            chunks += [TextDelta(choice.index, channel, piece) for piece in _PIECE.findall(part.text)]  # type: ignore[arg-type]
        for index, call in enumerate(choice.tool_calls):
            chunks += [
                CallOpened(choice.index, index, call.id, call.name, call.kind),
                CallDelta(choice.index, index, call.arguments),
            ]
        chunks.append(Finished(choice.index, choice.finish))
    if usage and answer.usage is not None:
        chunks.append(UsageReported(answer.usage))
    chunks.append(Closed())
    return chunks


class MadeResponse:
    """An answer behind the HTTP contract that was made here: no byte of it travelled."""

    def __init__(self, status: int, content_type: bytes, pieces: Sequence[bytes]) -> None:
        self.status = status
        self.headers = [(b"content-type", content_type)]
        self._pieces = list(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        while self._pieces:
            yield self._pieces.pop(0)

    async def read(self, limit: int) -> bytes:
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body[:limit]

    async def aclose(self) -> None:
        self._pieces.clear()

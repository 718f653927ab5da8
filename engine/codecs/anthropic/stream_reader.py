"""A streamed answer of Messages to chunks. Facts from Anthropic's "Streaming messages"."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from engine.codecs.base import BadAnswer
from engine.codecs.frames import CLOSED, NOTHING_SAID, FrameReader, object_in
from engine.codecs.json_text import encode_json
from engine.codecs.sse import RawEvent, encode_event
from engine.codecs.text_pairs import paired, waits
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Chunk,
    Failed,
    Finished,
    Frame,
    TextDelta,
    UsageReported,
)

from .answer import decode_finish
from .blocks import decode_call, decode_parts, is_call, text_of
from .problem import error_of, kind_of, message_of, status_of
from .usage import decode_usage, merged

TEXT_OF_DELTA: Final[Mapping[str, tuple[str, Literal["answer", "reasoning"]]]] = {
    "text_delta": ("text", "answer"),
    "thinking_delta": ("thinking", "reasoning"),
}
"""The field of a delta that holds its text, and the channel in which it is said."""

TEXT_OF_BLOCK: Final[Mapping[str, tuple[str, Literal["answer", "reasoning"]]]] = {
    "text": ("text", "answer"),
    "thinking": ("thinking", "reasoning"),
}


class _Block(msgspec.Struct):
    """A content block that is open. `place` is that of a call among the calls; `given` is the input with which a call
    opened, which counts where no delta follows."""

    wire: Mapping[str, Any]
    place: int = -1
    given: str = ""
    thought: list[str] = []
    signature: str = ""


class Reader(FrameReader):
    """`thoughts` are the thinking blocks that have ended, as they must go back to the provider: with their signatures."""

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[Any, _Block] = {}
        self._calls = 0
        self._usage: Any = None
        self._failed = False
        self._halves: dict[Any, str] = {}

    def _end(self) -> None:
        """A stream without `message_stop` was cut, whatever it had said."""
        if not self.complete and not self._failed:
            raise BadAnswer("the upstream's stream was cut: it ended before message_stop")

    def _read(self, event: RawEvent) -> tuple[Frame, tuple[Chunk, ...]]:
        raw, text = event.raw, event.data
        if not text or not text.strip():
            return Frame(raw, None, NOTHING_SAID), NOTHING_SAID
        data, well_formed = object_in(text)
        if self._halves or not well_formed:
            data = self._rejoined(data)
            raw = encode_event(encode_json(data), event.name.decode("utf-8", "replace"))
        said = self._said(data)
        return Frame(raw, data, said), said

    def _said(self, data: dict[str, Any]) -> tuple[Chunk, ...]:
        match data.get("type"):
            case "content_block_delta":
                return self._delta(data)
            case "content_block_start":
                return self._started(data)
            case "content_block_stop":
                return self._stopped(data)
            case "message_start":
                message = data.get("message")
                self._usage = message.get("usage") if isinstance(message, dict) else None
                return NOTHING_SAID
            case "message_delta":
                return self._ending(data)
            case "message_stop":
                self.complete = True
                return CLOSED
            case "error":
                self._failed = True
                error = error_of(data) or {}
                status = status_of(error)
                return (Failed(status, kind_of(error, status), message_of(error)),)
            case _:
                return NOTHING_SAID

    def _started(self, data: Mapping[str, Any]) -> tuple[Chunk, ...]:
        wire = data.get("content_block")
        if not isinstance(wire, dict):
            raise BadAnswer("a content_block_start of the upstream's stream has no 'content_block'")
        block = _Block(wire)
        self._open[data.get("index")] = block
        if is_call(wire):
            call = decode_call(wire)
            block.place = self._calls
            block.given = "" if call.arguments == "{}" else call.arguments
            self._calls += 1
            return (CallOpened(0, block.place, call.id, call.name, call.kind, wire),)
        field, channel = TEXT_OF_BLOCK.get(text_of(wire.get("type")), ("", "answer"))
        text = text_of(wire.get(field))
        if channel == "reasoning":
            block.thought = [text]
            block.signature = text_of(wire.get("signature"))
        return (TextDelta(0, channel, text),) if text else NOTHING_SAID

    def _delta(self, data: Mapping[str, Any]) -> tuple[Chunk, ...]:
        delta = data.get("delta")
        if not isinstance(delta, dict):
            raise BadAnswer("a content_block_delta of the upstream's stream has no 'delta'")
        kind = delta.get("type")
        block = self._open.get(data.get("index"))
        if block is None:
            raise BadAnswer("a content_block_delta of the upstream's stream belongs to no open block")
        if kind == "input_json_delta":
            if block.place < 0:
                raise BadAnswer("an input_json_delta of the upstream's stream belongs to no tool call")
            arguments = text_of(delta.get("partial_json"))
            if not arguments:
                return NOTHING_SAID
            block.given = ""
            return (CallDelta(0, block.place, arguments),)
        if kind == "signature_delta":
            block.signature = text_of(delta.get("signature"))
            return NOTHING_SAID
        field, channel = TEXT_OF_DELTA.get(text_of(kind), ("", "answer"))
        text = text_of(delta.get(field))
        if not text:
            return NOTHING_SAID
        if channel == "reasoning":
            block.thought.append(text)
        return (TextDelta(0, channel, text),)

    def _stopped(self, data: Mapping[str, Any]) -> tuple[Chunk, ...]:
        block = self._open.pop(data.get("index"), None)
        if block is None:
            raise BadAnswer("a content_block_stop of the upstream's stream belongs to no open block")
        if block.place >= 0:
            return (CallDelta(0, block.place, block.given),) if block.given else NOTHING_SAID
        match block.wire.get("type"):
            case "thinking":
                whole = {**block.wire, "thinking": "".join(block.thought), "signature": block.signature}
                self.thoughts += decode_parts(whole)
            case "redacted_thinking":
                self.thoughts += decode_parts(block.wire)
        return NOTHING_SAID

    def _ending(self, data: Mapping[str, Any]) -> tuple[Chunk, ...]:
        chunks: list[Chunk] = []
        delta = data.get("delta")
        finish = decode_finish(delta.get("stop_reason")) if isinstance(delta, dict) else ""
        if finish:
            chunks.append(Finished(0, finish))
        usage = decode_usage(merged(self._usage, data.get("usage")))
        if usage is not None:
            chunks.append(UsageReported(usage))
        return tuple(chunks) or NOTHING_SAID

    def _rejoined(self, data: dict[str, Any]) -> dict[str, Any]:
        """The event with the surrogate pairs whole that the server cut between this event and its neighbours."""
        index, delta = data.get("index"), data.get("delta")
        if isinstance(delta, dict) and data.get("type") == "content_block_delta":
            for field in ("text", "thinking", "partial_json"):
                text = delta.get(field)
                if isinstance(text, str) and text:
                    text = self._halves.pop(index, "") + text
                    if waits(text):
                        self._halves[index] = text[-1]
                        text = text[:-1]
                    delta[field] = text
        elif data.get("type") == "content_block_stop":
            self._halves.pop(index, None)
        rejoined: dict[str, Any] = paired(data)
        return rejoined

"""A streamed answer to chunks: as server-sent events, or as one JSON array that grows. The first byte tells which.

Gemini has no event for the end: a stream is whole when every candidate has said why it finished. Old models say STOP in
each frame, so that a frame that says it waits until the next one, or the end, shows whether it was the last.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from engine.codecs.base import BadAnswer
from engine.codecs.frames import CLOSED, NOTHING_SAID, Said, object_in
from engine.codecs.json_text import encode_json
from engine.codecs.sse import MAX_EVENT_BYTES, Decoder, encode_event
from engine.codecs.text_pairs import REPLACEMENT, paired, waits
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Channel,
    Chunk,
    Failed,
    Finished,
    Frame,
    Other,
    Part,
    TextDelta,
    UsageReported,
)

from .answer import block_reason, decode_finish, number_of, parts_of
from .fields import get
from .parts import call_field, decode_call, decode_part
from .problem import error_of, kind_of, message_of, status_of
from .usage import decode_usage

_SAID_FIELDS: Final = frozenset(("content", "finishReason", "index", "safetyRatings", "tokenCount", "avgLogprobs"))
"""The fields of a candidate that chunks can say, or that mean nothing without them."""

_STRUCTURE: Final = re.compile(rb'[{}"\\\[\]]')


class _Candidate(msgspec.Struct):
    calls: int = 0
    for_client: bool = False
    finished: bool = False


class _Array:
    """Cuts a growing JSON array into its items: each with the bytes in front of it, at last what closes the array."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._at = 0
        self._depth = 0
        self._in_text = False
        self._opened = False
        self.closed = False

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """(bytes that came, the item in them) of all that is whole now; the item of the end is b""."""
        pending = self._pending
        pending += data
        out: list[tuple[bytes, bytes]] = []
        while (found := _STRUCTURE.search(pending, self._at)) is not None:
            mark, self._at = found[0], found.end()
            if mark == b"\\":
                if self._at >= len(pending):
                    self._at -= 1
                    break
                self._at += 1
            elif mark == b'"':
                self._in_text = not self._in_text
            elif not self._in_text and self._turn(mark):
                raw = bytes(pending[: self._at])
                start = raw.find(b"{")
                out.append((raw, b"" if self.closed else raw[start:]))
                del pending[: self._at]
                self._at = 0
        else:
            self._at = len(pending)
        if len(pending) > MAX_EVENT_BYTES:
            raise BadAnswer(f"an item of the upstream's stream is larger than {MAX_EVENT_BYTES} bytes")
        return out

    def _turn(self, mark: bytes) -> bool:
        """A bracket outside of text; whether an item, or the array, ends with it."""
        if mark in b"{[":
            if mark == b"[" and not self._opened:
                self._opened = True
            else:
                self._depth += 1
            return False
        if self._depth == 0:
            self.closed = True
            return True
        self._depth -= 1
        return self._depth == 0

    def close(self) -> bytes:
        """What follows the end."""
        rest = bytes(self._pending)
        self._pending.clear()
        return rest


class Reader:
    """Tolerates what compatible servers do: halves of characters, no index, usage after the end, an end in each frame."""

    def __init__(self) -> None:
        self.complete = False
        self.thoughts: list[Part] = []
        self._events: Decoder | None = None
        self._array: _Array | None = None
        self._candidates: dict[int, _Candidate] = {}
        self._halves: dict[tuple[int, bool], str] = {}
        self._waiting: Said = []
        self._failed = False
        self._broken: BadAnswer | None = None
        self._before = b""

    def feed(self, data: bytes) -> Said:
        """What came before a frame that cannot be read is said first; the next call raises."""
        if self._broken is not None:
            raise self._broken
        said: Said = []
        try:
            for raw, text in self._pieces(data):
                said += self._released(self._read(raw, text))
        except BadAnswer as mistake:
            if not said:
                raise
            self._broken = mistake
        return said

    def close(self) -> Said:
        """The last frames. Raises BadAnswer where the stream was cut."""
        if self._broken is not None:
            raise self._broken
        said: Said = []
        if self._events is not None:
            for event in self._events.close():
                said += self._released(self._read(event.raw, event.data))
        said += self._waiting
        self._waiting = []
        ended = bool(self._candidates) and all(each.finished for each in self._candidates.values())
        if not self._failed and not (ended and (self._array is None or self._array.closed)):
            raise BadAnswer("the upstream's stream was cut: a candidate did not finish")
        self.complete = not self._failed
        end = self._array.close() if self._array is not None else b""
        return [*said, (Frame(self._before + end, None, CLOSED), CLOSED)] if not self._failed else said

    # --- frames ------------------------------------------------------------------------------------------------------

    def _pieces(self, data: bytes) -> list[tuple[bytes, bytes | None]]:
        if self._events is None and self._array is None:
            data = self._before + data
            start = data.lstrip(b" \t\r\n\xef\xbb\xbf")[:1]
            self._before = b"" if start else data
            if not start:
                return []
            if start in b"[{":
                self._array = _Array()
            else:
                self._events = Decoder()
        if self._events is not None:
            return [(event.raw, event.data) for event in self._events.feed(data)]
        pieces: list[tuple[bytes, bytes | None]] = []
        for raw, item in self._array.feed(data) if self._array is not None else ():
            if item:
                pieces.append((raw, item))
            else:
                self._before = raw  # the bracket that closes the array is said with the end
        return pieces

    def _released(self, read: tuple[Frame, tuple[Chunk, ...]]) -> Said:
        """The frames that can go on: one that says an end waits for the next, and loses its end if that goes on."""
        frame, chunks = read
        out: Said = []
        speaking = {chunk.choice for chunk in chunks if isinstance(chunk, TextDelta | CallOpened | Finished)}
        if speaking and self._waiting:
            out = [_without_end(each, speaking) for each in self._waiting]
            self._waiting = []
        if self._waiting or any(isinstance(chunk, Finished) for chunk in chunks):
            self._waiting.append(read)
            return out
        return [*out, (frame, chunks)]

    def _read(self, raw: bytes, text: bytes | None) -> tuple[Frame, tuple[Chunk, ...]]:
        if text is None:
            return Frame(raw, None, NOTHING_SAID), NOTHING_SAID
        data, well_formed = object_in(text)
        if self._halves or not well_formed:
            data = self._rejoined(data)
            raw = encode_event(encode_json(data)) if self._array is None else _reframed(raw, encode_json(data))
        chunks: list[Chunk] = []
        error = error_of(data)
        if error is not None:
            self._failed = True
            status = status_of(error)
            chunks.append(Failed(status, kind_of(status), message_of(error)))
        candidates = data.get("candidates")
        for place, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
            if not isinstance(candidate, dict):
                raise BadAnswer(f"'candidates[{place}]' of the upstream's stream is not an object")
            self._read_candidate(candidate, number_of(candidate, place), chunks)
        if not candidates and block_reason(data):
            self._candidates.setdefault(0, _Candidate()).finished = True
            chunks.append(Finished(0, "content_filter"))
        elif not candidates and "promptFeedback" in data:
            chunks.append(Other())
        usage = decode_usage(data.get("usageMetadata"))
        if usage is not None:
            chunks.append(UsageReported(usage))
        said = tuple(chunks) or NOTHING_SAID
        return Frame(raw, data, said), said

    def _read_candidate(self, wire: Mapping[str, Any], number: int, chunks: list[Chunk]) -> None:
        candidate = self._candidates.get(number)
        if candidate is None:
            candidate = self._candidates[number] = _Candidate()
        others = not _SAID_FIELDS.issuperset(wire)
        for part in parts_of(wire):
            if call_field(part):
                call = decode_call(part, candidate.calls)
                chunks.append(CallOpened(number, candidate.calls, call.id, call.name, call.kind, part, call.signature))
                chunks.append(CallDelta(number, candidate.calls, call.arguments))
                candidate.calls += 1
                candidate.for_client = candidate.for_client or call.kind != "server"
                continue
            read = decode_part(part)
            if read.kind in ("text", "reasoning"):
                channel: Channel = "reasoning" if read.kind == "reasoning" else "answer"
                if read.text:
                    chunks.append(TextDelta(number, channel, read.text))
                signed = get(part, "thoughtSignature") is not None
                others = others or signed
                if signed and channel == "reasoning":
                    self.thoughts.append(read)
            else:
                others = True
        if others:
            chunks.append(Other())
        finish = decode_finish(wire.get("finishReason"), calls=candidate.for_client)
        candidate.finished = bool(finish)
        if finish:
            chunks.append(Finished(number, finish))

    # --- halves of characters ----------------------------------------------------------------------------------------

    def _rejoined(self, data: dict[str, Any]) -> dict[str, Any]:
        """The frame with the surrogate pairs whole that the server cut between this frame and its neighbours."""
        candidates = data.get("candidates")
        for place, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
            if not isinstance(candidate, dict):
                continue
            number, ended = number_of(candidate, place), bool(candidate.get("finishReason"))
            for part in parts_of(candidate):
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    key = (number, part.get("thought") is True)
                    text = self._halves.pop(key, "") + part["text"]
                    if waits(text) and not ended:
                        self._halves[key], text = text[-1], text[:-1]
                    part["text"] = text
            if ended:
                for key in [key for key in self._halves if key[0] == number]:
                    del self._halves[key]
                    parts_of(candidate).append({"text": REPLACEMENT})
        rejoined: dict[str, Any] = paired(data)
        return rejoined


def _without_end(read: tuple[Frame, tuple[Chunk, ...]], speaking: set[int]) -> tuple[Frame, tuple[Chunk, ...]]:
    """A frame of which the end was none: its candidate went on."""
    frame, chunks = read
    kept = tuple(chunk for chunk in chunks if not (isinstance(chunk, Finished) and chunk.choice in speaking))
    kept = kept or NOTHING_SAID
    return msgspec.structs.replace(frame, said=kept), kept


def _reframed(raw: bytes, item: bytes) -> bytes:
    """The bytes of an item of an array with another text of the item."""
    return raw[: raw.find(b"{")] + item

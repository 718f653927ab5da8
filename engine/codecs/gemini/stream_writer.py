"""Chunks to a streamed answer: the frames that came, the same frames saying less, or our own; as events or as an array."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, assert_never

import msgspec

from engine.codecs.base import Problem
from engine.codecs.json_text import encode_json
from engine.codecs.sse import encode_event
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Channel,
    Chunk,
    Closed,
    Exchange,
    Failed,
    Finished,
    Frame,
    Other,
    TextDelta,
    ToolCall,
    UsageReported,
)

from .answer import encode_finish, number_of, parts_of, signed, without_quotes
from .fields import get, inner
from .parts import call_field, encode_call, is_result, with_text
from .problem import error_object
from .request import streams_as_array
from .usage import encode_usage

_KEEP_ALIVE: Final = b"\n"
"""White space between two items of an array, and an empty line between two events. Not a comment: the official SDK for
Python takes any line that is no data for JSON, and that for JavaScript looks for `data:` where an event begins."""

_NOT_ENVELOPE: Final = frozenset(("candidates", "usageMetadata", "promptFeedback", "error"))
"""What a frame says of its own; its other fields are the same in every frame of a response."""

_SPEAKING: Final = (TextDelta, CallOpened, CallDelta, Finished)


class _Call(msgspec.Struct):
    """A call whose arguments still come: it goes out whole, as Gemini sends calls."""

    opened: CallOpened | None = None
    fragments: list[str] = []


class Writer:
    """`strip_usage` means nothing here: usage is in every frame, whoever asks."""

    def __init__(self, exchange: Exchange, *, strip_usage: bool = False) -> None:  # noqa: ARG002 - the contract's
        self._array = streams_as_array(exchange)
        self._opened = False
        self._envelope: dict[str, Any] = {"modelVersion": exchange.model, "responseId": exchange.id}
        self._learned = False
        self._later_attempt = False
        self._calls: dict[tuple[int, int], _Call] = {}
        self._unsigned: set[int] = set()
        """Choices whose signed call was taken away before another call of theirs went out."""
        self._came: dict[tuple[int, Channel], list[str]] = {}
        self._wrote: dict[tuple[int, Channel], list[str]] = {}
        self._results: dict[int, list[Any]] = {}
        """Results of the provider's own tools, of each choice that has such a call held: they follow it, or stay back."""
        self._ends: list[Chunk] = []
        """Ends of our own that wait for the usage, which Gemini tells in the same frame."""

    # --- the contract ------------------------------------------------------------------------------------------------

    def write(self, chunks: Sequence[Chunk], frame: Frame | None = None) -> bytes:
        """The bytes that say `chunks`, as StreamWriter has it."""
        if frame is None:
            return self._ending(chunks)
        return self._fresh(self._taken_ends()) + self._write(chunks, frame)

    def _ending(self, chunks: Sequence[Chunk]) -> bytes:
        """Chunks of our own; an end that is the last of them waits for what comes next."""
        chunks = [*self._taken_ends(), *chunks]
        if not any(isinstance(chunk, UsageReported | Closed | Failed) for chunk in chunks):
            self._ends = [chunk for chunk in chunks if isinstance(chunk, Finished)]
            chunks = [chunk for chunk in chunks if not isinstance(chunk, Finished)]
        return self._fresh(chunks)

    def _taken_ends(self) -> list[Chunk]:
        ends, self._ends = self._ends, []
        return ends

    def _write(self, chunks: Sequence[Chunk], frame: Frame) -> bytes:
        data = frame.data
        unchanged = chunks is frame.said or tuple(chunks) == frame.said
        if not isinstance(data, dict):
            return self._between(chunks, frame, unchanged)
        if not self._learned:
            self._learned = True
            self._envelope |= {field: value for field, value in data.items() if field not in _NOT_ENVELOPE}
        dirty = self._later_attempt or self._calls or self._unsigned or self._results
        if unchanged and not self._came and not dirty:
            return self._passed(frame)
        # From the first frame on that says something else, what came and what was written is compared.
        _note(self._came, frame.said)
        _note(self._wrote, chunks)
        if not chunks or _says_usage_alone(chunks, frame.said):
            self._note_withheld(data)
            return b""
        if unchanged and not dirty and not self._quotes_other_text(data):
            return self._passed(frame)
        return self._rewritten(data, chunks)

    def next_attempt(self) -> None:
        self._later_attempt = True
        for known in (self._calls, self._unsigned, self._came, self._wrote, self._results):
            known.clear()

    def keep_alive(self) -> bytes:
        return _KEEP_ALIVE

    def error(self, problem: Problem) -> bytes:
        return self._framed(error_object(problem)) + self._end()

    # --- how frames stand in the stream ------------------------------------------------------------------------------

    def _framed(self, data: Mapping[str, Any]) -> bytes:
        text = encode_json(data)
        return self._separator() + text if self._array else encode_event(text)

    def _separator(self) -> bytes:
        before, self._opened = b",\r\n" if self._opened else b"[", True
        return before

    def _end(self) -> bytes:
        if not self._array:
            return b""
        return b"]" if self._opened else b"[]"

    def _passed(self, frame: Frame) -> bytes:
        """A frame as it came, at its place in the stream."""
        came_in_array = frame.raw.lstrip()[:1] in (b"[", b",", b"{")
        if came_in_array != self._array:
            out = self._framed(frame.data)
        elif self._array and self._opened == (frame.raw.lstrip()[:1] == b"["):
            out = self._separator() + frame.raw[frame.raw.find(b"{") :]
        else:
            self._opened = True
            out = frame.raw
        failed = any(isinstance(chunk, Failed) for chunk in frame.said)
        return out + self._end() if failed else out

    def _between(self, chunks: Sequence[Chunk], frame: Frame, unchanged: bool) -> bytes:
        """What is no frame of content: a comment, or the end of the stream."""
        if not any(isinstance(chunk, Closed) for chunk in chunks):
            return b"" if self._array or not unchanged else frame.raw
        before = self._fresh([chunk for chunk in chunks if not isinstance(chunk, Closed)])
        before += self._fresh_calls()
        closing = b"]" in frame.raw
        if closing != self._array or not self._opened:
            return before + self._end()
        return before + frame.raw

    # --- what was learned --------------------------------------------------------------------------------------------

    def _note_withheld(self, data: Mapping[str, Any]) -> None:
        for number, wire in _candidates(data):
            for part in parts_of(wire):
                self._note_call(number, part, call_field(part))

    def _note_call(self, number: int, part: Any, field: str) -> None:
        """A call of the frame is held, or taken away."""
        if field == "functionCall" and "thoughtSignature" in part:
            self._unsigned.add(number)
        elif field and field != "functionCall":
            self._results.setdefault(number, [])

    def _quotes_other_text(self, data: Mapping[str, Any]) -> bool:
        return any(without_quotes(wire) != wire and self._altered(number) for number, wire in _candidates(data))

    def _altered(self, number: int) -> bool:
        """What the client has of the answer's text is not what came. To be asked when nothing of it is held any more."""
        key: tuple[int, Channel] = (number, "answer")
        return "".join(self._came.get(key, ())) != "".join(self._wrote.get(key, ()))

    # --- a frame that came, saying something else --------------------------------------------------------------------

    def _rewritten(self, data: dict[str, Any], chunks: Sequence[Chunk]) -> bytes:
        known = [number for number, _ in _candidates(data)]
        before = self._fresh(
            [chunk for chunk in chunks if isinstance(chunk, _SPEAKING) and chunk.choice not in known], noted=True
        )
        keeps_rest = any(isinstance(chunk, Other) for chunk in chunks)
        candidates = []
        for number, wire in _candidates(data):
            mine = [chunk for chunk in chunks if isinstance(chunk, _SPEAKING) and chunk.choice == number]
            candidate = self._candidate(number, wire, mine, keeps_rest)
            if candidate is not None:
                candidates.append(candidate)
        usage = [chunk.usage for chunk in chunks if isinstance(chunk, UsageReported)]
        tells = any(isinstance(chunk, Finished) for chunk in chunks) or (not known and (keeps_rest or bool(usage)))
        last = self._fresh([chunk for chunk in chunks if isinstance(chunk, Failed | Closed)], noted=True)
        if not (candidates or tells):
            return before + last
        changed = {field: value for field, value in data.items() if field not in ("usageMetadata", "error")}
        if candidates:
            changed["candidates"] = candidates
        else:
            changed.pop("candidates", None)
        if usage:
            changed["usageMetadata"] = encode_usage(usage[-1])
        if self._later_attempt:
            changed |= self._envelope
        return before + self._framed(changed) + last

    def _candidate(
        self, number: int, wire: dict[str, Any], chunks: Sequence[Chunk], keeps_rest: bool
    ) -> dict[str, Any] | None:
        """The candidate that says `chunks`; None for nothing."""
        opened = {id(chunk.wire): chunk for chunk in chunks if isinstance(chunk, CallOpened)}
        self._gather(chunks)
        texts = _Texts(parts_of(wire), chunks)
        finish = [chunk.finish for chunk in chunks if isinstance(chunk, Finished)]
        parts: list[Any] = texts.of_channels_that_were_not_there()
        calls: list[CallOpened] = self._waiting(number) if finish else []
        at = -1
        for part in parts_of(wire):
            if field := call_field(part):
                chunk = opened.pop(id(part), None)
                if chunk is None:
                    self._note_call(number, part, field)
                    continue
                at = len(parts) if at < 0 else at
                calls += [] if chunk in calls else [chunk]
            elif isinstance(part, dict) and isinstance(part.get("text"), str):
                said = texts.said_by(part)
                if said is not None:
                    parts.append(said)
            elif number in self._results and is_result(part):
                self._results[number].append(part)
            elif keeps_rest:
                parts.append(part)
        at = len(parts) if at < 0 else at
        parts[at:at] = self._written(number, calls)
        if finish:
            self._results.pop(number, None)
        extras = keeps_rest and any(field not in _PLAIN for field in wire)
        if not (parts or finish or extras):
            return None
        encoded = {field: value for field, value in wire.items() if field != "finishReason"}
        if not keeps_rest:
            encoded = {field: value for field, value in encoded.items() if field in _PLAIN}
        if "content" in wire or parts:
            encoded["content"] = {**inner(wire, "content"), "parts": parts, "role": "model"}
        if finish:
            encoded["finishReason"] = encode_finish(finish[-1], wire.get("finishReason"))
        return without_quotes(encoded) if self._altered(number) or texts.changed else encoded

    # --- calls -------------------------------------------------------------------------------------------------------

    def _gather(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            match chunk:
                case CallOpened(choice, index):
                    self._calls.setdefault((choice, index), _Call()).opened = chunk
                case CallDelta(choice, index, arguments):
                    self._calls.setdefault((choice, index), _Call()).fragments.append(arguments)
                case _:
                    pass

    def _whole(self, opened: CallOpened) -> dict[str, Any]:
        call = self._calls.pop((opened.choice, opened.index))
        arguments = "".join(call.fragments)
        whole = ToolCall(id=opened.id, name=opened.name, arguments=arguments, kind=opened.kind, wire=opened.wire)
        return encode_call(whole, first=not opened.index)

    def _waiting(self, number: int) -> list[CallOpened]:
        """The calls of a choice that have come, and have not gone out."""
        return [call.opened for key, call in self._calls.items() if key[0] == number and call.opened is not None]

    def _written(self, number: int, calls: Iterable[CallOpened]) -> list[Any]:
        """The parts that say calls, in order, each of the provider's own with its result behind it."""
        parts: list[Any] = []
        for opened in sorted(calls, key=lambda each: each.index):
            parts.append(self._whole(opened))
            if opened.kind == "server" and self._results.get(number):
                parts.append(self._results[number].pop(0))
        if number in self._unsigned and any(call_field(part) == "functionCall" for part in parts):
            self._unsigned.discard(number)
            return signed(parts)
        return parts

    def _fresh_calls(self) -> bytes:
        """Calls of choices that never said their end."""
        candidates: dict[int, dict[str, Any]] = {}
        for choice in sorted({choice for choice, _ in self._calls}):
            _content(candidates, choice).extend(self._written(choice, self._waiting(choice)))
        return self._framed({"candidates": list(candidates.values()), **self._envelope}) if candidates else b""

    # --- frames of our own -------------------------------------------------------------------------------------------

    def _fresh(self, chunks: Sequence[Chunk], *, noted: bool = False) -> bytes:
        """One frame that says all of them, and what ends the stream behind it."""
        if not noted:
            _note(self._wrote, chunks)
        candidates: dict[int, dict[str, Any]] = {}
        frame: dict[str, Any] = {}
        behind = b""
        for chunk in chunks:
            match chunk:
                case TextDelta(choice, channel, text):
                    if text:
                        _say(_content(candidates, choice), channel, text)
                case CallOpened() | CallDelta():
                    self._gather((chunk,))
                case Finished(choice, finish):
                    _content(candidates, choice).extend(self._written(choice, self._waiting(choice)))
                    candidates[choice]["finishReason"] = encode_finish(finish)
                case UsageReported(usage):
                    frame["usageMetadata"] = encode_usage(usage)
                case Failed(status, kind, message):
                    behind += self._framed(error_object(Problem(status=status, kind=kind, message=message)))
                    behind += self._end()
                case Closed():
                    behind += self._fresh_calls()
                case Other():
                    pass
                case _:
                    assert_never(chunk)
        out = b""
        if candidates or frame:
            said = {"candidates": list(candidates.values())} if candidates else {}
            out = self._framed({**said, **frame, **self._envelope})
        return out + behind + (self._end() if any(isinstance(chunk, Closed) for chunk in chunks) else b"")


_PLAIN: Final = frozenset(("content", "finishReason", "index", "safetyRatings", "tokenCount", "avgLogprobs"))
"""Fields of a candidate that say nothing without what is said beside them."""


class _Texts:
    """The parts of a frame that are text, where a channel says something else than it did: all of it stands in its first
    part. The signature at a text stays where it is: it is of what was thought before."""

    def __init__(self, parts: Sequence[Any], chunks: Sequence[Chunk]) -> None:
        came: dict[str, str] = {}
        for part in parts:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                channel = _channel(part)
                came[channel] = came.get(channel, "") + part["text"]
        now: dict[str, str] = {}
        for chunk in chunks:
            if isinstance(chunk, TextDelta):
                channel = "answer" if chunk.channel == "refusal" else chunk.channel
                now[channel] = now.get(channel, "") + chunk.text
        self._same = {channel for channel, text in came.items() if now.get(channel, "") == text}
        self._left = {channel: text for channel, text in now.items() if channel not in self._same}
        self._came = came.keys()
        self.changed = len(self._same) != len(came)

    def said_by(self, part: dict[str, Any]) -> dict[str, Any] | None:
        channel = _channel(part)
        if channel in self._same:
            return part
        return with_text(part, self._left.pop(channel, ""))

    def of_channels_that_were_not_there(self) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for channel, text in list(self._left.items()):
            if channel not in self._came and text:
                _say(parts, channel, text)
        return parts


def _channel(part: Mapping[str, Any]) -> str:
    return "reasoning" if get(part, "thought") is True else "answer"


def _candidates(data: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    candidates = data.get("candidates")
    return [
        (number_of(wire, place), wire)
        for place, wire in enumerate(candidates if isinstance(candidates, list) else ())
        if isinstance(wire, dict)
    ]


def _content(candidates: dict[int, dict[str, Any]], choice: int) -> list[Any]:
    """The parts of a choice in a frame of our own."""
    candidate = candidates.setdefault(choice, {"content": {"parts": [], "role": "model"}, "index": choice})
    parts: list[Any] = candidate["content"]["parts"]
    return parts


def _say(parts: list[Any], channel: str, text: str) -> None:
    thinks = channel == "reasoning"
    last = parts[-1] if parts else {}
    if "text" in last and (last.get("thought") is True) == thinks:
        last["text"] += text
    else:
        parts.append({"text": text, "thought": True} if thinks else {"text": text})


def _note(texts: dict[tuple[int, Channel], list[str]], chunks: Iterable[Chunk]) -> None:
    for chunk in chunks:
        if isinstance(chunk, TextDelta):
            texts.setdefault((chunk.choice, chunk.channel), []).append(chunk.text)


def _says_usage_alone(chunks: Sequence[Chunk], said: Sequence[Chunk]) -> bool:
    """All that is left of a frame is a count, which a later frame gives again."""
    return all(isinstance(chunk, UsageReported) for chunk in chunks) and any(
        isinstance(each, _SPEAKING) for each in said
    )

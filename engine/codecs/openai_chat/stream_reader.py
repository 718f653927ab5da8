"""A streamed answer of Chat Completions to chunks, as OpenAI sends it and as compatible servers do."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from engine.codecs.base import BadAnswer
from engine.codecs.frames import CLOSED, NOTHING_SAID, FrameReader, object_in
from engine.codecs.json_text import encode_json
from engine.codecs.sse import RawEvent, encode_event
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
    TextDelta,
    UsageReported,
)

from .answer import decode_finish
from .messages import REASONING_DETAILS, REASONING_FIELDS, arguments_text, call_id, decode_part, reasoning_of
from .problem import error_of, kind_of, message_of, status_of
from .usage import decode_usage, reported

SAID_FIELDS: Final = frozenset(
    ("role", "content", "refusal", "tool_calls", "function_call", REASONING_DETAILS, *REASONING_FIELDS)
)
"""The fields of a delta that chunks can say; with any other field a frame says something else beside them."""

_CALL_FIELDS: Final = frozenset(("index", "id", "type", "function", "custom"))


class _Call(msgspec.Struct):
    """A tool call that is being streamed. Until its name is known it is not open, and its arguments wait."""

    place: int
    id: str
    name: str = ""
    kind: Literal["function", "custom", "server"] = "function"
    waiting: str = ""


class _Choice(msgspec.Struct):
    finished: bool = False
    calls: dict[int, _Call] = {}
    latest: dict[int, _Call] = {}  # by the index on the wire
    last: _Call | None = None


class Reader(FrameReader):
    """Tolerates what compatible servers do: coalesced frames, comments, calls without index, null and integer ids."""

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, _Choice] = {}
        self._halves: dict[tuple[int, str, int], str] = {}
        self._failed = False

    def _end(self) -> None:
        """Without `[DONE]` a stream is whole where every choice has said why it ended: some servers stop there."""
        if not self.complete and self._choices and all(choice.finished for choice in self._choices.values()):
            self.complete = True
        if not self.complete and not self._failed:
            raise BadAnswer("the upstream's stream was cut: it ended before a finish reason and [DONE]")

    def _read(self, event: RawEvent) -> tuple[Frame, tuple[Chunk, ...]]:
        raw, text = event.raw, event.data
        if not text or not text.startswith(b"{"):
            text = (text or b"").strip()
            if not text:
                return Frame(raw, None, NOTHING_SAID), NOTHING_SAID
            if text == b"[DONE]":
                self.complete = True
                return Frame(raw, None, CLOSED), CLOSED
        data, well_formed = object_in(text)
        if self._halves or not well_formed:
            data = self._rejoined(data)
            raw = encode_event(encode_json(data), event.name.decode("utf-8", "replace"))
        elif (delta := self._plain_text(data)) is not None:
            plain = (delta,)
            return Frame(raw, data, plain), plain
        chunks: list[Chunk] = []
        error = error_of(data)
        if error is not None:
            self._failed = True
            status = status_of(error)
            chunks.append(Failed(status, kind_of(error, status), message_of(error)))
        choices = data.get("choices")
        if isinstance(choices, list):
            for place, choice in enumerate(choices):
                if not isinstance(choice, dict):
                    raise BadAnswer(f"'choices[{place}]' of an event of the upstream's stream is not an object")
                self._read_choice(choice, place, chunks)
        usage = decode_usage(reported(data))
        if usage is not None:
            chunks.append(UsageReported(usage))
        said = tuple(chunks) or NOTHING_SAID
        return Frame(raw, data, said), said

    def _plain_text(self, data: Mapping[str, Any]) -> TextDelta | None:
        """What nearly all frames are: one more piece of one choice's text, and nothing else. None for the others."""
        choices = data.get("choices")
        if type(choices) is not list or len(choices) != 1 or data.get("usage") is not None or "x_groq" in data:
            return None
        choice = choices[0]
        if type(choice) is not dict or choice.get("finish_reason") is not None or "usage" in choice:
            return None
        delta, number = choice.get("delta"), choice.get("index")
        if type(delta) is not dict or len(delta) != 1 or "error" in data:
            return None
        if type(number) is not int or number not in self._choices:
            return None
        text = delta.get("content")
        return TextDelta(number, "answer", text) if type(text) is str and text else None

    def _read_choice(self, wire: Mapping[str, Any], place: int, chunks: list[Chunk]) -> None:
        number = choice_number(wire, place)
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _Choice()
        delta = delta_of(wire)
        content = delta.get("content")
        alone = len(delta) == 1 and "content" in delta
        if not alone and (reasoning := reasoning_of(delta)):
            chunks.append(TextDelta(number, "reasoning", reasoning))
        if isinstance(content, str):
            if content:
                chunks.append(TextDelta(number, "answer", content))
        elif content:
            _read_parts(content, number, chunks)
        if not alone:
            refusal = delta.get("refusal")
            if isinstance(refusal, str) and refusal:
                chunks.append(TextDelta(number, "refusal", refusal))
            self._read_calls(delta, number, choice, chunks)
            if not SAID_FIELDS.issuperset(delta) and any(delta[field] for field in delta.keys() - SAID_FIELDS):
                chunks.append(Other())
        if finish := decode_finish(wire.get("finish_reason")):
            self._open_nameless(number, choice, chunks)
            choice.finished = True
            chunks.append(Finished(number, finish))

    def _read_calls(self, delta: Mapping[str, Any], number: int, choice: _Choice, chunks: list[Chunk]) -> None:
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            for wire in calls:
                if not isinstance(wire, dict):
                    raise BadAnswer("a tool call of the upstream's stream is not an object")
                self._read_call(wire, number, choice, chunks)
        legacy = delta.get("function_call")
        if isinstance(legacy, dict):
            call = choice.calls.get(0)
            if call is None:
                call = choice.calls[0] = choice.last = _Call(0, call_id(legacy.get("name")))
            name = legacy.get("name")
            wire = {"name": name} if isinstance(name, str) and name else None
            self._advance(call, number, name, legacy.get("arguments"), wire, chunks)

    def _read_call(self, wire: Mapping[str, Any], number: int, choice: _Choice, chunks: list[Chunk]) -> None:
        custom = wire.get("custom")
        inner = custom if isinstance(custom, dict) else wire.get("function")
        inner = inner if isinstance(inner, dict) else {}
        id, name = call_id(wire.get("id")), inner.get("name")
        call = self._find_call(wire.get("index"), id, bool(name), choice)
        if isinstance(custom, dict) or wire.get("type") == "custom":
            call.kind = "custom"
        extra = {field: value for field, value in wire.items() if field not in _CALL_FIELDS} or None
        if id and not call.id:
            call.id = id
        arguments = inner.get("input" if call.kind == "custom" else "arguments")
        self._advance(call, number, name, arguments, extra, chunks)

    def _find_call(self, index: Any, id: str, named: bool, choice: _Choice) -> _Call:
        calls = choice.calls
        if isinstance(index, int):
            call = choice.latest.get(index)
            if call is not None and id and call.id and id != call.id and named:
                # Gemini's compatible endpoint has sent every parallel call under index 0.
                call = None
        else:
            # Servers that send no index send calls whole, each with its id, or go on with the last one.
            call = None if id or named else choice.last
        if call is None and id:
            call = next((each for each in calls.values() if each.id == id), None)
        if call is None:
            free = isinstance(index, int) and index not in calls
            place = index if free else max(calls, default=-1) + 1
            call = calls[place] = _Call(place, id)
        if isinstance(index, int):
            choice.latest[index] = call
        choice.last = call
        return call

    def _advance(self, call: _Call, number: int, name: Any, arguments: Any, extra: Any, chunks: list[Chunk]) -> None:
        if isinstance(name, str) and name:
            if not call.name:
                call.name = name
                chunks.append(CallOpened(number, call.place, call.id, name, call.kind, extra))
                if call.waiting:
                    chunks.append(CallDelta(number, call.place, call.waiting))
                    call.waiting = ""
            elif name != call.name:
                # Clients that join names would run another tool than the one that was judged.
                raise BadAnswer(f"the upstream's stream renamed the tool call {call.name!r} to {name!r}")
        text = arguments_text(arguments)
        if not text:
            return
        if call.name:
            chunks.append(CallDelta(number, call.place, text))
        else:
            call.waiting += text

    def _open_nameless(self, number: int, choice: _Choice, chunks: list[Chunk]) -> None:
        """Calls whose name never came are calls all the same: rules must see them."""
        for call in choice.calls.values():
            if not call.name and call.waiting:
                chunks.append(CallOpened(number, call.place, call.id, "", call.kind))
                chunks.append(CallDelta(number, call.place, call.waiting))
                call.waiting = ""

    def _rejoined(self, data: dict[str, Any]) -> dict[str, Any]:
        """The frame with the surrogate pairs whole that the server cut between this frame and its neighbours."""
        choices = data.get("choices")
        for place, choice in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(choice, dict) and isinstance(delta := delta_of(choice), dict):
                number, ended = choice_number(choice, place), bool(choice.get("finish_reason"))
                for field in ("content", "refusal", *REASONING_FIELDS):
                    self._rejoin(delta, field, (number, field, 0), ended)
                calls = delta.get("tool_calls")
                for call in calls if isinstance(calls, list) else ():
                    if isinstance(call, dict):
                        for kind, field in (("function", "arguments"), ("custom", "input")):
                            if isinstance(inner := call.get(kind), dict):
                                index = call.get("index")
                                key = (number, field, index if isinstance(index, int) else 0)
                                self._rejoin(inner, field, key, ended)
        rejoined: dict[str, Any] = paired(data)
        return rejoined

    def _rejoin(self, holder: dict[str, Any], field: str, key: tuple[int, str, int], ended: bool) -> None:
        text = holder.get(field)
        if isinstance(text, str) and text:
            text = self._halves.pop(key, "") + text
            if waits(text) and not ended:
                self._halves[key] = text[-1]
                text = text[:-1]
            holder[field] = text
        elif ended and key in self._halves:
            del self._halves[key]
            holder[field] = REPLACEMENT


def choice_number(wire: Mapping[str, Any], place: int) -> int:
    index = wire.get("index")
    return index if isinstance(index, int) else place


def delta_of(wire: Mapping[str, Any]) -> Mapping[str, Any]:
    """The delta of a choice; servers that answer a stream in one frame send a whole message instead."""
    delta = wire.get("delta")
    if not isinstance(delta, dict):
        delta = wire.get("message")
    return delta if isinstance(delta, dict) else {}


def _read_parts(content: Any, number: int, chunks: list[Chunk]) -> None:
    """Content as a list of parts (Mistral's reasoning models)."""
    for item in content if isinstance(content, list) else (content,):
        part = decode_part(item)
        channel: Channel = "answer"
        if part.kind == "reasoning" or part.kind == "refusal":
            channel = part.kind
        chunks.append(TextDelta(number, channel, part.text) if part.text else Other())

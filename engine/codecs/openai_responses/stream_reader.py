"""A streamed answer of Responses to chunks. Facts from OpenAI's API reference, "Streaming events".

The protocol says everything more than once: a text as deltas, in two `done` events of its part, in that of its item, and
in the response at the end. What a repetition adds to the deltas is said as if it were one, so that no rule is evaded by
a server that sends the repetitions alone; one that contradicts them is no answer.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from engine.codecs.base import BadAnswer
from engine.codecs.frames import CLOSED, NOTHING_SAID, FrameReader, object_in
from engine.codecs.json_text import encode_json
from engine.codecs.sse import RawEvent, encode_event
from engine.codecs.text_pairs import paired, waits
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Channel,
    Chunk,
    Failed,
    Finished,
    Frame,
    TextDelta,
    ToolCall,
    UsageReported,
)

from .answer import decode_finish
from .calls import ARGUMENT_EVENTS, arguments_of, call_id_of, decode_call, is_call
from .places import parts_of, text_of, type_of
from .problem import problem_in
from .usage import decode_usage

TEXT_EVENTS: Final[Mapping[str, tuple[Channel, str, str]]] = {
    "response.output_text": ("answer", "text", "content_index"),
    "response.refusal": ("refusal", "refusal", "content_index"),
    "response.reasoning_summary_text": ("reasoning", "text", "summary_index"),
    "response.reasoning_text": ("reasoning", "text", "content_index"),
}
"""The events that stream text, without `.delta` and `.done`: channel, the field of `.done`, the index of the part."""

PART_EVENTS: Final[Mapping[str, str]] = {
    "response.content_part": "content_index",
    "response.reasoning_summary_part": "summary_index",
}

TERMINAL: Final = frozenset(("response.completed", "response.incomplete"))
FAILED: Final = frozenset(("response.failed", "response.cancelled", "error"))

CHANNEL_OF: Final[Mapping[str, Channel]] = {"text": "answer", "reasoning": "reasoning", "refusal": "refusal"}


def place_of(data: Mapping[str, Any], index: str) -> tuple[Any, str, Any]:
    """Which text of an answer an event is about."""
    return data.get("output_index"), index, data.get(index)


class _Item(msgspec.Struct):
    """An item that has begun. `place` is that of a call among the calls; `heard` its arguments so far."""

    kind: str
    place: int = -1
    heard: str = ""


class Reader(FrameReader):
    """Reads one response; `output_index` is the key of an item, whatever its order."""

    def __init__(self) -> None:
        super().__init__()
        self._items: dict[Any, _Item] = {}
        self._done: set[Any] = set()
        self._named: dict[tuple[str, str], Any] = {}
        self._texts: dict[tuple[Any, str, Any], str] = {}
        self._calls: list[ToolCall] = []
        self._failed = False
        self._halves: dict[tuple[Any, ...], str] = {}

    def _end(self) -> None:
        """A stream without its last event was cut, whatever it had said."""
        if not self.complete and not self._failed:
            raise BadAnswer("the upstream's stream was cut: it ended before response.completed")

    def _read(self, event: RawEvent) -> tuple[Frame, tuple[Chunk, ...]]:
        raw, text = event.raw, event.data
        if not text or not text.strip() or text.strip() == b"[DONE]":
            return Frame(raw, None, NOTHING_SAID), NOTHING_SAID
        data, well_formed = object_in(text)
        if self._halves or not well_formed:
            data = self._rejoined(data)
            raw = encode_event(encode_json(data), event.name.decode("utf-8", "replace"))
        said = self._said(data)
        return Frame(raw, data, said), said

    def _said(self, data: dict[str, Any]) -> tuple[Chunk, ...]:
        kind = text_of(data.get("type"))
        stem, _, last = kind.rpartition(".")
        if last == "delta":
            if stem in TEXT_EVENTS:
                return self._text_delta(data, stem)
            if stem in ARGUMENT_EVENTS:
                return self._arguments_delta(data)
            return NOTHING_SAID
        if kind in TERMINAL:
            return self._ending(data)
        if kind in FAILED:
            self._failed = True
            problem = problem_in(data)
            return (Failed(problem.status, problem.code or problem.kind, problem.message),)
        chunks: list[Chunk] = []
        match stem, last:
            case "response.output_item", "added":
                self._opened(data.get("output_index"), data.get("item"), chunks)
            case "response.output_item", "done":
                self._ended(data.get("output_index"), data.get("item"), chunks)
            case _, "done" if stem in TEXT_EVENTS:
                channel, field, index = TEXT_EVENTS[stem]
                self._heard(place_of(data, index), channel, text_of(data.get(field)), chunks)
            case _, "added" | "done" if stem in PART_EVENTS:
                self._part(data, PART_EVENTS[stem], chunks)
            case _, "done" if stem in ARGUMENT_EVENTS:
                item = self._item(data)
                self._arguments(item, text_of(data.get(ARGUMENT_EVENTS[stem])), chunks)
            case _:
                pass
        return tuple(chunks) or NOTHING_SAID

    # --- texts -------------------------------------------------------------------------------------------------------

    def _text_delta(self, data: Mapping[str, Any], stem: str) -> tuple[Chunk, ...]:
        text = text_of(data.get("delta"))
        if not text:
            return NOTHING_SAID
        channel, _, index = TEXT_EVENTS[stem]
        place = place_of(data, index)
        self._texts[place] = self._texts.get(place, "") + text
        return (TextDelta(0, channel, text),)

    def _heard(self, place: tuple[Any, str, Any], channel: Channel, whole: str, chunks: list[Chunk]) -> None:
        """What a repetition says beyond the deltas."""
        heard = self._texts.get(place, "")
        if whole == heard or not whole:
            return
        if not whole.startswith(heard):
            if whole.strip() == heard.strip():
                return
            raise BadAnswer("the upstream's stream says a text that is not that of its deltas")
        self._texts[place] = whole
        chunks.append(TextDelta(0, channel, whole[len(heard) :]))

    def _part(self, data: Mapping[str, Any], index: str, chunks: list[Chunk]) -> None:
        part = data.get("part")
        if isinstance(part, dict):
            self._in_parts(
                data.get("output_index"), {"type": "message", "content": [part]}, chunks, data.get(index), index
            )

    def _in_parts(
        self, output_index: Any, item: Mapping[str, Any], chunks: list[Chunk], at: Any = None, name: str = ""
    ) -> None:
        """The texts of an item, each at its place; `at` is the place of its only part."""
        for part in parts_of(item):
            channel = CHANNEL_OF.get(part.kind)
            if channel is None or not part.text:
                continue
            field, *path = part.wire.path
            index = name or ("summary_index" if field == "summary" else "content_index")
            self._heard((output_index, index, at if name else path[0] if path else 0), channel, part.text, chunks)

    # --- items -------------------------------------------------------------------------------------------------------

    def _item(self, data: Mapping[str, Any]) -> _Item:
        item = self._items.get(data.get("output_index"))
        if item is None or item.place < 0:
            raise BadAnswer("arguments in the upstream's stream belong to no tool call")
        return item

    def _opened(self, index: Any, wire: Any, chunks: list[Chunk]) -> None:
        if not isinstance(wire, dict):
            return  # some servers announce an item before they know it
        if index in self._items:
            raise BadAnswer("the upstream's stream begins two items at one output_index")
        item = self._items[index] = _Item(type_of(wire))
        self._named[_name_of(wire)] = index
        if is_call(wire):
            call = decode_call(wire)
            item.place = len(self._calls)
            self._calls.append(call)
            chunks.append(CallOpened(0, item.place, call.id, call.name, call.kind, wire))
        else:
            self._in_parts(index, wire, chunks)

    def _ended(self, index: Any, wire: Any, chunks: list[Chunk]) -> None:
        if not isinstance(wire, dict):
            raise BadAnswer("a response.output_item.done of the upstream's stream has no 'item'")
        if index not in self._items:
            self._opened(index, wire, chunks)
        again = index in self._done
        self._done.add(index)
        item = self._items[index]
        if item.kind != type_of(wire):
            raise BadAnswer("the upstream's stream ends an item as one of another type")
        if item.place >= 0:
            call = decode_call(wire)
            if (call.id, call.name) != (self._calls[item.place].id, self._calls[item.place].name):
                # Clients that take the last word would run another tool than the one that was judged.
                raise BadAnswer(f"the upstream's stream renamed the tool call {self._calls[item.place].name!r}")
            self._arguments(item, arguments_of(wire), chunks)
            return
        self._in_parts(index, wire, chunks)
        if item.kind == "reasoning" and not again:
            self.thoughts += parts_of(wire)

    def _arguments_delta(self, data: Mapping[str, Any]) -> tuple[Chunk, ...]:
        item, text = self._item(data), text_of(data.get("delta"))
        if not text:
            return NOTHING_SAID
        item.heard += text
        return (CallDelta(0, item.place, text),)

    def _arguments(self, item: _Item, whole: str, chunks: list[Chunk]) -> None:
        if whole == item.heard or not whole:
            return
        if not whole.startswith(item.heard):
            raise BadAnswer("the upstream's stream says arguments that are not those of its deltas")
        chunks.append(CallDelta(0, item.place, whole[len(item.heard) :]))
        item.heard = whole

    def _ending(self, data: Mapping[str, Any]) -> tuple[Chunk, ...]:
        self.complete = True
        response = data.get("response")
        if not isinstance(response, dict):
            raise BadAnswer("the last event of the upstream's stream has no 'response'")
        chunks: list[Chunk] = []
        output = response.get("output")
        for index, item in enumerate(output if isinstance(output, list) else ()):
            if isinstance(item, dict):
                self._ended_again(index, item, chunks)
        finish = decode_finish(response, self._calls)
        chunks.append(Finished(0, finish))
        usage = decode_usage(response.get("usage"))
        if usage is not None:
            chunks.append(UsageReported(usage))
        return (*chunks, *CLOSED)

    def _ended_again(self, index: Any, item: dict[str, Any], chunks: list[Chunk]) -> None:
        """An item of the response at the end: one of the stream's, which it names or stands in the place of, or a new one."""
        name = _name_of(item)
        known = self._named.get(name) if name[1] else None
        if known is None and (index not in self._items or self._items[index].kind != type_of(item)):
            known = ("end", index)
        self._ended(index if known is None else known, item, chunks)

    # --- surrogate pairs ---------------------------------------------------------------------------------------------

    def _rejoined(self, data: dict[str, Any]) -> dict[str, Any]:
        """The event with the surrogate pairs whole that the server cut between this event and its neighbours."""
        stem, _, last = text_of(data.get("type")).rpartition(".")
        text = data.get("delta")
        if last == "delta" and isinstance(text, str) and text:
            key = (stem, data.get("output_index"), data.get("content_index"), data.get("summary_index"))
            text = self._halves.pop(key, "") + text
            if waits(text):
                self._halves[key] = text[-1]
                text = text[:-1]
            data["delta"] = text
        elif last == "done":
            self._halves.clear()
        rejoined: dict[str, Any] = paired(data)
        return rejoined


def _name_of(item: Mapping[str, Any]) -> tuple[str, str]:
    """By what an item is known again."""
    return type_of(item), call_id_of(item)

"""Chunks to a streamed answer of Responses: the events that came, the same events saying less, or our own.

As long as nothing is changed, events go on as they came. From the first change on, items and events are numbered anew,
and every repetition of a text or of arguments (`done` events, the finished item, the response at the end) says what the
client was sent. A call that is withheld takes all its events with it; one that is let out later brings them back.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never

from engine.codecs.base import BadAnswer, Problem
from engine.codecs.json_text import encode_json
from engine.codecs.sse import encode_comment, encode_event
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
    Usage,
    UsageReported,
)

from .answer import envelope, write_finish
from .calls import ARGUMENT_EVENTS, arguments_of, call_id_of, is_call, with_arguments
from .items import decode_output
from .open_items import Held, Item
from .places import OWN, text_of, type_of
from .problem import error_event
from .stream_reader import FAILED, PART_EVENTS, TERMINAL, TEXT_EVENTS
from .tools import names_in_spaces
from .usage import encode_usage

# With a blank line: some clients split a stream at blank lines before they look for comments.
_KEEP_ALIVE: Final = encode_comment("keep-alive") + b"\n"
_BEGINNINGS: Final = frozenset(("response.created", "response.in_progress", "response.queued"))
_STEM_OF: Final[Mapping[Channel, str]] = {
    "answer": "response.output_text",
    "refusal": "response.refusal",
    "reasoning": "response.reasoning_summary_text",
}
_PART_OF: Final[Mapping[Channel, tuple[str, dict[str, Any]]]] = {
    "answer": (
        "response.content_part",
        {"type": "output_text", "annotations": [], "logprobs": [], "text": ""},
    ),
    "refusal": ("response.content_part", {"type": "refusal", "refusal": ""}),
    "reasoning": ("response.reasoning_summary_part", {"type": "summary_text", "text": ""}),
}
_OF_THE_FIRST: Final = ("id", "created_at", "previous_response_id")
"""What the response of a later attempt has of the first one's."""

_BELONGS_TO_A_TEXT: Final = "response.output_text.annotation."


class Writer:
    """One response; attempts that follow the first go on in it."""

    def __init__(self, exchange: Exchange, *, strip_usage: bool = False) -> None:  # noqa: ARG002 - it is always reported
        self._exchange = exchange
        self._names = names_in_spaces(exchange)
        self._as_it_came = True
        self._later_attempt = False
        self._envelope: dict[str, Any] | None = None
        self._number = 0
        self._next = 0
        self._items: dict[Any, Item] = {}
        """Those that the upstream has begun and the client sees, by the upstream's index."""
        self._calls: dict[int, Item] = {}
        """Calls of our own that are open, by their place among the calls."""
        self._open: Item | None = None
        """The message or the reasoning that is open at the client."""
        self._held: dict[Any, Held] = {}
        self._output: dict[int, Any] = {}
        """The items that are finished at the client."""
        self._finish = ""
        self._usage: Usage | None = None

    # --- the contract ------------------------------------------------------------------------------------------------

    def write(self, chunks: Sequence[Chunk], frame: Frame | None = None) -> bytes:
        """The bytes that say `chunks`, as StreamWriter has it."""
        if frame is None:
            return self._fresh(chunks)
        data = frame.data
        same = chunks is frame.said or tuple(chunks) == frame.said
        if not isinstance(data, dict):
            return frame.raw if same else self._fresh(chunks)
        if same and self._as_it_came:
            self._note(data)
            return frame.raw
        self._as_it_came = False
        return self._event(text_of(data.get("type")), data, frame, chunks, same)

    def next_attempt(self) -> None:
        self._later_attempt = True
        self._as_it_came = False
        self._finish = ""
        self._items.clear()
        self._held.clear()
        if self._open is not None:
            self._open.source = None

    def keep_alive(self) -> bytes:
        return _KEEP_ALIVE

    def error(self, problem: Problem) -> bytes:
        self._as_it_came = False
        return encode_event(encode_json(error_event(problem, self._number)), "error")

    # --- events that came --------------------------------------------------------------------------------------------

    def _note(self, data: dict[str, Any]) -> None:
        """Keep count of what goes on as it came."""
        number = data.get("sequence_number")
        self._number = number + 1 if isinstance(number, int) else self._number + 1
        kind = text_of(data.get("type"))
        stem, _, last = kind.rpartition(".")
        index = data.get("output_index")
        if stem in TEXT_EVENTS:
            item = self._items.get(index)
            if item is not None:
                piece = item.piece(TEXT_EVENTS[stem][0], data.get(TEXT_EVENTS[stem][2]), stem)
                piece.told = last == "done"
                piece.said.append(text_of(data.get("delta")))
        elif stem == "response.output_item":
            if last == "added" and isinstance(data.get("item"), dict):
                self._enter(data, index)
            elif last == "done":
                self._left(data, index)
        elif stem in PART_EVENTS and index in self._items:
            if last == "done":
                self._items[index].close(stem, data)
            elif isinstance(data.get("part"), dict):
                self._items[index].opened(data.get(PART_EVENTS[stem]), data["part"])
        elif kind in _BEGINNINGS and isinstance(data.get("response"), dict):
            self._envelope = data["response"]

    def _enter(self, data: Mapping[str, Any], source: Any) -> Item:
        """An item is open at the client."""
        item = Item(data["output_index"], source, data["item"])
        if source is not None:
            self._items[source] = item
        if isinstance(item.index, int):
            self._next = max(self._next, item.index + 1)
        if not is_call(item.wire):
            self._open = item
        return item

    def _left(self, data: Mapping[str, Any], source: Any) -> None:
        """An item is finished at the client."""
        self._output[data["output_index"]] = data.get("item")
        item = self._items.get(source)
        if item is not None and item is self._open:
            self._open = None

    def _event(self, kind: str, data: dict[str, Any], frame: Frame, chunks: Sequence[Chunk], same: bool) -> bytes:
        stem, _, last = kind.rpartition(".")
        source = data.get("output_index")
        if kind in _BEGINNINGS:
            return self._fresh(chunks) if self._later_attempt or self._envelope is not None else self._begun(data)
        if kind in TERMINAL or kind in FAILED:
            return self._ending(data, chunks, same)
        if kind == "response.output_item.added":
            return self._started(data, source, chunks)
        if source in self._held:
            self._held[source].events.append(data)
            return self._fresh(chunks)
        item = self._items.get(source)
        if item is None or not item.visible(self._open):
            # Of an item that has ended at the client, or was never begun: what is said of it is said anew.
            return self._fresh(chunks) if source is not None else self._passed(data)
        if stem in TEXT_EVENTS:
            return self._text(stem, last, data, item, frame, chunks, same)
        if stem in PART_EVENTS:
            return self._part(stem, last, data, item, chunks)
        if kind == "response.output_item.done":
            return self._stopped(data, item, chunks)
        if kind.startswith(_BELONGS_TO_A_TEXT) and not item.whole:
            return b""  # it points into the text that was there
        return self._renumbered(data, item) if same else self._fresh(chunks)

    def _begun(self, data: dict[str, Any]) -> bytes:
        self._envelope = data.get("response") if isinstance(data.get("response"), dict) else None
        return self._passed(data)

    def _passed(self, data: Mapping[str, Any]) -> bytes:
        """An event under the client's count of events."""
        written = {**data, "sequence_number": self._number}
        self._number += 1
        return encode_event(encode_json(written), text_of(data.get("type")))

    def _renumbered(self, data: Mapping[str, Any], item: Item) -> bytes:
        return self._passed({**data, "output_index": item.index})

    def _started(self, data: dict[str, Any], source: Any, chunks: Sequence[Chunk]) -> bytes:
        wire = data.get("item")
        if not isinstance(wire, dict):
            return self._fresh(chunks)
        if is_call(wire) and not any(isinstance(chunk, CallOpened) for chunk in chunks):
            self._held[source] = Held(wire, [data])
            return self._fresh(chunks)
        before = self._fresh([chunk for chunk in chunks if not isinstance(chunk, CallOpened)]) + self._close()
        before += self._begin()
        written = {**data, "output_index": self._next}
        if type_of(wire) == "message" and wire.get("content"):
            written["item"] = {**wire, "content": []}
        self._enter(written, source)
        return before + self._passed(written)

    def _text(
        self,
        stem: str,
        last: str,
        data: dict[str, Any],
        item: Item,
        frame: Frame,
        chunks: Sequence[Chunk],
        same: bool,
    ) -> bytes:
        channel, _, index = TEXT_EVENTS[stem]
        piece = item.piece(channel, data.get(index), stem)
        if last == "delta":
            if same and piece.whole:
                piece.said.append(text_of(data.get("delta")))
                return self._renumbered(data, item)
            piece.come(_said(frame.said))
            return b"".join(
                [self._say(chunk, data) if isinstance(chunk, TextDelta) else self._fresh((chunk,)) for chunk in chunks]
            )
        # What its repetition added to the deltas has been said, or is held.
        piece.come(_said(frame.said))
        before = self._fresh(chunks)
        if not piece.whole:
            return before
        piece.told = True
        return before + self._renumbered(data, item)

    def _part(self, stem: str, last: str, data: dict[str, Any], item: Item, chunks: Sequence[Chunk]) -> bytes:
        part = data.get("part")
        wire: dict[str, Any] = part if isinstance(part, dict) else {}
        number = data.get(PART_EVENTS[stem])
        if last == "added":
            before = self._close_pieces(item)
            piece = item.opened(number, wire)
            begun = {**wire, piece.field: ""} if piece is not None else wire
            return before + self._renumbered({**data, "part": begun}, item) + self._fresh(chunks)
        before = self._fresh(chunks)
        piece = item.find(stem, number)
        if piece is None:
            item.close(stem, data)
            return before + self._renumbered(data, item)
        if not piece.whole:
            return before  # what is held of its text may yet come
        item.close(stem, data)
        return before + self._renumbered(data, item)

    def _stopped(self, data: dict[str, Any], item: Item, chunks: Sequence[Chunk]) -> bytes:
        before = self._fresh([chunk for chunk in chunks if isinstance(chunk, TextDelta)])
        wire = data.get("item")
        item.finished = wire if isinstance(wire, dict) else None
        if not item.whole:
            item.ended = True  # what is held of its text may yet come
            return before
        written = {**data, "output_index": item.index}
        self._left(written, item.source)
        return before + self._passed(written)

    def _ending(self, data: dict[str, Any], chunks: Sequence[Chunk], same: bool) -> bytes:
        kind, response = text_of(data.get("type")), data.get("response")
        out = self._fresh([chunk for chunk in chunks if not isinstance(chunk, Closed | Failed)])
        if kind in FAILED:
            if not same:
                return out + self._fresh([chunk for chunk in chunks if isinstance(chunk, Failed)])
            if isinstance(response, dict):
                data = {**data, "response": {**self._enveloped(response), "output": self._outputs()}}
            return out + self._passed(data)
        if not any(isinstance(chunk, Closed) for chunk in chunks):
            return out
        return out + self._end(data)

    # --- the response ------------------------------------------------------------------------------------------------

    def _begin(self) -> bytes:
        if self._envelope is not None:
            return b""
        self._envelope = envelope(self._exchange)
        return b"".join(
            [
                self._passed({"type": kind, "response": self._envelope})
                for kind in ("response.created", "response.in_progress")
            ]
        )

    def _enveloped(self, response: Mapping[str, Any]) -> dict[str, Any]:
        """A response of a later attempt as part of the first one's."""
        began = self._envelope or {}
        kept: dict[str, Any] = {field: began[field] for field in _OF_THE_FIRST if field in began}
        return {**response, **kept}

    def _outputs(self) -> list[Any]:
        return [self._output[index] for index in sorted(self._output)]

    def _end(self, data: Mapping[str, Any] | None) -> bytes:
        """The last event: the response that says again all that the client was sent."""
        out = self._begin() + self._close() + self._close_calls()
        came = data.get("response") if data is not None else None
        response = self._enveloped(came) if isinstance(came, dict) else dict(self._envelope or {})
        response["output"] = self._outputs()
        if isinstance(response.get("output_text"), str):
            response["output_text"] = _texts(response["output"])
        write_finish(response, self._finish or "stop", decode_output(response["output"])[1])
        if data is None and "completed_at" not in response:
            response["completed_at"] = self._exchange.received if response["status"] == "completed" else None
        if self._usage is not None:
            response["usage"] = encode_usage(self._usage)
        kind = "response.completed" if response["status"] == "completed" else "response.incomplete"
        return out + self._passed({**(data or {}), "type": kind, "response": response})

    # --- events of our own -------------------------------------------------------------------------------------------

    def _fresh(self, chunks: Sequence[Chunk]) -> bytes:
        if not chunks:
            return b""
        out: list[bytes] = []
        replayed: set[int] = set()
        for chunk in chunks:
            match chunk:
                case TextDelta():
                    out.append(self._say(chunk))
                case CallOpened(_, place):
                    held = self._held_for(chunk)
                    if held is None:
                        out.append(self._open_call(chunk))
                        continue
                    replayed.add(place)
                    given = [each.arguments for each in chunks if isinstance(each, CallDelta) and each.index == place]
                    out.append(self._let_out(held, "".join(given)))
                case CallDelta(_, place, arguments):
                    if place not in replayed:
                        out.append(self._go_on(place, arguments))
                case Finished(_, finish):
                    self._finish = finish
                case UsageReported(usage):
                    self._usage = usage
                case Failed(status, kind, message):
                    out.append(self.error(Problem(status=status, kind=kind, message=message)))
                case Closed():
                    out.append(self._end(None))
                case Other():
                    pass
                case _:
                    assert_never(chunk)
        return b"".join(out)

    def _say(self, chunk: TextDelta, data: dict[str, Any] | None = None) -> bytes:
        """More text of a channel, in the piece that is open for it or in one of our own; `data` is the event that it came
        in."""
        self._as_it_came = False
        if not chunk.text:
            return b""
        before = b""
        piece = self._open.last(chunk.channel) if self._open is not None else None
        if piece is None:
            before = self._open_text(chunk.channel)
            piece = self._open.last(chunk.channel) if self._open is not None else None
        if piece is None or self._open is None:
            raise AssertionError("a text has just been opened")
        piece.write(chunk.text)
        came = dict(data) if data is not None else {}
        if came.get("logprobs") and came.get("delta") != chunk.text:
            came["logprobs"] = []
        said = {
            **came,
            "type": f"{piece.stem}.delta",
            "item_id": self._open.id,
            "output_index": self._open.index,
            piece.index_name: piece.index,
            "delta": chunk.text,
        }
        if piece.stem == "response.output_text":
            said.setdefault("logprobs", [])
        return before + self._passed(said)

    def _open_text(self, channel: Channel) -> bytes:
        """An item of our own for text of a channel; a message that is open and ours takes another part."""
        before = self._close() + self._begin()
        if channel == "reasoning":
            wire = {"id": f"rs{OWN}{self._exchange.id}_{self._next}", "type": "reasoning", "summary": []}
        else:
            wire = {
                "id": f"msg{OWN}{self._exchange.id}_{self._next}",
                "type": "message",
                "status": "in_progress",
                "content": [],
                "role": "assistant",
            }
        added = {"type": "response.output_item.added", "output_index": self._next, "item": wire}
        item = self._enter(added, None)
        stem, part = _PART_OF[channel]
        piece = item.opened(0, part, _STEM_OF[channel])
        name = piece.index_name if piece is not None else "content_index"
        begun = {
            "type": f"{stem}.added",
            "item_id": item.id,
            "output_index": item.index,
            name: 0,
            "part": part,
        }
        return before + self._passed(added) + self._passed(begun)

    def _close(self) -> bytes:
        """The end of the message or the reasoning that is open, saying what the client was sent of it."""
        item = self._open
        if item is None:
            return b""
        out = self._close_pieces(item)
        self._open = None
        whole = item.as_sent()
        self._output[item.index] = whole
        done = {"type": "response.output_item.done", "output_index": item.index, "item": whole}
        return out + self._passed(done)

    def _close_pieces(self, item: Item) -> bytes:
        out: list[bytes] = []
        for piece in item.pieces:
            if piece.closed:
                continue
            at = {"item_id": item.id, "output_index": item.index, piece.index_name: piece.index}
            if not piece.told:
                told = {"type": f"{piece.stem}.done", **at, piece.field: piece.text}
                if piece.stem == "response.output_text":
                    told["logprobs"] = []
                out.append(self._passed(told))
            piece.close()
            if piece.part_stem:
                out.append(self._passed({"type": f"{piece.part_stem}.done", **at, "part": piece.as_sent()}))
        return b"".join(out)

    # --- calls -------------------------------------------------------------------------------------------------------

    def _held_for(self, chunk: CallOpened) -> Held | None:
        """The events of a call that was withheld when it came."""
        for held in self._held.values():
            if not held.out and (held.wire is chunk.wire or (call_id_of(held.wire) == chunk.id != "")):
                return held
        return None

    def _let_out(self, held: Held, arguments: str) -> bytes:
        """All events of a call that was withheld; with other arguments, the fewest that say them."""
        held.out = True
        self._as_it_came = False
        before = self._close() + self._begin()
        index, self._next = self._next, self._next + 1
        last = held.events[-1]
        ended = last.get("item") if last.get("type") == "response.output_item.done" else None
        whole = ended if isinstance(ended, dict) else {**held.wire, "status": "completed"}
        if arguments == arguments_of(whole) and ended is not None:
            self._output[index] = whole
            return before + b"".join([self._passed({**event, "output_index": index}) for event in held.events])
        whole = with_arguments(whole, arguments)
        self._output[index] = whole
        begun = held.wire
        if type_of(begun) not in _STREAMED:
            begun = with_arguments(begun, arguments)
        added = {**held.events[0], "item": begun, "output_index": index}
        done = {"type": "response.output_item.done", "output_index": index, "item": whole}
        return before + self._passed(added) + self._streamed(begun, index, arguments) + self._passed(done)

    def _streamed(self, wire: Mapping[str, Any], index: int, arguments: str) -> bytes:
        """The events that stream arguments, for the types of calls that have some."""
        stem = _STREAMED.get(type_of(wire))
        if stem is None:
            return b""
        at = {"item_id": text_of(wire.get("id")), "output_index": index}
        delta = self._passed({"type": f"{stem}.delta", **at, "delta": arguments}) if arguments else b""
        return delta + self._passed({"type": f"{stem}.done", **at, ARGUMENT_EVENTS[stem]: arguments})

    def _open_call(self, chunk: CallOpened) -> bytes:
        self._as_it_came = False
        before = self._close() + self._begin()
        namespace, name = self._names.get(chunk.name, ("", chunk.name))
        kind, field, prefix = ("custom_tool_call", "input", "ctc") if chunk.kind == "custom" else _FUNCTION
        wire: dict[str, Any] = chunk.wire if is_call(chunk.wire) else {}
        if not wire:
            wire = {"id": f"{prefix}{OWN}{self._exchange.id}_{self._next}", "type": kind, "status": "in_progress"}
            wire |= {field: "", "call_id": chunk.id, "name": name}
            if namespace:
                wire["namespace"] = namespace
        added = {"type": "response.output_item.added", "output_index": self._next, "item": wire}
        self._calls[chunk.index] = self._enter(added, None)
        return before + self._passed(added)

    def _go_on(self, place: int, arguments: str) -> bytes:
        """More arguments of a call of our own."""
        item = self._calls.get(place)
        if item is None:
            raise BadAnswer("arguments belong to no tool call that has begun")
        item.arguments.append(arguments)
        stem = _STREAMED.get(type_of(item.wire))
        if stem is None or not arguments:
            return b""
        return self._passed(
            {"type": f"{stem}.delta", "item_id": item.id, "output_index": item.index, "delta": arguments}
        )

    def _close_calls(self) -> bytes:
        out: list[bytes] = []
        for item in self._calls.values():
            arguments = "".join(item.arguments)
            stem = _STREAMED.get(type_of(item.wire))
            if stem is not None:
                at = {"item_id": item.id, "output_index": item.index}
                out.append(self._passed({"type": f"{stem}.done", **at, ARGUMENT_EVENTS[stem]: arguments}))
            whole = {**with_arguments(item.wire, arguments), "status": "completed"}
            self._output[item.index] = whole
            done = {"type": "response.output_item.done", "output_index": item.index, "item": whole}
            out.append(self._passed(done))
        self._calls.clear()
        return b"".join(out)


_FUNCTION: Final = ("function_call", "arguments", "fc")
_STREAMED: Final[Mapping[str, str]] = {
    "function_call": "response.function_call_arguments",
    "custom_tool_call": "response.custom_tool_call_input",
    "mcp_call": "response.mcp_call_arguments",
}


def _said(chunks: Sequence[Chunk]) -> str:
    return "".join([chunk.text for chunk in chunks if isinstance(chunk, TextDelta)])


def _texts(output: Sequence[Any]) -> str:
    parts, _ = decode_output(output)
    return "".join(part.text for part in parts if part.kind == "text")

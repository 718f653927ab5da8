"""Chunks to a streamed answer of Messages: the events that came, the same events saying less, or our own.

As long as nothing is changed, events go on as they came. From the first change on, blocks are numbered anew, each with
one beginning and one end; a call that is withheld takes its block with it, and the block of its result.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, assert_never

import msgspec

from engine.codecs.base import BadAnswer, Problem
from engine.codecs.json_text import encode_json
from engine.codecs.sse import encode_event
from engine.model.exchange import (
    CallDelta,
    CallOpened,
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
from .blocks import ALTERED, is_call, result_of, text_of
from .problem import error_object
from .stream_reader import TEXT_OF_BLOCK, TEXT_OF_DELTA
from .usage import IN_A_DELTA, encode_usage

_Kind = Literal["text", "thinking", "call", "other"]

_BLOCKS: Final[Mapping[str, _Kind]] = {"text": "text", "thinking": "thinking"}
_PING: Final = encode_event(b'{"type": "ping"}', "ping")
_NO_ROOM: Final = "two tool calls of the upstream's stream are interleaved, which Messages has no form for"


class _Block(msgspec.Struct):
    """The block that is open at the client.

    `source` is its index upstream, None where it is ours. `owed` is text that came and was not written yet; `altered`:
    something else was written. `ended`: upstream has ended it. `signature` waits until nothing is owed.
    """

    index: int
    kind: _Kind
    source: Any = None
    call: int = -1
    id: str = ""
    owed: str = ""
    altered: bool = False
    ended: bool = False
    signature: str = ""

    @property
    def whole(self) -> bool:
        return not (self.altered or self.owed)

    def come(self, text: str) -> None:
        if not self.altered:
            self.owed += text

    def write(self, text: str) -> None:
        if self.owed.startswith(text):
            self.owed = self.owed[len(text) :]
        else:
            self.owed, self.altered = "", True


class Writer:
    """One message; attempts that follow the first go on in it."""

    def __init__(self, exchange: Exchange, *, strip_usage: bool = False) -> None:  # noqa: ARG002 - it is always reported
        self._exchange = exchange
        self._as_it_came = True
        self._begun = False
        self._later_attempt = False
        self._next = 0
        self._open: _Block | None = None
        self._places: dict[Any, int] = {}
        self._withheld: set[str] = set()
        self._results: dict[str, list[dict[str, Any]]] = {}
        self._kept_back: dict[Any, str] = {}
        self._calls = False
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
        kind = data.get("type")
        if same and self._as_it_came:
            if kind != "content_block_delta":
                self._note(kind, data)
            return frame.raw
        self._as_it_came = False
        match kind:
            case "content_block_delta":
                return self._delta(data, frame, chunks, same)
            case "content_block_start":
                return self._started(data, frame, chunks, same)
            case "content_block_stop":
                return self._stopped(data, frame, chunks)
            case "message_delta":
                return self._ending(data, frame, chunks, same)
            case "message_start" if self._begun:
                return b""
            case "message_start":
                self._begun = True
                return frame.raw
            case "message_stop" if same:
                return self._end() + frame.raw
            case _:
                return frame.raw if same else self._fresh(chunks)

    def next_attempt(self) -> None:
        self._later_attempt = True
        self._as_it_came = False
        self._finish = ""
        for known in (self._places, self._withheld, self._results, self._kept_back):
            known.clear()

    def keep_alive(self) -> bytes:
        return _PING

    def error(self, problem: Problem) -> bytes:
        return encode_event(encode_json(error_object(problem)), "error")

    # --- events that came --------------------------------------------------------------------------------------------

    def _note(self, kind: Any, data: dict[str, Any]) -> None:
        """Keep count of what goes on as it came."""
        match kind:
            case "message_start":
                self._begun = True
            case "content_block_start":
                self._next = self._enter(data, data.get("index"))
            case "content_block_stop":
                self._open = None

    def _enter(self, data: dict[str, Any], index: Any) -> int:
        """The block of a content_block_start is open at the client under `index`; the next one's index."""
        wire, source = data["content_block"], data.get("index")
        self._places[source] = index
        kind = text_of(wire.get("type"))
        if is_call(wire):
            self._open = _Block(index, "call", source, id=text_of(wire.get("id")))
            self._calls = self._calls or kind == "tool_use"
        else:
            self._open = _Block(index, _BLOCKS.get(kind, "other"), source)
        return index + 1 if isinstance(index, int) else self._next

    def _passed(self, data: dict[str, Any], frame: Frame, same: bool = True) -> bytes:
        """The event of a block, under the block's index at the client."""
        index = self._places[data.get("index")]
        return frame.raw if same and index == data.get("index") else _event({**data, "index": index})

    def _started(self, data: dict[str, Any], frame: Frame, chunks: Sequence[Chunk], same: bool) -> bytes:
        wire = data["content_block"]
        if is_call(wire) and not any(isinstance(chunk, CallOpened) for chunk in chunks):
            self._withheld.add(text_of(wire.get("id")))
            return self._fresh(chunks)
        if (call := result_of(wire)) in self._withheld:
            self._kept_back[data.get("index")] = call
            self._results.setdefault(call, []).append(data)
            return b""
        field, _ = TEXT_OF_BLOCK.get(text_of(wire.get("type")), ("", ""))
        before = self._fresh([chunk for chunk in chunks if isinstance(chunk, TextDelta) and not field])
        before += self._close() + self._begin()
        self._next = self._enter(data, self._next)
        block = self._open
        if block is not None and field and not same:
            now = _text(chunks)
            block.come(text_of(wire.get(field)))
            block.write(now)
            data = {**data, "content_block": {**wire, field: now}}
        opened = next((chunk.index for chunk in chunks if isinstance(chunk, CallOpened)), -1)
        if block is not None:
            block.call = opened
        rest = [chunk for chunk in chunks if not isinstance(chunk, TextDelta | CallOpened)]
        return before + self._passed(data, frame, same) + self._fresh(rest)

    def _delta(self, data: dict[str, Any], frame: Frame, chunks: Sequence[Chunk], same: bool) -> bytes:
        source, delta = data.get("index"), data["delta"]
        if source in self._kept_back:
            self._results[self._kept_back[source]].append(data)
            return b""
        kind = text_of(delta.get("type"))
        block = self._open if self._open is not None and self._open.source == source else None
        if kind in TEXT_OF_DELTA:
            if block is not None:
                if same and block.whole:
                    return self._passed(data, frame)
                block.come(_text(frame.said))
            return b"".join(
                [self._say(chunk, data) if isinstance(chunk, TextDelta) else self._fresh((chunk,)) for chunk in chunks]
            )
        if block is None or not same:
            return self._fresh(chunks)
        if kind == "signature_delta" and not block.whole:
            block.signature = text_of(delta.get("signature"))
            return b""
        if kind == "citations_delta" and block.altered:
            return b""  # it quotes what the altered text was taken from
        return self._passed(data, frame)

    def _stopped(self, data: dict[str, Any], frame: Frame, chunks: Sequence[Chunk]) -> bytes:
        source = data.get("index")
        if source in self._kept_back:
            self._results[self._kept_back.pop(source)].append(data)
            return b""
        before = self._fresh([chunk for chunk in chunks if isinstance(chunk, TextDelta)])
        block = self._open
        if block is None or block.source != source:
            return before
        if not block.whole:
            block.ended = True  # what is held of its text may yet come
            return before
        if block.signature:
            block.ended = True
            return before + self._close()
        self._open = None
        return before + self._passed(data, frame)

    def _ending(self, data: dict[str, Any], frame: Frame, chunks: Sequence[Chunk], same: bool) -> bytes:
        out = [self._fresh([chunk for chunk in chunks if not isinstance(chunk, Finished | UsageReported)])]
        finish = [chunk.finish for chunk in chunks if isinstance(chunk, Finished)]
        usage = [chunk.usage for chunk in chunks if isinstance(chunk, UsageReported)]
        self._usage = usage[-1] if usage else self._usage
        if not finish and any(isinstance(chunk, Finished) for chunk in frame.said):
            return b"".join(out)
        out.append(self._close())
        reported = [chunk.usage for chunk in frame.said if isinstance(chunk, UsageReported)]
        if same and not self._later_attempt:
            return b"".join((*out, frame.raw))
        changed = dict(data)
        if finish:
            changed["delta"] = dict(data["delta"])
            write_finish(changed["delta"], finish[-1], calls=self._calls)
        if usage and (usage != reported or self._later_attempt):
            changed["usage"] = self._usage_in_delta(usage[-1], data.get("usage"))
        return b"".join((*out, _event(changed)))

    # --- events of our own -------------------------------------------------------------------------------------------

    def _fresh(self, chunks: Sequence[Chunk]) -> bytes:
        return b"".join([self._fresh_event(chunk) for chunk in chunks])

    def _fresh_event(self, chunk: Chunk) -> bytes:
        match chunk:
            case TextDelta():
                return self._say(chunk)
            case CallOpened():
                return self._open_call(chunk)
            case CallDelta(_, call, arguments):
                if not arguments:
                    return b""
                if self._open is None or self._open.call != call:
                    raise BadAnswer(_NO_ROOM)
                return self._block_delta("input_json_delta", "partial_json", arguments)
            case Finished(_, finish):
                self._finish = finish
                return b""
            case UsageReported(usage):
                self._usage = usage
                return self._message_delta() if self._finish else b""
            case Failed(status, kind, message):
                return self.error(Problem(status=status, kind=kind, message=message))
            case Closed():
                return self._end() + _event({"type": "message_stop"})
            case Other():
                return b""
            case _:
                assert_never(chunk)

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _event({"type": "message_start", "message": envelope(self._exchange)})

    def _end(self) -> bytes:
        """What is still to be said before the message stops."""
        return self._message_delta() if self._finish else self._begin() + self._close()

    def _message_delta(self) -> bytes:
        said: dict[str, Any] = {"stop_reason": None, "stop_sequence": None}
        write_finish(said, self._finish, calls=self._calls)
        self._finish = ""
        usage = self._usage_in_delta(self._usage, None)
        return self._begin() + self._close() + _event({"type": "message_delta", "delta": said, "usage": usage})

    def _usage_in_delta(self, usage: Usage | None, came: Any) -> dict[str, Any]:
        """The counts that `message_delta` gives: those that it had, and all of them where message_start told of another
        attempt, or of none."""
        whole = encode_usage(usage or Usage())
        known: dict[str, Any] = came if isinstance(came, dict) else {}
        fields = known if known and not self._later_attempt else IN_A_DELTA
        return {**known, **{field: whole[field] for field in IN_A_DELTA if field in whole and field in fields}}

    # --- blocks ------------------------------------------------------------------------------------------------------

    def _say(self, chunk: TextDelta, data: dict[str, Any] | None = None) -> bytes:
        """More text of a channel, in the block that is open for it or in one of our own; `data` is the event that it
        came in."""
        self._as_it_came = False
        if not chunk.text:
            return b""
        thinks = chunk.channel == "reasoning"
        before = b""
        if self._open is None or self._open.kind != ("thinking" if thinks else "text"):
            empty = {"type": "thinking", "thinking": "", "signature": ""} if thinks else {"type": "text", "text": ""}
            before = self._open_block(empty)
        if self._open is not None:
            self._open.write(chunk.text)
        kind, field = ("thinking_delta", "thinking") if thinks else ("text_delta", "text")
        return before + self._block_delta(kind, field, chunk.text, data)

    def _open_call(self, chunk: CallOpened) -> bytes:
        wire = chunk.wire if is_call(chunk.wire) else {"type": "tool_use"}
        written = self._open_block({**wire, "id": chunk.id, "name": chunk.name, "input": {}})
        if self._open is not None:
            self._open.call = chunk.index
        return written

    def _open_block(self, wire: dict[str, Any]) -> bytes:
        self._as_it_came = False
        before = self._close() + self._begin()
        data = {"type": "content_block_start", "index": self._next, "content_block": wire}
        self._next = self._enter(data, self._next)
        if self._open is not None:
            self._open.source = None
        return before + _event(data)

    def _block_delta(self, kind: str, field: str, text: str, data: dict[str, Any] | None = None) -> bytes:
        index = self._open.index if self._open is not None else self._next
        came = data or {"type": "content_block_delta", "index": index, "delta": {}}
        return _event({**came, "index": index, "delta": {**came["delta"], "type": kind, field: text}})

    def _close(self) -> bytes:
        """The end of the open block, and after a call that was held the result that waited for it."""
        block = self._open
        if block is None:
            return b""
        out: list[bytes] = []
        if block.kind == "thinking" and not (block.whole and block.ended and not block.signature):
            signed = block.signature if block.whole and block.source is not None else ""
            out.append(self._block_delta("signature_delta", "signature", signed or ALTERED))
        out.append(_event({"type": "content_block_stop", "index": block.index}))
        self._open = None
        for data in self._results.pop(block.id, ()) if block.kind == "call" else ():
            out.append(_event({**data, "index": self._next}))
            if data["type"] == "content_block_stop":
                self._next += 1
        return b"".join(out)


def _event(data: dict[str, Any]) -> bytes:
    return encode_event(encode_json(data), text_of(data.get("type")))


def _text(chunks: Sequence[Chunk]) -> str:
    return "".join([chunk.text for chunk in chunks if isinstance(chunk, TextDelta)])

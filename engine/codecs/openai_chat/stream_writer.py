"""Chunks to a streamed answer of Chat Completions: the frames that came, the same frames saying less, or our own."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never

from engine.codecs.base import Problem
from engine.codecs.json_text import encode_json
from engine.codecs.sse import encode_comment, encode_event
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
    UsageReported,
)

from .answer import LEGACY_FINISH
from .messages import REASONING_DETAILS, REASONING_FIELDS, reasoning_of, write_reasoning
from .problem import error_object
from .stream_reader import choice_number, delta_of
from .usage import encode_usage

_DONE: Final = b"data: [DONE]\n\n"
_DETAILS_KEY: Final = b'"%s"' % REASONING_DETAILS.encode()
# With a blank line: some clients split a stream at blank lines before they look for comments.
_KEEP_ALIVE: Final = encode_comment("keep-alive") + b"\n"

_NOT_ENVELOPE: Final = frozenset(("choices", "usage", "obfuscation", "error", "moderation", "x_groq"))
"""What a frame says of its own; its other fields are the same in every frame of a response."""

_NOT_OF_A_FIRST_FRAME: Final = frozenset(("role", "content", "refusal"))


class Writer:
    """`strip_usage`: reported usage is not shown, nor the `usage: null` that asking for it puts into every frame."""

    def __init__(self, exchange: Exchange, *, strip_usage: bool = False) -> None:
        self._strip_usage = strip_usage
        options = exchange.params.get("stream_options")
        self._announces_usage = isinstance(options, dict) and options.get("include_usage") is True and not strip_usage
        self._legacy = bool(isinstance(exchange.wire, dict) and exchange.wire.get("functions"))
        self._envelope: dict[str, Any] = {
            "id": f"chatcmpl-{exchange.id}",
            "object": "chat.completion.chunk",
            "created": exchange.received,
            "model": exchange.model,
        }
        self._learned = False
        self._later_attempt = False
        self._begun: set[int] = set()
        self._owed: set[int] = set()
        """Choices whose first frame was withheld: the next one must say whose turn it is."""
        self._custom: set[tuple[int, int]] = set()
        self._unsigned: set[int] = set()

    # --- the contract ------------------------------------------------------------------------------------------------

    def write(self, chunks: Sequence[Chunk], frame: Frame | None = None) -> bytes:
        """The bytes that say `chunks`, as StreamWriter has it."""
        if frame is None:
            return self._fresh(chunks)
        data = frame.data
        unchanged = chunks is frame.said or tuple(chunks) == frame.said
        if not isinstance(data, dict):
            return frame.raw if unchanged else self._fresh(chunks)
        if not self._learned:
            self._learn(data)
        if not chunks:
            self._note_withheld(frame)
            return b""
        if unchanged and not self._later_attempt and not self._unsigned and not self._owed:
            self._note(data, chunks)
            if not self._strip_usage or "usage" not in data:
                return frame.raw
            if data["usage"] is None:
                shown = {field: value for field, value in data.items() if field != "usage"}
                return encode_event(encode_json(shown))
        return self._with_other_text(data, frame.said, chunks) or self._rewritten(data, frame.said, chunks)

    def next_attempt(self) -> None:
        self._later_attempt = True
        self._custom.clear()

    def keep_alive(self) -> bytes:
        return _KEEP_ALIVE

    def error(self, problem: Problem) -> bytes:
        return encode_event(encode_json(error_object(problem)))

    # --- what was learned --------------------------------------------------------------------------------------------

    def _learn(self, data: Mapping[str, Any]) -> None:
        """The envelope of the first frame that has an id: Azure's very first one has none."""
        if data.get("id"):
            self._learned = True
            self._envelope = {field: value for field, value in data.items() if field not in _NOT_ENVELOPE}
            self._announces_usage = "usage" in data and not self._strip_usage

    def _note(self, data: Mapping[str, Any], chunks: Sequence[Chunk]) -> None:
        choices = data.get("choices")
        if isinstance(choices, list):
            for place, choice in enumerate(choices):
                self._begun.add(choice_number(choice, place))
        for chunk in chunks:
            if type(chunk) is CallOpened and chunk.kind == "custom":
                self._custom.add((chunk.choice, chunk.index))

    def _note_withheld(self, frame: Frame) -> None:
        for chunk in frame.said:
            if isinstance(chunk, TextDelta | CallOpened) and chunk.choice not in self._begun:
                self._owed.add(chunk.choice)
            if isinstance(chunk, TextDelta) and chunk.channel == "reasoning" and _DETAILS_KEY in frame.raw:
                self._unsigned.add(chunk.choice)

    # --- a frame that came, saying something else --------------------------------------------------------------------

    def _with_other_text(self, data: dict[str, Any], said: Sequence[Chunk], chunks: Sequence[Chunk]) -> bytes:
        """What holding back and redacting do to nearly all frames: another piece of text, nothing else; b"" for others."""
        if len(said) != 1 or len(chunks) != 1 or self._later_attempt:
            return b""
        was, now = said[0], chunks[0]
        if type(was) is not TextDelta or type(now) is not TextDelta or now.choice not in self._begun:
            return b""
        if was.choice != now.choice or not was.channel == now.channel == "answer" or not now.text:
            return b""
        choice = data["choices"][0]
        delta = choice.get("delta")
        if len(data["choices"]) != 1 or not delta or delta.keys() != {"content"} or choice.get("logprobs") is not None:
            return b""
        frame = {**data, "choices": [{**choice, "delta": {"content": now.text}}]}
        if self._strip_usage:
            frame.pop("usage", None)
        return encode_event(encode_json(frame))

    def _rewritten(self, data: dict[str, Any], said: Sequence[Chunk], chunks: Sequence[Chunk]) -> bytes:
        before, after = _by_choice(said), _by_choice(chunks)
        keeps_rest = any(isinstance(chunk, Other) for chunk in chunks)
        frame = dict(data)
        choices: list[dict[str, Any]] = []
        wires = data.get("choices")
        for place, wire in enumerate(wires if isinstance(wires, list) else ()):
            number = choice_number(wire, place)
            mine = after.pop(number, [])
            if mine or keeps_rest:
                choice = self._rewritten_choice(wire, number, before.get(number, []), mine)
                if choice is not None:
                    choices.append(choice)
        if wires is not None:
            frame["choices"] = choices
        first, last = self._around(after, chunks, said)
        usage = [chunk.usage for chunk in chunks if isinstance(chunk, UsageReported)]
        if self._strip_usage:
            frame.pop("usage", None)
        elif usage:
            frame["usage"] = encode_usage(usage[-1])
        elif frame.get("usage") is not None:
            frame["usage"] = None
        if frame.get("error") is not None and not any(isinstance(chunk, Failed) for chunk in chunks):
            del frame["error"]
        # What is no choice, no usage and no error is Azure's filter results, moderation: of the first answer alone.
        rest = keeps_rest and not wires and not self._later_attempt
        if not (choices or rest or frame.get("usage") or frame.get("error")):
            return first + last
        if self._later_attempt:
            frame |= self._envelope
        return first + encode_event(encode_json(frame)) + last

    def _around(
        self, elsewhere: Mapping[int, list[Chunk]], chunks: Sequence[Chunk], said: Sequence[Chunk]
    ) -> tuple[bytes, bytes]:
        """Frames of our own before and after: for choices that the frame has not, and for how the stream ends."""
        before = [chunk for mine in elsewhere.values() for chunk in mine]
        after = [chunk for chunk in chunks if isinstance(chunk, Failed | Closed) and chunk not in said]
        return self._fresh(before), self._fresh(after)

    def _rewritten_choice(
        self, wire: Mapping[str, Any], number: int, before: Sequence[Chunk], after: Sequence[Chunk]
    ) -> dict[str, Any] | None:
        was = delta_of(wire)
        delta = dict(was)
        if number in self._begun and self._later_attempt:
            delta.pop("role", None)
            if not after and not any(was[field] for field in was.keys() - _NOT_OF_A_FIRST_FRAME):
                return None
        elif "role" not in delta and number not in self._begun:
            delta = {"role": "assistant", **delta}
        self._begun.add(number)
        self._owed.discard(number)
        for channel, field in (("answer", "content"), ("refusal", "refusal")):
            text = _text(after, channel)
            if text != _text(before, channel):
                if text or isinstance(was.get(field), str):
                    delta[field] = text
                else:
                    delta.pop(field, None)
        self._rewrite_reasoning(delta, number, _text(before, "reasoning"), _text(after, "reasoning"))
        calls = [chunk for chunk in after if isinstance(chunk, CallOpened | CallDelta)]
        if calls != [chunk for chunk in before if isinstance(chunk, CallOpened | CallDelta)]:
            delta.pop("tool_calls", None)
            delta.pop("function_call", None)
            delta |= self._call_fields(calls)
        else:
            self._note({}, calls)
        finish = [chunk for chunk in after if isinstance(chunk, Finished)]
        choice = {**wire, "message" if isinstance(wire.get("message"), dict) else "delta": delta}
        if finish != [chunk for chunk in before if isinstance(chunk, Finished)]:
            choice["finish_reason"] = self._finish(finish[-1].finish) if finish else None
        if wire.get("logprobs") is not None and _texts(after) != _texts(before):
            choice["logprobs"] = None  # they spell the text that was there
        return choice

    def _rewrite_reasoning(self, delta: dict[str, Any], number: int, before: str, after: str) -> None:
        """A thought that is not passed on as it came has lost its signature, in this frame or a later one."""
        signed = REASONING_DETAILS in delta
        if after != before:
            if not any(isinstance(delta.get(field), str) for field in REASONING_FIELDS) and not after:
                delta.pop(REASONING_DETAILS, None)
            else:
                write_reasoning(delta, after)
            if signed:
                self._unsigned.add(number)
        elif number in self._unsigned and signed:
            text = reasoning_of(delta)
            del delta[REASONING_DETAILS]
            if text:
                write_reasoning(delta, text)

    # --- frames of our own -------------------------------------------------------------------------------------------

    def _fresh(self, chunks: Sequence[Chunk]) -> bytes:
        return b"".join([self._fresh_frame(chunk) for chunk in chunks])

    def _fresh_frame(self, chunk: Chunk) -> bytes:
        match chunk:
            case TextDelta(choice, channel, text):
                field = {"answer": "content", "refusal": "refusal", "reasoning": REASONING_FIELDS[0]}[channel]
                return self._begin(choice, "") + self._frame(choice, {field: text}) if text else b""
            case CallOpened() | CallDelta():
                return self._begin(chunk.choice, None) + self._frame(chunk.choice, self._call_fields([chunk]))
            case Finished(choice, finish):
                return self._begin(choice, "") + self._frame(choice, {}, self._finish(finish))
            case UsageReported(usage):
                if self._strip_usage:
                    return b""
                frame = {**self._envelope, "choices": [], "usage": encode_usage(usage)}
                return encode_event(encode_json(frame))
            case Failed(status, kind, message):
                return self.error(Problem(status=status, kind=kind, message=message))
            case Closed():
                return _DONE
            case Other():
                return b""
            case _:
                assert_never(chunk)

    def _begin(self, choice: int, content: str | None) -> bytes:
        """The first frame of a choice says whose turn it is."""
        if choice in self._begun:
            return b""
        self._begun.add(choice)
        self._owed.discard(choice)
        return self._frame(choice, {"role": "assistant", "content": content, "refusal": None})

    def _frame(self, choice: int, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        said = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish}
        frame: dict[str, Any] = {**self._envelope, "choices": [said]}
        if self._announces_usage:
            frame["usage"] = None
        return encode_event(encode_json(frame))

    def _call_fields(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """The fields of a delta that say the calls; a call that opens and goes on in one frame is one item."""
        items: dict[int, dict[str, Any]] = {}
        for chunk in chunks:
            match chunk:
                case CallOpened(choice, index, id, name, kind, extra):
                    if kind == "custom":
                        self._custom.add((choice, index))
                    field, text = self._words(choice, index)
                    rest = extra if isinstance(extra, dict) and "name" not in extra else {}
                    items[index] = {
                        "index": index,
                        "id": id,
                        "type": field,
                        field: {"name": name, text: ""},
                        **rest,
                    }
                case CallDelta(choice, index, arguments):
                    field, text = self._words(choice, index)
                    item = items.setdefault(index, {"index": index, field: {}})
                    item[field][text] = item[field].get(text, "") + arguments
                case _:
                    pass
        if not items:
            return {}
        if self._legacy:
            return {"function_call": next(iter(items.values()))["function"]}
        return {"tool_calls": list(items.values())}

    def _words(self, choice: int, index: int) -> tuple[str, str]:
        return ("custom", "input") if (choice, index) in self._custom else ("function", "arguments")

    def _finish(self, finish: str) -> str:
        return LEGACY_FINISH if self._legacy and finish == "tool_calls" else finish


def _by_choice(chunks: Sequence[Chunk]) -> dict[int, list[Chunk]]:
    grouped: dict[int, list[Chunk]] = {}
    for chunk in chunks:
        if isinstance(chunk, TextDelta | CallOpened | CallDelta | Finished):
            grouped.setdefault(chunk.choice, []).append(chunk)
    return grouped


def _texts(chunks: Sequence[Chunk]) -> list[Chunk]:
    return [chunk for chunk in chunks if isinstance(chunk, TextDelta)]


def _text(chunks: Sequence[Chunk], channel: str) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta) and chunk.channel == channel)

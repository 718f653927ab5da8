"""An answer on its way back: what the backend said in the client's names and ids, free of anything of its protocol.

The same for a whole answer and for the chunks of a stream, so that rules see one thing and clients get one thing.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.base import BadAnswer
from engine.model.exchange import (
    Answer,
    CallDelta,
    CallOpened,
    Choice,
    Chunk,
    Failed,
    Finished,
    Other,
    Part,
    Protocol,
    ToolCall,
    Usage,
    UsageReported,
)

from .custom import free_text
from .names import LIMITS, ToolNames, fitted_id
from .problems import status_for

replace = msgspec.structs.replace

FINISHES: Final = frozenset(("stop", "length", "tool_calls", "content_filter"))


def finish_for(finish: str, *, calls: bool) -> str:
    """Why an answer ended, in words that every protocol has; some servers say `stop` also where a tool is called."""
    known = finish if finish in FINISHES else "stop"
    if known == "stop" and calls:
        return "tool_calls"
    return "stop" if known == "tool_calls" and not calls else known


def plain_usage(usage: Usage | None) -> Usage | None:
    return None if usage is None else replace(usage, wire=None)


class Inward:
    """The way back of one answer. `seed` tells answers of one exchange apart; `known` are the ids in the history;
    `interleaved`: the backend may say a little of one call, a little of another."""

    def __init__(
        self,
        client: Protocol,
        names: ToolNames,
        custom: frozenset[str] = frozenset(),
        seed: str = "",
        known: Iterable[str] = (),
        *,
        interleaved: bool = False,
    ) -> None:
        self._client = client
        self.interleaved = interleaved
        self._names = names
        self._custom = custom
        self._seed = seed
        self._taken = set(known)
        self._choices: dict[int, _Calls] = {}

    def call(self, call: ToolCall, choice: int, index: int) -> ToolCall:
        """A call with the client's name and an id that is the call's own."""
        name = self._names.inward(call.name)
        custom = name in self._custom
        return ToolCall(
            id=self._id(call.id, choice, index),
            name=name,
            arguments=free_text(call.arguments) if custom else _object(call.arguments, call.kind),
            kind="custom" if custom else call.kind,
            signature=call.signature,
        )

    def _id(self, id: str, choice: int, index: int) -> str:
        if not id or id in self._taken:
            seed = f"{self._seed}.{choice}.{index}"
            id = f"call_{hashlib.blake2b(seed.encode(), digest_size=12).hexdigest()}"
        self._taken.add(id)
        return fitted_id(id, LIMITS[self._client])

    # --- a whole answer ----------------------------------------------------------------------------------------------

    def answer(self, answer: Answer) -> Answer:
        choices = tuple(self._choice(choice) for choice in answer.choices)
        return Answer(model=answer.model, choices=choices, usage=plain_usage(answer.usage))

    def _choice(self, choice: Choice) -> Choice:
        calls = [call for call in choice.tool_calls if call.kind != "server"]
        made = tuple(self.call(call, choice.index, index) for index, call in enumerate(calls))
        return Choice(
            index=choice.index,
            parts=_joined(choice.parts),
            tool_calls=made,
            finish=finish_for(choice.finish, calls=bool(made)),
        )

    # --- a stream ----------------------------------------------------------------------------------------------------

    def chunks(self, chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
        out: list[Chunk] = []
        for chunk in chunks:
            match chunk:
                case CallOpened() | CallDelta():
                    self._calls(chunk.choice).take(chunk, out)
                case Finished(choice, finish):
                    calls = self._calls(choice)
                    calls.rest(out)
                    out.append(Finished(choice, finish_for(finish, calls=calls.opened > 0)))
                case UsageReported(usage):
                    out.append(UsageReported(replace(usage, wire=None)))
                case Failed(status, kind, message):
                    out.append(Failed(status_for(status, self._client), kind, message))
                case Other():
                    pass
                case _:
                    out.append(chunk)
        return tuple(out)

    def _calls(self, choice: int) -> "_Calls":
        found = self._choices.get(choice)
        if found is None:
            found = self._choices[choice] = _Calls(self, choice)
        return found


class _Call(msgspec.Struct):
    """A call of which chunks come. `whole`: it must be complete before anything of it can be said."""

    call: ToolCall
    index: int
    whole: bool
    arguments: list[str] = []
    said: bool = False


class _Calls:
    """The calls of one choice: one after the other, because not every client's protocol can hold two that interleave.

    The first one flows. Where calls may interleave, what comes of others waits until the choice ends; else a call has
    ended when the next one begins.
    """

    def __init__(self, inward: Inward, choice: int) -> None:
        self._inward = inward
        self._choice = choice
        self._waiting: dict[int, _Call] = {}
        self._skipped: set[int] = set()
        self.opened = 0

    def take(self, chunk: CallOpened | CallDelta, out: list[Chunk]) -> None:
        if isinstance(chunk, CallOpened):
            self._open(chunk, out)
            return
        if chunk.index in self._skipped:
            return
        call = self._waiting.get(chunk.index)
        if call is None:
            raise BadAnswer("the upstream's stream goes on with a tool call that had ended")
        if call.whole or call is not next(iter(self._waiting.values())):
            call.arguments.append(chunk.arguments)
        elif chunk.arguments:
            call.said = True
            out.append(CallDelta(self._choice, call.index, chunk.arguments))

    def _open(self, chunk: CallOpened, out: list[Chunk]) -> None:
        if chunk.kind == "server":
            self._skipped.add(chunk.index)
            return
        if not self._inward.interleaved:
            self.rest(out)
        made = self._inward.call(
            ToolCall(id=chunk.id, name=chunk.name, kind=chunk.kind, signature=chunk.signature),
            self._choice,
            self.opened,
        )
        call = _Call(made, self.opened, made.kind == "custom" and chunk.kind != "custom")
        self.opened += 1
        self._waiting[chunk.index] = call
        if len(self._waiting) == 1:
            self._say(call, out)

    def _say(self, call: _Call, out: list[Chunk]) -> None:
        made = call.call
        out.append(CallOpened(self._choice, call.index, made.id, made.name, made.kind, signature=made.signature))

    def rest(self, out: list[Chunk]) -> None:
        """What waits, now that no more of it can come."""
        for place, call in enumerate(self._waiting.values()):
            if place:
                self._say(call, out)
            text = "".join(call.arguments)
            if call.whole:
                text = free_text(text)
            elif not text and not call.said:
                text = _object("", call.call.kind)
            if text:
                out.append(CallDelta(self._choice, call.index, text))
        self._waiting.clear()


def _object(arguments: str, kind: str) -> str:
    """A function's arguments are an object, also where a server leaves out one that is empty."""
    return arguments if arguments.strip() or kind != "function" else "{}"


def _joined(parts: Iterable[Part]) -> tuple[Part, ...]:
    """What was thought, said and refused, each as one part: clients of other protocols know no more."""
    said: dict[str, list[str]] = {"reasoning": [], "text": [], "refusal": []}
    for part in parts:
        if part.text and part.kind in said:
            said[part.kind].append(part.text)
    texts: Mapping[Any, str] = {kind: "".join(each) for kind, each in said.items()}
    return tuple(Part(kind=kind, text=text) for kind, text in texts.items() if text)

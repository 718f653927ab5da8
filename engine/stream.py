"""The story of one answer, chunk by chunk: text held back no further than needed, tool calls held until they are decided.

The same code governs a streamed answer and a whole one (which is a stream of one chunk a channel), so that no rule can
hold on the one and not on the other. It knows chunks only: bytes are the codecs', waiting is the pipeline's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.judging import Judge
from engine.language.patterns import PatternSet, compile_pattern
from engine.model.decision import Decision
from engine.model.effects import Block, Drop, Patch, Respond, Steer
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Channel,
    Chunk,
    Closed,
    Failed,
    Finished,
    Other,
    TextDelta,
    ToolCall,
    Usage,
    UsageReported,
)
from engine.model.folding import with_call_args
from engine.model.phases import Phase
from engine.view import call_section

CONTEXT: Final = 256
"""Code points already sent that stand in front of a text window."""

NOT_EXECUTED: Final = "not executed, because another call of this turn was refused; call again if still needed"
PLACEHOLDERS: Final = PatternSet("placeholders", [compile_pattern("placeholder", r"\[[a-z0-9_-]{1,80}:[0-9a-f]{24}\]")])
CHANNELS: Final[tuple[Channel, ...]] = ("reasoning", "answer", "refusal")


class Refusal(msgspec.Struct, frozen=True):
    """Why a turn's calls are withheld, and what the model is told as the result of each of them."""

    rule: str
    message: str
    results: tuple[tuple[ToolCall, str], ...]


class _Flow:
    """One channel of one choice on its way: what was sent last, and what is held."""

    __slots__ = ("context", "held", "sent")

    def __init__(self) -> None:
        self.context = ""
        self.held = ""
        self.sent: list[str] = []


class _Call:
    """One tool call as its fragments arrive."""

    __slots__ = ("fragments", "held", "opened")

    def __init__(self, opened: CallOpened, held: bool) -> None:
        self.opened = opened
        self.fragments: list[str] = []
        self.held = held

    @property
    def whole(self) -> ToolCall:
        opened = self.opened
        return ToolCall(
            id=opened.id, name=opened.name, arguments="".join(self.fragments), kind=opened.kind, wire=opened.wire
        )


class Governor:
    """Governs one answer of a model: give it chunks, send on what it answers.

    After the answer ended, `refusal` says whether the model is to be asked again; `cut` is set when a rule ended the
    answer before the model did, so that the rest of it need not be read.
    """

    def __init__(self, judge: Judge, *, choices: int = 1, restores: bool = False) -> None:
        self._judge = judge
        reading = judge.reading
        self._plan = reading.text
        self._calls_plan = reading.calls
        self._holds_all = bool(self._calls_plan.rules) and self._calls_plan.holds_all(judge.view.exchange)
        self._offered = {tool.name for tool in judge.view.exchange.tools}
        self._restores = restores
        self._flows: dict[tuple[int, Channel], _Flow] = {}
        self._calls: dict[int, dict[int, _Call]] = {}
        self._choices = choices
        self._first_index: dict[int, int] = {}
        self.refusal: Refusal | None = None
        self.cut = False
        self.usage: Usage | None = None
        self.finish = ""
        self.went_out: list[ToolCall] = []
        self.failed: Failed | None = None
        self.began = False

    # -- what was said --

    def text(self, channel: Channel = "answer", choice: int = 0) -> str:
        """What of a channel has been let through."""
        flow = self._flows.get((choice, channel))
        return "".join(flow.sent) if flow is not None else ""

    @property
    def calls(self) -> list[ToolCall]:
        """Every call that the model made in this answer, refused ones included."""
        return [call.whole for calls in self._calls.values() for call in calls.values()]

    # -- chunks --

    async def feed(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """What of these chunks, and of what was held before, may go on now. The same object where all of it may."""
        out: list[Chunk] = []
        same = True
        for chunk in chunks:
            if self.cut:
                return out
            passed = await self._one(chunk)
            if passed is chunk:
                out.append(chunk)
            else:
                same = False
                out += passed if isinstance(passed, list) else [passed]
        return chunks if same else out

    async def _one(self, chunk: Chunk) -> Chunk | list[Chunk]:
        match chunk:
            case TextDelta():
                return await self._text(chunk)
            case CallOpened():
                return await self._opened(chunk)
            case CallDelta():
                return self._delta(chunk)
            case Finished():
                return await self._finished(chunk)
            case UsageReported(usage):
                self.usage = usage
                return chunk
            case Failed():
                self.failed = chunk
                return chunk
            case Closed() | Other():
                return chunk

    # -- text --

    async def _text(self, chunk: TextDelta) -> Chunk | list[Chunk]:
        flow = self._flow(chunk.choice, chunk.channel)
        if not self._plan.rules and not self._restores:
            flow.sent.append(chunk.text)
            return chunk
        before = await self._flushed(chunk.choice, besides=chunk.channel)
        if before is None:
            return self._cut_off(chunk.choice)
        window = flow.context + flow.held + chunk.text
        sent = len(flow.context)
        settled = self._settled(window, sent)
        released = await self._released(chunk.channel, window, sent, settled)
        if released is None:
            return self._cut_off(chunk.choice)
        plain = window[sent:settled]
        flow.held = window[settled:]
        self._went(flow, released)
        if released == chunk.text and plain == chunk.text and not before:
            return chunk
        return [*before, TextDelta(chunk.choice, chunk.channel, released)] if released else before

    def _flow(self, choice: int, channel: Channel) -> _Flow:
        flow = self._flows.get((choice, channel))
        if flow is None:
            flow = self._flows[choice, channel] = _Flow()
        return flow

    def _went(self, flow: _Flow, text: str) -> None:
        if text:
            flow.sent.append(text)
            flow.context = (flow.context + text)[-CONTEXT:]

    def _settled(self, window: str, sent: int) -> int:
        """Up to where the window may go: what follows can still become a match of an enforced rule."""
        found, settled = self._plan.held_for.settled(window, sent)
        if self._restores:
            placeholders, held = PLACEHOLDERS.settled(window, sent)
            found, settled = (*found, *placeholders), min(settled, held)
        if self._plan.window:
            settled = min(settled, max(sent, len(window) - self._plan.window + 1))
        # A match that is certain may yet reach beyond what another set holds back: then it waits as a whole.
        for match in sorted(found, key=lambda each: each.start, reverse=True):
            if match.start < settled < match.end:
                settled = match.start
        return settled

    async def _released(self, channel: Channel, window: str, sent: int, settled: int) -> str | None:
        """What goes out of a window after its rules; None where one of them cuts the answer off."""
        plain = window[sent:settled]
        if self._plan.rules and not (self._plan.only_patterns and not self._plan.looked_for.matches(window)):
            section = {"channel": channel, "window": window, "sent": sent, "settled": settled}
            decision = await self._judge.judge(Phase.TEXT, text=section)
            if decision is not None:
                if decision.refused:
                    self._refuse_text(decision)
                    return None
                if decision.effects and decision.event is not None:
                    changed: str = decision.event["text"]["window"]
                    plain = changed[sent : len(changed) - (len(window) - settled)]
        return self._restored(plain) if self._restores else plain

    def _restored(self, text: str) -> str:
        concealed = self._judge.concealed
        return PLACEHOLDERS.sub(
            text,
            lambda match: (
                concealed[text[match.start : match.end]].value
                if text[match.start : match.end] in concealed
                else text[match.start : match.end]
            ),
        )

    async def _flushed(self, choice: int, besides: Channel | None = None) -> list[Chunk] | None:
        """What is still held of a choice's text, when something else follows it; None where a rule cuts it off."""
        out: list[Chunk] = []
        for channel in CHANNELS:
            flow = self._flows.get((choice, channel))
            if flow is None or not flow.held or channel == besides:
                continue
            window = flow.context + flow.held
            released = await self._released(channel, window, len(flow.context), len(window))
            if released is None:
                return None
            flow.held = ""
            self._went(flow, released)
            if released:
                out.append(TextDelta(choice, channel, released))
        return out

    def _refuse_text(self, decision: Decision) -> None:
        match decision.effect:
            case Block(message=message) | Respond(message=message) | Steer(message=message):
                self._message = message
            case _:
                self._message = ""

    def _cut_off(self, choice: int) -> list[Chunk]:
        """The message in place of what was refused, and the end of a normal answer."""
        self.cut = True
        return self._ended_with(choice, self._message)

    def _ended_with(self, choice: int, message: str) -> list[Chunk]:
        self.finish = "stop"
        out: list[Chunk] = []
        if message:
            flow = self._flow(choice, "answer")
            before = "\n\n" if flow.sent else ""
            self._went(flow, before + message)
            out.append(TextDelta(choice, "answer", before + message))
        out.append(Finished(choice, "stop"))
        return out

    # -- tool calls --

    async def _opened(self, chunk: CallOpened) -> Chunk | list[Chunk]:
        flushed = await self._flushed(chunk.choice)
        if flushed is None:
            return self._cut_off(chunk.choice)
        calls = self._calls.setdefault(chunk.choice, {})
        held = (
            self._holds_all
            or any(call.held for call in calls.values())
            or (chunk.name not in self._offered and self._calls_plan.governs(chunk.name))
        )
        calls[chunk.index] = _Call(chunk, held)
        if flushed:
            return flushed if held else [*flushed, chunk]
        return [] if held else chunk

    def _delta(self, chunk: CallDelta) -> Chunk | list[Chunk]:
        call = self._calls.get(chunk.choice, {}).get(chunk.index)
        if call is None:
            return chunk
        call.fragments.append(chunk.arguments)
        return [] if call.held else chunk

    async def _finished(self, chunk: Finished) -> Chunk | list[Chunk]:
        flushed = await self._flushed(chunk.choice)
        if flushed is None:
            return self._cut_off(chunk.choice)
        self.finish = chunk.finish
        calls = list(self._calls.get(chunk.choice, {}).values())
        if not calls:
            return [*flushed, chunk] if flushed else chunk
        out = await self._decided(chunk, calls)
        return [*flushed, *out] if flushed or out != [chunk] else chunk

    async def _decided(self, chunk: Finished, calls: list[_Call]) -> list[Chunk]:
        """The calls of a choice are complete: decide each; let all go, or withhold all."""
        went = any(not call.held for call in calls)
        self._judge.may_reask = self._may_reask(calls, went)
        kept: list[tuple[_Call, ToolCall]] = []
        dropped = 0
        refused: tuple[_Call, Decision] | None = None
        for call in calls:
            whole = self._restored_call(call.whole)
            decision = await self._judge_call(whole) if self._calls_plan.rules else None
            if decision is None or not call.held:
                kept.append((call, call.whole if not call.held else whole))
                continue
            match decision.effect:
                case None:
                    kept.append((call, _rewritten(whole, decision)))
                case Drop():
                    dropped += 1
                case _:
                    refused = refused if refused is not None and _stronger(refused[1], decision) else (call, decision)
        if refused is not None:
            return self._withheld(chunk, calls, *refused)
        out = self._let_out(chunk.choice, kept)
        remaining = [whole for _, whole in kept]
        self.went_out += remaining
        finish = chunk.finish
        if dropped and not remaining and finish == "tool_calls":
            finish = "stop"
        self.finish = finish
        return [*out, chunk if finish == chunk.finish else Finished(chunk.choice, finish)]

    async def _judge_call(self, call: ToolCall) -> Decision | None:
        wanted = self._judge.wanted(Phase.TOOL_CALL)
        return await self._judge.judge(Phase.TOOL_CALL, tool=call_section(self._judge.view, call, wanted))

    def _may_reask(self, calls: Iterable[_Call], went: bool) -> bool:
        """The model can be asked again: one choice, nothing of this turn's calls went out, none ran at the provider."""
        return (
            self._choices == 1
            and not went
            and self._judge.reasks_left > 0
            and not any(call.opened.kind == "server" for call in calls)
        )

    def _restored_call(self, call: ToolCall) -> ToolCall:
        """The call with placeholders in its arguments turned back, where the rule that made them says so."""
        allowed = {name: each.value for name, each in self._judge.concealed.items() if each.tool_args}
        if not any(name in call.arguments for name in allowed):
            return call
        args = _with_strings(call.args, lambda text: _put_back(text, allowed))
        return call.with_args(args)

    def _let_out(self, choice: int, kept: Sequence[tuple[_Call, ToolCall]]) -> list[Chunk]:
        """Held calls, whole, numbered without gaps."""
        out: list[Chunk] = []
        number = sum(not call.held for call, _ in kept)
        place = 0
        for call, whole in kept:
            if not call.held:
                continue
            index = number + place
            place += 1
            opened = msgspec.structs.replace(call.opened, index=index)
            out += [opened, CallDelta(choice, index, whole.arguments)]
        return out

    def _withheld(self, chunk: Finished, calls: Sequence[_Call], call: _Call, decision: Decision) -> list[Chunk]:
        """All calls of the turn stay back: the model is asked again, or the answer ends with the message."""
        effect = decision.effect
        match effect:
            case Steer(message=message, mode="reask"):
                results = tuple((each.whole, message if each is call else NOT_EXECUTED) for each in calls)
                self.refusal = Refusal(decision.by, message, results)
                return []
            case Steer(message=message) | Block(message=message) | Respond(message=message):
                return self._ended_with(chunk.choice, message)
            case _:
                return self._ended_with(chunk.choice, "")


def _stronger(first: Decision, second: Decision) -> bool:
    return first.verdict >= second.verdict


def _rewritten(call: ToolCall, decision: Decision) -> ToolCall:
    """The call with the arguments that rules gave it."""
    for effect in decision.effects:
        if isinstance(effect, Patch):
            for op in effect.ops:
                call = with_call_args(call, op.path[2:], op)
    return call


def _put_back(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def _with_strings(value: Any, change: Any) -> Any:
    match value:
        case str():
            return change(value)
        case dict():
            return {key: _with_strings(item, change) for key, item in value.items()}
        case list():
            return [_with_strings(item, change) for item in value]
        case _:
            return value

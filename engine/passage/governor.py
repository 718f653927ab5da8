"""The story of one answer, chunk by chunk: text held back no further than needed, tool calls held until they are decided.

The same code governs a streamed answer and a whole one (which is a stream of one chunk a channel), so that no rule can
hold on the one and not on the other. It knows chunks only: bytes are the codecs', waiting is the pipeline's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

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
from engine.passage.judging import Judge
from engine.passage.view import call_section
from engine.policy.ruleset import POLICY_ERROR
from engine.world.metrics import ToolFate

CONTEXT: Final = 256
"""Code points already sent that stand in front of a text window."""

NOT_EXECUTED: Final = "not executed, because another call of this turn was refused; call again if still needed"
PLACEHOLDERS: Final = PatternSet("placeholders", [compile_pattern("placeholder", r"\[[a-z0-9_-]{1,80}:[0-9a-f]{24}\]")])
CHANNELS: Final[tuple[Channel, ...]] = ("reasoning", "answer", "refusal")


BETWEEN: Final = "\n\n"
"""Between what a refused turn said and what is said next in the same message."""


class Refusal(msgspec.Struct, frozen=True):
    """Which rules steered a turn, and what the model is told: as the result of each of its calls, and as the user.

    `whole`: the answer itself was refused, and nothing of it went out.
    """

    rules: tuple[str, ...]
    results: tuple[tuple[ToolCall, str], ...]
    told: str = ""
    whole: bool = False


class _Flow:
    """One channel of one choice on its way: what was sent last, and what is held.

    `sent` is what the client got; `said` is the same with placeholders where values were restored: what rules and the
    upstream may see of it.
    """

    __slots__ = ("context", "held", "said", "sent")

    def __init__(self) -> None:
        self.context = ""
        self.held = ""
        self.sent: list[str] = []
        self.said: list[str] = []


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
            id=opened.id,
            name=opened.name,
            arguments="".join(self.fragments),
            kind=opened.kind,
            signature=opened.signature,
            wire=opened.wire,
        )


class Governor:
    """Governs one answer of a model: give it chunks, send on what it answers.

    After the answer ended, `refusal` says whether the model is to be asked again; `cut` is true when rules ended the
    answer before the model did, so that the rest of it need not be read; `error` is set where a rule that must not be
    skipped could not be evaluated. `continues`: text of an earlier answer stands in front of this one's.
    """

    def __init__(self, judge: Judge, *, choices: int = 1, restores: bool = False, continues: bool = False) -> None:
        self._judge = judge
        self._tape = judge.tape
        if self._tape is not None:
            self._tape.answered()
        reading = judge.reading
        self._plan = reading.text
        self._calls_plan = reading.calls
        restores_args = restores and any(each.tool_args for each in judge.concealed.values())
        self._holds_all = restores_args or (
            bool(self._calls_plan.rules) and self._calls_plan.holds_all(judge.view.exchange)
        )
        self._offered = {tool.name for tool in judge.view.exchange.tools}
        self._restores = restores
        self._lead = BETWEEN if continues else ""
        self._flows: dict[tuple[int, Channel], _Flow] = {}
        self._calls: dict[int, dict[int, _Call]] = {}
        self._choices = choices
        self._over: set[int] = set()
        self._cut: set[int] = set()
        self._refused_text = Decision(phase=Phase.TEXT)
        self._held_size = 0
        self.refusal: Refusal | None = None
        self.error: Block | None = None
        self.usage: Usage | None = None
        self.finish = ""
        self.went_out: list[ToolCall] = []
        self.failed: Failed | None = None

    # -- what was said --

    def text(self, channel: Channel = "answer", choice: int = 0) -> str:
        """What of a channel the client got."""
        flow = self._flows.get((choice, channel))
        return "".join(flow.sent) if flow is not None else ""

    def said(self, channel: Channel = "answer", choice: int = 0) -> str:
        """The same of this answer alone, with placeholders where values were restored."""
        flow = self._flows.get((choice, channel))
        return "".join(flow.said) if flow is not None else ""

    @property
    def size(self) -> int:
        """About how many characters the model has produced."""
        flows = sum(len(text) for flow in self._flows.values() for text in (*flow.said, flow.held))
        calls = (call for calls in self._calls.values() for call in calls.values())
        return flows + sum(len(fragment) for call in calls for fragment in call.fragments)

    @property
    def complete(self) -> bool:
        """Every choice has ended."""
        return len(self._over) >= self._choices

    @property
    def cut(self) -> bool:
        return self.error is not None or (bool(self._cut) and self.complete)

    @property
    def withheld(self) -> bool:
        """The model made calls that did not go out."""
        return len(self._calls.get(0, ())) > len(self.went_out)

    def refuse(self, rule: str, message: str) -> None:
        """Refuse the whole answer, of which nothing went out: the model is asked again, and told the message."""
        made = [call.whole for call in self._calls.get(0, {}).values()]
        self.refusal = Refusal((rule,), tuple((call, message) for call in made), "" if made else message, whole=True)

    @property
    def may_be_refused(self) -> bool:
        """The model can be asked for another answer: it gave one, which no rule ended, and nothing ran at its provider."""
        return self._choices == 1 and not self.cut and self._may_reask(self._calls.get(0, {}).values(), went=False)

    # -- chunks --

    async def feed(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """What of these chunks, and of what was held before, may go on now. The same object where all of it may."""
        if self._tape is not None:
            self._tape.heard(chunks)
        if len(chunks) == 1 and self._passes(chunks[0]):
            return chunks
        out: list[Chunk] = []
        same = True
        for chunk in chunks:
            if self.cut:
                return out
            if self._cut and getattr(chunk, "choice", None) in self._cut:
                same = False
                continue
            passed = await self._one(chunk)
            if passed is chunk:
                out.append(chunk)
            else:
                same = False
                out += passed if isinstance(passed, list) else [passed]
        return chunks if same else out

    def _passes(self, chunk: Chunk) -> bool:
        """What most of an answer is: text that goes on as it came, because it concerns no rule."""
        if type(chunk) is not TextDelta or self._restores or self._lead or self._cut or self.error is not None:
            return False
        flow = self._flow(chunk.choice, chunk.channel)
        if flow.held or not self._plan.passes(flow.context, chunk.text):
            return False
        self._went(chunk, flow, chunk.text, chunk.text)
        return True

    async def _one(self, chunk: Chunk) -> Chunk | list[Chunk]:
        match chunk:
            case TextDelta():
                return await self._text(chunk)
            case CallOpened():
                return self._opened(chunk)
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
            case Closed():
                return await self._closed(chunk)
            case Other():
                return chunk

    # -- text --

    async def _text(self, chunk: TextDelta) -> Chunk | list[Chunk]:
        flow = self._flow(chunk.choice, chunk.channel)
        if not self._plan.rules and not self._restores:
            return self._went(chunk, flow, chunk.text, chunk.text)
        window = flow.context + flow.held + chunk.text
        sent = len(flow.context)
        settled = self._settled(window, sent)
        released = await self._released(chunk.channel, window, sent, settled)
        if released is None:
            return await self._cut_off(chunk.choice, chunk.channel, window, sent)
        plain = window[sent:settled]
        flow.held = window[settled:]
        if plain == chunk.text == released:
            return self._went(chunk, flow, released, chunk.text)
        return self._went(chunk, flow, released) if released else []

    def _flow(self, choice: int, channel: Channel) -> _Flow:
        flow = self._flows.get((choice, channel))
        if flow is None:
            flow = self._flows[choice, channel] = _Flow()
        return flow

    def _went(self, chunk: TextDelta, flow: _Flow, text: str, came: str | None = None) -> TextDelta:
        """The chunk that says `text`, noted as sent; the chunk itself where that is what came."""
        shown = self.restored(text) if self._restores else text
        if self._lead and chunk.channel == "answer":
            shown, self._lead = self._lead + shown, ""
        flow.said.append(text)
        flow.sent.append(shown)
        flow.context = (flow.context + text)[-CONTEXT:]
        return chunk if shown == came else TextDelta(chunk.choice, chunk.channel, shown)

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
                    self._refused_text = decision
                    return None
                if decision.effects and decision.event is not None:
                    changed: str = decision.event["text"]["window"]
                    plain = changed[sent : len(changed) - (len(window) - settled)]
        return plain

    def restored(self, text: str) -> str:
        concealed = self._judge.concealed
        return PLACEHOLDERS.sub(
            text,
            lambda match: (
                concealed[text[match.start : match.end]].value
                if text[match.start : match.end] in concealed
                else text[match.start : match.end]
            ),
        )

    async def _flushed(self, choice: int) -> list[Chunk]:
        """What is still held of a choice's text, when nothing can follow it any more, or what a rule puts in its place.

        Not sooner: a client joins what a channel says, whatever stood between two pieces of it on the wire.
        """
        out: list[Chunk] = []
        for channel in CHANNELS:
            flow = self._flows.get((choice, channel))
            if flow is None or not flow.held:
                continue
            window, sent = flow.context + flow.held, len(flow.context)
            released = await self._released(channel, window, sent, len(window))
            if released is None:
                return [*out, *await self._cut_off(choice, channel, window, sent)]
            flow.held = ""
            if released:
                out.append(self._went(TextDelta(choice, channel, released), flow, released))
        return out

    async def _cut_off(self, choice: int, channel: Channel, window: str, sent: int) -> list[Chunk]:
        """The message in place of what was refused, and the end of a normal answer."""
        decision = self._refused_text
        self._cut.add(choice)
        self._over.add(choice)
        effect = decision.effect
        if isinstance(effect, Block) and effect.code == POLICY_ERROR:
            self.error = effect
            return []
        # What stands in front of the refused words is no part of them, however much of it came in one piece.
        end = self._refused_from(decision, window, sent)
        before = await self._released(channel, window[:end], sent, end) if end > sent else ""
        self._flow(choice, channel).held = ""
        message = effect.message if isinstance(effect, Block | Respond | Steer) else ""
        delta = TextDelta(choice, channel, before or "")
        said: list[Chunk] = [self._went(delta, self._flow(choice, channel), before)] if before else []
        return [*said, *self._ended_with(choice, message)]

    def _refused_from(self, decision: Decision, window: str, sent: int) -> int:
        """Where the words begin for which a rule refused; all that is not sent, where it looks for no patterns."""
        rule = self._judge.rules.by_name[decision.by]
        starts = [match.start for each in rule.patterns for match in each.find(window, sent)]
        end = min(starts, default=sent)
        for match in self._plan.held_for.find(window, sent):
            if match.start < end < match.end:
                end = match.start
        return end

    def _ended_with(self, choice: int, message: str, finish: str = "stop") -> list[Chunk]:
        self._over.add(choice)
        if choice == 0:
            self.finish = finish
        out: list[Chunk] = []
        if message:
            flow = self._flow(choice, "answer")
            text = (BETWEEN if flow.sent else "") + message
            out.append(self._went(TextDelta(choice, "answer", text), flow, text))
        out.append(Finished(choice, finish))
        return out

    # -- tool calls --

    def _opened(self, chunk: CallOpened) -> Chunk | list[Chunk]:
        calls = self._calls.setdefault(chunk.choice, {})
        held = (
            self._holds_all
            or any(call.held for call in calls.values())
            or (chunk.name not in self._offered and self._calls_plan.governs(chunk.name))
        )
        calls[chunk.index] = _Call(chunk, held)
        return [] if held else chunk

    def _delta(self, chunk: CallDelta) -> Chunk | list[Chunk]:
        call = self._calls.get(chunk.choice, {}).get(chunk.index)
        if call is None:
            return chunk
        call.fragments.append(chunk.arguments)
        if not call.held:
            return chunk
        self._held_size += len(chunk.arguments)
        limit = self._judge.world.settings.limits.tool_call
        if self._held_size <= limit:
            return []
        self._cut.add(chunk.choice)
        message = f"A tool call was withheld: it is larger than {limit} bytes, so that no rule could judge it."
        return self._ended_with(chunk.choice, message, self._finish_of_the_rest(chunk.choice))

    def _finish_of_the_rest(self, choice: int) -> str:
        """The stop reason of an answer whose held calls are withheld: what the client has seen of it."""
        out = [call.whole for call in self._calls[choice].values() if not call.held]
        if choice == 0:
            self.went_out += out
        return "tool_calls" if out else "stop"

    async def _finished(self, chunk: Finished) -> Chunk | list[Chunk]:
        flushed = await self._flushed(chunk.choice)
        if chunk.choice in self._cut:
            return flushed
        self._over.add(chunk.choice)
        if chunk.choice == 0:
            self.finish = chunk.finish
        calls = list(self._calls.get(chunk.choice, {}).values())
        if not calls:
            return [*flushed, chunk] if flushed else chunk
        out = await self._decided(chunk, calls)
        return [*flushed, *out] if flushed or out != [chunk] else chunk

    async def _closed(self, chunk: Closed) -> Chunk | list[Chunk]:
        """A provider that closes without saying why a choice ended must not make what was held of it vanish."""
        out: list[Chunk] = []
        for choice in sorted({*(number for number, _ in self._flows), *self._calls} - self._over):
            finish = Finished(choice, "tool_calls" if self._calls.get(choice) else "stop")
            passed = await self._finished(finish)
            if isinstance(passed, list):
                out += passed
        if self.refusal is not None or self.error is not None:
            return out
        return [*out, chunk] if out else chunk

    async def _decided(self, chunk: Finished, calls: list[_Call]) -> list[Chunk]:
        """The calls of a choice are complete: decide each; let all go, or withhold all."""
        went = any(not call.held for call in calls)
        self._judge.may_reask = self._may_reask(calls, went)
        kept: list[tuple[_Call, ToolCall]] = []
        dropped = 0
        refused: list[tuple[_Call, Decision]] = []
        for call in calls:
            whole = self._restored_call(call.whole)
            decision = await self._judge_call(whole) if self._calls_plan.rules else None
            self._judge.world.metrics.tool_call(_fate(call, decision))
            if decision is None or not call.held:
                kept.append((call, call.whole if not call.held else whole))
                continue
            match decision.effect:
                case None:
                    kept.append((call, _rewritten(whole, decision)))
                case Drop():
                    dropped += 1
                case _:
                    refused.append((call, decision))
        if refused:
            return self._withheld(chunk, calls, refused)
        out = self._let_out(chunk.choice, kept)
        remaining = [whole for _, whole in kept]
        finish = chunk.finish
        if dropped and not remaining and finish == "tool_calls":
            finish = "stop"
        if chunk.choice == 0:
            self.went_out += remaining
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

    def _withheld(
        self, chunk: Finished, calls: Sequence[_Call], refused: Sequence[tuple[_Call, Decision]]
    ) -> list[Chunk]:
        """All calls of the turn stay back: the model is asked again, or the answer ends with the message."""
        strongest = max((decision for _, decision in refused), key=lambda each: each.verdict)
        match strongest.effect:
            case Steer(mode="reask"):
                told = {
                    call.opened.index: decision.effect.message
                    for call, decision in refused
                    if isinstance(decision.effect, Steer)
                }
                results = tuple((call.whole, told.get(call.opened.index, NOT_EXECUTED)) for call in calls)
                self.refusal = Refusal(tuple(dict.fromkeys(decision.by for _, decision in refused)), results)
                return []
            case Steer(message=message) | Block(message=message) | Respond(message=message):
                pass
            case _:
                message = ""
        return self._ended_with(chunk.choice, message, self._finish_of_the_rest(chunk.choice))


def _fate(call: _Call, decision: Decision | None) -> ToolFate:
    """What became of a call, as it is counted."""
    if not call.held or decision is None:
        return "passed"
    match decision.effect:
        case None:
            return "rewritten" if any(isinstance(effect, Patch) for effect in decision.effects) else "held"
        case Drop():
            return "dropped"
        case Steer():
            return "steered"
        case _:
            return "blocked"


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

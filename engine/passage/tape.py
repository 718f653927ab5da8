"""What is recorded of one exchange: every event of it, with all of its fields, until the exchange is over."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine.model.decision import NO_FACTS, Decision, Facts
from engine.model.exchange import CallDelta, CallOpened, Channel, Chunk, TextDelta, ToolCall
from engine.model.phases import Phase
from engine.model.traffic import Decided, RecordedEvent, RecordedExchange
from engine.passage.view import Fields, View, call_section
from engine.policy.record import facts_record
from engine.policy.summary import summary, summary_of


class Tape:
    """The events of one exchange. Text is recorded whole, as the model said it, however it was cut on its way.

    `wanted` are the fields of each phase: all of them.
    """

    def __init__(self, view: View, wanted: Mapping[Phase, Fields]) -> None:
        self._view = view
        self._wanted = wanted
        self._events: list[RecordedEvent] = []
        self._sections: dict[str, Any] = {}
        self._admitted: Facts = NO_FACTS
        self._texts: dict[Channel, list[str]] = {}
        self._windows: dict[Channel, list[tuple[str, Decision]]] = {}
        self._calls: dict[int, tuple[CallOpened, list[str]]] = {}
        self._called = False

    def decided(
        self, id: str, event: Mapping[str, Any], facts: Facts, decision: Decision, *, admission: bool = False
    ) -> None:
        """One event and what came of it. Windows of flowing text are put together to one event a channel."""
        match decision.phase:
            case Phase.REQUEST if admission and not decision.refused:
                self._admitted = facts  # the same event is judged once more, and recorded then
                return
            case Phase.TEXT:
                self._windows.setdefault(event["text"]["channel"], []).append((id, decision))
                return
            case Phase.TOOL_CALL:
                self._called = True
                self._spoken()
            case Phase.ATTEMPT | Phase.RESPONSE:
                self.answered()
            case _:
                pass
        said = facts_record(facts)
        if self._admitted is not NO_FACTS:
            said = {**facts_record(self._admitted), **said}
            self._admitted = NO_FACTS
        self._add(decision.phase, event, summary(decision), id=id, seed=facts.seed, facts=said)

    def heard(self, chunks: Sequence[Chunk]) -> None:
        """What the model says, before any rule."""
        for chunk in chunks:
            match chunk:
                case TextDelta(choice=0, channel=channel, text=text):
                    self._texts.setdefault(channel, []).append(text)
                case CallOpened(choice=0):
                    self._calls[chunk.index] = (chunk, [])
                case CallDelta(choice=0, index=index, arguments=arguments) if index in self._calls:
                    self._calls[index][1].append(arguments)
                case _:
                    pass

    def answered(self) -> None:
        """One answer of the model is over: its text, and the calls in it that no rule was asked about."""
        self._spoken()
        calls, self._calls = self._calls, {}
        judged, self._called = self._called, False
        if judged:
            return
        wanted = self._wanted[Phase.TOOL_CALL]
        for opened, pieces in calls.values():
            call = ToolCall(id=opened.id, name=opened.name, arguments="".join(pieces), kind=opened.kind)
            section = call_section(self._view, call, wanted)
            self._add(Phase.TOOL_CALL, self._view.event(Phase.TOOL_CALL, wanted, tool=section), Decided())

    def _spoken(self) -> None:
        """The texts of an answer, which are whole before its calls are judged."""
        texts, self._texts = self._texts, {}
        windows, self._windows = self._windows, {}
        for channel, pieces in texts.items():
            whole = "".join(pieces)
            section = {"channel": channel, "window": whole, "sent": 0, "settled": len(whole)}
            event = self._view.event(Phase.TEXT, self._wanted[Phase.TEXT], text=section)
            seen = windows.get(channel, [])
            self._add(Phase.TEXT, event, _unpatched([each for _, each in seen]), id=seen[-1][0] if seen else "")

    def finished(self, at: str, revision: str) -> RecordedExchange:
        """The exchange is over."""
        self.answered()
        exchange = self._view.exchange
        return RecordedExchange(
            exchange=exchange.id,
            at=at,
            revision=revision,
            caller=self._view.caller.id,
            protocol=exchange.protocol.value,
            model=self._view.taken.model or exchange.model,
            events=tuple(self._events),
        )

    def _add(
        self,
        phase: Phase,
        event: Mapping[str, Any],
        decided: Decided,
        *,
        id: str = "",
        seed: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        changed = {
            name: section
            for name, section in event.items()
            if name != "phase" and (name not in self._sections or self._sections[name] != section)
        }
        self._sections.update(changed)
        self._events.append(
            RecordedEvent(
                id=id,
                phase=phase,
                sections=changed,
                seed=seed or f"{self._view.exchange.id}/{len(self._events)}",
                facts=dict(facts or {}),
                decision=decided,
            )
        )


def _unpatched(windows: Sequence[Decision]) -> Decided:
    """What was decided of a text by its windows; patches of windows are none of the whole text."""
    decided = summary_of(windows)
    return msgspec.structs.replace(decided, patch=None) if decided.patch else decided

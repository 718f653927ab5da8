"""Recordings as tests write them: a header, and exchanges of partial events."""

from typing import Any

import msgspec

from engine.model.phases import Phase
from engine.model.traffic import Content, Decided, Header, RecordedEvent, RecordedExchange
from engine.policy.compile import PolicySource, compile_policies
from engine.policy.given import complete_event
from engine.policy.ruleset import RuleSet


def recording(*exchanges: RecordedExchange, content: Content = "full") -> list[bytes]:
    return [msgspec.json.encode(each) for each in (Header(content=content), *exchanges)]


def exchange(id: str, *events: RecordedEvent, caller: str = "ann", model: str = "gpt-4o") -> RecordedExchange:
    return RecordedExchange(
        exchange=id, at="2026-11-22T12:00:00Z", revision="r", caller=caller, model=model, events=events
    )


def event(given: dict[str, Any], decided: Decided | None = None, **facts: Any) -> RecordedEvent:
    document = complete_event(given)
    phase = Phase(document.pop("phase"))
    return RecordedEvent(
        id="x-1", phase=phase, sections=document, seed="x/1", facts=facts, decision=decided or Decided()
    )


def rules(text: str) -> RuleSet:
    """The rules of a policy `p`, of which the text is what stands under `rules:`."""
    compiled = compile_policies([PolicySource("p.yaml", f"version: 1\npolicy: p\nrules:\n{text}")])
    assert compiled.ruleset is not None, compiled.diagnostics
    return compiled.ruleset

"""Controls that hold on one way and leave the other open."""

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.actions import ACTIONS, Kind
from engine.diagnostics import Diagnostic
from engine.model.phases import Phase

from .subject import Subject

_PERSUADES = frozenset({"keep_tools", "drop_tools"})


def redaction_without_twin(subject: Subject) -> Iterator[Diagnostic]:
    """N425: a pattern set is redacted in `request` and not in `tool_result`.

    Rules of phase `request` see the system prompt and the messages, but no tool results: what a tool reads from a file
    would still reach the model. Add a rule of phase `tool_result` with the same patterns.

    Example:
        patterns: {keys: {short: 'key-[a-z]{20}'}}
        rules:
          - {id: a, phase: request, actions: [redact: {patterns: keys}]}  # <--

    Use instead:
        patterns: {keys: {short: 'key-[a-z]{20}'}}
        rules:
          - {id: a, phase: request, actions: [redact: {patterns: keys}]}
          - {id: b, phase: tool_result, actions: [redact: {patterns: keys}]}
    """
    covered = {
        key for rule, name, written, _ in subject.steps() if _redacts(name) and rule.phase is Phase.TOOL_RESULT
        for key in _pattern_sets(written)
    }  # fmt: skip
    for rule, name, written, path in subject.steps():
        if _redacts(name) and rule.phase is Phase.REQUEST:
            missing = [key for key in _pattern_sets(written) if key not in covered]
            if missing:
                shown = ", ".join(each if each[0] != "{" else "these patterns" for each in missing)
                message = f"half a control: tool results are not searched for {shown}"
                yield subject.note(425, message, path, "add a rule of phase tool_result with the same patterns")


def tools_without_guard(subject: Subject) -> Iterator[Diagnostic]:
    """N426: tools are taken out of the offer, and nothing refuses a call of them.

    A model may call a tool that it was not offered, and an agent may run it. Add a rule of phase `tool_call` with a
    verdict: `drop`, `steer` or `block`.

    Example:
        actions: [drop_tools: {names: [bash]}]  # <--

    Use instead:
        - {id: a, phase: request, actions: [drop_tools: {names: [bash]}]}
        - {id: b, phase: tool_call, match: {tool: bash}, actions: [drop: {}]}
    """
    guarded = any(
        rule.phase is Phase.TOOL_CALL and name in ACTIONS and ACTIONS[name].kind is Kind.VERDICT
        for rule, name, _, _ in subject.steps()
    )
    if guarded:
        return
    for _, name, _, path in subject.steps():
        if name in _PERSUADES:
            message = "half a control: a call of a tool that was not offered is not refused"
            yield subject.note(426, message, path, "add a rule of phase tool_call with drop, steer or block")


def _redacts(action: str) -> bool:
    return action == "redact"


def _pattern_sets(written: Any) -> list[str]:
    """The names of the pattern sets of one step; patterns written in place are named by their text."""
    patterns = written.get("patterns") if isinstance(written, dict) else written
    match patterns:
        case str():
            return [patterns]
        case list():
            return [str(each) for each in patterns]
        case dict():
            return [msgspec.json.encode(patterns, order="sorted").decode()]
        case _:
            return []

"""One action on one event, without a policy around it but the one that it needs: its effects, and the event afterwards."""

from collections.abc import Callable
from typing import Any

import msgspec

from engine.model.decision import NO_FACTS, Decision, Facts
from engine.model.phases import Phase
from engine.policy.compile import PolicySource, compile_policies
from engine.policy.given import complete_event


def _policy(phase: Phase, step: dict[str, Any], **more: Any) -> str:
    rule = {"id": "r", "phase": phase.value, "actions": [step], **more}
    return msgspec.json.encode({"version": 1, "policy": "p", "rules": [rule]}).decode()


def act(step: dict[str, Any], given: dict[str, Any], facts: Facts = NO_FACTS, **more: Any) -> Decision:
    """The decision of a rule with this step alone. JSON is YAML too."""
    event = complete_event(given)
    phase = Phase(event["phase"])
    compiled = compile_policies([PolicySource("p.yaml", _policy(phase, step, **more))])
    assert compiled.ruleset is not None, [each.message for each in compiled.diagnostics]
    stage = next(stage for stage in ("main", "admission") if compiled.ruleset.table(phase, stage) is not None)  # type: ignore[arg-type]
    decision = compiled.ruleset.decide(phase, event, facts, stage=stage)  # type: ignore[arg-type]
    assert isinstance(decision, Decision)
    return decision


def after(step: dict[str, Any], given: dict[str, Any], facts: Facts = NO_FACTS) -> dict[str, Any]:
    """The event after the step."""
    decision = act(step, given, facts)
    assert not decision.outcomes[0].error, decision.outcomes[0].error
    assert decision.event is not None
    return dict(decision.event)


def refused(step: dict[str, Any], phase: Phase = Phase.REQUEST, **more: Any) -> list[tuple[str, str]]:
    """Code and message of what is wrong with a step."""
    found = compile_policies([PolicySource("p.yaml", _policy(phase, step, **more))]).diagnostics
    return [(each.code, each.message) for each in found]


def error_of(step: dict[str, Any], given: dict[str, Any]) -> str:
    """Why the step could not be done on an event."""
    return act(step, given).outcomes[0].error


Namer = Callable[[str, str], str]

"""The decision record: what was decided of one event and why, as data for audit, explain and replay."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from engine.actions.budget import NANODOLLARS
from engine.model.decision import Because, Decision, Facts, Mode, Outcome, OutcomeKind, Spend
from engine.model.effects import (
    Block,
    FailOver,
    Op,
    Recovery,
    Respond,
    Retry,
    Steer,
    Surface,
    Tag,
    VerdictKind,
    Wait,
)
from engine.model.legs import Considered, Fate
from engine.model.phases import Phase

from .schema import DIALECT

_VERDICTS: Final = {kind: str(kind) for kind in VerdictKind}
RECOVERIES: Final[Mapping[type[Recovery], str]] = {
    Wait: "wait",
    Retry: "retry",
    FailOver: "failover",
    Surface: "surface",
}
"""What becomes of a failed attempt, in the words of actions."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Whom and what the decisions of one exchange are about; made once an exchange."""

    caller: str
    session: str
    request: str
    protocol: str
    model: str
    revision: str


class BecauseRecord(TypedDict):
    expr: Annotated[str, Meta(description="A part of the rule's condition.")]
    value: Annotated[Any, Meta(description="What it was.")]
    span: Annotated[str, Meta(description="Where the condition stands: file:line:column.")]


class OpRecord(TypedDict):
    op: Annotated[str, Meta(description="`add`, `remove` or `replace`.")]
    path: Annotated[str, Meta(description="A JSON Pointer into the event.")]
    value: NotRequired[Annotated[Any, Meta(description="The new value.")]]


class OutcomeRecord(TypedDict):
    rule: Annotated[str, Meta(description="The rule's full name.")]
    outcome: Annotated[OutcomeKind, Meta(description="How its evaluation ended.")]
    mode: Annotated[Mode, Meta(description="Whether it was enforced for this caller.")]
    because: Annotated[list[BecauseRecord], Meta(description="The values that its conditions compared.")]
    actions: Annotated[list[str], Meta(description="The actions that it took.")]
    patch: Annotated[list[OpRecord], Meta(description="What it changed, as JSON Patch (RFC 6902).")]
    latency_us: Annotated[float, Meta(description="How long its conditions took, in microseconds.")]
    verdict: NotRequired[Annotated[str, Meta(description="The verdict that it asked for, where it did.")]]
    error: NotRequired[Annotated[str, Meta(description="What went wrong in it.")]]


class SpendRecord(TypedDict):
    rule: Annotated[str, Meta(description="The rule whose meter it is.")]
    key: Annotated[str, Meta(description="Whose counter.")]
    of: Annotated[str, Meta(description="`requests`, `tokens` or `concurrency`; `money` is in US dollars.")]
    limit: Annotated[float, Meta(description="The most in a window.")]
    window: Annotated[float | str, Meta(description="Seconds, or `hour`, `day`, `week`, `month`.")]
    held: NotRequired[Annotated[float, Meta(description="What was taken, or set aside as the worst case.")]]
    used: NotRequired[Annotated[float, Meta(description="What the attempt used in its place, once that is known.")]]
    delta: NotRequired[Annotated[float, Meta(description="How much less this record leaves in the window.")]]


class AttemptRecord(TypedDict):
    leg: Annotated[str, Meta(description="`backend:model`, as it stands in the route.")]
    fate: Annotated[Fate, Meta(description="What became of it.")]
    why: Annotated[str, Meta(description="Why.")]


class DecisionRecord(TypedDict):
    """One decision. Content stands under `facts`, `because`, `patch` and `message`, and is masked where it is logged."""

    id: Annotated[str, Meta(description="The decision's id, as the response's header says it.")]
    at: Annotated[str, Meta(description="When, in UTC: ISO 8601.")]
    phase: Annotated[Phase, Meta(description="The phase of the event.")]
    caller: Annotated[str, Meta(description="The caller's id.")]
    session: Annotated[str, Meta(description="The session's id.")]
    request: Annotated[str, Meta(description="The exchange's id.")]
    protocol: Annotated[str, Meta(description="What the client speaks.")]
    model: Annotated[str, Meta(description="The model asked for.")]
    revision: Annotated[str, Meta(description="The policy revision that decided.")]
    seed: Annotated[str, Meta(description="What `random()` was seeded with.")]
    facts: Annotated[dict[str, Any], Meta(description="What was read from the world before: counters, answers.")]
    outcomes: Annotated[list[OutcomeRecord], Meta(description="What each rule said, in the order of evaluation.")]
    verdict: Annotated[str, Meta(description="`allow`, `respond`, `drop`, `steer`, `hold` or `block`.")]
    by: Annotated[str, Meta(description="The rule whose verdict won; empty for allow.")]
    budget: Annotated[list[SpendRecord], Meta(description="The meters that it took from.")]
    tags: Annotated[dict[str, str], Meta(description="What rules tagged it with.")]
    message: NotRequired[Annotated[str, Meta(description="What the verdict says.")]]
    code: NotRequired[Annotated[str, Meta(description="The code of a block.")]]
    status: NotRequired[Annotated[int, Meta(description="The status of a block before an answer began.")]]
    route: NotRequired[Annotated[str, Meta(description="The route that was chosen.")]]
    recovery: NotRequired[
        Annotated[list[str], Meta(description="What becomes of a failed attempt; the first that is possible.")]
    ]
    skipped: NotRequired[Annotated[str, Meta(description="Why the leg was skipped.")]]
    attempts: NotRequired[
        Annotated[list[AttemptRecord], Meta(description="What became of each leg by then, in order.")]
    ]
    cost: NotRequired[
        Annotated[float | None, Meta(description="US dollars of all attempts by then; null where a price is unknown.")]
    ]


def record_of(decision: Decision, *, id: str, at: str, subject: Subject, facts: Facts) -> DecisionRecord:
    """The record of one decision, unmasked. Plain dicts: it is made for every event of the traffic."""
    record: DecisionRecord = {
        "id": id,
        "at": at,
        "phase": decision.phase,
        "caller": subject.caller,
        "session": subject.session,
        "request": subject.request,
        "protocol": subject.protocol,
        "model": subject.model,
        "revision": subject.revision,
        "seed": facts.seed,
        "facts": facts_record(facts),
        "outcomes": [outcome_record(each) for each in decision.outcomes],
        "verdict": _VERDICTS[decision.verdict],
        "by": decision.by,
        "budget": [_spend_record(each) for each in decision.spends] if decision.spends else [],
        "tags": {each.name: each.value for _, each in decision.observations if isinstance(each, Tag)},
    }
    match decision.effect:
        case Block(message=message, status=status, code=code):
            record["message"], record["status"], record["code"] = message, status, code
        case Respond(message=message) | Steer(message=message):
            record["message"] = message
        case _:
            pass
    if decision.route is not None:
        record["route"] = decision.route.plan
    if decision.recovery:
        record["recovery"] = [RECOVERIES[type(each)] for each in decision.recovery]
    if decision.skip is not None:
        record["skipped"] = decision.skip.reason
    return record


def attempt_record(considered: Considered) -> AttemptRecord:
    return {"leg": considered.leg, "fate": considered.fate, "why": considered.why}


def outcome_record(outcome: Outcome) -> OutcomeRecord:
    record: OutcomeRecord = {
        "rule": outcome.rule,
        "outcome": outcome.outcome,
        "mode": outcome.mode,
        "because": [_because_record(each) for each in outcome.because] if outcome.because else [],
        "actions": list(outcome.actions),
        "patch": [op_record(each) for each in outcome.patch] if outcome.patch else [],
        "latency_us": outcome.latency_us,
    }
    if outcome.verdict is not VerdictKind.ALLOW:
        record["verdict"] = _VERDICTS[outcome.verdict]
    if outcome.error:
        record["error"] = outcome.error
    return record


def op_record(op: Op) -> OpRecord:
    """One operation as RFC 6902 writes it; a removal has no value."""
    if op.op == "remove":
        return {"op": op.op, "path": op.pointer}
    return {"op": op.op, "path": op.pointer, "value": op.value}


def facts_record(facts: Facts) -> dict[str, Any]:
    """The facts that say something, as JSON."""
    record: dict[str, Any] = {}
    if facts.fired:
        record["fired"] = [{"rule": rule, "key": key, "times": times} for (rule, key), times in facts.fired.items()]
    if facts.steered:
        record["steered"] = dict(facts.steered)
    if facts.acted:
        record["acted"] = sorted(facts.acted)
    if not facts.may_reask:
        record["may_reask"] = False
    if facts.answers:
        record["answers"] = dict(facts.answers)
    return record


def decision_schema() -> dict[str, Any]:
    """The record's JSON Schema, committed as `schemas/decision.schema.json`."""
    schema = msgspec.json.schema(DecisionRecord)
    return {"$schema": DIALECT, "$id": "decision.schema.json", "title": "Lexgate decision record", **schema}


def _because_record(because: Because) -> BecauseRecord:
    return {"expr": because.expr, "value": because.value, "span": because.span}


def _spend_record(spend: Spend) -> SpendRecord:
    take = spend.take
    unit = NANODOLLARS if take.of == "money" else 1
    record: SpendRecord = {
        "rule": spend.rule,
        "key": take.key,
        "of": take.of,
        "limit": take.limit / unit,
        "window": take.window if isinstance(take.window, str) else float(take.window),
    }
    if spend.held is not None:
        record["held"] = spend.held / unit
        record["delta"] = (spend.held if spend.used is None else spend.used - spend.held) / unit
    if spend.used is not None:
        record["used"] = spend.used / unit
    return record

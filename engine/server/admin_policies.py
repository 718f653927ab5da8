"""Policies: what each process serves and what is wrong, reload now, pin a revision or go back to the one before."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from litestar.datastructures import State
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta
from msgspec.structs import replace

from engine.world.fleet import Member

from .admin_base import FOR_OPERATORS, NEEDS, AnyRequest, Body, Desk, Refusal, delete, desk, get, noted, post

LONGEST: Final = 400


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    """Every process that shares the store, as it told of itself within the last seconds."""

    revision: Annotated[str, Meta(description="What the process serves that was asked.")]
    agree: Annotated[bool, Meta(description="Whether all of them serve that.")]
    lagging: Annotated[list[str], Meta(description="Ids of those that do not.")]
    processes: list[Member]


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    status: Annotated[dict[str, Any], Meta(description="As `/policy/status` says it, of the process that was asked.")]
    fleet: Processes


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    line: int
    column: int
    code: str
    severity: str
    message: str
    help: str


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in the files as they were read last."""

    sound: Annotated[bool, Meta(description="Whether they may be in force.")]
    revision: str
    at: float
    findings: list[Finding]


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    revision: Annotated[str, Meta(description="What is in force now.")]
    findings: Findings
    fleet: Processes


class Pin(Body, frozen=True, kw_only=True):
    revision: Annotated[str, Meta(min_length=1, max_length=100, description="In force now, or one of `earlier`.")]


class ShadowRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule in shadow: how often it matched, and whether what was enforced then was what it would have done."""

    rule: str
    matched: int
    agreed: int
    differed: Annotated[dict[str, int], Meta(description="`would > did`: how often.")]


async def _processes(at: Desk) -> Processes:
    members = await at.fleet.members()
    revision = at.live.current.revision
    lagging = [each.id for each in members if each.revision != revision and not each.leaving]
    return Processes(revision=revision, agree=not lagging, lagging=lagging, processes=members)


def _findings(at: Desk) -> Findings:
    attempt = at.live.last_attempt
    if attempt is None:
        raise Refusal(503, "not_ready", "No policies were read yet.")
    found = [
        Finding(
            file=each.where.file,
            line=each.where.line,
            column=each.where.column,
            code=each.code,
            severity=each.severity.value,
            message=each.message,
            help=each.help,
        )
        for each in attempt.diagnostics
    ]
    return Findings(sound=attempt.sound, revision=attempt.revision, at=attempt.at, findings=found)


@get("/policies", tags=["policies"])
async def policies(state: State) -> Policies:
    """What is in force, from which sources, which revisions can be pinned, and who serves something else."""
    at = desk(state)
    fleet = await _processes(at)
    return Policies(status=at.live.status(), fleet=fleet)


@get("/policies/findings", tags=["policies"])
async def findings(state: State) -> Findings:
    """What is wrong, or probably not meant, in the files as they were read last."""
    return _findings(desk(state))


@get("/policies/shadow", tags=["policies"])
async def shadow(
    state: State,
    first: Annotated[date | None, QueryParameter(description="First day (UTC); today where it is left out.")] = None,
    last: Annotated[date | None, QueryParameter(description="Last day; today where it is left out.")] = None,
) -> list[ShadowRule]:
    """What rules in shadow would have done, beside what was done, of all processes."""
    at = desk(state)
    today = datetime.fromtimestamp(at.world.clock(), UTC).date()
    end = last or today
    begin = first or min(end, today)
    if not timedelta() <= end - begin < timedelta(days=LONGEST):
        raise Refusal(400, "invalid_request", f"`first` to `last` must be from one day to {LONGEST}.")
    await at.world.usage.flush()
    rules: dict[str, dict[tuple[str, str], int]] = {}
    for (rule, would, did), count in (await at.world.usage.shadow_of_days(begin, end)).items():
        rules.setdefault(rule, {})[would, did] = count
    return [
        ShadowRule(
            rule=rule,
            matched=sum(pairs.values()),
            agreed=sum(count for (would, did), count in pairs.items() if would == did),
            differed={f"{would} > {did}": count for (would, did), count in sorted(pairs.items()) if would != did},
        )
        for rule, pairs in sorted(rules.items())
    ]


@post("/policies/reload", tags=["policies"], status_code=200, opt={NEEDS: FOR_OPERATORS})
async def reload_policies(request: AnyRequest, state: State) -> Reloaded:
    """Have every process read the files now, changed or not."""
    at = desk(state)
    await at.fleet.order(lambda orders: replace(orders, reloads=orders.reloads + 1))
    noted(request, "policies.reload", at.live.current.revision)
    return Reloaded(revision=at.live.current.revision, findings=_findings(at), fleet=await _processes(at))


async def _pin(request: AnyRequest, at: Desk, revision: str, action: str) -> Policies:
    before = at.live.current.revision
    if revision != before and revision not in at.live.earlier:
        known = ", ".join(at.live.earlier) or "none"
        raise Refusal(404, "revision_not_found", f"The revision '{revision}' is not kept.", f"kept are: {known}")
    await at.fleet.order(lambda orders: replace(orders, pin=revision))
    if at.fleet.problem:
        raise Refusal(409, "not_possible", at.fleet.problem)
    noted(request, action, revision, before=before)
    return Policies(status=at.live.status(), fleet=await _processes(at))


@post("/policies/pin", tags=["policies"], status_code=200, opt={NEEDS: FOR_OPERATORS})
async def pin(request: AnyRequest, state: State, data: JSONBody[Pin]) -> Policies:
    """Keep a revision in force on every process, whatever becomes of the files."""
    return await _pin(request, desk(state), data.revision, "policies.pin")


@post("/policies/rollback", tags=["policies"], status_code=200, opt={NEEDS: FOR_OPERATORS})
async def rollback(request: AnyRequest, state: State) -> Policies:
    """Go back to the revision that was in force before this one, and pin it."""
    at = desk(state)
    if not at.live.earlier:
        raise Refusal(409, "nothing_before", "No earlier revision is kept.")
    return await _pin(request, at, at.live.earlier[0], "policies.rollback")


@delete("/policies/pin", tags=["policies"], status_code=200, opt={NEEDS: FOR_OPERATORS})
async def unpin(request: AnyRequest, state: State) -> Policies:
    """Let the files decide again, as they are now."""
    at = desk(state)
    before = at.live.pinned
    await at.fleet.order(lambda orders: replace(orders, pin=""))
    noted(request, "policies.unpin", before)
    return Policies(status=at.live.status(), fleet=await _processes(at))


@get("/processes", tags=["policies"])
async def processes(state: State) -> Processes:
    """Every process that shares the store: workers of this machine, and replicas on others."""
    return await _processes(desk(state))


ROUTES: Final = (policies, findings, shadow, reload_policies, pin, rollback, unpin, processes)

"""Who used what: requests, tokens and money, by any of caller, team, model, backend and day."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar.datastructures import State
from litestar.params import QueryParameter
from msgspec import Meta

from engine.world.store.base import NANODOLLARS
from engine.world.usage import Used, Who

from .admin_base import Refusal, desk, get

Dimension = Literal["caller", "team", "model", "backend", "day"]
LONGEST: Final = 400
"""Days of one question."""

MOST: Final = 50_000
"""Rows of the store that one question reads."""


class UsageRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was used under these values of what was asked by; the others are left out."""

    day: Annotated[str, Meta(description="UTC: 2026-11-22.")] = ""
    caller: str = ""
    team: str = ""
    model: str = ""
    backend: str = ""
    requests: Annotated[int, Meta(description="Requests that were answered, errors included.")]
    errors: Annotated[int, Meta(description="Those of them with a status from 400 on.")]
    attempts: Annotated[int, Meta(description="Answers of backends that reported their usage, re-asks included.")]
    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced: Annotated[int, Meta(description="Attempts that are not in `cost_usd`: no price is known.")]


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    first: str
    last: str
    rows: Annotated[list[UsageRow], Meta(description="The most expensive first, then by tokens.")]
    total: UsageRow
    complete: Annotated[bool, Meta(description="Whether all that is stored was read, and all rows are shown.")]


def _row(used: Used, names: Mapping[str, str]) -> UsageRow:
    return UsageRow(
        requests=used.requests,
        errors=used.errors,
        attempts=used.attempts,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cost_usd=used.cost / NANODOLLARS,
        unpriced=used.unpriced,
        **names,
    )


@get("/usage", tags=["usage"])
async def usage(
    state: State,
    by: Annotated[
        list[Dimension] | None, QueryParameter(description="Dimensions; several: `by=team&by=model`.")
    ] = None,
    first: Annotated[date | None, QueryParameter(description="First day (UTC); today where it is left out.")] = None,
    last: Annotated[date | None, QueryParameter(description="Last day; today where it is left out.")] = None,
    caller: Annotated[str | None, QueryParameter(description="Only of this caller.")] = None,
    team: Annotated[str | None, QueryParameter(description="Only of this team; empty: of callers without one.")] = None,
    model: Annotated[str | None, QueryParameter(description="Only of this model.")] = None,
    backend: Annotated[str | None, QueryParameter(description="Only of this backend.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=5000)] = 1000,
) -> UsageReport:
    """Usage and spend of some days, a few seconds behind."""
    at = desk(state)
    today = datetime.fromtimestamp(at.world.clock(), UTC).date()
    end = last or today
    begin = first or min(end, today)
    if not timedelta() <= end - begin < timedelta(days=LONGEST):
        raise Refusal(400, "invalid_request", f"`first` to `last` must be from one day to {LONGEST}.")
    await at.world.usage.flush()
    found, more = await at.world.usage.of_days(begin, end, MOST)
    wanted: dict[str, str | None] = {"caller": caller, "team": team, "model": model, "backend": backend}
    dimensions = tuple(dict.fromkeys(by or ()))
    sums: dict[tuple[str, ...], Used] = {}
    total = Used()
    for (day, who), used in found.items():
        if any(value is not None and getattr(who, name) != value for name, value in wanted.items()):
            continue
        place = tuple(_value(day, who, name) for name in dimensions)
        sums.setdefault(place, Used()).add(used)
        total.add(used)
    ranked = sorted(
        sums.items(), key=lambda each: (-each[1].cost, -each[1].input_tokens - each[1].output_tokens, each[0])
    )
    rows = [_row(used, dict(zip(dimensions, place, strict=True))) for place, used in ranked[:limit]]
    nothing: dict[str, Any] = {}
    return UsageReport(
        first=begin.isoformat(),
        last=end.isoformat(),
        rows=rows,
        total=_row(total, nothing),
        complete=not more and len(ranked) <= limit,
    )


def _value(day: str, who: Who, dimension: Dimension) -> str:
    value: str = day if dimension == "day" else getattr(who, dimension)
    return value


ROUTES: Final = (usage,)

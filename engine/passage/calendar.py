"""Periods of the calendar in a time zone: what they are called, and when they end."""

import functools
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, assert_never
from zoneinfo import ZoneInfo

Named = Literal["hour", "day", "week", "month"]

LONGEST: Final = {"hour": 2 * 3600.0, "day": 26 * 3600.0, "week": 170 * 3600.0, "month": 745 * 3600.0}
"""Seconds that no period of the name exceeds, whatever a zone does to its clocks."""


def begun(period: Named, zone: str, now: float) -> str:
    """The name of the period that `now` (seconds since 1970) lies in: `2026-11-22`, with the hour `2026-11-22T20+0100`."""
    start = _start(period, datetime.fromtimestamp(now, _zone(zone)))
    return start.strftime("%Y-%m-%dT%H%z" if period == "hour" else "%Y-%m-%d")


def ends(period: Named | int, zone: str, now: float) -> float:
    """When the period that `now` lies in is over, in seconds since 1970. A number is a fixed length in seconds."""
    if isinstance(period, int):
        return now - now % period + period
    local = datetime.fromtimestamp(now, _zone(zone))
    start = _start(period, local)
    match period:
        case "hour":
            return (start.astimezone(UTC) + timedelta(hours=1)).timestamp()
        case "day":
            following = start.replace(fold=0) + timedelta(days=1)
        case "week":
            following = start.replace(fold=0) + timedelta(days=7)
        case "month":
            following = (start.replace(fold=0) + timedelta(days=32)).replace(day=1)
        case _:
            assert_never(period)
    return following.timestamp()


def _start(period: Named, local: datetime) -> datetime:
    local = local.replace(minute=0, second=0, microsecond=0)
    if period == "hour":
        return local
    local = local.replace(hour=0, fold=0)
    if period == "week":
        return local - timedelta(days=local.weekday())
    return local.replace(day=1) if period == "month" else local


@functools.cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)

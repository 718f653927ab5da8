"""Decisions: search in the audit log of the machine that is asked. Content in it is masked as the log's is."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from litestar.datastructures import State
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from engine.world import decisions as log

from .admin_base import After, Desk, Limit, Refusal, desk, get

Text = Annotated[str, QueryParameter(max_length=400)]


class RecordPage(msgspec.Struct, frozen=True, kw_only=True):
    items: Annotated[list[dict[str, Any]], Meta(description="Records as the audit log has them, the newest first.")]
    next: Annotated[
        str, Meta(description="`after` of the next page; empty: all was read. A page may be short and have a next one.")
    ] = ""


async def _search(at: Desk, wanted: log.Wanted, limit: int, after: str) -> RecordPage:
    settings = at.world.settings
    if not settings.audit.path:
        raise Refusal(404, "no_audit_log", "There is no audit log.", "`audit.path` in lexgate.yaml names one")
    if at.world.audit is not None:
        await at.world.audit.flush()
    try:
        found = await log.search(settings.resolve(settings.audit.path), wanted, limit, after)
    except log.BadCursor:
        raise Refusal(400, "invalid_request", "`after` is not the `next` of a page.") from None
    return RecordPage(items=found.records, next=found.next)


@get("/decisions", tags=["decisions"])
async def list_decisions(
    state: State,
    exchange: Annotated[str, QueryParameter(max_length=400, description="Of this request: its id.")] = "",
    rule: Annotated[
        str, QueryParameter(max_length=400, description="The rule decided, or matched: shell/no-push.")
    ] = "",
    caller: Text = "",
    verdict: Annotated[str, QueryParameter(max_length=400, description="block, steer, allow ...")] = "",
    kind: Annotated[
        str,
        QueryParameter(max_length=400, description="`decision`, `admin` (changes over this interface); empty: all."),
    ] = "decision",
    since: Annotated[datetime | None, QueryParameter(description="Not before (UTC where no zone is said).")] = None,
    until: Annotated[datetime | None, QueryParameter(description="Not after.")] = None,
    limit: Limit = 100,
    after: After = "",
) -> RecordPage:
    """Decisions and other records, the newest first."""
    wanted = log.Wanted(
        request=exchange,
        rule=rule,
        caller=caller,
        verdict=verdict,
        kind=kind,
        since=_seconds(since) if since is not None else 0.0,
        until=_seconds(until) if until is not None else float("inf"),
    )
    return await _search(desk(state), wanted, limit, after)


@get("/decisions/{decision_id:str}", tags=["decisions"])
async def show_decision(
    state: State,
    decision_id: Annotated[str, PathParameter(max_length=100, description="As `x-lexgate-decision` says it.")],
) -> dict[str, Any]:
    """One decision, wherever it stands among the newest of the log."""
    after = ""
    for _ in range(_PAGES):
        page = await _search(desk(state), log.Wanted(id=decision_id), 1, after)
        if page.items:
            return page.items[0]
        after = page.next
        if not after:
            break
    raise Refusal(404, "decision_not_found", f"There is no decision '{decision_id}' in the log of this machine.")


_PAGES: Final = 8
"""How often the search for one decision goes on."""


def _seconds(at: datetime) -> float:
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


ROUTES: Final = (list_decisions, show_decision)

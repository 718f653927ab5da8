"""Where the limits and budgets of one caller stand, for people who ask before they are refused."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine.actions.budget import BudgetParams, budget, nanodollars
from engine.actions.rate_limit import RateLimitParams, rate_limit
from engine.actions.registry import ActionError, Moment
from engine.language import ConditionError, Env
from engine.model.decision import Mode
from engine.model.effects import Budget, Meter, Take
from engine.model.events import complete
from engine.model.phases import Phase
from engine.passage.calendar import ends
from engine.passage.spending import meter_of
from engine.passage.view import Caller
from engine.policy.rule import Rule
from engine.policy.ruleset import RuleSet, counter_name
from engine.world import World
from engine.world.store import base as store

_OF_THE_CALLER = frozenset({"caller", "now"})


class Account(msgspec.Struct, frozen=True):
    """One meter of a rule. Amounts are in tokens, requests or calls; of money in nano-dollars.

    `key` is None, and nothing else is known, where the rule counts by what only a request says (its model, its session).
    `renews` is when a budget begins anew, in seconds since 1970; of a rate limit, when all of it is free again.
    """

    rule: str
    mode: Mode
    of: str
    limit: int
    window: str | float
    key: str | None = None
    remaining: int = 0
    reserved: int = 0
    renews: float = 0.0


async def standings(world: World, rules: RuleSet, caller: Caller) -> tuple[Account, ...]:
    """Every limit and budget that concerns a caller, with what is left of it. Raises StoreDown.

    A rule that looks at the request too is shown, because it may concern the next one.
    """
    event = complete({"phase": Phase.ATTEMPT, "caller": _of(caller), "now": {"epoch": world.clock()}})
    env = Env(event)
    found: list[tuple[Rule, Meter | None, RateLimitParams | BudgetParams]] = []
    for rule in rules.rules:
        metered = [step for step in rule.steps if isinstance(step.params, RateLimitParams | BudgetParams)]
        if not metered or rule.mode is Mode.OFF or not _concerns(rule, event, env):
            continue
        for step in metered:
            moment = Moment(rule.phase, event, env, rule.name)
            found.append((rule, _meter(step.params, moment), step.params))  # type: ignore[arg-type]
    now = world.clock()
    kept = {
        place: meter_of(counter_name(rule, rule.mode_for(caller.id)), meter, now)
        for place, (rule, meter, _) in enumerate(found)
        if meter is not None
    }
    read = (await world.store.read(meters=kept.values())).standings if kept else {}
    return tuple(
        _account(rule, rule.mode_for(caller.id), meter, params, read.get(kept[place]) if place in kept else None, now)
        for place, (rule, meter, params) in enumerate(found)
    )


def _of(caller: Caller) -> dict[str, Any]:
    made = msgspec.structs.asdict(caller)
    made["roles"] = list(caller.roles)
    return made


def _concerns(rule: Rule, event: Mapping[str, Any], env: Env) -> bool:
    """Whether the rule may concern the caller: certain where it looks at nothing else."""
    if any(path[:1] == () or path[0] not in _OF_THE_CALLER for path in rule.reads):
        return True
    try:
        return (
            (rule.blind is None or rule.blind(event))
            and (rule.when is None or rule.when.holds(event, env))
            and (rule.unless is None or not rule.unless.holds(event, env))
        )
    except ConditionError:
        return True


def _meter(params: RateLimitParams | BudgetParams, moment: Moment) -> Meter | None:
    reads: Sequence[tuple[str, ...]] = () if params.key is None else tuple(params.key.condition.reads)
    if any(path[:1] == () or path[0] not in _OF_THE_CALLER for path in reads):
        return None
    try:
        (meter,) = _run(params, moment)
    except (ActionError, ConditionError):
        return None
    return meter


def _run(params: RateLimitParams | BudgetParams, moment: Moment) -> list[Meter]:
    run = budget(params, moment) if isinstance(params, BudgetParams) else rate_limit(params, moment)
    return [each for each in run if isinstance(each, Take | Budget)]


def _account(
    rule: Rule,
    mode: Mode,
    meter: Meter | None,
    params: RateLimitParams | BudgetParams,
    standing: store.Standing | None,
    now: float,
) -> Account:
    if isinstance(params, BudgetParams):
        limit = nanodollars(params.limit) if params.of == "money" else int(params.limit)
    else:
        limit = params.burst or params.limit
    account = Account(rule.name, mode, params.of, limit, params.window)
    if meter is None or standing is None:
        return account
    renews = now + standing.reset_after if isinstance(meter, Take) else ends(meter.window, meter.zone, now)
    return msgspec.structs.replace(
        account, key=meter.key, remaining=standing.remaining, reserved=standing.reserved, renews=renews
    )

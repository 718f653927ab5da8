"""What a client is told of limits and budgets: why it was refused, what is left, and when there is more."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from engine.actions.budget import NANODOLLARS
from engine.model.effects import Block, Budget, Meter, Take
from engine.model.exchange import Protocol
from engine.passage.calendar import ends
from engine.world.http.base import Headers
from engine.world.store import base as store

BUDGET_EXCEEDED: Final = "budget_exceeded"
RATE_LIMITED: Final = "rate_limited"
SOON: Final = 60.0
"""Seconds that clients wait by themselves: what is free again by then is refused with 429, which they repeat."""

WARNING: Final = b"x-lexgate-budget-warning"
_IN_HEADERS: Final = frozenset({"requests", "tokens"})


def refusal(rule: str, meter: Meter, amount: int, refused: store.Refused, now: float) -> Block:
    """What a meter without room says."""
    match meter:
        case Take(limit=limit, of=of, window=window):
            message = f"The rate limit of {limit} {of} in {window:g} s is reached ({rule})."
            return Block(message, 429, RATE_LIMITED, refused.retry_after)
        case Budget():
            return _budget_refusal(rule, meter, amount, refused, now)


def _budget_refusal(rule: str, budget: Budget, amount: int, refused: store.Refused, now: float) -> Block:
    """402 where only another period or a smaller request helps; SDKs do not repeat it. 429 where waiting helps."""
    fails_over = budget.on_exceed == "failover"
    name = f"The budget of {shown(budget.limit, budget.of)} {_per(budget)} ({rule})"
    standing = refused.standing
    if standing is None:
        message = f"{name} cannot be kept: there are too many budgets."
        return Block(message, 503, "policy_error", refused.retry_after, fails_over)
    costs = f"this request could cost up to {shown(amount, budget.of)}"
    if amount > budget.limit:
        message = f"{name} is too small: {costs}. Set a lower limit of output, or send less."
        return Block(message, 402, BUDGET_EXCEEDED, None, fails_over)
    end = ends(budget.window, budget.zone, now)
    used = budget.limit - standing.remaining - standing.reserved
    message = (
        f"{name} has {shown(standing.remaining, budget.of)} left, and {costs}; {shown(used, budget.of)} are spent. "
        f"It renews at {_moment(end)}."
    )
    if standing.reserved and amount <= standing.remaining + standing.reserved:
        message += f" {shown(standing.reserved, budget.of)} are reserved by requests under way: try again in a moment."
        return Block(message, 429, BUDGET_EXCEEDED, 1.0, fails_over)
    if end - now <= SOON:
        return Block(message, 429, BUDGET_EXCEEDED, end - now, fails_over)
    return Block(message, 402, BUDGET_EXCEEDED, None, fails_over)


def shown(amount: int, of: str) -> str:
    """An amount of a meter's unit for people: `$0.0125`, `12,000 tokens`."""
    if of != "money":
        return f"{amount:,} {of}"
    dollars = Decimal(amount) / NANODOLLARS
    return f"${dollars:,.2f}" if dollars == dollars.quantize(Decimal("0.01")) else f"${dollars.normalize():,f}"


def _per(budget: Budget) -> str:
    if isinstance(budget.window, int):
        return f"in {budget.window:,} s"
    return f"a {budget.window}" if budget.window != "hour" else "an hour"


def _moment(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Left(msgspec.Struct, frozen=True):
    """Where a rate limit stands, as headers say it."""

    limit: int
    remaining: int
    reset_after: float


class Quotas:
    """What the answers of one exchange say of its limits: of several that count the same, the one that is nearest."""

    def __init__(self) -> None:
        self._left: dict[str, Left] = {}
        self._warnings: dict[str, str] = {}

    def note(self, rule: str, meter: Meter, standing: store.Standing, now: float) -> float | None:
        """The state of a meter after it was charged; answers the share that is spent where it is time to warn."""
        match meter:
            case Take(of=of) if of in _IN_HEADERS:
                left = Left(standing.limit, standing.remaining, standing.reset_after)
                known = self._left.get(of)
                if known is None or left.remaining * known.limit < known.remaining * left.limit:
                    self._left[of] = left
            case Budget(warn_at=float() as share, limit=limit):
                used = (limit - standing.remaining - standing.reserved) / limit
                if used >= share:
                    end = _moment(ends(meter.window, meter.zone, now))
                    words = f"{shown(limit, meter.of)} {_per(meter)}; renews {end}"
                    self._warnings[rule] = f"{rule}; {used:.0%} of {words}"
                    return used
            case _:
                pass
        return None

    def headers(self, protocol: Protocol, now: float) -> Headers:
        """In the names of the client's protocol."""
        if not (self._left or self._warnings):
            return []
        headers: Headers = []
        for of, left in self._left.items():
            if protocol is Protocol.ANTHROPIC:
                names = [f"anthropic-ratelimit-{of}-{what}" for what in ("limit", "remaining", "reset")]
                reset = _moment(now + left.reset_after + 0.999)
            else:
                names = [f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset")]
                reset = _duration(left.reset_after)
            values = (str(left.limit), str(left.remaining), reset)
            headers += [(name.encode(), value.encode()) for name, value in zip(names, values, strict=True)]
        headers += [(WARNING, words.encode("ascii", "replace")) for words in self._warnings.values()]
        return headers


def _duration(seconds: float) -> str:
    """As OpenAI writes it: `120ms`, `59.5s`, `6m0s`, `1h2m3s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    minutes, rest = divmod(int(seconds + 0.999), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"

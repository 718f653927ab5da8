"""Let only so much money or so many tokens be spent in a period."""

import functools
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from engine.model.effects import Budget, Effect
from engine.model.phases import Phase

from .params import Expression, Params, seconds
from .rate_limit import key_of
from .registry import Kind, Moment, action

CALENDAR: Final = ("hour", "day", "week", "month")
NANODOLLARS: Final = 1_000_000_000
"""Money is counted in whole nano-dollars: fine enough for the price of a single token, and no float is in an account."""

Length = Annotated[str, Meta(pattern=r"^(hour|day|week|month|\d+(\.\d+)?\s*(s|m|h|d|w))$")] | Annotated[int, Meta(ge=1)]


class BudgetParams(Params, frozen=True, kw_only=True):
    limit: Annotated[
        Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0)],
        Meta(description="How much in a window: US dollars, or tokens."),
    ]
    window: Annotated[
        Length,
        Meta(description="`hour`, `day`, `week` (from Monday), `month`, or a fixed length (`6h`) counted from 1970."),
    ]
    of: Annotated[Literal["money", "tokens"], Meta(description="What is counted.")] = "money"
    key: Annotated[
        Expression | None,
        Meta(description="Whose budget it is: an expression (`caller.team`). Default: everybody together."),
    ] = None
    zone: Annotated[str, Meta(description="The time zone of a calendar window: `Europe/Berlin`.")] = "UTC"
    assume_output: Annotated[
        int,
        Meta(
            description="Tokens of output that are reserved where the client sets no limit; then it is the limit.", ge=1
        ),
    ] = 8192
    unknown_price: Annotated[
        Literal["refuse", "allow"] | Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)],
        Meta(
            description="Where a model's price is not known: refuse, let it pass uncounted, or count it at so many US "
            "dollars per million tokens."
        ),
    ] = "refuse"
    warn_at: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None,
        Meta(description="From this share on (0.8) a header, the log and a metric warn."),
    ] = None
    on_exceed: Annotated[
        Literal["refuse", "failover"],
        Meta(description="What a budget without room does: refuse, or try the next leg of the route."),
    ] = "refuse"

    def __post_init__(self) -> None:
        if self.of == "tokens" and isinstance(self.limit, float) and not self.limit.is_integer():
            raise ValueError("a number of tokens is whole")
        if self.of == "money" and nanodollars(self.limit) < 1:
            raise ValueError("the limit is less than a nano-dollar")
        if self.of == "tokens" and self.unknown_price != "refuse":
            raise ValueError("'unknown_price' belongs to a budget of money")
        if isinstance(period(self.window), int) and self.zone != "UTC":
            raise ValueError("'zone' belongs to a window of the calendar: hour, day, week or month")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"'{self.zone}' is no time zone that this machine knows: write Europe/Berlin") from None


@action(Phase.ATTEMPT, kind=Kind.METER)
def budget(params: BudgetParams, moment: Moment) -> Iterator[Effect]:
    """Refuse an attempt whose worst case does not fit into what is left of a budget.

    Before each call its worst case is reserved: an upper bound of the input, and the output limit, at the price of the
    model that is asked. When the answer is there, what it really cost takes its place; where the call failed, nothing
    does. So no number of callers and servers spends more than the budget. Refusals say 402 `budget_exceeded` with the
    moment when it renews; 429 with `retry-after` where waiting a moment helps. See [budgets](../budgets.md).
    Example: `budget: {key: caller.id, limit: 50, window: day}`.
    """
    yield Budget(
        key=key_of(params.key, moment),
        limit=nanodollars(params.limit) if params.of == "money" else int(params.limit),
        window=period(params.window),
        of=params.of,
        zone=params.zone,
        assume_output=params.assume_output,
        unknown_price=params.unknown_price,
        warn_at=params.warn_at,
        on_exceed=params.on_exceed,
    )


@functools.lru_cache(maxsize=1024)
def nanodollars(dollars: int | float) -> int:
    """Dollars as they are written: 0.1 is a tenth."""
    return int(Decimal(str(dollars)) * NANODOLLARS)


@functools.lru_cache(maxsize=1024)
def period(window: str | int) -> Literal["hour", "day", "week", "month"] | int:
    """A window of the calendar, or whole seconds."""
    match window:
        case "hour" | "day" | "week" | "month":
            return window
        case _:
            return max(1, round(seconds(window)))

"""Let only so much through in a length of time."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.model.effects import Effect, Take
from engine.model.phases import Phase

from .params import Expression, Params, Seconds
from .registry import ActionError, Kind, Moment, action


class RateLimitParams(Params, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(description="How many in a window.", ge=1)]
    window: Annotated[Seconds, Meta(description="The window's length; for `concurrency` the longest a call may hold.")]
    key: Annotated[
        Expression | None,
        Meta(description="What is counted apart: an expression (`caller.id`). Default: everybody together."),
    ] = None
    of: Annotated[Literal["requests", "tokens", "concurrency"], Meta(description="What is counted.")] = "requests"
    burst: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="A token bucket in place of a sliding window: so many may come at once, and are free again at "
            "the rate of `limit` in `window`."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.burst is not None and self.of == "concurrency":
            raise ValueError("'burst' is for requests and tokens: what is held at once comes back when a call ends")


@action(Phase.REQUEST, Phase.ATTEMPT, kind=Kind.METER)
def rate_limit(params: RateLimitParams, moment: Moment) -> Iterator[Effect]:
    """Refuse with 429 and `retry-after` above a number of requests, tokens or calls at once.

    In `request` it counts every request, on the event as it came, before commands and guards. The window slides: no
    window of its length ever holds more. With `burst` it is a token bucket. Tokens are set aside before the call and
    settled on what was used. Example: `rate_limit: {key: caller.id, limit: 60, window: 1m}`.
    """
    yield Take(key_of(params.key, moment), params.limit, params.window, params.of, params.burst or 0)


def key_of(key: Expression | None, moment: Moment) -> str:
    """What is counted apart, as text. Raises ActionError where the expression gives null or a boolean."""
    value = "" if key is None else key(moment.event, moment.env)
    if value is None or isinstance(value, bool):
        raise ActionError("the key of the limit is not there: give it a default")
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

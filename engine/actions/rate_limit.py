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


@action(Phase.REQUEST, Phase.ATTEMPT, kind=Kind.METER)
def rate_limit(params: RateLimitParams, moment: Moment) -> Iterator[Effect]:
    """Refuse with 429 and `retry-after` above a number of requests, tokens or calls at once.

    In `request` it counts every request, on the event as it came, before commands and guards. The window slides: no
    window of its length ever holds more. Example: `rate_limit: {key: caller.id, limit: 60, window: 1m}`.
    """
    key = "" if params.key is None else params.key(moment.event, moment.env)
    if key is None or isinstance(key, bool):
        raise ActionError("the key of the limit is not there: give it a default")
    text = key if isinstance(key, str) else msgspec.json.encode(key).decode()
    yield Take(text, params.limit, params.window, params.of)

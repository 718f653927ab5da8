"""What becomes of an attempt that failed before its first output: wait, retry, go on, give up; legs not asked."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from engine.model.effects import Effect, FailOver, Retry, SkipLeg, Surface, Wait
from engine.model.phases import Phase

from .params import Params, Seconds, Text, length, text
from .registry import Kind, Moment, action


class WaitParams(Params, frozen=True, kw_only=True):
    most: Annotated[Seconds, Meta(description="A longer wait is none: the rule's next step is taken.")] = length("30s")
    within: Annotated[Seconds, Meta(description="No wait ends later than this after the request came.")] = length("90s")
    plus: Annotated[
        Seconds,
        Meta(description="Added to what the backend asked for. Where it asked for nothing, this, doubled each time."),
    ] = length("1s")
    times: Annotated[int, Meta(description="How often one leg is waited for.", ge=1, le=100)] = 5


class RetryParams(Params, frozen=True, kw_only=True):
    times: Annotated[int, Meta(description="How often one leg is asked again.", ge=1, le=10)] = 1
    lone = "times"


class FailoverParams(Params, frozen=True, kw_only=True):
    pass


class SurfaceParams(Params, frozen=True, kw_only=True):
    pass


class SkipLegParams(Params, frozen=True, kw_only=True):
    reason: Annotated[Text, Meta(description="Why, for records and explanations.")] = text("a rule skips it")
    lone = "reason"


@action(Phase.ERROR, kind=Kind.CHOICE)
def wait(params: WaitParams, _moment: Moment) -> Iterator[Effect]:
    """Wait as long as the backend asked for (`retry-after`) and a little more, then ask the same leg again.

    A client of a stream gets keep-alives meanwhile; one that goes away ends the wait. Steps behind it say what happens
    where it does not wait; without any it is the next leg. Example: `wait: {most: 30s, within: 90s}`.
    """
    yield Wait(params.most, params.within, params.plus, params.times)


@action(Phase.ERROR, kind=Kind.CHOICE)
def retry(params: RetryParams, _moment: Moment) -> Iterator[Effect]:
    """Ask the same leg again at once. When that is used up, the rule's next step is taken, or the next leg.

    Example: `retry: 1`.
    """
    yield Retry(params.times)


@action(Phase.ERROR, kind=Kind.CHOICE)
def failover(_params: FailoverParams, _moment: Moment) -> Iterator[Effect]:
    """Go on with the next leg of the route, whatever the failure was; without one, the client hears it.

    Example: `failover: {}`.
    """
    yield FailOver()


@action(Phase.ERROR, kind=Kind.CHOICE)
def surface(_params: SurfaceParams, _moment: Moment) -> Iterator[Effect]:
    """Let the client hear the failure, with the backend's own status and words; no other leg is asked.

    Example: `surface: {}`.
    """
    yield Surface()


@action(Phase.ATTEMPT, kind=Kind.CHOICE)
def skip_leg(params: SkipLegParams, moment: Moment) -> Iterator[Effect]:
    """Do not ask this leg; the next one is tried. What is skipped is not charged.

    Example: `skip_leg: "Nothing goes to the second region at night."`.
    """
    yield SkipLeg(params.reason(moment.event, moment.env))

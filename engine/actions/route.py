"""Choose the backends of a request."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from engine.model.effects import ChooseRoute, Effect
from engine.model.phases import Phase

from .params import Params, Plan
from .registry import Kind, Moment, action


class RouteParams(Params, frozen=True, kw_only=True):
    plan: Annotated[
        Plan, Meta(description="`backend:model`, legs joined by `|` (failover) or `^` (weighted), or `@name`.")
    ]
    lone = "plan"


@action(Phase.ROUTE, kind=Kind.CHOICE)
def route(params: RouteParams, _moment: Moment) -> Iterator[Effect]:
    """Send the request along a plan of backends.

    Example: `route: 'anthropic:claude-sonnet-4-5|openai:gpt-5'`; a leg without a model (`openai:`) keeps the client's.
    """
    yield ChooseRoute(params.plan.text)

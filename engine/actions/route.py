"""Choose the backends of a request."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from engine.model.effects import ChooseRoute, Effect
from engine.model.phases import Phase

from .params import Params, Plan
from .registry import ActionError, Kind, Moment, action


class RouteParams(Params, frozen=True, kw_only=True):
    plan: Annotated[
        Plan,
        Meta(
            description="`backend:model`, legs joined by `|` (failover), `^` (weighted) or `!` (race), `@name`; templates."
        ),
    ]
    lone = "plan"


@action(Phase.ROUTE, kind=Kind.CHOICE)
def route(params: RouteParams, moment: Moment) -> Iterator[Effect]:
    """Send the request along a plan of backends.

    Example: `route: 'anthropic:claude-sonnet-4-5|openai:gpt-5'`; a leg without a model (`openai:`) keeps the client's.
    What templates make of it (`route: '{{ session.vars.model }}'`) may be a model's name too, and must be in the caller's
    scope; what the policy itself names is the operator's choice. A template of the policy's own names
    (`route: "{{ set('cheap')[0] }}"`) is one too; where no such route is configured, the rule is passed over.
    """
    text = params.plan.text(moment.event, moment.env).strip()
    if not text:
        raise ActionError("the route is empty")
    fixed = params.plan.fixed
    yield ChooseRoute(text, fixed, optional=fixed and params.plan.text.constant is None)

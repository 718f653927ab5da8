"""The verdicts: refuse, answer in the model's place, leave a call out, or tell the model to do it differently."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from engine.model.effects import Block, Drop, Effect, Respond, Steer
from engine.model.phases import Phase

from .params import Params, Text, text
from .registry import Kind, Moment, action


class BlockParams(Params, frozen=True, kw_only=True):
    message: Annotated[Text, Meta(description="What the client is told.")] = text(
        "This request is not allowed by policy."
    )
    status: Annotated[
        int,
        Meta(description="The status before an answer began. SDKs retry 408, 409, 429 and 5xx.", ge=400, le=599),
    ] = 400
    code: Annotated[str, Meta(description="A word that programs can tell it by.", pattern="^[a-z][a-z0-9_]{0,63}$")] = (
        "policy_blocked"
    )
    lone = "message"


class RespondParams(Params, frozen=True, kw_only=True):
    message: Annotated[Text, Meta(description="The assistant's answer.")]
    lone = "message"


class DropParams(Params, frozen=True, kw_only=True):
    pass


class SteerParams(Params, frozen=True, kw_only=True):
    message: Annotated[Text, Meta(description="What the model is told: as the result of its call, or by the user.")]
    attempts: Annotated[int, Meta(description="How often the model is asked again.", ge=1, le=10)] = 1
    then: Annotated[
        Literal["block", "reply", "allow"],
        Meta(description="After the last attempt: refuse, give the message to the client as text, or let it pass."),
    ] = "block"
    mode: Annotated[
        Literal["reask", "reply"], Meta(description="`reply` gives the message to the client at once, as the answer.")
    ] = "reask"
    lone = "message"


@action(Phase.REQUEST, Phase.TOOL_RESULT, Phase.TEXT, Phase.TOOL_CALL, Phase.RESPONSE, kind=Kind.VERDICT)
def block(params: BlockParams, moment: Moment) -> Iterator[Effect]:
    """Refuse.

    Before the answer began the client gets `status` in its own protocol's error shape, and nothing is sent upstream. In
    `text` the answer is cut off there, in `tool_call` the turn's calls are withheld, in `response` (with `delay: all`)
    the answer is replaced: the message stands in their place, and the answer ends as a normal one.
    Example: `block: {message: "Customer data must not leave.", code: customer_data}`.
    """
    yield Block(params.message(moment.event, moment.env), params.status, params.code)


@action(Phase.COMMAND, Phase.REQUEST, Phase.ERROR, Phase.RESPONSE, kind=Kind.VERDICT)
def respond(params: RespondParams, moment: Moment) -> Iterator[Effect]:
    """Answer in the model's place, streaming or not, as the client asked; no model is asked.

    In `error` it is the answer to a request that a backend failed on.
    Example: `respond: {message: "Deployments are frozen until Monday."}`.
    """
    yield Respond(params.message(moment.event, moment.env))


@action(Phase.TOOL_CALL, kind=Kind.VERDICT)
def drop(_params: DropParams, _moment: Moment) -> Iterator[Effect]:
    """Leave the call out of the answer, as if the model had not made it.

    Where it was the only one, the stop reason says that the turn ended. Example: `drop: {}`.
    """
    yield Drop()


@action(Phase.TOOL_CALL, Phase.RESPONSE, kind=Kind.VERDICT)
def steer(params: SteerParams, moment: Moment) -> Iterator[Effect]:
    """Refuse a tool call or an answer, tell the model why, and ask it again inside the same response.

    The client never sees the refused call. The new answer is judged by the same rules; after `attempts` re-asks `then`
    happens. In `response` (with `delay: all`) the whole answer is refused: the client gets the next one alone.
    Example: `steer: {message: "Push a new commit instead.", attempts: 2, then: block}`.
    """
    yield Steer(params.message(moment.event, moment.env), params.attempts, params.then, params.mode)

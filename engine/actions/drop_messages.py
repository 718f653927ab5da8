"""Leave messages out of what the model sees."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from engine.model.effects import Effect, Op, Patch
from engine.model.phases import Phase

from .params import Expression, Params
from .registry import ActionError, Kind, Moment, action


class DropMessagesParams(Params, frozen=True, kw_only=True):
    where: Annotated[
        Expression,
        Meta(description="An expression that selects messages: `request.messages[?role == 'system' && text == 'x']`."),
    ]
    lone = "where"


@action(Phase.REQUEST, kind=Kind.PROTECT, reads={Phase.REQUEST: frozenset({("request", "messages")})})
def drop_messages(params: DropMessagesParams, moment: Moment) -> Iterator[Effect]:
    """Remove the messages that an expression selects.

    A tool call and its results leave together: providers refuse one without the other. The newest message of the user
    stays. Example: `drop_messages: {where: "request.messages[?contains(text, 'internal only')]"}`.
    """
    messages = moment.event["request"]["messages"]
    selected = params.where(moment.event, moment.env)
    if not isinstance(selected, list):
        raise ActionError("`where` selects no list of messages")
    gone = {index for index, message in enumerate(messages) if any(message == each for each in selected)}
    users = [index for index, message in enumerate(messages) if message["role"] == "user"]
    gone -= set(users[-1:])
    calls = {call["id"] for index in gone for call in messages[index]["tool_calls"]}
    results = {messages[index]["tool_call_id"] for index in gone if messages[index]["tool_call_id"]}
    while True:
        pulled = {
            index
            for index, message in enumerate(messages)
            if message["tool_call_id"] in calls or any(call["id"] in results for call in message["tool_calls"])
        } - gone
        if not pulled:
            break
        gone |= pulled
        calls |= {call["id"] for index in pulled for call in messages[index]["tool_calls"]}
        results |= {messages[index]["tool_call_id"] for index in pulled if messages[index]["tool_call_id"]}
    if gone:
        yield Patch(tuple(Op("remove", ("request", "messages", index)) for index in sorted(gone, reverse=True)))

"""Leave messages out of what the model sees."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any

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
    messages: list[Mapping[str, Any]] = moment.event["request"]["messages"]
    selected = params.where(moment.event, moment.env)
    if not isinstance(selected, list):
        raise ActionError("`where` selects no list of messages")
    # A filter gives the very messages that it was given: of two that say the same, only the one that is meant leaves.
    places = {id(message): index for index, message in enumerate(messages)}
    if not all(id(each) in places for each in selected):
        raise ActionError("`where` selects something that is no message of the request")
    newest = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=None)
    gone = _with_their_pairs({places[id(each)] for each in selected} - {newest}, messages) - {newest}
    if gone:
        yield Patch(tuple(Op("remove", ("request", "messages", index)) for index in sorted(gone, reverse=True)))


def _with_their_pairs(gone: Collection[int], messages: Sequence[Mapping[str, Any]]) -> set[int]:
    """The messages, and with every call its results and with every result its call, until none stands alone."""
    found = set(gone)
    while True:
        ids = {name for index in found for name in _call_ids(messages[index])}
        pulled = {index for index, message in enumerate(messages) if ids.intersection(_call_ids(message))}
        if pulled <= found:
            return found
        found |= pulled


def _call_ids(message: Mapping[str, Any]) -> Iterator[str]:
    """The calls that a message makes or answers; a call without an id has no pair to be found by."""
    yield from filter(None, (message["tool_call_id"], *(call["id"] for call in message["tool_calls"])))

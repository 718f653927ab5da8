"""Add a message of our own to the conversation, once."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from engine.model.effects import Effect, Op, Patch
from engine.model.events import INSTRUCTING
from engine.model.phases import Phase

from .params import Params, Text
from .registry import Kind, Moment, action


class InjectParams(Params, frozen=True, kw_only=True):
    text: Annotated[Text, Meta(description="What is added.")]
    role: Annotated[
        Literal["system", "user"], Meta(description="`system`: to the system prompt; `user`: to a user message.")
    ] = "system"
    position: Annotated[
        Literal["start", "end"],
        Meta(description="Before or behind what is there: of the system prompt, or of the newest user message."),
    ] = "end"
    message: Annotated[
        Literal["first", "newest"],
        Meta(description="With `role: user`, the user message that it is added to. The first keeps it on every turn."),
    ] = "newest"
    key: Annotated[
        str | None, Meta(description="Names the text: what another rule put there under the same key is replaced.")
    ] = None


@action(Phase.REQUEST, kind=Kind.TRANSFORM, reads={Phase.REQUEST: frozenset({("request", "messages")})})
def inject(params: InjectParams, moment: Moment) -> Iterator[Effect]:
    """Add text to the system prompt or to a user message.

    Idempotent: where the same text already stands there, nothing is added, so that a history that the client re-sends
    does not grow. Example: `inject: {role: system, text: "Answer in British English."}`.
    """
    text = params.text(moment.event, moment.env)
    messages = moment.event["request"]["messages"]
    roles = INSTRUCTING if params.role == "system" else {"user"}
    places = [index for index, message in enumerate(messages) if message["role"] in roles]
    if not places:
        if params.role == "system" and text:
            part = _part(text, params.key)
            message = {"role": "system", "text": text, "tool_calls": [], "tool_call_id": "", "parts": [part]}
            yield Patch((Op("add", ("request", "messages", 0), message),))
        return
    last = params.message == "newest" if params.role == "user" else params.position == "end"
    at = places[-1] if last else places[0]
    parts = messages[at]["parts"]
    if not text or any(part["text"] == text for part in parts):
        return
    part = _part(text, params.key)
    same = [index for index, each in enumerate(parts) if params.key and each.get("key") == params.key]
    if same:
        yield Patch((Op("replace", ("request", "messages", at, "parts", same[0]), part),))
    else:
        place = 0 if params.position == "start" else len(parts)
        yield Patch((Op("add", ("request", "messages", at, "parts", place), part),))


def _part(text: str, key: str | None) -> dict[str, str]:
    return {"kind": "text", "text": text} | ({"key": key} if key else {})

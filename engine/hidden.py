"""Turns that a client never saw: kept when a tool call was steered, put back when the client re-sends what followed.

The backend produced a call, was told why it was refused, and answered anew; the client knows the last answer alone. When
it sends that answer back as history, the refused call and its result are put in front of it again, in order, with their
ids, so that the backend sees the conversation that it had.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from engine.model.exchange import Exchange, Message, Part, ToolCall
from engine.world.store import base as store

SPACE: Final = "hidden"


class HiddenTurn(msgspec.Struct, frozen=True):
    """What stood between the client's request and the answer that it got. `text` is that of the last answer alone: text
    of the refused turns went to the client too, and stands in front of it in the message that it re-sends."""

    messages: tuple[Message, ...]
    text: str


def key_of(caller: str, text: str, calls: Sequence[ToolCall]) -> store.Key:
    """Under which a hidden turn is kept: what the client was sent, and who it is."""
    said = msgspec.json.encode((text.strip(), [call.id for call in calls], [call.name for call in calls]))
    return store.Key(SPACE, f"caller/{caller}", hashlib.blake2b(said, digest_size=20).hexdigest())


def kept(turn: HiddenTurn) -> bytes:
    return msgspec.json.encode(turn)


def keys_in(exchange: Exchange, caller: str) -> dict[int, store.Key]:
    """The keys under which hidden turns of this history would be kept, by the assistant message that they precede."""
    return {
        index: key_of(caller, message.text, message.tool_calls)
        for index, message in enumerate(exchange.messages)
        if message.role == "assistant"
    }


def put_back(exchange: Exchange, found: dict[int, bytes]) -> Exchange:
    """The exchange with the hidden turns in front of the assistant messages that followed them."""
    if not found:
        return exchange
    messages: list[Message] = []
    for index, message in enumerate(exchange.messages):
        if index in found:
            turn = msgspec.json.decode(found[index], type=HiddenTurn)
            messages += turn.messages
            message = _with_text(message, turn.text)
        messages.append(message)
    return msgspec.structs.replace(exchange, messages=tuple(messages), body=None)


def _with_text(message: Message, text: str) -> Message:
    """The message saying only what the last answer said."""
    if message.text == text:
        return message
    others = tuple(part for part in message.parts if part.kind != "text")
    parts = (*others, Part(kind="text", text=text)) if text else others
    return msgspec.structs.replace(message, parts=parts)


def refused_turn(text: str, reasoning: Any, results: Sequence[tuple[ToolCall, str]]) -> tuple[Message, ...]:
    """The turn that was withheld, as the backend's history has it: the calls, and why each was not executed."""
    parts = (Part(kind="text", text=text),) if text else ()
    if reasoning:
        parts = (Part(kind="reasoning", text=str(reasoning)), *parts)
    assistant = Message(role="assistant", parts=parts, tool_calls=tuple(call for call, _ in results))
    answers = tuple(
        Message(role="tool", parts=(Part(kind="text", text=message),), tool_call_id=call.id)
        for call, message in results
    )
    return (assistant, *answers)

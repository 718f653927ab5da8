"""Turns that a client never saw: kept when a tool call was steered, put back when the client re-sends what followed.

The backend produced a call, was told why it was refused, and answered anew; the client knows the last answer alone. When
it sends that answer back as history, the refused call and its result are put in front of it again, in order, with their
ids, so that the backend sees the conversation that it had.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from engine.model.exchange import Exchange, Message, Part, Protocol, ToolCall
from engine.passage.sessions import mark_of
from engine.world.store import base as store

SPACE: Final = "hidden"
_PROOFS: Final = ("encrypted_content", "signature", "data", "id")


class HiddenTurn(msgspec.Struct, frozen=True):
    """What stood between the client's request and the answer that it got. `text` is that of the last answer alone: text
    of the refused turns (`before` it) went to the client too, and stands in front of it in the message that it re-sends.
    """

    messages: tuple[Message, ...]
    before: str
    text: str


def key_of(caller: str, asked: Message | None, text: str, calls: Sequence[ToolCall], protocol: Protocol) -> store.Key:
    """Under which a hidden turn is kept: what the client was sent, what it had asked last, and who it is."""
    question = (asked.role, asked.text.strip(), asked.tool_call_id) if asked is not None else None
    marks = [(mark_of(call, protocol), call.name) for call in calls]
    said = msgspec.json.encode((question, text.strip(), marks))
    return store.Key(SPACE, f"caller/{caller}", hashlib.blake2b(said, digest_size=20).hexdigest())


def kept(turn: HiddenTurn) -> bytes:
    return msgspec.json.encode(turn)


def keys_in(
    original: Sequence[Message], messages: Sequence[Message], caller: str, protocol: Protocol
) -> dict[int, store.Key]:
    """The keys under which hidden turns of a history would be kept, by the place of the assistant message that they
    precede in `messages`; `original` is the history as the client sent it, before rules changed it."""
    answers = [place for place, message in enumerate(messages) if message.role == "assistant"]
    known = [index for index, message in enumerate(original) if message.role == "assistant"]
    if len(answers) == len(known):
        places = dict(zip(known, answers, strict=True))
    else:  # a rule took answers out, or put some in: those that it did not touch are still the same objects
        untouched = {id(messages[place]): place for place in answers}
        places = {index: untouched[id(original[index])] for index in known if id(original[index]) in untouched}
    return {
        place: key_of(caller, original[index - 1] if index else None, answer.text, answer.tool_calls, protocol)
        for index, place in places.items()
        for answer in (original[index],)
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
            message = _without(message, turn)
        messages.append(message)
    return msgspec.structs.replace(exchange, messages=tuple(messages), body=None)


def _without(message: Message, turn: HiddenTurn) -> Message:
    """The message without what the refused turns had said and thought, which now stands in messages of their own."""
    proofs = {proof for hidden in turn.messages for part in hidden.parts for proof in _proofs(part)}
    parts = tuple(part for part in message.parts if proofs.isdisjoint(_proofs(part))) if proofs else message.parts
    if turn.before:
        others = tuple(part for part in parts if part.kind != "text")
        text = message.text.removeprefix(turn.before) if message.text.startswith(turn.before) else turn.text
        parts = (*others, Part(kind="text", text=text)) if text else others
    return message if parts is message.parts else msgspec.structs.replace(message, parts=parts)


def _proofs(part: Part) -> Sequence[str]:
    """By what a thought is known again: what its provider signed or encrypted of it, and the id that it has there."""
    if part.kind not in ("reasoning", "opaque"):
        return ()
    wire = getattr(part.wire, "item", part.wire)
    if isinstance(wire, dict) and isinstance(wire.get("item"), dict):
        wire = wire["item"]
    found = [wire.get(field) for field in _PROOFS] if isinstance(wire, dict) else []
    return [proof for proof in (part.signature, *found) if isinstance(proof, str) and proof]


def refused_turn(
    text: str, thoughts: Sequence[Part], results: Sequence[tuple[ToolCall, str]], told: str = ""
) -> tuple[Message, ...]:
    """The turn that was withheld, as the backend's history has it: the calls, and why each was not executed.

    `told` is what the user says of a turn without calls.
    """
    parts = (*thoughts, *((Part(kind="text", text=text),) if text else ()))
    assistant = Message(role="assistant", parts=parts, tool_calls=tuple(call for call, _ in results))
    answers = tuple(
        # A legacy call of a function has no id: its name stands for one, and its result is a function's.
        Message(
            role="function" if call.id == call.name else "tool",
            parts=(Part(kind="text", text=message),),
            tool_call_id=call.id,
        )
        for call, message in results
    )
    asked = (Message(role="user", parts=(Part(kind="text", text=told),)),) if told else ()
    # A message that says nothing, or holds thoughts alone, is one that providers refuse.
    return (assistant, *answers, *asked) if text or results else asked


def without_thoughts_of_others(exchange: Exchange, backend: str) -> Exchange:
    """The request without what only another backend may be sent back; the same object where it has nothing of that."""
    if not any(part.backend not in ("", backend) for message in exchange.messages for part in message.parts):
        return exchange
    messages = [
        msgspec.structs.replace(message, parts=tuple(part for part in message.parts if part.backend in ("", backend)))
        for message in exchange.messages
    ]
    return msgspec.structs.replace(exchange, messages=tuple(messages), body=None)

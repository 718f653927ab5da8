"""Contents of a request as canonical messages, and back.

What the model said in several contents in a row (clients keep each frame of a stream as one) is one message. A content of
the user that holds results of calls becomes one message for each of them and one for each run of other parts between.
`systemInstruction` is a message of its own in front. Every message remembers what it was read from.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Literal

import msgspec

from engine.model.exchange import Message

from .fields import listed, text_of
from .parts import decode_parts, encode_call, encode_part, without_results
from .results import call_of, decode_result, encode_result, is_error, is_result

_ROLES: Final[Mapping[str, str]] = {"model": "assistant", "": "user"}
_SYSTEM: Final = ("system", "developer")


class Origin(msgspec.Struct, frozen=True):
    """What a message was read from: `whole` is the contents of which it is all or one piece (the same tuple for all its
    pieces), `result` the part of a result."""

    field: Literal["systemInstruction", "contents"]
    whole: tuple[Any, ...]
    result: Any = None


# --- reading ---------------------------------------------------------------------------------------------------------


def decode_system(value: Any) -> list[Message]:
    if not isinstance(value, dict):
        return []
    parts, _ = decode_parts(listed(value.get("parts")))
    return [Message(role="system", parts=parts, wire=Origin("systemInstruction", (value,)))] if parts else []


def decode_contents(contents: Iterable[dict[str, Any]]) -> list[Message]:
    """The conversation. A result is known by the id of its call, or by name and order where calls have none."""
    messages: list[Message] = []
    waiting: list[tuple[str, str]] = []
    for is_model, run in groupby(contents, lambda content: content.get("role") == "model"):
        if not is_model:
            for content in run:
                messages += _decode_turn(content, waiting)
            continue
        whole = tuple(run)
        parts, calls = decode_parts([part for content in whole for part in listed(content.get("parts"))])
        messages.append(Message(role="assistant", parts=parts, tool_calls=calls, wire=Origin("contents", whole)))
        waiting = [(call.id, call.name) for call in calls]
    return messages


def _decode_turn(content: dict[str, Any], waiting: list[tuple[str, str]]) -> Iterator[Message]:
    """The messages that a content of the user is."""
    role, whole = text_of(content.get("role")), (content,)
    role = _ROLES.get(role, role)
    wires = listed(content.get("parts"))
    if not any(is_result(wire) for wire in wires):
        yield _decode_run(role, wires, whole)
        return
    for holds_result, run in groupby(wires, is_result):
        if not holds_result:
            yield _decode_run("user", list(run), whole)
            continue
        for wire in run:
            yield Message(
                role="tool",
                parts=decode_result(wire),
                tool_call_id=call_of(wire, waiting),
                is_error=is_error(wire),
                wire=Origin("contents", whole, wire),
            )


def _decode_run(role: str, wires: Sequence[Any], whole: tuple[Any, ...]) -> Message:
    parts, calls = decode_parts(wires)
    return Message(role=role, parts=parts, tool_calls=calls, wire=Origin("contents", whole))


# --- writing ---------------------------------------------------------------------------------------------------------


def is_system(message: Message) -> bool:
    return message.role in _SYSTEM


def encode_system(messages: Sequence[Message], value: Any) -> dict[str, Any] | None:
    """The `systemInstruction` that says the messages, over the one that came; None for nothing."""
    parts = [said for message in messages for part in message.parts if (said := encode_part(part)) is not None]
    if not parts:
        return None
    return {**value, "parts": parts} if isinstance(value, dict) else {"parts": parts}


def encode_contents(messages: Sequence[Message], came: Sequence[Message]) -> list[Any]:
    """The contents that say the messages; those of which nothing changed since they `came` are the same objects.

    A content of which nothing is left is left out: one without parts is refused.
    """
    before: dict[int, list[Message]] = {}
    for message in came:
        if isinstance(message.wire, Origin):
            before.setdefault(id(message.wire.whole), []).append(message)
    names: dict[str, str] = {}
    contents: list[Any] = []
    for group in _groups(messages):
        names |= {call.id: call.name for message in group for call in message.tool_calls}
        origin = _origin(group)
        if origin is not None and _same(group, before.get(id(origin.whole), ())):
            contents += origin.whole
        else:
            contents += _encode_group(group, origin, names)
    return contents


def _same(group: Sequence[Message], before: Sequence[Message]) -> bool:
    """Nothing of it was touched: what a rule changes is another object."""
    return len(group) == len(before) and all(now is was for now, was in zip(group, before, strict=True))


def _origin(group: Sequence[Message]) -> Origin | None:
    return next((message.wire for message in group if isinstance(message.wire, Origin)), None)


def _groups(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The messages that are one on the wire: pieces of one that came, or the results of one turn's calls."""
    group: list[Message] = []
    for message in messages:
        if group and not _belong_together(group[-1], message):
            yield group
            group = []
        group.append(message)
    if group:
        yield group


def _belong_together(before: Message, message: Message) -> bool:
    if isinstance(before.wire, Origin) and isinstance(message.wire, Origin):
        return before.wire.whole is message.wire.whole
    # As many results as calls must follow the turn that called, in one content.
    return bool(before.tool_call_id and message.tool_call_id)


def _encode_group(
    group: Sequence[Message], origin: Origin | None, names: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    whole = origin.whole if origin is not None else ({},)
    places = {
        id(part): (number, place)
        for number, content in enumerate(whole)
        for place, part in enumerate(listed(content.get("parts")))
    }
    ordered: list[tuple[tuple[int, int], Any]] = []
    last = (0, -1)
    for message in group:
        for wire, said in _pieces(message, names):
            last = places.get(id(wire), last)
            if said is not None:
                ordered.append((last, said))
    ordered.sort(key=lambda each: each[0])
    withheld = _withheld(group, whole)
    for number, content in enumerate(whole):
        parts = [said for (of, _), said in ordered if of == number]
        if parts := list(without_results(parts, withheld)):
            yield {**content, "role": content.get("role") or _role_of(group), "parts": parts}


def _pieces(message: Message, names: Mapping[str, str]) -> Iterator[tuple[Any, Any]]:
    """What stood on the wire, and what stands there now: for each part and call of a message."""
    if message.tool_call_id:
        came = message.wire.result if isinstance(message.wire, Origin) else None
        yield came, encode_result(message, names.get(message.tool_call_id, message.tool_call_id), came)
        return
    for part in message.parts:
        yield part.wire, encode_part(part)
    last = message.parts[-1].wire if message.parts else None
    for place, call in enumerate(message.tool_calls):
        # A call of our own, or one that was put back, follows what is said before it.
        yield call.wire if call.wire is not None else last, encode_call(call, first=not place)


def _withheld(group: Sequence[Message], whole: Sequence[Mapping[str, Any]]) -> bool:
    """A call that the provider's own tool ran is no longer there."""
    _, before = decode_parts([part for content in whole for part in listed(content.get("parts"))])
    now = {id(call.wire) for message in group for call in message.tool_calls}
    return any(call.kind == "server" and id(call.wire) not in now for call in before)


def _role_of(group: Sequence[Message]) -> str:
    return "model" if group[0].role == "assistant" and not group[0].tool_call_id else "user"

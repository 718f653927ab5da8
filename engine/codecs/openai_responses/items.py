"""Items of a conversation as messages, and back: the same objects stand in requests and in answers.

A turn of the model is many items on the wire (reasoning, messages, calls) and one message of role `assistant`; every
result of a call is a message of its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec

from engine.model.exchange import Message, Part, ToolCall

from .calls import call_id_of, decode_call, encode_call, is_call, refused_result
from .places import ALTERED, Place, parts_of, said_in, text_of, type_of

_OF_THE_MODEL: Final = frozenset(
    (
        "reasoning",
        "item_reference",
        "mcp_list_tools",
        "mcp_approval_request",
        "program",
        "compaction",
        "context_compaction",
    )
)

Names = Mapping[str, tuple[str, str]]

replace = msgspec.structs.replace

# --- reading ---------------------------------------------------------------------------------------------------------


def is_result(item: Any) -> bool:
    return type_of(item).endswith("_output")


def of_the_model(item: Any) -> bool:
    """The item is part of a turn of the model."""
    if type_of(item) == "message":
        return text_of(item.get("role")) == "assistant"
    return is_call(item) or type_of(item) in _OF_THE_MODEL


def decode_items(items: Iterable[Any]) -> list[Message]:
    messages: list[Message] = []
    turn: list[Any] = []
    for item in items:
        if of_the_model(item):
            turn.append(item)
            continue
        if turn:
            messages.append(decode_turn(turn))
            turn = []
        messages.append(_decode_item(item))
    if turn:
        messages.append(decode_turn(turn))
    return messages


def _decode_item(item: Any) -> Message:
    if not isinstance(item, dict):
        return Message(role="user", parts=(Part(kind="opaque", wire=Place(item, ())),), wire=(item,))
    parts = () if item.get("content") == "" else tuple(parts_of(item))
    if is_result(item):
        return Message(role="tool", parts=parts, tool_call_id=call_id_of(item), wire=(item,))
    return Message(role=text_of(item.get("role")) or "user", parts=parts, wire=(item,))


def decode_turn(items: Sequence[Any]) -> Message:
    parts, calls = decode_output(items)
    return Message(role="assistant", parts=parts, tool_calls=calls, wire=tuple(items))


def decode_output(items: Iterable[Any]) -> tuple[tuple[Part, ...], tuple[ToolCall, ...]]:
    """The parts and the calls of a turn of the model."""
    parts: list[Part] = []
    calls: list[ToolCall] = []
    for item in items:
        if is_call(item):
            calls.append(decode_call(item))
        elif isinstance(item, dict):
            parts += parts_of(item)
        else:
            parts.append(Part(kind="opaque", wire=Place(item, ())))
    return tuple(parts), tuple(calls)


# --- writing ---------------------------------------------------------------------------------------------------------


def encode_items(messages: Sequence[Message], names: Names) -> list[Any]:
    """The items that say the messages. A result is one of the type that its call wants."""
    items: list[Any] = []
    kinds: dict[str, str] = {}
    for message in messages:
        made = _encode_message(message, names, kinds)
        kinds |= {call_id_of(item): type_of(item) for item in made if is_call(item)}
        items += made
    return items


def _encode_message(message: Message, names: Names, kinds: Mapping[str, str]) -> list[Any]:
    came = message.wire if isinstance(message.wire, tuple) else ()
    if came:
        before = decode_turn(came) if of_the_model(came[0]) else _decode_item(came[0])
        if before == message:
            return list(came)
    if message.role == "assistant" or message.tool_calls:
        return encode_output(message.parts, message.tool_calls, came, names)
    if message.tool_call_id and not came:
        return [refused_result(kinds.get(message.tool_call_id, "function_call"), message.tool_call_id, message.text)]
    if not came:
        return [{"role": message.role, "content": _content(message.parts)}] if message.parts else []
    item = came[0]
    mine = [part for part in message.parts if _item_of(part) is item]
    own = [part for part in message.parts if part.wire is None and part.text]
    if own:
        return [_with_more(item, message.parts)]
    written = said_in(item, mine)
    if written is None:
        return []
    return (
        [{**written, "role": message.role}]
        if message.role != text_of(item.get("role")) and "role" in item
        else [written]
    )


def _item_of(part: Part) -> Any:
    return part.wire.item if isinstance(part.wire, Place) else None


def _content(parts: Sequence[Part]) -> Any:
    """The content of a message of our own; text alone is a string."""
    return "".join([part.text for part in parts])


def _with_more(item: Mapping[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    """A message of which a rule made another list of parts."""
    field = "output" if is_result(item) else "content"
    came = item.get(field)
    if isinstance(came, str):
        return {**item, field: _content(parts)}
    listed: list[Any] = []
    for part in parts:
        if part.wire is None:
            listed.append({"type": "input_text", "text": part.text})
        elif (alone := said_in(item, [part])) is not None and isinstance(alone.get(field), list):
            listed += alone[field]
    return {**item, field: listed}


def encode_output(parts: Sequence[Part], calls: Sequence[ToolCall], came: Sequence[Any], names: Names) -> list[Any]:
    """The items of a turn that says `parts` and `calls`, over those that came: each where it stood; what is new follows
    the part before it, and a new call everything."""
    places = {id(item): place for place, item in enumerate(came)}
    ordered: list[tuple[int, Any]] = []
    last = -1
    for item, inner in _by_item(parts):
        last = places.get(id(item), last)
        written = _encode_parts(item, inner)
        if written is not None:
            ordered.append((last, written))
    ordered += [(places.get(id(call.wire), len(came)), encode_call(call, names)) for call in calls]
    ordered.sort(key=itemgetter(0))
    return [item for _, item in ordered]


def restored(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts of a turn that was kept in a store, whose places have become plain objects there."""
    item: Any = None
    for part in parts:
        if isinstance(part.wire, dict) and part.wire.keys() == {"item", "path"}:
            item = item if part.wire["item"] == item else part.wire["item"]
            yield replace(part, wire=Place(item, tuple(part.wire["path"])))
        else:
            yield part


def _by_item(parts: Iterable[Part]) -> Iterator[tuple[Any, list[Part]]]:
    item: Any = None
    inner: list[Part] = []
    for part in restored(parts):
        whole = _item_of(part)
        if inner and whole is item and whole is not None:
            inner.append(part)
            continue
        if inner:
            yield item, inner
        item, inner = whole, [part]
    if inner:
        yield item, inner


def _encode_parts(item: Any, parts: list[Part]) -> Any:
    if isinstance(item, dict):
        return said_in(item, parts)
    part = parts[0]
    if part.wire is not None:
        return part.wire.item if isinstance(part.wire, Place) else None
    if part.kind in ("text", "refusal") and part.text:
        return {"role": "assistant", "content": part.text}
    return None


def is_altered(item: Any) -> bool:
    return type_of(item) == "reasoning" and item.get("encrypted_content") == ALTERED

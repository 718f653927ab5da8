"""Messages of a request: where Anthropic puts the system prompt and tool results, and where the canonical form has them.

`system` becomes a message of that role in front; a user message that holds tool results becomes one message for each of
them and one for each run of other blocks between. Every message remembers what it was read from, so that what belonged
together is put together again.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from engine.model.exchange import Message

from .blocks import decode_blocks, decode_content, encode_content, text_of


class Origin(msgspec.Struct, frozen=True):
    """What a message was read from: `whole` is the value of `system`, or the message on the wire of which it is all or
    one piece; `result` is the block of a tool result."""

    field: Literal["system", "messages"]
    whole: Any
    result: Any = None


# --- reading ---------------------------------------------------------------------------------------------------------


def decode_system(value: Any) -> tuple[Message, ...]:
    parts, _ = decode_content(value)
    return (Message(role="system", parts=parts, wire=Origin("system", value)),) if parts else ()


def decode_message(wire: dict[str, Any]) -> list[Message]:
    """The canonical messages that one message on the wire is."""
    content = wire.get("content")
    if isinstance(content, list) and any(_is_result(block) for block in content):
        return list(_split(wire, content))
    parts, calls = decode_content(content)
    return [Message(role=text_of(wire.get("role")), parts=parts, tool_calls=calls, wire=Origin("messages", wire))]


def _is_result(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "tool_result"


def _split(wire: dict[str, Any], content: list[Any]) -> Iterator[Message]:
    role, origin = text_of(wire.get("role")), Origin("messages", wire)
    run: list[Any] = []

    def others() -> Iterator[Message]:
        if run:
            parts, calls = decode_blocks(run)
            yield Message(role=role, parts=parts, tool_calls=calls, wire=origin)
            run.clear()

    for block in content:
        if _is_result(block):
            yield from others()
            yield _decode_result(block, wire)
        else:
            run.append(block)
    yield from others()


def _decode_result(block: dict[str, Any], wire: dict[str, Any]) -> Message:
    parts, _ = decode_content(block.get("content"))
    return Message(
        role="tool",
        parts=parts,
        tool_call_id=text_of(block.get("tool_use_id")),
        is_error=block.get("is_error") is True,
        wire=Origin("messages", wire, block),
    )


# --- writing ---------------------------------------------------------------------------------------------------------


def is_system(message: Message) -> bool:
    """It belongs to `system`. One that came among the messages stays there; one of our own does not go there, because
    only the newest models take it."""
    origin = message.wire
    in_place = isinstance(origin, Origin) and origin.field == "messages"
    return message.role in ("system", "developer") and not in_place


def encode_system(messages: Sequence[Message], value: Any) -> Any:
    """The value of `system` that says the messages, over the one that came; None for nothing."""
    if tuple(messages) == decode_system(value):
        return value
    said = [encode_content(message.parts, (), _content_of(message)) for message in messages]
    if len(said) == 1:
        return said[0] or None
    blocks: list[Any] = []
    for content in said:
        blocks += content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
    return blocks or None


def encode_messages(messages: Sequence[Message]) -> list[Any]:
    """The messages on the wire. One whose content is gone is left out: empty content is refused."""
    encoded = [_encode_group(group) for group in _groups(messages)]
    return [message for message in encoded if message is not None]


def _groups(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The messages that are one on the wire: pieces of one that came, or results that are given to one turn's calls."""
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
    # All results of parallel calls must stand in the one message that follows them.
    return bool(before.tool_call_id and message.tool_call_id)


def _encode_group(group: list[Message]) -> dict[str, Any] | None:
    origin = next((message.wire for message in group if isinstance(message.wire, Origin)), None)
    wire: dict[str, Any] = origin.whole if origin is not None and origin.field == "messages" else {}
    if wire and decode_message(wire) == group:
        return wire
    content: Any = []
    for message in group:
        if message.tool_call_id:
            content.append(_encode_result(message))
        elif len(group) == 1:
            content = encode_content(message.parts, message.tool_calls, _content_of(message))
        else:
            said = encode_content(message.parts, message.tool_calls, _content_of(message))
            content += said if isinstance(said, list) else [{"type": "text", "text": said}]
    if not content:
        return None
    role = "user" if group[0].tool_call_id else group[0].role
    return {**wire, "role": role, "content": content}


def _content_of(message: Message) -> Any:
    """The content that a message, or the message of which it is a piece, was read from."""
    origin = message.wire
    if not isinstance(origin, Origin):
        return None
    return origin.whole if origin.field == "system" else origin.whole.get("content")


def _encode_result(message: Message) -> dict[str, Any]:
    origin = message.wire if isinstance(message.wire, Origin) else None
    block: dict[str, Any] = origin.result if origin is not None else {"type": "tool_result"}
    if origin is not None and _decode_result(block, origin.whole) == message:
        return block
    encoded = {**block, "tool_use_id": message.tool_call_id}
    if origin is None or decode_content(block.get("content"))[0] != message.parts:
        encoded["content"] = encode_content(message.parts, (), block.get("content")) or ""
    if message.is_error != (block.get("is_error") is True):
        encoded["is_error"] = message.is_error
    return encoded

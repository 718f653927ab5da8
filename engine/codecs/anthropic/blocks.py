"""Content blocks of Messages: the same objects stand in requests, answers and tool results.

A block is read as parts or as a tool call, each with the block as its `wire`; written back, what reads equal is the block
that came, at the place where it stood, and of what differs only the field that says it is replaced.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Literal

import msgspec

from engine.codecs.json_text import encode_json
from engine.model.effects import Op, Path, written
from engine.model.exchange import Part, ToolCall

PartKind = Literal["text", "reasoning", "refusal", "image", "audio", "file", "opaque"]

_KINDS: Final[Mapping[str, PartKind]] = {
    "text": "text",
    "thinking": "reasoning",
    "redacted_thinking": "opaque",
    "image": "image",
    "container_upload": "file",
}

_TEXT_FIELDS: Final[Mapping[str, str]] = {"text": "text", "reasoning": "thinking"}

ALTERED: Final = "lexgate-altered"
"""The signature of thinking that went out otherwise than the model thought it. The provider would refuse it, and a client
re-sends what it got: blocks with this signature are taken out of its next request."""


class Inside(msgspec.Struct, frozen=True):
    """A part that is one place of a block: the title, the text, an image of a document or a search result."""

    block: Any
    path: Path


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


# --- reading ---------------------------------------------------------------------------------------------------------


def decode_content(content: Any) -> tuple[tuple[Part, ...], tuple[ToolCall, ...]]:
    """The parts and the calls of a message's content, a string or a list of blocks."""
    if isinstance(content, str):
        return ((Part(kind="text", text=content),) if content else ()), ()
    return decode_blocks(content) if isinstance(content, list) else ((), ())


def decode_blocks(blocks: Iterable[Any]) -> tuple[tuple[Part, ...], tuple[ToolCall, ...]]:
    parts: list[Part] = []
    calls: list[ToolCall] = []
    for block in blocks:
        if is_call(block):
            calls.append(decode_call(block))
        else:
            parts += decode_parts(block)
    return tuple(parts), tuple(calls)


def is_call(block: Any) -> bool:
    """A `tool_use` for the client, or a call that the provider makes: `server_tool_use`, `mcp_tool_use`."""
    return isinstance(block, dict) and text_of(block.get("type")).endswith("tool_use")


def decode_call(block: Mapping[str, Any]) -> ToolCall:
    given = block.get("input")
    return ToolCall(
        id=text_of(block.get("id")),
        name=text_of(block.get("name")),
        arguments=given if isinstance(given, str) else "" if given is None else encode_json(given).decode(),
        kind="function" if block.get("type") == "tool_use" else "server",
        wire=block,
    )


def decode_parts(block: Any) -> list[Part]:
    """A block that is no call. One of an unknown type that has a `text` is text: what a model may read, a rule can."""
    if not isinstance(block, dict):
        return [Part(kind="opaque", wire=block)]
    if block.get("type") in ("document", "search_result"):
        return [Part(kind=kind, text=text, wire=Inside(block, path)) for path, kind, text in _places(block)]
    return [_plain_part(block, block)]


def _plain_part(block: Mapping[str, Any], wire: Any) -> Part:
    kind = _KINDS.get(text_of(block.get("type")), "opaque")
    text = text_of(block.get(_TEXT_FIELDS.get(kind, "text")))
    if kind == "opaque" and text:
        kind = "text"
    return Part(kind=kind, text=text if kind in _TEXT_FIELDS else "", wire=wire)


def _places(block: Mapping[str, Any]) -> Iterator[tuple[Path, PartKind, str]]:
    """What a document or a search result holds, each with the path to it."""
    for field in ("title", "context"):
        if text := text_of(block.get(field)):
            yield (field,), "text", text
    if block.get("type") == "search_result":
        yield from _listed(block.get("content"), ("content",))
        return
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    match source.get("type"):
        case "text":
            yield ("source", "data"), "text", text_of(source.get("data"))
        case "content" if isinstance(content := source.get("content"), str):
            yield ("source", "content"), "text", content
        case "content":
            yield from _listed(source.get("content"), ("source", "content"))
        case _:
            yield ("source",), "file", ""


def _listed(items: Any, path: Path) -> Iterator[tuple[Path, PartKind, str]]:
    for place, item in enumerate(items if isinstance(items, list) else ()):
        part = _plain_part(item, item) if isinstance(item, dict) else Part(kind="opaque")
        yield (*path, place), part.kind, part.text


# --- writing ---------------------------------------------------------------------------------------------------------


def encode_content(parts: Sequence[Part], calls: Sequence[ToolCall], content: Any) -> str | list[Any]:
    """The content that says `parts` and `calls`, over the content from which they were read; [] or "" for nothing.

    What came stands where it stood; a new part follows the one before it, a new call everything. A string stays a string.
    """
    came = content if isinstance(content, list) else []
    if not isinstance(content, list) and not calls and all(_is_bare_text(part) for part in parts):
        return "".join([part.text for part in parts])
    places = {id(block): place for place, block in enumerate(came)}
    ordered: list[tuple[int, Any]] = []
    last = -1
    for block, inner in _by_block(parts):
        last = places.get(id(block), last)
        encoded = _encode_parts(block, inner)
        if encoded is not None:
            ordered.append((last, encoded))
    ordered += [(places.get(id(call.wire), len(came)), encode_call(call)) for call in calls]
    ordered.sort(key=itemgetter(0))
    kept = {call.id for call in calls}
    withheld = {text_of(block.get("id")) for block in came if is_call(block)} - kept
    return [block for _, block in ordered if not withheld or result_of(block) not in withheld]


def result_of(block: Any) -> str:
    """The call whose result the provider gives in this block, or ""."""
    return text_of(block.get("tool_use_id")) if isinstance(block, dict) and block.get("type") != "tool_result" else ""


def _is_bare_text(part: Part) -> bool:
    return part.wire is None and part.kind == "text"


def _by_block(parts: Iterable[Part]) -> Iterator[tuple[Any, list[Part]]]:
    """The parts, those together that were read from one block, each time with the block."""
    block: Any = None
    inner: list[Part] = []
    for part in parts:
        whole = part.wire.block if isinstance(part.wire, Inside) else part.wire
        if inner and whole is block and isinstance(part.wire, Inside):
            inner.append(part)
            continue
        if inner:
            yield block, inner
        block, inner = whole, [part]
    if inner:
        yield block, inner


def _encode_parts(block: Any, parts: list[Part]) -> Any:
    """The block that says the parts; None for nothing, or for what cannot stand there."""
    if block is None:
        return _made(parts[0])
    if decode_parts(block) == parts:
        return block
    if isinstance(parts[0].wire, Inside):
        return _rewritten(block, parts)
    return _with_text(block, parts[0])


def _made(part: Part) -> Any:
    """A block of our own. Empty text is refused, and so are thoughts that nobody signed."""
    return {"type": "text", "text": part.text} if part.kind in ("text", "refusal") and part.text else None


def _with_text(block: Any, part: Part) -> Any:
    if part.kind not in _TEXT_FIELDS:
        return block
    if not part.text or (part.kind == "reasoning" and block.get("signature")):
        return None
    # Citations quote the text that was there, or what it was taken from.
    kept = {field: value for field, value in block.items() if field != "citations"}
    return {**kept, _TEXT_FIELDS[part.kind]: part.text}


def _rewritten(block: Any, parts: Sequence[Part]) -> Any:
    """A document or search result with other texts in it; None where its content is gone."""
    kept = {part.wire.path: part for part in parts}
    # From the last place to the first, so that taking one away moves no other.
    for path, kind, text in reversed(list(_places(block))):
        part = kept.get(path)
        if part is None or (kind == "text" and text and not part.text):
            block = written(block, path, Op("remove", path))
        elif part.text != text:
            inner = _at(block, path)
            said = {**inner, _TEXT_FIELDS[kind]: part.text} if isinstance(inner, dict) else part.text
            block = written(block, path, Op("replace", path, said))
    content = _at(block, ("content",)) if block.get("type") == "search_result" else _at(block, ("source",))
    if isinstance(content, dict):
        content = content.get("data") or content.get("content") or (content.get("type") not in ("text", "content"))
    return block if content else None


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else value[step]
    return value


def encode_call(call: ToolCall) -> dict[str, Any]:
    """The call's block; `input` is an object also where the model's arguments are none."""
    wire = call.wire
    if not is_call(wire):
        return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.args}
    before = decode_call(wire)
    if before == call:
        block: dict[str, Any] = wire
        return block
    encoded = {**wire, "id": call.id, "name": call.name}
    if call.arguments != before.arguments:
        encoded["input"] = call.args
    return encoded

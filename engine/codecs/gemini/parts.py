"""Parts of a content: the same objects stand in requests and in answers.

A part is read as a canonical part or as a tool call, each with the object as its `wire`; written back, what reads equal
is the object that came, and of what differs only the field that says it is replaced.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from engine.codecs.json_text import encode_json
from engine.model.exchange import Part, Protocol, ToolCall

from .fields import get, inner, snake, spelled, text_of

PartKind = Literal["text", "reasoning", "refusal", "image", "audio", "file", "opaque"]

MADE: Final = "lexgate-call-"
"""Ids of our own begin so: Gemini may leave a call without one, and rules and results need one. They stay inside."""

SKIPS_VALIDATION: Final = "skip_thought_signature_validator"
"""Google's value for a call whose own signature is not there (API guide, "Thought signatures")."""

CALLS: Final = ("functionCall", "executableCode", "toolCall")
"""What a model may want done: by the client, by the provider's interpreter, by the provider's other tools."""

_CALLS: Final = {spelling: name for name in CALLS for spelling in (name, snake(name))}

RESULTS: Final = ("codeExecutionResult", "toolResponse")
"""What the provider's own tools answered."""

CODE: Final = "code_execution"
"""The name under which rules see code that the provider runs."""


# --- reading ---------------------------------------------------------------------------------------------------------


def call_field(wire: Any) -> str:
    """The field that makes a part a call, in camelCase; "" for a part that is none."""
    if not isinstance(wire, dict):
        return ""
    for name, value in wire.items():
        if name in _CALLS and isinstance(value, dict):
            return _CALLS[name]
    return ""


def decode_call(wire: Mapping[str, Any], number: int) -> ToolCall:
    """A part that is a call; `number` is its place among the calls of its turn, of which an id is made if it has none."""
    field = call_field(wire)
    said = inner(wire, field)
    id = text_of(said.get("id")) or f"{MADE}{number}"
    signature = text_of(get(wire, "thoughtSignature"))
    match field:
        case "functionCall":
            name, arguments = text_of(said.get("name")), _json_of(said.get("args"))
            return ToolCall(id=id, name=name, arguments=arguments, signature=signature, wire=wire)
        case "executableCode":
            code = _json_of({name: said[name] for name in ("language", "code") if name in said})
            return ToolCall(id=id, name=CODE, arguments=code, kind="server", signature=signature, wire=wire)
        case _:
            name = text_of(get(said, "toolType")).lower() or "tool"
            arguments = _json_of(said.get("args"))
            return ToolCall(id=id, name=name, arguments=arguments, kind="server", signature=signature, wire=wire)


def _json_of(value: Any) -> str:
    return "" if value is None else encode_json(value).decode()


def is_made(id: str) -> bool:
    return id.startswith(MADE)


def decode_part(wire: Any) -> Part:
    """A part that is no call. Of an unknown kind that has a `text` it is text: what a model may read, a rule can."""
    if not isinstance(wire, dict):
        return Part(kind="opaque", wire=wire)
    text = wire.get("text")
    if isinstance(text, str):
        return Part(kind="reasoning" if wire.get("thought") is True else "text", text=text, wire=wire)
    for field in ("inlineData", "fileData"):
        if isinstance(get(wire, field), dict):
            return Part(kind=kind_of_media(inner(wire, field)), wire=wire)
    return Part(kind="opaque", wire=wire)


def kind_of_media(data: Mapping[str, Any]) -> PartKind:
    """By its MIME type; films are files to rules."""
    family = text_of(get(data, "mimeType")).partition("/")[0].lower()
    return {"image": "image", "audio": "audio"}.get(family, "file")  # type: ignore[return-value]


def decode_parts(wires: Iterable[Any], calls_before: int = 0) -> tuple[tuple[Part, ...], tuple[ToolCall, ...]]:
    """The parts and the calls of a content, or of several that are one turn."""
    parts: list[Part] = []
    calls: list[ToolCall] = []
    for wire in wires:
        if call_field(wire):
            calls.append(decode_call(wire, calls_before + len(calls)))
        else:
            parts.append(decode_part(wire))
    return tuple(parts), tuple(calls)


# --- writing ---------------------------------------------------------------------------------------------------------


def encode_part(part: Part) -> dict[str, Any] | None:
    """The object that says a part; None for nothing, or for what cannot stand there. Empty text is refused."""
    wire = part.wire
    if not isinstance(wire, dict):
        if part.kind not in ("text", "refusal", "reasoning") or not part.text:
            return None
        if part.issuer not in (None, Protocol.GEMINI):
            return None  # another provider's thought, which was put back into the history
        return {"text": part.text, "thought": True} if part.kind == "reasoning" else {"text": part.text}
    if part.kind not in ("text", "reasoning") or part.text == wire.get("text"):
        return wire
    return with_text(wire, part.text)


def with_text(wire: dict[str, Any], text: str) -> dict[str, Any] | None:
    """A part of text that says something else; None where nothing is left of it.

    A thought that was signed is not rewritten. The signature at other text is of what was thought before it.
    """
    signed = get(wire, "thoughtSignature") is not None
    if wire.get("thought") is True and (signed or not text):
        return None
    return {**wire, "text": text} if text or signed else None


def encode_call(call: ToolCall, *, first: bool = False) -> dict[str, Any]:
    """The part that says a call; an id of our own is not told.

    The first call of a turn that another provider's model made has Google's value for that, in what a client re-sends
    and in what is put back into its history: newer models refuse one without a signature.
    """
    field = call_field(call.wire)
    if not field:
        id = {} if is_made(call.id) or not call.id else {"id": call.id}
        signature = call.signature or (SKIPS_VALIDATION if first else "")
        made = {"functionCall": {**id, "name": call.name, "args": call.args}}
        return {**made, "thoughtSignature": signature} if signature else made
    wire: dict[str, Any] = call.wire
    before = decode_call(wire, 0)
    if before.arguments == call.arguments and before.name == call.name:
        return wire
    said = dict(inner(wire, field))
    if field == "executableCode":
        said |= call.args
    else:
        said["args"] = call.args
        if field == "functionCall":
            said["name"] = call.name
    return {**wire, spelled(wire, field): said}


def is_result(wire: Any) -> bool:
    """A part that one of the provider's own tools gave."""
    return isinstance(wire, dict) and any(get(wire, name) is not None for name in RESULTS)


def without_results(wires: Iterable[Any], withheld: bool) -> Iterator[Any]:
    """The parts, without the results of the provider's tools where one of their calls was withheld."""
    return (wire for wire in wires if not (withheld and is_result(wire)))

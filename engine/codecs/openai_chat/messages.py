"""Messages, parts and tool calls of Chat Completions: the same objects stand in requests and in answers.

Every noun is written over the wire object that it was read from: what reads back equal is left as it is, and of what
differs only the fields that say it are replaced.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from engine.codecs.json_text import encode_json
from engine.model.exchange import Message, Part, Protocol, ToolCall

PartKind = Literal["text", "reasoning", "refusal", "image", "audio", "file", "opaque"]

REASONING_FIELDS: Final = ("reasoning_content", "reasoning")
"""Where servers put what a model thought: DeepSeek, vLLM and SGLang the first, OpenRouter, Groq and Ollama the second."""

REASONING_DETAILS: Final = "reasoning_details"
"""OpenRouter's signed or encrypted form of the same; a rewritten thought has no valid signature, so it goes with it."""

_KINDS: Final[Mapping[str, PartKind]] = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "reasoning",
    "reasoning": "reasoning",
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "audio_url": "audio",
    "file": "file",
    "input_file": "file",
    "video_url": "opaque",
}


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


# --- parts -----------------------------------------------------------------------------------------------------------


def decode_part(wire: Any) -> Part:
    """An item of a content list. An unknown type that has a `text` is text: what a model may read, a rule can."""
    if isinstance(wire, str):
        return Part(kind="text", text=wire, wire=wire)
    if not isinstance(wire, dict):
        return Part(kind="opaque", wire=wire)
    kind = _KINDS.get(text_of(wire.get("type")), "opaque")
    text = _part_text(wire, kind)
    if kind == "opaque" and text:
        kind = "text"
    return Part(kind=kind, text=text, wire=wire)


def _part_text(wire: Mapping[str, Any], kind: PartKind) -> str:
    match kind:
        case "refusal":
            return text_of(wire.get("refusal"))
        case "reasoning":
            # Mistral: {"type": "thinking", "thinking": [{"type": "text", "text": ...}]}
            thought = wire.get("thinking", wire.get("text"))
            if isinstance(thought, list):
                return "".join(text_of(item.get("text")) for item in thought if isinstance(item, dict))
            return text_of(thought)
        case "text" | "opaque":
            return text_of(wire.get("text"))
        case "image" | "audio" | "file":
            return ""


def _encode_part(part: Part) -> Any:
    """The item of a content list; None for a part that cannot stand there."""
    wire = part.wire
    if wire is None:
        match part.kind:
            case "text":
                return {"type": "text", "text": part.text}
            case "refusal":
                return {"type": "refusal", "refusal": part.text}
            case _:
                return None
    if decode_part(wire) == part:
        return wire
    if isinstance(wire, str):
        return part.text
    key: str = part.kind
    value: Any = part.text
    if part.kind == "reasoning":
        key = "thinking" if "thinking" in wire else "text"
        value = [{"type": "text", "text": part.text}] if isinstance(wire.get(key), list) else part.text
    return {**wire, key: value} if part.kind in ("text", "refusal", "reasoning") else wire


# --- tool calls ------------------------------------------------------------------------------------------------------


def is_legacy(call: ToolCall) -> bool:
    """The call stood in `function_call`, which has no id and no type around name and arguments."""
    return isinstance(call.wire, dict) and "name" in call.wire and "type" not in call.wire and "id" not in call.wire


def call_id(value: Any) -> str:
    """Some servers number their calls, some send null."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def arguments_text(value: Any) -> str:
    """Arguments are JSON text; a server that sends the object itself means its text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else encode_json(value).decode()


def decode_call(wire: Any) -> ToolCall:
    if not isinstance(wire, dict):
        return ToolCall(id="", name="", kind="server", wire=wire)
    function, custom = wire.get("function"), wire.get("custom")
    if isinstance(function, dict):
        return ToolCall(
            id=call_id(wire.get("id")),
            name=text_of(function.get("name")),
            arguments=arguments_text(function.get("arguments")),
            wire=wire,
        )
    if isinstance(custom, dict):
        return ToolCall(
            id=call_id(wire.get("id")),
            name=text_of(custom.get("name")),
            arguments=arguments_text(custom.get("input")),
            kind="custom",
            wire=wire,
        )
    kind = text_of(wire.get("type"))
    return ToolCall(
        id=call_id(wire.get("id")),
        name=text_of(wire.get("name")) or kind,
        arguments=arguments_text(wire.get(kind)),
        kind="server",
        wire=wire,
    )


def decode_legacy_call(wire: Mapping[str, Any]) -> ToolCall:
    """A `function_call`. It has no id; its name stands for one, because the result names the function."""
    name = text_of(wire.get("name"))
    return ToolCall(id=name, name=name, arguments=arguments_text(wire.get("arguments")), wire=wire)


def encode_call(call: ToolCall) -> dict[str, Any]:
    field, text = ("custom", "input") if call.kind == "custom" else ("function", "arguments")
    wire = call.wire
    if not isinstance(wire, dict) or is_legacy(call):
        return {"id": call.id, "type": field, field: {"name": call.name, text: call.arguments}}
    before = decode_call(wire)
    if before == call or call.kind == "server":
        return wire
    inner = dict(wire.get(field) or {})
    inner["name"] = call.name
    if call.arguments != before.arguments:
        inner[text] = call.arguments
    inner.setdefault(text, call.arguments)
    encoded = {"id": call.id, "type": field, **wire, field: inner}
    if call.id != before.id:
        encoded["id"] = call.id
    return encoded


def _encode_legacy_call(call: ToolCall) -> dict[str, Any]:
    wire = call.wire if is_legacy(call) else {}
    return {**wire, "name": call.name, "arguments": call.arguments}


# --- reasoning beside the content ------------------------------------------------------------------------------------


def reasoning_of(wire: Mapping[str, Any]) -> str:
    """What a message or a delta says in its reasoning fields. Two fields with the same text say it once."""
    said: list[str] = []
    for field in REASONING_FIELDS:
        text = text_of(wire.get(field))
        if text and text not in said:
            said.append(text)
    if said or REASONING_DETAILS not in wire:
        return "".join(said)
    return _details_text(wire[REASONING_DETAILS])


def _details_text(details: Any) -> str:
    if not isinstance(details, list):
        return ""
    return "".join(
        text_of(item.get("text")) or text_of(item.get("summary")) for item in details if isinstance(item, dict)
    )


def write_reasoning(target: dict[str, Any], text: str) -> None:
    """Let the reasoning fields of `target` say `text`, in the fields that it has; one without text says nothing."""
    fields = [field for field in REASONING_FIELDS if isinstance(target.get(field), str)]
    target.pop(REASONING_DETAILS, None)
    repeated = len({target[field] for field in fields}) == 1
    for field in fields[1:]:
        if repeated and text:
            target[field] = text
        else:
            del target[field]
    if text:
        target[fields[0] if fields else REASONING_FIELDS[0]] = text
    elif fields:
        del target[fields[0]]


# --- messages --------------------------------------------------------------------------------------------------------


def decode_message(wire: Mapping[str, Any]) -> Message:
    """A message of a request or of an answer; its parts in the order reasoning, content, refusal, audio."""
    content = wire.get("content")
    if len(wire) == 2 and type(content) is str and type(role := wire.get("role")) is str and role != "function":
        # What nearly all messages are.
        return Message(role=role, parts=(Part(kind="text", text=content),) if content else (), wire=wire)
    parts: list[Part] = []
    reasoning = reasoning_of(wire)
    if reasoning:
        parts.append(Part(kind="reasoning", text=reasoning))
    if isinstance(content, str):
        if content:
            parts.append(Part(kind="text", text=content))
    elif isinstance(content, list):
        parts.extend([decode_part(item) for item in content])
    elif content is not None:
        parts.append(Part(kind="opaque", wire=content))
    if refusal := text_of(wire.get("refusal")):
        parts.append(Part(kind="refusal", text=refusal))
    if isinstance(audio := wire.get("audio"), dict):
        parts.append(Part(kind="audio", wire=audio))
    role = text_of(wire.get("role"))
    return Message(
        role=role,
        parts=tuple(parts),
        tool_calls=_decode_calls(wire),
        # A result of a legacy call names its function, as the call does.
        tool_call_id=text_of(wire.get("name")) if role == "function" else call_id(wire.get("tool_call_id")),
        wire=wire,
    )


def _decode_calls(wire: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    calls = wire.get("tool_calls")
    decoded = [decode_call(call) for call in calls] if isinstance(calls, list) else []
    if isinstance(legacy := wire.get("function_call"), dict):
        decoded.append(decode_legacy_call(legacy))
    return tuple(decoded)


def encode_message(message: Message) -> dict[str, Any]:
    """The message object: the one that came where nothing changed, with only the difference where something did."""
    wire = message.wire
    if not isinstance(wire, dict):
        wire = {"role": message.role, "content": None}
    before = decode_message(wire)
    if before == message:
        return wire
    encoded = dict(wire)
    if message.role != before.role:
        encoded["role"] = message.role
    if message.tool_call_id != before.tool_call_id:
        encoded["name" if message.role == "function" else "tool_call_id"] = message.tool_call_id
    if message.tool_calls != before.tool_calls:
        _write_calls(encoded, message.tool_calls)
    if message.parts != before.parts or not isinstance(message.wire, dict):
        _write_parts(encoded, message.parts, before.parts)
    if encoded.get("content") is None and not (encoded.get("tool_calls") or encoded.get("function_call")):
        # Null stands only beside calls, a refusal or a recording; every other message must have content.
        said = encoded.get("refusal") or encoded.get("audio")
        encoded["content"] = None if said else ""
    return encoded


def _write_calls(encoded: dict[str, Any], calls: Sequence[ToolCall]) -> None:
    legacy = [call for call in calls if is_legacy(call)]
    modern = [encode_call(call) for call in calls if not is_legacy(call)]
    if modern:
        encoded["tool_calls"] = modern
    elif encoded.get("tool_calls"):
        del encoded["tool_calls"]  # an empty list is refused
    if legacy:
        encoded["function_call"] = _encode_legacy_call(legacy[-1])
    elif encoded.get("function_call"):
        del encoded["function_call"]


def _in_content(part: Part) -> bool:
    if isinstance(part.wire, dict):
        return part.kind != "audio" or "type" in part.wire
    return part.wire is not None or part.kind not in ("reasoning", "refusal")


def _write_parts(encoded: dict[str, Any], parts: Sequence[Part], before: Sequence[Part]) -> None:
    content = [part for part in parts if _in_content(part)]
    if content != [part for part in before if _in_content(part)]:
        # A string stays a string, a list a list; a message of our own with several parts is a list.
        as_list = len(content) > 1 if encoded.get("content") is None else isinstance(encoded["content"], list)
        encoded["content"] = _encode_content(content, as_list)
    beside = {kind: _beside(parts, kind) for kind in ("reasoning", "refusal")}
    if beside["reasoning"] != _beside(before, "reasoning"):
        write_reasoning(encoded, beside["reasoning"])
    if beside["refusal"] != _beside(before, "refusal"):
        encoded["refusal"] = beside["refusal"] or None
    if "audio" in encoded and not any(part.kind == "audio" and not _in_content(part) for part in parts):
        del encoded["audio"]


def _beside(parts: Sequence[Part], kind: str) -> str:
    """What stands beside the content; not what a provider of another protocol thought."""
    own = (None, Protocol.OPENAI_CHAT)
    return "".join(part.text for part in parts if part.kind == kind and part.issuer in own and not _in_content(part))


def _encode_content(parts: Sequence[Part], as_list: bool) -> Any:
    """Parts that are not text make a list of it. Empty texts are left out: providers refuse them."""
    said = [part for part in parts if part.kind != "text" or part.text]
    if not as_list and all(part.kind == "text" and not isinstance(part.wire, dict) for part in said):
        return "".join(part.text for part in said) if parts else None
    encoded = [item for part in said if (item := _encode_part(part)) is not None]
    return encoded or ""

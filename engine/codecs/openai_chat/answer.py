"""A whole answer of Chat Completions to canonical choices, and back over the object that it was read from."""

from collections.abc import Mapping
from typing import Any, Final

from engine.codecs.base import BadAnswer
from engine.codecs.json_text import MalformedJson, decode_json_leniently, encode_json
from engine.codecs.text_pairs import paired
from engine.model.exchange import Answer, Choice, Exchange, Message, Part, ToolCall

from .messages import call_id, decode_message, encode_message, is_legacy, text_of
from .usage import decode_usage, encode_usage, reported

LEGACY_FINISH: Final = "function_call"
"""How the deprecated `functions` say that a call was made; canonical it is `tool_calls`."""


def decode_finish(wire: Any) -> str:
    finish = text_of(wire)
    return "tool_calls" if finish == LEGACY_FINISH else finish


def decode_answer(body: bytes) -> Answer:
    """Raises BadAnswer where there is no answer in it: not JSON (also a cut body), or without `choices`."""
    try:
        wire, well_formed = decode_json_leniently(body)
    except MalformedJson as mistake:
        raise BadAnswer(f"the upstream's answer is not JSON: {mistake}") from mistake
    if not well_formed:
        wire = paired(wire)
        body = encode_json(wire)
    if not isinstance(wire, dict) or not isinstance(wire.get("choices"), list):
        raise BadAnswer("the upstream's answer has no 'choices'")
    return Answer(
        id=call_id(wire.get("id")),
        model=text_of(wire.get("model")),
        choices=tuple([_decode_choice(choice, place) for place, choice in enumerate(wire["choices"])]),
        usage=decode_usage(reported(wire)),
        body=body,
        wire=wire,
    )


def _decode_choice(wire: Any, place: int) -> Choice:
    if not isinstance(wire, dict) or not isinstance(wire.get("message"), dict):
        raise BadAnswer(f"'choices[{place}]' of the upstream's answer has no 'message'")
    message = decode_message(wire["message"])
    index = wire.get("index")
    return Choice(
        index=index if isinstance(index, int) else place,
        parts=message.parts,
        tool_calls=message.tool_calls,
        finish=decode_finish(wire.get("finish_reason")),
        wire=wire,
    )


def encode_answer(answer: Answer, exchange: Exchange) -> bytes:
    """The bytes that came, the object that came with what differs, or an answer of our own under the exchange's id."""
    if answer.body is not None:
        return answer.body
    made = {
        "id": answer.id or f"chatcmpl-{exchange.id}",
        "object": "chat.completion",
        "created": exchange.received,
        "model": answer.model or exchange.model,
    }
    encoded: dict[str, Any] = dict(answer.wire) if isinstance(answer.wire, dict) else made
    if answer.id and answer.id != call_id(encoded.get("id")):
        encoded["id"] = answer.id
    if answer.model and answer.model != encoded.get("model"):
        encoded["model"] = answer.model
    encoded["choices"] = [_encode_choice(choice) for choice in answer.choices]
    if answer.usage is not None:
        usage = encode_usage(answer.usage)
        if usage is not reported(encoded):
            encoded["usage"] = usage
    elif encoded.get("usage") is not None:
        del encoded["usage"]
    return encode_json(encoded)


def _encode_choice(choice: Choice) -> dict[str, Any]:
    wire: Mapping[str, Any] = choice.wire if isinstance(choice.wire, dict) else {}
    inner = wire.get("message")
    inner = inner if isinstance(inner, dict) else {"role": "assistant", "content": None, "refusal": None}
    before = decode_message(inner)
    message = encode_message(Message(role=before.role, parts=choice.parts, tool_calls=choice.tool_calls, wire=inner))
    finish = encode_finish(choice.finish, choice.tool_calls)
    if not wire:
        return {"index": choice.index, "message": message, "logprobs": None, "finish_reason": finish}
    encoded = {**wire, "message": message}
    if choice.index != wire.get("index"):
        encoded["index"] = choice.index
    if finish != wire.get("finish_reason"):
        encoded["finish_reason"] = finish
    if said(choice.parts) != said(before.parts) and wire.get("logprobs") is not None:
        encoded["logprobs"] = None  # they spell the text that was there
    return encoded


def said(parts: tuple[Part, ...]) -> list[tuple[str, str]]:
    return [(part.kind, part.text) for part in parts if part.text]


def encode_finish(finish: str, calls: tuple[ToolCall, ...]) -> str | None:
    """The reason on the wire, told by what is there: without a call left nothing stopped for a call."""
    if finish == "tool_calls":
        if not calls:
            return "stop"
        return LEGACY_FINISH if all(is_legacy(call) for call in calls) else finish
    return finish or None

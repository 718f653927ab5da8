"""A whole answer of Messages to one canonical choice, and back over the object that it was read from."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from engine.codecs.base import BadAnswer
from engine.codecs.json_text import MalformedJson, decode_json_leniently, encode_json
from engine.codecs.text_pairs import paired
from engine.model.exchange import Answer, Choice, Exchange, Part, ToolCall

from .blocks import ALTERED, decode_blocks, encode_content, text_of
from .usage import decode_usage, encode_usage

_CANONICAL: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_ON_THE_WIRE: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def decode_finish(wire: Any) -> str:
    """Canonical; what has no canonical name (`pause_turn`) keeps its own."""
    reason = text_of(wire)
    return _CANONICAL.get(reason, reason)


def encode_finish(finish: str, *, calls: bool) -> str | None:
    """Told by what is there: without a call for the client, nothing stopped for a call."""
    if finish == "tool_calls" and not calls:
        return "end_turn"
    return _ON_THE_WIRE.get(finish, finish) or None


def for_client(calls: Iterable[ToolCall]) -> bool:
    return any(call.kind != "server" for call in calls)


def write_finish(target: dict[str, Any], finish: str, *, calls: bool) -> None:
    """Let `target`, a message or the delta of one, say why it ended; as it said it where that means the same."""
    was = target.get("stop_reason")
    if decode_finish(was) == finish and (finish != "tool_calls" or calls):
        return
    target["stop_reason"] = encode_finish(finish, calls=calls)
    target["stop_sequence"] = None
    if target.get("stop_details") is not None:
        target["stop_details"] = None


def decode_answer(body: bytes) -> Answer:
    """Raises BadAnswer where there is no answer in it: not JSON (also a cut body), or without `content`."""
    try:
        wire, well_formed = decode_json_leniently(body)
    except MalformedJson as mistake:
        raise BadAnswer(f"the upstream's answer is not JSON: {mistake}") from mistake
    if not well_formed:
        wire = paired(wire)
        body = encode_json(wire)
    if not isinstance(wire, dict) or not isinstance(wire.get("content"), list):
        raise BadAnswer("the upstream's answer has no 'content'")
    parts, calls = decode_blocks(wire["content"])
    choice = Choice(parts=parts, tool_calls=calls, finish=decode_finish(wire.get("stop_reason")), wire=wire)
    return Answer(
        id=text_of(wire.get("id")),
        model=text_of(wire.get("model")),
        choices=(choice,),
        usage=decode_usage(wire.get("usage")),
        body=body,
        wire=wire,
    )


def encode_answer(answer: Answer, exchange: Exchange) -> bytes:
    """The bytes that came, the object that came with what differs, or an answer of our own under the exchange's id."""
    if answer.body is not None:
        return answer.body
    encoded = {**envelope(exchange), **answer.wire} if isinstance(answer.wire, dict) else envelope(exchange)
    if answer.id:
        encoded["id"] = answer.id
    if answer.model:
        encoded["model"] = answer.model
    choice = answer.choices[0] if answer.choices else Choice()
    if not isinstance(answer.wire, dict):
        choice = replace(choice, parts=tuple(_shown(part) for part in choice.parts))
    came = encoded["content"]
    if (choice.parts, choice.tool_calls) != decode_blocks(came):
        encoded["content"] = encode_content(choice.parts, choice.tool_calls, came)
    write_finish(encoded, choice.finish, calls=for_client(choice.tool_calls))
    if answer.usage is not None:
        encoded["usage"] = encode_usage(answer.usage)
    return encode_json(encoded)


def _shown(part: Part) -> Part:
    """What another provider's model thought is shown as thinking that does not come back: nobody here can sign it."""
    if part.kind != "reasoning" or part.wire is not None:
        return part
    return replace(part, wire={"type": "thinking", "thinking": part.text, "signature": ALTERED})


def envelope(exchange: Exchange) -> dict[str, Any]:
    """A message of our own in which nothing is said yet."""
    return {
        "id": f"msg_{exchange.id}",
        "type": "message",
        "role": "assistant",
        "model": exchange.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": exchange.counted, "output_tokens": 0},
    }

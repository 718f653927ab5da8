"""A whole answer of Responses to one canonical choice, and back over the object that it was read from."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.base import BadAnswer
from engine.codecs.json_text import MalformedJson, decode_json_leniently, encode_json
from engine.codecs.text_pairs import paired
from engine.model.exchange import Answer, Choice, Exchange, Part, ToolCall

from .calls import is_call
from .items import decode_output, encode_output
from .places import ALTERED, OWN, Place, text_of, type_of
from .tools import names_in_spaces
from .usage import decode_usage, encode_usage

replace = msgspec.structs.replace

_REASONS: Final[Mapping[str, str]] = {"max_output_tokens": "length"}
_ON_THE_WIRE: Final[Mapping[str, str]] = {"length": "max_output_tokens"}
_WHOLE: Final = frozenset(("stop", "tool_calls", ""))


def decode_finish(wire: Mapping[str, Any], calls: Sequence[ToolCall]) -> str:
    """Why the answer ended; "" where it has not. What stopped for a call is told by the calls that are there."""
    match wire.get("status"):
        case "incomplete":
            details = wire.get("incomplete_details")
            reason = text_of(details.get("reason")) if isinstance(details, dict) else ""
            return _REASONS.get(reason, reason) or "length"
        case "completed" | None:
            return "tool_calls" if any(call.kind != "server" for call in calls) else "stop"
        case status:
            return text_of(status)


def write_finish(target: dict[str, Any], finish: str, calls: Sequence[ToolCall]) -> None:
    """`status` and `incomplete_details` for how the answer ended for the client; one that is there and means the same
    stays."""
    if "status" in target and decode_finish(target, calls) == finish:
        return
    if finish in _WHOLE:
        target["status"] = "completed"
        target["incomplete_details"] = None
    else:
        target["status"] = "incomplete"
        target["incomplete_details"] = {"reason": _ON_THE_WIRE.get(finish, finish)}


def decode_answer(body: bytes) -> Answer:
    """Raises BadAnswer where there is no answer in it: not JSON (also a cut body), or without `output`."""
    try:
        wire, well_formed = decode_json_leniently(body)
    except MalformedJson as mistake:
        raise BadAnswer(f"the upstream's answer is not JSON: {mistake}") from mistake
    if not well_formed:
        wire = paired(wire)
        body = encode_json(wire)
    if not isinstance(wire, dict) or not isinstance(wire.get("output"), list):
        raise BadAnswer("the upstream's answer has no 'output'")
    if wire.get("status") in ("failed", "cancelled"):
        raise BadAnswer(f"the upstream says that its answer {wire['status']}: {_failure_of(wire)}")
    parts, calls = decode_output(wire["output"])
    choice = Choice(parts=parts, tool_calls=calls, finish=decode_finish(wire, calls), wire=wire)
    return Answer(
        id=text_of(wire.get("id")),
        model=text_of(wire.get("model")),
        choices=(choice,),
        usage=decode_usage(wire.get("usage")),
        body=body,
        wire=wire,
    )


def _failure_of(wire: Mapping[str, Any]) -> str:
    error = wire.get("error")
    return text_of(error.get("message")) if isinstance(error, dict) else ""


def encode_answer(answer: Answer, exchange: Exchange) -> bytes:
    """The bytes that came, the object that came with what differs, or an answer of our own under the exchange's id."""
    if answer.body is not None:
        return answer.body
    made = envelope(exchange)
    came: dict[str, Any] = answer.wire if isinstance(answer.wire, dict) else {}
    encoded = {**made, **came}
    if answer.id:
        encoded["id"] = answer.id
    if answer.model:
        encoded["model"] = answer.model
    choice = answer.choices[0] if answer.choices else Choice()
    output = came.get("output") or []
    if (choice.parts, choice.tool_calls) != decode_output(output):
        parts = tuple([_shown(part, exchange.id, place) for place, part in enumerate(choice.parts)])
        items = encode_output(parts, choice.tool_calls, output, names_in_spaces(exchange))
        encoded["output"] = [finished(item, exchange.id, place) for place, item in enumerate(items)]
    if isinstance(came.get("output_text"), str):
        encoded["output_text"] = choice.said("text")
    write_finish(encoded, choice.finish, choice.tool_calls)
    if not came:
        encoded["completed_at"] = exchange.received
    if answer.usage is not None:
        encoded["usage"] = encode_usage(answer.usage)
    return encode_json(encoded)


def _shown(part: Part, id: str, place: int) -> Part:
    """A thought that another provider had, as reasoning that a client may show, and that goes back to none."""
    if part.kind != "reasoning" or part.wire is not None:
        return part
    summary = [{"type": "summary_text", "text": part.text}]
    item = {"id": f"rs{OWN}{id}_{place}", "type": "reasoning", "summary": summary, "encrypted_content": ALTERED}
    return replace(part, wire=Place(item, ("summary", 0)))


def finished(item: Any, id: str, place: int) -> Any:
    """An item of a turn as an answer has it: with an id and a status, and its content a list."""
    if not isinstance(item, dict) or "id" in item:
        return item
    if type_of(item) == "message":
        text = {"type": "output_text", "text": item["content"], "annotations": [], "logprobs": []}
        return own_message(id, place) | {"status": "completed", "content": [text]}
    prefix = "fc" if is_call(item) else "rs"
    return {"id": f"{prefix}{OWN}{id}_{place}", **item, "status": "completed"}


def own_message(id: str, place: int) -> dict[str, Any]:
    """A message of our own in which nothing is said yet."""
    made = {"id": f"msg{OWN}{id}_{place}", "type": "message", "status": "in_progress"}
    return {**made, "role": "assistant", "content": []}


_ECHOED: Final[Mapping[str, Any]] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, and what it says where the request said nothing."""


def envelope(exchange: Exchange) -> dict[str, Any]:
    """A response of our own in which nothing is said yet."""
    asked: Mapping[str, Any] = exchange.wire if isinstance(exchange.wire, dict) else {}
    echoed = {field: asked[field] if asked.get(field) is not None else default for field, default in _ECHOED.items()}
    return {
        "id": f"resp{OWN}{exchange.id}",
        "object": "response",
        "created_at": exchange.received,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": exchange.model,
        "output": [],
        **echoed,
        "usage": None,
    }

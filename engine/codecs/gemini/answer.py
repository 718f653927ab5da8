"""A whole answer to canonical choices, one a candidate, and back over the object that it was read from."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.codecs.base import BadAnswer
from engine.codecs.json_text import MalformedJson, decode_json_leniently, encode_json
from engine.codecs.text_pairs import paired
from engine.model.exchange import Answer, Choice, Exchange, Part, ToolCall

from .fields import inner, listed, text_of
from .parts import SKIPS_VALIDATION, call_field, decode_parts, encode_call, encode_part, without_results
from .usage import decode_usage, encode_usage

_CANONICAL: Final[Mapping[str, str]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "ESCALATION"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR"),
        ),
        "content_filter",
    ),
}
_ON_THE_WIRE: Final[Mapping[str, str]] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}

QUOTES: Final = ("citationMetadata", "logprobsResult")
"""Fields of a candidate that spell its text, or tell by characters where it was taken from."""


def decode_finish(wire: Any, *, calls: bool) -> str:
    """Canonical; a turn with calls for the client ends in the same STOP as one without."""
    reason = text_of(wire)
    if reason == "FINISH_REASON_UNSPECIFIED":
        return ""
    finish = _CANONICAL.get(reason, reason)
    return "tool_calls" if finish == "stop" and calls else finish


def encode_finish(finish: str, came: Any = None) -> str | None:
    """The reason on the wire; as it came where that means the same."""
    same = text_of(came) and decode_finish(came, calls=finish == "tool_calls") == finish
    return text_of(came) if same else _ON_THE_WIRE.get(finish, finish) or None


def block_reason(data: Mapping[str, Any]) -> str:
    """Why the prompt itself was refused; "" where it was not."""
    reason = text_of(inner(data, "promptFeedback").get("blockReason"))
    return "" if reason in ("BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED") else reason


def for_client(calls: Sequence[ToolCall]) -> bool:
    return any(call.kind != "server" for call in calls)


def number_of(candidate: Mapping[str, Any], place: int) -> int:
    index = candidate.get("index")
    return index if isinstance(index, int) else place


# --- reading ---------------------------------------------------------------------------------------------------------


def decode_answer(body: bytes) -> Answer:
    """Raises BadAnswer where there is no answer in it: not JSON (also a cut body), or neither candidates nor a refusal."""
    try:
        wire, well_formed = decode_json_leniently(body)
    except MalformedJson as mistake:
        raise BadAnswer(f"the upstream's answer is not JSON: {mistake}") from mistake
    if not well_formed:
        wire = paired(wire)
        body = encode_json(wire)
    if not isinstance(wire, dict) or not (isinstance(wire.get("candidates"), list) or "promptFeedback" in wire):
        raise BadAnswer("the upstream's answer has no 'candidates'")
    candidates = wire.get("candidates") or ()
    choices = [_decode_candidate(candidate, place) for place, candidate in enumerate(candidates)]
    if not choices and block_reason(wire):
        choices = [Choice(finish="content_filter")]
    return Answer(
        id=text_of(wire.get("responseId")),
        model=text_of(wire.get("modelVersion")),
        choices=tuple(choices),
        usage=decode_usage(wire.get("usageMetadata")),
        body=body,
        wire=wire,
    )


def _decode_candidate(wire: Any, place: int) -> Choice:
    if not isinstance(wire, dict):
        raise BadAnswer(f"'candidates[{place}]' of the upstream's answer is not an object")
    parts, calls = decode_parts(parts_of(wire))
    finish = decode_finish(wire.get("finishReason"), calls=for_client(calls))
    return Choice(index=number_of(wire, place), parts=parts, tool_calls=calls, finish=finish, wire=wire)


def parts_of(candidate: Mapping[str, Any]) -> list[Any]:
    return listed(inner(candidate, "content").get("parts"))


# --- writing ---------------------------------------------------------------------------------------------------------


def encode_answer(answer: Answer, exchange: Exchange) -> bytes:
    """The bytes that came, the object that came with what differs, or an answer of our own under the exchange's id."""
    if answer.body is not None:
        return answer.body
    wire = answer.wire if isinstance(answer.wire, dict) and ("candidates" in answer.wire or _refused(answer)) else {}
    candidates = [_encode_choice(choice) for choice in answer.choices if not _is_refused_prompt(choice, wire)]
    encoded: dict[str, Any] = {"candidates": candidates, **wire}
    encoded["candidates"] = candidates
    if not candidates:
        del encoded["candidates"]
    if answer.usage is not None:
        encoded["usageMetadata"] = encode_usage(answer.usage)
    encoded["modelVersion"] = answer.model or encoded.get("modelVersion") or exchange.model
    encoded["responseId"] = answer.id or encoded.get("responseId") or exchange.id
    return encode_json(encoded)


def _refused(answer: Answer) -> bool:
    return isinstance(answer.wire, dict) and bool(block_reason(answer.wire))


def _is_refused_prompt(choice: Choice, wire: Mapping[str, Any]) -> bool:
    """The choice stands for a prompt that the provider refused: on the wire that is no candidate."""
    return choice.wire is None and not choice.parts and choice.finish == "content_filter" and bool(block_reason(wire))


def _encode_choice(choice: Choice) -> dict[str, Any]:
    wire: dict[str, Any] = choice.wire if isinstance(choice.wire, dict) and "content" in choice.wire else {}
    before = parts_of(wire)
    parts = encode_parts(choice.parts, choice.tool_calls, before)
    encoded = dict(wire)
    if len(parts) != len(before) or any(now is not was for now, was in zip(parts, before, strict=True)):
        encoded = without_quotes(wire) if _text(parts) != _text(before) else encoded
        encoded["content"] = {**inner(wire, "content"), "parts": parts, "role": "model"}
    elif not wire:
        encoded["content"] = {"parts": parts, "role": "model"}
    finish = encode_finish(choice.finish, wire.get("finishReason"))
    if finish is not None:
        encoded["finishReason"] = finish
    if not wire:
        encoded["index"] = choice.index
    return encoded


def encode_parts(parts: Sequence[Part], calls: Sequence[ToolCall], came: Sequence[Any]) -> list[Any]:
    """The parts that say `parts` and `calls`: what came stands where it stood, a new one follows the one before it, a new
    call everything."""
    places = {id(wire): place for place, wire in enumerate(came)}
    ordered: list[tuple[int, Any]] = []
    last = -1
    for part in parts:
        last = places.get(id(part.wire), last)
        said = encode_part(part)
        if said is not None:
            ordered.append((last, said))
    for number, call in enumerate(calls):
        ordered.append((places.get(id(call.wire), len(came)), encode_call(call, first=not number)))
    ordered.sort(key=lambda each: each[0])
    kept = {id(call.wire) for call in calls}
    gone = [wire for wire in came if call_field(wire) and id(wire) not in kept]
    withheld = any(call_field(wire) != "functionCall" for wire in gone)
    left = list(without_results([wire for _, wire in ordered], withheld))
    return signed(left) if any("thoughtSignature" in wire for wire in gone) else left


def signed(parts: Sequence[Any]) -> list[Any]:
    """The parts where the first call has a signature, though the one that had it was taken away.

    Of parallel calls only the first is signed, and the provider refuses a first call without a signature.
    """
    out = list(parts)
    for place, wire in enumerate(out):
        if call_field(wire) == "functionCall":
            if "thoughtSignature" not in wire:
                out[place] = {**wire, "thoughtSignature": SKIPS_VALIDATION}
            break
    return out


def without_quotes(candidate: Mapping[str, Any]) -> dict[str, Any]:
    """The candidate without what quotes text that is no longer there."""
    changed = {field: value for field, value in candidate.items() if field not in QUOTES}
    grounding = changed.get("groundingMetadata")
    if isinstance(grounding, dict) and "groundingSupports" in grounding:
        changed["groundingMetadata"] = {name: value for name, value in grounding.items() if name != "groundingSupports"}
    return changed


def _text(parts: Sequence[Any]) -> str:
    return "".join(text_of(part.get("text")) for part in parts if isinstance(part, dict))

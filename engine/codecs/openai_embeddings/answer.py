"""A list of embeddings: each a choice, whose vector no rule looks at."""

import base64
import struct
from collections.abc import Mapping
from typing import Any

from engine.codecs.base import BadAnswer
from engine.codecs.json_text import MalformedJson, decode_json, encode_json
from engine.model.exchange import Answer, Choice, Exchange, Usage


def decode_answer(body: bytes) -> Answer:
    """Raises BadAnswer where the body is not JSON (also a cut one), or has no vectors."""
    try:
        wire = decode_json(body)
    except MalformedJson as mistake:
        raise BadAnswer(f"the upstream's answer is not JSON: {mistake}") from mistake
    if not isinstance(wire, dict) or not isinstance(wire.get("data"), list):
        raise BadAnswer("the upstream's answer has no 'data'")
    model = wire.get("model")
    return Answer(
        model=model if isinstance(model, str) else "",
        choices=tuple([_decode_vector(item, place) for place, item in enumerate(wire["data"])]),
        usage=decode_usage(wire.get("usage")),
        body=body,
        wire=wire,
    )


def _decode_vector(item: Any, place: int) -> Choice:
    if not isinstance(item, dict) or "embedding" not in item:
        raise BadAnswer(f"'data[{place}]' of the upstream's answer has no 'embedding'")
    index = item.get("index")
    return Choice(index=index if isinstance(index, int) else place, finish="stop", wire=item)


def decode_usage(wire: Any) -> Usage | None:
    """An embedding has no output."""
    prompt = wire.get("prompt_tokens") if isinstance(wire, dict) else None
    return Usage(input=prompt, wire=wire) if isinstance(prompt, int) and prompt >= 0 else None


def encode_answer(answer: Answer, exchange: Exchange) -> bytes:
    """The bytes that came; else each choice's `wire`, its vector in the format that the client asked for."""
    if answer.body is not None:
        return answer.body
    wire: Mapping[str, Any] = answer.wire if isinstance(answer.wire, dict) else {"object": "list"}
    used = answer.usage.input if answer.usage is not None else 0
    usage = answer.usage.wire if answer.usage is not None and answer.usage.wire is not None else None
    return encode_json(
        {
            **wire,
            "data": [_encode_vector(choice, exchange) for choice in answer.choices],
            "model": answer.model,
            "usage": usage or {"prompt_tokens": used, "total_tokens": used},
        }
    )


def _encode_vector(choice: Choice, exchange: Exchange) -> dict[str, Any]:
    item = {"object": "embedding", "index": choice.index, **choice.wire}
    if exchange.params.get("encoding_format") == "base64" and isinstance(item["embedding"], list):
        # Little-endian floats of 32 bits, as OpenAI's clients read them.
        packed = struct.pack(f"<{len(item['embedding'])}f", *item["embedding"])
        item["embedding"] = base64.b64encode(packed).decode()
    return item

"""A request of Embeddings to an exchange, and back over the object that it was read from.

Each input is a message of the user's. An input of token numbers is opaque: no rule can read it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.codecs.base import BadRequest, Problem
from engine.codecs.json_text import MalformedJson, decode_json, encode_json
from engine.model.exchange import Exchange, Message, Part, Protocol

_OWN_FIELDS: Final = frozenset(("model", "input"))
"""What the exchange says by fields of its own; every other field of the request is a parameter."""


def _refused(message: str, param: str | None = None, code: str | None = None) -> BadRequest:
    return BadRequest(Problem(status=400, message=message, param=param, code=code))


def decode_request(body: bytes, *, id: str, headers: Mapping[str, str], query: str) -> Exchange:
    """Raises BadRequest where the body is not JSON or has no input. What else a provider would refuse is its to refuse."""
    try:
        wire = decode_json(body)
    except MalformedJson as mistake:
        raise _refused(f"We could not parse the JSON body of your request: {mistake}.") from mistake
    if not isinstance(wire, dict):
        raise _refused("We could not parse the JSON body of your request: it must be a JSON object.")
    model = wire.get("model")
    if model is not None and not isinstance(model, str):
        raise _refused("Invalid type for 'model': expected a string.", "model", "invalid_type")
    return Exchange(
        id=id,
        protocol=Protocol.OPENAI_EMBEDDINGS,
        model=model or "",
        stream=False,
        messages=tuple([_decode_input(item) for item in _inputs(wire)]),
        params={name: value for name, value in wire.items() if name not in _OWN_FIELDS},
        headers=headers,
        query=query,
        body=body,
        wire=wire,
    )


def _inputs(wire: Mapping[str, Any]) -> Sequence[Any]:
    """The inputs that get a vector each."""
    match wire.get("input"):
        case None:
            raise _refused("Missing required parameter: 'input'.", "input", "missing_required_parameter")
        case str() as text:
            return [text]
        case []:
            raise _refused("Invalid 'input': expected an array of at least one element.", "input", "empty_array")
        case [int(), *_] as tokens:
            return [tokens]
        case list() as items:
            return items
        case _:
            raise _refused("Invalid type for 'input': expected a string or an array.", "input", "invalid_type")


def _decode_input(item: Any) -> Message:
    part = Part(kind="text", text=item) if isinstance(item, str) else Part(kind="opaque", wire=item)
    return Message(role="user", parts=(part,), wire=item)


def encode_request(exchange: Exchange) -> bytes:
    """The bytes that came, or the object that came with what differs written over it.

    A message that a rule put in has no place here: every input gets a vector, and the client counts them.
    """
    if exchange.body is not None:
        return exchange.body
    wire: Mapping[str, Any] = exchange.wire if isinstance(exchange.wire, dict) else {}
    encoded = {name: value for name, value in wire.items() if name in _OWN_FIELDS or name in exchange.params}
    encoded |= exchange.params
    if exchange.model != (wire.get("model") or ""):
        encoded["model"] = exchange.model
    inputs = [_encode_input(message) for message in exchange.messages if message.wire is not None]
    encoded["input"] = inputs[0] if len(inputs) == 1 and _is_one(wire.get("input")) else inputs
    return encode_json(encoded)


def _is_one(given: Any) -> bool:
    """Whether the client gave one input without an array around it."""
    return isinstance(given, str) or (isinstance(given, list) and bool(given) and isinstance(given[0], int))


def _encode_input(message: Message) -> Any:
    return message.text if isinstance(message.wire, str) else message.wire

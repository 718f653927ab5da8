"""A request for content to an exchange, and back over the object that it was read from; the URL says model and method."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import msgspec

from engine.codecs.base import BadRequest, Problem
from engine.codecs.json_text import MalformedJson, decode_json, encode_json
from engine.model.exchange import NOTHING, Exchange, Message, Protocol, Tool

from .contents import decode_contents, decode_system, encode_contents, encode_system, is_system
from .fields import camel, get, inner, listed, snake, spelled, written_twice
from .tools import decode_tools, write_tools

STREAMS: Final = "streamGenerateContent"
ANSWERS: Final = "generateContent"

_OWN_FIELDS: Final = frozenset(("model", "contents", "systemInstruction", "tools", "generationConfig"))
"""What the exchange says by fields of its own; every other field, and those of `generationConfig`, is a parameter."""

_CANONICAL: Final[Mapping[str, str]] = {
    "maxOutputTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "stopSequences": "stop",
    "candidateCount": "n",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}
_ON_THE_WIRE: Final[Mapping[str, str]] = {canonical: field for field, canonical in _CANONICAL.items()}

_GENERATION: Final = frozenset(
    (
        *_CANONICAL,
        *("responseMimeType", "responseSchema", "responseJsonSchema", "responseFormat", "responseModalities"),
        *("thinkingConfig", "speechConfig", "imageConfig", "mediaResolution", "enableEnhancedCivicAnswers"),
    )
)
"""The fields of `generationConfig`; where else a rule's new parameter goes is the request itself."""


class Came(msgspec.Struct, frozen=True):
    """A request as it came: its object, the nouns that were read from it, its bytes."""

    data: dict[str, Any]
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    body: bytes


def _refused(message: str, param: str | None = None) -> BadRequest:
    return BadRequest(Problem(status=400, message=message, param=param))


# --- reading ---------------------------------------------------------------------------------------------------------


def decode_request(
    body: bytes, *, id: str, headers: Mapping[str, str], query: str, path: Mapping[str, str] | None
) -> Exchange:
    """Raises BadRequest where the body is not JSON, or the conversation in it cannot be found.

    All else that the provider would refuse is the provider's to refuse.
    """
    try:
        wire = decode_json(body)
    except MalformedJson as mistake:
        raise _refused(f"Invalid JSON payload received. {mistake}") from mistake
    if not isinstance(wire, dict):
        raise _refused("Invalid JSON payload received. Root element must be a message.")
    contents = listed(wire.get("contents"))
    if not contents:
        raise _refused("* GenerateContentRequest.contents: contents is not specified", "contents")
    _refuse_what_nobody_could_read(wire, contents)
    _refuse_second_spellings(wire)
    messages = (*decode_system(get(wire, "systemInstruction")), *decode_contents(contents))
    tools = tuple(decode_tools(wire.get("tools")))
    said = path or {}
    return Exchange(
        id=id,
        protocol=Protocol.GEMINI,
        model=said.get("model", "").removeprefix("models/"),
        stream=said.get("method") == STREAMS,
        messages=messages,
        tools=tools,
        params=decode_params(wire),
        headers=headers,
        query=query,
        body=body,
        wire=Came(wire, messages, tools, body),
    )


def _refuse_what_nobody_could_read(wire: Mapping[str, Any], contents: Sequence[Any]) -> None:
    """Values of other types than Google takes: a server that takes them would read what no rule has seen."""
    system, tools = get(wire, "systemInstruction"), wire.get("tools")
    said = [(f"contents[{place}]", content) for place, content in enumerate(contents)]
    if system is not None:
        said.append(("systemInstruction", system))
    for at, content in said:
        if not isinstance(content, dict):
            raise _refused(f"Invalid value at '{at}': it must be an object.", at)
        parts = content.get("parts")
        if parts is not None and not isinstance(parts, list | dict):
            raise _refused(f"Invalid value at '{at}.parts': it must be a list.", f"{at}.parts")
        if not all(isinstance(part, dict) for part in listed(parts)):
            raise _refused(f"Invalid value at '{at}.parts': each must be an object.", f"{at}.parts")
    if tools is not None and not all(isinstance(tool, dict) for tool in listed(tools) or (tools,)):
        raise _refused("Invalid value at 'tools': it must be a list of objects.", "tools")


def _refuse_second_spellings(wire: Mapping[str, Any]) -> None:
    for where, each in _spelled_objects(wire):
        twice = written_twice(each)
        if twice:
            at = f"{where}.{twice}".lstrip(".")
            raise _refused(f"The field '{at}' is there twice: as '{twice}' and as '{camel(twice)}'.", at)


def _spelled_objects(wire: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The objects whose fields rules look into, each with its place."""
    yield "", wire
    yield "generationConfig", inner(wire, "generationConfig")
    contents = [*listed(wire.get("contents")), get(wire, "systemInstruction")]
    for number, content in enumerate(contents):
        if not isinstance(content, dict):
            continue
        yield f"contents[{number}]", content
        for place, part in enumerate(listed(content.get("parts"))):
            if isinstance(part, dict):
                yield f"contents[{number}].parts[{place}]", part
    for number, tool in enumerate(listed(wire.get("tools"))):
        if isinstance(tool, dict):
            yield f"tools[{number}]", tool


def decode_params(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Every field that is not the conversation itself: canonical names where there are, else camelCase ones."""
    params = {camel(name): value for name, value in wire.items() if camel(name) not in _OWN_FIELDS}
    for name, value in inner(wire, "generationConfig").items():
        params[_CANONICAL.get(camel(name), camel(name))] = value
    return params


def streams_as_array(exchange: Exchange) -> bool:
    """Whether a stream is one JSON array, as Google streams where the client does not ask for events."""
    if not isinstance(exchange.wire, Came):
        return False
    asked = {name.lstrip("$"): value for name, value in parse_qsl(exchange.query)}
    return asked.get("alt", "").lower() != "sse"


# --- writing ---------------------------------------------------------------------------------------------------------


def upstream_path(exchange: Exchange) -> str:
    """Below the version that a backend's base URL names. A translated stream is asked for as events."""
    model = exchange.model.removeprefix("models/")
    kind = "" if model.startswith("tunedModels/") else "models/"
    query = exchange.query
    if exchange.stream and not isinstance(exchange.wire, Came):
        query = "alt=sse"
    path = f"/{kind}{quote(model, safe='/-._~@')}:{STREAMS if exchange.stream else ANSWERS}"
    return f"{path}?{query}" if query else path


def encode_request(exchange: Exchange) -> bytes:
    """The bytes that came, or the object that came with what differs written over it: fields keep their order."""
    if exchange.body is not None:
        return exchange.body
    came = exchange.wire if isinstance(exchange.wire, Came) else Came({}, (), (), b"")
    encoded = dict(came.data)
    _write_messages(encoded, exchange.messages, came)
    write_tools(encoded, exchange.tools, came.tools)
    _write_params(encoded, came.data, exchange.params)
    if isinstance(encoded.get("model"), str):
        encoded["model"] = _named(encoded["model"], exchange.model)
    # Where another model is asked the URL says so: the body may still be the one that came.
    same = encoded.keys() == came.data.keys() and all(encoded[name] is came.data[name] for name in encoded)
    return came.body if same and came.body else encode_json(encoded)


def _named(came: str, model: str) -> str:
    """The model as a body repeats it."""
    return came if came.removeprefix("models/") == model else f"models/{model}" if "/" not in model else model


def _write_messages(encoded: dict[str, Any], messages: Sequence[Message], came: Came) -> None:
    system = [message for message in messages if is_system(message)]
    if [id(each) for each in system] != [id(each) for each in came.messages if is_system(each)]:
        name = spelled(encoded, "systemInstruction")
        said = encode_system(system, encoded.get(name))
        if said is None:
            encoded.pop(name, None)
        else:
            encoded[name] = said
    others = [message for message in messages if not is_system(message)]
    before = [message for message in came.messages if not is_system(message)]
    if [id(each) for each in others] != [id(each) for each in before]:
        encoded["contents"] = encode_contents(others, before)


def _write_params(encoded: dict[str, Any], wire: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    before = decode_params(wire)
    at = spelled(wire, "generationConfig")
    config = dict(inner(wire, "generationConfig"))
    for name in (*before, *[name for name in after if name not in before]):
        value = after.get(name, NOTHING)
        if name in before and name in after and before[name] == value and type(before[name]) is type(value):
            continue
        field = _ON_THE_WIRE.get(name, name)
        inside = field in _GENERATION or field in config or snake(field) in config
        holder = config if inside else encoded
        field = spelled(holder, field)
        if name not in after:
            holder.pop(field, None)
        else:
            holder[field] = [value] if name == "stop" and isinstance(value, str) else value
    if config != inner(wire, "generationConfig"):
        encoded[at] = config
        if not config:
            del encoded[at]

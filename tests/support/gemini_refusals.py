"""What Google's Gemini API refuses, in the words of its answers: a mock must be as strict."""

import base64
import hashlib
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final

KNOWN: Final = frozenset(
    (
        *("model", "contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig"),
        *("cachedContent", "labels", "serviceTier", "store"),
    )
)
GENERATION: Final = frozenset(
    (
        *("stopSequences", "responseMimeType", "responseSchema", "responseJsonSchema", "responseModalities"),
        *("candidateCount", "maxOutputTokens", "temperature", "topP", "topK", "seed", "presencePenalty"),
        *("frequencyPenalty", "responseLogprobs", "logprobs", "speechConfig", "thinkingConfig", "imageConfig"),
        "mediaResolution",
    )
)
PART_KINDS: Final = frozenset(
    (
        *("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode"),
        *("codeExecutionResult", "toolCall", "toolResponse"),
    )
)
PART_FIELDS: Final = PART_KINDS | {"thought", "thoughtSignature", "videoMetadata", "partMetadata", "mediaResolution"}
SCHEMA_FIELDS: Final = frozenset(
    (
        *("type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties"),
        *("required", "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "anyOf"),
        *("propertyOrdering", "default", "items", "minimum", "maximum"),
    )
)
"""The OpenAPI subset of `parameters` and `responseSchema`; JSON Schema stands in fields of its own."""

TOOL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
SKIPS: Final = frozenset(("skip_thought_signature_validator", "context_engineering_is_the_way_to_go"))
"""Google's documented values for calls that the model did not make."""


def signature_of(name: str) -> str:
    """The mock's thought signature of a call."""
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


def refusal_of(request: Any, *, model: str, counting: bool = False) -> str | None:
    """Why a request is refused, in the API's words; None where it is not."""
    return next(_refusals(request, model, counting), None)


def camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _named(wire: Mapping[str, Any]) -> dict[str, Any]:
    """The fields under their camelCase names: both spellings are taken."""
    return {camel(name): value for name, value in wire.items()}


def _refusals(request: Any, model: str, counting: bool) -> Iterator[str]:
    if not isinstance(request, dict):
        yield "Invalid JSON payload received. Unexpected token."
        return
    wire = _named(request)
    if counting and "generateContentRequest" in wire:
        wire = _named(wire["generateContentRequest"])
    for name in wire:
        if name not in KNOWN:
            yield f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
    if len(wire) != len(request) and not counting:
        yield "Invalid value: a field is there twice."
    for name in _named(wire.get("generationConfig") or {}):
        if name not in GENERATION:
            yield f"Invalid JSON payload received. Unknown name \"{name}\" at 'generation_config': Cannot find field."
    names = yield from _tools(wire)
    yield from _choice(wire, names)
    yield from _config(_named(wire.get("generationConfig") or {}))
    yield from _contents(wire, model)


def _tools(wire: Mapping[str, Any]) -> Generator[str, None, set[str]]:
    names: set[str] = set()
    for place, tool in enumerate(wire.get("tools") or ()):
        for declaration in _named(tool).get("functionDeclarations") or ():
            said = _named(declaration)
            at = f"tools[{place}].function_declarations"
            if not TOOL_NAME.fullmatch(said.get("name", "")):
                yield f"* GenerateContentRequest.{at}.name: Invalid function name. Must start with a letter or an underscore."
            if said["name"] in names:
                yield f"Duplicate function declaration found: {said['name']}"
            names.add(said["name"])
            if "parameters" in said and "parametersJsonSchema" in said:
                yield "Only one of parameters and parameters_json_schema can be set."
            yield from _schema(said.get("parameters"), f"{at}.parameters")
    return names


def _schema(schema: Any, at: str) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    for name, value in _named(schema).items():
        if name not in SCHEMA_FIELDS:
            yield f"Invalid JSON payload received. Unknown name \"{name}\" at '{at}': Cannot find field."
        if name == "properties":
            for key, inner in value.items():
                yield from _schema(inner, f"{at}.properties[{key}]")
        elif name == "items":
            yield from _schema(value, f"{at}.items")
        elif name == "type" and not isinstance(value, str):
            yield f"Proto field is not repeating, cannot start list at '{at}.type'."


def _choice(wire: Mapping[str, Any], names: Any) -> Iterator[str]:
    config = _named(_named(wire.get("toolConfig") or {}).get("functionCallingConfig") or {})
    if config.get("mode") in ("ANY", "VALIDATED") and not names:
        yield "Function calling config is set without function_declarations."
    for name in config.get("allowedFunctionNames") or ():
        if config.get("mode") != "ANY":
            yield "allowed_function_names should only be set when function calling mode is ANY."
        if name not in names:
            yield f"Allowed function name {name} is not in function_declarations."


def _config(config: Mapping[str, Any]) -> Iterator[str]:
    temperature = config.get("temperature")
    if temperature is not None and not 0 <= temperature <= 2:
        yield f"* GenerateContentRequest.generation_config.temperature: must be in the range [0.0, 2.0], {temperature}."
    if len(config.get("stopSequences") or ()) > 5:
        yield "The number of stop sequences is more than 5."
    if config.get("responseSchema") and config.get("responseMimeType") not in ("application/json", "text/x.enum"):
        yield "responseSchema needs a response mime type of application/json."
    yield from _schema(config.get("responseSchema"), "generation_config.response_schema")
    thinking = _named(config.get("thinkingConfig") or {})
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        yield "You can only set only one of thinking budget and thinking level."


def _contents(wire: Mapping[str, Any], model: str) -> Iterator[str]:
    contents = _listed(wire.get("contents"))
    if not contents:
        yield "* GenerateContentRequest.contents: contents is not specified"
        return
    waiting = 0
    turn = _start_of_turn(contents)
    for place, content in enumerate(contents):
        role = content.get("role", "user")
        if role not in ("user", "model", "function"):
            yield "Please use a valid role: user, model."
        parts = [_named(part) for part in _listed(content.get("parts"))]
        if not parts:
            yield f"* GenerateContentRequest.contents[{place}].parts: contents.parts must not be empty."
        for part in parts:
            yield from _part(part, place, role)
        results = sum("functionResponse" in part for part in parts)
        calls = [part for part in parts if "functionCall" in part]
        # What the model said in several contents in a row is one turn.
        goes_on = role == "model" and place and contents[place - 1].get("role") == "model"
        if not goes_on and results != waiting:
            yield (
                "Please ensure that the number of function response parts is equal to the number of function call parts "
                "of the function call turn."
            )
        waiting = len(calls) + (waiting if goes_on else 0)
        if calls and place > turn and "gemini-3" in model and "thoughtSignature" not in calls[0]:
            name = calls[0]["functionCall"]["name"]
            yield (
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
                f"correctly. Additional data, function call `default_api:{name}`, position {place}."
            )
        for part in calls:
            signature = part.get("thoughtSignature")
            if signature is not None and signature not in SKIPS | {signature_of(part["functionCall"]["name"])}:
                yield "Corrupted thought signature."
    if waiting:
        yield "Please ensure that function call turn is followed by a function response turn."


def _listed(value: Any) -> list[Any]:
    """One object is taken for a list of one."""
    return [value] if isinstance(value, dict) else value or []


def _start_of_turn(contents: Any) -> int:
    """The place of the newest content of the user that is no result: what follows is the turn that is validated."""
    places = [
        place
        for place, content in enumerate(contents)
        if content.get("role", "user") != "model"
        and any("text" in part or "inlineData" in part for part in _listed(content.get("parts")))
    ]
    return places[-1] if places else -1


def _part(part: Mapping[str, Any], place: int, role: str) -> Iterator[str]:
    for name in part:
        if name not in PART_FIELDS:
            yield f"Invalid JSON payload received. Unknown name \"{name}\" at 'contents[{place}].parts': no field."
    kinds = PART_KINDS & part.keys()
    if len(kinds) != 1:
        yield f"* GenerateContentRequest.contents[{place}].parts.data: required oneof field 'data' must have one"
    if part.get("text") == "" and "thoughtSignature" not in part:
        yield f"* GenerateContentRequest.contents[{place}].parts: it must have a text parameter."
    response = part.get("functionResponse")
    if response is not None:
        if role == "model":
            yield "Please ensure that function response turn comes immediately after a function call turn."
        if not response.get("name"):
            yield f"* GenerateContentRequest.contents[{place}].parts[0].function_response.name: Name cannot be empty."
        if not isinstance(response.get("response"), dict):
            yield f"Invalid value at 'contents[{place}].parts[0].function_response.response'."
    call = part.get("functionCall")
    if call is not None and not isinstance(call.get("args", {}), dict):
        yield f"Invalid value at 'contents[{place}].parts[0].function_call.args'."

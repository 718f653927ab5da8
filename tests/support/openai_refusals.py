"""What OpenAI's chat completions refuse, with the words and parameters of its answers: a mock must be as strict."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

KNOWN_PARAMETERS: Final = frozenset(
    [
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ]
)
ROLES: Final = ("system", "assistant", "user", "function", "tool", "developer")
PARTS: Final = frozenset(("text", "image_url", "input_audio", "file", "refusal"))
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ID_LENGTH: Final = 40
USER_LENGTH: Final = 64
STOPS: Final = 4
NOT_OF_A_MESSAGE: Final = ("cache_control", "is_error", "signature", "thinking", "thought_signature")
"""What other protocols write into a message."""

Refusal = tuple[str, str | None, str | None]
"""Message, param, code."""


def refusal_of(request: Any) -> Refusal | None:
    """The first reason to answer 400, or None."""
    if not isinstance(request, dict):
        return ("We could not parse the JSON body of your request.", None, None)
    return next(_refusals(request), None)


def _refusals(request: Mapping[str, Any]) -> Iterator[Refusal]:
    for name in request:
        if name not in KNOWN_PARAMETERS:
            yield (f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    if not isinstance(request.get("model"), str) or not request["model"]:
        yield ("you must provide a model parameter", None, None)
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        yield ("Invalid 'messages': empty array.", "messages", "empty_array")
        return
    yield from _of_messages(messages)
    yield from _of_tools(request)
    if len(request.get("user") or "") > USER_LENGTH:
        yield ("Invalid 'user': string too long.", "user", "string_above_max_length")
    if isinstance(stop := request.get("stop"), list) and len(stop) > STOPS:
        yield ("Invalid 'stop': array too long.", "stop", "array_above_max_length")
    format = request.get("response_format") or {}
    if format.get("type") == "json_schema" and format["json_schema"].get("strict"):
        yield from _of_strict(format["json_schema"]["schema"])
    if request.get("stream_options") is not None and request.get("stream") is not True:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        yield (message, "stream_options", None)
    if request.get("max_tokens") is not None and request.get("max_completion_tokens") is not None:
        yield (
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    if (temperature := request.get("temperature")) is not None and not 0 <= temperature <= 2:
        yield ("Invalid 'temperature': decimal out of range.", "temperature", "decimal_out_of_range")


def _of_messages(messages: list[Any]) -> Iterator[Refusal]:
    open_calls: dict[str, int] = {}
    for place, message in enumerate(messages):
        at = f"messages.[{place}].role"
        role = message.get("role")
        if role not in ROLES:
            supported = ", ".join(f"'{each}'" for each in ROLES)
            yield (f"Invalid value: '{role}'. Supported values are: {supported}.", at, "invalid_value")
        if role == "tool":
            if open_calls.pop(message.get("tool_call_id"), None) is None:
                yield (
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'.",
                    at,
                    None,
                )
        elif open_calls:
            yield _unanswered(open_calls)
        for name in NOT_OF_A_MESSAGE:
            if name in message:
                yield (f"Unrecognized key: '{name}'", f"messages[{place}].{name}", "unknown_parameter")
        yield from _of_content(message, place)
        calls = message.get("tool_calls")
        if calls == []:
            yield (
                f"Invalid 'messages[{place}].tool_calls': empty array.",
                f"messages[{place}].tool_calls",
                "empty_array",
            )
        for index, call in enumerate(calls or ()):
            at = f"messages[{place}].tool_calls[{index}].id"
            if len(call["id"]) > ID_LENGTH:
                yield (f"Invalid '{at}': string too long.", at, "string_above_max_length")
            open_calls[call["id"]] = place
    if open_calls:
        yield _unanswered(open_calls)


def _unanswered(open_calls: Mapping[str, int]) -> Refusal:
    return (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
        f"messages.[{max(open_calls.values()) + 1}].role",
        None,
    )


def _of_content(message: Mapping[str, Any], place: int) -> Iterator[Refusal]:
    content, at = message.get("content"), f"messages[{place}].content"
    if content is None:
        if message.get("role") != "assistant" or not any(
            message.get(field) for field in ("tool_calls", "function_call", "refusal", "audio")
        ):
            yield ("Invalid value for 'content': expected a string, got null.", at, None)
    elif isinstance(content, list):
        if not content:
            yield (f"Invalid '{at}': empty array.", at, "empty_array")
        for part in content:
            if part.get("type") not in PARTS:
                yield (f"Invalid value: '{part.get('type')}'.", at, "invalid_value")
            if message.get("role") in ("tool", "system", "assistant") and part.get("type") not in ("text", "refusal"):
                yield (f"Invalid value: '{part.get('type')}'. Supported values are: 'text'.", at, "invalid_value")
            if part.get("type") == "text" and not part.get("text"):
                yield (f"Invalid '{at}': text content blocks must be non-empty.", at, "invalid_value")
    elif not isinstance(content, str):
        yield (f"Invalid type for '{at}': expected one of a string or array of objects.", at, "invalid_type")


def _of_tools(request: Mapping[str, Any]) -> Iterator[Refusal]:
    tools, choice = request.get("tools"), request.get("tool_choice")
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if request.get(name) is not None:
                yield (f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", name, None)
        return
    if not tools:
        yield ("Invalid 'tools': empty array.", "tools", "empty_array")
    names = []
    for place, tool in enumerate(tools):
        kind = tool.get("type")
        if kind not in ("function", "custom"):
            yield (f"Invalid value: '{kind}'.", f"tools[{place}].type", "invalid_value")
            continue
        name = tool[kind]["name"]
        names.append(name)
        if kind == "function" and (schema := tool[kind].get("parameters")):
            yield from _of_parameters(schema, name, place)
        if not NAME.fullmatch(name):
            at = f"tools[{place}].{kind}.name"
            yield (f"Invalid '{at}': string does not match pattern.", at, "invalid_value")
    if isinstance(choice, dict):
        kind = choice.get("type", "")
        listed = choice[kind]["tools"] if kind == "allowed_tools" else [choice]
        for each in listed:
            name = each[each["type"]]["name"]
            if name not in names:
                message = f"Tool choice '{name}' not found in 'tools' parameter."
                yield (f"Invalid value for 'tool_choice': {message}", "tool_choice", None)


def _of_parameters(schema: Mapping[str, Any], name: str, place: int) -> Iterator[Refusal]:
    at = f"tools[{place}].function.parameters"
    if schema.get("type") != "object":
        message = f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"'."
        yield (message, at, "invalid_function_parameters")
    for each in (schema.get("properties") or {}).values():
        if each.get("type") == "array" and "items" not in each:
            message = f"Invalid schema for function '{name}': array schema missing items."
            yield (message, at, "invalid_function_parameters")


def _of_strict(schema: Any) -> Iterator[Refusal]:
    if schema.get("type") != "object":
        return
    if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(schema["properties"]):
        message = (
            "Invalid schema for response_format: 'additionalProperties' is required to be supplied and to be false."
        )
        yield (message, "response_format", None)
    for each in schema["properties"].values():
        yield from _of_strict(each)

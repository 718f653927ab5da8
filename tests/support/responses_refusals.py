"""What OpenAI refuses of a request to /v1/responses with 400 (or 404), as far as a proxy could cause it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

_FIELDS: Final = frozenset(
    (
        *("background", "client_metadata", "context_management", "conversation", "include", "input", "instructions"),
        *("max_output_tokens", "max_tool_calls", "metadata", "model", "parallel_tool_calls", "previous_response_id"),
        *("prompt", "prompt_cache_key", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier"),
        *("store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p"),
        *("truncation", "user"),
    )
)
_ROLES: Final = frozenset(("user", "assistant", "system", "developer"))
_CONTENT: Final[Mapping[bool, frozenset[str]]] = {
    True: frozenset(("output_text", "refusal")),
    False: frozenset(("input_text", "input_image", "input_file")),
}
_OUTPUTS: Final = {
    "function_call_output": "function_call",
    "custom_tool_call_output": "custom_tool_call",
    "shell_call_output": "shell_call",
}
_KNOWN: Final = frozenset(("message", "reasoning", "item_reference", "web_search_call", *_OUTPUTS, *_OUTPUTS.values()))
_PREFIXES: Final = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_", "custom_tool_call": "ctc_"}


class Refusal(msgspec.Struct, frozen=True):
    message: str
    param: str | None = None
    code: str | None = None
    status: int = 400


def encrypted_of(text: str) -> str:
    """What the mock encrypts of a thought: nothing else is accepted when it comes back."""
    return "gAAAAAB" + hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


class Memory(msgspec.Struct):
    """What the provider has: the ids of its responses with the calls that wait in each, and of its items."""

    responses: dict[str, list[tuple[str, str]]] = {}
    items: set[str] = set()
    encrypted: set[str] = set()


def refusal_of(request: Any, memory: Memory) -> Refusal | None:
    return next(_refusals(request, memory), None)


def _refusals(request: Any, memory: Memory) -> Iterator[Refusal]:
    if not isinstance(request, dict):
        yield Refusal("We could not parse the JSON body of your request.")
        return
    for name in request.keys() - _FIELDS:
        yield Refusal(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    if not isinstance(request.get("model"), str):
        yield Refusal("you must provide a model parameter", "model")
    if request.get("stream_options") is not None and request.get("stream") is not True:
        yield Refusal("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    tools = request.get("tools") or []
    if isinstance(request.get("tool_choice"), dict) and not tools:
        yield Refusal("Tool choice is only allowed when 'tools' are specified.", "tool_choice")
    for place, tool in enumerate(tools):
        if tool.get("type") in ("function", "custom", "namespace") and not tool.get("name"):
            yield Refusal(f"Missing required parameter: 'tools[{place}].name'.", f"tools[{place}].name")
        if tool.get("type") == "namespace" and not tool.get("tools"):
            yield Refusal(f"Invalid 'tools[{place}].tools': empty array.", f"tools[{place}].tools")
    waiting: list[tuple[str, str]] = []
    previous = request.get("previous_response_id")
    if previous is not None:
        if previous not in memory.responses:
            message = f"Previous response with id '{previous}' not found."
            yield Refusal(message, "previous_response_id", "previous_response_not_found")
            return
        waiting = list(memory.responses[previous])
    given = request.get("input")
    if given is None and previous is None:
        yield Refusal("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if isinstance(given, list):
        yield from _items(given, waiting, memory)


def _items(items: Sequence[Any], waiting: list[tuple[str, str]], memory: Memory) -> Iterator[Refusal]:
    for place, item in enumerate(items):
        at = f"input[{place}]"
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if kind not in _KNOWN:
            yield Refusal(f"Invalid value: '{kind}'.", f"{at}.type", "invalid_value")
        id = item.get("id")
        if isinstance(id, str) and kind in _PREFIXES and not id.startswith(_PREFIXES[kind]):
            yield Refusal(
                f"Invalid '{at}.id': '{id}'. Expected an ID that begins with '{_PREFIXES[kind]}'.", f"{at}.id"
            )
        if isinstance(id, str) and "lexgate" in id:
            yield Refusal(f"Item with id '{id}' not found.", "input", None, 404)
        if kind == "item_reference" and id not in memory.items:
            yield Refusal(f"Item with id '{id}' not found.", "input", None, 404)
        if kind == "message":
            yield from _message(item, at)
        elif kind == "reasoning":
            yield from _reasoning(items, place, item, memory)
        elif kind in _OUTPUTS.values():
            waiting.append((kind, item["call_id"]))
        elif kind in _OUTPUTS:
            call = (_OUTPUTS[kind], item.get("call_id"))
            if call not in waiting:
                yield Refusal(
                    f"No tool call found for function call output with call_id {item.get('call_id')}.", "input"
                )
            else:
                waiting.remove(call)
    for _, call_id in waiting:
        yield Refusal(f"No tool output found for function call {call_id}.", "input")


def _message(item: Mapping[str, Any], at: str) -> Iterator[Refusal]:
    if item.get("role") not in _ROLES:
        yield Refusal(f"Invalid value: '{item.get('role')}'.", f"{at}.role", "invalid_value")
    content = item.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not content:
        yield Refusal(f"Invalid type for '{at}.content'.", f"{at}.content", "invalid_type")
        return
    for place, part in enumerate(content):
        if part.get("type") not in _CONTENT[item.get("role") == "assistant"]:
            yield Refusal(f"Invalid value: '{part.get('type')}'.", f"{at}.content[{place}]", "invalid_value")


def _reasoning(items: Sequence[Any], place: int, item: Mapping[str, Any], memory: Memory) -> Iterator[Refusal]:
    sealed = item.get("encrypted_content")
    if sealed is not None and sealed not in memory.encrypted:
        message = f"The encrypted content for item {item.get('id')} could not be verified."
        yield Refusal(message, None, "invalid_encrypted_content")
    if sealed is None and item.get("id") not in memory.items:
        yield Refusal(f"Item with id '{item.get('id')}' not found.", "input", None, 404)
    following = items[place + 1] if place + 1 < len(items) else {}
    of_the_model = following.get("role") == "assistant" or following.get("type") in ("reasoning", *_OUTPUTS.values())
    if not of_the_model and not str(following.get("type", "")).endswith("_call"):
        message = f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item."
        yield Refusal(message, "input")

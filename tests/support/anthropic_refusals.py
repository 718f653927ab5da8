"""What Anthropic's Messages refuse, in the words of its answers: a mock must be as strict."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

KNOWN_PARAMETERS: Final = frozenset(
    [
        "cache_control",
        "container",
        "context_management",
        "diagnostics",
        "inference_geo",
        "max_tokens",
        "mcp_servers",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    ]
)
COUNTED_PARAMETERS: Final = frozenset(
    ["cache_control", "messages", "model", "output_config", "speed", "system", "thinking", "tool_choice", "tools"]
)
"""Those of `count_tokens`."""

BLOCKS: Final[Mapping[str, frozenset[str]]] = {
    "user": frozenset(("text", "image", "document", "search_result", "tool_result", "container_upload")),
    "assistant": frozenset(
        (
            *("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result"),
            *("mcp_tool_use", "mcp_tool_result", "code_execution_tool_result"),
        )
    ),
    "system": frozenset(("text",)),
}
TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
CACHE_MARKS: Final = 4
LEAST_BUDGET: Final = 1024


def signature_of(thought: str) -> str:
    """The mock's signature of a thinking block: another text has another."""
    return base64.b64encode(hashlib.sha256(thought.encode()).digest()).decode()


def refusal_of(request: Any, *, counting: bool = False) -> str | None:
    """The first reason to answer 400, or None."""
    if not isinstance(request, dict):
        return "The request body is not valid JSON: expected an object."
    return next(_refusals(request, counting), None)


def _refusals(request: Mapping[str, Any], counting: bool) -> Iterator[str]:
    for name in request:
        if name not in (COUNTED_PARAMETERS if counting else KNOWN_PARAMETERS):
            yield f"{name}: Extra inputs are not permitted"
    for name, expected in (("model", str), ("messages", list), *(() if counting else (("max_tokens", int),))):
        if not isinstance(request.get(name), expected):
            yield f"{name}: Field required"
            return
    if not request["messages"]:
        yield "messages: at least one message is required"
    if not 0 <= request.get("temperature", 1) <= 1:
        yield "temperature: range: 0..1"
    thinking = request.get("thinking") or {}
    if thinking.get("type") == "enabled":
        if thinking["budget_tokens"] < LEAST_BUDGET:
            yield "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        if not counting and thinking["budget_tokens"] >= request["max_tokens"]:
            yield "`max_tokens` must be greater than `thinking.budget_tokens`"
        yield from _of_unthought_turns(request["messages"])
    if thinking.get("type") in ("enabled", "adaptive"):
        if request.get("temperature", 1) != 1:
            yield "`temperature` may only be set to 1 when thinking is enabled."
        if "top_k" in request:
            yield "`top_k` must be unset when thinking is enabled."
        if (request.get("tool_choice") or {}).get("type") in ("any", "tool"):
            yield "Thinking may not be enabled when tool_choice forces tool use."
    format = (request.get("output_config") or {}).get("format")
    if format is not None:
        yield from _of_format(format["schema"])
    yield from _of_tools(request)
    if isinstance(system := request.get("system"), list):
        yield from _of_blocks(system, "system", "system")
    yield from _of_messages(request["messages"])
    marks = _marks(request)
    if marks > CACHE_MARKS:
        yield f"A maximum of 4 blocks with cache_control may be provided. Found {marks}."


def _of_unthought_turns(messages: list[Any]) -> Iterator[str]:
    """With a budget, the calls that the newest results answer must stand behind what was thought."""
    for place in range(len(messages) - 1, -1, -1):
        content = messages[place].get("content")
        blocks = content if isinstance(content, list) else []
        if messages[place]["role"] == "assistant":
            kinds = [block.get("type") for block in blocks]
            if "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking"):
                yield (
                    f"messages.{place}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
                    f"`{kinds[0]}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block."
                )
            return
        if not any(block.get("type") == "tool_result" for block in blocks):
            return


def _of_format(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _of_format(each)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
    for word in ("minimum", "maximum", "minLength", "maxLength", "multipleOf", "oneOf", "$schema"):
        if word in schema:
            yield f"output_config.format.schema: property '{word}' is not supported"
    for word in ("items", "anyOf", "allOf"):
        yield from _of_format(schema.get(word))
    for word in ("properties", "$defs"):
        yield from _of_format(list((schema.get(word) or {}).values()))


def _of_tools(request: Mapping[str, Any]) -> Iterator[str]:
    tools, choice = request.get("tools") or [], request.get("tool_choice")
    names = [tool.get("name", "") for tool in tools]
    for place, tool in enumerate(tools):
        if tool.get("type", "custom") == "custom" and "input_schema" not in tool:
            yield f"tools.{place}.custom.input_schema: Field required"
        schema = tool.get("input_schema") or {"type": "object"}
        if schema.get("type") != "object":
            yield f"tools.{place}.custom.input_schema.type: Field required"
        if schema.keys() & {"oneOf", "allOf", "anyOf"}:
            yield f"tools.{place}.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level"
        if not TOOL_NAME.fullmatch(tool.get("name", "")):
            yield f"tools.{place}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
    if len(set(names)) != len(names):
        yield "tools: Tool names must be unique."
    if choice is not None and not tools:
        yield "tool_choice: tool_choice may only be specified while providing tools"
    elif choice is not None and choice["type"] == "tool" and choice["name"] not in names:
        yield f"Tool '{choice['name']}' not found in provided tools"


def _of_messages(messages: list[Any]) -> Iterator[str]:
    asked: list[str] = []
    known: set[str] = set()
    for place, message in enumerate(messages):
        at, role, content = f"messages.{place}", message.get("role"), message.get("content")
        if role not in BLOCKS:
            yield f"{at}.role: Input should be 'user' or 'assistant'"
            continue
        if role == "system" and (place == 0 or messages[place - 1]["role"] != "user"):
            yield f"{at}: a 'system' message must follow a 'user' message"
        if not content and not (role == "assistant" and place == len(messages) - 1):
            yield f"{at}: all messages must have non-empty content except for the optional final assistant message"
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(content, str):
            yield from _of_blocks(blocks, f"{at}.content", role)
        results = [block["tool_use_id"] for block in blocks if block.get("type") == "tool_result"]
        for id in results:
            if id not in asked:
                yield (
                    f"{at}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` "
                    "block must have a corresponding `tool_use` block in the previous message."
                )
        missing = [id for id in asked if id not in results[: len(asked)]]
        if missing:
            yield (
                f"messages.{place - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}."
            )
        kinds = [block.get("type") == "tool_result" for block in blocks]
        if sorted(kinds, reverse=True) != kinds:
            yield f"{at}: `tool_result` blocks must come first"
        asked = [block["id"] for block in blocks if block.get("type") == "tool_use"]
        if known & set(asked) or len(set(asked)) < len(asked):
            yield f"{at}: `tool_use` ids must be unique"
        known |= set(asked)
        last = blocks[-1] if blocks else {}
        ends = role == "assistant" and place == len(messages) - 1 and last.get("type") == "text"
        if ends and last["text"] != last["text"].rstrip():
            yield "messages: final assistant content cannot end with trailing whitespace"


def _of_blocks(blocks: list[Any], at: str, role: str) -> Iterator[str]:
    for place, block in enumerate(blocks):
        kind = block.get("type")
        if kind not in BLOCKS[role]:
            yield f"{at}.{place}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
        if kind == "text" and not block.get("text"):
            yield f"{at}: text content blocks must be non-empty"
        if kind == "thinking" and block.get("signature") != signature_of(block["thinking"]):
            yield f"{at}.{place}: Invalid `signature` in `thinking` block"
        source = block.get("source") or {}
        if kind == "image" and source.get("type") == "base64" and source["media_type"] not in IMAGES:
            yield f"{at}.{place}.image.source.base64.media_type: Input should be {', '.join(IMAGES)}"
        if kind == "tool_use":
            if not ID.fullmatch(block.get("id", "")):
                yield f"{at}.{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
            if not isinstance(block.get("input"), dict):
                yield f"{at}.{place}.tool_use.input: Input should be a valid dictionary"
        if kind == "tool_result" and isinstance(content := block.get("content"), list):
            yield from _of_blocks(content, f"{at}.{place}.content", "user")


def _marks(value: Any) -> int:
    if isinstance(value, dict):
        own = value.get("cache_control") is not None
        return own + sum(_marks(item) for name, item in value.items() if name not in ("input", "input_schema"))
    return sum(_marks(item) for item in value) if isinstance(value, list) else 0

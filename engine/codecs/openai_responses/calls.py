"""Items that are calls: functions, custom tools, the tools that OpenAI defines and the client runs, and those that the
provider runs itself; and the item that gives the result of each."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from engine.codecs.json_text import MalformedJson, decode_json, encode_json
from engine.model.exchange import ToolCall

from .places import text_of, type_of

CallKind = Literal["function", "custom", "server"]


def _plain(call: str, text: str) -> dict[str, Any]:
    return {"call_id": call, "output": text}


def _shell(call: str, text: str) -> dict[str, Any]:
    said = {"stdout": "", "stderr": text, "outcome": {"type": "exit", "exit_code": 1}}
    return {"call_id": call, "output": [said]}


def _patch(call: str, text: str) -> dict[str, Any]:
    return {"call_id": call, "status": "failed", "output": text}


def _local_shell(call: str, text: str) -> dict[str, Any]:
    return {"id": call, "output": text}


class CallType(msgspec.Struct, frozen=True):
    """A type of item that is a call.

    `name`: of its tool, where the item has none. `field` holds the arguments, as text or (`as_json`) as an object. A call
    of kind `server` is the provider's to run, or one whose refusal cannot be said in a result (a screenshot).
    `refused` makes the result that tells the model why a call was not executed.
    """

    name: str
    field: str
    kind: CallKind = "server"
    as_json: bool = True
    refused: Callable[[str, str], dict[str, Any]] = _plain


CALLS: Final[Mapping[str, CallType]] = {
    "function_call": CallType("", "arguments", "function", as_json=False),
    "custom_tool_call": CallType("", "input", "custom", as_json=False),
    "mcp_call": CallType("", "arguments", as_json=False),
    "shell_call": CallType("shell", "action", "function", refused=_shell),
    "local_shell_call": CallType("local_shell", "action", "function", refused=_local_shell),
    "apply_patch_call": CallType("apply_patch", "operation", "function", refused=_patch),
    "computer_call": CallType("computer", "action"),
    "web_search_call": CallType("web_search", "action"),
    "file_search_call": CallType("file_search", "queries"),
    "code_interpreter_call": CallType("code_interpreter", "code", as_json=False),
    "image_generation_call": CallType("image_generation", "revised_prompt"),
    "tool_search_call": CallType("tool_search", "arguments"),
}
_UNKNOWN: Final = CallType("", "arguments")

ARGUMENT_EVENTS: Final[Mapping[str, str]] = {
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
    "response.mcp_call_arguments": "arguments",
}
"""The events that stream arguments, without `.delta` and `.done`, and the field of `.done` that repeats them."""


def is_call(item: Any) -> bool:
    return type_of(item).endswith("_call")


def call_type(item: Any) -> CallType:
    return CALLS.get(type_of(item), _UNKNOWN)


def qualified(namespace: str, name: str) -> str:
    """The name of a tool inside a namespace, as rules see it.

    It is the tool's own, so that a rule holds wherever a client puts the tool; the tool of an MCP server is called as
    clients of every other protocol call it: `mcp__server__tool`.
    """
    if not namespace.startswith("mcp__"):
        return name
    return namespace + name if namespace.endswith("__") else f"{namespace}__{name}"


def call_id_of(item: Mapping[str, Any]) -> str:
    return text_of(item.get("call_id")) or text_of(item.get("id"))


def decode_call(item: Mapping[str, Any]) -> ToolCall:
    kind = call_type(item)
    name = qualified(text_of(item.get("namespace")), text_of(item.get("name")))
    return ToolCall(
        id=call_id_of(item),
        name=name or kind.name or type_of(item).removesuffix("_call"),
        arguments=arguments_of(item),
        kind=kind.kind,
        wire=item,
    )


def arguments_of(item: Mapping[str, Any]) -> str:
    """The arguments as text; a list (of queries) becomes an object with the name of its field."""
    field = call_type(item).field
    value = item.get(field)
    if value is None or isinstance(value, str):
        return value or ""
    return encode_json({field: value} if isinstance(value, list) else value).decode()


def with_arguments(item: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    """The item with other arguments."""
    kind = call_type(item)
    if not kind.as_json:
        return {**item, kind.field: arguments}
    try:
        value = decode_json(arguments.encode()) if arguments else {}
    except MalformedJson:
        value = arguments
    if isinstance(item.get(kind.field), list) and isinstance(value, dict):
        value = value.get(kind.field, [])
    return {**item, kind.field: value}


def encode_call(call: ToolCall, names: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The item of a call; `names` has the namespace and the own name of tools that stand in one."""
    item = call.wire
    if not is_call(item):
        namespace, name = names.get(call.name, ("", call.name))
        kind, field = ("custom_tool_call", "input") if call.kind == "custom" else ("function_call", "arguments")
        made = {"type": kind, "call_id": call.id, "name": name, field: call.arguments}
        return {**made, "namespace": namespace} if namespace else made
    before = decode_call(item)
    if before == call:
        whole: dict[str, Any] = item
        return whole
    encoded = dict(item)
    if call.id != before.id:
        encoded["call_id" if "call_id" in item else "id"] = call.id
    if call.name != before.name and "name" in item:
        encoded["name"] = call.name
    if encoded.get("status") == "in_progress":
        encoded["status"] = "completed"  # as it was when it began
    return with_arguments(encoded, call.arguments) if call.arguments != before.arguments else encoded


def refused_result(kind: str, call_id: str, text: str) -> dict[str, Any]:
    """The result of a call (`kind` is the type of its item) that says why it was not executed."""
    return {"type": f"{kind}_output", **CALLS.get(kind, _UNKNOWN).refused(call_id, text)}

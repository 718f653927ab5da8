"""Pure folds: what rules decided, written into the exchange that goes upstream or into a tool call that goes out."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .effects import Op, Path, SetHeader, written
from .exchange import Exchange, Message, Part, ToolCall

replace = msgspec.structs.replace


def folded(exchange: Exchange, ops: Iterable[Op]) -> Exchange:
    """The exchange with operations on its event done. What is touched is encoded anew; the rest goes on as it came."""
    for op in ops:
        exchange = _fold(exchange, op)
    return exchange


def with_header(exchange: Exchange, header: SetHeader) -> Exchange:
    """The exchange with a header added to its upstream request; the body is not touched by it."""
    return replace(exchange, added_headers={**exchange.added_headers, header.name: header.value})


def _fold(exchange: Exchange, op: Op) -> Exchange:
    match op.path:
        case ("request", "model"):
            return replace(exchange, model=str(op.value), body=None)
        case ("request", "params", *inner) if inner:
            return replace(exchange, params=written(exchange.params, tuple(inner), op), body=None)
        case ("request", "tools", int(index)):
            tools = exchange.tools[:index] + exchange.tools[index + 1 :]
            return replace(exchange, tools=tools, body=None)
        case ("request", "messages", int(index), *inner):
            messages = list(exchange.messages)
            match op.op, inner:
                case "remove", []:
                    del messages[index]
                case _, []:
                    messages.insert(index, _new_message(op.value))
                case _:
                    messages[index] = _in_message(messages[index], tuple(inner), op)
            return replace(exchange, messages=tuple(messages), body=None)
        case _:
            raise AssertionError(f"no rule may write {op.pointer}")


def _in_message(message: Message, path: Path, op: Op) -> Message:
    match path:
        case ("parts", int(index)):
            parts = list(message.parts)
            if op.op == "add":
                parts.insert(index, _new_part(op.value))
            else:
                parts[index] = _new_part(op.value)
            return replace(message, parts=tuple(parts))
        case ("parts", int(index), "text"):
            return with_part_text(message, index, str(op.value))
        case ("tool_calls", int(index), "args", *inner):
            calls = list(message.tool_calls)
            calls[index] = with_call_args(calls[index], tuple(inner), op)
            return replace(message, tool_calls=tuple(calls))
        case _:
            raise AssertionError(f"no rule may write {op.pointer}")


def with_part_text(message: Message, index: int, text: str) -> Message:
    parts = list(message.parts)
    parts[index] = replace(parts[index], text=text)
    return replace(message, parts=tuple(parts))


def with_call_args(call: ToolCall, path: Path, op: Op) -> ToolCall:
    """A call with one of its arguments, or all of them (`path` is empty), written."""
    return call.with_args(written(call.args, path, op) if path else op.value)


def _new_message(value: Mapping[str, Any]) -> Message:
    return Message(role=value["role"], parts=tuple(_new_part(part) for part in value["parts"]))


def _new_part(value: Mapping[str, Any]) -> Part:
    return Part(kind=value["kind"], text=value["text"])

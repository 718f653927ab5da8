"""Tools that a request offers: functions, custom tools, those of namespaces one by one, and the provider's own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from engine.model.exchange import NOTHING, Exchange, Tool

from .calls import qualified
from .places import text_of


class Nested(msgspec.Struct, frozen=True):
    """A tool that stands in a namespace."""

    space: Any
    tool: Any

    @property
    def full_name(self) -> str:
        """The name that tells it from tools of the same name in other namespaces."""
        return f"{text_of(self.space.get('name'))}__{text_of(self.tool.get('name'))}"


def decode_tools(wires: Sequence[Mapping[str, Any]]) -> tuple[Tool, ...]:
    return tuple([tool for wire in wires for tool in _decode(wire)])


def _decode(wire: Mapping[str, Any]) -> Iterator[Tool]:
    inner = wire.get("tools")
    if wire.get("type") != "namespace" or not isinstance(inner, list):
        yield _tool(wire, text_of(wire.get("name")), wire)
        return
    for each in inner:
        if isinstance(each, dict):
            yield _tool(each, qualified(text_of(wire.get("name")), text_of(each.get("name"))), Nested(wire, each))


def _tool(wire: Mapping[str, Any], name: str, source: Any) -> Tool:
    """A tool without a name is one of the provider's: its server or its type is its name."""
    kind = text_of(wire.get("type")) or "function"
    schema = wire.get("parameters")
    return Tool(
        name=name or text_of(wire.get("server_label")) or ("" if kind == "function" else kind),
        description=text_of(wire.get("description")) or text_of(wire.get("server_description")),
        kind=kind,
        schema=schema if isinstance(schema, dict) else NOTHING,
        wire=source,
    )


def names_in_spaces(exchange: Exchange) -> dict[str, tuple[str, str]]:
    """The namespace and the own name of tools that stand in one, also by the name that tells two of the same name apart."""
    found: dict[str, tuple[str, str]] = {}
    for tool in exchange.tools:
        if isinstance(tool.wire, Nested):
            names = text_of(tool.wire.space.get("name")), text_of(tool.wire.tool.get("name"))
            found.setdefault(tool.name, names)
            found.setdefault(tool.wire.full_name, names)
    return found


def encode_tools(tools: Sequence[Tool]) -> list[Any]:
    """The tools on the wire; those of one namespace, which stand together, in it."""
    encoded: list[Any] = []
    space: Any = None
    for tool in tools:
        if not isinstance(tool.wire, Nested):
            space = None
            encoded.append(_encode(tool, tool.wire))
            continue
        if tool.wire.space is not space:
            space = tool.wire.space
            encoded.append({**space, "tools": []})
        encoded[-1]["tools"].append(_encode(tool, tool.wire.tool))
    return encoded


def _encode(tool: Tool, wire: Any) -> Any:
    if not isinstance(wire, dict):
        made: dict[str, Any] = {"type": tool.kind, "name": tool.name}
        if tool.description:
            made["description"] = tool.description
        return {**made, "parameters": tool.schema, "strict": False} if tool.kind == "function" else made
    before = next(_decode(wire))
    changed = dict(wire)
    if tool.description != before.description:
        changed["description"] = tool.description
    if tool.schema != before.schema:
        changed["parameters"] = tool.schema
    return wire if changed == wire else changed

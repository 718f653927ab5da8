"""Parameters under their canonical names: where Responses puts one inside an object, it has a name of its own here."""

from collections.abc import Mapping
from typing import Any, Final

_OWN_FIELDS: Final = frozenset(("model", "input", "instructions", "tools", "stream"))
"""What the exchange says by fields of its own; every other field of the request is a parameter."""

_PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "reasoning_effort": ("reasoning", "effort"),
    "verbosity": ("text", "verbosity"),
    "response_format": ("text", "format"),
}


def decode_params(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Every field that is not the conversation itself. Objects that hold named parameters keep the rest of theirs."""
    params = {name: value for name, value in wire.items() if name not in _OWN_FIELDS}
    if "max_output_tokens" in params:
        params["max_tokens"] = params.pop("max_output_tokens")
    for name, (outer, inner) in _PLACES.items():
        holder = params.get(outer)
        if isinstance(holder, dict) and inner in holder:
            params[name] = _canonical(name, holder[inner])
            rest = {field: value for field, value in holder.items() if field != inner}
            if rest:
                params[outer] = rest
            else:
                del params[outer]
    if "tool_choice" in params:
        params["tool_choice"] = _nested(params["tool_choice"], "function")
    return params


def write_params(encoded: dict[str, Any], wire: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """What differs from the parameters of `wire`, written where it belongs."""
    before = decode_params(wire)
    for name in before.keys() - after.keys():
        _write(encoded, name, None, gone=True)
    for name, value in after.items():
        if name not in before or before[name] != value or type(before[name]) is not type(value):
            _write(encoded, name, value)


def _write(encoded: dict[str, Any], name: str, value: Any, *, gone: bool = False) -> None:
    outer, inner = _PLACES.get(name, (name, ""))
    if inner:
        holder = dict(encoded[outer]) if isinstance(encoded.get(outer), dict) else {}
        if gone:
            holder.pop(inner, None)
        else:
            holder[inner] = _flat(value, "json_schema") if name == "response_format" else value
        if holder:
            encoded[outer] = holder
        else:
            encoded.pop(outer, None)
        return
    field = "max_output_tokens" if name == "max_tokens" else name
    held = {inner: encoded[name][inner] for at, inner in _PLACES.values() if at == name and _has(encoded, at, inner)}
    if gone and not held:
        encoded.pop(field, None)
    elif held:
        encoded[field] = {**(value if isinstance(value, dict) else {}), **held}
    else:
        encoded[field] = _flat(_flat(value, "function"), "custom") if name == "tool_choice" else value


def _has(encoded: Mapping[str, Any], outer: str, inner: str) -> bool:
    holder = encoded.get(outer)
    return isinstance(holder, dict) and inner in holder


def _canonical(name: str, value: Any) -> Any:
    return _nested(value, "json_schema") if name == "response_format" else value


def _nested(value: Any, kind: str) -> Any:
    """`{type: kind, …}` as Chat Completions writes it: what belongs to the kind in an object of that name."""
    if not isinstance(value, dict) or value.get("type") != kind or kind in value:
        return value
    return {"type": kind, kind: {field: inner for field, inner in value.items() if field != "type"}}


def _flat(value: Any, kind: str) -> Any:
    if isinstance(value, dict) and value.get("type") == kind and isinstance(value.get(kind), dict):
        return {"type": kind, **value[kind]}
    return value

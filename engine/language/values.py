"""JSON values as JMESPath sees them: their kinds, what counts as false, how they are written."""

import json
from typing import Any, Final

import msgspec

from engine.language.types import Kind

PYTHON_KINDS: Final[dict[type, Kind]] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def kind_of(value: Any) -> Kind:
    """The JSON kind of a value; a subclass (a string enum, say) counts as what it extends."""
    kind = PYTHON_KINDS.get(type(value))
    if kind is not None:
        return kind
    for python, name in PYTHON_KINDS.items():
        if isinstance(value, python):
            return name
    return "expref"


def is_false(value: Any) -> bool:
    """Null, false, and an empty string, list or object; zero is a value like any other."""
    return not value and type(value) is not int and type(value) is not float


def compact_json(value: Any) -> str:
    """The shortest JSON of a value, with letters beyond ASCII as they are."""
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeEncodeError, OverflowError):  # half of a surrogate pair, or an integer beyond 64 bits
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def as_text(value: Any) -> str:
    """How a value stands in a text: a string as it is, null as nothing, all else as compact JSON."""
    if isinstance(value, str):
        return str(value)
    return "" if value is None else compact_json(value)


def utf8(text: str) -> bytes:
    """UTF-8 bytes; half of a surrogate pair, which UTF-8 cannot hold, becomes `?`."""
    return text.encode("utf-8", "replace")

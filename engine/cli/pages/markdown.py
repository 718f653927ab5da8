"""The little Markdown that the generated pages are made of."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

NOTICE: Final = "<!-- Made by `policy schema --write`; edit what it is made of. -->"


def page(title: str, *blocks: str) -> str:
    """A whole page of blocks with a blank line between them."""
    return "\n\n".join([NOTICE, f"# {title}", *(block for block in blocks if block)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    """Text as inline code; one that holds backticks needs a longer fence."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def value(data: Any) -> str:
    """A value as JSON in inline code."""
    return code(msgspec.json.encode(data).decode())


def unwrapped(docstring: str) -> str:
    """The paragraphs of a docstring, each on one line."""
    return "\n\n".join(" ".join(block.split()) for block in docstring.strip().split("\n\n"))


def type_words(schema: dict[str, Any], defs: dict[str, Any]) -> str:
    """The type that a JSON Schema describes, in a few words."""
    match schema:
        case {"$ref": reference}:
            return type_words(defs[reference.rpartition("/")[2]], defs)
        case {"enum": values}:
            return ", ".join(map(value, values))
        case {"const": only}:
            return value(only)
        case {"anyOf": options}:
            return " or ".join(dict.fromkeys(type_words(each, defs) for each in options))
        case {"type": "array"}:
            items = schema.get("items")
            return f"list of {type_words(items, defs)}" if items else "list"
        case {"type": "object"}:
            inner = schema.get("additionalProperties")
            return f"map of {type_words(inner, defs)}" if isinstance(inner, dict) and inner else "object"
        case {"type": list(kinds)}:
            return " or ".join(_KINDS[each] for each in kinds)
        case {"type": kind}:
            return _KINDS[kind] + _bounds(schema)
        case _:
            return "any value"


_KINDS: Final = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
    "object": "object",
    "array": "list",
}


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" {low} to {high}"
    return f" ≥ {low}" if low is not None else f" ≤ {high}" if high is not None else ""

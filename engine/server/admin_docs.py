"""The OpenAPI document as a page: no script, nothing from elsewhere, one style that the page's policy names by its hash."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "h2{margin-top:2.5rem;border-bottom:1px solid #ccc}h3{font:600 1rem ui-monospace,monospace;margin:1.5rem 0 .2rem}"
    "table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}"
    "code{font-family:ui-monospace,monospace}b.get{color:#0b6}b.post,b.put{color:#05c}b.delete{color:#c22}p{margin:.2rem 0}"
)
STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
"""What a content security policy says to allow this style and no other."""

_METHODS: Final = ("get", "post", "put", "delete")


def document(schema: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        f"<title>{escape(schema['info']['title'])}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(schema['info']['title'])} {escape(schema['info']['version'])}</h1>",
        f"<p>{escape(schema['info'].get('description', ''))}</p>",
        "<p>For programs: <a href=openapi.json>openapi.json</a></p>",
    ]
    for tag in schema.get("tags", ()):
        parts.append(f"<h2>{escape(tag['name'].capitalize())}</h2><p>{escape(tag.get('description', ''))}</p>")
        for path, item in schema["paths"].items():
            for method in _METHODS:
                if method in item and tag["name"] in item[method].get("tags", ()):
                    parts += _operation(schema, method, path, item[method])
    return "\n".join((*parts, "</body></html>"))


def _operation(schema: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h3><b class={method}>{method.upper()}</b> {escape(path)}</h3>"
    yield f"<p>{escape(operation.get('description') or operation.get('summary') or '')}</p>"
    rows = [
        (each["name"], each.get("in", ""), _type(each.get("schema", {})), each.get("description", ""))
        for each in operation.get("parameters", ())
    ]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    rows += [(name, "body", kind, text) for name, kind, text in _fields(schema, content.get("schema", {}))]
    if rows:
        cells = ("".join(f"<td>{_cell(place, text)}</td>" for place, text in enumerate(row)) for row in rows)
        yield "<table>" + "".join(f"<tr>{each}</tr>" for each in cells) + "</table>"


def _cell(place: int, text: str) -> str:
    return f"<code>{escape(text)}</code>" if place == 0 else escape(text)


def _fields(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    name = body.get("$ref", "").rpartition("/")[2]
    found = schema.get("components", {}).get("schemas", {}).get(name, {})
    for field, each in found.get("properties", {}).items():
        yield field, _type(each), each.get("description", "")


def _type(schema: Mapping[str, Any]) -> str:
    """A type in a word or two."""
    if "enum" in schema:
        return " | ".join(str(each) for each in schema["enum"] if each not in ("", None))
    if "oneOf" in schema or "anyOf" in schema:
        return " or ".join(_type(each) for each in schema.get("oneOf", schema.get("anyOf", ())))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "")

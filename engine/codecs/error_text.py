"""The words of an upstream's error, in whatever shape it says them."""

import re
from typing import Any, Final

from .json_text import encode_json

MESSAGE_LENGTH: Final = 2000
"""Characters of a message that are kept."""

_MARKUP: Final = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<[^>]*>")


def message_in(wire: Any) -> str:
    """The message of an error object: under any of the names that servers give it; "" where there is none."""
    if isinstance(wire, str):
        return wire
    if not isinstance(wire, dict):
        return ""
    for field in ("message", "detail", "error_description", "title"):
        value = wire.get(field)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list | dict) and value:
            return encode_json(value).decode()
    return ""


def readable(body: bytes) -> str:
    """What a body that is no JSON says: text, or a load balancer's page without its markup."""
    return " ".join(_MARKUP.sub(" ", body[: 16 * MESSAGE_LENGTH].decode("utf-8", "replace")).split())

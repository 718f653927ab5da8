"""JSON on the wire: what is read is JSON as RFC 8259 means it, what is written is safe in every line-based reader."""

import json
from typing import Any

import msgspec

_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()

# Legal inside a JSON string, and a line end to every reader that splits lines the Unicode way (`str.splitlines`): raw,
# they cut an event in two. They can stand nowhere else in JSON, so that replacing bytes is exact.
_UNICODE_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


class MalformedJson(ValueError):
    """The bytes are not JSON; the message says why, with the byte where the reader stopped."""


def encode_json(value: Any) -> bytes:
    """Compact JSON in UTF-8, in which U+2028, U+2029 and U+0085 are escaped."""
    text = _ENCODER.encode(value)
    if b"\xe2\x80" in text or b"\xc2\x85" in text:
        for raw, escaped in _UNICODE_LINE_ENDS:
            text = text.replace(raw, escaped)
    return text


def decode_json(text: bytes) -> Any:
    """The value; of a repeated key the last counts. Raises MalformedJson, for lone surrogates and endless nesting too."""
    try:
        return _DECODER.decode(text)
    except msgspec.DecodeError as mistake:
        raise MalformedJson(str(mistake)) from mistake
    except UnicodeDecodeError as mistake:
        raise MalformedJson("invalid UTF-8") from mistake
    except RecursionError as mistake:
        raise MalformedJson("nested too deeply") from mistake


def decode_json_leniently(text: bytes) -> tuple[Any, bool]:
    """The value, and whether it is well-formed; else it may hold lone surrogates. Raises MalformedJson.

    Some servers cut a surrogate pair between two events (`"\\ud83d"`, then `"\\ude00"`), others a character of UTF-8:
    no strict reader takes them, every client does.
    """
    try:
        return _DECODER.decode(text), True
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError as mistake:
        raise MalformedJson("nested too deeply") from mistake
    try:
        return json.loads(text.decode("utf-8", "replace")), False
    except (ValueError, RecursionError) as mistake:
        raise MalformedJson(str(mistake)) from mistake

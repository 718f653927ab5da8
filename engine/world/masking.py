"""What of a decision record is content, and how much of it the audit log may show. Pure."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, Literal, TypeAlias, assert_never

import msgspec

Mode: TypeAlias = Literal["none", "hash", "redacted", "full"]
"""`none`: content is left out. `hash`: a keyed hash (BLAKE2b) stands for it, so that equal content can be found but not
guessed. `redacted`: texts pass a redaction. `full`: as it is, by the operator's wish."""

CONTENT: Mapping[str, Any] = {
    "facts": {"*": ...},
    "outcomes": {
        "*": {
            "because": {"*": {"value": ...}},
            "patch": {"*": {"value": ...}},
            "actions": {"*": {"message": ..., "text": ..., "value": ...}},
        }
    },
    "texts": ...,
    "message": ...,
}
"""Where content stands in a record (`...`); `*` is each element or member. All else is the proxy's own."""

Cover: TypeAlias = Callable[[Any], Any]
Redact: TypeAlias = Callable[[str], str]

_encode = msgspec.json.Encoder(order="sorted").encode
_CONTAINERS: Final = (dict, list)


def shape(text: str) -> str:
    """The plainest redaction: only how long a text was."""
    return f"[{len(text)} characters]"


def mask(record: Any, mode: Mode, key: bytes = b"", redact: Redact = shape) -> dict[str, Any]:
    """A record with its content masked: `masker` for a single record."""
    return masker(mode, key, redact)(record)


def masker(mode: Mode, key: bytes = b"", redact: Redact = shape) -> Callable[[Any], dict[str, Any]]:
    """What masks records, mappings or Structs or both mixed: a copy as plain data, the original is left as it is.

    Truth values and null are no content: they are what a condition answered. `key` (at most 64 bytes) is needed for
    `hash`; `redact` is applied to every text for `redacted`.
    """
    match mode:
        case "full":
            return _walker({}, _left_out)
        case "none":
            return _walker(CONTENT, _left_out)
        case "hash":
            if not key:
                raise ValueError("hashes of content must be keyed: without a key, short values could be guessed")
            keyed = blake2b(key=key, digest_size=16)

            def cover(value: Any) -> str:
                hash = keyed.copy()
                hash.update(_encode(value))
                return f"mac:{hash.hexdigest()}"

            return _walker(CONTENT, cover)
        case "redacted":
            return _walker(CONTENT, lambda value: _redacted(value, redact))
        case _:
            assert_never(mode)


def _walker(content: Any, cover: Cover) -> Callable[[Any], Any]:
    """A function that copies a value and covers in the copy what `content` points to."""
    if content is ...:
        return lambda value: value if value is None or value is True or value is False else cover(value)
    if (each := content.get("*")) is not None:
        of_each = _walker(each, cover)

        def walk_all(value: Any) -> Any:
            if value.__class__ in _CONTAINERS and not value:
                return value
            if isinstance(value, msgspec.Struct):
                value = msgspec.to_builtins(value)
            if isinstance(value, dict):
                return {name: of_each(member) for name, member in value.items()}
            if isinstance(value, list | tuple):
                return [of_each(element) for element in value] if value else []
            return value

        return walk_all
    members = [(name, _walker(below, cover)) for name, below in content.items()]

    def walk_some(value: Any) -> Any:
        if isinstance(value, dict):
            copy = value.copy()
        elif isinstance(value, msgspec.Struct):
            copy = msgspec.to_builtins(value)
        else:
            return value  # a plain name, where a record may have that or an object
        for name, walk in members:
            if name in copy:
                copy[name] = walk(copy[name])
        return copy

    return walk_some


def _left_out(_: Any) -> str:
    return "[left out]"


def _redacted(value: Any, redact: Redact) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            redact(name) if isinstance(name, str) else name: _redacted(each, redact) for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redacted(each, redact) for each in value]
    return value

"""What of a decision record is content, and how much of it the audit log may show. Pure."""

import hmac
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, assert_never

import msgspec

Mode: TypeAlias = Literal["none", "hash", "redacted", "full"]
"""`none`: content is left out. `hash`: a keyed hash stands for it, so that equal content can be found but not guessed.
`redacted`: texts pass a redaction. `full`: as it is, by the operator's wish."""

CONTENT: tuple[tuple[str, ...], ...] = (
    ("facts", "*"),
    ("outcomes", "*", "because", "*", "value"),
    ("outcomes", "*", "patch", "*", "value"),
    ("outcomes", "*", "actions", "*", "message"),
    ("outcomes", "*", "actions", "*", "text"),
    ("outcomes", "*", "actions", "*", "value"),
    ("texts",),
    ("message",),
)
"""Where content stands in a record: steps from its top, `*` for each element or member. All else is the proxy's own."""

_encode = msgspec.json.Encoder(order="sorted").encode


def shape(text: str) -> str:
    """The plainest redaction: only how long a text was."""
    return f"[{len(text)} characters]"


def mask(
    record: Mapping[str, Any], mode: Mode, key: bytes = b"", redact: Callable[[str], str] = shape
) -> dict[str, Any]:
    """A record with its content masked; the original is left as it is. Truth values and null are no content: they are
    what a condition answered. `key` is needed for `hash`; `redact` is applied to every text for `redacted`."""
    match mode:
        case "full":
            return dict(record)
        case "none":
            cover: Callable[[Any], Any] = _left_out
        case "hash":
            if not key:
                raise ValueError("hashes of content must be keyed: without a key, short values could be guessed")

            def cover(value: Any) -> Any:
                return f"hmac:{hmac.digest(key, _encode(value), 'sha256').hex()[:32]}"

        case "redacted":

            def cover(value: Any) -> Any:
                return _redacted(value, redact)

        case _:
            assert_never(mode)
    masked: Any = record
    for path in CONTENT:
        masked = _covered(masked, path, cover)
    return dict(masked)


def _covered(value: Any, path: tuple[str, ...], cover: Callable[[Any], Any]) -> Any:
    """`value` with what stands at `path` covered; what does not have that path is returned as it is, uncopied."""
    if not path:
        return value if value is None or isinstance(value, bool) else cover(value)
    step, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        names = list(value) if step == "*" else [step] if step in value else []
        return {**value, **{name: _covered(value[name], rest, cover) for name in names}} if names else value
    if step == "*" and isinstance(value, list | tuple):
        return [_covered(each, rest, cover) for each in value]
    return value


def _left_out(_: Any) -> str:
    return "[left out]"


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            redact(name) if isinstance(name, str) else name: _redacted(each, redact) for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redacted(each, redact) for each in value]
    return value

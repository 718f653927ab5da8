"""Where a fact or the account of a meter stands in a database: one text, of bounded length, for each."""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

LONGEST: Final = 1000  # bytes: well below what an index row of PostgreSQL takes (2,704)

_encode = msgspec.json.Encoder().encode


def place_text(parts: Sequence[object]) -> str:
    """The parts as JSON, so that no two differ by where one ends; a long one is cut, and told apart by its digest."""
    text = _encode(parts)
    if len(text) > LONGEST:
        kept = text[: LONGEST // 2].decode("utf-8", "ignore")
        return f"{kept}#{hashlib.blake2b(text, digest_size=24).hexdigest()}"
    return text.decode()

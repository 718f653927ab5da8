"""Virtual keys as text: how one is made, told from a typing error without asking anybody, and kept as a hash. Pure.

    lxg_7Kq2mZ0aXw3T_<43 characters of 256 random bits><6 characters of checksum>

The part after `lxg_` is the public id, which may stand in logs and policies. Underscores let a double click select all of
it, the prefix and the checksum let a secret scanner know a leaked key without a list of them.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

PREFIX: Final = "lxg_"
ID_LENGTH: Final = 12
_SECRET_LENGTH: Final = 43  # the least base62 digits that hold 256 bits
_CHECK_LENGTH: Final = 6  # and those that hold a CRC-32
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE: Final = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH + _CHECK_LENGTH}}})")


class Minted(NamedTuple):
    """A new key: `text` is shown once, `hash` is kept."""

    id: str
    text: str
    hash: str


def mint(random_bytes: Callable[[int], bytes], id: str = "") -> Minted:
    """A key of 256 random bits; with `id` a new secret of a key that there is."""
    public = (id or new_id(random_bytes)).removeprefix(PREFIX)
    body = f"{PREFIX}{public}_{_base62(int.from_bytes(random_bytes(32)), _SECRET_LENGTH)}"
    text = body + _checksum(body)
    return Minted(PREFIX + public, text, digest(text))


def new_id(random_bytes: Callable[[int], bytes]) -> str:
    """A public id, `lxg_` and 12 characters: 71 bits, so that two are never alike."""
    return PREFIX + _base62(int.from_bytes(random_bytes(16)) % 62**ID_LENGTH, ID_LENGTH)


def looks_like_key(text: str) -> bool:
    """Whether a credential means to be a virtual key, well written or not."""
    return text.startswith(PREFIX)


def id_of(text: str) -> str | None:
    """The public id in a key; None where it is not written as every key is, its checksum included."""
    found = _SHAPE.fullmatch(text)
    if found is None or not hmac.compare_digest(_checksum(text[:-_CHECK_LENGTH]), text[-_CHECK_LENGTH:]):
        return None
    return PREFIX + found[1]


def digest(text: str) -> str:
    """What is kept of a key. A plain hash is enough for 256 random bits: there is no dictionary of them to try."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_same(kept: str, presented: str) -> bool:
    """Whether two hashes are one, in a time that says nothing of where they differ."""
    return hmac.compare_digest(kept.encode(), presented.encode())


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 62)
        digits.append(_DIGITS[rest])
    return "".join(reversed(digits))

"""Ed25519 keys of the audit log: made, read, signed with and checked against."""

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from engine.world.heads import SignedHead, public_path

_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")


class KeyFile:
    """A private key; `public` is its public half in hex."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw().hex()

    def sign(self, text: bytes) -> bytes:
        return self._key.sign(text)


def signer_at(place: Path) -> KeyFile:
    """The key in a PEM file, made if there is none (mode 0600); `NAME.pub` beside it has the public half.

    Raises `ValueError` in words where the file holds no such key, `OSError`.
    """
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = Ed25519PrivateKey.generate()
        _made(place, fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    try:
        key = load_pem_private_key(place.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as wrong:
        raise ValueError(f"{place} is no private key in PEM without a password") from wrong
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{place} is no Ed25519 key; openssl genpkey -algorithm ed25519 makes one")
    _made(public_path(place), key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    return KeyFile(key)


def public_key(given: str) -> str:
    """A public key in hex: from 64 hex digits, or from a PEM file. Raises `ValueError` in words, `OSError`."""
    if _HEX.fullmatch(given):
        return given.lower()
    try:
        key = load_pem_public_key(Path(given).read_bytes())
    except (ValueError, UnsupportedAlgorithm) as wrong:
        raise ValueError(f"{given} is no public key: a PEM file or 64 hex digits") from wrong
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{given} is no Ed25519 key")
    return key.public_bytes_raw().hex()


def is_signed(head: SignedHead) -> bool:
    """Whether the key that a head names signed it."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(head.key))
        key.verify(bytes.fromhex(head.signature), head.signed)
    except (ValueError, InvalidSignature):
        return False
    # INVARIANT: one spelling. Hex in capitals would be the same signature and another line.
    return head.signature == head.signature.lower() and head.key == head.key.lower()


def _made(place: Path, content: bytes, mode: int) -> None:
    """Written aside and linked, so that of several processes one file wins, and none reads half of it."""
    if place.exists():
        return
    fresh = place.with_name(f"{place.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    with contextlib.suppress(FileExistsError):
        os.link(fresh, place)
    os.unlink(fresh)

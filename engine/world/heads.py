"""Signed heads of the audit log: who holds one can see later that the log was cut behind it or written anew.

A line is `{"log":…,"count":…,"hash":…,"at":…,"key":…,"signature":…}`: Ed25519 over the five other members, one a line,
after the name of this format.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec

from engine.world.chain import Head

EVERY: Final = 1_000
"""Records between two heads."""

WITHIN: Final = 60.0
"""Seconds after which a record is below a head, however few there are."""

_FORMAT: Final = "lexgate audit head 1"


class SignedHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That the chain `log` had `count` records, of which the last has this `hash`. Key and signature are in hex."""

    log: str
    count: int
    hash: str
    at: str
    key: str
    signature: str

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is made of."""
        return "\n".join((_FORMAT, self.log, str(self.count), self.hash, self.at, self.key)).encode()


class Signer(Protocol):
    """A private key."""

    @property
    def public(self) -> str: ...

    def sign(self, text: bytes) -> bytes: ...


class Seal:
    """Signs the heads of one process's chain, and keeps them beside it and, if asked, in a second place."""

    def __init__(self, signer: Signer, also: Path | None = None, every: int = EVERY) -> None:
        self.every = every
        self._signer = signer
        self._also = also

    def write(self, head: Head, chain: str, beside: Path, at: float) -> None:
        """Raises OSError where one of the places does not take it; the others then have it."""
        blank = SignedHead(
            chain, head.count, head.hash, datetime.fromtimestamp(at, UTC).isoformat(), self._signer.public, ""
        )
        line = encoded(msgspec.structs.replace(blank, signature=self._signer.sign(blank.signed).hex()))
        refused = None
        for place in (beside, *([self._also] if self._also else [])):
            try:
                _append(place, line)
            except OSError as problem:
                refused = problem
        if refused is not None:
            raise refused


def encoded(head: SignedHead) -> bytes:
    """The line of a head. There is no other spelling of it."""
    return msgspec.json.encode(head) + b"\n"


def read_heads(file: Path) -> Iterator[tuple[int, SignedHead | None]]:
    """The heads in a file with their lines (from 1); None where a line is none. Signatures are not looked at."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            head = None
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                found = msgspec.json.decode(line, type=SignedHead)
                head = found if encoded(found) == line else None
            yield number, head


def public_path(key: Path) -> Path:
    """Where the public half of a key stands."""
    return key.with_name(key.name + ".pub")


def key_path(log: Path) -> Path:
    """Where the key stands of a log that names none: `audit.jsonl.ed25519`."""
    return log.with_name(log.name + ".ed25519")


def _append(place: Path, line: bytes) -> None:
    """At the end of the file, and on the disk. What a full disk took of a line is taken back."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(place, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        written = os.write(file, line)
        if written < len(line):
            # Another process may have appended meanwhile, where several share the place: then the part stays.
            if os.lseek(file, 0, os.SEEK_CUR) == os.fstat(file).st_size:
                os.ftruncate(file, os.fstat(file).st_size - written)
            raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes of a head were taken", str(place))
        os.fsync(file)
    finally:
        os.close(file)

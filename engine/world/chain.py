"""A log whose lines prove each other: every record carries the hash of the one before it, and its own.

A line is `{…the record…,"previous":"<64 hex>","hash":"<64 hex>"}`. The hash is SHA-256 over the bytes of the line without
the `hash` member: over bytes and not over values, so that no other spelling of the same record is accepted.
"""

import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import msgspec

GENESIS = "0" * 64
"""What stands as `previous` in the first record of a log."""

# INVARIANT: both members stand last, in this spelling and order; nothing before them can imitate them at the line's end.
_SEAL = re.compile(rb'[{,]"previous":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"}\n\Z')
_SEAL_LENGTH = len(b',"previous":"","hash":""}\n') + 128
_HASH_LENGTH = len(b',"hash":""}\n') + 64


class Head(msgspec.Struct, frozen=True):
    """How far a log goes: its number of records and the last one's hash. Signed, it proves later that none was cut off."""

    count: int
    hash: str


class Verified(msgspec.Struct, frozen=True):
    """Every line follows from the one before it, and every head that was given was met."""

    records: int
    head: Head


class Broken(msgspec.Struct, frozen=True):
    """The first line (from 1) that is not what was written, and why it cannot be."""

    line: int
    reason: str


def link(record: bytes, previous: str) -> tuple[bytes, str]:
    """The line of a record (an encoded JSON object without `previous` and `hash`), and its hash."""
    comma = b"" if record == b"{}" else b","
    body = b'%b%b"previous":"%b"' % (record[:-1], comma, previous.encode())
    hash = sha256(body + b"}").hexdigest()
    return b'%b,"hash":"%b"}\n' % (body, hash.encode()), hash


def follow(line: bytes, previous: str | None) -> str:
    """The hash of a line that is whole and, if `previous` is known, follows it. Raises `ValueError` in words."""
    if not line.endswith(b"\n"):
        raise ValueError("the line is torn: it has no end")
    seal = _SEAL.search(line, max(0, len(line) - _SEAL_LENGTH))
    if seal is None:
        raise ValueError("the line does not end with its two hashes")
    stated_previous, stated = seal[1].decode(), seal[2].decode()
    if sha256(line[:-_HASH_LENGTH] + b"}").hexdigest() != stated:
        raise ValueError("the record is not the one that was hashed: it was edited")
    if previous is not None and stated_previous != previous:
        raise ValueError("the record does not follow the one before it: lines were cut, added or swapped")
    return stated


def verify(path: Path, heads: Iterable[Head] = (), start: str = GENESIS) -> Verified | Broken:
    """Read a log from its beginning, in constant memory.

    A log can lose lines at its end without a trace in itself; `heads`, kept elsewhere, show that. `start` is the hash
    on which the log builds: after a rotation that of the last record of the file before.
    """
    expected = {head.count: head.hash for head in heads}
    hash, count = start, 0
    with path.open("rb") as log:
        for count, line in enumerate(log, 1):
            try:
                hash = follow(line, hash)
            except ValueError as problem:
                return Broken(count, str(problem))
            if expected.pop(count, hash) != hash:
                return Broken(count, "the record is not the one that its head was made of: the log was written anew")
    if missing := [number for number in expected if number > 0]:
        return Broken(count + 1, f"the log ends after {count} records, but a head was made of record {max(missing)}")
    return Verified(count, Head(count, hash))

"""What was found in a file is kept beside its content, so that only what changed is judged again."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from engine.diagnostics import Diagnostic
from engine.policy.compile import PolicySource
from engine.policy.context import Catalogue

from .brief import Brief

_LARGEST: Final = 50_000_000  # bytes of one entry that are read back
_MOST: Final = 5_000
"""Entries of a folder; the oldest half goes when there are more."""


class Kept(msgspec.Struct, frozen=True):
    """What is said of one file, how many rules it holds, and what others must know of it."""

    diagnostics: tuple[Diagnostic, ...]
    rules: int
    brief: Brief | None = None


class Memory:
    """A folder of findings, by a digest of all that they follow from: content, name, grants, names, day and version.

    What cannot be read or written is worked out anew: the folder never decides whether lint works. Entries are plain
    data, and one that is not what it should be counts as missing.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self._folder = folder
        self._version = version
        self._decode: Callable[[bytes], Kept] = msgspec.msgpack.Decoder(Kept).decode

    def key(self, source: PolicySource, catalogue: Catalogue, today: date, strict: bool) -> str:
        said = msgspec.msgpack.encode((self._version, source.digest, catalogue, today.isoformat(), strict))
        return hashlib.sha256(said).hexdigest()

    def get(self, key: str) -> Kept | None:
        file = self._folder / key
        try:
            if file.stat().st_size > _LARGEST:
                return None
            return self._decode(file.read_bytes())
        except (OSError, msgspec.DecodeError, ValueError):
            return None

    def put(self, key: str, kept: Kept) -> None:
        """Keep it, whole or not at all: another process may read at this moment."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
            with os.fdopen(handle, "wb") as stream:
                stream.write(msgspec.msgpack.encode(kept))
            os.replace(name, self._folder / key)
        except OSError:
            return

    def tidy(self) -> None:
        """Forget the entries that were made longest ago, where there are too many."""
        try:
            files = sorted(self._folder.iterdir(), key=lambda each: each.stat().st_mtime)
            for each in files[: len(files) // 2] if len(files) > _MOST else ():
                each.unlink()
        except OSError:
            return

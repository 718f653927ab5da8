"""The last good set on disk, as source files: what a restart serves when the files themselves are broken.

Only texts are kept. What they are granted, and what a pack's overrides are, is the configuration's to say each time, so
that a right that was taken away does not come back with an old file.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from .compile import PolicySource
from .recipe import Found, Origin

MANIFEST: Final = "manifest.json"


class KeptFile(msgspec.Struct, frozen=True):
    """A file's name in messages, and the SHA-256 of its text, which is its name in the folder."""

    file: str
    sha256: str


class KeptOrigin(msgspec.Struct, frozen=True):
    name: str
    rules: int
    files: tuple[KeptFile, ...]


class Manifest(msgspec.Struct, frozen=True):
    """Which files made the set. It is written last: what it does not name is no part of the set."""

    revision: str
    origins: tuple[KeptOrigin, ...]
    version: int = 1

    @property
    def rules(self) -> dict[str, int]:
        """How many rules each origin had."""
        return {each.name: each.rules for each in self.origins}


def keep(folder: Path, revision: str, origins: Mapping[str, tuple[int, Sequence[PolicySource]]]) -> None:
    """Keep a set: for each origin's name its rules and its files. Readable for the owner alone. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = []
    for name, (rules, sources) in origins.items():
        files = []
        for source in sources:
            data = source.text.encode()
            digest = hashlib.sha256(data).hexdigest()
            files.append(KeptFile(source.file, digest))
            if not (folder / _stored(digest)).exists():
                _write(folder / _stored(digest), data)
        kept.append(KeptOrigin(name, rules, tuple(files)))
    _write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(Manifest(revision, tuple(kept))), indent=2))
    _sweep(folder, {_stored(each.sha256) for one in kept for each in one.files})


def keep_earlier(
    folder: Path, revision: str, origins: Mapping[str, tuple[int, Sequence[PolicySource]]], most: int
) -> None:
    """Keep a set beside the last good one, under its own revision, and forget the oldest beyond `most`. Raises OSError."""
    place = _earlier(folder)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    keep(place / revision, revision, origins)
    for old in _by_age(folder)[most:]:
        shutil.rmtree(old, ignore_errors=True)


def earlier_revisions(folder: Path | None) -> tuple[str, ...]:
    """The revisions that were kept so, the newest first."""
    return tuple(each.name for each in _by_age(folder)) if folder is not None else ()


def earlier_folder(folder: Path | None, revision: str) -> Path | None:
    """Where a revision is kept; None where it is not. It is looked up, never made a path of: people type it."""
    known = {each.name: each for each in _by_age(folder)} if folder is not None else {}
    return known.get(revision)


def _earlier(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.earlier")


def _by_age(folder: Path) -> list[Path]:
    found = []
    for path in _earlier(folder).glob(f"*/{MANIFEST}"):
        with contextlib.suppress(OSError):  # another worker has just removed it
            found.append((path.stat().st_mtime, path.parent))
    return [path for _, path in sorted(found, reverse=True)]


def kept_manifest(folder: Path) -> Manifest | None:
    """What was kept; None where nothing was, or where it cannot be understood."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError):
        return None


def kept_set(folder: Path, manifest: Manifest, origins: Sequence[Origin]) -> tuple[Found, ...] | None:
    """The kept files of the configured origins; None where one was never part of the set, or a file is not as it was."""
    kept = {each.name: each for each in manifest.origins}
    found = []
    for origin in origins:
        known = kept.get(origin.name)
        if known is None:
            return None
        try:
            sources = tuple(origin.source(each.file, _text(folder, each.sha256)) for each in known.files)
        except (OSError, ValueError):
            return None
        found.append(Found(origin, sources))
    return tuple(found)


def _stored(digest: str) -> str:
    return f"{digest}.yaml"


def _text(folder: Path, digest: str) -> str:
    """A kept text. Raises OSError, and ValueError where it is another text than was kept."""
    data = (folder / Path(_stored(digest)).name).read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError("the kept file was changed")
    return data.decode()


def _write(path: Path, data: bytes) -> None:
    """Write a whole file or none: another process, or a restart, never sees a part of it. Mode 0600."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _sweep(folder: Path, stored: set[str]) -> None:
    """Remove the texts of earlier sets."""
    for path in folder.glob("*.yaml"):
        if path.name not in stored:
            path.unlink(missing_ok=True)

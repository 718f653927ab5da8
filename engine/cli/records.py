"""Records of an audit log as `policy audit` reads them: in order, the last ones, one by its id, as they are written."""

import csv
import heapq
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from engine.world.logfiles import chains, rotated, when, worker_paths

COLUMNS: Final = (
    "at", "kind", "id", "request", "phase", "verdict", "by", "caller", "session", "protocol", "model", "revision", "message",
    "action", "target", "hash",
)  # fmt: skip
"""What of a record can stand in a table."""

_HASH: Final = re.compile(r"[0-9a-f]{8,64}")
_decode: Final = msgspec.json.Decoder().decode
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Place(NamedTuple):
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Line(NamedTuple):
    at: float
    record: dict[str, Any]
    place: Place
    data: bytes


def in_order(path: Path, since: float = 0.0, until: float = float("inf")) -> Iterator[Line]:
    """All records of a period, of all chains, by their times. Lines that are no records are left out."""
    streams = [_chain(each) for each in chains(path)]
    return (each for each in heapq.merge(*streams, key=lambda line: line.at) if since <= each.at < until)


def last(path: Path, count: int) -> list[tuple[dict[str, Any], Place]]:
    """The last records of all chains by their times, the oldest first."""
    newest = [each for chain in chains(path) for each in deque(_newest(chain, count), maxlen=count)]
    newest.sort(key=lambda line: line.at)
    return [(each.record, each.place) for each in newest[len(newest) - count if len(newest) > count else 0 :]]


def matching(path: Path, id: str) -> Iterator[tuple[dict[str, Any], Place]]:
    """The record of a decision, those of a request, the one whose hash begins so, or the one that stands there."""
    file, _, line = id.rpartition(":")
    here = int(line) if file and line.isdigit() else 0
    needle = msgspec.json.encode(id)[1:-1]
    for each in worker_paths(path):
        at_place = here and (Path(file) == each or file == each.name)
        for found in _lines(each, b"" if at_place else needle):
            record = found.record
            if at_place:
                if found.place.line == here:
                    yield record, found.place
            elif id in (record.get("id"), record.get("request")) or (
                _HASH.fullmatch(id) and str(record.get("hash")).startswith(id)
            ):
                yield record, found.place


def following(path: Path) -> Iterator[dict[str, Any] | None]:
    """Records that are written from now on; None where there is no further one yet. Files may turn meanwhile."""
    ends = {chain: (_inode(chain), chain.stat().st_size) for chain in chains(path) if chain.exists()}
    return _following(path, ends)


def write_lines(records: Iterable[Line], out: BinaryIO) -> int:
    count = 0
    for each in records:
        out.write(each.data)
        count += 1
    return count


def write_csv(records: Iterable[Line], out: BinaryIO) -> int:
    """With a line of names. A cell that a spreadsheet would calculate begins with an apostrophe."""
    count, text = 0, io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for each in records:
        record = {"kind": "decision", **each.record}
        writer.writerow([_cell(record.get(name)) for name in COLUMNS])
        count += 1
    text.detach()
    return count


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def _chain(chain: Path) -> Iterator[Line]:
    for file in (*(old for _, old in rotated(chain)), chain):
        if file.exists():
            yield from _lines(file)


def _newest(chain: Path, count: int) -> Iterator[Line]:
    """The lines of as many of the newest files as it takes."""
    files, kept = [old for _, old in rotated(chain)] + ([chain] if chain.exists() else []), deque[list[Line]]()
    for file in reversed(files):
        kept.appendleft(list(deque(_lines(file), maxlen=count)))
        if sum(map(len, kept)) >= count:
            break
    for lines in kept:
        yield from lines


def _lines(file: Path, needle: bytes = b"") -> Iterator[Line]:
    with file.open("rb") as lines:
        for number, data in enumerate(lines, 1):
            if needle in data and (record := _record(data)) is not None:
                yield Line(when(record), record, Place(file, number), data)


def _record(data: bytes) -> dict[str, Any] | None:
    """None for a torn or damaged line: `policy audit verify` names it."""
    try:
        record = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return record if isinstance(record, dict) else None


def _following(path: Path, ends: dict[Path, tuple[int, int]]) -> Iterator[dict[str, Any] | None]:
    while True:
        found: list[dict[str, Any]] = []
        for chain in chains(path):
            inode, end = ends.get(chain, (0, 0))
            for file in (*(old for _, old in rotated(chain)[-2:]), chain):
                if file != chain and _inode(file) != inode:
                    continue  # the rest of the file that was read so far, when it has turned
                if file == chain and _inode(file) != inode:
                    inode, end = _inode(file), 0
                with file.open("rb") as lines:
                    lines.seek(end)
                    for data in lines:
                        if not data.endswith(b"\n"):
                            break
                        end += len(data)
                        if (record := _record(data)) is not None:
                            found.append(record)
            ends[chain] = (inode, end)
        found.sort(key=when)
        yield from found
        yield None


def _inode(file: Path) -> int:
    try:
        return file.stat().st_ino
    except OSError:
        return 0

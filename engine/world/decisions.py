"""Looks for records in the audit files of this machine, the newest first, as far as one request may read."""

import asyncio
import base64
import heapq
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from engine.world.logfiles import when, worker_paths

READ_AT_MOST: Final = 64_000_000
"""Bytes that one search reads; it then answers what it found, and where to go on."""

_CHUNK: Final = 1 << 18
_decode: Final = msgspec.json.Decoder().decode


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a record must be. Empty: anything. `since` and `until` are seconds since 1970."""

    id: str = ""
    request: str = ""
    rule: str = ""
    caller: str = ""
    verdict: str = ""
    kind: str = ""
    """`decision`, or that of another record: `admin`, `dropped`, `torn`."""
    since: float = 0.0
    until: float = float("inf")

    @property
    def needles(self) -> Sequence[bytes]:
        """What must stand in the line: looked for before it is read as JSON."""
        texts = (self.id, self.request, self.rule, self.caller, self.verdict)
        return [msgspec.json.encode(each)[1:-1] for each in texts if each]

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether it is one of them; `rule` is a rule that decided, or whose conditions were fulfilled."""
        return (
            (not self.id or record.get("id") == self.id)
            and (not self.request or record.get("request") == self.request)
            and (not self.caller or record.get("caller") == self.caller)
            and (not self.verdict or record.get("verdict") == self.verdict)
            and (not self.kind or record.get("kind", "decision") == self.kind)
            and self.since <= when(record) <= self.until
            and (not self.rule or self.rule in _rules(record))
        )


class Found(NamedTuple):
    """Records, the newest first; where to go on, "" where all was read."""

    records: list[dict[str, Any]]
    next: str


class BadCursor(ValueError):
    """What was given is not the `next` of a search."""


async def search(path: Path, wanted: Wanted, limit: int, after: str = "") -> Found:
    """Search the log at `path`, and those of its workers. Raises BadCursor."""
    ends = _ends(after) if after else None
    return await asyncio.to_thread(_search, path, wanted, limit, ends)


def _search(path: Path, wanted: Wanted, limit: int, ends: Mapping[str, int] | None) -> Found:
    logs = [_Backwards(each, ends) for each in worker_paths(path)]
    heap = [(-line.at, number, line) for number, log in enumerate(logs) if (line := log.read()) is not None]
    heapq.heapify(heap)
    needles, found, read = wanted.needles, list[dict[str, Any]](), 0
    while heap and len(found) < limit and read < READ_AT_MOST:
        at, number, line = heap[0]
        if -at < wanted.since:
            return Found(found, "")  # the newest that is left is too old
        logs[number].end = line.start
        read += len(line.data)
        if all(each in line.data for each in needles) and wanted.fits(line.record):
            found.append({name: value for name, value in line.record.items() if name not in ("previous", "hash")})
        further = logs[number].read()
        if further is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (-further.at, number, further))
    return Found(found, _cursor({log.name: log.end for log in logs}) if heap else "")


class _Line(NamedTuple):
    at: float
    start: int
    data: bytes
    record: dict[str, Any]


class _Backwards:
    """A file's lines from the end. `end` is where the part that was not handed out ends."""

    def __init__(self, path: Path, ends: Mapping[str, int] | None) -> None:
        self._file = path.open("rb")
        self.name = str(os.fstat(self._file.fileno()).st_ino)  # which a file keeps when the log is rotated
        size = self._file.seek(0, 2)
        end = None if ends is None else ends.get(self.name, 0)
        self.end = size if end is None else max(0, min(end, size))
        self._lines = self._backwards()

    def read(self) -> _Line | None:
        for start, data in self._lines:
            try:
                record = _decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # a torn end, or damage that `policy audit verify` finds
            if isinstance(record, dict):
                return _Line(when(record), start, data, record)
        self._file.close()
        return None

    def _backwards(self) -> Iterator[tuple[int, bytes]]:
        position, rest = self.end, b""
        while position:
            size = min(_CHUNK, position)
            position -= size
            self._file.seek(position)
            (*lines,) = (self._file.read(size) + rest).split(b"\n")
            rest = lines[0]
            place = position + sum(len(each) + 1 for each in lines)
            for line in reversed(lines[1:]):
                place -= len(line) + 1
                if line:
                    yield place, line
        if rest:
            yield 0, rest


def _rules(record: Mapping[str, Any]) -> set[str]:
    outcomes = record.get("outcomes", ())
    matched = {each.get("rule", "") for each in outcomes if isinstance(each, dict) and each.get("outcome") == "matched"}
    return {*matched, str(record.get("by", ""))}


def _cursor(ends: Mapping[str, int]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(ends)).decode().rstrip("=")


def _ends(cursor: str) -> Mapping[str, int]:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=dict[str, int])
    except (ValueError, msgspec.DecodeError) as wrong:
        raise BadCursor("not the `next` of a search") from wrong

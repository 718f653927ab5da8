"""The audit log: decision records, appended to one hash-chained file per process, written off the event loop."""

import asyncio
import base64
import contextlib
import os
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from engine.diagnostics import LexgateError
from engine.world.chain import GENESIS, Head, follow, link
from engine.world.heads import WITHIN, Seal
from engine.world.logfiles import heads_path, rotated, rotated_path, when, worker_path

if sys.platform != "win32":
    import fcntl

Record: TypeAlias = Mapping[str, Any] | msgspec.Struct
WhenFull: TypeAlias = Literal["block", "drop-and-count"]

LINGER = 0.02  # seconds in which records gather before they are written together
RETRY = 0.25  # seconds between attempts to write to a disk that refuses
PATIENCE = 5.0  # seconds for which closing waits on such a disk, and then counts what is left as lost
BATCH = 2_000  # records encoded between two writes, so that a long queue does not become one long buffer
_SPARE = 4
CONTINUED = "continued"
"""The kind of a file's first record that says which file was before it, and how many records all before it have."""
RETIRED = "retired"
"""The kind of a record that says through which number full files were removed."""
TORN_KEPT = 65_536  # bytes of a torn line that are kept in the record of its repair

_encode = msgspec.json.Encoder().encode


class AuditBroken(LexgateError):
    """The log cannot be continued: it is not one that was left as it was written, or another process writes it."""


class AuditTaken(AuditBroken):
    """Another process writes this log."""


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """When a file is full, and how long full files stay. 0: not for this reason."""

    size: int = 0
    """Bytes at which the next file begins; it may become longer by what is written at once."""
    every: float = 0.0
    """Seconds after which the next file begins, with the next record."""
    keep: int = 0
    """Full files of a chain that stay."""
    keep_for: float = 0.0
    """Seconds for which a full file stays."""

    def is_due(self, size: int, age: float) -> bool:
        return bool((self.size and size >= self.size) or (self.every and age >= self.every and size))


class AuditLog:
    """One chain. `write` costs the event loop a microsecond; encoding, masking and hashing are done by a thread.

    A record is a JSON object as a mapping or a Struct, without members `previous` and `hash`, and is not changed after
    it was handed in. `prepare` is applied to it in the thread (masking). A record is on disk (written, not synced)
    about 20 ms after `write`, and synced after `flush` or `close`.
    """

    def __init__(
        self,
        path: Path,
        *,
        when_full: WhenFull = "block",
        capacity: int = 10_000,
        prepare: Callable[[Any], Record] | None = None,
        clock: Callable[[], float] = time.time,
        rotation: Rotation | None = None,
        seal: Seal | None = None,
    ) -> None:
        """Open or create the file (mode 0600) and continue its chain. Raises `AuditBroken`, `OSError`."""
        self.dropped = 0
        """Records that found the log full; each gap is itself recorded."""
        self.lost = 0
        """Records that were waiting when the log was closed on a disk that took nothing."""
        self.failures = 0
        """Attempts to write a record, a head or the next file that the disk refused."""
        self._path = path
        self._when_full = when_full
        self._capacity = capacity
        self._prepare = prepare
        self._clock = clock
        self._queue: deque[Record] = deque()
        self._told_of = (
            0  # of `dropped`, what a record tells of; written by the thread alone, as `dropped` is by the loop
        )
        self._guard = threading.Lock()  # of the three below, between event loops and the thread
        self._room: list[asyncio.Future[None]] = []
        self._flushes: list[asyncio.Future[None]] = []
        self._closing = False
        self._given_up = False
        self._wake = threading.Event()
        self._rotation = rotation or Rotation()
        self._seal = seal
        self._file, self._size, self._head = _continue(path, clock)
        first = _first_record(self._file)
        if first.get("kind") == CONTINUED:
            self._head = Head(self._head.count + int(first["records"]), self._head.hash)
        self._began = when(first) or clock()
        self._turns: int = first["number"] if first.get("kind") == CONTINUED else 0  # files of this chain before this
        self._sealed = -1  # the count of the last head that this process signed; before the first one -1
        self._seal_at = clock() + WITHIN
        self._thread = threading.Thread(target=self._serve, name="audit", daemon=True)
        self._thread.start()

    @property
    def head(self) -> Head:
        """Of what is written, over all files of the chain. This is what is signed, and what `verify` can be given."""
        return self._head

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def has_room(self) -> bool:
        """Whether a record could be taken now."""
        return len(self._queue) < self._capacity and not self._closing

    def offer(self, record: Record) -> bool:
        """Hand a record in, if there is room for it."""
        if len(self._queue) >= self._capacity or self._closing:
            return False
        self._queue.append(record)
        if not self._wake.is_set():
            self._wake.set()
        return True

    async def write(self, record: Record) -> None:
        """Hand a record in; when the log is full, wait for room or count it as dropped, as `when_full` says.

        Raises `AuditBroken` if the log is closed.
        """
        while not self.offer(record):
            if self._closing:
                raise AuditBroken(f"{self._path}: the audit log is closed")
            if self._when_full == "drop-and-count":
                self.dropped += 1
                return
            await self._told(self._room)

    async def flush(self) -> None:
        """Wait until all that was handed in so far is on disk, synced."""
        if not self._closing:
            await self._told(self._flushes)

    async def close(self) -> None:
        """Write what is waiting, sync, and let the file go. Idempotent."""
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    async def _told(self, listeners: list[asyncio.Future[None]]) -> None:
        future = asyncio.get_running_loop().create_future()
        with self._guard:
            listeners.append(future)
        self._wake.set()
        await future

    # --- in the thread

    def _serve(self) -> None:
        while True:
            self._seal_if_due()
            self._wake.wait(None if self._seal is None or self._sealed == self._head.count else WITHIN)
            if not self._closing and not self._flushes:
                time.sleep(LINGER)
            self._wake.clear()
            # Read before the queue is emptied: what was handed in before closing or flushing is then written first.
            closing = self._closing
            with self._guard:
                flushes, self._flushes[:] = list(self._flushes), []
            while self._queue or self.dropped > self._told_of:
                self._turn()
                self._write_some()
                self._seal_if_due()
            if flushes or closing:
                self._retrying(lambda: os.fsync(self._file))
                self._tell(flushes)
            if closing:
                self._sign()
                with self._guard:
                    late = self._flushes + self._room
                self._tell(late)
                os.close(self._file)
                return

    def _write_some(self) -> None:
        """Encode, chain and append a part of the queue; what the disk has taken is forgotten, and room is announced."""
        lines, hash, count = bytearray(), self._head.hash, 0
        missing = self.dropped - self._told_of
        taken = min(len(self._queue), BATCH)
        records: list[Record] = [self._queue[index] for index in range(taken)]
        if missing:
            records.append({"kind": "dropped", "at": self._clock(), "count": missing})
        for record in records:
            line, hash = link(self._encoded(record), hash)
            lines += line
            count += 1
        self._retrying(lambda: _append(self._file, self._size, lines))
        if self._given_up:
            self.lost += len(self._queue)
            self._queue.clear()
            self._told_of = self.dropped
            return
        self._size += len(lines)
        self._head = Head(self._head.count + count, hash)
        for _ in range(taken):
            self._queue.popleft()
        self._told_of += missing
        with self._guard:
            room, self._room[:] = list(self._room), []
        self._tell(room)

    def _seal_if_due(self) -> None:
        if self._seal is None or self._sealed == self._head.count:
            return
        if self._sealed < 0 or self._head.count - self._sealed >= self._seal.every or self._clock() >= self._seal_at:
            self._sign()

    def _sign(self) -> None:
        """Put a signed head to what is written. Where a place refuses it, the next head is tried in time."""
        if self._seal is None or self._sealed == self._head.count or not self._head.count or self._given_up:
            return
        self._sealed, self._seal_at = self._head.count, self._clock() + WITHIN
        try:
            os.fsync(self._file)  # a head must not outlive, in a power cut, the records that it is of
            self._seal.write(self._head, self._path.name, heads_path(self._path), self._clock())
        except OSError:
            self.failures += 1
            self._sealed -= 1

    def _turn(self) -> None:
        """Begin the next file if this one is full. A disk that refuses it leaves the log in this one."""
        if not self._rotation.is_due(self._size, self._clock() - self._began):
            return
        self._sign()
        try:
            self._begin_next()
            self._retire()
        except OSError:
            self.failures += 1

    def _begin_next(self) -> None:
        """INVARIANT: at any moment the path names a file that this process has locked, and the chain is whole."""
        number = max((self._turns, *(each for each, _ in rotated(self._path)))) + 1
        old, fresh = rotated_path(self._path, number), self._path.with_name(self._path.name + ".next")
        at = self._clock()
        said = {"kind": CONTINUED, "at": at, "after": old.name, "number": number, "records": self._head.count}
        line, hash = link(_encode(said), self._head.hash)
        os.fsync(self._file)
        file = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
        try:
            _lock(file, fresh)
            _append(file, 0, line)
            os.fsync(file)
            os.link(self._path, old)
            os.replace(fresh, self._path)
        except BaseException:
            os.close(file)
            raise
        os.close(self._file)
        self._file, self._size, self._head = file, len(line), Head(self._head.count + 1, hash)
        self._turns, self._began = number, at

    def _retire(self) -> None:
        """Remove the oldest full files, after the log itself says so."""
        files, now = rotated(self._path), self._clock()
        spare = len(files) - self._rotation.keep if self._rotation.keep else 0
        limit = now - self._rotation.keep_for if self._rotation.keep_for else 0.0
        gone = [
            (number, file) for place, (number, file) in enumerate(files)
            if place < spare or file.stat().st_mtime < limit
        ]  # fmt: skip
        if not gone:
            return
        line, hash = link(_encode({"kind": RETIRED, "at": now, "through": gone[-1][0]}), self._head.hash)
        _append(self._file, self._size, line)
        self._size, self._head = self._size + len(line), Head(self._head.count + 1, hash)
        os.fsync(self._file)
        for _, file in gone:
            file.unlink()

    def _encoded(self, record: Record) -> bytes:
        try:
            encoded = _encode(self._prepare(record) if self._prepare else record)
            if not encoded.startswith(b"{"):
                raise TypeError("a record is an object")
        except Exception as error:  # the outermost edge of this thread: one bad record must not end the log
            return _encode({"kind": "unwritable", "at": self._clock(), "error": f"{type(error).__name__}: {error}"})
        return encoded

    def _retrying(self, act: Callable[[], None]) -> None:
        """Until the disk takes it. Meanwhile the queue fills, and `when_full` decides what that means."""
        patience = PATIENCE
        while not self._given_up:
            try:
                act()
                return
            except OSError:
                self.failures += 1
                if self._closing:
                    patience -= RETRY
                    self._given_up = patience <= 0
                time.sleep(RETRY)

    def _tell(self, futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            with contextlib.suppress(RuntimeError):  # its loop was closed: nobody listens any more
                future.get_loop().call_soon_threadsafe(_resolve, future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def open_free(open_log: Callable[[Path], AuditLog], path: Path, workers: int) -> AuditLog:
    """The first of the workers' logs that no other process writes: a worker goes on with the chain of one before it.

    Twice as many files as workers, and a few: while workers are replaced, old and new ones write at the same time.
    Raises `AuditBroken`, `OSError`.
    """
    for number in range(1, 2 * workers + _SPARE):
        try:
            return open_log(worker_path(path, number))
        except AuditTaken:
            continue
    raise AuditTaken(f"{path}: all files of its {workers} workers are written by other processes")


def content_key(path: Path) -> bytes:
    """The key for hashes of content, beside the log (`audit.jsonl.key`, mode 0600), made at first use."""
    place = path.with_name(path.name + ".key")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = place.with_name(f"{place.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        return _key_in(place)
    except FileNotFoundError:
        pass
    # Written aside and then linked, so that of several processes one key wins, and none reads half of it.
    handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(handle, secrets.token_hex(32).encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    with contextlib.suppress(FileExistsError):
        os.link(fresh, place)
    os.unlink(fresh)
    return _key_in(place)


def _key_in(place: Path) -> bytes:
    key = bytes.fromhex(place.read_text(encoding="ascii"))
    if len(key) < 32:
        raise AuditBroken(f"{place}: the key has {len(key)} bytes and needs 32; remove the file to have a new one made")
    return key


def _append(file: int, size: int, lines: bytes | bytearray) -> None:
    """Write at the end, or leave the file as it was: a part of a line that the disk still took is taken back."""
    view = memoryview(lines)
    written = 0
    try:
        while written < len(view):
            written += os.pwrite(file, view[written:], size + written)
    except OSError:
        os.ftruncate(file, size)
        raise


def _continue(path: Path, clock: Callable[[], float]) -> tuple[int, int, Head]:
    """Open a log for this process alone: the file, its size in bytes, and its head, a torn last line repaired."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        _lock(file, path)
        if os.fstat(file).st_ino != os.stat(path).st_ino:  # it was rotated away between the two lines above
            raise AuditTaken(f"{path}: another process writes this log; give each its own file")
        for _, old in rotated(path)[-1:]:
            if old.samefile(path):  # a rotation that was cut short
                old.unlink()
        return file, *_mended(file, path, clock)
    except BaseException:
        os.close(file)
        raise


def _lock(file: int, path: Path) -> None:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AuditTaken(f"{path}: another process writes this log; give each its own file") from error


def _first_record(file: int) -> Mapping[str, Any]:
    """What the file's first line says; empty where it is long, as a record of the proxy's own never is."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        record = msgspec.json.decode(os.pread(file, 1 << 16, 0).partition(b"\n")[0])
        if isinstance(record, dict) and (record.get("kind") != CONTINUED or {"number", "records"} <= record.keys()):
            return record
    return {}


def _mended(file: int, path: Path, clock: Callable[[], float]) -> tuple[int, Head]:
    size, count, last_start, last_end = _ends(file)
    hash = GENESIS
    if count:
        try:
            hash = follow(os.pread(file, last_end - last_start, last_start), None)
        except ValueError as problem:
            raise AuditBroken(
                f"{path}:{count}: {problem}. Move the file away to keep it as evidence, its heads with it; a new log begins "
                "at the next start"
            ) from problem
    if last_end == size:
        return size, Head(count, hash)
    torn = os.pread(file, size - last_end, last_end)
    with contextlib.suppress(ValueError):
        whole = follow(torn + b"\n", hash)  # only its end is missing: the record is complete and stays
        _append(file, size, b"\n")
        return size + 1, Head(count + 1, whole)
    repair = {
        "kind": "torn",
        "at": clock(),
        "bytes": len(torn),
        "sha256": sha256(torn).hexdigest(),
        "base64": base64.b64encode(torn[:TORN_KEPT]).decode(),
    }
    line, hash = link(_encode(repair), hash)
    # Over the torn bytes: until it is whole, the file still ends in a torn line, which the next start finds.
    _append(file, last_end, line)
    os.ftruncate(file, last_end + len(line))
    return last_end + len(line), Head(count + 1, hash)


def _ends(file: int) -> tuple[int, int, int, int]:
    """Size of the file, number of its complete lines, and where the last of them begins and ends."""
    position = count = start = end = 0
    while chunk := os.pread(file, 1 << 20, position):
        lines = chunk.count(b"\n")
        if lines:
            count += lines
            last = chunk.rindex(b"\n")
            before = chunk.rfind(b"\n", 0, last)
            start = position + before + 1 if before >= 0 else end
            end = position + last + 1
        position += len(chunk)
    return position, count, start, end

"""Proves a whole audit log from its files and heads alone: every chain, over its rotated files, up to its last head."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.world.audit import CONTINUED, RETIRED
from engine.world.chain import GENESIS, Head, follow
from engine.world.heads import SignedHead, read_heads
from engine.world.logfiles import rotated, rotated_path

if sys.platform != "win32":
    import fcntl

_TRIES: Final = 5
_RETIRED: Final = b'"kind":"%b"' % RETIRED.encode()
_decode: Final = msgspec.json.Decoder().decode


class Fault(msgspec.Struct, frozen=True):
    """What is not as it was written: a line (from 1) of a file, or with line 0 the file."""

    file: Path
    line: int
    reason: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else str(self.file)


class Known(msgspec.Struct, frozen=True):
    """A head that is known of a chain, and where from."""

    head: Head
    source: str


class Proof(msgspec.Struct, frozen=True):
    """What could be proved of one chain. Records count from the chain's first, also where that was removed since."""

    chain: Path
    files: int
    records: int
    first: int
    """The first record that is still there."""
    head: Head
    signed: int
    """Up to which record heads vouch for it; 0: none does."""
    fault: Fault | None
    """The first thing wrong; what is behind it is not proved."""
    written: bool
    """Its last line is not whole because a process writes it now: that is no fault."""


def heads_in(file: Path, trusted: str | None, is_signed: Callable[[SignedHead], bool]) -> Iterator[Fault | SignedHead]:
    """The heads in a file that the trusted key signed (None: the one that each names), and the lines that are none."""
    for line, head in read_heads(file):
        if head is None:
            yield Fault(file, line, "the line is no head as it was written: it was edited, or is torn")
        elif not is_signed(head):
            yield Fault(file, line, "the signature is not of this head: it was edited")
        elif trusted is not None and head.key != trusted:
            yield Fault(file, line, f"the head is signed by another key, {head.key[:16]}…")
        else:
            yield head


def prove(chain: Path, heads: Iterable[Known]) -> Proof:
    """Read a chain from the oldest file that is there, in constant memory."""
    heads = tuple(heads)
    for _ in range(_TRIES):
        before = _inodes(chain)
        found = _Reading(chain, heads).proof()
        if found.fault is None or _inodes(chain) == before:
            break  # otherwise it was rotated while it was read
    return found


class _Reading:
    """One pass over the files of a chain."""

    def __init__(self, chain: Path, heads: Sequence[Known]) -> None:
        self._chain = chain
        self._expected: dict[int, list[Known]] = {}
        for each in heads:
            self._expected.setdefault(each.head.count, []).append(each)
        self._head = Head(0, GENESIS)
        self._first = 1
        self._files = 0
        self._through = 0
        self._signed = 0
        self._needed = 0
        self._lines = 0
        self._before = ""

    def proof(self) -> Proof:
        fault = self._read()
        torn = fault is not None and fault.file == self._chain and fault.reason.startswith("the line is torn")
        written = torn and _is_written(self._chain)
        return Proof(
            self._chain, self._files, self._head.count - self._first + 1, self._first, self._head, self._signed,
            None if written else fault, written,
        )  # fmt: skip

    def _read(self) -> Fault | None:
        olds = rotated(self._chain)
        last = 0
        for number, file in olds:
            if last and number != last + 1:
                return _missing(rotated_path(self._chain, last + 1))
            fault = self._read_file(file, first=not last)
            if fault is not None:
                return fault
            last = number
        if not self._chain.exists():
            return _missing(self._chain)
        fault = self._read_file(self._chain, first=not last) or self._retired()
        if fault is not None:
            return fault
        behind = [each for count, known in self._expected.items() if count > self._head.count for each in known]
        if behind:
            far = max(behind, key=lambda known: known.head.count)
            end, told = self._head.count, far.head.count
            reason = f"the log was cut: it ends with record {end}, and {far.source} is of record {told}"
            return Fault(self._chain, self._lines + 1, reason)
        return None

    def _read_file(self, file: Path, *, first: bool) -> Fault | None:
        self._lines = 0
        with file.open("rb") as lines:
            self._files += 1
            for number, line in enumerate(lines, 1):
                if number == 1 and (beginning := _beginning(line)) is not None:
                    fault = self._begin(beginning, first)
                    if fault is not None:
                        return fault
                try:
                    hash = follow(line, self._head.hash)
                except ValueError as problem:
                    return Fault(file, number, str(problem))
                self._lines = number
                self._head = Head(self._head.count + 1, hash)
                for known in self._expected.get(self._head.count, ()):
                    if known.head.hash != hash:
                        return Fault(
                            file, number, f"the log was written anew: {known.source} was made of another record here"
                        )
                    self._signed = self._head.count
                if _RETIRED in line:
                    self._through = max(self._through, _through(line))
        self._before = file.name
        return None

    def _begin(self, beginning: Mapping[str, Any], first: bool) -> Fault | None:
        """A file that goes on from another one: the one before is there, or is seen to have been removed in order."""
        if first:
            self._head = Head(int(beginning["records"]), str(beginning["previous"]))
            self._first = self._head.count + 1
            self._needed = int(beginning["number"])
        elif beginning["after"] != self._before:
            return _missing(self._chain.with_name(str(beginning["after"])))
        return None

    def _retired(self) -> Fault | None:
        if self._needed > self._through:
            return _missing(rotated_path(self._chain, self._needed))
        return None


def _through(line: bytes) -> int:
    """Up to which number full files were removed, as the log says itself; 0 in any other record."""
    with contextlib.suppress(ValueError, msgspec.DecodeError, KeyError, TypeError, AttributeError):
        record = _decode(line)
        return int(record["through"]) if record.get("kind") == RETIRED else 0
    return 0


def _missing(file: Path) -> Fault:
    return Fault(file, 0, "the file is missing: there were records in it, and none says that it was removed")


def _beginning(line: bytes) -> Mapping[str, Any] | None:
    """What the first line of a file says of the file before, if it is whole."""
    with contextlib.suppress(ValueError, msgspec.DecodeError, KeyError, TypeError, AttributeError):
        follow(line, None)
        record: dict[str, Any] = _decode(line)
        if record.get("kind") == CONTINUED:
            return {
                "records": int(record["records"]), "number": int(record["number"]), "after": str(record["after"]),
                "previous": str(record["previous"]),
            }  # fmt: skip
    return None


def _inodes(chain: Path) -> list[tuple[str, int]]:
    found = []
    for file in (*(old for _, old in rotated(chain)), chain):
        with contextlib.suppress(OSError):
            found.append((file.name, file.stat().st_ino))
    return found


def _is_written(chain: Path) -> bool:
    """Whether a process holds the lock of a chain."""
    if sys.platform == "win32":
        return False
    try:
        with chain.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False

"""The recorder: exchanges kept for replay, as lines of files that are rotated, written off the event loop."""

import asyncio
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from engine.model.traffic import Content, Header, RecordedEvent, RecordedExchange

Redact = Callable[[str], str]

QUEUED: Final = 1_000
"""Exchanges that wait to be written; what comes then is counted, and not recorded."""

LINGER: Final = 0.05  # seconds in which exchanges gather before they are written together
CONTENT: Final[Mapping[str, frozenset[str]]] = {
    "request": frozenset({"system", "messages", "last_user", "tools", "params", "headers"}),
    "session": frozenset({"vars"}),
    "command": frozenset({"args", "help"}),
    "result": frozenset({"text", "parts"}),
    "error": frozenset({"message"}),
    "text": frozenset({"window"}),
    "tool": frozenset({"args", "text", "paths", "shell"}),
    "response": frozenset({"text", "reasoning", "tool_calls"}),
}
"""The fields of an event that hold what people, models and tools said."""

_STRUCTURE: Final = frozenset({"role", "kind", "id", "name", "tool_call_id", "dialect"})
"""Members of messages, parts and calls that say what they are, and nothing of their content."""

_OPEN: Final = frozenset({"args", "vars", "params"})
_encode = msgspec.json.Encoder().encode


class Keeps(Protocol):
    """What an exchange is handed to, once it is over."""

    def takes(self, exchange: str) -> bool:
        """Whether an exchange is to be recorded."""

    def offer(self, exchange: RecordedExchange, redact: Redact | None = None) -> None:
        """Hand an exchange in."""

    async def close(self) -> None:
        """Finish what was begun."""


class Recorder:
    """One folder, to which every process writes files of its own. Nothing is opened before the first exchange.

    `redact` is applied to every text where `content` is `redacted`; `key` gives the key (at most 64 bytes) of the
    hashes of `hash`, when it is first needed.
    `max_bytes` is the longest line, `rotate` the size at which the next file begins, `keep` how many files stay.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sample: float,
        content: Content = "redacted",
        redact: Redact = str,
        key: Callable[[], bytes] = bytes,
        max_bytes: int = 1_000_000,
        rotate: int = 64_000_000,
        keep: int = 16,
        version: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.recorded = 0
        """Exchanges that were written."""
        self.dropped = 0
        """Exchanges that found the queue full, or the disk refusing."""
        self.oversized = 0
        """Exchanges that were longer than `max_bytes`."""
        self._folder = folder
        self._share = round(sample * (1 << 32))
        self._content = content
        self._redact = redact
        self._key = key
        self._keyed: Any = None
        self._max_bytes = max_bytes
        self._rotate = rotate
        self._keep = keep
        self._version = version
        self._clock = clock
        self._queue: deque[tuple[RecordedExchange, Redact | None]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._file = -1
        self._size = 0
        self._number = 0

    def takes(self, exchange: str) -> bool:
        """Whether an exchange is of the sample: the same answer for the same id, in every process."""
        return self._share > 0 and zlib.crc32(exchange.encode()) < self._share

    def offer(self, exchange: RecordedExchange, redact: Redact | None = None) -> None:
        """Hand an exchange in; it is never waited for. `redact` masks what its own rules look for."""
        if len(self._queue) >= QUEUED or self._closing:
            self.dropped += 1
            return
        self._queue.append((exchange, redact))
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="recorder", daemon=True)
            self._thread.start()
        self._wake.set()

    async def close(self) -> None:
        """Write what waits, and let the file go. Idempotent."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # --- in the thread

    def _serve(self) -> None:
        while True:
            self._wake.wait()
            if not self._closing:
                time.sleep(LINGER)
            self._wake.clear()
            closing = self._closing
            while self._queue:
                self._write(*self._queue.popleft())
            if closing:
                if self._file >= 0:
                    os.close(self._file)
                return

    def _write(self, exchange: RecordedExchange, redact: Redact | None) -> None:
        try:
            line = _encode(covered(exchange, self._cover(redact), self._content)) + b"\n"
            if len(line) > self._max_bytes:
                self.oversized += 1
                return
            self._append(line)
        except (OSError, TypeError, ValueError, RecursionError):
            # A disk that refuses, or content that no JSON can say: the exchange itself must not suffer.
            self.dropped += 1
            return
        self.recorded += 1

    def _cover(self, redact: Redact | None) -> Redact:
        match self._content:
            case "full":
                return str
            case "hash":
                self._keyed = self._keyed or blake2b(key=self._key(), digest_size=16)
                keyed = self._keyed

                def hashed(text: str) -> str:
                    mine = keyed.copy()
                    mine.update(text.encode("utf-8", "surrogatepass"))
                    return f"mac:{mine.hexdigest()}" if text else ""

                return hashed
            case "redacted":
                shipped = self._redact
                return shipped if redact is None else lambda text: shipped(redact(text))

    def _append(self, line: bytes) -> None:
        if self._file < 0 or self._size + len(line) > self._rotate:
            self._begin()
        view = memoryview(line)
        while view:
            view = view[os.write(self._file, view) :]
        self._size += len(line)

    def _begin(self) -> None:
        """The next file, with its header; the oldest of those above `keep` go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        now = datetime.fromtimestamp(self._clock(), UTC)
        self._number += 1
        name = f"traffic-{now:%Y%m%dT%H%M%S}-{os.getpid()}-{self._number:04}.jsonl"
        self._file = os.open(self._folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        header = Header(content=self._content, at=now.isoformat(timespec="seconds"), lexgate=self._version)
        self._size = os.write(self._file, _encode(header) + b"\n")
        for old in sorted(self._folder.glob("traffic-*.jsonl"))[: -self._keep]:
            old.unlink(missing_ok=True)


def covered(exchange: RecordedExchange, cover: Redact, content: Content) -> RecordedExchange:
    """The exchange with its texts covered: all of them in `redacted`, what people and models said in `hash`."""
    if content == "full":
        return exchange
    return msgspec.structs.replace(exchange, events=tuple([_event(each, cover, content) for each in exchange.events]))


def _event(event: RecordedEvent, cover: Redact, content: Content) -> RecordedEvent:
    sections = {name: _section(name, section, cover, content) for name, section in event.sections.items()}
    decided = event.decision
    if decided.patch:
        patch = {rule: [_op(op, cover) for op in ops] for rule, ops in decided.patch.items()}
        decided = msgspec.structs.replace(decided, patch=patch)
    facts = _texts(event.facts, cover) if content == "redacted" and event.facts else event.facts
    return msgspec.structs.replace(event, sections=sections, decision=decided, facts=facts)


def _op(op: dict[str, Any], cover: Redact) -> dict[str, Any]:
    return {**op, "value": _texts(op["value"], cover)} if "value" in op else op


def _section(name: str, section: Any, cover: Redact, content: Content) -> Any:
    if content == "redacted":
        return _texts(section, cover)
    fields = CONTENT.get(name, frozenset())
    return {
        field: _content(value, cover, field in _OPEN) if field in fields else value for field, value in section.items()
    }


def _texts(value: Any, cover: Redact) -> Any:
    """Every text in a JSON value covered; names of members are fields, and stay."""
    match value:
        case str():
            return cover(value)
        case dict():
            return {name: _texts(each, cover) for name, each in value.items()}
        case list() | tuple():
            return [_texts(each, cover) for each in value]
        case _:
            return value


def _content(value: Any, cover: Redact, is_open: bool) -> Any:
    """The same, but for what only says of which kind and name a message, a part or a call is."""
    match value:
        case str():
            return cover(value)
        case dict():
            return {
                name: each if name in _STRUCTURE and not is_open else _content(each, cover, is_open or name in _OPEN)
                for name, each in value.items()
            }
        case list() | tuple():
            return [_content(each, cover, is_open) for each in value]
        case _:
            return value

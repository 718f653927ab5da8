"""Server-sent events (WHATWG HTML, section 9.2): bytes to events and back, whatever the network cut."""

import re
from typing import Final

import msgspec

from .base import BadAnswer

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""One event may hold a whole image; more than this is not an answer."""

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
# A blank line: two line ends in a row. A CR is one only when the byte after it is known not to be its LF.
_BLANK_LINE: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?=[^\n]))")
_LONGEST_BLANK_LINE: Final = 4


class RawEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: its bytes with the blank line, its data (None: it has none, a comment) and its name."""

    raw: bytes
    data: bytes | None
    name: bytes = b""


class Decoder:
    """Cuts a byte stream into events; every byte that it is fed is in the `raw` of exactly one event."""

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._first = True

    def feed(self, data: bytes) -> list[RawEvent]:
        """The events that are whole now. Raises BadAnswer where one is larger than the limit."""
        pending = self._pending
        if pending:
            searched = max(0, len(pending) - _LONGEST_BLANK_LINE)
            pending += data
            if _BLANK_LINE.search(pending, searched) is None:
                self._check_size()
                return []
            data = bytes(pending)
            pending.clear()
        events: list[RawEvent] = []
        rest = self._plain(data, events) if b"\r" not in data else self._any(data, events)
        if rest < len(data):
            pending += data[rest:] if rest else data
            self._check_size()
        return events

    def close(self) -> list[RawEvent]:
        """The event that the end of the stream left without its blank line, given one; most servers mean it."""
        tail = bytes(self._pending)
        self._pending.clear()
        if not tail.strip(b"\r\n"):
            return [RawEvent(tail, None)] if tail else []
        # The blank line was there, but ended in a CR that could have been half of CRLF.
        ended = len(_LINE_END.split(tail)) > 2 and _LINE_END.split(tail)[-2:] == [b"", b""]
        return [self._parsed(tail if ended else tail.rstrip(b"\r\n") + b"\n\n")]

    def _plain(self, data: bytes, events: list[RawEvent]) -> int:
        """Events whose lines end in LF alone; where the rest begins. Nearly all streams, so it is written for speed."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            # One line of data is all that most events are.
            if data[end + 1 : end + 2] == b"\n" and data[start : start + 6] == b"data: ":
                events.append(RawEvent(data[start : end + 2], data[start + 6 : end]))
                self._first = False
                start = end + 2
                continue
            end = data.find(b"\n\n", end)
            if end < 0:
                break
            events.append(self._parsed(data[start : end + 2]))
            start = end + 2
        return start

    def _any(self, data: bytes, events: list[RawEvent]) -> int:
        start = 0
        while blank := _BLANK_LINE.search(data, start):
            events.append(self._parsed(data[start : blank.end()]))
            start = blank.end()
        return start

    def _parsed(self, raw: bytes) -> RawEvent:
        text = raw
        if self._first:
            self._first = False
            text = raw.removeprefix(_BOM)
        data: list[bytes] = []
        name = b""
        for line in _LINE_END.split(text):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
            # `id` and `retry` steer reconnection, which no provider offers; unknown fields and comments are ignored.
        return RawEvent(raw, b"\n".join(data) if data else None, name)

    def _check_size(self) -> None:
        if len(self._pending) > self._limit:
            raise BadAnswer(f"an event of the upstream's stream is larger than {self._limit} bytes")


def encode_event(data: bytes, name: str = "") -> bytes:
    """One event. The space after `data:` and the LF line ends are what every client's reader knows."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    if name:
        return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"


def encode_comment(text: str) -> bytes:
    """A line that clients ignore. Without a blank line: some readers take that for an event without data, and fail."""
    return b": " + text.encode() + b"\n"

"""What is kept of a stream that goes on unread: its beginning and its end, in which usage is looked for, and its length."""

from typing import Final

from engine.codecs.base import BadAnswer, Codec
from engine.model.exchange import CallDelta, CallOpened, TextDelta, Usage

FIRST: Final = 4_096
"""Bytes of the beginning: Anthropic says in its first event how long the input was, and may not say it again."""
TAIL: Final = 16_384
"""Bytes of the end, where every protocol says the rest."""

SHARE: Final = 1 / 8
"""Of the bytes of a stream, those that the model said, where beginning and end cannot be read without what stood between."""


class Unread:
    """Keeps no more than it needs, whatever passes."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._first = b""
        """The beginning of a long stream, once it is one."""
        self._last: list[bytes] = []
        """The end as it came, piece by piece; of a short stream all of it."""
        self._size = 0
        self._full = 2 * TAIL
        """The length at which the pieces are put together and cut: a copy for each of them would cost more than they."""

    def add(self, data: bytes) -> None:
        """More of the stream went by."""
        self._last.append(data)
        self._size += len(data)
        if self._size >= self._full:
            self._first, tail = self._ends()
            self._last, self._full = [tail], self._size + TAIL

    def _ends(self) -> tuple[bytes, bytes]:
        kept = b"".join(self._last)
        return self._first or kept[:FIRST], kept[-TAIL:]

    def usage(self, rest: bytes = b"") -> Usage | None:
        """What the provider reported; `rest` is what did not go by yet."""
        first, tail = self._ends()
        return self._codec.usage_in_tail((tail if self._size <= TAIL else first + b"\n\n" + tail) + rest)

    def said(self) -> int:
        """About how many bytes of text and of calls the model said so far, for a stream that was broken off.

        A short stream is read now; of a long one the beginning and the end are, and stand for all of it.
        """
        first, kept = self._ends()
        if self._size > TAIL:
            kept = first.rpartition(b"\n\n")[0] + b"\n\n" + kept.partition(b"\n\n")[2]
        return round(self._read(kept) / len(kept) * self._size) if kept else 0

    def _read(self, kept: bytes) -> float:
        said = 0
        try:
            for _, chunks in self._codec.reader().feed(kept):
                for chunk in chunks:
                    match chunk:
                        case TextDelta(text=text) | CallDelta(arguments=text) | CallOpened(name=text):
                            said += len(text.encode("utf-8", "surrogatepass"))
                        case _:
                            pass
        except BadAnswer:
            return SHARE * len(kept)
        return said

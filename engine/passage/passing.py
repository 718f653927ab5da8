"""A stream that matters for its tool calls alone: let through as the bytes that came, until one of them appears."""

from collections.abc import AsyncIterator
from typing import Final

from engine.codecs.base import Codec

HELD_LIMIT: Final = 65_536
"""Bytes of one event that are held for its end; a longer one is read as if it held a call."""

_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


def whole_events(data: bytes) -> tuple[bytes, bytes]:
    """The events that are whole, and the beginning of the next one."""
    if data.endswith(_ENDS):
        return data, b""
    end = max(data.rfind(mark) + len(mark) if mark in data else 0 for mark in _ENDS)
    return data[:end], data[end:]


class Passing:
    """Passes whole events on without decoding them. When a call may begin, `rest` is what was not passed.

    INVARIANT: what went out is whole events, so that an event with a call in it has not begun to go out.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.passed: list[bytes] = []
        self.rest: bytes = b""
        self.ended = False

    async def until_call(self, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The bytes that may go on; ends where a call may begin, or with the source."""
        async for data in source:
            held = self.rest + data
            if self._codec.may_hold_calls(held) or len(held) > HELD_LIMIT + len(data):
                self.rest = held
                return
            whole, self.rest = whole_events(held)
            if whole:
                self.passed.append(whole)
                yield whole
        self.ended = True

"""A stream of server-sent events read frame by frame: what is the same in every protocol that streams so."""

from typing import Any, Final

from engine.model.exchange import Chunk, Closed, Frame, Other, Part

from .base import BadAnswer
from .json_text import MalformedJson, decode_json_leniently
from .sse import Decoder, RawEvent

Said = list[tuple[Frame, tuple[Chunk, ...]]]

NOTHING_SAID: Final = (Other(),)
CLOSED: Final = (Closed(),)


class FrameReader:
    """The StreamReader of a protocol, which says in `_read` what one event means and in `_end` what a whole stream is."""

    def __init__(self) -> None:
        self.complete = False
        self.thoughts: list[Part] = []
        self._events = Decoder()
        self._broken: BadAnswer | None = None

    def feed(self, data: bytes) -> Said:
        """What came before a frame that cannot be read is said first; the next call raises."""
        if self._broken is not None:
            raise self._broken
        said: Said = []
        try:
            for event in self._events.feed(data):
                said.append(self._read(event))
        except BadAnswer as mistake:
            if not said:
                raise
            self._broken = mistake
        return said

    def close(self) -> Said:
        """The last frames. Raises BadAnswer where the stream was cut."""
        if self._broken is not None:
            raise self._broken
        said = [self._read(event) for event in self._events.close()]
        self._end()
        return said

    def _read(self, event: RawEvent) -> tuple[Frame, tuple[Chunk, ...]]:
        """One event, and what it says. Raises BadAnswer."""
        raise NotImplementedError

    def _end(self) -> None:
        """The upstream has ended. Raises BadAnswer where it had not said all."""
        raise NotImplementedError


def object_in(text: bytes) -> tuple[dict[str, Any], bool]:
    """The JSON object of an event, and whether it is well-formed; else it may hold halves of surrogate pairs. Raises
    BadAnswer."""
    try:
        data, well_formed = decode_json_leniently(text)
    except MalformedJson as mistake:
        raise BadAnswer(f"an event of the upstream's stream is not JSON: {mistake}") from mistake
    if not isinstance(data, dict):
        raise BadAnswer("an event of the upstream's stream is not a JSON object")
    return data, well_formed

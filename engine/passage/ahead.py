"""A response of which the beginning was read before anybody gets it: whether it says something, or fails, is then known."""

from collections.abc import AsyncIterator
from typing import Final

from engine.codecs.base import BadAnswer, StreamReader
from engine.model.exchange import CallDelta, CallOpened, Chunk, Failed, Finished, Frame, TextDelta
from engine.world.http.base import Headers, Response

LARGEST: Final = 64_000_000
"""Bytes of a whole answer."""


class Ahead:
    """A response, with its first bytes read; it goes on where they end."""

    def __init__(
        self, response: Response, read: list[bytes], rest: AsyncIterator[bytes] | None, *, says: bool = True
    ) -> None:
        self.says = says
        """Whether it was seen to say something; one that ended without is no answer that anybody hoped for."""
        self._response = response
        self._read = read
        self._rest = rest

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Headers:
        return self._response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        while self._read:
            yield self._read.pop(0)
        if self._rest is not None:
            async for data in self._rest:
                yield data

    async def read(self, limit: int) -> bytes:
        if self._rest is not None:
            self._read += [data async for data in self._rest]
        body = b"".join(self._read)
        self._read.clear()
        return body[:limit]

    async def aclose(self) -> None:
        self._read.clear()
        await self._response.aclose()


class FailedAtOnce(Exception):
    """A stream said an error before it said anything else."""

    def __init__(self, failed: Failed, frame: Frame) -> None:
        super().__init__(failed.message)
        self.failed = failed
        self.frame = frame


async def whole_ahead(response: Response) -> Ahead:
    """All of an answer that is not streamed. Raises TransportError."""
    return Ahead(response, [await response.read(LARGEST)], None)


async def first_output(response: Response, reader: StreamReader, *, whole_calls: bool) -> Ahead:
    """A streamed answer up to its first output: text, or a call (`whole_calls`: all of it); a role or a ping is none.

    `reader` is one of the backend's protocol, and nobody else's. Raises TransportError, FailedAtOnce. A stream that cannot
    be read is not judged here.
    """
    read: list[bytes] = []
    source = response.chunks()
    calls = False
    async for data in source:
        read.append(data)
        try:
            said = reader.feed(data)
        except BadAnswer:
            break
        for frame, chunks in said:
            for chunk in chunks:
                if isinstance(chunk, Failed):
                    raise FailedAtOnce(chunk, frame)
                if _says_something(chunk, calls, whole_calls):
                    return Ahead(response, read, source)
                calls = calls or isinstance(chunk, CallOpened)
    return Ahead(response, read, source, says=False)


def _says_something(chunk: Chunk, calls: bool, whole_calls: bool) -> bool:
    match chunk:
        case TextDelta(text=text):
            return bool(text)
        case CallOpened():
            return not whole_calls or calls  # a second one begins where the first is whole
        case CallDelta():
            return not whole_calls
        case Finished():
            return calls
        case _:
            return False

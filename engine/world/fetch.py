"""Documents that the operator's configuration names by URL, such as an issuer's keys: fetched by GET, bounded in all.

The URL is the operator's own, so that it may lead into the operator's network, as a backend's may. Redirects are not
followed: what answers must be what was named.
"""

import asyncio
from pathlib import Path
from typing import Final

from engine.diagnostics import LexgateError
from engine.world.http.base import Origin, Request, Timeouts, TransportError
from engine.world.http.pool import PooledClient, PoolSettings

_TIMEOUTS: Final = Timeouts(connect=5.0, write=5.0, first_byte=5.0, idle=5.0, total=8.0)
_HEADERS: Final = [(b"accept", b"application/json"), (b"accept-encoding", b"identity"), (b"user-agent", b"lexgate")]


class FetchFailed(LexgateError):
    """There is no document; the text names the server, never path or query."""


async def read_file(path: Path) -> bytes:
    """The document in a file. Raises FetchFailed."""
    try:
        return await asyncio.to_thread(path.read_bytes)
    except OSError as problem:
        raise FetchFailed(f"{path} cannot be read: {problem.strerror}") from problem


class Fetcher:
    """One for a process; must be made in a running event loop."""

    def __init__(self, limit: int = 1_000_000) -> None:
        """`limit` is the largest document in bytes."""
        self._client = PooledClient(PoolSettings(max_connections=4))
        self._limit = limit

    async def get(self, url: str) -> bytes:
        """The document of a URL `http(s)://host/path?query`. Raises FetchFailed."""
        base, question, query = url.partition("?")
        try:
            origin, path = Origin.parse(base)
        except ValueError as wrong:
            raise FetchFailed(str(wrong)) from None
        target = (path or "/") + question + query
        try:
            response = await self._client.send(Request(origin, target.encode(), b"GET", list(_HEADERS)), _TIMEOUTS)
            try:
                if response.status != 200:
                    raise FetchFailed(f"{origin} answered {response.status}")
                return await response.read(self._limit)
            finally:
                await response.aclose()
        except TransportError as failure:
            raise FetchFailed(f"{origin}: {failure}") from failure

    async def aclose(self) -> None:
        await self._client.aclose()

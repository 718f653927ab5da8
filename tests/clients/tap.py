"""A relay on loopback: it hands the bytes on both ways as they are, and keeps what the client sent.

with Tap(lexgate.port) as tap:
    ...  # a client that is pointed at `tap.origin`
    assert [request.body for request in tap.requests] == [...]
"""

import asyncio
import threading
from types import TracebackType
from typing import Self

from tests.support.provider import PATIENCE, Received, read_request


class Tap:
    """`port` is where the bytes go; `origin` is where they come from."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._heard: list[bytearray] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="tap", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE), "the relay did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(PATIENCE)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[Received]:
        """The requests that were sent to their end, connection by connection."""
        return [request for heard in self._heard for request in asyncio.run(_requests(bytes(heard)))]

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        heard = bytearray()
        self._heard.append(heard)
        back, on = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            await asyncio.gather(_hand_on(reader, on, heard), _hand_on(back, writer, bytearray()))
        except ConnectionError:
            pass
        finally:
            on.close()
            writer.close()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    while piece := await reader.read(65_536):
        kept += piece
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _requests(heard: bytes) -> list[Received]:
    reader = asyncio.StreamReader()
    reader.feed_data(heard)
    reader.feed_eof()
    found = []
    try:
        while (request := await read_request(reader)) is not None:
            found.append(request)
    except asyncio.IncompleteReadError:  # the client went away in the middle of it
        pass
    return found

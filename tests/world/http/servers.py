"""Servers that speak raw bytes, for tests of what a client does when the other side misbehaves."""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from engine.world.http.base import Origin, Request

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Wire:
    """One accepted connection, `number` from 1."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self._reader, self._writer = reader, writer

    async def head(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def exactly(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def request(self) -> bytes:
        """A whole request: head and body."""
        head = await self.head()
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length: "):
                return head + await self._reader.readexactly(int(line[16:]))
        return head

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, data: bytes = OK) -> None:
        await self.request()
        await self.send(data)

    async def gone(self) -> None:
        """Wait until the client has closed or reset the connection."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass

    def half_close(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Drop the connection with RST. Over TLS: without close_notify."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def cut(self) -> None:
        """End the TCP stream (FIN) without a word of TLS."""
        with socket.socket(fileno=os.dup(self._writer.get_extra_info("socket").fileno())) as sock:
            sock.shutdown(socket.SHUT_WR)


class Server:
    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.origin = Origin(scheme, "127.0.0.1" if scheme == "http" else "localhost", port)
        self.connections = 0
        self.tasks: list[asyncio.Task[None]] = []

    def request(self, body: bytes = b"{}", method: bytes = b"POST") -> Request:
        return Request(self.origin, b"/v1/chat/completions", method, body=body)

    async def finished(self) -> None:
        """Wait until every connection's script has ended; raises what a script raised."""
        await asyncio.gather(*self.tasks)


@asynccontextmanager
async def serving(
    script: Callable[[Wire], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """Run `script` for each connection. A script that returns leaves the connection open; errors of scripts are raised."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    server = Server(sock.getsockname()[1], "https" if tls else "http")
    open_writers: list[asyncio.StreamWriter] = []

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        open_writers.append(writer)
        wire = Wire(server.connections, reader, writer)
        server.tasks.append(asyncio.ensure_future(_run(script, wire)))

    listening = await asyncio.start_server(accepted, sock=sock, ssl=tls)
    try:
        yield server
        for task in server.tasks:
            if task.done():
                task.result()
    finally:
        listening.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        for writer in open_writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def _run(script: Callable[[Wire], Awaitable[None]], wire: Wire) -> None:
    await script(wire)


def always(data: bytes, *, then_close: bool = False) -> Callable[[Wire], Awaitable[None]]:
    """A script that answers every request of a connection with `data`."""

    async def script(wire: Wire) -> None:
        try:
            while True:
                await wire.answer(data)
                if then_close:
                    wire.close()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    return script

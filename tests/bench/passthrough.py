"""The bare pass-through that everything is compared with: uvicorn, one HTTP client, no rule; raw ASGI, or under Litestar.

`python -m tests.bench.passthrough CLIENT UPSTREAM_PORT [litestar]` with a client of `CLIENTS`.
"""

import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import aiohttp
import httpx2
import uvicorn
from litestar import Litestar, post
from litestar.types import ASGIApp
from litestar.types import Scope as LitestarScope
from pyreqwest.client import ClientBuilder

from engine.world.http.base import Origin, Request, Timeouts
from engine.world.http.general import GeneralClient
from engine.world.http.pool import PooledClient
from tests.bench.process import announce

Answer = tuple[int, list[tuple[bytes, bytes]], AsyncIterator[bytes]]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Forward(Protocol):
    async def __call__(self, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer: ...


_NOT_FORWARDED = frozenset((b"host", b"content-length", b"connection", b"transfer-encoding"))
_NOT_RETURNED = frozenset((b"connection", b"transfer-encoding", b"keep-alive"))


def contract(client: PooledClient | GeneralClient, origin: Origin) -> Forward:
    timeouts = Timeouts()

    async def forward(path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer:
        response = await client.send(Request(origin, path.encode(), headers=headers, body=body), timeouts)
        return response.status, response.headers, response.chunks()

    return forward


def own(base: str) -> Forward:
    return contract(PooledClient(), Origin.parse(base)[0])


def general(base: str) -> Forward:
    return contract(GeneralClient(), Origin.parse(base)[0])


def by_httpx2(base: str) -> Forward:
    client = httpx2.AsyncClient(base_url=base, timeout=60)

    async def forward(path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer:
        response = await client.send(client.build_request("POST", path, headers=headers, content=body), stream=True)
        return response.status_code, response.headers.raw, _closing(response)

    async def _closing(response: httpx2.Response) -> AsyncIterator[bytes]:
        async for chunk in response.aiter_raw():
            yield chunk
        await response.aclose()

    return forward


def by_aiohttp(base: str) -> Forward:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)

    async def forward(path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer:
        named = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        response = await session.post(base + path, data=body, headers=named)
        return response.status, [(n.lower(), v) for n, v in response.raw_headers], response.content.iter_any()

    return forward


def by_pyreqwest(base: str) -> Forward:
    client = ClientBuilder().gzip(False).brotli(False).zstd(False).deflate(False).build()

    async def forward(path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer:
        named = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        context = client.post(base + path).headers(named).body_bytes(body).build_streamed()
        response = await context.__aenter__()
        raw = [(name.encode(), value.encode()) for name, value in response.headers.items()]

        async def chunks() -> AsyncIterator[bytes]:
            while (chunk := await response.body_reader.read_chunk()) is not None:
                yield bytes(chunk)
            await context.__aexit__(None, None, None)

        return response.status, raw, chunks()

    return forward


CLIENTS: dict[str, Callable[[str], Forward]] = {
    "own": own,
    "pyreqwest": by_pyreqwest,
    "aiohttp": by_aiohttp,
    "httpcore2": general,
    "httpx2": by_httpx2,
}


class PassThrough:
    """The ASGI application."""

    def __init__(self, make: Callable[[str], Forward], base: str) -> None:
        self._make, self._base = make, base
        self._forward: Forward | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._forward is None:  # clients want the running loop
            self._forward = self._make(self._base)
        message = await receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        headers = [pair for pair in scope["headers"] if pair[0] not in _NOT_FORWARDED]
        status, received, chunks = await self._forward(scope["path"], headers, body)
        returned = [pair for pair in received if pair[0] not in _NOT_RETURNED]
        await send({"type": "http.response.start", "status": status, "headers": returned})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def under_litestar(forwarding: PassThrough) -> Litestar:
    """The same as a Litestar handler that answers with an ASGI callable, the cheapest that a Litestar handler can be."""

    @post("/v1/chat/completions", status_code=200)
    async def forward(scope: LitestarScope) -> ASGIApp:
        called: Any = forwarding.__call__
        return called  # type: ignore[no-any-return]

    return Litestar([forward], openapi_config=None, logging_config=None)


def main(client: str, upstream: int, framework: str = "") -> None:
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    app: Any = PassThrough(CLIENTS[client], f"http://127.0.0.1:{upstream}")
    if framework == "litestar":
        app = under_litestar(app)
    config = uvicorn.Config(
        app, http="httptools", loop="uvloop", lifespan="off", log_level="warning", access_log=False, interface="asgi3"
    )
    announce(sock.getsockname()[1])
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])

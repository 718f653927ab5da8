"""The general transport, for what the hot path does not speak: HTTP/2, and HTTP or SOCKS proxies, by httpx2's core."""

import asyncio
import importlib.util
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import httpcore2
import httpx2

from engine.world.http.base import (
    DEFAULT_PORTS,
    BodyTooLarge,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    FirstByteTimeout,
    Headers,
    IdleTimeout,
    InvalidRequest,
    Phase,
    PoolExhausted,
    ProtocolBroken,
    Request,
    Timeouts,
    TLSFailed,
    TotalTimeout,
    TransportError,
    TruncatedBody,
    WriteTimeout,
)
from engine.world.http.wire import end_to_end

# What httpcore raises before the head -> what it means here, and whether the server may have seen the request.
_BEFORE_HEAD: tuple[tuple[type[Exception], type[TransportError], bool], ...] = (
    (httpcore2.PoolTimeout, PoolExhausted, False),
    (httpcore2.ConnectTimeout, ConnectTimeout, False),
    (httpcore2.ConnectError, ConnectFailed, False),
    (httpcore2.ProxyError, ConnectFailed, False),
    (httpcore2.UnsupportedProtocol, InvalidRequest, False),
    (httpcore2.LocalProtocolError, InvalidRequest, False),
    (httpcore2.WriteTimeout, WriteTimeout, True),
    (httpcore2.ReadTimeout, FirstByteTimeout, True),
    (httpcore2.RemoteProtocolError, ProtocolBroken, True),
    (httpcore2.NetworkError, ConnectionLost, True),
)
_DISCONNECTED = "Server disconnected without sending a response."


class GeneralResponse:
    """Satisfies `base.Response`."""

    def __init__(
        self, response: httpcore2.Response, timeouts: Timeouts, total_at: float, on_end: Callable[[], Awaitable[None]]
    ) -> None:
        self.status = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.headers]
        self._response = response
        self._timeouts = timeouts
        self._total_at = total_at
        self._on_end = on_end
        self._ended = False

    async def chunks(self) -> AsyncGenerator[bytes]:
        loop = asyncio.get_running_loop()
        try:
            async with aclosing(self._response.aiter_stream()) as stream:
                while True:
                    deadline = min(loop.time() + self._timeouts.idle, self._total_at)
                    try:
                        async with asyncio.timeout_at(deadline):
                            chunk = await anext(stream, None)
                    except TimeoutError:
                        raise self._too_late(deadline) from None
                    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
                        raise TruncatedBody(f"the connection ended inside the body ({error})", sent=True) from error
                    if chunk is None:
                        return
                    if chunk:
                        yield chunk
        finally:
            await self.aclose()

    async def read(self, limit: int) -> bytes:
        taken = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                taken += chunk
                if len(taken) > limit:
                    raise BodyTooLarge(f"the response has more than {limit} bytes", sent=True)
        return bytes(taken)

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            await self._response.aclose()
            await self._on_end()

    def _too_late(self, deadline: float) -> TransportError:
        if deadline == self._total_at:
            return TotalTimeout("the exchange took longer than its total time-out", sent=True, phase=Phase.BODY)
        return IdleTimeout(f"the body stood still for {self._timeouts.idle:g} s", sent=True)


class GeneralClient:
    """Satisfies `base.Client`. `proxy` is an http, https, socks5 or socks5h URL; `http2` offers HTTP/2 by ALPN.

    Raises ModuleNotFoundError, at start and not at the first request, where the package for it is not installed.
    """

    def __init__(
        self,
        *,
        http2: bool = False,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
        max_connections: int = 512,
        idle_expiry: float = 4.5,
    ) -> None:
        for package, wanted in (("h2", http2), ("socksio", proxy is not None and proxy.startswith("socks"))):
            if wanted and importlib.util.find_spec(package) is None:
                raise ModuleNotFoundError(
                    f"this backend needs the package {package}: pip install 'httpx2[http2,socks]'"
                )
        context = tls or httpx2.create_ssl_context()
        self._pool = _pool(proxy, context, http2, max_connections, idle_expiry)
        self._in_flight = 0
        self.closed = False

    async def send(self, request: Request, timeouts: Timeouts) -> GeneralResponse:
        if self.closed:
            raise ClientClosed("the client is closed", sent=False)
        total_at = asyncio.get_running_loop().time() + timeouts.total
        limits: dict[str, float | None] = {
            "pool": timeouts.connect,
            "connect": timeouts.connect,
            "write": timeouts.write,
            "read": timeouts.first_byte,
        }
        outgoing = _outgoing(request, limits)
        self._in_flight += 1
        try:
            async with asyncio.timeout_at(total_at):
                response = await self._pool.handle_async_request(outgoing)
        except TimeoutError:
            await self._ended()
            raise TotalTimeout("no response within the total time-out", sent=True, phase=Phase.HEAD) from None
        except _HTTPCORE as error:
            await self._ended()
            raise _translated(error) from error
        except BaseException:
            await self._ended()
            raise
        limits["read"] = None  # httpcore looks it up anew for the body, whose silence is measured by `chunks`
        answer = GeneralResponse(response, timeouts, total_at, self._ended)
        if response.status < 200:
            await answer.aclose()
            raise ProtocolBroken("the server switched protocols", sent=True)
        return answer

    async def aclose(self) -> None:
        self.closed = True
        if not self._in_flight:
            await self._pool.aclose()

    async def _ended(self) -> None:
        self._in_flight -= 1
        if self.closed and not self._in_flight:  # the last response of a closed client takes the pool with it
            await self._pool.aclose()


_HTTPCORE = tuple(theirs for theirs, _, _ in _BEFORE_HEAD)


def _pool(
    proxy: str | None, tls: ssl.SSLContext, http2: bool, max_connections: int, idle_expiry: float
) -> httpcore2.AsyncConnectionPool:
    if proxy is None:
        return httpcore2.AsyncConnectionPool(
            ssl_context=tls, http2=http2, max_connections=max_connections, keepalive_expiry=idle_expiry
        )
    url = httpx2.Proxy(proxy)  # takes the credentials out of the URL
    where = httpcore2.URL(scheme=url.url.raw_scheme, host=url.url.raw_host, port=url.url.port, target=url.url.raw_path)
    kind = httpcore2.AsyncSOCKSProxy if url.url.scheme.startswith("socks5") else httpcore2.AsyncHTTPProxy
    return kind(
        where,
        proxy_auth=url.raw_auth,
        ssl_context=tls,
        http2=http2,
        max_connections=max_connections,
        keepalive_expiry=idle_expiry,
    )


def _outgoing(request: Request, limits: dict[str, float | None]) -> httpcore2.Request:
    origin = request.origin
    port = None if origin.port == DEFAULT_PORTS[origin.scheme] else origin.port
    url = httpcore2.URL(scheme=origin.scheme, host=origin.host, port=port, target=request.target)
    headers = [(b"host", origin.authority.encode("ascii")), *end_to_end(request)]
    if request.body or request.method not in (b"GET", b"HEAD"):
        headers.append((b"content-length", b"%d" % len(request.body)))
    return httpcore2.Request(request.method, url, headers=headers, content=request.body, extensions={"timeout": limits})


def _translated(error: Exception) -> TransportError:
    if any(isinstance(reason, ssl.SSLError) for reason in error.args):  # httpcore wraps what it was told
        return TLSFailed(f"TLS failed: {error}", sent=False)
    if str(error) == _DISCONNECTED:
        return ConnectionLost("the server closed the connection without an answer", sent=True)
    for theirs, ours, sent in _BEFORE_HEAD:
        if isinstance(error, theirs):
            return ours(str(error) or theirs.__name__, sent=sent)
    raise error

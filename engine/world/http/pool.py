"""The hot-path client: HTTP/1.1 over TCP or TLS, with a bounded pool of connections for each origin."""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable

import httpx2
import msgspec

from engine.world.http.base import (
    ClientClosed,
    ConnectionLost,
    ConnectTimeout,
    Origin,
    Phase,
    PoolExhausted,
    Request,
    Timeouts,
    TLSFailed,
    TotalTimeout,
)
from engine.world.http.connection import Answer, Connection, Limits
from engine.world.http.dial import Resolve, dial, resolve
from engine.world.http.wire import host_line, request_head


class PoolSettings(msgspec.Struct, frozen=True):
    """Bounds for each origin. Times are seconds.

    `idle_expiry` is below the 5 s after which common servers (uvicorn, Node) close an idle connection; a shorter time that
    a server announces (`Keep-Alive: timeout=`) counts. `max_lifetime` bounds how long a changed DNS answer goes unseen.

    `retry_stale`: a reused connection that ends before one byte of a response is, nearly always, the server's idle time-out
    crossing our request: it was never read. Such a request is sent once more, on a new connection. RFC 9110 §9.2.2 allows
    that for a POST only where a repetition is known to be harmless; browsers do it for every method. Here it is harmless in
    what matters: generating text changes nothing at the provider, tool calls are executed by the client, and in the worst
    case (a server that died while it was answering) one generation is paid twice. Turn it off for backends that do more.
    """

    max_connections: int = 512
    max_waiting: int = 4096
    idle_expiry: float = 4.5
    max_lifetime: float = 600.0
    retry_stale: bool = True
    limits: Limits = Limits()


class PooledClient:
    """Satisfies `base.Client`. `clock` only ages connections; time-outs run on the loop's own clock."""

    def __init__(
        self,
        settings: PoolSettings = PoolSettings(),
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolve,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings
        self.resolve = resolve
        self.loop = asyncio.get_running_loop()
        self.clock = clock or self.loop.time
        self._tls = tls
        self._pools: dict[Origin, _Pool] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self.closed = False

    async def send(self, request: Request, timeouts: Timeouts) -> Answer:
        if self.closed:
            raise ClientClosed("the client is closed", sent=False)
        pool = self._pools.get(request.origin)
        if pool is None:
            pool = self._pools[request.origin] = _Pool(self, request.origin)
        head = request_head(request, pool.host_line)
        now = self.loop.time()
        total_at = now + timeouts.total
        connection = pool.take_idle() or await pool.acquire(now, total_at, timeouts)
        reused = connection.served > 0
        answer = connection.start(head, request.body, timeouts, total_at, head_only=request.method == b"HEAD")
        try:
            await answer.head()
        except ConnectionLost:
            if not (reused and self.settings.retry_stale):
                raise
        else:
            return answer
        connection = await pool.acquire(self.loop.time(), total_at, timeouts, fresh=True)
        answer = connection.start(head, request.body, timeouts, total_at, head_only=request.method == b"HEAD")
        await answer.head()
        return answer

    async def aclose(self) -> None:
        self.closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for pool in self._pools.values():
            pool.shut()

    @property
    def in_flight(self) -> int:
        """Connections that carry an exchange or are being made."""
        return sum(pool.busy for pool in self._pools.values())

    def tls(self) -> ssl.SSLContext:
        if self._tls is None:  # loading the trust store takes 20 ms: once, and only where a backend speaks https
            self._tls = httpx2.create_ssl_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def sweep_later(self) -> None:
        if self._sweep is None and not self.closed:
            self._sweep = self.loop.call_later(self.settings.idle_expiry, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        for origin, pool in list(self._pools.items()):
            if pool.expire():
                self.sweep_later()
            if pool.unused:
                del self._pools[origin]


class _Pool:
    """The connections to one origin. INVARIANT: `count` is those that are open or being made, and never above the cap."""

    def __init__(self, client: PooledClient, origin: Origin) -> None:
        self.host_line = host_line(origin)
        self._client = client
        self._settings = client.settings
        self._origin = origin
        self._idle: deque[Connection] = deque()
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._count = 0

    @property
    def busy(self) -> int:
        return self._count - len(self._idle)

    @property
    def unused(self) -> bool:
        return not self._count and not self._waiting

    def take_idle(self) -> Connection | None:
        """The connection that was used last: it is the least likely to be stale, and the others can grow old and go."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                if not self._expired(connection):
                    return connection
                connection.close()
        return None

    async def acquire(self, now: float, total_at: float, timeouts: Timeouts, *, fresh: bool = False) -> Connection:
        """A connection, new or handed over by another exchange, within the connect time-out."""
        step = Phase.POOL
        deadline = min(now + timeouts.connect, total_at)
        try:
            async with asyncio.timeout_at(deadline):
                if fresh and self._idle and self._count >= self._settings.max_connections:
                    self._idle.popleft().close()
                handed = await self._slot(first=fresh)
                while fresh and handed is not None:  # its slot is what is wanted
                    handed.close()
                    handed = await self._slot(first=True)
                if handed is not None:
                    return handed
                step = Phase.CONNECT
                return await self._open()
        except TimeoutError:
            if deadline == total_at:
                raise TotalTimeout("no connection within the total time-out", sent=False, phase=step) from None
            if step is Phase.POOL:
                raise PoolExhausted(
                    f"all {self._settings.max_connections} connections to {self._origin} stayed busy", sent=False
                ) from None
            raise ConnectTimeout(f"{self._origin} did not connect within {timeouts.connect:g} s", sent=False) from None

    def expire(self) -> bool:
        """Close what is too old; True if idle connections remain."""
        kept: deque[Connection] = deque()
        for connection in self._idle:
            if self._expired(connection):
                connection.close()
            elif not connection.closed:
                kept.append(connection)
        self._idle = kept
        return bool(kept)

    def shut(self) -> None:
        while self._idle:
            self._idle.pop().close()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(ClientClosed("the client was closed", sent=False))

    async def _slot(self, *, first: bool) -> Connection | None:
        """None: a new connection may be made, and is already counted. Else one that another exchange has just left.
        `first` stands at the head of the queue: it has waited before."""
        if self._count < self._settings.max_connections:
            self._count += 1
            return None
        if len(self._waiting) >= self._settings.max_waiting:
            raise PoolExhausted(f"{len(self._waiting)} requests already wait for {self._origin}", sent=False)
        waiter: asyncio.Future[Connection | None] = self._client.loop.create_future()
        if first:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        try:
            handed = await waiter
        except BaseException:
            self._give_back(waiter)
            raise
        if handed is None or not handed.closed:
            return handed
        return await self._slot(first=True)

    def _give_back(self, waiter: "asyncio.Future[Connection | None]") -> None:
        """Cancelled in the very turn in which it was served: what it was given goes to the next."""
        if not waiter.done() or waiter.cancelled() or waiter.exception() is not None:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            return
        handed = waiter.result()
        if handed is None:
            self._slot_freed()
        elif not handed.closed:
            self._on_free(handed)

    async def _open(self) -> Connection:
        client, origin = self._client, self._origin
        connection = Connection(client.loop, self._settings.limits, self._on_free, self._on_lost)
        opened = False
        try:
            sock = await dial(origin.host, origin.port, client.resolve)
            try:
                await client.loop.create_connection(
                    lambda: connection,
                    sock=sock,
                    ssl=client.tls() if origin.scheme == "https" else None,
                    server_hostname=origin.host if origin.scheme == "https" else None,
                )
            except BaseException:
                sock.close()
                raise
            opened = True
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise TLSFailed(f"TLS with {origin} failed: {_tls_reason(error)}", sent=False) from error
        except OSError as error:
            raise TLSFailed(f"{origin} closed the connection during the TLS handshake", sent=False) from error
        finally:
            if not opened:
                connection.disown()
                self._slot_freed()
        connection.born = client.clock()
        return connection

    def _expired(self, connection: Connection) -> bool:
        now = self._client.clock()
        hint = connection.keep_alive_hint
        expiry = self._settings.idle_expiry if hint is None else min(self._settings.idle_expiry, hint - 0.5)
        return now - connection.freed >= expiry or now - connection.born >= self._settings.max_lifetime

    def _on_free(self, connection: Connection) -> None:
        connection.freed = self._client.clock()
        if self._client.closed or connection.freed - connection.born >= self._settings.max_lifetime:
            connection.close()
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)
        self._client.sweep_later()

    def _on_lost(self, connection: Connection) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        self._slot_freed()

    def _slot_freed(self) -> None:
        self._count -= 1
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._count += 1
                waiter.set_result(None)
                return


def _tls_reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"the certificate is not accepted ({error.verify_message})"
        case ssl.SSLError():
            return (error.reason or str(error)).lower().replace("_", " ")
        case _:
            return str(error)

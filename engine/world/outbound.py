"""Calls that a policy names (webhooks, guard services, judges): only to where the operator lets them, bounded in all."""

import asyncio
import contextlib
import ssl
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final, TypeVar, assert_never

import msgspec
import structlog

from engine.diagnostics import ConfigurationError, LexgateError, Where, error
from engine.settings import Outbound as OutboundSettings
from engine.world.address import AllowList, Reach, Target, parse_target, reach_of
from engine.world.http.base import Fault, Phase, Request, Response, Timeouts, TransportError
from engine.world.http.dial import Address, Resolve, resolve
from engine.world.http.pool import PooledClient, PoolSettings

BACKOFF: Final = (0.5, 2.0)  # seconds before the second and the third try of a delivery
QUEUED: Final = 1000  # deliveries that wait
QUEUED_BYTES: Final = 16_000_000  # and what their bodies hold together
WORKERS: Final = (
    4  # deliveries at one time; the rest of `outbound.concurrency` is left to calls that somebody waits for
)
ANSWER_LIMIT: Final = 65_536  # bytes of a webhook's answer that are read, so that the connection can be used again

_HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),  # a compressed answer could grow beyond any bound
    (b"user-agent", b"lexgate"),
]

T = TypeVar("T")

_log = structlog.get_logger("lexgate.outbound")


class OutboundError(LexgateError):
    """Why a call has no answer; `fault` says whose doing it was. The text names the server, never path or query."""

    fault: Fault = Fault.SERVER


class OutboundRefused(OutboundError):
    """What the policy gave cannot be sent: the URL leads where the operator has not allowed calls to go, or is no plain
    http(s) URL; or the body is not JSON."""

    fault = Fault.CALLER


class OutboundBusy(OutboundError):
    """As many calls as `outbound.concurrency` allows were under way for half of the time-out, or this is shutting down."""

    fault = Fault.LOCAL


class OutboundFailed(OutboundError):
    """The server was not reached (`network`), or answered badly, too much, late or not at all (`server`)."""

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


class OutboundAnswer(msgspec.Struct, frozen=True):
    """What a server answered, whatever its status; a redirection is such an answer and is never followed."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON. Raises OutboundFailed."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as failure:
            raise OutboundFailed(f"the answer is not JSON: {failure}", Fault.SERVER) from failure


class Delivered(StrEnum):
    """What became of one notification."""

    OK = "delivered"
    FAILED = "failed"  # after the last try, or by an answer that another try would not change
    REFUSED = "refused"  # it was never sent: the URL is not allowed
    DROPPED = "dropped"  # the queue was full, or the process ended before its turn came


class _Notice(msgspec.Struct, frozen=True):
    rule: str
    target: Target
    body: bytes
    id: str


class Outbound:
    """One for a process. It has a client of its own, because its client must connect to nothing but checked addresses.

    A name is resolved once for a connection; every address of the answer is checked, and the connection is made to
    those very addresses, while Host and TLS speak of the name: an answer that changes afterwards changes nothing.
    """

    def __init__(
        self,
        settings: OutboundSettings,
        *,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        count: Callable[[str, Delivered], object] = lambda *_: None,
        backoff: Sequence[float] = BACKOFF,
        queued: int = QUEUED,
    ) -> None:
        """Must be made in a running event loop. `count(rule, result)` is called once for each notification. Raises
        ConfigurationError for an entry of `outbound.allow` that is neither host nor network."""
        try:
            self._allow = AllowList.parse(settings.allow)
        except ValueError as wrong:
            where = Where("outbound.allow")
            raise ConfigurationError(
                [error(153, str(wrong), where, "hooks.corp:8443, 127.0.0.1 or 10.0.0.0/8")]
            ) from None
        self._settings = settings
        self._resolve = resolve
        self._sleep = sleep
        self._count = count
        self._backoff = tuple(backoff)
        self._capacity = queued
        self._client = PooledClient(
            PoolSettings(max_connections=settings.concurrency), tls=tls, resolve=self._checked, clock=clock
        )
        bound = float(settings.timeout)
        self._timeouts = Timeouts(connect=bound, first_byte=bound, idle=bound, total=bound, write=bound)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._queue: deque[_Notice] = deque()
        self._queued_bytes = 0
        self._full = False
        self._workers: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def waiting(self) -> int:
        """Notifications whose first try has not begun."""
        return len(self._queue)

    async def post(self, url: str, body: Any) -> OutboundAnswer:
        """POST `body` as JSON, and wait for the whole answer, at most `outbound.timeout` in all. Raises OutboundError."""
        if self._closing:
            raise OutboundBusy("outbound calls are shutting down")
        target = self._permitted(url)

        async def read(response: Response) -> OutboundAnswer:
            return OutboundAnswer(response.status, await response.read(self._settings.max_bytes))

        return await self._exchange(target, _encoded(body), [], read)

    def notify(self, rule: str, url: str, body: Any) -> bool:
        """Queue a POST of `body` as JSON, on behalf of `rule`; returns at once, False where it will not be sent.

        A delivery is tried again after a connection that failed, a time-out or a 5xx, under the same `idempotency-key`.
        """
        try:
            target = self._permitted(url)
            data = _encoded(body)
        except OutboundRefused as refusal:
            self._settle(rule, Delivered.REFUSED, str(refusal))
            return False
        if self._closing:
            self._settle(rule, Delivered.DROPPED, "the process is ending")
            return False
        if len(self._queue) >= self._capacity or self._queued_bytes + len(data) > QUEUED_BYTES:
            if not self._full:  # a line for each would make a full log of a full queue; each is counted
                _log.warning("notify_queue_full", rule=rule, waiting=len(self._queue))
            self._full = True
            self._count(rule, Delivered.DROPPED)
            return False
        self._full = False
        self._queue.append(_Notice(rule, target, data, uuid.uuid4().hex))
        self._queued_bytes += len(data)
        if len(self._workers) < min(WORKERS, self._settings.concurrency):
            worker = asyncio.ensure_future(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)  # one that was cancelled before it began
        return True

    async def close(self, grace: float = 5.0) -> None:
        """Take no more, deliver for at most `grace` seconds what is queued, count the rest as dropped."""
        self._closing = True
        workers = list(self._workers)
        if workers:
            await asyncio.wait(workers, timeout=grace)
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        while self._queue:
            self._settle(self._queue.popleft().rule, Delivered.DROPPED, "the process ended before its turn came")
        await self._client.aclose()

    def _permitted(self, url: str) -> Target:
        """What can be known before a name is resolved. Raises OutboundRefused."""
        try:
            target = parse_target(url)
        except ValueError as wrong:
            raise OutboundRefused(str(wrong)) from None
        origin = target.origin
        if origin.scheme == "http" and not self._allow.admits_plain(target):
            raise OutboundRefused(f"{origin} is not https, and outbound.allow does not list the host")
        if target.literal is not None:
            self._check(origin.host, origin.port, origin.host)
        return target

    async def _checked(self, host: str, port: int) -> Sequence[Address]:
        """The addresses of a name, if all of them may be connected to: one of them is as good as the whole answer."""
        found = await self._resolve(host, port)
        for _, address in found:
            self._check(host, port, address[0])
        return found

    def _check(self, host: str, port: int, text: str) -> None:
        address = ip_address(text)
        if not self._allow.admits(host, port, address):
            reach = reach_of(address)
            named = f"{host} is" if text == host else f"{host} resolves to {text},"
            unlisted = "" if reach is Reach.NEVER else ", and outbound.allow does not list it"
            raise OutboundRefused(f"{named} {reach.value}{unlisted}")

    async def _exchange(
        self,
        target: Target,
        body: bytes,
        headers: list[tuple[bytes, bytes]],
        read: Callable[[Response], Awaitable[T]],
    ) -> T:
        """One call, the wait for a free slot included, within `outbound.timeout`."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        until = now + self._settings.timeout
        try:
            async with asyncio.timeout_at(
                now + self._settings.timeout / 2
            ):  # a later start would leave no time to answer
                await self._slots.acquire()
        except TimeoutError:
            raise OutboundBusy(f"{self._settings.concurrency} outbound calls were already under way") from None
        try:
            request = Request(target.origin, target.path, b"POST", [*_HEADERS, *headers], body)
            left = max(until - loop.time(), 0.001)
            response = await self._client.send(request, msgspec.structs.replace(self._timeouts, total=left))
            try:
                return await read(response)
            finally:
                await response.aclose()
        except TransportError as failure:
            raise OutboundFailed(f"{target.origin}: {failure}", _fault(failure)) from failure
        finally:
            self._slots.release()

    async def _work(self) -> None:
        """Deliver until the queue is empty; whoever queues next starts the next worker."""
        try:
            while self._queue:
                notice = self._queue.popleft()
                self._queued_bytes -= len(notice.body)
                result, why = Delivered.DROPPED, "its delivery was broken off"
                try:
                    result, why = await self._deliver(notice)
                finally:  # cancelled by `close`: it is counted too
                    self._settle(notice.rule, result, why)
        finally:  # INVARIANT: nothing is awaited since the queue was seen empty, so that nobody counts on this worker
            worker = asyncio.current_task()
            if worker is not None:
                self._workers.discard(worker)

    async def _deliver(self, notice: _Notice) -> tuple[Delivered, str]:
        headers = [(b"idempotency-key", notice.id.encode())]
        why = ""
        for delay in (None, *self._backoff):
            if delay is not None:
                await self._sleep(delay)
            try:
                status = await self._exchange(notice.target, notice.body, headers, _status)
            except OutboundRefused as refusal:
                return Delivered.REFUSED, str(refusal)
            except OutboundError as failure:
                why = str(failure)
                if failure.fault is Fault.CALLER:
                    break
                continue
            if 200 <= status < 300:
                return Delivered.OK, ""
            why = f"{notice.target.origin} answered {status}"
            if status < 500:
                break
        return Delivered.FAILED, why

    def _settle(self, rule: str, result: Delivered, why: str) -> None:
        self._count(rule, result)
        if result is not Delivered.OK:
            _log.warning("notify_failed", rule=rule, result=result.value, reason=why)


def _encoded(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as failure:
        raise OutboundRefused(f"the body is not JSON: {failure}") from failure


def _fault(failure: TransportError) -> Fault:
    """Whose doing a failed call was. A bound of ours that a started exchange met is the server's doing."""
    match failure.phase:
        case Phase.PREPARE | Phase.POOL:
            return failure.fault
        case Phase.CONNECT:
            return Fault.NETWORK
        case Phase.WRITE | Phase.HEAD | Phase.BODY:
            return Fault.SERVER
        case _:
            assert_never(failure.phase)


async def _status(response: Response) -> int:
    """The status; what follows it cannot undo the delivery."""
    with contextlib.suppress(TransportError):
        await response.read(ANSWER_LIMIT)
    return response.status

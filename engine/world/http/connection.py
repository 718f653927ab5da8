"""One HTTP/1.1 connection: an asyncio protocol that hands what llhttp parsed to a single waiting reader."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import cast

import httptools
import msgspec

from engine.world.http.base import (
    BodyTooLarge,
    ConnectionLost,
    FirstByteTimeout,
    Headers,
    IdleTimeout,
    Phase,
    ProtocolBroken,
    Timeouts,
    TotalTimeout,
    TransportError,
    TruncatedBody,
    WriteTimeout,
)

_JOIN_BELOW = 16 * 1024  # a small body travels with its head in one write; a large one is not copied for that
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_INTERIM_WITHOUT_BODY = frozenset((100, 102, 103))  # those that llhttp ends at the empty line whatever their fields say


class Limits(msgspec.Struct, frozen=True):
    """What a server may make us keep. `head` bounds (in bytes) heads, interim responses and trailers, and also any run of
    bytes that brings no body (chunk extensions); `buffer` is where reading stops until the reader took what is there."""

    head: int = 64 * 1024
    fields: int = 200
    interim: int = 16
    buffer: int = 256 * 1024


class Answer:
    """A response as this client gives it; satisfies `base.Response`. INVARIANT: it has one reader."""

    __slots__ = (
        "_connection",
        "_error",
        "_loop",
        "_parts",
        "_size",
        "_waiter",
        "complete",
        "headers",
        "length",
        "status",
    )

    def __init__(self, connection: "Connection", loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: Headers = []
        self.length: int | None = None
        self.complete = False
        self._connection = connection
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0
        self._error: TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def chunks(self) -> AsyncIterator[bytes]:
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._parts:
                return self._take()
            if self._error is not None:
                raise self._error
            if self.complete:
                raise StopAsyncIteration
            await self._wait()

    async def read(self, limit: int) -> bytes:
        if (self.length or 0) > limit:
            self._drop()
            raise BodyTooLarge(f"the response has {self.length} bytes, more than {limit}", sent=True)
        taken: list[bytes] = []
        size = 0
        while True:
            if self._parts:
                taken.append(self._take())
                size += len(taken[-1])
                if size > limit:
                    self._drop()
                    raise BodyTooLarge(f"the response has more than {limit} bytes", sent=True)
            elif self._error is not None:
                raise self._error
            elif self.complete:
                return taken[0] if len(taken) == 1 else b"".join(taken)
            else:
                await self._wait()

    async def aclose(self) -> None:
        self._drop()

    async def head(self) -> None:
        """Wait until status and headers are there."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    def put(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, error: TransportError) -> None:
        """End it with an error, which the reader meets after the bytes that came before."""
        if not self.complete and self._error is None:
            self._error = error
            self.wake()

    @property
    def buffered(self) -> int:
        return self._size

    def _take(self) -> bytes:
        parts = self._parts
        chunk = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        if not self.complete:
            self._connection.taken()
        return chunk

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except BaseException:  # cancelled: nobody reads on, so the server must stop working for it now
            self._drop()
            raise
        finally:
            self._waiter = None

    def _drop(self) -> None:
        if not self.complete and self._error is None:
            self._error = TruncatedBody("the response was closed before its end", sent=True)
            self._connection.abort()


class Connection(asyncio.Protocol):
    """Carries one exchange at a time. `on_free` is called when it can carry another, `on_lost` once, when it is gone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        on_free: Callable[["Connection"], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self.served = 0
        self.born = self.freed = 0.0
        self.keep_alive_hint: float | None = None
        self.closed = False
        self._loop, self._limits, self._on_free, self._on_lost = loop, limits, on_free, on_lost
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._timeouts = Timeouts()
        self._phase = Phase.HEAD
        self._phase_at = self._total_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._writing = self._reading_paused = False
        self._unwritten = 0
        self._reset()

    def _reset(self) -> None:
        self._heard = 0  # bytes of this exchange so far
        self._barren = 0  # bytes since the last one of a body: heads, trailers, chunk extensions
        self._fields = 0
        self._interim = 0
        self._in_interim = self._ended = self._head_only = self._chunked = False
        self._reusable = True

    def start(self, head: bytes, body: bytes, timeouts: Timeouts, total_at: float, *, head_only: bool) -> Answer:
        """Write the request, without waiting. `total_at` is a time of the loop's clock."""
        answer = self._answer = Answer(self, self._loop)
        self._reset()
        self._head_only = head_only
        self._timeouts = timeouts
        self._total_at = total_at
        if len(body) < _JOIN_BELOW:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        if self._writing:
            self._unwritten = self._transport.get_write_buffer_size()
            self._enter(Phase.WRITE, timeouts.write)
        else:
            self._enter(Phase.HEAD, timeouts.first_byte)
        return answer

    def abort(self) -> None:
        """Drop it now, without flushing. Its slot is free when `on_lost` is called."""
        self._close_transport(at_once=True)

    def close(self) -> None:
        """Close an idle connection in good order."""
        self._close_transport(at_once=False)

    def disown(self) -> None:
        """Nobody waits for it any more (its making was cancelled): `on_lost` will not be called."""
        self._on_lost = _nobody

    def taken(self) -> None:
        """The reader emptied the buffer."""
        if self._reading_paused and not self.closed:
            self._reading_paused = False
            self._enter(Phase.BODY, self._timeouts.idle)
            self._transport.resume_reading()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # `pause_writing` then means "not all is written", which is what the write time-out needs to know.
        # (Not 0: asyncio's TLS calls an empty buffer full then.)
        self._transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:  # bytes that nobody asked for must not become the answer to the next request
            self.abort()
            return
        size = len(data)
        self._heard += size
        self._barren += size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(ProtocolBroken("the server switched protocols", sent=True))
            return
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, TransportError):
                raise
            self._fail(cause)
            return
        except httptools.HttpParserError as error:
            self._fail(ProtocolBroken(f"the response is malformed: {error}", sent=True))
            return
        if self._ended:
            self._finish(answer)
            return
        if self._barren > self._limits.head:
            self._fail(ProtocolBroken(f"more than {self._limits.head} bytes of header or framing", sent=True))
            return
        if answer.status:
            self._enter(Phase.BODY, self._timeouts.idle)
            if answer.buffered:
                answer.wake()
                if answer.buffered > self._limits.buffer:
                    self._reading_paused = True
                    self._transport.pause_reading()

    def eof_received(self) -> bool:
        answer = self._answer
        until_close = answer is not None and answer.status and answer.length is None and not self._chunked
        if answer is not None and until_close and self._closed_properly():
            self._ended, self._reusable = True, False
            self._finish(answer)
        else:  # a peer that has closed its half can send no answer any more: say so now, not after a time-out
            self._settle(self._loss(None))
            self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._settle(self._loss(exc))
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._writing = True

    def resume_writing(self) -> None:
        self._writing = False
        if self._phase is Phase.WRITE and self._answer is not None:
            self._enter(Phase.HEAD, self._timeouts.first_byte)

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        if self._ended:
            self._reusable = False
            raise ProtocolBroken("bytes after the end of the response", sent=True)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > self._limits.fields:
            raise ProtocolBroken(f"more than {self._limits.fields} header fields", sent=True)
        answer = self._answer
        if answer is None or answer.status:  # a trailer: it may not change what was decided by the head
            return
        name = name.lower()
        value = value.rstrip(b" \t")
        if name in _FRAMING:
            self._frame(answer, name, value)
        elif name == b"keep-alive":
            self.keep_alive_hint = _announced_timeout(value)
        answer.headers.append((name, value))

    def on_headers_complete(self) -> None:
        answer = self._answer
        if answer is None or self._ended:
            return
        parser = self._parser
        status = parser.get_status_code()
        version = parser.get_http_version()
        if version != "1.1" and (version != "1.0" or self._chunked):
            # RFC 9112 §6.1: chunked in HTTP/1.0 is faulty framing.
            raise ProtocolBroken(f"HTTP/{version} with a framing that it does not have", sent=True)
        if status < 200:
            self._skip_interim(answer, status)
            return
        if status > 599:
            raise ProtocolBroken(f"{status} is not a status", sent=True)
        if self._barren > self._limits.head and sum(len(n) + len(v) for n, v in answer.headers) > self._limits.head:
            raise ProtocolBroken(f"more than {self._limits.head} bytes of header", sent=True)
        if self._head_only or status in (204, 304):
            answer.length = 0
        answer.status = status
        answer.wake()
        if (
            self._head_only
        ):  # the parser would now wait for the body that Content-Length describes: it is not used again
            self._ended, self._reusable = True, False

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        if answer is not None and not self._ended:
            answer.put(body)
            self._barren = 0
            self._fields = 0

    def on_message_complete(self) -> None:
        if self._in_interim:
            self._in_interim = False
        elif not self._ended:
            self._ended = True
            # An answer that came before the request was written leaves a half-written request behind: never reuse.
            self._reusable = self._parser.should_keep_alive() and not self._writing

    # inside

    def _frame(self, answer: Answer, name: bytes, value: bytes) -> None:
        """Only one framing is understood, and only said once: anything else is where responses get split."""
        if name == b"content-length":
            answer.length = int(value)  # llhttp has refused signs, lists, repetitions and overflow
        elif self._chunked or value.lower() != b"chunked":
            raise ProtocolBroken("a transfer-encoding other than one 'chunked'", sent=True)
        else:
            self._chunked = True

    def _skip_interim(self, answer: Answer, status: int) -> None:
        self._interim += 1
        framed = answer.length is not None or self._chunked
        if status == 101 or status < 100 or (framed and status not in _INTERIM_WITHOUT_BODY):
            raise ProtocolBroken(f"{status} is not an interim response that can be skipped", sent=True)
        if self._interim > self._limits.interim:
            raise ProtocolBroken(f"more than {self._limits.interim} interim responses", sent=True)
        answer.headers.clear()
        answer.length = None
        self._chunked = False
        self._in_interim = True

    def _finish(self, answer: Answer) -> None:
        self._answer = None
        answer.complete = True
        answer.wake()
        if not self._reusable:
            self._close_transport(at_once=self._writing)
        elif not self.closed:
            self.served += 1
            if self._reading_paused:
                self._reading_paused = False
                self._transport.resume_reading()
            self._on_free(self)

    def _fail(self, error: TransportError) -> None:
        if self._ended and self._answer is not None:  # a whole answer, then rubbish: the answer stands
            self._reusable = False
            self._finish(self._answer)
        else:
            if self._answer is not None and self._answer.status:
                error.phase = Phase.BODY
            self._settle(error)
        self.abort()

    def _settle(self, error: TransportError) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.fail(error)

    def _loss(self, exc: Exception | None) -> TransportError:
        why = f" ({exc})" if exc is not None else ""
        if not self._heard:
            return ConnectionLost(f"the server closed the connection without an answer{why}", sent=True)
        if self._answer is not None and self._answer.status:
            return TruncatedBody(f"the connection ended inside the body{why}", sent=True)
        return ProtocolBroken(f"the connection ended inside the head{why}", sent=True)

    def _close_transport(self, *, at_once: bool) -> None:
        if not self.closed:
            self.closed = True
            if at_once:
                self._transport.abort()
            else:
                self._transport.close()

    def _closed_properly(self) -> bool:
        """Over TLS a body without a length ends at close_notify; a bare FIN could come from anybody (RFC 9112 §9.8)."""
        tls = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        try:
            return not tls.read(1)
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLError:
            return False

    # One timer a connection, which is only moved when it must ring earlier: bytes merely push `_phase_at` on.

    def _enter(self, phase: Phase, seconds: float) -> None:
        self._phase = phase
        self._phase_at = self._loop.time() + seconds
        self._arm(min(self._phase_at, self._total_at))

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._answer is None:
            return
        now = self._loop.time()
        if now >= self._total_at:
            self._fail(TotalTimeout("the exchange took longer than its total time-out", sent=True, phase=self._phase))
        elif self._reading_paused:
            self._arm(self._total_at)
        elif now < self._phase_at:
            self._arm(min(self._phase_at, self._total_at))
        elif self._phase is Phase.WRITE and self._transport.get_write_buffer_size() < self._unwritten:
            self._unwritten = self._transport.get_write_buffer_size()
            self._enter(Phase.WRITE, self._timeouts.write)
        else:
            self._fail(self._too_late())

    def _too_late(self) -> TransportError:
        match self._phase:
            case Phase.WRITE:
                return WriteTimeout(f"the server took nothing of the request for {self._timeouts.write:g} s", sent=True)
            case Phase.BODY:
                return IdleTimeout(f"the body stood still for {self._timeouts.idle:g} s", sent=True)
            case _:
                return FirstByteTimeout(f"no response within {self._timeouts.first_byte:g} s", sent=True)


def _nobody(connection: Connection) -> None:
    pass


def _announced_timeout(value: bytes) -> float | None:
    """`Keep-Alive: timeout=5, max=100` -> 5.0"""
    for part in value.lower().split(b","):
        name, _, seconds = part.strip().partition(b"=")
        if name == b"timeout" and seconds.isdigit():
            return float(seconds[:9])
    return None

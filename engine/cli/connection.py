"""One client's connection with bounds: how large and how slow its requests may be, how long it may stop reading."""

from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Any, ClassVar, Final, Self, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from engine.server.edge import CONNECTION
from engine.settings.model import Server

LINGER: Final = 10.0
"""Seconds for which a client may go on sending a body whose request was answered already."""


GRACE: Final = 1.0
"""Seconds for which a process that stops keeps its idle connections, for requests that are on their way already."""


class Bounds(msgspec.Struct, frozen=True):
    """Bytes, seconds and a count; `server.max_header` and its neighbours."""

    head: int = 65_536
    head_time: float = 15.0
    write_time: float = 60.0
    connections: int = 10_000

    @classmethod
    def of(cls, server: Server) -> Self:
        return cls(
            int(server.max_header), float(server.header_timeout), float(server.write_timeout), server.max_connections
        )


class _TooLarge(Exception):
    """The head of a request is larger than it may be."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which by itself waits for ever for a head, and lets it grow without end."""

    bounds: ClassVar[Bounds] = Bounds()
    """Those of the process: uvicorn makes connections itself, and takes a class alone."""

    leaving: ClassVar[bool] = False
    """The process stops: every answer is the last one of its connection, and says so."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._unended = 0
        self._in_head = self._ended = self._may_be_large = False
        self._departed: Callable[[], None] | None = None
        self._refusal: tuple[int, str] | None = None
        self._waiting: TimerHandle | None = None
        self._stalled: TimerHandle | None = None
        self._lingering: TimerHandle | None = None
        self._going: TimerHandle | None = None

    # --- the connection

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.bounds.connections:
            transport.abort()
            return
        self._wait_for_head()
        if self.leaving:
            self.shutdown()

    def shutdown(self) -> None:
        """Take no more than what is on its way: a request that was sent to an open connection is answered."""
        if self._going is None:
            self._going = self.loop.call_later(GRACE, super().shutdown)
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._waiting, self._stalled, self._lingering, self._going):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if self._departed is not None:
            self._departed()

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return  # it was answered, and is being closed
        self._ended = False
        # Nearly every head comes in one piece that is smaller than a head may be: then nothing of it need be counted.
        self._may_be_large = self._unended + len(data) > self.bounds.head
        super().data_received(data)
        if not self._in_head or self._refusal is not None:
            return
        if not self._ended:
            self._unended += len(data)
            if self._unended > self.bounds.head:
                self.send_400_response(_TOO_LARGE)
        if self._waiting is None:
            self._wait_for_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.bounds.write_time, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # --- a request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, object]", self.scope)[CONNECTION] = self
        self._unended, self._in_head = 0, True

    def on_headers_complete(self) -> None:
        if self._may_be_large and self._head_size() > self.bounds.head:
            self._refusal = (431, "Request Header Fields Too Large")
            raise _TooLarge
        self._in_head = False
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        super().on_headers_complete()
        if self.leaving:
            self.cycle.keep_alive = False  # the answer has not begun: its task has not run yet

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete and self._lingering is None:
            self._lingering = self.loop.call_later(LINGER, self._give_up)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._ended = True
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def send_400_response(self, msg: str) -> None:
        """Answer what never became a request, and close."""
        status, reason = self._refusal or (
            (431, "Request Header Fields Too Large") if msg == _TOO_LARGE else (400, "Bad Request")
        )
        self._refusal = (status, reason)
        body = msg.encode()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, reason.encode(), len(body), body)
        )
        self.transport.close()

    # --- the exchange on it

    @property
    def has_whole_body(self) -> bool:
        return not self.cycle.more_body

    def watch(self, departed: Callable[[], None] | None) -> None:
        self._departed = departed
        if departed is not None:
            self.flow.resume_reading()  # a connection that is not read does not notice its end
            if self.transport.is_closing():
                departed()

    # --- bounds

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _wait_for_head(self) -> None:
        self._waiting = self.loop.call_later(self.bounds.head_time, self._too_slow)

    def _too_slow(self) -> None:
        self._waiting = None
        if self.transport.is_closing() or self._refusal is not None:
            return
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn's types say
        busy = cycle is not None and not cycle.response_complete
        if self._in_head and not busy:
            self._refusal = (408, "Request Timeout")
            self.send_400_response("The request's head did not arrive in time.")
        elif not busy:
            self.transport.close()

    def _give_up(self) -> None:
        self.transport.abort()


_TOO_LARGE: Final = "The request's head is too large."

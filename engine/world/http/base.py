"""The contract of an upstream HTTP client: what is sent, what comes back as bytes, and whose fault a failure was."""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import ClassVar, Protocol
from urllib.parse import urlsplit

import msgspec

Headers = list[tuple[bytes, bytes]]

DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(msgspec.Struct, frozen=True):
    """Where a connection leads. `scheme` is http or https; `host` is lower case, without brackets, IDNA for a name."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> tuple["Origin", str]:
        """A base URL -> its origin, and its path without the final slash ("" for none). ValueError says what is wrong."""
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError(f"{url!r}: the scheme is {parts.scheme!r}, but must be http or https")
        if not parts.hostname:
            raise ValueError(f"{url!r} names no host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a base URL must not carry a user or a password; give the key as api_key")
        if parts.query or parts.fragment:
            raise ValueError(f"{url!r}: a base URL has neither a query nor a fragment")
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        return cls(parts.scheme, host, parts.port or DEFAULT_PORTS[parts.scheme]), parts.path.rstrip("/")

    @property
    def authority(self) -> str:
        """What the Host header says: brackets for IPv6, the port only if it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Request(msgspec.Struct, frozen=True):
    """One request. `target` is path and query as sent. Host, framing and hop-by-hop headers are the client's own: given
    ones are dropped, so that a caller cannot describe a body other than `body`."""

    origin: Origin
    target: bytes
    method: bytes = b"POST"
    headers: Headers = msgspec.field(default_factory=list)
    body: bytes = b""


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. `connect` covers the wait for a free connection, name, TCP and TLS; `write` is the longest standstill
    while the request is written; `first_byte` runs from there to the response's head; `idle` is the longest silence
    inside a body (it stands still while the reader is slow); `total` bounds all, from `send` to the body's last byte."""

    connect: float = 10.0
    first_byte: float = 120.0
    idle: float = 60.0
    total: float = 900.0
    write: float = 30.0


class Response(Protocol):
    """An answer whose body may still be on its way. Whoever got one reads it to the end or calls `aclose`."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers:
        """In the order of the wire, names in lower case, hop-by-hop fields included. Trailers are read and dropped."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, framing undone, encoding untouched. What came between two reads is one chunk.

        Raises what `TransportError` lists; a body that ended early raises TruncatedBody after its last bytes.
        A reader that is cancelled while it waits drops the connection at once.
        """
        ...

    async def read(self, limit: int) -> bytes:
        """The whole (rest of the) body; more than `limit` bytes raises BodyTooLarge and drops the connection."""
        ...

    async def aclose(self) -> None:
        """End it: a finished response gave its connection back already, an unfinished one drops it. Never raises."""
        ...


class Client(Protocol):
    async def send(self, request: Request, timeouts: Timeouts) -> Response:
        """Send, and return as soon as the final response's head is there. Cancelling drops the connection at once."""
        ...

    async def aclose(self) -> None:
        """Refuse new requests and close idle connections. Responses in flight finish undisturbed. Does not wait for them."""
        ...


class Fault(StrEnum):
    CALLER = "caller"  # the request was never valid
    LOCAL = "local"  # this client's own bounds
    NETWORK = "network"  # the server was not reached
    SERVER = "server"  # the server was reached, and answered badly, late or not at all


class Phase(StrEnum):
    PREPARE = "prepare"
    POOL = "pool"
    CONNECT = "connect"
    WRITE = "write"
    HEAD = "head"
    BODY = "body"


class TransportError(Exception):
    """Why there is no (whole) answer. `sent` is True if the server may have seen the request: only where it is False may
    any request be repeated without asking what a second execution would do."""

    fault: ClassVar[Fault] = Fault.SERVER
    phase: Phase = Phase.HEAD

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class InvalidRequest(TransportError):
    """A method, target or header that cannot be written without becoming something else (CR, LF, NUL, no token)."""

    fault = Fault.CALLER
    phase = Phase.PREPARE


class PoolExhausted(TransportError):
    """All connections to the origin were busy, and the queue was full or the wait too long."""

    fault = Fault.LOCAL
    phase = Phase.POOL


class ClientClosed(TransportError):
    """The client was closed (a reload replaced it) before the request had a connection."""

    fault = Fault.LOCAL
    phase = Phase.POOL


class ConnectFailed(TransportError):
    """The name did not resolve, or no address accepted a connection."""

    fault = Fault.NETWORK
    phase = Phase.CONNECT


class ConnectTimeout(TransportError):
    fault = Fault.NETWORK
    phase = Phase.CONNECT


class TLSFailed(TransportError):
    """TCP was there, TLS was not: an untrusted or wrong certificate, no common version, a server that speaks no TLS."""

    phase = Phase.CONNECT


class WriteTimeout(TransportError):
    """The server stopped taking the request."""

    phase = Phase.WRITE


class ConnectionLost(TransportError):
    """Closed or reset before the first byte of a response."""


class FirstByteTimeout(TransportError):
    """No (complete) response head in time."""


class IdleTimeout(TransportError):
    phase = Phase.BODY


class TotalTimeout(TransportError):
    """The exchange as a whole took too long; `phase` says where it then was."""

    def __init__(self, message: str, *, sent: bool, phase: Phase) -> None:
        super().__init__(message, sent=sent)
        self.phase = phase


class ProtocolBroken(TransportError):
    """The answer is not HTTP as RFC 9112 has it, or beyond the limits for its head."""


class TruncatedBody(TransportError):
    """The connection ended before the body did."""

    phase = Phase.BODY


class BodyTooLarge(TransportError):
    """More than the reader's limit."""

    fault = Fault.LOCAL
    phase = Phase.BODY

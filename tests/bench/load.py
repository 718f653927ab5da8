"""A cheap load generator: N connections, each sending its next request when the last answer is complete and correct."""

import asyncio
import time
from collections.abc import Sequence
from typing import cast

import httptools
import msgspec


class Load(msgspec.Struct, frozen=True):
    """What a run saw. Times are milliseconds; `first` is to the first byte of a body."""

    requests: int
    errors: int
    seconds: float
    p50: float
    p99: float
    first_p50: float
    first_p99: float
    problem: str = ""

    @property
    def rate(self) -> float:
        """Requests (or streams) a second."""
        return self.requests / self.seconds


def http_request(path: str, body: bytes, headers: Sequence[tuple[str, str]] = (), host: str = "127.0.0.1") -> bytes:
    """The bytes of a POST with a JSON body."""
    fields = [("host", host), ("content-type", "application/json"), ("content-length", str(len(body))), *headers]
    return f"POST {path} HTTP/1.1\r\n".encode() + b"".join(f"{n}: {v}\r\n".encode() for n, v in fields) + b"\r\n" + body


async def run(
    port: int, request: bytes, expected: bytes, *, requests: int, concurrency: int, host: str = "127.0.0.1"
) -> Load:
    """Send `requests` in all over `concurrency` connections. A status other than 200 or another body counts as an error."""
    tally = _Tally(requests, request, expected)
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(tally), host, port))[1] for _ in range(min(concurrency, requests))
    ]
    started = time.perf_counter()
    for client in clients:
        client.next()
    await tally.done
    seconds = time.perf_counter() - started
    for client in clients:
        client.close()
    return Load(
        tally.finished,
        tally.errors,
        seconds,
        _percentile(tally.times, 0.5),
        _percentile(tally.times, 0.99),
        _percentile(tally.firsts, 0.5),
        _percentile(tally.firsts, 0.99),
        tally.problem,
    )


def _percentile(times: list[float], part: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * part))] * 1000 if times else 0.0


class _Tally:
    def __init__(self, requests: int, request: bytes, expected: bytes) -> None:
        self.request, self.expected = request, expected
        self.left = self.open = requests
        self.finished = self.errors = 0
        self.problem = ""
        self.times: list[float] = []
        self.firsts: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finish(self, error: str, took: float, first: float) -> None:
        self.finished += 1
        self.times.append(took)
        self.firsts.append(first)
        if error:
            self.errors += 1
            self.problem = self.problem or error
        if self.finished == self.open and not self.done.done():
            self.done.set_result(None)

    def fail(self, problem: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(problem))


class _Client(asyncio.Protocol):
    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._busy = False
        self._started = self._first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._tally.fail(f"the server under test closed a connection in use ({exc})")

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def next(self) -> None:
        if self._tally.left:
            self._tally.left -= 1
            self._busy = True
            self._first = 0.0
            self._started = time.perf_counter()
            self._transport.write(self._tally.request)

    def close(self) -> None:
        self._transport.abort()

    def on_body(self, body: bytes) -> None:
        if not self._first:
            self._first = time.perf_counter() - self._started
        self._body.append(body)

    def on_message_complete(self) -> None:
        took = time.perf_counter() - self._started
        status = self._parser.get_status_code()
        body = b"".join(self._body)
        self._body.clear()
        self._busy = False
        error = ""
        if status != 200:
            error = f"status {status}: {body[:200]!r}"
        elif body != self._tally.expected:
            error = f"another body: {body[:200]!r}"
        self._tally.finish(error, took, self._first)
        self.next()

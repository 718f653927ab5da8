"""Requests that differ, over kept connections, and each answer as it came: for tests that look at every one of many.

Beside `tests.bench.load`, which sends one request again and again as cheaply as can be, and raises where a connection
ends. Here a server may be killed in the middle.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, cast

import httptools

from tests.bench.load import http_request

PATH: Final = "/v1/chat/completions"


class Request(NamedTuple):
    """`name` is the test's own word for it."""

    name: str
    wire: bytes


class Answer(NamedTuple):
    """A whole answer; `revision` is that of the policies under which it was given."""

    request: Request
    status: int
    revision: str
    body: bytes


def request(name: str, body: bytes, **headers: str) -> Request:
    """A request for a chat completion; `x_session_id` is the header `x-session-id`."""
    return Request(name, http_request(PATH, body, [(key.replace("_", "-"), value) for key, value in headers.items()]))


async def drive(
    port: int, requests: Iterable[Request], heard: Callable[[Answer], None], *, connections: int = 16
) -> list[Request]:
    """Send them all, each over the first connection that is free, until they or the connections are at their end.

    Returns the requests that got no whole answer because their connection ended. What `heard` raises is raised here.
    """
    waiting = iter(requests)
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(waiting, heard), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    for client in clients:
        client.next()
    try:
        await asyncio.gather(*(client.ended for client in clients))
    finally:
        for client in clients:
            client.close()
    return [client.sent for client in clients if client.sent is not None]


class _Client(asyncio.Protocol):
    def __init__(self, waiting: Iterator[Request], heard: Callable[[Answer], None]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent: Request | None = None
        self._waiting = waiting
        self._heard = heard
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._revision = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            if not self.ended.done():
                self.ended.set_exception(error.__context__ or error)

    def next(self) -> None:
        self.sent = next(self._waiting, None)
        if self.sent is not None:
            self._transport.write(self.sent.wire)
        elif not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-lexgate-revision":
            self._revision = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        assert self.sent is not None, "an answer to nothing"
        answer = Answer(self.sent, self._parser.get_status_code(), self._revision, b"".join(self._body))
        self._body.clear()
        self._revision = ""
        self._heard(answer)
        self.next()

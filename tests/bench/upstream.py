"""A very cheap LLM provider for benchmarks: prebuilt answers in OpenAI's chat format. `python -m tests.bench.upstream`.

A body with `"stream": true` gets the stream of events, every other one the JSON answer. A request header `x-pace: 20` spreads
the events over time, one every 20 ms; without it they are written at once.
"""

import asyncio
import json
import socket
from typing import cast

import httptools

from tests.bench.process import announce, event_loop_run

EVENTS = 44
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\nx-request-id: req_0123456789\r\n%s\r\n"


def chat_answer(size: int = 2048) -> bytes:
    """A whole chat completion of `size` bytes of JSON."""
    answer = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1735689600,
        "model": "gpt-4o",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 420, "completion_tokens": 310, "total_tokens": 730},
    }
    text = "The quick brown fox jumps over the lazy dog. " * (size // 45 + 1)
    choices: list[dict[str, dict[str, str]]] = answer["choices"]  # type: ignore[assignment]
    choices[0]["message"]["content"] = text[: size - len(json.dumps(answer))]
    return json.dumps(answer).encode()


def chat_events(count: int = EVENTS) -> list[bytes]:
    """`count` server-sent events: the role, the words, the finish, `[DONE]`."""

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1735689600, "model": "gpt-4o"}
        return b"data: " + json.dumps(chunk | {"choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"

    words = [event({"content": f"word{number} "}) for number in range(count - 3)]
    return [event({"role": "assistant", "content": ""}), *words, event({}, "stop"), b"data: [DONE]\n\n"]


def chat_request(*, stream: bool, size: int = 2048) -> bytes:
    """A client's body of `size` bytes."""
    body = {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": ""}]}
    messages: list[dict[str, str]] = body["messages"]  # type: ignore[assignment]
    messages[0]["content"] = ("Please summarise the following paragraph. " * (size // 42 + 1))[
        : size - len(json.dumps(body))
    ]
    return json.dumps(body).encode()


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_JSON = chat_answer()
_WHOLE = _HEAD % (b"application/json", b"content-length: %d\r\n" % len(_JSON)) + _JSON
_STREAM_HEAD = _HEAD % (b"text/event-stream", b"transfer-encoding: chunked\r\n")
_FRAMES = [_chunked(event) for event in chat_events()]
_LAST = b"0\r\n\r\n"
_STREAM = _STREAM_HEAD + b"".join(_FRAMES) + _LAST


class Provider(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._pace = 0.0
        self._body: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"x-pace":
            self._pace = float(value) / 1000

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        start = self._body[0][:256] if self._body else b""
        self._body.clear()
        pace, self._pace = self._pace, 0.0
        if b'"stream": true' not in start and b'"stream":true' not in start:
            self._transport.write(_WHOLE)
        elif pace:
            task = asyncio.ensure_future(self._paced(pace))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._transport.write(_STREAM)

    async def _paced(self, pace: float) -> None:
        self._transport.write(_STREAM_HEAD)
        for frame in _FRAMES:
            self._transport.write(frame)
            await asyncio.sleep(pace)
        self._transport.write(_LAST)


async def main() -> None:
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = await asyncio.get_running_loop().create_server(Provider, sock=sock)
    announce(sock.getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    event_loop_run(main())
